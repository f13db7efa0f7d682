//! One question to both programs, and what tells their answers apart.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::http;
use crate::interop::answers::{annotations, value_difference};

/// What the mathematical libraries of Go and of the system may differ by, relative to the value.
const TOLERANCE: f64 = 1e-12;

/// A query and the times that it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The expression.
    pub expression: String,
    /// The times.
    pub times: Times,
    /// Whether values are compared to [`TOLERANCE`] only.
    pub inexact: bool,
    /// How far back a sample is looked for, where that is asked for.
    pub lookback: Option<&'static str>,
}

/// The times of a query, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    /// One time.
    Instant(i64),
    /// Start, end, step.
    Range(i64, i64, i64),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Value,
}

/// How two answers differ, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One is an error, or they are errors of another status or type.
    Status,
    /// The errors' texts.
    Error,
    /// Series, times or values.
    Values,
    /// Warnings or infos.
    Annotations,
    /// The order of elements.
    Order,
}

/// A difference.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Its kind.
    pub kind: Kind,
    /// It in words: what Chronolith says, not what Prometheus says.
    pub text: String,
}

impl Question {
    /// Asks a server.
    pub fn ask(&self, address: SocketAddr) -> Answer {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (path, mut parameters) = match self.times {
            Times::Instant(time_ms) => ("/api/v1/query", vec![("time", seconds(time_ms))]),
            Times::Range(start_ms, end_ms, step_ms) => (
                "/api/v1/query_range",
                vec![("start", seconds(start_ms)), ("end", seconds(end_ms)), ("step", seconds(step_ms))],
            ),
        };
        parameters.push(("query", self.expression.clone()));
        parameters.extend(self.lookback.map(|lookback| ("lookback_delta", lookback.to_owned())));
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let response = http::post_form(address, path, &parameters).unwrap_or_else(|error| panic!("{self:?}: {error}"));
        Answer { status: response.status, body: response.json() }
    }

    /// Whether it is about a range of times.
    pub fn is_range(&self) -> bool {
        matches!(self.times, Times::Range(..))
    }
}

impl Answer {
    /// The error's text, or nothing.
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    /// Whether it holds series or a value.
    pub fn has_data(&self) -> bool {
        self.body["data"]["result"].as_array().is_some_and(|list| !list.is_empty())
    }

    /// Warnings and infos, in one order.
    pub fn annotations(&self) -> Vec<String> {
        annotations(&self.body)
    }
}

/// How Chronolith's answer differs from that of Prometheus.
pub fn difference(question: &Question, expected: &Answer, actual: &Answer) -> Option<Difference> {
    let differ = |kind, text| Some(Difference { kind, text });
    let kind_of = |answer: &Answer| answer.body["errorType"].clone();
    if expected.status != actual.status || kind_of(expected) != kind_of(actual) {
        let text = |answer: &Answer| format!("{} {:.400}", answer.status, answer.body.to_string());
        return differ(Kind::Status, format!("{}\n    not {}", text(actual), text(expected)));
    }
    if expected.error() != actual.error() {
        return differ(Kind::Error, format!("{}\n    not {}", actual.error(), expected.error()));
    }
    let tolerance = if question.inexact { TOLERANCE } else { 0.0 };
    if let Some(text) = value_distance(expected, actual, tolerance) {
        return differ(Kind::Values, text);
    }
    let notes = (expected.annotations(), actual.annotations());
    if notes.0 != notes.1 {
        return differ(Kind::Annotations, format!("{:?}\n    not {:?}", notes.1, notes.0));
    }
    let order =
        order_of(&expected.body).into_iter().zip(order_of(&actual.body)).position(|(left, right)| left != right);
    order.and_then(|position| differ(Kind::Order, format!("element {position} is another one")))
}

/// The first place where series, times, or values differ, these by more than `tolerance`.
pub fn value_distance(expected: &Answer, actual: &Answer, tolerance: f64) -> Option<String> {
    let data = |answer: &Answer| in_order(&answer.body["data"]);
    value_difference("data", &data(expected), &data(actual), tolerance)
}

/// The labels of the series, in their order.
fn order_of(body: &Value) -> Vec<&Value> {
    body["data"]["result"].as_array().into_iter().flatten().map(|element| &element["metric"]).collect()
}

/// An answer's data with its series in the order of their labels.
fn in_order(data: &Value) -> Value {
    let mut data = data.clone();
    if matches!(data["resultType"].as_str(), Some("vector" | "matrix"))
        && let Some(list) = data["result"].as_array_mut()
    {
        list.sort_by_cached_key(|element| element["metric"].to_string());
    }
    data
}
