//! The blocks of a data directory: opened, replaced, removed, set aside.
//!
//! One list is the truth, behind a lock; every change publishes a new [`View`]. What a change takes away from the view is
//! removed from the disk only afterwards, and in two steps, a rename that is durable first: a crash leaves no half of a
//! block under a block's name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ulid::Ulid;

use super::quarantine::{self, LogLosses, LostBlock};
use super::view::{View, ViewBlock, ViewCell};
use crate::block::{Block, BlockError, BlockMeta};
use crate::clock::Clock;
use crate::fs::{Fs, names};

/// Ending of directories that older versions of Prometheus left.
const TMP_PLAIN: &str = ".tmp";

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<Ulid, Arc<Block>>,
    /// In quarantine, or left where they were and not served.
    lost: Vec<LostBlock>,
    /// What damage of the log cost.
    log_losses: LogLosses,
    /// Taken out for good, with files that could not be removed yet.
    hidden: BTreeSet<Ulid>,
    /// Those of the hidden ones that the ledger does not know: a start would take them in.
    taken_back: BTreeSet<Ulid>,
    /// Getting their names, and not yet in the ledger.
    arriving: BTreeSet<Ulid>,
}

/// The names that need no second look.
struct Known {
    /// Of blocks that are served.
    served: BTreeSet<Ulid>,
    /// Of directories that are not to be served: not yet, or not any more.
    apart: BTreeSet<Ulid>,
}

/// The blocks of a data directory.
pub(super) struct Blocks {
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    data_dir: PathBuf,
    state: Mutex<State>,
    view: Arc<ViewCell>,
}

/// What a look at the directory found.
#[derive(Debug, Default)]
pub(super) struct Reloaded {
    /// Blocks that are new.
    pub(super) added: Vec<Arc<Block>>,
    /// Blocks whose directories are gone.
    pub(super) vanished: Vec<Ulid>,
    /// Blocks that could not be opened, and were not known to be so.
    pub(super) lost: Vec<LostBlock>,
}

impl Blocks {
    /// No block yet.
    pub(super) fn new(fs: Arc<dyn Fs>, clock: Arc<dyn Clock>, data_dir: &Path) -> Self {
        let lost = quarantine::lost_blocks(&*fs, data_dir);
        let state = State { lost, log_losses: LogLosses::read(&*fs, data_dir), ..State::default() };
        let blocks =
            Blocks { fs, clock, data_dir: data_dir.to_owned(), state: Mutex::new(state), view: Arc::default() };
        blocks.publish(&blocks.state());
        blocks
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        let entry = |block: &Arc<Block>| {
            Some(ViewBlock {
                ulid: block.ulid(),
                range: block.meta().time_range()?,
                from_out_of_order: block.meta().is_from_out_of_order(),
                queryable: block.clone(),
            })
        };
        let view = View::new(state.blocks.values().filter_map(entry).collect(), state.lost.clone());
        self.view.store(view.with_log_losses(state.log_losses.clone()));
    }

    /// Where the current view is.
    pub(super) fn view(&self) -> &Arc<ViewCell> {
        &self.view
    }

    /// The blocks that are served, by name.
    pub(super) fn list(&self) -> Vec<Arc<Block>> {
        self.state().blocks.values().cloned().collect()
    }

    /// One block.
    pub(super) fn get(&self, ulid: Ulid) -> Option<Arc<Block>> {
        self.state().blocks.get(&ulid).cloned()
    }

    /// The blocks whose samples are not served.
    pub(super) fn lost(&self) -> Vec<LostBlock> {
        self.state().lost.clone()
    }

    /// Says what damage of the log cost.
    pub(super) fn set_log_losses(&self, losses: LogLosses) {
        let mut state = self.state();
        if state.log_losses != losses {
            state.log_losses = losses;
            self.publish(&state);
        }
    }

    /// Puts blocks in and takes others out, in one step as far as queries see it.
    pub(super) fn replace(&self, out: &[Ulid], new: &[Arc<Block>]) {
        let mut state = self.state();
        for ulid in out {
            state.blocks.remove(ulid);
        }
        for block in new {
            state.arriving.remove(&block.ulid());
            state.blocks.insert(block.ulid(), block.clone());
        }
        self.publish(&state);
    }

    /// Tells of a block that is about to get its name: until it is put in, or hidden, no look at the directory takes it in.
    pub(super) fn announce(&self, ulid: Ulid) {
        self.state().arriving.insert(ulid);
    }

    /// Removes what crashes left of blocks that were being made or removed.
    pub(super) fn remove_leftovers(&self) -> io::Result<usize> {
        let endings = [names::TMP_FOR_CREATION, names::TMP_FOR_DELETION, TMP_PLAIN];
        let mut removed = 0;
        for entry in self.fs.list(&self.data_dir)? {
            let of_block = |ending| entry.name.strip_suffix(ending).is_some_and(|ulid| Ulid::from_string(ulid).is_ok());
            if entry.is_dir && endings.into_iter().any(of_block) {
                self.fs.remove_dir_all(&self.data_dir.join(&entry.name))?;
                removed += 1;
            }
        }
        if removed > 0 {
            self.fs.sync_dir(&self.data_dir)?;
        }
        Ok(removed)
    }

    /// Looks at the directory: opens blocks that are new, lets go of those that vanished. One that cannot be opened is
    /// marked, and moved to quarantine where `may_move` says so: while the server runs, somebody may just be copying it.
    pub(super) fn reload(&self, may_move: bool) -> io::Result<Reloaded> {
        let before = self.known();
        let on_disk = self.names_on_disk()?;
        Ok(self.take_in(&before, &on_disk, may_move))
    }

    fn known(&self) -> Known {
        let state = self.state();
        Known {
            served: state.blocks.keys().copied().collect(),
            apart: state.hidden.union(&state.arriving).copied().collect(),
        }
    }

    fn names_on_disk(&self) -> io::Result<BTreeSet<Ulid>> {
        let entries = self.fs.list(&self.data_dir)?;
        let dirs = entries.iter().filter(|entry| entry.is_dir);
        // A name in lower case is no name of a block, as Prometheus has it.
        let is_name = |name: &str, ulid: &Ulid| ulid.to_string() == name;
        Ok(dirs
            .filter_map(|entry| Ulid::from_string(&entry.name).ok().filter(|ulid| is_name(&entry.name, ulid)))
            .collect())
    }

    /// Goes by what was known before the directory was looked at.
    fn take_in(&self, before: &Known, on_disk: &BTreeSet<Ulid>, may_move: bool) -> Reloaded {
        // A flush puts its blocks in without waiting for this: what it has done meanwhile is neither new nor gone.
        let now = self.known();
        let is_known =
            |ulid: &Ulid| [before, &now].iter().any(|known| known.served.contains(ulid) || known.apart.contains(ulid));
        let mut reloaded = Reloaded::default();
        let is_gone = |ulid: &&Ulid| !on_disk.contains(ulid) || before.apart.contains(ulid);
        reloaded.vanished = before.served.iter().filter(is_gone).copied().collect();
        // What lies in quarantine may have been taken away or put back by a person.
        let left_in_place: Vec<LostBlock> = self.state().lost.iter().filter(|lost| !lost.is_moved).cloned().collect();
        let mut lost = quarantine::lost_blocks(&*self.fs, &self.data_dir);
        for &ulid in on_disk.iter().filter(|ulid| !is_known(ulid)) {
            match Block::open(self.fs.clone(), &self.data_dir.join(ulid.to_string())) {
                Ok(block) => reloaded.added.push(block),
                Err(error) => {
                    let found = self.set_aside_files(ulid, &error, may_move);
                    if !left_in_place.iter().any(|known| known.ulid == ulid) {
                        reloaded.lost.push(found.clone());
                    }
                    lost.push(found);
                }
            }
        }
        let mut state = self.state();
        for ulid in &reloaded.vanished {
            state.blocks.remove(ulid);
        }
        for block in &reloaded.added {
            state.blocks.insert(block.ulid(), block.clone());
        }
        state.lost = lost;
        self.publish(&state);
        reloaded
    }

    /// Marks a block that cannot be opened, and moves it to quarantine. Where the disk could not read it, it is left
    /// where it is: the next look may find it well.
    fn set_aside_files(&self, ulid: Ulid, error: &BlockError, may_move: bool) -> LostBlock {
        let dir = self.data_dir.join(ulid.to_string());
        let range = BlockMeta::read(&*self.fs, &dir).ok().and_then(|meta| meta.time_range());
        let mut lost = LostBlock {
            ulid,
            min_time_ms: range.map(|range| range.start_ms),
            max_time_ms: range.map(|range| range.end_ms),
            reason: error.to_string(),
            found_ms: self.clock.now_ms(),
            is_covered: false,
            is_moved: false,
        };
        let is_passing = match error {
            BlockError::Io { source, .. } => source.kind() != io::ErrorKind::NotFound,
            _ => false,
        };
        if is_passing || !may_move {
            return lost;
        }
        match quarantine::move_block(&*self.fs, &self.data_dir, &dir, &lost) {
            Ok(()) => lost.is_moved = true,
            Err(error) => tracing::error!(%ulid, %error, "a damaged block could not be moved to quarantine"),
        }
        lost
    }

    /// Takes no block of this name in any more, as long as it is not removed.
    pub(super) fn hide(&self, ulid: Ulid) {
        let mut state = self.state();
        state.arriving.remove(&ulid);
        state.hidden.insert(ulid);
    }

    /// Takes no block of this name in any more, which nothing else has the place of.
    pub(super) fn take_back(&self, ulid: Ulid) {
        self.hide(ulid);
        self.state().taken_back.insert(ulid);
    }

    /// A block that was taken back and is still there.
    pub(super) fn taken_back(&self) -> Option<Ulid> {
        self.state().taken_back.first().copied()
    }

    /// Blocks that were taken out for good, with files that could not be removed yet.
    pub(super) fn hidden(&self) -> BTreeSet<Ulid> {
        self.state().hidden.clone()
    }

    /// Removes a block's directory, which no view has any more. A block that cannot be removed is hidden.
    pub(super) fn remove_files(&self, ulid: Ulid) -> io::Result<()> {
        self.hide(ulid);
        self.try_remove_files(ulid)?;
        let mut state = self.state();
        state.hidden.remove(&ulid);
        state.taken_back.remove(&ulid);
        Ok(())
    }

    fn try_remove_files(&self, ulid: Ulid) -> io::Result<()> {
        let from = self.data_dir.join(ulid.to_string());
        if !self.fs.exists(&from) {
            return Ok(());
        }
        let to = self.data_dir.join(format!("{ulid}{}", names::TMP_FOR_DELETION));
        if self.fs.exists(&to) {
            self.fs.remove_dir_all(&to)?;
        }
        self.fs.rename(&from, &to)?;
        self.fs.sync_dir(&self.data_dir)?;
        self.fs.remove_dir_all(&to)?;
        self.fs.sync_dir(&self.data_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockOrigin, BlockWriter, WriterOptions};
    use crate::chunk::ChunkBuilder;
    use crate::clock::ManualClock;
    use crate::fs::sim::SimFs;
    use crate::model::{LabelSet, SampleValue};

    const DATA: &str = "/data";

    fn blocks(fs: &SimFs) -> Blocks {
        fs.create_dir_all(Path::new(DATA)).unwrap();
        Blocks::new(Arc::new(fs.clone()), Arc::new(ManualClock::at(0)), Path::new(DATA))
    }

    fn publish(fs: &SimFs, ulid: Ulid) -> Arc<Block> {
        let mut writer =
            BlockWriter::create(Arc::new(fs.clone()), Path::new(DATA), ulid, WriterOptions::default()).unwrap();
        let mut builder = ChunkBuilder::new();
        assert!(builder.push(5, &SampleValue::Float(1.0)).is_none());
        writer.add(&LabelSet::from_pairs([("__name__", "up")]), &[builder.finish().unwrap()]).unwrap();
        let origin = BlockOrigin { min_time_ms: 0, max_time_ms: 10, level: 1, ..BlockOrigin::default() };
        writer.finish(origin).unwrap().unwrap().publish().unwrap()
    }

    #[test]
    fn block_that_is_published_while_the_directory_is_looked_at_is_neither_new_nor_gone() {
        let fs = SimFs::new(1);
        let blocks = blocks(&fs);
        let before = blocks.known();
        let on_disk = blocks.names_on_disk().unwrap();
        blocks.announce(Ulid(1));
        let block = publish(&fs, Ulid(1));
        // It has its name, and the ledger does not say so yet.
        let seen = blocks.reload(false).unwrap();
        assert!(seen.added.is_empty() && blocks.list().is_empty());
        let late = (blocks.known(), blocks.names_on_disk().unwrap());
        blocks.replace(&[], &[block]);
        for (before, on_disk) in [(before, on_disk), late] {
            let seen = blocks.take_in(&before, &on_disk, false);
            assert!(seen.added.is_empty() && seen.vanished.is_empty(), "{seen:?}");
            assert_eq!(blocks.list().len(), 1);
        }
    }

    #[test]
    fn block_that_is_taken_back_is_not_taken_in_and_one_that_appears_is() {
        let fs = SimFs::new(1);
        let blocks = blocks(&fs);
        blocks.announce(Ulid(1));
        publish(&fs, Ulid(1));
        publish(&fs, Ulid(2));
        blocks.hide(Ulid(1));
        let seen = blocks.reload(false).unwrap();
        assert_eq!(seen.added.iter().map(|block| block.ulid()).collect::<Vec<_>>(), [Ulid(2)]);
        blocks.remove_files(Ulid(1)).unwrap();
        fs.remove_dir_all(&Path::new(DATA).join(Ulid(2).to_string())).unwrap();
        assert_eq!(blocks.reload(false).unwrap().vanished, [Ulid(2)]);
    }
}
