//! The parameters of a request: from the URL and from a form in the body, and what they mean.
//!
//! Source: Prometheus `web/api/v1/api.go`, `parseTime`, `parseDuration`, `parseLimitParam`; `model/labels` escaping of
//! label names in `prometheus/common/model`.

use std::borrow::Cow;
use std::time::Duration;

use super::error::ApiError;
use crate::model::{TimeRange, TimestampMs, duration};

/// The first moment that the API knows, as Prometheus has it: it leaves room for arithmetic.
pub const TIME_MIN_MS: TimestampMs = -TIME_MAX_MS;
/// The last moment that the API knows.
pub const TIME_MAX_MS: TimestampMs = (i64::MAX / 1000 - 62_135_596_801) * 1000;

/// The parameters of one request, those of the body first.
#[derive(Debug, Default, Clone)]
pub struct Params {
    pairs: Vec<(String, String)>,
    malformed: Option<String>,
}

impl Params {
    /// Reads the query of the URL, and a form of the body where there is one. As in Prometheus, a pair that is malformed
    /// counts as absent; only [`Params::well_formed`] minds it.
    pub fn parse(url_query: &str, form: Option<&[u8]>) -> Self {
        let mut params = Params::default();
        for text in [form.unwrap_or_default(), url_query.as_bytes()] {
            for pair in text.split(|byte| *byte == b'&') {
                match pair_fault(pair) {
                    None => params.pairs.extend(form_urlencoded::parse(pair).into_owned()),
                    Some(fault) => {
                        params.malformed.get_or_insert(fault);
                    }
                }
            }
        }
        params
    }

    /// These parameters, unless one of them is malformed: what the endpoints say that read the whole form first.
    pub fn well_formed(self) -> Result<Self, ApiError> {
        match self.malformed {
            None => Ok(self),
            Some(fault) => Err(ApiError::bad_data(format!("error parsing form values: {fault}"))),
        }
    }

    /// The first value of a parameter. An empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let first = self.pairs.iter().find(|(known, _)| known == name);
        first.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a moment.
    pub fn time(&self, name: &str) -> Result<Option<TimestampMs>, ApiError> {
        let parse = |text| parse_time(text).map_err(|fault| ApiError::parameter(name, fault));
        self.get(name).map(parse).transpose()
    }

    /// A moment that may be left out. Prometheus names it twice where it cannot be read.
    pub fn optional_time(&self, name: &str) -> Result<Option<TimestampMs>, ApiError> {
        let named = |fault| ApiError::parameter(name, format!("invalid time value for '{name}': {fault}"));
        self.get(name).map(|text| parse_time(text).map_err(named)).transpose()
    }

    /// A parameter that is true or false, as Go reads it.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let parse = |text| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            text => {
                let fault =
                    format!("unable to parse boolean: strconv.ParseBool: parsing {}: invalid syntax", quoted(text));
                Err(ApiError::parameter(name, fault))
            }
        };
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

    /// `start` and `end` of the metadata endpoints; all of time where they are absent. A range that ends before it
    /// starts is an empty one.
    pub fn time_range(&self) -> Result<TimeRange, ApiError> {
        let start_ms = self.optional_time("start")?.unwrap_or(TIME_MIN_MS);
        let end_ms = self.optional_time("end")?.unwrap_or(TIME_MAX_MS);
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
    if !is_rfc3339(text) {
        return Err(fault());
    }
    let moment: jiff::Timestamp = whole_nanoseconds(text).parse().map_err(|_| fault())?;
    Ok(moment.as_millisecond())
}

/// A moment without the digits behind the ninth of its fraction, which say nothing about milliseconds.
fn whole_nanoseconds(text: &str) -> Cow<'_, str> {
    let Some((moment, fraction)) = text.split_once(['.', ',']) else { return Cow::Borrowed(text) };
    let digits = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    let (digits, offset) = fraction.split_at(digits);
    Cow::Owned(format!("{moment}.{digits:.9}{offset}"))
}

/// Whether a text has the form of RFC 3339 as Go has it: capital letters, seconds, none of them a leap second, and an
/// offset with a colon. Whether the day exists shows later.
fn is_rfc3339(text: &str) -> bool {
    let digits = |text: &str, form: &str| {
        text.len() == form.len()
            && text
                .bytes()
                .zip(form.bytes())
                .all(|(byte, form)| if form == b'0' { byte.is_ascii_digit() } else { byte == form })
    };
    const MOMENT: &str = "0000-00-00T00:00:00";
    let Some((moment, rest)) = text.split_at_checked(MOMENT.len()) else { return false };
    let offset_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (fraction, offset) = rest.split_at(offset_at);
    let fraction_fits = fraction.is_empty()
        || fraction.strip_prefix(['.', ',']).is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
    let offset_fits = offset == "Z" || digits(offset, "+00:00") || digits(offset, "-00:00");
    digits(moment, MOMENT) && !moment.ends_with(":60") && fraction_fits && offset_fits
}

/// Reads a float as Go does: with underscores between digits, in hexadecimal with an exponent of two, with any case of
/// `inf` and `nan`.
fn parse_float(text: &str) -> Option<f64> {
    let between_digits = |at: usize| {
        let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_hexdigit);
        // The prefix of a hexadecimal number counts as a digit.
        let after_prefix = text[..at].trim_start_matches(['+', '-']).eq_ignore_ascii_case("0x");
        (after_prefix || digit(at.checked_sub(1))) && digit(at.checked_add(1))
    };
    if !text.match_indices('_').all(|(at, _)| between_digits(at)) {
        return None;
    }
    let text = text.replace('_', "");
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    if let Some(hex) = magnitude.strip_prefix("0x").or_else(|| magnitude.strip_prefix("0X")) {
        return parse_hex_float(hex).map(|value| if negative { -value } else { value });
    }
    text.parse().ok()
}

/// Reads `1.8p3`: hexadecimal digits, which a double holds exactly as long as they are few, times a power of two.
fn parse_hex_float(hex: &str) -> Option<f64> {
    /// Digits that always fit into a double.
    const DIGITS_MAX: usize = 13;
    let (mantissa, exponent) = hex.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let exponent: i32 = exponent.parse().ok()?;
    let scale = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    Some(u64::from_str_radix(&digits, 16).ok()? as f64 * f64::from(scale).exp2())
}

/// What is wrong with one pair of a form, as Go words it.
fn pair_fault(pair: &[u8]) -> Option<String> {
    if pair.contains(&b';') {
        return Some("invalid semicolon separator in query".to_owned());
    }
    let is_hex = |at: usize| pair.get(at).is_some_and(u8::is_ascii_hexdigit);
    let escapes = pair.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let (at, _) = escapes.into_iter().find(|(at, _)| !is_hex(at + 1) || !is_hex(at + 2))?;
    let shown = pair.get(at..pair.len().min(at + 3)).unwrap_or_default();
    Some(format!("invalid URL escape {:?}", String::from_utf8_lossy(shown)))
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
        // Cut twice, to whole nanoseconds and then milliseconds, as Prometheus does: a step of 33.3 is one of 33.299 s.
        return Ok(nanos as i64 / 1_000_000);
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
    fn times_in_other_forms_than_go_reads_are_refused() {
        assert_eq!(parse_time("1970-01-01T00:00:01,5Z"), Ok(1500));
        assert_eq!(parse_time("1970-01-01T00:00:01.0019-00:01"), Ok(61_001));
        assert_eq!(parse_time("1970-01-01T00:00:01.00199999999999Z"), Ok(1001));
        for text in [
            "1970-01-01t00:00:01Z",
            "1970-01-01T00:00:01z",
            "1970-01-01 00:00:01Z",
            "1970-01-01T00:00Z",
            "1970-01-01T00:00:01",
            "1970-01-01T00:00:01.Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:01+0100",
            "1970-01-01T00:00:01+01",
            "1970-01-01T00:00:01Z[UTC]",
            "1971-02-29T00:00:00Z",
            "+001970-01-01T00:00:01Z",
            "1970-01-01T00:00:0\u{e9}",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn floats_are_read_as_go_reads_them() {
        let read =
            [("1_000", 1000.0), ("1_0.5_0", 10.5), ("0x1p4", 16.0), ("0X_1.8p1", 3.0), ("-0x1p-1", -0.5), ("+5", 5.0)];
        for (text, value) in read {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        for text in ["_1", "1_", "1__0", "1._5", "0x10", "0x", "0xp1", "0x1p", "-+1", "0x-1p1", " 1", ""] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }

    #[test]
    fn params_that_are_malformed_count_as_absent_unless_the_whole_form_is_asked_for() {
        let params = Params::parse("a=1;b=2&c=%zz&d=%41", Some(b"e=5&f=%4"));
        assert_eq!(
            ["a", "b", "c", "d", "e", "f"].map(|name| params.get(name)),
            [None, None, None, Some("A"), Some("5"), None]
        );
        assert_eq!(params.well_formed().unwrap_err().message, "error parsing form values: invalid URL escape \"%4\"");
        let fault = |text| Params::parse(text, None).well_formed().unwrap_err().message;
        assert_eq!(fault("a=1;b=2"), "error parsing form values: invalid semicolon separator in query");
        assert!(Params::parse("a=%41&b", None).well_formed().is_ok());
    }

    #[test]
    fn durations_are_read_as_seconds_or_units() {
        for (text, ms) in [
            ("15", 15_000),
            ("0.5", 500),
            ("1m30s", 90_000),
            ("-1", -1000),
            ("33.3", 33_299),
            ("0.0009", 0),
            ("5ms", 5),
        ] {
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
