//! How many series were created in each of the last hours: a label that is none shows here first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Head;
use crate::model::TimestampMs;

/// Hours that are kept, the one under way included.
const HOURS: usize = 24;
const HOUR_MS: i64 = 3_600_000;

/// Series created by hour, by the wall clock, since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Churn(Mutex<[Hour; HOURS]>);

#[derive(Debug, Clone, Copy, Default)]
struct Hour {
    /// Hours since the epoch.
    number: i64,
    created: u64,
}

impl Churn {
    /// Counts series. Locks, but only where there is a series to create.
    pub(super) fn add(&self, now_ms: TimestampMs, created: u64) {
        let number = now_ms.div_euclid(HOUR_MS);
        let mut hours = self.hours();
        let hour = &mut hours[number.rem_euclid(HOURS as i64) as usize];
        if hour.number != number {
            *hour = Hour { number, created: 0 };
        }
        hour.created += created;
    }

    fn hours(&self) -> MutexGuard<'_, [Hour; HOURS]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Head {
    /// The beginning of each of the last hours, the oldest first, with how many series were created in it.
    pub fn series_created_by_hour(&self, now_ms: TimestampMs) -> Vec<(TimestampMs, u64)> {
        let last = now_ms.div_euclid(HOUR_MS);
        let hours = *self.shared.churn.hours();
        let of = |number: i64| {
            let hour = hours[number.rem_euclid(HOURS as i64) as usize];
            (number.saturating_mul(HOUR_MS), if hour.number == number { hour.created } else { 0 })
        };
        (last.saturating_sub(HOURS as i64 - 1)..=last).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadOptions;

    #[test]
    fn series_created_are_counted_in_their_hour_and_forgotten_a_day_later() {
        let head = Head::in_memory(HeadOptions::default());
        let now_ms = 500_000 * HOUR_MS;
        for (hours, created) in [(0, 5), (0, 1), (2, 7)] {
            head.shared.churn.add(now_ms + hours * HOUR_MS + 1, created);
        }
        let of = |hours: i64| -> Vec<u64> {
            head.series_created_by_hour(now_ms + hours * HOUR_MS).into_iter().map(|(_, created)| created).collect()
        };
        assert_eq!(of(2)[HOURS - 3..], [6, 0, 7]);
        assert_eq!(head.series_created_by_hour(now_ms)[HOURS - 1], (now_ms, 6));
        assert_eq!((of(25)[0], of(26).iter().sum::<u64>()), (7, 0));
        // A clock that was set back takes nothing with it but the hours it writes over.
        head.shared.churn.add(now_ms - HOUR_MS, 2);
        assert_eq!(of(2)[HOURS - 4..], [2, 6, 0, 7]);
    }
}
