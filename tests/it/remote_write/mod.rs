//! Remote write against the running server: what is stored is read back through the API, in both versions of the protocol.
//!
//! | module | shows |
//! |---|---|
//! | [`spec`] | the rules of the specification of version 2.0 that bind receivers, one test each |
//! | [`pains`] | that what well-known receivers were seen to do does not happen here |
//! | [`property`] | for random batches that what is stored is what was sent, less what the answers name |

mod pains;
mod property;
mod spec;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::harness::chronolith::{start, start_with};
use crate::harness::http::{self, Response};
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, now_ms, remote_write_2};

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    const BOTH: [Version; 2] = [Version::One, Version::Two];

    /// The message of series.
    fn encode(self, series: &[Series]) -> Vec<u8> {
        match self {
            Version::One => remote_write::encode(series),
            Version::Two => {
                let mut request = remote_write_2::Request::default();
                series.iter().for_each(|series| request.push_version_1(series));
                request.encode()
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Version::One => "application/x-protobuf",
            Version::Two => remote_write_2::CONTENT_TYPE,
        }
    }

    fn send(self, address: SocketAddr, series: &[Series]) -> Response {
        self.send_raw(address, &remote_write::compress(&self.encode(series)))
    }

    fn send_raw(self, address: SocketAddr, body: &[u8]) -> Response {
        match self {
            Version::One => remote_write::send_raw(address, body),
            Version::Two => remote_write_2::send_raw(address, body),
        }
        .unwrap()
    }
}

/// What the three headers say was written: samples, histograms, exemplars.
fn written(answer: &Response) -> [u64; 3] {
    ["samples", "histograms", "exemplars"].map(|kind| {
        let name = format!("x-prometheus-remote-write-{kind}-written");
        let values: Vec<&str> =
            answer.headers.iter().filter(|(key, _)| *key == name).map(|(_, v)| v.as_str()).collect();
        assert_eq!(values.len(), 1, "{name}: {:?}", answer.headers);
        values[0].parse().unwrap()
    })
}

/// Nothing was refused.
fn assert_stored(answer: &Response) {
    assert_eq!((answer.status, answer.text()), (204, String::new()));
}

/// Something was refused, and the text says what.
fn assert_refused(answer: &Response, words: &[&str]) {
    let text = answer.text();
    assert_eq!(answer.status, 400, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

/// The raw samples of a selector up to now, by series in one order: labels, and pairs of time and value as the API has
/// them.
fn stored(server: &Chronolith, selector: &str) -> Vec<(String, Vec<(i64, Value)>)> {
    let data = server.query(&format!("{selector}[1d]"), now_ms() as f64 / 1000.0 + 300.0);
    let pairs = |series: &Value, key: &str| -> Vec<(i64, Value)> {
        let samples = series.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        samples.iter().map(|pair| ((pair[0].as_f64().unwrap() * 1000.0).round() as i64, pair[1].clone())).collect()
    };
    let mut all: Vec<_> = data["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| {
            let mut samples = [pairs(series, "values"), pairs(series, "histograms")].concat();
            samples.sort_by_key(|(time, _)| *time);
            (series["metric"].to_string(), samples)
        })
        .collect();
    all.sort_by(|left, right| left.0.cmp(&right.0));
    all
}

/// The floats of the only series of a selector.
fn floats(server: &Chronolith, selector: &str) -> Vec<(i64, f64)> {
    let all = stored(server, selector);
    assert!(all.len() <= 1, "{all:?}");
    let samples = all.into_iter().flat_map(|(_, samples)| samples);
    samples.map(|(time, value)| (time, value.as_str().unwrap().parse().unwrap())).collect()
}

/// How many series a selector finds.
fn count(server: &Chronolith, selector: &str) -> usize {
    stored(server, selector).len()
}

/// What the metadata API says of a family.
fn metadata(server: &Chronolith, family: &str) -> Value {
    let answer = http::get(server.address, &format!("/api/v1/metadata?metric={family}")).unwrap();
    answer.json()["data"][family].clone()
}

/// Ends a server and proves its directory.
fn verify(mut server: Chronolith, dir: &Path) {
    server.process.kill();
    crate::harness::chronolith::verify(&dir.join("data"), None);
}
