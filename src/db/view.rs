//! What can be read: the blocks and the head, seen as one.
//!
//! A [`View`] never changes: it is replaced as a whole, so a query sees all of a compaction or nothing of it. Its blocks
//! stay open as long as a query holds them, also when their files are removed meanwhile.

use std::sync::{Arc, PoisonError, RwLock};

use ulid::Ulid;

use super::merge::{MergedQuerier, Part};
use super::quarantine::{LogLosses, LostBlock};
use crate::model::TimeRange;
use crate::storage::{Querier, Queryable, StorageError};

/// A block of a view, as far as queries look at it.
#[derive(Clone)]
pub(super) struct ViewBlock {
    pub(super) ulid: Ulid,
    /// From its first to its last possible sample.
    pub(super) range: TimeRange,
    /// Its samples came out of order: where another block has one of the same time, that is older.
    pub(super) from_out_of_order: bool,
    pub(super) queryable: Arc<dyn Queryable>,
}

impl std::fmt::Debug for ViewBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.ulid, self.range)
    }
}

/// What there is beside the head.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Those whose samples win first.
    blocks: Vec<ViewBlock>,
    lost: Vec<LostBlock>,
    log_losses: LogLosses,
}

impl View {
    /// The view on these blocks, and on what is missing.
    pub(super) fn new(mut blocks: Vec<ViewBlock>, lost: Vec<LostBlock>) -> Self {
        blocks.sort_by_key(|block| (block.from_out_of_order, block.ulid));
        View { blocks, lost, log_losses: LogLosses::default() }
    }

    /// The same view, of a database whose log has lost something.
    pub(super) fn with_log_losses(self, log_losses: LogLosses) -> Self {
        View { log_losses, ..self }
    }

    /// A querier over the blocks of the range and the head. Where only the head has samples, it is the head's own.
    pub(super) fn querier(
        &self,
        range: TimeRange,
        head: Option<Part>,
        mut notes: Vec<String>,
    ) -> Result<Box<dyn Querier>, StorageError> {
        let missing = self.lost.iter().filter(|lost| !lost.is_covered && lost.touches(&range));
        notes.extend(missing.map(LostBlock::warning));
        notes.extend(self.log_losses.warning(&range));
        let mut parts = Vec::new();
        for block in self.blocks.iter().filter(|block| block.range.overlaps(&range)) {
            match block.queryable.querier(range) {
                Ok(querier) => {
                    parts.push(Part { querier, name: format!("block {}", block.ulid), range: block.range });
                }
                Err(fault) => {
                    let (from, to) = (block.range.start_ms, block.range.end_ms);
                    let ulid = block.ulid;
                    notes.push(format!("samples from {from} to {to} ms of block {ulid} were left out: {fault}"));
                }
            }
        }
        match head {
            Some(head) if parts.is_empty() && notes.is_empty() => return Ok(head.querier),
            head => parts.extend(head),
        }
        Ok(Box::new(MergedQuerier::new(parts, notes)))
    }
}

/// The current view.
#[derive(Debug, Default)]
pub(super) struct ViewCell(RwLock<Arc<View>>);

impl ViewCell {
    /// The view now.
    pub(super) fn load(&self) -> Arc<View> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the view.
    pub(super) fn store(&self, view: View) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }
}

/// Something that has a view and, once it is there, a head.
pub(super) trait ViewSource: Send + Sync {
    /// The head's part of a query. Asked before the view: what leaves the head in between is in the view then, and what
    /// is in both is taken once.
    fn head_part(&self, range: TimeRange) -> Result<Option<Part>, StorageError>;

    /// The blocks now.
    fn view(&self) -> Arc<View>;

    /// What else a query of this range has to be told.
    fn notes(&self, range: TimeRange) -> Vec<String>;
}

/// Everything that can be asked for series.
pub(super) struct DbQueryable<S>(pub(super) S);

impl<S: ViewSource> Queryable for DbQueryable<S> {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
        let head = self.0.head_part(range)?;
        self.0.view().querier(range, head, self.0.notes(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Matcher;
    use crate::storage::{SelectHints, SelectedSeries};

    /// Answers with its name.
    struct Named(&'static str);

    impl Querier for Named {
        fn select(&self, _: &[Matcher], _: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
            Ok(Vec::new())
        }
        fn label_names(&self, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            Ok(vec![self.0.to_owned()])
        }
        fn label_values(&self, _: &str, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            Ok(Vec::new())
        }
    }

    impl Queryable for Named {
        fn querier(&self, _: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
            match self.0 {
                "unreadable" => Err(StorageError::Io { path: "index".into(), message: "input/output error".into() }),
                name => Ok(Box::new(Named(name))),
            }
        }
    }

    fn block(number: u128, name: &'static str, start_ms: i64, end_ms: i64) -> ViewBlock {
        let range = TimeRange::new(start_ms, end_ms);
        ViewBlock { ulid: Ulid(number), range, from_out_of_order: false, queryable: Arc::new(Named(name)) }
    }

    fn lost(min_time_ms: i64, max_time_ms: i64, is_covered: bool) -> LostBlock {
        let (min_time_ms, max_time_ms) = (Some(min_time_ms), Some(max_time_ms));
        let reason = "index: checksum differs".to_owned();
        LostBlock { ulid: Ulid(7), min_time_ms, max_time_ms, reason, found_ms: 0, is_covered, is_moved: true }
    }

    fn head() -> Option<Part> {
        Some(Part { querier: Box::new(Named("head")), name: "the head".into(), range: TimeRange::new(200, 300) })
    }

    fn ask(view: &View, start_ms: i64, end_ms: i64, notes: Vec<String>) -> (Vec<String>, Vec<String>) {
        let querier = view.querier(TimeRange::new(start_ms, end_ms), head(), notes).unwrap();
        (querier.label_names(&[], 0).unwrap(), querier.warnings())
    }

    #[test]
    fn query_reads_the_blocks_that_overlap_its_range_and_the_head() {
        let view = View::new(vec![block(1, "a", 0, 99), block(2, "b", 100, 199)], Vec::new());
        assert_eq!(ask(&view, 0, 1000, vec![]).0, ["a", "b", "head"]);
        assert_eq!(ask(&view, 99, 99, vec![]).0, ["a", "head"]);
        assert_eq!(ask(&view, 100, 150, vec![]).0, ["b", "head"]);
        assert_eq!(ask(&view, 200, 300, vec![]).0, ["head"]);
    }

    #[test]
    fn query_of_a_range_that_lost_a_block_is_warned_by_name_and_others_are_not() {
        let view = View::new(vec![block(1, "a", 0, 99)], vec![lost(100, 199, false)]);
        assert_eq!(ask(&view, 0, 99, vec![]).1, [""; 0]);
        let (_, warnings) = ask(&view, 150, 160, vec![]);
        assert!(warnings.len() == 1 && warnings[0].contains(&Ulid(7).to_string()), "{warnings:?}");
        let view = View::new(Vec::new(), vec![lost(100, 199, true)]);
        assert_eq!(ask(&view, 150, 160, vec![]).1, [""; 0], "other blocks have its samples");
    }

    #[test]
    fn query_over_a_block_that_cannot_be_asked_answers_with_the_rest_and_a_warning() {
        let view = View::new(vec![block(1, "unreadable", 0, 99), block(2, "b", 50, 199)], Vec::new());
        let (names, warnings) = ask(&view, 0, 1000, vec!["replaying".into()]);
        assert_eq!(names, ["b", "head"]);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[1].contains("from 0 to 99 ms of block") && warnings[1].contains("input/output error"));
    }

    #[test]
    fn samples_that_came_out_of_order_yield_to_those_of_other_blocks() {
        let late = ViewBlock { from_out_of_order: true, ..block(1, "late", 0, 99) };
        let view = View::new(vec![late, block(9, "first", 0, 99)], Vec::new());
        assert_eq!(view.blocks.iter().map(|block| block.ulid.0).collect::<Vec<_>>(), [9, 1]);
    }
}
