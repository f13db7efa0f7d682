//! Runs scripts: loads, evaluates, judges.

use std::sync::Arc;

use super::command::{CommandKind, Eval, EvalTimes, parse_script};
use super::compare::{judge_step, judge_value};
use super::pin::{other_times, pinned};
use super::store::Store;
use crate::clock::Clock;
use crate::model::TimestampMs;
use crate::promql::engine::{Engine, EngineOptions, QueryOptions, QueryValue};
use crate::promql::parser::ast::Expr;
use crate::promql::parser::{LanguageOptions, parse_expr_with};
use crate::promql::testing::MemoryStorage;

/// How scripts are run.
#[derive(Clone)]
pub struct ScriptOptions {
    /// How the engine behaves.
    pub engine: EngineOptions,
    /// Where the engine gets the time from; only timeouts depend on it.
    pub clock: Arc<dyn Clock>,
}

impl ScriptOptions {
    /// What Prometheus' own scripts are written for: a lookback of five minutes, subqueries every minute, and names
    /// that are removed at the end.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let engine = EngineOptions {
            lookback_delta_ms: 5 * 60 * 1000,
            default_subquery_step_ms: 60 * 1000,
            samples_max: 10_000,
            parallelism: 1,
            delayed_name_removal: true,
            start_timestamps: true,
            language: LanguageOptions::ALL,
            ..EngineOptions::default()
        };
        ScriptOptions { engine, clock }
    }
}

/// A command that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line of the command, from 1.
    pub line: usize,
    /// The query, or an empty text if the command is none.
    pub query: String,
    /// What is wrong.
    pub reason: String,
}

/// The outcome of one script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptReport {
    /// Queries that gave what they should.
    pub passed: usize,
    /// Queries that did not, and commands that cannot be read.
    pub failed: usize,
    /// Queries among the failed ones that do not parse.
    pub unparsed: usize,
    /// What failed, in the order of the script.
    pub failures: Vec<Failure>,
}

impl ScriptReport {
    fn fail(&mut self, line: usize, query: &str, reason: String) {
        self.failed += 1;
        self.failures.push(Failure { line, query: query.to_owned(), reason });
    }
}

/// Runs a script from an empty storage on. A failure does not end it.
pub fn run_script(text: &str, options: &ScriptOptions) -> ScriptReport {
    let engine = Engine::new(options.engine.clone(), options.clock.clone());
    let mut store = Store::default();
    let mut report = ScriptReport::default();
    for command in parse_script(text) {
        match command.kind {
            CommandKind::Clear => store = Store::default(),
            CommandKind::Load { step_ms, custom_buckets, series } => {
                if let Err(reason) = store.load(&series, step_ms, custom_buckets) {
                    report.fail(command.line, "", reason);
                }
            }
            CommandKind::Invalid { query, reason } => {
                report.unparsed += usize::from(query.is_some());
                report.fail(command.line, query.as_deref().unwrap_or_default(), reason);
            }
            CommandKind::Eval(eval) => match parse_expr_with(&eval.query, &options.engine.language) {
                Err(error) => {
                    report.unparsed += 1;
                    report.fail(command.line, &eval.query, error.to_string());
                }
                Ok(expr) => {
                    let judge = Judge { engine: &engine, storage: store.samples(), eval: &eval, expr: &expr };
                    match judge.run() {
                        Ok(()) => report.passed += 1,
                        Err(reason) => report.fail(command.line, &eval.query, reason),
                    }
                }
            },
        }
    }
    report
}

/// Evaluates one query, in all the ways that must give the same, and judges what comes out.
struct Judge<'a> {
    engine: &'a Engine,
    storage: &'a MemoryStorage,
    eval: &'a Eval,
    expr: &'a Expr,
}

/// A minute, by which the range that checks an instant query reaches to both sides.
const MINUTE_MS: i64 = 60_000;

impl Judge<'_> {
    fn run(&self) -> Result<(), String> {
        match self.eval.times {
            EvalTimes::Range(range) => {
                let options = QueryOptions::default();
                let result =
                    self.engine.range(self.storage, self.expr, range.start_ms, range.end_ms, range.step_ms, &options);
                match result {
                    Err(error) => self.eval.expectations.judge_error(&error.to_string()),
                    Ok(_) if self.eval.expectations.is_fail() => Err("expected error but got none".to_owned()),
                    Ok(result) => {
                        self.eval.expectations.judge_annotations(&self.eval.query, &result.annotations)?;
                        judge_value(self.eval, &result.value)
                    }
                }
            }
            EvalTimes::Instant(at_ms) => {
                // A range vector is expected up to the end of its range.
                let at_ms = self.eval.expectations.range_vector.map_or(at_ms, |range| range.end_ms);
                self.instant(self.expr, at_ms)?;
                let Some(pinned) = pinned(self.expr, at_ms) else {
                    return Ok(());
                };
                for other_ms in other_times(at_ms) {
                    self.instant(&pinned, other_ms)
                        .map_err(|reason| format!("with selectors pinned by @, at {other_ms} ms: {reason}"))?;
                }
                Ok(())
            }
        }
    }

    fn instant(&self, expr: &Expr, at_ms: TimestampMs) -> Result<(), String> {
        let expectations = &self.eval.expectations;
        let result = match self.engine.instant(self.storage, expr, at_ms, &QueryOptions::default()) {
            Err(error) => return expectations.judge_error(&error.to_string()),
            Ok(_) if expectations.is_fail() => return Err("expected error but got none".to_owned()),
            Ok(result) => result,
        };
        expectations.judge_annotations(&self.eval.query, &result.annotations)?;
        judge_value(self.eval, &result.value)?;
        if self.is_instant_only() {
            return Ok(());
        }
        let (start_ms, end_ms) = (at_ms - MINUTE_MS, at_ms + MINUTE_MS);
        let range = self
            .engine
            .range(self.storage, expr, start_ms, end_ms, MINUTE_MS, &QueryOptions::default())
            .map_err(|error| format!("error in range mode: {error}"))?;
        if expectations.ordered {
            // A range query has an order of its own.
            return Ok(());
        }
        let is_scalar = matches!(result.value, QueryValue::Scalar { .. });
        judge_step(self.eval, &range.value, at_ms, is_scalar).map_err(|reason| format!("in range mode: {reason}"))
    }

    /// Whether a range query has no such result, or another one.
    fn is_instant_only(&self) -> bool {
        let expectations = &self.eval.expectations;
        let of_query = ["start()", "end()", "range()", "step()"];
        expectations.range_vector.is_some()
            || expectations.text.is_some()
            || of_query.iter().any(|function| self.eval.query.contains(function))
    }
}
