//! Differences that are put into answers on purpose: each kind has to be reported, or the fuzzer shows nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::compare::{Answer, Question};

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A value differs in its last digit, or as little as is no longer within the tolerance.
    LastDigit,
    /// A zero has the other sign.
    SignOfZero,
    /// A series is missing.
    MissingSeries,
    /// One sample of a series is missing.
    MissingSample,
    /// A sample is a millisecond late.
    LateSample,
    /// A label has another value.
    Label,
    /// Two elements changed places.
    Order,
    /// An answer is an error.
    Failure,
    /// An error is one of another type.
    ErrorType,
    /// An error has another text.
    ErrorText,
    /// An annotation is missing.
    MissingAnnotation,
    /// There is an annotation more.
    MoreAnnotations,
    /// An annotation names another place of the expression.
    PlaceOfAnnotation,
}

/// All of them, and how many of a hundred have to be reported: the others are like a known difference, as a value of `info` is.
pub const PLANTS: &[(Plant, u64)] = &[
    (Plant::LastDigit, 85),
    (Plant::SignOfZero, 75),
    (Plant::MissingSeries, 85),
    (Plant::MissingSample, 85),
    (Plant::LateSample, 85),
    (Plant::Label, 85),
    (Plant::Order, 98),
    (Plant::Failure, 98),
    (Plant::ErrorType, 98),
    (Plant::ErrorText, 98),
    (Plant::MissingAnnotation, 80),
    (Plant::MoreAnnotations, 98),
    (Plant::PlaceOfAnnotation, 70),
];

/// Puts one kind of difference into every answer that can have it, and counts them.
#[derive(Debug)]
pub struct Planted {
    plant: Plant,
    count: AtomicU64,
}

impl Planted {
    /// Puts in `plant`.
    pub fn new(plant: Plant) -> Self {
        Planted { plant, count: AtomicU64::new(0) }
    }

    /// How many answers were changed.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The answer with the difference.
    pub fn put(&self, question: &Question, mut answer: Answer) -> Answer {
        let done = self.plant.put(question, &mut answer);
        self.count.fetch_add(u64::from(done.is_some()), Ordering::Relaxed);
        answer
    }
}

impl Plant {
    /// `None` where the answer has nothing that could differ so, and stays.
    fn put(self, question: &Question, answer: &mut Answer) -> Option<()> {
        let body = &mut answer.body;
        match self {
            Plant::LastDigit => change_value(body.get_mut("data")?, |value| {
                let is_usual = value.is_finite() && value.abs() > 1e-300;
                let further = if question.inexact { value * (1.0 + 1e-11) } else { value.next_up() };
                is_usual.then_some(further).filter(|further| further.is_finite())
            }),
            Plant::SignOfZero => change_value(body.get_mut("data")?, |value| (value == 0.0).then_some(-value)),
            Plant::MissingSeries => {
                let result = vector_or_matrix(body)?;
                (!result.is_empty()).then(|| drop(result.remove(result.len() / 2)))
            }
            Plant::MissingSample => {
                let samples =
                    vector_or_matrix(body)?.iter_mut().find_map(|one| one.get_mut("values")?.as_array_mut())?;
                (samples.len() > 1).then(|| drop(samples.remove(samples.len() / 2)))
            }
            Plant::LateSample => {
                let one = vector_or_matrix(body)?.last_mut()?;
                let place = ["/value/0", "/values/0/0"].into_iter().find(|place| one.pointer(place).is_some())?;
                let time = one.pointer_mut(place)?;
                *time = json!(time.as_f64()? + 0.001);
                Some(())
            }
            Plant::Label => {
                let is_labelled = |one: &&mut Value| one["metric"].as_object().is_some_and(|labels| !labels.is_empty());
                let one = vector_or_matrix(body)?.iter_mut().find(is_labelled)?;
                let value = one["metric"].as_object_mut()?.values_mut().next()?;
                *value = json!(format!("{}0", value.as_str()?));
                Some(())
            }
            Plant::Order => {
                let result = vector_or_matrix(body)?;
                let last = result.len().checked_sub(1)?;
                (last > 0).then(|| result.swap(0, last))
            }
            Plant::Failure => (answer.status == 200).then(|| {
                answer.status = 422;
                *body = json!({"status": "error", "errorType": "execution", "error": "planted"});
            }),
            Plant::ErrorType => (answer.status != 200).then(|| body["errorType"] = json!("internal")),
            Plant::ErrorText => {
                let text = format!("{}.", body.get("error")?.as_str()?);
                body["error"] = json!(text);
                Some(())
            }
            Plant::MissingAnnotation => annotations(body)?.pop().map(drop),
            Plant::MoreAnnotations => (answer.status == 200).then(|| body["infos"] = json!(["PromQL info: planted"])),
            Plant::PlaceOfAnnotation => {
                let last = annotations(body)?.last_mut()?;
                let (text, place) = last.as_str()?.rsplit_once(':')?;
                *last = json!(format!("{text}:9{place}"));
                Some(())
            }
        }
    }
}

fn vector_or_matrix(body: &mut Value) -> Option<&mut Vec<Value>> {
    let is_list = matches!(body["data"]["resultType"].as_str(), Some("vector" | "matrix"));
    if is_list { body.pointer_mut("/data/result")?.as_array_mut() } else { None }
}

fn annotations(body: &mut Value) -> Option<&mut Vec<Value>> {
    let kind = ["warnings", "infos"].into_iter().find(|kind| body.get(kind).is_some())?;
    body.get_mut(kind)?.as_array_mut()
}

/// Changes the first value of a sample for which there is another.
fn change_value(data: &mut Value, other: impl Fn(f64) -> Option<f64> + Copy) -> Option<()> {
    match data {
        Value::Array(list) => {
            // A sample is a pair of a time and a text.
            if let [Value::Number(_), Value::String(text)] = list.as_mut_slice() {
                *text = other(text.parse().ok()?)?.to_string();
                return Some(());
            }
            list.iter_mut().find_map(|one| change_value(one, other))
        }
        Value::Object(fields) => {
            ["result", "value", "values"].iter().find_map(|key| change_value(fields.get_mut(*key)?, other))
        }
        _ => None,
    }
}
