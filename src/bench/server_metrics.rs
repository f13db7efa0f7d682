//! What the system under load says about itself: CPU time and resident memory, from its `/metrics`.

use std::time::Duration;

use prometheus_parse::{Scrape, Value};

use crate::net::{Connection, ServerUrl};

/// CPU time and memory of the system under load at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ServerUsage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: f64,
}

/// Asks the server. `None` where it does not say: the load goes on without.
pub(super) async fn fetch(server: &ServerUrl) -> Option<ServerUsage> {
    let mut connection = Connection::new(server, Duration::from_secs(10), 64 << 20);
    let response = connection.get("/metrics").await.ok()?;
    response.status().is_success().then(|| parse(&String::from_utf8_lossy(response.body())))?
}

/// Asks the server again after the load. Some servers keep their answer for a second: if nothing moved, this waits that
/// long once.
pub(super) async fn fetch_after(server: &ServerUrl, before: Option<ServerUsage>) -> Option<ServerUsage> {
    let after = fetch(server).await;
    if after.is_some() && after == before {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        return fetch(server).await;
    }
    after
}

fn parse(text: &str) -> Option<ServerUsage> {
    // Only the two lines that are wanted: the whole document can be large.
    let lines = text.lines().filter(|line| line.starts_with("process_")).map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse(lines).ok()?;
    let value = |name: &str| {
        scrape.samples.iter().find(|sample| sample.metric == name).and_then(|sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(value),
            _ => None,
        })
    };
    Some(ServerUsage {
        cpu_seconds: value("process_cpu_seconds_total")?,
        resident_bytes: value("process_resident_memory_bytes")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_an_exposition() {
        let text = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 12.5\nx{a=\"b\"} 1\n\
                    process_resident_memory_bytes 1.5e+06\n";
        assert_eq!(parse(text), Some(ServerUsage { cpu_seconds: 12.5, resident_bytes: 1.5e6 }));
        assert_eq!(parse("process_cpu_seconds_total 1\n"), None);
    }
}
