//! The series of several selectors, for the endpoints that answer with series and evaluate nothing.
//!
//! A request may name a thousand selectors, which find the same series or others. Together they are bounded as one query is.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Api;
use super::error::{ApiError, ErrorType};
use super::params::Params;
use crate::clock::Clock;
use crate::model::Matcher;
use crate::promql::parser::{ParseError, parse_selectors};
use crate::storage::{Querier, SelectHints, SelectedSeries, StorageError};

/// The selectors of `match[]`, equal ones once.
pub(super) fn distinct_selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, ParseError> {
    let mut seen = HashSet::new();
    parse_selectors(params.all("match[]").filter(|text| seen.insert(*text)))
}

/// What one request may cost.
pub(super) struct Bounds {
    /// 0 means no bound.
    series: u64,
    bytes: u64,
    /// When the time is over, on the monotonic clock.
    ends: Duration,
    clock: Arc<dyn Clock>,
}

impl Bounds {
    /// Those of a query that begins now.
    pub(super) fn of_query(api: &Api) -> Self {
        let options = &api.options.engine;
        Bounds {
            series: options.series_max,
            bytes: options.bytes_max(),
            ends: api.clock.monotonic().saturating_add(options.timeout),
            clock: api.clock.clone(),
        }
    }

    /// Fails when the time is over.
    pub(super) fn check_time(&self) -> Result<(), ApiError> {
        if self.clock.monotonic() < self.ends {
            return Ok(());
        }
        Err(ApiError::new(ErrorType::Timeout, "the series were not found in time"))
    }

    /// Fails where an answer takes more memory than this.
    pub(super) fn check_bytes(&self, bytes: u64) -> Result<(), StorageError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        Err(StorageError::Limit { what: "memory of the selected series, in bytes,", limit: self.bytes })
    }

    /// The series that any of the selectors finds, sorted by label set, each once; no more than the hints want.
    pub(super) fn select<'m>(
        &self,
        querier: &dyn Querier,
        selectors: impl IntoIterator<Item = &'m Vec<Matcher>>,
        hints: SelectHints,
    ) -> Result<Vec<SelectedSeries>, ApiError> {
        let mut found: Vec<SelectedSeries> = Vec::new();
        let mut bytes = 0;
        for matchers in selectors {
            self.check_time()?;
            // What is cut to a limit may be found among any number of others.
            let series_max = if hints.limit > 0 { 0 } else { usize::try_from(self.series).unwrap_or(usize::MAX) };
            // 0 is no bound.
            let bytes_max = self.bytes.saturating_sub(bytes).max(1);
            let more = querier.select(matchers, &SelectHints { series_max, bytes_max, ..hints.clone() })?;
            if found.is_empty() {
                found = more;
            } else {
                found.extend(more);
                // Two runs in order: the stable sort merges them, and the first of equals stays.
                found.sort_by(|a, b| a.labels.cmp(&b.labels));
                found.dedup_by(|a, b| a.labels == b.labels);
            }
            if hints.limit > 0 {
                found.truncate(hints.limit);
            }
            if self.series > 0 && found.len() as u64 > self.series {
                return Err(StorageError::Limit { what: "number of selected series", limit: self.series }.into());
            }
            bytes = found.iter().map(|one| SelectedSeries::bytes_of(&one.labels)).sum();
            self.check_bytes(bytes)?;
        }
        Ok(found)
    }
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
