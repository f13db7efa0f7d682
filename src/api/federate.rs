//! `/federate`: the newest sample of the series that are asked for, as text that another Prometheus scrapes.
//!
//! Source: Prometheus `web/federate.go`.

use std::fmt::Write as _;
use std::sync::Arc;

use hyper::{Response, StatusCode};

use super::error::ApiError;
use super::response::{self, ApiBody};
use super::{Api, ApiRequest, off_the_way};
use crate::db::Db;
use crate::model::{LabelSet, METRIC_NAME, Matcher, TimeRange, is_stale_nan};
use crate::promql::parser::parse_selector;
use crate::storage::{Column, SelectHints};
use crate::telemetry::TextFormat;
use crate::telemetry::exposition::{write_escaped, write_value};

impl Api {
    pub(super) async fn federate(
        self: &Arc<Self>,
        request: ApiRequest,
        db: Arc<Db>,
    ) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let mut selectors = Vec::new();
        for text in params.all("match[]") {
            match parse_selector(text) {
                Ok(matchers) => selectors.push(matchers),
                Err(fault) => return Ok(response::text(StatusCode::BAD_REQUEST, format!("{fault}\n"))),
            }
        }
        let gzip = response::accepts_gzip(&request.headers);
        let now_ms = self.clock.now_ms();
        let lookback_ms = self.options.engine.lookback_delta_ms;
        let permit = self.place(self.options.engine.timeout).await?;
        let text = off_the_way(move || {
            let _permit = permit;
            let range = TimeRange::new(now_ms.saturating_sub(lookback_ms).saturating_add(1), now_ms);
            newest_samples(&db, &selectors, range)
        })
        .await?;
        let mut response = response::with_type(StatusCode::OK, TextFormat::Prometheus.content_type(), text);
        response::compress_whole(&mut response, gzip);
        Ok(response)
    }
}

fn newest_samples(db: &Db, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<String, ApiError> {
    let querier = db.queryable().querier(range)?;
    let mut series = Vec::new();
    for matchers in selectors {
        series.extend(querier.select(matchers, &SelectHints::default())?);
    }
    // By metric name first, whatever labels sort before it.
    series.sort_by(|a, b| name_of(&a.labels).cmp(name_of(&b.labels)).then_with(|| a.labels.cmp(&b.labels)));
    series.dedup_by(|a, b| a.labels == b.labels);
    let mut text = String::new();
    let mut last_name: Option<String> = None;
    let mut column = Column::default();
    for one in series {
        column.clear();
        one.samples.read(range, &mut column)?;
        let (Some(&timestamp_ms), Some(&value)) = (column.timestamps_ms.last(), column.values.last()) else { continue };
        if is_stale_nan(value) || column.histograms.last().is_some_and(|(index, _)| index + 1 == column.len()) {
            continue;
        }
        let name = name_of(&one.labels);
        if last_name.as_deref() != Some(name) {
            text.push_str("# TYPE ");
            write_name(&mut text, name, true);
            text.push_str(" untyped\n");
            last_name = Some(name.to_owned());
        }
        write_series(&mut text, name, &one.labels);
        text.push(' ');
        write_value(&mut text, value);
        // Writing to a String cannot fail.
        let _ = writeln!(text, " {timestamp_ms}");
    }
    Ok(text)
}

fn name_of(labels: &LabelSet) -> &str {
    labels.metric_name().unwrap_or("")
}

/// Writes name and labels. A series without `instance` gets an empty one, so that the scraper does not put its own there.
fn write_series(text: &mut String, name: &str, labels: &LabelSet) {
    let plain = is_plain_name(name, true);
    if plain {
        text.push_str(name);
    }
    let mut separator = '{';
    if !plain {
        text.push('{');
        write_quoted(text, name);
        separator = ',';
    }
    let instance = labels.get("instance").is_none().then_some(("instance", ""));
    let pairs = labels.iter().filter(|label| label.name != METRIC_NAME).map(|label| (label.name, label.value));
    for (label, value) in pairs.chain(instance) {
        text.push(separator);
        write_name(text, label, false);
        text.push('=');
        write_quoted(text, value);
        separator = ',';
    }
    text.push('}');
}

/// Writes a name, in quotes where it needs them.
fn write_name(text: &mut String, name: &str, colons: bool) {
    if is_plain_name(name, colons) {
        text.push_str(name);
    } else {
        write_quoted(text, name);
    }
}

fn write_quoted(text: &mut String, value: &str) {
    text.push('"');
    write_escaped(text, value);
    text.push('"');
}

/// Whether a name needs no quotes in the text format.
fn is_plain_name(name: &str, colons: bool) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
    name.bytes().all(fits) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(pairs: &[(&str, &str)]) -> String {
        let labels = LabelSet::from_pairs(pairs.iter().copied());
        let mut text = String::new();
        write_series(&mut text, labels.metric_name().unwrap(), &labels);
        text
    }

    #[test]
    fn federated_series_always_has_an_instance() {
        assert_eq!(series(&[("__name__", "up")]), r#"up{instance=""}"#);
        assert_eq!(series(&[("__name__", "up"), ("instance", "a"), ("job", "b\"")]), r#"up{instance="a",job="b\""}"#);
    }

    #[test]
    fn federated_names_outside_the_old_alphabet_are_quoted() {
        assert_eq!(series(&[("__name__", "http.status"), ("a.b", "1")]), r#"{"http.status","a.b"="1",instance=""}"#);
    }
}
