//! The answers of a server to a fixed list of questions, and the differences between two servers' answers.

use std::net::SocketAddr;

use serde_json::Value;

use super::queries::{Compare, QUERIES};
use crate::harness::http;

/// The times that are asked for: both servers hold everything in between.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Start, in seconds.
    pub start: f64,
    /// End, in seconds.
    pub end: f64,
    /// Step, in seconds.
    pub step: f64,
}

/// One question and its answer.
#[derive(Debug, Clone)]
pub struct Answer {
    question: String,
    compare: Compare,
    status: u16,
    body: Value,
}

/// A list of questions.
#[derive(Debug, Clone, Copy)]
pub struct Questions {
    /// Expressions, asked for the end and, where the answer may be compared, for the range.
    pub queries: &'static [(Compare, &'static str)],
    /// Paths about labels and series, and the selector that is asked with.
    pub searches: &'static [(&'static str, Option<&'static str>)],
}

/// Questions about what node_exporter and Prometheus export.
const EXPORTED: Questions = Questions {
    queries: QUERIES,
    searches: &[
        ("/api/v1/labels", None),
        ("/api/v1/labels", Some("node_cpu_seconds_total")),
        ("/api/v1/label/__name__/values", None),
        ("/api/v1/label/job/values", None),
        ("/api/v1/label/mode/values", Some("{cpu=\"0\"}")),
        ("/api/v1/series", Some("node_cpu_seconds_total{mode=~\"i.*\"}")),
        ("/api/v1/series", Some("{job=\"prometheus\"}")),
    ],
};

/// Asks a server everything about what node_exporter and Prometheus export.
pub fn ask(address: SocketAddr, window: Window) -> Vec<Answer> {
    ask_all(address, window, &EXPORTED)
}

/// Asks a server a list of questions, and some that are none.
pub fn ask_all(address: SocketAddr, window: Window, questions: &Questions) -> Vec<Answer> {
    let (start, end, step) =
        (format!("{:.3}", window.start), format!("{:.3}", window.end), format!("{:.3}", window.step));
    let mut answers = Vec::new();
    let mut ask = |compare, path: &str, parameters: &[(&str, &str)]| {
        let response = http::get(address, &format!("{path}?{}", http::form(parameters)))
            .unwrap_or_else(|error| panic!("{path} {parameters:?}: {error}"));
        let question = format!("{path} {}", parameters.iter().map(|(_, value)| *value).collect::<Vec<_>>().join(" "));
        answers.push(Answer { question, compare, status: response.status, body: response.json() });
    };
    for &(compare, query) in questions.queries {
        ask(compare, "/api/v1/query", &[("query", query), ("time", &end)]);
        if !matches!(compare, Compare::Instant | Compare::Ordered | Compare::Sorted) {
            ask(compare, "/api/v1/query_range", &[("query", query), ("start", &start), ("end", &end), ("step", &step)]);
        }
    }
    for &(path, matcher) in questions.searches {
        let mut parameters = vec![("start", &*start), ("end", &*end)];
        parameters.extend(matcher.map(|matcher| ("match[]", matcher)));
        ask(Compare::Exact, path, &parameters);
    }
    // What is no query is refused in the same way.
    for wrong in ["sum(", "rate(up)", "up{", "no_such_function(up)", "up + on (job) group_left () up[5m]"] {
        ask(Compare::Exact, "/api/v1/query", &[("query", wrong), ("time", &end)]);
    }
    answers
}

impl Answer {
    /// Whether Prometheus' engine panicked, which says nothing about the data. Seen with version 3.5.3.
    fn is_panic(&self) -> bool {
        self.status == 422 && self.body["error"].as_str().is_some_and(|error| error.contains("runtime error: "))
    }
}

/// How many questions ended in a panic of Prometheus' engine.
pub fn panics(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.is_panic()).count()
}

/// The error of the first question that a server could not evaluate, though it is a good one. Panics don't count.
pub fn failure(answers: &[Answer]) -> Option<String> {
    let failed = answers.iter().find(|answer| (answer.status == 422 || answer.status >= 500) && !answer.is_panic())?;
    Some(format!("{}: {} {:.300}", failed.question, failed.status, failed.body.to_string()))
}

/// How many answers of a peer hold data: a comparison of nothing with nothing proves little.
pub fn non_empty(answers: &[Answer]) -> usize {
    let holds = |body: &Value| {
        let data = &body["data"];
        data.get("result").unwrap_or(data).as_array().is_some_and(|list| !list.is_empty())
    };
    answers.iter().filter(|answer| holds(&answer.body)).count()
}

/// Panics with every question that two servers answer differently. Where Prometheus' engine panicked there is no answer
/// to compare.
pub fn assert_equal(what: &str, expected: &[Answer], actual: &[Answer]) {
    assert_eq!(expected.len(), actual.len());
    let differences: Vec<String> = expected
        .iter()
        .zip(actual)
        .filter(|(expected, actual)| !expected.is_panic() && !actual.is_panic())
        .filter_map(|(expected, actual)| {
            let difference = difference(expected, actual)?;
            Some(format!("{}\n    {difference}", expected.question))
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{what}: {} of {} answers differ\n{}",
        differences.len(),
        expected.len(),
        differences.join("\n")
    );
    let left_out = expected.iter().zip(actual).filter(|(one, other)| one.is_panic() || other.is_panic()).count();
    let (equal, with_data) = (expected.len() - left_out, non_empty(expected));
    eprintln!(
        "{what}: {equal} answers equal, {with_data} of them with data, {left_out} left out as Prometheus panicked"
    );
}

fn difference(expected: &Answer, actual: &Answer) -> Option<String> {
    if expected.status != actual.status {
        let bodies = format!("{:.300}\n    not {:.300}", actual.body.to_string(), expected.body.to_string());
        return Some(format!("status {}, not {}: {bodies}", actual.status, expected.status));
    }
    if expected.status != 200 {
        let kind = |answer: &Answer| answer.body["errorType"].clone();
        return (kind(expected) != kind(actual)).then(|| format!("{}, not {}", kind(actual), kind(expected)));
    }
    let (expected_notes, actual_notes) = (annotations(&expected.body), annotations(&actual.body));
    if expected_notes != actual_notes {
        return Some(format!("annotations {actual_notes:?}, not {expected_notes:?}"));
    }
    if expected.compare == Compare::Sorted && values(&expected.body) != values(&actual.body) {
        return Some("the values are in another order".to_owned());
    }
    let in_order = expected.compare == Compare::Ordered;
    let (expected_data, actual_data) =
        (normal(&expected.body["data"], in_order), normal(&actual.body["data"], in_order));
    let tolerance = if expected.compare == Compare::Close { 1e-12 } else { 0.0 };
    value_difference("data", &expected_data, &actual_data, tolerance)
}

/// The values of an instant vector, in its order.
fn values(body: &Value) -> Vec<&Value> {
    body["data"]["result"].as_array().into_iter().flatten().map(|element| &element["value"][1]).collect()
}

/// Warnings and infos of an answer, in one order.
pub fn annotations(body: &Value) -> Vec<String> {
    let texts = |key: &str| {
        let list = body.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().map(|text| format!("{key}: {}", text.as_str().unwrap_or_default())).collect::<Vec<_>>()
    };
    let mut all = [texts("warnings"), texts("infos")].concat();
    all.sort();
    all
}

/// An answer with its elements in one order.
fn normal(data: &Value, in_order: bool) -> Value {
    let sort = |list: &Value| {
        let mut list = list.as_array().cloned().unwrap_or_default();
        list.sort_by_cached_key(|element| element.get("metric").unwrap_or(element).to_string());
        Value::Array(list)
    };
    match data.get("resultType").and_then(Value::as_str) {
        Some("vector" | "matrix") if !in_order => {
            serde_json::json!({ "resultType": data["resultType"], "result": sort(&data["result"]) })
        }
        Some(_) => data.clone(),
        None => sort(data),
    }
}

/// The first place where two values differ. Numbers in texts may do so by `tolerance`, relative to the larger.
pub fn value_difference(path: &str, expected: &Value, actual: &Value, tolerance: f64) -> Option<String> {
    match (expected, actual) {
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                let texts = |list: &[Value]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
                let (left_texts, right_texts) = (texts(left), texts(right));
                let missing = left_texts.iter().find(|text| !right_texts.contains(text));
                let extra = right_texts.iter().find(|text| !left_texts.contains(text));
                return Some(format!(
                    "{path}: {} elements, not {}; missing {:.200}; extra {:.200}",
                    right.len(),
                    left.len(),
                    missing.map_or("none", String::as_str),
                    extra.map_or("none", String::as_str)
                ));
            }
            let mut pairs = left.iter().zip(right).enumerate();
            pairs.find_map(|(i, (left, right))| value_difference(&format!("{path}[{i}]"), left, right, tolerance))
        }
        (Value::Object(left), Value::Object(right)) => {
            if left.keys().ne(right.keys()) {
                return Some(format!("{path}: {:.300}, not {:.300}", actual.to_string(), expected.to_string()));
            }
            left.iter().find_map(|(key, left)| value_difference(&format!("{path}.{key}"), left, &right[key], tolerance))
        }
        (Value::String(left), Value::String(right)) if left != right => {
            // A label's value may look like a number and is none.
            let is_value = tolerance > 0.0 && !path.contains(".metric.");
            let close = match (left.parse::<f64>(), right.parse::<f64>()) {
                (Ok(left), Ok(right)) if is_value => {
                    let distance = (left - right).abs();
                    left.signum() == right.signum() && distance <= tolerance * left.abs().max(right.abs())
                }
                _ => false,
            };
            (!close).then(|| format!("{path}: {right}, not {left}"))
        }
        _ => (expected != actual).then(|| format!("{path}: {actual}, not {expected}")),
    }
}
