//! Tests of the engine on parsed expressions over a storage in memory.

mod aggregations;
mod bounds;
mod cost;
mod equivalence;
mod info;
mod operators;
mod selectors;

use std::sync::Arc;
use std::time::Duration;

use super::{Engine, EngineOptions, QueryError, QueryOptions, QueryResult, QueryValue};
use crate::clock::ManualClock;
use crate::model::LabelSet;
use crate::promql::parser::parse_expr;
use crate::promql::testing::MemoryStorage;

/// A second in milliseconds.
const SECOND: i64 = 1000;

/// A minute in milliseconds.
const MINUTE: i64 = 60 * SECOND;

fn engine(options: EngineOptions) -> Engine {
    Engine::new(options, Arc::new(ManualClock::at(0)))
}

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied())
}

/// A storage of series with one sample every 10 s from 0 on; NaN leaves one out.
fn storage(series: &[(&[(&str, &str)], &[f64])]) -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for (pairs, values) in series {
        let labels = labels(pairs);
        for (index, value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            storage.append(&labels, index as i64 * 10 * SECOND, *value);
        }
    }
    storage
}

fn instant(storage: &MemoryStorage, query: &str, time_ms: i64) -> Result<QueryResult, QueryError> {
    let expr = parse_expr(query).unwrap();
    engine(EngineOptions::default()).instant(storage, &expr, time_ms, &QueryOptions::default())
}

fn range(storage: &MemoryStorage, query: &str, start: i64, end: i64, step: i64) -> Result<QueryResult, QueryError> {
    let expr = parse_expr(query).unwrap();
    engine(EngineOptions::default()).range(storage, &expr, start, end, step, &QueryOptions::default())
}

/// The samples of an instant vector as text: labels and value, in the order of the result.
fn vector(storage: &MemoryStorage, query: &str, time_ms: i64) -> Vec<String> {
    match instant(storage, query, time_ms).unwrap().value {
        QueryValue::Vector(samples) => {
            samples.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect()
        }
        other => panic!("{query} gave {other:?}"),
    }
}

/// The series of a matrix as text: labels, and value at time in seconds.
fn matrix_text(value: &QueryValue) -> Vec<String> {
    let QueryValue::Matrix(matrix) = value else { panic!("{value:?} is no matrix") };
    let one = |series: &super::MatrixSeries| {
        let samples = series.samples.timestamps_ms.iter().zip(&series.samples.values);
        let samples: Vec<String> = samples.map(|(at_ms, value)| format!("{value}@{}", at_ms / SECOND)).collect();
        format!("{} {}", series.labels, samples.join(" "))
    };
    matrix.iter().map(one).collect()
}

fn matrix(storage: &MemoryStorage, query: &str, start: i64, end: i64, step: i64) -> Vec<String> {
    matrix_text(&range(storage, query, start, end, step).unwrap().value)
}

/// The text of the error that a query ends with.
fn failure(storage: &MemoryStorage, query: &str, time_ms: i64) -> String {
    instant(storage, query, time_ms).unwrap_err().to_string()
}
