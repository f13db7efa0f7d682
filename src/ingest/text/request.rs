//! What an import says about itself beside its body: the format, labels for all of its lines, and a time.
//!
//! Source: VictoriaMetrics, `/api/v1/import/prometheus`; Prometheus Pushgateway, `README.md`, "URL" (the grouping key).

use hyper::StatusCode;
use hyper::header::{self, HeaderMap};

use crate::ingest::answer::{Refusal, shorten};
use crate::model::TimestampMs;
use crate::text::Dialect;

/// What all lines of an import have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRequest {
    /// By which rules its lines are read.
    pub dialect: Dialect,
    /// Labels that every series gets, in place of its own of these names.
    pub labels: Vec<(String, String)>,
    /// The time of lines that have none.
    pub timestamp_ms: TimestampMs,
}

impl ImportRequest {
    /// Reads headers, query and the rest of a path behind `/metrics/`. `now_ms` is when the request came.
    pub fn read(headers: &HeaderMap, query: &str, group: Option<&str>, now_ms: TimestampMs) -> Result<Self, Refusal> {
        let content_type = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let dialect = dialect_of(content_type.as_deref().unwrap_or_default())?;
        let mut request = ImportRequest { dialect, labels: Vec::new(), timestamp_ms: now_ms };
        if let Some(group) = group {
            request.read_group(group)?;
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "extra_label" => {
                    let Some((name, value)) = value.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                        let message = format!("extra_label has to be name=value, and is {:?}", shorten(&value));
                        return Err(Refusal::bad_request(message));
                    };
                    request.set_label(name.to_owned(), value.to_owned());
                }
                "timestamp" => {
                    request.timestamp_ms = value.parse().map_err(|_| {
                        let value = shorten(&value);
                        Refusal::bad_request(format!("timestamp has to be in whole milliseconds, and is {value:?}"))
                    })?;
                }
                _ => {}
            }
        }
        Ok(request)
    }

    /// A label that is given twice counts as given last.
    fn set_label(&mut self, name: String, value: String) {
        self.labels.retain(|(known, _)| *known != name);
        self.labels.push((name, value));
    }

    /// `job/<job>{/<label>/<value>}`; behind a name that ends in `@base64` the value is encoded so.
    fn read_group(&mut self, group: &str) -> Result<(), Refusal> {
        let mut parts = group.split('/').map(unescape);
        while let Some(name) = parts.next() {
            let value = parts.next().ok_or_else(|| {
                let name = shorten(&name);
                Refusal::bad_request(format!("the path has no value for the label {name:?}"))
            })?;
            let (name, value) = match name.strip_suffix("@base64") {
                None => (name, value),
                Some(name) => {
                    let decoded = decode_base64(&value).and_then(|bytes| String::from_utf8(bytes).ok());
                    let invalid = || {
                        let value = shorten(&value);
                        Refusal::bad_request(format!("the value of the label {name:?} is no base64: {value:?}"))
                    };
                    (name.to_owned(), decoded.ok_or_else(invalid)?)
                }
            };
            if name.is_empty() || name == "job" && value.is_empty() {
                return Err(Refusal::bad_request("the path has no name for a label, or no job"));
            }
            self.set_label(name, value);
        }
        Ok(())
    }
}

/// By which rules a body of this content type is read. Clients that know no better declare a form, or nothing.
fn dialect_of(content_type: &str) -> Result<Dialect, Refusal> {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let version = parts.find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("version").then(|| value.trim().trim_matches('"'))
    });
    match (media_type.as_str(), version) {
        ("text/plain", Some("0.0.4" | "1.0.0")) => Ok(Dialect::Prometheus),
        ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => Ok(Dialect::OpenMetrics),
        ("" | "text/plain" | "application/x-www-form-urlencoded" | "application/octet-stream", None) => {
            Ok(Dialect::Undeclared)
        }
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "content type {:?} is not read here; text/plain (version 0.0.4 or 1.0.0) and \
                 application/openmetrics-text (version 0.0.1 or 1.0.0) are",
                shorten(content_type)
            ),
        )),
    }
}

/// Undoes the escapes of a part of a path, in which a plus is a plus.
fn unescape(part: &str) -> String {
    let escaped = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// Base64 for URLs (RFC 4648, 5), with or without its padding. An empty value has to be a padding alone.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (held < 6 && bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, query: &str, group: Option<&str>) -> Result<ImportRequest, Refusal> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
        ImportRequest::read(&headers, query, group, 7)
    }

    fn labels(query: &str, group: Option<&str>) -> Vec<(String, String)> {
        read("", query, group).unwrap().labels
    }

    #[test]
    fn content_type_says_by_which_rules_lines_are_read() {
        for (content_type, dialect) in [
            ("text/plain; version=0.0.4; charset=utf-8", Dialect::Prometheus),
            ("text/plain;version=1.0.0;escaping=allow-utf-8", Dialect::Prometheus),
            ("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8", Dialect::OpenMetrics),
            ("Application/OpenMetrics-Text", Dialect::OpenMetrics),
            ("text/plain; charset=utf-8", Dialect::Undeclared),
            ("application/x-www-form-urlencoded", Dialect::Undeclared),
            ("", Dialect::Undeclared),
        ] {
            assert_eq!(read(content_type, "", None).unwrap().dialect, dialect, "{content_type}");
        }
        for content_type in [
            "application/openmetrics-text; version=2.0.0",
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            "application/json",
            "text/plain; version=3",
        ] {
            assert_eq!(read(content_type, "", None).unwrap_err().status.as_u16(), 415, "{content_type}");
        }
    }

    #[test]
    fn query_gives_labels_and_a_time() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = read("", "extra_label=a%3Db=c&x=y&timestamp=-5&extra_label=d=", None).unwrap();
        assert_eq!((request.labels, request.timestamp_ms), (vec![pair("a", "b=c"), pair("d", "")], -5));
        assert_eq!(labels("extra_label=a=1&extra_label=a=2", None), [pair("a", "2")]);
        for query in ["extra_label=a", "extra_label==b", "timestamp=1.5", "timestamp="] {
            assert_eq!(read("", query, None).unwrap_err().status.as_u16(), 400, "{query}");
        }
    }

    #[test]
    fn path_gives_the_labels_of_a_group() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(labels("", Some("job/a%2Fb+c")), [pair("job", "a/b+c")]);
        let expected = [pair("job", "a"), pair("y", "/var/tmp"), pair("x", "9")];
        assert_eq!(labels("extra_label=x=9", Some("job/a/x/1=2&3/y@base64/L3Zhci90bXA=")), expected);
        assert_eq!(labels("", Some("job@base64/w7w/x@base64/=")), [pair("job", "ü"), pair("x", "")]);
        for group in ["job/", "job", "job/a/x", "job/a//b", "job@base64/=", "job@base64/_w", "job@base64/a b"] {
            assert_eq!(read("", "", Some(group)).unwrap_err().status.as_u16(), 400, "{group}");
        }
    }

    #[test]
    fn base64_of_urls_is_decoded_with_and_without_padding() {
        assert_eq!(decode_base64("L3Zhci90bXA"), Some(b"/var/tmp".to_vec()));
        assert_eq!(decode_base64("L3Zhci90bXA="), Some(b"/var/tmp".to_vec()));
        assert_eq!(decode_base64("_-8="), Some(vec![0xff, 0xef]));
        assert_eq!(decode_base64("="), Some(Vec::new()));
        for wrong in ["a", "ab+/", "abcde", "=a", "ab c", "ab"] {
            assert_eq!(decode_base64(wrong), None, "{wrong}");
        }
    }
}
