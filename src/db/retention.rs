//! Which blocks have had their time, by age and by size. Pure: facts in, a plan out.
//!
//! Retention deletes data on purpose, so what could make it delete too much is bounded:
//!
//! - Age counts from the wall clock or from the newest sample, whichever is earlier. A clock that is in the future, or
//!   one block with samples from the future, expires nothing.
//! - The size is what blocks may take. Log and head count only by what they alone exceed it, and that is an alarm: it
//!   means that they are not flushed.
//! - The newest block always stays, so a pass never takes all blocks.

use ulid::Ulid;

use crate::model::{TimeRange, TimestampMs};

/// What may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionPolicy {
    /// How long samples stay, in milliseconds; `None` for ever.
    pub time_ms: Option<i64>,
    /// How many bytes blocks may take; `None` for no bound.
    pub size_bytes: Option<u64>,
}

/// A block, as far as retention looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockFacts {
    /// Its name.
    pub ulid: Ulid,
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The state of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionFacts<'a> {
    /// The wall clock.
    pub now_ms: TimestampMs,
    /// The newest sample of the head, where it has one.
    pub head_newest_ms: Option<TimestampMs>,
    /// Bytes of the log and of the head's chunk files.
    pub head_bytes: u64,
    /// The blocks, in any order.
    pub blocks: &'a [BlockFacts],
}

/// Why a block goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryReason {
    /// Its newest sample is older than the retention time.
    Time,
    /// The blocks take more than the retention size, and it is the oldest.
    Size,
}

impl ExpiryReason {
    /// The reason in reports and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            ExpiryReason::Time => "time",
            ExpiryReason::Size => "size",
        }
    }
}

/// What a pass does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionPlan {
    /// The blocks that go, the oldest first.
    pub expired: Vec<(Ulid, ExpiryReason)>,
    /// What a person should look at.
    pub alarm: Option<String>,
}

/// What a pass of retention does.
pub fn plan(policy: &RetentionPolicy, facts: &RetentionFacts<'_>) -> RetentionPlan {
    let mut blocks: Vec<&BlockFacts> = facts.blocks.iter().collect();
    blocks.sort_by_key(|block| (block.range.end_ms, block.range.start_ms, block.ulid));
    let mut plan = RetentionPlan::default();
    let newest_ms = blocks.last().map(|block| block.range.end_ms).max(facts.head_newest_ms);
    // The newest block stays, whatever its age.
    let Some((_newest, candidates)) = blocks.split_last() else {
        plan.alarm = head_alarm(policy, facts);
        return plan;
    };
    let oldest_kept_ms = match (policy.time_ms, newest_ms) {
        (Some(time_ms), Some(newest_ms)) if planted!(ExpiredByTheFuture) => newest_ms.saturating_sub(time_ms),
        (Some(time_ms), Some(newest_ms)) => facts.now_ms.min(newest_ms).saturating_sub(time_ms),
        _ => TimestampMs::MIN,
    };
    let candidates = if planted!(ExpiredAll) { &blocks } else { candidates };
    let (too_old, young): (Vec<&BlockFacts>, Vec<&BlockFacts>) =
        candidates.iter().copied().partition(|block| block.range.end_ms < oldest_kept_ms);
    plan.expired.extend(too_old.iter().map(|block| (block.ulid, ExpiryReason::Time)));
    if let Some(size_bytes) = policy.size_bytes {
        let budget = size_bytes.saturating_sub(facts.head_bytes.saturating_sub(size_bytes));
        let gone: u64 = too_old.iter().map(|block| block.bytes).sum();
        let mut bytes = blocks.iter().map(|block| block.bytes).sum::<u64>().saturating_sub(gone);
        for block in young {
            if bytes <= budget {
                break;
            }
            bytes = bytes.saturating_sub(block.bytes);
            plan.expired.push((block.ulid, ExpiryReason::Size));
        }
        if bytes > budget && facts.head_bytes <= size_bytes {
            plan.alarm = Some(format!(
                "the newest block alone takes {bytes} bytes, more than retention.size = {size_bytes} bytes allows; it stays"
            ));
        }
    }
    plan.alarm = head_alarm(policy, facts).or(plan.alarm);
    plan
}

/// The block that goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextExpiry {
    /// Its name.
    pub ulid: Ulid,
    /// When its newest sample reaches the retention time; `None` where none is set. Size may take it earlier.
    pub not_before_ms: Option<TimestampMs>,
}

/// Which block goes next: the oldest, unless it is the only one, or nothing is bounded.
pub fn next(policy: &RetentionPolicy, blocks: &[BlockFacts]) -> Option<NextExpiry> {
    if blocks.len() < 2 || (policy.time_ms.is_none() && policy.size_bytes.is_none()) {
        return None;
    }
    let oldest = blocks.iter().min_by_key(|block| (block.range.end_ms, block.range.start_ms, block.ulid))?;
    let not_before_ms = policy.time_ms.map(|time_ms| oldest.range.end_ms.saturating_add(time_ms).saturating_add(1));
    Some(NextExpiry { ulid: oldest.ulid, not_before_ms })
}

/// The alarm that log and head alone are larger than all blocks may be.
fn head_alarm(policy: &RetentionPolicy, facts: &RetentionFacts<'_>) -> Option<String> {
    let size_bytes = policy.size_bytes.filter(|size_bytes| facts.head_bytes > *size_bytes)?;
    Some(format!(
        "log and head take {} bytes, more than retention.size = {size_bytes} bytes; blocks go for it: look whether the \
         head is flushed, or raise retention.size",
        facts.head_bytes
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const NOW: i64 = 20_000 * DAY;

    fn block(number: u128, end_ms: i64, bytes: u64) -> BlockFacts {
        BlockFacts { ulid: Ulid(number), range: TimeRange::new(end_ms - 2 * HOUR, end_ms - 1), bytes }
    }

    fn expired(policy: RetentionPolicy, facts: &RetentionFacts<'_>) -> Vec<u128> {
        plan(&policy, facts).expired.iter().map(|(ulid, _)| ulid.0).collect()
    }

    fn facts(blocks: &[BlockFacts]) -> RetentionFacts<'_> {
        RetentionFacts { now_ms: NOW, head_newest_ms: Some(NOW), head_bytes: 0, blocks }
    }

    const TIME: RetentionPolicy = RetentionPolicy { time_ms: Some(15 * DAY), size_bytes: None };
    const SIZE: RetentionPolicy = RetentionPolicy { time_ms: None, size_bytes: Some(100) };

    /// Blocks 1, 2, ... that end that many days before now.
    fn aged(days: &[i64]) -> Vec<BlockFacts> {
        days.iter().zip(1..).map(|(days, number)| block(number, NOW - days * DAY, 40)).collect()
    }

    #[test]
    fn block_goes_once_its_newest_sample_is_older_than_the_retention_time() {
        let blocks = aged(&[20, 16, 15, 14, 1]);
        // The third ends at the bound, exclusively: its newest sample is one millisecond too old.
        assert_eq!(expired(TIME, &facts(&blocks)), [1, 2, 3]);
        let mut inside = blocks.clone();
        inside[2].range.end_ms = NOW - 15 * DAY;
        assert_eq!(expired(TIME, &facts(&inside)), [1, 2]);
        assert_eq!(expired(RetentionPolicy::default(), &facts(&blocks)), [0; 0]);
    }

    #[test]
    fn block_from_the_future_expires_nothing() {
        let mut blocks = aged(&[14, 10, 1]);
        blocks.push(block(9, NOW + 400 * DAY, 40));
        assert_eq!(expired(TIME, &facts(&blocks)), [0; 0]);
    }

    #[test]
    fn clock_in_the_future_expires_nothing() {
        let blocks = aged(&[14, 10, 1]);
        for years in [1, 10, 100_000] {
            let facts = RetentionFacts { now_ms: NOW.saturating_add(years * 365 * DAY), ..facts(&blocks) };
            assert_eq!(expired(TIME, &facts), [0; 0], "{years} years");
        }
        assert_eq!(expired(TIME, &RetentionFacts { now_ms: i64::MAX, ..facts(&blocks) }), [0; 0]);
    }

    #[test]
    fn clock_in_the_past_keeps_everything_until_it_is_right_again() {
        let blocks = aged(&[20, 1]);
        assert_eq!(expired(TIME, &RetentionFacts { now_ms: 0, ..facts(&blocks) }), [0; 0]);
        assert_eq!(expired(TIME, &RetentionFacts { now_ms: i64::MIN, ..facts(&blocks) }), [0; 0]);
        assert_eq!(expired(TIME, &facts(&blocks)), [1]);
    }

    #[test]
    fn store_that_nobody_wrote_to_for_long_keeps_its_last_days() {
        let blocks = aged(&[60, 46, 44, 31]);
        assert_eq!(expired(TIME, &RetentionFacts { head_newest_ms: None, ..facts(&blocks) }), [1]);
    }

    #[test]
    fn pass_never_takes_all_blocks() {
        for count in 1..6 {
            let blocks = aged(&vec![100; count]);
            assert_eq!(expired(TIME, &facts(&blocks)).len(), count - 1);
            let tiny = RetentionPolicy { time_ms: Some(1), size_bytes: Some(1) };
            let huge_head = RetentionFacts { head_bytes: u64::MAX, ..facts(&blocks) };
            assert_eq!(plan(&tiny, &huge_head).expired.len(), count - 1);
        }
        assert_eq!(plan(&SIZE, &facts(&[])), RetentionPlan::default());
    }

    #[test]
    fn oldest_blocks_go_until_the_rest_fits_the_retention_size() {
        let blocks = aged(&[1, 4, 3, 2]);
        let plan = plan(&SIZE, &facts(&blocks));
        assert_eq!(plan.expired, [(Ulid(2), ExpiryReason::Size), (Ulid(3), ExpiryReason::Size)]);
        assert_eq!(plan.alarm, None);
    }

    #[test]
    fn log_and_head_count_only_by_what_they_alone_exceed_the_size() {
        let blocks = aged(&[3, 2]);
        let with_head = |head_bytes| plan(&SIZE, &RetentionFacts { head_bytes, ..facts(&blocks) });
        assert_eq!(with_head(100), RetentionPlan::default());
        let (a_little, much) = (with_head(120), with_head(130));
        assert!(a_little.expired.is_empty() && a_little.alarm.is_some_and(|alarm| alarm.contains("120 bytes")));
        assert_eq!(much.expired, [(Ulid(1), ExpiryReason::Size)]);
    }

    #[test]
    fn next_block_to_go_is_the_oldest_at_the_time_from_which_a_pass_takes_it() {
        let blocks = aged(&[14, 10, 1]);
        let next_one = next(&TIME, &blocks).unwrap();
        let at_ms = next_one.not_before_ms.unwrap();
        assert_eq!(next_one.ulid, Ulid(1));
        let pass = |now_ms| expired(TIME, &RetentionFacts { now_ms, head_newest_ms: Some(now_ms), ..facts(&blocks) });
        assert_eq!((pass(at_ms - 1), pass(at_ms)), (vec![], vec![1]));
        assert_eq!(next(&SIZE, &blocks).map(|next| next.not_before_ms), Some(None));
        assert_eq!(next(&TIME, &blocks[..1]), None);
        assert_eq!(next(&RetentionPolicy::default(), &blocks), None);
    }

    #[test]
    fn newest_block_that_is_too_large_stays_with_an_alarm() {
        let blocks = [block(1, NOW, 1000)];
        let plan = plan(&SIZE, &facts(&blocks));
        assert!(plan.expired.is_empty() && plan.alarm.is_some());
    }
}
