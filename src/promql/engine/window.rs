//! Sliding over the samples of one series: which of them each step sees.
//!
//! A lookback window and a range are open at their start: `(end - length, end]`. A staleness marker ends a series for an
//! instant selector; a range selector does not see it.

use super::QueryError;
use super::plan::Selector;
use crate::model::is_stale_nan;
use crate::promql::parser::ast::SelectorMode;
use crate::promql::value::{Steps, Window};
use crate::storage::Column;

/// How far a range reaches from each step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) range_ms: i64,
    pub(super) offset_ms: i64,
    pub(super) at_ms: Option<i64>,
    /// Samples from before the range that belong to the window too (`anchored`, `smoothed`).
    pub(super) before_ms: i64,
    /// Samples from behind the range that belong to the window too (`smoothed`).
    pub(super) after_ms: i64,
}

impl Reach {
    /// The reach of a range selector.
    pub(super) fn of_selector(selector: &Selector<'_>, lookback_ms: i64) -> Self {
        Reach {
            range_ms: selector.range_ms,
            offset_ms: selector.offset_ms,
            at_ms: selector.at_ms,
            before_ms: if selector.mode.is_some() { lookback_ms } else { 0 },
            after_ms: if selector.mode == Some(SelectorMode::Smoothed) { lookback_ms } else { 0 },
        }
    }
}

/// Calls `visit` with each step and the index of the sample that an instant selector finds there.
#[inline]
pub(super) fn latest(
    column: &Column,
    steps: &Steps,
    selector: &Selector<'_>,
    lookback_ms: i64,
    mut visit: impl FnMut(usize, usize) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let times = &column.timestamps_ms[..];
    // Samples up to and including the reference time.
    let mut upto = 0;
    for step in 0..steps.count {
        let reference_ms = selector.reference_ms(steps.at(step));
        upto = advance(times, upto, reference_ms);
        let Some(index) = upto.checked_sub(1) else { continue };
        if times[index] > reference_ms.saturating_sub(lookback_ms) && !is_stale_nan(column.values[index]) {
            visit(step, index)?;
        }
    }
    Ok(())
}

/// The number of samples up to and including `end_ms`, at least `from`.
///
/// Steps are mostly close to each other, so the next few samples are tried before the rest is halved.
#[inline]
fn advance(times: &[i64], from: usize, end_ms: i64) -> usize {
    const NEAR: usize = 16;
    let near = &times[from..(from + NEAR).min(times.len())];
    match near.iter().position(|&time| time > end_ms) {
        Some(offset) => from + offset,
        None if from + NEAR >= times.len() => times.len(),
        None => from + NEAR + times[from + NEAR..].partition_point(|&time| time <= end_ms),
    }
}

/// Calls `visit` with each step and its window, where the window holds a sample.
#[inline]
pub(super) fn windows(
    column: &Column,
    steps: &Steps,
    reach: &Reach,
    mut visit: impl FnMut(usize, &Window<'_>) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let (times, starts) = (&column.timestamps_ms[..], &column.starts_ms[..]);
    let (mut from, mut upto) = (0, 0);
    let (mut histograms_from, mut histograms_upto) = (0, 0);
    // Most counters are never reset: then no window has to be looked through for that.
    let is_rising = !column.values.windows(2).fold(false, |falls, pair| falls | (pair[1] < pair[0]));
    for step in 0..steps.count {
        let step_ms = steps.at(step);
        let range_end_ms = reach.at_ms.unwrap_or(step_ms).saturating_sub(reach.offset_ms);
        let range_start_ms = range_end_ms.saturating_sub(reach.range_ms);
        from = advance(times, from, range_start_ms.saturating_sub(reach.before_ms));
        upto = advance(times, upto.max(from), range_end_ms.saturating_add(reach.after_ms));
        if from >= upto {
            continue;
        }
        if column.has_histograms() {
            let all = &column.histograms;
            histograms_from += all[histograms_from..].partition_point(|(index, _)| *index < from);
            histograms_upto = histograms_upto.max(histograms_from);
            histograms_upto += all[histograms_upto..].partition_point(|(index, _)| *index < upto);
        }
        let window = Window {
            timestamps_ms: &times[from..upto],
            values: &column.values[from..upto],
            histograms: &column.histograms[histograms_from..histograms_upto],
            first_index: from,
            starts_ms: &starts[from.min(starts.len())..upto.min(starts.len())],
            is_rising,
            range_start_ms,
            range_end_ms,
            step_ms,
        };
        visit(step, &window)?;
    }
    Ok(())
}

/// Takes the staleness markers out of a column.
pub(super) fn remove_stale(column: &mut Column) {
    if !column.values.iter().any(|value| is_stale_nan(*value)) {
        return;
    }
    let all = std::mem::take(column);
    let mut histograms = all.histograms.into_iter().peekable();
    for (index, (timestamp_ms, value)) in all.timestamps_ms.into_iter().zip(all.values).enumerate() {
        let histogram = histograms.next_if(|(at, _)| *at == index);
        if is_stale_nan(value) {
            continue;
        }
        if let Some((_, histogram)) = histogram {
            column.histograms.push((column.values.len(), histogram));
        }
        column.push(timestamp_ms, value);
        column.set_start(all.starts_ms.get(index).copied().unwrap_or_default());
    }
}
