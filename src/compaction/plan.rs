//! What to merge next: a pure function of the blocks' metadata.
//!
//! Leveled planning as in Prometheus 3.5. Three kinds of work, in this order:
//!
//! 1. Blocks that overlap in time are merged at once (vertical compaction), of any size, the newest block included.
//! 2. The blocks of one aligned range of a level are merged into one block of that level, smallest level first, where
//!    they fill the range or all lie before the newest block. The newest block itself is left alone for one round.
//! 3. A block of a larger level, or one whose series are all deleted, is written again without its deleted samples,
//!    where more than 5 % of its series have a tombstone.
//!
//! A block whose compaction failed before keeps everything that it would take part in from being planned, so that one
//! bad block does not come up again and again. Unlike Prometheus, work that does not fit on the disk is passed over, and
//! said to be, before it is begun; and the third kind looks at all blocks, not only at those behind the last small one.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use ulid::Ulid;

use crate::block::BlockMeta;
use crate::model::TimestampMs;

/// Levels: each is three times as long as the one below.
const LEVEL_FACTOR: i64 = 3;
/// Most levels, the smallest included.
const LEVELS_MAX: usize = 10;
/// No block of a level is longer: 31 days.
const BLOCK_RANGE_MAX_MS: i64 = 31 * 24 * 60 * 60 * 1000;
/// A block spans at most this part of the retention, so that expiry stays in small steps.
const RETENTION_PARTS: i64 = 10;
/// A block with more tombstones than this for each of its series is written again.
const TOMBSTONES_PER_SERIES_MAX: f64 = 0.05;

/// What planning has to know of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanBlock {
    /// The block.
    pub ulid: Ulid,
    /// First millisecond of its range.
    pub min_time_ms: TimestampMs,
    /// First millisecond behind its range, as in `meta.json`.
    pub max_time_ms: TimestampMs,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its series.
    pub series: u64,
    /// Its tombstones: deleted ranges, over all series.
    pub tombstones: u64,
    /// A compaction of it failed.
    pub failed: bool,
    /// It is superseded, and going to be removed.
    pub deletable: bool,
    /// It was made of out-of-order samples alone.
    pub from_out_of_order: bool,
}

impl PlanBlock {
    /// What planning has to know of the block with this meta, whose files have `bytes`.
    pub fn of(meta: &BlockMeta, bytes: u64) -> Self {
        PlanBlock {
            ulid: meta.ulid,
            min_time_ms: meta.min_time_ms,
            max_time_ms: meta.max_time_ms,
            bytes,
            series: meta.stats.series,
            tombstones: meta.stats.tombstones,
            failed: meta.compaction.failed,
            deletable: meta.compaction.deletable,
            from_out_of_order: meta.is_from_out_of_order(),
        }
    }
}

/// What bounds a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// Lengths of the levels in milliseconds, rising ([`level_ranges`]).
    pub ranges_ms: Vec<i64>,
    /// Bytes that a compaction may take on the disk: what is free, less the reserve. `None` where it is not known.
    pub disk_bytes: Option<u64>,
}

/// Why blocks are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanReason {
    /// They overlap in time.
    Overlapping,
    /// Together they make a block of the next level.
    Level,
    /// Much of it is deleted.
    Tombstones,
}

impl fmt::Display for PlanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PlanReason::Overlapping => "blocks that overlap in time",
            PlanReason::Level => "blocks that make one of the next level",
            PlanReason::Tombstones => "a block with many deleted ranges",
        })
    }
}

/// Blocks to merge into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Why.
    pub reason: PlanReason,
    /// The blocks by the start of their ranges.
    pub parents: Vec<Ulid>,
    /// First millisecond that the merged block spans.
    pub min_time_ms: TimestampMs,
    /// First millisecond behind it.
    pub max_time_ms: TimestampMs,
    /// Bytes of the parents' files: what the merged block takes at most, roughly.
    pub bytes: u64,
}

/// Why blocks that should be merged are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A compaction of this block failed before.
    Failed(Ulid),
    /// Part of these blocks is itself kept from being merged with others that it overlaps.
    Overlap(Ulid),
    /// This block of out-of-order samples reaches beyond all blocks of samples in order. Merged with one of those, it
    /// would make the head's samples of that time look as if they were in a block already.
    Ahead(Ulid),
    /// The disk has too little space.
    DiskSpace {
        /// Bytes that there are.
        available: u64,
    },
}

/// A plan that is passed over, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedPlan {
    /// What should be done.
    pub plan: Plan,
    /// What stands in its way.
    pub obstacle: Obstacle,
}

impl SkippedPlan {
    /// Whether time alone takes the obstacle away: a flush, or another plan, which is told of as well where it cannot be
    /// done.
    pub fn passes_by_itself(&self) -> bool {
        match self.obstacle {
            Obstacle::Ahead(_) | Obstacle::Overlap(_) => true,
            Obstacle::Failed(_) | Obstacle::DiskSpace { .. } => false,
        }
    }
}

impl fmt::Display for SkippedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { reason, parents, bytes, .. } = &self.plan;
        let names: Vec<String> = parents.iter().map(Ulid::to_string).collect();
        write!(f, "{reason} ({}) are not compacted: ", names.join(", "))?;
        match self.obstacle {
            Obstacle::Failed(ulid) => write!(f, "an earlier compaction of {ulid} failed"),
            Obstacle::Overlap(ulid) => write!(f, "{ulid} overlaps others and waits to be merged with them first"),
            Obstacle::Ahead(ulid) => {
                write!(f, "{ulid} holds out-of-order samples of a time whose samples in order are still in the head")
            }
            Obstacle::DiskSpace { available } => write!(
                f,
                "that may take {bytes} bytes on the disk, and {available} bytes are free without touching the reserve"
            ),
        }
    }
}

/// The next compaction, and what is passed over before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planned {
    /// What to do next; `None`: nothing.
    pub plan: Option<Plan>,
    /// What should be done as well and cannot.
    pub skipped: Vec<SkippedPlan>,
}

/// The lengths of blocks on each level: the head's range times powers of three, up to a tenth of the retention and 31
/// days at most. `retention` is `None` where nothing expires by age.
pub fn level_ranges(chunk_range: Duration, retention: Option<Duration>) -> Vec<i64> {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let first = millis(chunk_range).max(1);
    let longest = retention.map_or(BLOCK_RANGE_MAX_MS, |retention| millis(retention) / RETENTION_PARTS);
    let longest = longest.min(BLOCK_RANGE_MAX_MS).max(first);
    std::iter::successors(Some(first), |range| range.checked_mul(LEVEL_FACTOR))
        .take_while(|&range| range <= longest)
        .take(LEVELS_MAX)
        .collect()
}

/// What to compact next among `blocks`, in any order.
pub fn plan(blocks: &[PlanBlock], options: &PlanOptions) -> Planned {
    let mut blocks: Vec<PlanBlock> = blocks.iter().filter(|block| !block.deletable).copied().collect();
    blocks.sort_by_key(|block| (block.min_time_ms, block.max_time_ms, block.ulid));
    let in_order_end_ms = blocks.iter().filter(|block| !block.from_out_of_order).map(|block| block.max_time_ms).max();
    let mut planner = Planner { options, in_order_end_ms, planned: Planned::default(), waiting: HashSet::new() };
    for group in overlapping(&blocks) {
        if planner.take(PlanReason::Overlapping, group) {
            return planner.planned;
        }
        planner.waiting.extend(group.iter().map(|block| block.ulid));
    }
    // The newest block stays as it is for a while: it was just made, and most backups still miss it.
    let Some((_newest, older)) = blocks.split_last() else {
        return planner.planned;
    };
    let newest_start_ms = older.last().map_or(i64::MIN, |block| block.min_time_ms);
    for &range_ms in options.ranges_ms.iter().skip(1) {
        for part in aligned(older, range_ms) {
            let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
            let fills = last.max_time_ms.checked_sub(first.min_time_ms) == Some(range_ms);
            let is_over = fills || last.max_time_ms <= newest_start_ms;
            if part.len() > 1 && is_over && planner.take(PlanReason::Level, part) {
                return planner.planned;
            }
        }
    }
    let large_ms = options.ranges_ms.get(options.ranges_ms.len() / 2).copied().unwrap_or(i64::MAX);
    for (index, block) in older.iter().enumerate().rev() {
        let length_ms = block.max_time_ms.saturating_sub(block.min_time_ms);
        let is_empty = block.tombstones > 0 && block.tombstones >= block.series;
        let share = block.tombstones as f64 / (block.series as f64 + 1.0);
        let is_due = is_empty || (length_ms >= large_ms && share > TOMBSTONES_PER_SERIES_MAX);
        if is_due && planner.take(PlanReason::Tombstones, older.get(index..=index).unwrap_or_default()) {
            return planner.planned;
        }
    }
    planner.planned
}

struct Planner<'a> {
    options: &'a PlanOptions,
    /// End of the newest block of samples in order.
    in_order_end_ms: Option<TimestampMs>,
    planned: Planned,
    /// Blocks that overlap others and could not be planned.
    waiting: HashSet<Ulid>,
}

impl Planner<'_> {
    /// Plans these blocks, or notes what stands in the way.
    fn take(&mut self, reason: PlanReason, blocks: &[PlanBlock]) -> bool {
        let plan = Plan {
            reason,
            parents: blocks.iter().map(|block| block.ulid).collect(),
            min_time_ms: blocks.iter().map(|block| block.min_time_ms).min().unwrap_or_default(),
            max_time_ms: blocks.iter().map(|block| block.max_time_ms).max().unwrap_or_default(),
            bytes: blocks.iter().fold(0, |bytes, block| bytes.saturating_add(block.bytes)),
        };
        let failed = blocks.iter().find(|block| block.failed).map(|block| Obstacle::Failed(block.ulid));
        let waiting = || {
            let block = blocks.iter().find(|block| self.waiting.contains(&block.ulid));
            block.map(|block| Obstacle::Overlap(block.ulid))
        };
        let space = || match self.options.disk_bytes {
            Some(available) if available < plan.bytes => Some(Obstacle::DiskSpace { available }),
            _ => None,
        };
        let ahead = || {
            let is_mixed = blocks.iter().any(|block| !block.from_out_of_order);
            let is_ahead = |block: &&PlanBlock| Some(block.max_time_ms) > self.in_order_end_ms;
            let block = blocks.iter().filter(|_| is_mixed).find(is_ahead);
            block.map(|block| Obstacle::Ahead(block.ulid))
        };
        match failed.or_else(waiting).or_else(ahead).or_else(space) {
            Some(obstacle) => {
                self.planned.skipped.push(SkippedPlan { plan, obstacle });
                false
            }
            None => {
                self.planned.plan = Some(plan);
                true
            }
        }
    }
}

/// Runs of blocks, sorted by their starts, of which each overlaps one before it.
fn overlapping(blocks: &[PlanBlock]) -> impl Iterator<Item = &[PlanBlock]> {
    let mut rest = blocks;
    std::iter::from_fn(move || {
        let mut end_ms = rest.first()?.max_time_ms;
        let apart = rest.iter().skip(1).take_while(|block| {
            let overlaps = block.min_time_ms < end_ms;
            end_ms = end_ms.max(block.max_time_ms);
            overlaps
        });
        let (run, behind) = rest.split_at(1 + apart.count());
        rest = behind;
        Some(run)
    })
    .filter(|run| run.len() > 1)
}

/// The blocks, sorted by their starts, in runs that each lie within one multiple of `range_ms`. Blocks that cross a
/// boundary are in none.
fn aligned(blocks: &[PlanBlock], range_ms: i64) -> impl Iterator<Item = &[PlanBlock]> {
    let slot = move |block: &PlanBlock| {
        let slot = block.min_time_ms.div_euclid(range_ms);
        (block.max_time_ms.saturating_sub(1).div_euclid(range_ms) == slot).then_some(slot)
    };
    blocks
        .chunk_by(move |a, b| slot(a).is_some() && slot(a) == slot(b))
        .filter(move |run| run.first().is_some_and(|block| slot(block).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: [i64; 5] = [20, 60, 180, 540, 1620];

    fn block(number: u128, min_time_ms: i64, max_time_ms: i64) -> PlanBlock {
        PlanBlock {
            ulid: Ulid::from(number),
            min_time_ms,
            max_time_ms,
            bytes: 100,
            series: 0,
            tombstones: 0,
            failed: false,
            deletable: false,
            from_out_of_order: false,
        }
    }

    fn with_tombstones(block: PlanBlock, series: u64, tombstones: u64) -> PlanBlock {
        PlanBlock { series, tombstones, ..block }
    }

    fn planned(blocks: &[PlanBlock]) -> Planned {
        plan(blocks, &PlanOptions { ranges_ms: RANGES.to_vec(), disk_bytes: None })
    }

    fn parents(blocks: &[PlanBlock]) -> Vec<u128> {
        planned(blocks).plan.map_or_else(Vec::new, |plan| plan.parents.into_iter().map(u128::from).collect())
    }

    /// Blocks by their ranges, numbered from 1, and the numbers of those that are to be merged.
    fn check(name: &str, ranges: &[(i64, i64)], expected: &[u128]) {
        let mut blocks: Vec<PlanBlock> =
            (1u128..).zip(ranges).map(|(number, &(start, end))| block(number, start, end)).collect();
        assert_eq!(parents(&blocks), expected, "{name}");
        blocks.reverse();
        assert_eq!(parents(&blocks), expected, "{name}, in another order");
    }

    #[test]
    fn plan_of_levels_is_that_of_prometheus() {
        check("nothing", &[], &[]);
        check("one block", &[(0, 20)], &[]);
        check("three blocks fill a range, but one is the newest", &[(0, 20), (20, 40), (40, 60)], &[]);
        check("a range is full and a newer block is there", &[(0, 20), (20, 40), (40, 60), (60, 80)], &[1, 2, 3]);
        check("a gap, and only the newest block behind it", &[(0, 20), (20, 40), (60, 80)], &[]);
        check("a gap that nothing can fill any more", &[(0, 20), (20, 40), (60, 80), (80, 100)], &[1, 2]);
        check("the lowest level first", &[(0, 20), (20, 40), (40, 60), (60, 120), (120, 180)], &[1, 2, 3]);
        check(
            "blocks of two levels make one of the third",
            &[(20, 40), (60, 120), (960, 980), (120, 180), (720, 960)],
            &[1, 2, 4],
        );
        check(
            "the newest is told by its time, not by its name",
            &[(0, 360), (540, 560), (360, 420), (420, 540)],
            &[3, 4],
        );
        check("before the epoch", &[(-60, -40), (-40, -20), (-20, 0), (0, 20)], &[1, 2, 3]);
        check(
            "a block across a boundary is left out",
            &[(0, 20), (50, 70), (80, 100), (180, 200), (200, 220)],
            &[1, 2, 3],
        );
    }

    #[test]
    fn plan_merges_overlapping_blocks_before_anything_else() {
        check("with the newest", &[(0, 20), (19, 40)], &[1, 2]);
        check("the first two", &[(0, 20), (19, 40), (40, 60)], &[1, 2]);
        check("the last two", &[(0, 20), (20, 40), (30, 50)], &[2, 3]);
        check("within one that is longer", &[(0, 100), (10, 20), (40, 50), (100, 120)], &[1, 2, 3]);
        check("a chain", &[(0, 360), (340, 560), (360, 420), (420, 540)], &[1, 2, 3, 4]);
        check("the oldest of two groups", &[(0, 10), (5, 15), (20, 30), (25, 35)], &[1, 2]);
        check("although a range is full", &[(0, 20), (20, 40), (40, 60), (60, 80), (70, 90)], &[4, 5]);
    }

    #[test]
    fn plan_rewrites_large_blocks_with_many_tombstones_and_blocks_without_a_visible_series() {
        let newest = block(9, 540, 560);
        let large = block(1, 0, 540);
        assert_eq!(parents(&[with_tombstones(large, 10, 3), newest]), [1]);
        assert_eq!(parents(&[with_tombstones(large, 1000, 50), newest]), [0u128; 0]);
        assert_eq!(parents(&[with_tombstones(large, 0, 0), newest]), [0u128; 0]);
        assert_eq!(parents(&[with_tombstones(large, 10, 3)]), [0u128; 0], "the newest is left alone");
        let small = block(1, 0, 20);
        assert_eq!(parents(&[with_tombstones(small, 10, 3), newest]), [0u128; 0]);
        assert_eq!(parents(&[with_tombstones(small, 10, 10), newest]), [1]);
        // A small block in front of the newest does not hide an older, large one.
        assert_eq!(parents(&[with_tombstones(large, 10, 3), block(2, 540, 560), block(3, 560, 580)]), [1]);
    }

    #[test]
    fn plan_passes_over_blocks_whose_compaction_failed_and_says_so() {
        let mut blocks = vec![block(1, 0, 20), block(2, 20, 40), block(3, 40, 60), block(4, 60, 80)];
        blocks[1].failed = true;
        let result = planned(&blocks);
        assert_eq!(result.plan, None);
        assert_eq!(result.skipped.len(), 1);
        assert_eq!(result.skipped[0].obstacle, Obstacle::Failed(Ulid::from(2)));
        assert!(result.skipped[0].to_string().contains("failed"), "{}", result.skipped[0]);
        // Others are planned meanwhile.
        blocks.extend([block(5, 80, 100), block(6, 100, 120), block(7, 120, 140)]);
        assert_eq!(parents(&blocks), [4, 5, 6]);
    }

    #[test]
    fn plan_of_a_level_waits_for_overlapping_blocks_that_cannot_be_merged() {
        let mut blocks = vec![block(1, 0, 20), block(2, 10, 40), block(3, 40, 60), block(4, 60, 80)];
        blocks[0].failed = true;
        let result = planned(&blocks);
        assert_eq!(result.plan, None);
        let obstacles: Vec<_> = result.skipped.iter().map(|skipped| skipped.obstacle).collect();
        assert_eq!(obstacles, [Obstacle::Failed(Ulid::from(1)), Obstacle::Failed(Ulid::from(1))]);
        // Merging the neighbours of such a block would make another overlap.
        let mut blocks =
            vec![block(1, 0, 20), block(2, 20, 40), block(3, 30, 60), block(4, 180, 200), block(5, 200, 220)];
        blocks[2].bytes = 1000;
        let options = PlanOptions { ranges_ms: RANGES.to_vec(), disk_bytes: Some(500) };
        let result = plan(&blocks, &options);
        assert_eq!(result.plan, None);
        assert_eq!(result.skipped[0].obstacle, Obstacle::DiskSpace { available: 500 });
        assert_eq!(result.skipped[1].obstacle, Obstacle::Overlap(Ulid::from(2)));
    }

    #[test]
    fn plan_keeps_out_of_order_blocks_ahead_of_all_others_apart_until_the_head_was_flushed() {
        let late = |number, start, end| PlanBlock { from_out_of_order: true, ..block(number, start, end) };
        let mut blocks = vec![block(1, 0, 20), late(2, 10, 30), block(3, -20, 0)];
        let result = planned(&blocks);
        assert_eq!(result.plan, None);
        assert_eq!(result.skipped[0].obstacle, Obstacle::Ahead(Ulid::from(2)));
        // Two of them may become one, which says as much.
        blocks[0].from_out_of_order = true;
        assert_eq!(parents(&blocks), [1, 2]);
        blocks[0].from_out_of_order = false;
        blocks.push(block(4, 20, 40));
        assert_eq!(parents(&blocks), [1, 2, 4]);
    }

    #[test]
    fn plan_leaves_out_blocks_that_are_going_to_be_removed() {
        let mut blocks = vec![block(1, 0, 20), block(2, 0, 20), block(3, 20, 40)];
        blocks[0].deletable = true;
        assert_eq!(planned(&blocks), Planned::default());
    }

    #[test]
    fn plan_that_does_not_fit_on_the_disk_is_passed_over_for_one_that_does() {
        let mut blocks = vec![block(1, 0, 20), block(2, 20, 40), block(3, 40, 60)];
        blocks.extend([block(4, 60, 80), block(5, 80, 100), block(6, 100, 120), block(7, 120, 140)]);
        blocks[0].bytes = 1000;
        let at = |disk_bytes| plan(&blocks, &PlanOptions { ranges_ms: RANGES.to_vec(), disk_bytes });
        let result = at(Some(300));
        assert_eq!(result.plan.unwrap().parents, [4, 5, 6].map(Ulid::from));
        assert_eq!(result.skipped.len(), 1);
        assert_eq!(result.skipped[0].obstacle, Obstacle::DiskSpace { available: 300 });
        assert!(result.skipped[0].to_string().contains("1200 bytes"), "{}", result.skipped[0]);
        let result = at(Some(1200));
        assert_eq!((result.plan.unwrap().bytes, result.skipped.len()), (1200, 0));
        assert_eq!(at(Some(299)).plan, None);
    }

    #[test]
    fn level_ranges_grow_threefold_up_to_a_tenth_of_the_retention() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let in_hours = |ranges: Vec<i64>| ranges.into_iter().map(|range| range / 3_600_000).collect::<Vec<_>>();
        assert_eq!(in_hours(level_ranges(hours(2), Some(hours(15 * 24)))), [2, 6, 18]);
        assert_eq!(in_hours(level_ranges(hours(2), None)), [2, 6, 18, 54, 162, 486]);
        assert_eq!(in_hours(level_ranges(hours(2), Some(hours(1)))), [2]);
        assert_eq!(level_ranges(Duration::from_millis(1), None).len(), LEVELS_MAX);
    }
}
