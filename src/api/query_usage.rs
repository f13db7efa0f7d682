//! Which metrics queries ask for: how often, and when last. What is stored and never asked for is what can go.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use crate::model::{METRIC_NAME, MatchOp, Matcher, TimestampMs};

/// Metrics that are remembered.
const NAMES_MAX: usize = 10_000;
/// Of these are kept when there is no room for a new one: those that were asked for last.
const NAMES_KEPT: usize = NAMES_MAX / 4 * 3;
/// Metrics of one query that are counted.
const NAMES_OF_QUERY_MAX: usize = 64;
/// Bytes of a name that is remembered.
const NAME_BYTES_MAX: usize = 256;

/// How a metric was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// Queries that name it.
    pub(super) queries: u64,
    /// When the newest of them began.
    pub(super) last_ms: TimestampMs,
}

/// The metrics that queries named since the start of the process.
#[derive(Debug, Default)]
pub(super) struct QueryUsage(Mutex<HashMap<String, Used>>);

impl QueryUsage {
    /// Counts a query for each metric that its selectors name. Those by pattern name none.
    pub(super) fn note<'q>(&self, selectors: impl IntoIterator<Item = &'q [Matcher]>, now_ms: TimestampMs) {
        let mut named: Vec<&str> = Vec::new();
        for name in selectors.into_iter().filter_map(metric_of) {
            if named.len() < NAMES_OF_QUERY_MAX && name.len() <= NAME_BYTES_MAX && !named.contains(&name) {
                named.push(name);
            }
        }
        let mut known = self.known();
        for name in named {
            if let Some(used) = known.get_mut(name) {
                used.queries += 1;
                used.last_ms = now_ms;
                continue;
            }
            if known.len() >= NAMES_MAX {
                forget_oldest(&mut known);
            }
            known.insert(name.to_owned(), Used { queries: 1, last_ms: now_ms });
        }
    }

    /// Every metric that is remembered.
    pub(super) fn all(&self) -> HashMap<String, Used> {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Used>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn metric_of(matchers: &[Matcher]) -> Option<&str> {
    let is_name = |matcher: &&Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
    matchers.iter().find(is_name).map(|matcher| matcher.value.as_str())
}

/// Many at once, so that a stream of new names costs little each.
fn forget_oldest(known: &mut HashMap<String, Used>) {
    let mut times: Vec<TimestampMs> = known.values().map(|used| used.last_ms).collect();
    let excess = times.len().saturating_sub(NAMES_KEPT).min(times.len().saturating_sub(1));
    let (_, &mut bound_ms, _) = times.select_nth_unstable(excess);
    // Those of the bound's own moment go in no order, and no more of them than have to.
    let mut at_bound = excess - known.values().filter(|used| used.last_ms < bound_ms).count();
    known.retain(|_, used| {
        let goes = used.last_ms < bound_ms || (used.last_ms == bound_ms && at_bound > 0);
        at_bound -= usize::from(goes && used.last_ms == bound_ms);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parser::parse_expr;

    fn note(usage: &QueryUsage, text: &str, now_ms: TimestampMs) {
        usage.note(parse_expr(text).unwrap().selectors(), now_ms);
    }

    #[test]
    fn query_counts_once_for_each_metric_that_it_names() {
        let usage = QueryUsage::default();
        note(&usage, "sum(rate(a[5m])) / sum(rate(a[1h])) + on() b{x=\"1\"}", 10);
        note(&usage, "{__name__=\"b\"} or {__name__=~\"c|d\"} or {job=\"e\"}", 20);
        note(&usage, &"x".repeat(NAME_BYTES_MAX + 1), 30);
        let known = usage.all();
        assert_eq!(known.len(), 2);
        assert_eq!(known["a"], Used { queries: 1, last_ms: 10 });
        assert_eq!(known["b"], Used { queries: 2, last_ms: 20 });
    }

    #[test]
    fn usage_is_bounded_and_forgets_what_was_asked_for_longest_ago() {
        let usage = QueryUsage::default();
        for number in 0..NAMES_MAX as i64 + 1 {
            // Two of each time: the bound's own time is no place to stop at.
            note(&usage, &format!("m{number}"), number / 2);
        }
        let known = usage.all();
        assert_eq!(known.len(), NAMES_KEPT + 1);
        assert!(!known.contains_key("m0") && known.contains_key(&format!("m{NAMES_MAX}")));
        let oldest = known.values().map(|used| used.last_ms).min().unwrap();
        assert_eq!(oldest, (NAMES_MAX - NAMES_KEPT) as i64 / 2);
        let many: Vec<String> = (0..2 * NAMES_OF_QUERY_MAX).map(|number| format!("n{number}")).collect();
        note(&usage, &many.join(" or "), 99_999);
        let counted = usage.all().keys().filter(|name| name.starts_with('n')).count();
        assert_eq!(counted, NAMES_OF_QUERY_MAX);
    }
}
