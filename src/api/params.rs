//! The parameters of a request: from the URL and from a form in the body, and what they mean.
//!
//! Source: Prometheus `web/api/v1/api.go`, `parseTime`, `parseDuration`, `parseLimitParam`; `model/labels` escaping of
//! label names in `prometheus/common/model`.

use std::time::Duration;

use super::error::ApiError;
use crate::model::{TimeRange, TimestampMs, duration};

/// The first moment that the API knows, as Prometheus has it: it leaves room for arithmetic.
pub const TIME_MIN_MS: TimestampMs = -TIME_MAX_MS;
/// The last moment that the API knows.
pub const TIME_MAX_MS: TimestampMs = (i64::MAX / 1000 - 62_135_596_801) * 1000;

/// The parameters of one request, those of the body first.
#[derive(Debug, Default, Clone)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query of the URL, and a form of the body where there is one.
    pub fn parse(url_query: &str, form: Option<&[u8]>) -> Self {
        let body = form_urlencoded::parse(form.unwrap_or_default());
        let url = form_urlencoded::parse(url_query.as_bytes());
        Params(body.chain(url).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of a parameter. An empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|(known, _)| known == name);
        first.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a moment.
    pub fn time(&self, name: &str) -> Result<Option<TimestampMs>, ApiError> {
        let parse = |text| parse_time(text).map_err(|fault| ApiError::parameter(name, fault));
        self.get(name).map(parse).transpose()
    }

    /// A parameter that is a duration, in milliseconds.
    pub fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let parse = |text| parse_duration_ms(text).map_err(|fault| ApiError::parameter(name, fault));
        self.get(name).map(parse).transpose()
    }

    /// `limit`: how many results at most; `None` for all.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(0) => Ok(None),
            Ok(limit) if limit > 0 => Ok(Some(usize::try_from(limit).unwrap_or(usize::MAX))),
            Ok(_) => Err(ApiError::parameter("limit", "limit must be non-negative")),
            Err(_) => Err(ApiError::parameter("limit", format!("cannot parse {} to a valid limit", quoted(text)))),
        }
    }

    /// `start` and `end` of the metadata endpoints; all of time where they are absent.
    pub fn time_range(&self) -> Result<TimeRange, ApiError> {
        let start_ms = self.time("start")?.unwrap_or(TIME_MIN_MS);
        let end_ms = self.time("end")?.unwrap_or(TIME_MAX_MS);
        if end_ms < start_ms {
            return Err(ApiError::parameter("end", "end timestamp must not be before start timestamp"));
        }
        Ok(TimeRange::new(start_ms, end_ms))
    }

    /// `timeout`, bounded by what the server allows.
    pub fn timeout(&self, most: Duration) -> Result<Duration, ApiError> {
        let asked = self.duration_ms("timeout")?.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()));
        Ok(asked.map_or(most, |asked| asked.min(most)))
    }
}

/// A text of the request in an error message: quoted, and cut where it is long.
pub fn quoted(text: &str) -> String {
    const SHOWN_CHARS: usize = 120;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Reads seconds since the epoch, or RFC 3339. A moment that lies too far away counts as the last one known.
pub fn parse_time(text: &str) -> Result<TimestampMs, String> {
    let fault = || format!("cannot parse {} to a valid timestamp", quoted(text));
    if let Some(seconds) = parse_float(text) {
        return if seconds.is_finite() { Ok(seconds_to_ms(seconds)) } else { Err(fault()) };
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| fault())?;
    Ok(moment.as_millisecond())
}

/// Reads a float as Go does: also in hexadecimal digits never, but with any case of `inf`.
fn parse_float(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn seconds_to_ms(seconds: f64) -> TimestampMs {
    let whole = seconds.trunc();
    let ms = whole * 1000.0 + ((seconds - whole) * 1000.0).round();
    (ms as i64).clamp(TIME_MIN_MS, TIME_MAX_MS)
}

/// Reads a duration: seconds as a float, or Prometheus' form (`1h30m`).
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let nanos = seconds * 1e9;
        if nanos.is_nan() || nanos >= i64::MAX as f64 || nanos <= i64::MIN as f64 {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", quoted(text)));
        }
        return Ok((seconds * 1000.0).round() as i64);
    }
    duration::parse_duration_ms(text).map_err(|_fault| format!("cannot parse {} to a valid duration", quoted(text)))
}

/// Undoes the escaping of a label name in a path: `U__http_2e_status` is `http.status`. Other names stay as they are.
pub fn unescape_label_name(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let decoded = rest.split_once('_').and_then(|(hex, after)| {
            let valid = (1..=6).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let c = valid.then(|| u32::from_str_radix(hex, 16).ok()).flatten().and_then(char::from_u32)?;
            Some((c, after))
        });
        // What is no valid escape makes the whole name one that only looks escaped.
        let Some((c, after)) = decoded else { return name.to_owned() };
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_of_body_and_url_are_both_read_and_the_body_comes_first() {
        let params = Params::parse("query=a&match[]=x", Some(b"query=b%2B1&match%5B%5D=y&time="));
        assert_eq!(params.get("query"), Some("b+1"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["y", "x"]);
        assert_eq!(params.get("time"), None);
    }

    #[test]
    fn times_are_read_as_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("0", 0),
            ("1.5", 1500),
            ("-1.5", -1500),
            ("1795219459.6984", 1_795_219_459_698),
            ("1e3", 1_000_000),
            ("1970-01-01T00:00:01Z", 1000),
            ("1970-01-01T01:00:00.250+01:00", 250),
            ("1e300", TIME_MAX_MS),
            ("-1e300", TIME_MIN_MS),
            ("1795219459698", 1_795_219_459_698_000),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        for text in ["", "now", "NaN", "Inf", "-inf", "1970-01-01", "1970-13-01T00:00:00Z", "1;2"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_seconds_or_units() {
        for (text, ms) in [("15", 15_000), ("0.5", 500), ("1m30s", 90_000), ("-1", -1000), ("5ms", 5)] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["1.5h", "x", "30s1m", "1e300", "99999999y", "NaN"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_below_zero_and_words_are_refused() {
        let limit = |text: &str| Params::parse(&format!("limit={text}"), None).limit();
        assert_eq!(limit(""), Ok(None));
        assert_eq!(limit("0"), Ok(None));
        assert_eq!(limit("3"), Ok(Some(3)));
        assert!(limit("-1").is_err());
        assert!(limit("NaN").is_err());
    }

    #[test]
    fn label_names_are_unescaped_and_others_stay() {
        assert_eq!(unescape_label_name("U__http_2e_status"), "http.status");
        assert_eq!(unescape_label_name("U__a__b"), "a_b");
        assert_eq!(unescape_label_name("U___1f600_"), "\u{1f600}");
        assert_eq!(unescape_label_name("job"), "job");
        assert_eq!(unescape_label_name("U__a_zz_"), "U__a_zz_");
        assert_eq!(unescape_label_name("U__a_d800_"), "U__a_d800_");
    }

    #[test]
    fn quoted_texts_are_cut_at_a_character() {
        assert_eq!(quoted("a\"b"), r#""a\"b""#);
        let long = "\u{e9}".repeat(1000);
        assert!(quoted(&long).len() < 300);
    }
}
