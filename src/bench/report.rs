//! The result of `bench write`, for people and for programs.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::read_back::ReadBack;
use super::sender::SenderReport;
use super::write::Shared;

/// What the load measured.
#[derive(Debug, Clone, Serialize)]
pub struct WriteReport {
    /// How the samples were sent.
    pub protocol: &'static str,
    /// How bodies were compressed.
    pub compression: &'static str,
    /// Series of the load.
    pub series: u64,
    /// Labels of each, the metric name included.
    pub attributes: usize,
    /// Scrapes that were sent completely.
    pub scrapes: u64,
    /// Time of the first scrape.
    pub start_ms: i64,
    /// Time between scrapes.
    pub interval_ms: i64,
    /// Requests that were answered for good.
    pub requests: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Samples sent, each counted once.
    pub samples_sent: u64,
    /// Samples that the server says are stored.
    pub samples_acknowledged: u64,
    /// Samples that the server refused.
    pub samples_rejected: u64,
    /// Wall time from the first request to the last answer.
    pub seconds: f64,
    /// Acknowledged samples per second.
    pub samples_per_second: f64,
    /// Latency of requests.
    pub latency_ms: Latency,
    /// Bytes before compression.
    pub bytes: u64,
    /// Bytes sent.
    pub compressed_bytes: u64,
    /// CPU time of this process per million samples.
    pub generator_cpu_seconds_per_million: f64,
    /// What the server says about itself.
    pub server: Option<ServerReport>,
    /// CPU time of the server per million acknowledged samples.
    pub server_cpu_seconds_per_million: Option<f64>,
    /// Acknowledgements that carried a receipt.
    pub receipts: u64,
    /// Receipts that did not fit what was sent.
    pub receipts_wrong: u64,
    /// Samples that are in the server's log by the receipts that fit.
    pub samples_receipted: u64,
    /// The first refusals and faults in words.
    pub notes: Vec<String>,
    /// What ended the load early.
    pub error: Option<String>,
    /// What reading back showed, if that was asked for.
    pub read_back: Option<ReadBack>,
}

/// Latency of requests in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// Nine of ten were faster.
    pub p90: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// What the server used over the load.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ServerReport {
    /// CPU time.
    pub cpu_seconds: f64,
    /// Resident memory before the first request.
    pub resident_bytes_before: f64,
    /// Resident memory after the last answer.
    pub resident_bytes_after: f64,
}

impl WriteReport {
    pub(super) fn new(
        shared: &Shared,
        sent: &SenderReport,
        seconds: f64,
        generator_cpu_seconds: f64,
        server: Option<ServerReport>,
    ) -> Self {
        let shape = shared.workload.shape();
        let quantile_ms = |quantile| sent.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        let per_million = |total: f64, samples: u64| total / (samples.max(1) as f64 / 1e6);
        WriteReport {
            protocol: shared.options.protocol.as_str(),
            compression: shared.compression.as_str(),
            series: shape.series,
            attributes: shape.attributes,
            scrapes: sent.scrapes,
            start_ms: shape.start_ms,
            interval_ms: shape.interval_ms,
            requests: sent.requests,
            retries: sent.retries,
            samples_sent: sent.samples_sent,
            samples_acknowledged: sent.samples_acknowledged,
            samples_rejected: sent.samples_rejected,
            seconds,
            samples_per_second: sent.samples_acknowledged as f64 / seconds.max(1e-9),
            latency_ms: Latency {
                p50: quantile_ms(0.5),
                p90: quantile_ms(0.9),
                p99: quantile_ms(0.99),
                max: sent.latency_us.max() as f64 / 1000.0,
            },
            bytes: sent.bytes,
            compressed_bytes: sent.compressed_bytes,
            generator_cpu_seconds_per_million: per_million(generator_cpu_seconds, sent.samples_sent),
            server,
            server_cpu_seconds_per_million: server
                .map(|server| per_million(server.cpu_seconds, sent.samples_acknowledged)),
            receipts: sent.receipts,
            receipts_wrong: sent.receipts_wrong,
            samples_receipted: sent.samples_receipted,
            notes: sent.notes.clone(),
            error: None,
            read_back: None,
        }
    }

    /// Whether all that was sent was stored, every receipt fits, and what was read back is equal.
    pub fn is_good(&self) -> bool {
        self.samples_rejected == 0
            && self.receipts_wrong == 0
            && self.error.is_none()
            && self.read_back.as_ref().is_none_or(ReadBack::is_good)
    }

    /// 0 if all is well, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_good())
    }

    /// The report as one JSON document.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The report as a table.
    pub fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("protocol (compression)", format!("{} ({})", self.protocol, self.compression));
        row("series x labels", format!("{} x {}", grouped(self.series), self.attributes));
        row("complete scrapes", grouped(self.scrapes));
        row(
            "samples acknowledged",
            format!("{} of {}", grouped(self.samples_acknowledged), grouped(self.samples_sent)),
        );
        row("samples rejected", grouped(self.samples_rejected));
        row("requests (sent again)", format!("{} ({})", grouped(self.requests), grouped(self.retries)));
        row("samples/s", grouped(self.samples_per_second as u64));
        let Latency { p50, p90, p99, max } = self.latency_ms;
        row("latency p50 / p90 / p99 / max", format!("{p50:.1} / {p90:.1} / {p99:.1} / {max:.1} ms"));
        let per_sample = |bytes: u64| bytes as f64 / self.samples_sent.max(1) as f64;
        row(
            "bytes per sample (compressed)",
            format!("{:.1} ({:.1})", per_sample(self.bytes), per_sample(self.compressed_bytes)),
        );
        row("generator CPU s per million", format!("{:.2}", self.generator_cpu_seconds_per_million));
        if let Some(server) = &self.server {
            row("server CPU s per million", format!("{:.2}", self.server_cpu_seconds_per_million.unwrap_or(0.0)));
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            row(
                "server resident memory",
                format!("{:.0} -> {:.0} MiB", mib(server.resident_bytes_before), mib(server.resident_bytes_after)),
            );
        }
        row("receipts (wrong)", format!("{} ({})", grouped(self.receipts), grouped(self.receipts_wrong)));
        if self.receipts > 0 {
            row(
                "in the log by receipt",
                format!("{} of {}", grouped(self.samples_receipted), grouped(self.samples_sent)),
            );
        }
        if let Some(read_back) = &self.read_back {
            row(
                "read back equal",
                format!("{} of {}", grouped(read_back.samples_equal), grouped(read_back.samples_expected)),
            );
            row(
                "missing / wrong / unexpected",
                format!(
                    "{} / {} / {}",
                    grouped(read_back.samples_missing),
                    grouped(read_back.samples_wrong),
                    grouped(read_back.samples_unexpected)
                ),
            );
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut out = table.to_string();
        let findings = self.read_back.iter().flat_map(|read_back| &read_back.findings);
        for line in self.error.iter().chain(&self.notes).chain(findings) {
            out.push('\n');
            out.push_str(line);
        }
        out
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
