//! What stands in for the console where it was not built in: one small page with what the server knows of itself.

use hyper::{Response, StatusCode};

use super::response::{self, ApiBody};
use super::{Api, console, rfc3339, status};

const PAGE: &str = include_str!("page.html");

impl Api {
    pub(super) fn plain_page(&self) -> Response<ApiBody> {
        let mut rows = Vec::new();
        rows.push(("Version", status::VERSION.to_owned()));
        rows.push(("Running since", rfc3339(self.options.started_ms)));
        match self.slot.get() {
            None => {
                let (done, total) = self.slot.progress().bytes();
                rows.push(("State", format!("replaying the log: {done} of {total} bytes")));
            }
            Some(db) => {
                let log = db.log_status();
                let state = match &log.failure {
                    None => "ready".to_owned(),
                    Some(reason) => format!("the log cannot be written: {reason}"),
                };
                rows.push(("State", state));
                rows.push(("Data directory", db.options().data_dir.display().to_string()));
                rows.push(("Series in the head", db.head().series_count().to_string()));
                if let Some(range) = db.head().time_range() {
                    rows.push(("Samples", format!("{} to {}", rfc3339(range.start_ms), rfc3339(range.end_ms))));
                }
                rows.push(("Log", format!("{} segments, {} bytes", log.segments, log.bytes)));
                rows.push(("Durability", log.durability.as_str().to_owned()));
                rows.push(("Last durable group, last commit", format!("{}, {}", log.last_group, log.last_commit)));
                rows.push(("Damage found at the start", db.recovery().damages.len().to_string()));
            }
        }
        let mut table = String::new();
        for (name, value) in rows {
            table.push_str("<tr><th scope=\"row\">");
            escape(&mut table, name);
            table.push_str("</th><td>");
            escape(&mut table, &value);
            table.push_str("</td></tr>\n");
        }
        let mut page =
            response::with_type(StatusCode::OK, "text/html; charset=utf-8", PAGE.replace("{{rows}}", &table));
        console::secure(page.headers_mut());
        page
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_escapes_what_it_shows() {
        let mut out = String::new();
        escape(&mut out, "<script>\"&\"</script>");
        assert_eq!(out, "&lt;script&gt;&quot;&amp;&quot;&lt;/script&gt;");
        assert_eq!(PAGE.matches("{{rows}}").count(), 1);
    }
}
