//! What is done to the samples of a series after its chunks were decoded: order, deletions.

use crate::storage::Column;
use crate::tombstones::Intervals;

/// Cuts a column to its first `len` samples.
pub(super) fn truncate(column: &mut Column, len: usize) {
    column.truncate(len);
}

/// Replaces the samples from `start` on by the given ones of them, by index. A histogram that comes behind another sample
/// than before says nothing about a counter reset any more: it said so of that one.
fn rearrange(column: &mut Column, start: usize, order: &[usize]) {
    let mut old = column.split_off(start);
    let mut next = 0;
    for index in order.iter().map(|index| index - start) {
        let (Some(&timestamp_ms), Some(&value)) = (old.timestamps_ms.get(index), old.values.get(index)) else {
            continue;
        };
        if let Ok(found) = old.histograms.binary_search_by_key(&index, |(index, _)| *index) {
            let histogram = std::mem::take(&mut old.histograms[found].1);
            column.histograms.push((column.values.len(), histogram));
        }
        column.push(timestamp_ms, value);
        column.set_start(old.start_ms(index));
        if index != next {
            column.forget_reset_hint();
        }
        next = index + 1;
    }
}

/// Puts the samples from `start` on in order, where those before `middle` and those behind it are in order already. Of
/// two at the same time the one that came first stays.
pub(super) fn merge_from(column: &mut Column, start: usize, middle: usize) {
    let times = &column.timestamps_ms;
    if times.get(middle) > middle.checked_sub(1).filter(|&last| last >= start).and_then(|last| times.get(last)) {
        return;
    }
    let mut order: Vec<usize> = (start..times.len()).collect();
    // Stable, so of equal times the one that came first stays in front.
    order.sort_by_key(|&index| times[index]);
    order.dedup_by_key(|index| times[*index]);
    rearrange(column, start, &order);
}

/// Removes the deleted samples from `start` on.
pub(super) fn remove_deleted(column: &mut Column, start: usize, deleted: &Intervals) {
    let times = &column.timestamps_ms;
    let kept: Vec<usize> = (start..times.len()).filter(|&index| !deleted.contains(times[index])).collect();
    if kept.len() < times.len() - start {
        rearrange(column, start, &kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CounterResetHint, FloatHistogram, TimeRange};

    fn column(samples: &[(i64, f64)]) -> Column {
        let mut column = Column::default();
        for &(timestamp_ms, value) in samples {
            if value < 0.0 {
                column.push_histogram(timestamp_ms, FloatHistogram { sum: value, ..FloatHistogram::default() });
            } else {
                column.push(timestamp_ms, value);
            }
        }
        column
    }

    #[test]
    fn samples_that_overlap_are_merged_and_those_of_equal_times_kept_once() {
        let mut merged = column(&[(9, 0.0), (1, 1.0), (3, -3.0), (5, 5.0), (2, 2.0), (3, 33.0), (4, -4.0), (6, 6.0)]);
        merge_from(&mut merged, 1, 4);
        let expected = [(9, 0.0), (1, 1.0), (2, 2.0), (3, -3.0), (4, -4.0), (5, 5.0), (6, 6.0)];
        assert_eq!(merged, column(&expected));
    }

    #[test]
    fn histogram_behind_other_samples_than_before_says_nothing_about_a_reset() {
        use CounterResetHint::{NotReset, Unknown};
        let histograms = |times: &[i64]| {
            let mut column = Column::default();
            for &timestamp_ms in times {
                let histogram = FloatHistogram { counter_reset_hint: NotReset, ..FloatHistogram::default() };
                column.push_histogram(timestamp_ms, histogram);
            }
            column
        };
        let hints = |column: &Column| -> Vec<_> {
            let hint = |(index, histogram): &(usize, FloatHistogram)| {
                (column.timestamps_ms[*index], histogram.counter_reset_hint)
            };
            column.histograms.iter().map(hint).collect()
        };
        let mut left = histograms(&[1, 2, 3, 4, 5]);
        let deleted = [TimeRange::new(2, 2), TimeRange::new(4, 4)].into_iter().collect();
        remove_deleted(&mut left, 1, &deleted);
        assert_eq!(hints(&left), [(1, NotReset), (3, Unknown), (5, Unknown)]);
        let mut merged = histograms(&[1, 2, 5, 6, 3, 4, 7]);
        merge_from(&mut merged, 1, 4);
        let expected =
            [(1, NotReset), (2, NotReset), (3, Unknown), (4, NotReset), (5, Unknown), (6, NotReset), (7, Unknown)];
        assert_eq!(hints(&merged), expected);
    }

    #[test]
    fn samples_of_deleted_ranges_are_removed_with_their_histograms() {
        let mut left = column(&[(5, -1.0), (1, 1.0), (5, -5.0), (6, 6.0), (7, -7.0)]);
        let deleted = [TimeRange::new(4, 6)].into_iter().collect();
        remove_deleted(&mut left, 1, &deleted);
        assert_eq!(left, column(&[(5, -1.0), (1, 1.0), (7, -7.0)]));
        truncate(&mut left, 2);
        assert_eq!(left, column(&[(5, -1.0), (1, 1.0)]));
    }
}
