//! Metrics as text: the format that Prometheus scrapes, version 0.0.4, or OpenMetrics 1.0 where a scraper prefers it.
//!
//! Source: Prometheus `docs/instrumenting/exposition_formats`; the OpenMetrics 1.0 specification.

use std::fmt::Write as _;
use std::time::Duration;

use super::instrument::{Histogram, Summary};

/// The two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextFormat {
    /// Prometheus' text format 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl TextFormat {
    /// The format that an `Accept` header prefers. Without one, or with one that names neither, it is Prometheus' own.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let mut best = (0.0, TextFormat::Prometheus);
        for entry in accept.unwrap_or("").split(',') {
            let mut parts = entry.split(';').map(str::trim);
            let format = match parts.next().unwrap_or("").to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => TextFormat::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => TextFormat::Prometheus,
                _ => continue,
            };
            let mut quality = 1.0;
            let mut known_version = true;
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => {
                        known_version = match format {
                            TextFormat::Prometheus => value == "0.0.4",
                            TextFormat::OpenMetrics => matches!(value, "1.0.0" | "0.0.1"),
                        }
                    }
                    _ => {}
                }
            }
            if known_version && quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }

    /// The format's content type.
    pub fn content_type(self) -> &'static str {
        match self {
            TextFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            TextFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// Quantiles, a sum and a count.
    Summary,
}

/// Collects metric families as text.
#[derive(Debug, Default)]
pub struct Exposition {
    format: TextFormat,
    text: String,
}

/// Label names and values of one sample.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// An empty text.
    pub fn new(format: TextFormat) -> Self {
        Exposition { format, text: String::with_capacity(16 << 10) }
    }

    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind_name = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        // In OpenMetrics a counter's family is named without the suffix of its samples.
        let name = match (self.format, kind) {
            (TextFormat::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind_name}");
    }

    /// Adds one sample.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.text.push_str(name);
        self.labels(labels, None);
        self.text.push(' ');
        write_value(&mut self.text, value);
        self.text.push('\n');
    }

    /// Adds a family of one gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, &[], value);
    }

    /// Adds a family of one counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, Kind::Counter, help);
        self.sample(name, &[], value);
    }

    /// Adds the samples of a histogram.
    pub fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let mut count = 0;
        for (bound, cumulative) in histogram.cumulative() {
            let mut text = String::new();
            write_value(&mut text, bound);
            let _ = write!(self.text, "{name}_bucket");
            self.labels(labels, Some(("le", &text)));
            let _ = writeln!(self.text, " {cumulative}");
            count = cumulative;
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum_seconds());
        self.sample(&format!("{name}_count"), labels, count as f64);
    }

    /// Adds the samples of a summary, as they are at the monotonic time `now`.
    pub fn summary(&mut self, name: &str, labels: Labels<'_>, summary: &Summary, now: Duration) {
        let values = summary.values(now);
        for (quantile, value) in Summary::QUANTILES.iter().zip(values.quantiles) {
            self.text.push_str(name);
            self.labels(labels, Some(("quantile", &quantile.to_string())));
            self.text.push(' ');
            write_value(&mut self.text, value);
            self.text.push('\n');
        }
        self.sample(&format!("{name}_sum"), labels, values.sum_seconds);
        self.sample(&format!("{name}_count"), labels, values.count as f64);
    }

    /// The finished text.
    pub fn finish(mut self) -> String {
        if self.format == TextFormat::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn labels(&mut self, labels: Labels<'_>, last: Option<(&str, &str)>) {
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(last) {
            let _ = write!(self.text, "{separator}{name}=\"");
            write_escaped(&mut self.text, value);
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
    }
}

/// Appends a label value as it stands between quotes.
pub fn write_escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// Appends a sample's value.
pub fn write_value(out: &mut String, value: f64) {
    let _ = if value.is_nan() {
        write!(out, "NaN")
    } else if value.is_infinite() {
        write!(out, "{}Inf", if value > 0.0 { '+' } else { '-' })
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(format: TextFormat) -> String {
        let mut exposition = Exposition::new(format);
        exposition.counter("a_total", "Counts\nthings.", 3.0);
        exposition.family("b", Kind::Gauge, "Shows.");
        exposition.sample("b", &[("x", "quote \" back \\ line\n"), ("y", "")], f64::INFINITY);
        let histogram = Histogram::new(&[0.1]);
        histogram.observe(Duration::from_secs(1));
        exposition.family("c_seconds", Kind::Histogram, "Takes.");
        exposition.histogram("c_seconds", &[("h", "/")], &histogram);
        let summary = Summary::default();
        summary.observe(Duration::ZERO, Duration::from_secs(1));
        exposition.family("d_seconds", Kind::Summary, "Takes.");
        exposition.summary("d_seconds", &[], &summary, Duration::ZERO);
        exposition.finish()
    }

    #[test]
    fn exposition_is_read_by_a_parser_of_the_format() {
        let text = example(TextFormat::Prometheus);
        let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        let value = |name: &str| &scrape.samples.iter().find(|sample| sample.metric == name).unwrap().value;
        assert_eq!(*value("a_total"), prometheus_parse::Value::Counter(3.0));
        assert_eq!(*value("b"), prometheus_parse::Value::Gauge(f64::INFINITY));
        let prometheus_parse::Value::Histogram(buckets) = value("c_seconds") else { panic!("{text}") };
        assert_eq!(
            buckets.iter().map(|bucket| (bucket.less_than, bucket.count)).collect::<Vec<_>>(),
            [(0.1, 0.0), (f64::INFINITY, 1.0)]
        );
        let prometheus_parse::Value::Summary(quantiles) = value("d_seconds") else { panic!("{text}") };
        assert_eq!(quantiles.len(), 3);
    }

    #[test]
    fn exposition_escapes_help_and_label_values() {
        let text = example(TextFormat::Prometheus);
        assert!(text.contains("# HELP a_total Counts\\nthings.\n"), "{text}");
        assert!(text.contains("b{x=\"quote \\\" back \\\\ line\\n\",y=\"\"} +Inf\n"), "{text}");
    }

    #[test]
    fn openmetrics_names_counter_families_without_suffix_and_ends_in_eof() {
        let text = example(TextFormat::OpenMetrics);
        assert!(text.contains("# TYPE a counter\na_total 3\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn format_is_the_one_that_the_scraper_prefers() {
        let negotiate = |accept| TextFormat::negotiate(Some(accept));
        assert_eq!(TextFormat::negotiate(None), TextFormat::Prometheus);
        assert_eq!(
            negotiate("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5"),
            TextFormat::OpenMetrics
        );
        assert_eq!(negotiate("application/openmetrics-text;version=1.0.0;q=0.2,*/*;q=0.5"), TextFormat::Prometheus);
        assert_eq!(negotiate("application/openmetrics-text;version=9.0.0,text/plain"), TextFormat::Prometheus);
        assert_eq!(negotiate("application/json"), TextFormat::Prometheus);
    }
}
