//! Prometheus' PromQL test language: scripts that load series, evaluate queries and say what must come out.
//!
//! ```text
//! load 1m
//!   requests_total{job="api"} 0+10x10
//!
//! eval instant at 10m rate(requests_total[5m])
//!   expect no_warn
//!   {job="api"} 0.16666666666666666
//! ```
//!
//! `command` reads the lines, `expectation` judges errors and annotations, `compare` judges values, and `run`
//! puts them to work. As in Prometheus, an instant query is judged five more times with its selectors pinned by `@`,
//! and every time also as the middle step of a range query. A query that fails its expectations does not end the
//! script. `store` loads what a script loads as a database would. Source: Prometheus `promql/promqltest`, version 3.14.

mod command;
mod compare;
mod custom_buckets;
mod expectation;
mod pin;
pub mod report;
mod run;
mod store;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong_tests;

pub use run::{Failure, ScriptOptions, ScriptReport, run_script};
