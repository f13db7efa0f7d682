//! `/federate`: the newest sample of the series that are asked for, as text or protobuf that another Prometheus scrapes.
//!
//! Native histograms are in the protobuf alone: text has no room for them. Those with custom buckets are in neither, since
//! the messages cannot say their bounds.
//!
//! Source: Prometheus `web/federate.go`; `prometheus/common/expfmt`, `Negotiate`.

mod protobuf;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use hyper::header::ACCEPT;
use hyper::{HeaderMap, Response, StatusCode};

use super::encoding::accepts_gzip;
use super::error::ApiError;
use super::response::{self, ApiBody};
use super::selection::{Bounds, distinct_selectors};
use super::{Api, ApiRequest, off_the_way};
use crate::encoding::go_float::{write_exponent, write_plain};
use crate::model::{FloatHistogram, LabelSet, METRIC_NAME, Matcher, TimeRange, TimestampMs, is_stale_nan};
use crate::storage::{Column, Queryable, SelectHints, SelectedSeries};
use crate::telemetry::exposition::write_escaped;

impl Api {
    pub(super) async fn federate(
        self: &Arc<Self>,
        request: ApiRequest,
        data: Arc<dyn Queryable>,
    ) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let selectors = match distinct_selectors(&params) {
            Ok(selectors) => selectors,
            Err(fault) => return Ok(response::text(StatusCode::BAD_REQUEST, format!("{fault}\n"))),
        };
        let gzip = accepts_gzip(&request.headers);
        let escaping = Escaping::negotiate(&request.headers);
        let is_protobuf = protobuf::is_asked_for(&request.headers);
        let now_ms = self.clock.now_ms();
        let lookback_ms = self.options.engine.lookback_delta_ms;
        let bounds = Bounds::of_query(self);
        let permit = self.place(self.options.engine.timeout).await?;
        self.metrics.usage.note(selectors.iter().map(Vec::as_slice), now_ms);
        let body = off_the_way(move || {
            let _permit = permit;
            let range = TimeRange::new(now_ms.saturating_sub(lookback_ms).saturating_add(1), now_ms);
            let newest = newest_samples(&*data, &selectors, range, &bounds)?;
            Ok(if is_protobuf { protobuf::families(&newest, escaping) } else { text(&newest, escaping).into_bytes() })
        })
        .await?;
        let content_type = if is_protobuf { protobuf::content_type(escaping) } else { escaping.content_type() };
        let mut response = response::with_type(StatusCode::OK, content_type, body);
        response::compress_whole(&mut response, gzip);
        Ok(response)
    }
}

/// The newest sample of a series.
struct Newest {
    labels: LabelSet,
    timestamp_ms: TimestampMs,
    value: f64,
    /// What the value is the sum of, if it is one.
    histogram: Option<FloatHistogram>,
}

/// How names are written that do not fit into the old alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escaping {
    /// In quotes, for a scraper that says that it reads them.
    Utf8,
    /// With underscores in place of what does not fit.
    Underscores,
}

impl Escaping {
    /// What the client asks for. One that says nothing may be too old for quoted names.
    fn negotiate(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut terms = accepts.flat_map(|value| value.split([',', ';'])).map(str::trim);
        if terms.any(|term| term == "escaping=allow-utf-8") { Escaping::Utf8 } else { Escaping::Underscores }
    }

    fn content_type(self) -> &'static str {
        match self {
            Escaping::Utf8 => "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            Escaping::Underscores => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        }
    }

    fn apply(self, name: &str, colons: bool) -> Cow<'_, str> {
        if self == Escaping::Utf8 || is_plain_name(name, colons) {
            return Cow::Borrowed(name);
        }
        let fits = |at: usize, c: char| match c {
            '0'..='9' => at > 0,
            ':' => colons,
            c => c == '_' || c.is_ascii_alphabetic(),
        };
        Cow::Owned(name.char_indices().map(|(at, c)| if fits(at, c) { c } else { '_' }).collect())
    }
}

/// The newest sample of each series, by the series' names first, whatever labels sort before those.
fn newest_samples(
    data: &dyn Queryable,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    bounds: &Bounds,
) -> Result<Vec<Newest>, ApiError> {
    let querier = data.querier(range)?;
    // `{}` is no way to ask for everything.
    let selectors = selectors.iter().filter(|matchers| !matchers.is_empty());
    let mut series = bounds.select(&*querier, selectors, SelectHints::default())?;
    series.sort_by(|a, b| name_of(&a.labels).cmp(name_of(&b.labels)));
    let mut bytes: u64 = series.iter().map(|one| SelectedSeries::bytes_of(&one.labels)).sum();
    let mut newest = Vec::with_capacity(series.len());
    let mut column = Column::default();
    for one in series {
        bounds.check_time()?;
        column.clear();
        one.samples.read(range, &mut column)?;
        let (Some(&timestamp_ms), Some(&value)) = (column.timestamps_ms.last(), column.values.last()) else { continue };
        if is_stale_nan(value) {
            continue;
        }
        let last = column.len() - 1;
        let histogram = column.histograms.pop().filter(|(index, _)| *index == last).map(|(_, histogram)| histogram);
        bytes += histogram.as_ref().map_or(0, |histogram| histogram.size_bytes() as u64);
        bounds.check_bytes(bytes)?;
        newest.push(Newest { labels: one.labels, timestamp_ms, value, histogram });
    }
    Ok(newest)
}

fn text(newest: &[Newest], escaping: Escaping) -> String {
    let mut text = String::new();
    let mut last_name: Option<String> = None;
    for one in newest.iter().filter(|one| one.histogram.is_none()) {
        let name = &*escaping.apply(name_of(&one.labels), true);
        if last_name.as_deref() != Some(name) {
            text.push_str("# TYPE ");
            write_name(&mut text, name, true);
            text.push_str(" untyped\n");
            last_name = Some(name.to_owned());
        }
        write_series(&mut text, name, &one.labels, escaping);
        text.push(' ');
        write_value(&mut text, one.value);
        // Writing to a String cannot fail.
        let _ = writeln!(text, " {}", one.timestamp_ms);
    }
    text
}

fn name_of(labels: &LabelSet) -> &str {
    labels.metric_name().unwrap_or("")
}

/// Writes name and labels. A series without `instance` gets an empty one, so that the scraper does not put its own there.
fn write_series(text: &mut String, name: &str, labels: &LabelSet, escaping: Escaping) {
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
        write_name(text, &escaping.apply(label, false), false);
        text.push('=');
        write_quoted(text, value);
        separator = ',';
    }
    text.push('}');
}

/// Writes a value as Go's shortest general form: with an exponent from a million on, and below a ten-thousandth.
fn write_value(text: &mut String, value: f64) {
    let mut out = Vec::new();
    let magnitude = value.abs();
    if magnitude.is_finite() && magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        write_exponent(&mut out, value);
    } else {
        write_plain(&mut out, value);
    }
    text.push_str(&String::from_utf8_lossy(&out));
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
    use hyper::header::HeaderValue;

    use super::*;

    fn series_escaped(pairs: &[(&str, &str)], escaping: Escaping) -> String {
        let labels = LabelSet::from_pairs(pairs.iter().copied());
        let mut text = String::new();
        write_series(&mut text, &escaping.apply(labels.metric_name().unwrap(), true), &labels, escaping);
        text
    }

    fn series(pairs: &[(&str, &str)]) -> String {
        series_escaped(pairs, Escaping::Utf8)
    }

    #[test]
    fn federated_names_are_quoted_only_for_a_client_that_asks_for_it() {
        let pairs = [("__name__", "http.size"), ("0a", "1"), ("a:b", "2"), ("\u{65e5}\u{672c}", "3")];
        let written = series_escaped(&pairs, Escaping::Underscores);
        assert_eq!(written, r#"http_size{_a="1",a_b="2",__="3",instance=""}"#);
        let negotiate = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            Escaping::negotiate(&headers)
        };
        assert_eq!(negotiate("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4, */*;q=0.2"), Escaping::Utf8);
        assert_eq!(negotiate("text/plain;version=0.0.4;escaping=dots"), Escaping::Underscores);
        assert_eq!(Escaping::negotiate(&HeaderMap::new()), Escaping::Underscores);
    }

    #[test]
    fn federated_values_are_written_as_go_writes_them() {
        let text = |value| {
            let mut text = String::new();
            write_value(&mut text, value);
            text
        };
        for (value, expected) in [
            (60.0, "60"),
            (-0.0, "-0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e20, "1e+20"),
            (1e21, "1e+21"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (-1_234_567.0, "-1.234567e+06"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(text(value), expected);
        }
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
