//! Sets of time as sorted, disjoint closed ranges.

use crate::model::{TimeRange, TimestampMs};

/// A set of milliseconds, kept as the fewest closed ranges: sorted, apart from each other, never touching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals(Vec<TimeRange>);

impl Intervals {
    /// The empty set.
    pub const fn new() -> Self {
        Intervals(Vec::new())
    }

    /// Adds a range; it is merged with those that it overlaps or touches. A range that ends before it starts is empty.
    pub fn add(&mut self, range: TimeRange) {
        if range.start_ms > range.end_ms {
            return;
        }
        // All that end right before the range or later, and start right behind it or earlier, become one with it.
        let first = self.0.partition_point(|known| known.end_ms.saturating_add(1) < range.start_ms);
        let behind = self.0.partition_point(|known| known.start_ms <= range.end_ms.saturating_add(1));
        let merged = match (self.0.get(first), behind.checked_sub(1).and_then(|last| self.0.get(last))) {
            (Some(a), Some(b)) if first < behind => {
                TimeRange::new(a.start_ms.min(range.start_ms), b.end_ms.max(range.end_ms))
            }
            _ => range,
        };
        self.0.splice(first..behind.max(first), [merged]);
    }

    /// Takes out the ranges that end before `below_ms`.
    pub fn remove_ended(&mut self, below_ms: TimestampMs) {
        self.0.drain(..self.0.partition_point(|known| known.end_ms < below_ms));
    }

    /// Adds all of another set.
    pub fn add_all(&mut self, other: &Intervals) {
        for &range in &other.0 {
            self.add(range);
        }
    }

    /// The ranges, sorted.
    pub fn as_slice(&self) -> &[TimeRange] {
        &self.0
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first range that ends at `timestamp_ms` or later.
    fn at_or_behind(&self, timestamp_ms: TimestampMs) -> Option<&TimeRange> {
        self.0.get(self.0.partition_point(|known| known.end_ms < timestamp_ms))
    }

    /// Whether the time is in the set.
    pub fn contains(&self, timestamp_ms: TimestampMs) -> bool {
        self.at_or_behind(timestamp_ms).is_some_and(|known| known.start_ms <= timestamp_ms)
    }

    /// Whether all of the range is in the set.
    pub fn covers(&self, range: &TimeRange) -> bool {
        self.at_or_behind(range.start_ms)
            .is_some_and(|known| known.start_ms <= range.start_ms && range.end_ms <= known.end_ms)
    }

    /// Whether some of the range is in the set.
    pub fn overlaps(&self, range: &TimeRange) -> bool {
        self.at_or_behind(range.start_ms).is_some_and(|known| known.start_ms <= range.end_ms)
    }
}

impl FromIterator<TimeRange> for Intervals {
    fn from_iter<I: IntoIterator<Item = TimeRange>>(ranges: I) -> Self {
        let mut set = Intervals::new();
        for range in ranges {
            set.add(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_that_touch_at_the_ends_of_time_are_merged() {
        let mut set = Intervals::new();
        set.add(TimeRange::new(i64::MIN, -1));
        set.add(TimeRange::new(1, i64::MAX));
        assert_eq!(set.len(), 2);
        set.add(TimeRange::new(0, 0));
        assert_eq!(set.as_slice(), [TimeRange::ALL]);
        set.add(TimeRange::new(5, 4));
        assert_eq!(set.as_slice(), [TimeRange::ALL]);
    }

    proptest! {
        #[test]
        fn prop_intervals_agree_with_a_plain_set(ranges in prop::collection::vec((0i64..60, 0i64..8), 0..20)) {
            let set: Intervals = ranges.iter().map(|&(start, more)| TimeRange::new(start, start + more)).collect();
            let plain = |t: i64| ranges.iter().any(|&(start, more)| start <= t && t <= start + more);
            for t in -1..70 {
                prop_assert_eq!(set.contains(t), plain(t));
                for end in t..(t + 9) {
                    let range = TimeRange::new(t, end);
                    prop_assert_eq!(set.covers(&range), (t..=end).all(plain));
                    prop_assert_eq!(set.overlaps(&range), (t..=end).any(plain));
                }
            }
            prop_assert!(set.as_slice().windows(2).all(|pair| pair[0].end_ms + 1 < pair[1].start_ms));
        }
    }
}
