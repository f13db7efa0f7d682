//! A block that is open: its files mapped, its deletions known.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ulid::Ulid;

use super::accel::{Accel, AccelSlot, AccelState, IndexIdentity};
use super::chunks::Segments;
use super::damage::{Damages, Warnings};
use super::index::IndexReader;
use super::{BlockError, BlockMeta, Damage, DamagedPart, Matcher, SeriesRef};
use crate::fs::Fs;
use crate::fs::names::{BLOCK_INDEX_FILE, BLOCK_META_FILE, BLOCK_TOMBSTONES_FILE, TMP_FOR_CREATION};
use crate::model::TimeRange;
use crate::tombstones::TombstoneFile;

/// An open block. Its files stay readable while it is held, also after they were removed.
#[derive(Debug)]
pub struct Block {
    pub(super) shared: Arc<Shared>,
}

/// What a block shares with its queries.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) ulid: Ulid,
    pub(super) meta: RwLock<Arc<BlockMeta>>,
    pub(super) index: IndexReader,
    pub(super) segments: Segments,
    pub(super) accel: AccelSlot,
    pub(super) tombstones: RwLock<Arc<TombstoneFile>>,
    pub(super) damages: Damages,
    /// Held while meta and tombstones are rewritten.
    pub(super) rewriting: Mutex<()>,
}

impl Block {
    /// Opens the block in `dir`. Only a meta or an index whose table of contents cannot be read is an error; other
    /// damage is remembered ([`damages`](Self::damages)), and what is whole is served.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Arc<Block>, BlockError> {
        let meta = BlockMeta::read(&*fs, dir)?;
        check_name(dir, &meta)?;
        let path = dir.join(BLOCK_INDEX_FILE);
        let bytes = fs.map(&path).map_err(BlockError::io("map", &path))?;
        let index = IndexReader::open(bytes).map_err(BlockError::damaged(&path))?;
        let segments = Segments::open(&*fs, dir);
        let identity = IndexIdentity {
            ulid: meta.ulid.0,
            index_bytes: index.bytes().len() as u64,
            index_toc_crc: index.toc_checksum(),
        };
        let accel = AccelSlot::open(&*fs, dir, identity);
        let (tombstones, tombstones_fault) = read_tombstones(&*fs, dir, &meta);
        let shared = Shared {
            dir: dir.to_owned(),
            ulid: meta.ulid,
            meta: RwLock::new(Arc::new(meta)),
            index,
            segments,
            accel,
            tombstones: RwLock::new(Arc::new(tombstones)),
            damages: Damages::default(),
            rewriting: Mutex::new(()),
            fs,
        };
        shared.record_damage_at_opening(tombstones_fault);
        Ok(Arc::new(Block { shared: Arc::new(shared) }))
    }

    /// What the block's meta says.
    pub fn meta(&self) -> Arc<BlockMeta> {
        self.shared.meta()
    }

    /// The block's name.
    pub fn ulid(&self) -> Ulid {
        self.shared.ulid
    }

    /// The directory that it was opened in.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The times of which it may hold samples; `None` where its meta leaves no room for any.
    pub fn time_range(&self) -> Option<TimeRange> {
        self.shared.meta().time_range()
    }

    /// Bytes of all files that the format has.
    pub fn bytes(&self) -> u64 {
        let shared = &self.shared;
        let small = [BLOCK_META_FILE, BLOCK_TOMBSTONES_FILE];
        let entries = shared.fs.list(&shared.dir).unwrap_or_default();
        let small: u64 =
            entries.iter().filter(|entry| small.contains(&entry.name.as_str())).map(|entry| entry.bytes).sum();
        shared.index.bytes().len() as u64 + shared.segments.bytes() + small
    }

    /// What is deleted, by series.
    pub fn tombstones(&self) -> Arc<TombstoneFile> {
        self.shared.tombstones()
    }

    /// Damage that was found so far, each place once, up to a bound.
    pub fn damages(&self) -> Vec<Damage> {
        self.shared.damages.to_vec()
    }

    /// Whether the block has an accelerator that can be used. Without one, the index answers.
    pub fn accel_state(&self) -> AccelState {
        self.shared.accel.state()
    }

    /// The accelerator, if it can be used: it knows the samples of each series by count and digest.
    pub fn accel(&self) -> Option<Arc<Accel>> {
        self.shared.accel.get()
    }

    /// The references in the index of the series that pass every matcher, sorted. Damage that is found is remembered.
    pub fn series_refs(&self, matchers: &[Matcher]) -> Vec<SeriesRef> {
        self.shared.select(matchers, &mut |_remembered| {})
    }

    /// Bytes on the heap: what makes the mapped index searchable.
    pub fn heap_bytes(&self) -> usize {
        self.shared.index.heap_bytes()
    }

    /// Changes the block's meta, durably: a reader, or a power loss, finds the old or the new.
    pub fn rewrite_meta(&self, change: impl FnOnce(&mut BlockMeta)) -> Result<(), BlockError> {
        let _alone = self.shared.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.rewrite_meta(change)
    }
}

impl Shared {
    pub(super) fn meta(&self) -> Arc<BlockMeta> {
        self.meta.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn tombstones(&self) -> Arc<TombstoneFile> {
        self.tombstones.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The block's times, for messages.
    pub(super) fn range_or_nothing(&self) -> TimeRange {
        let meta = self.meta();
        meta.time_range().unwrap_or(TimeRange::new(meta.min_time_ms, meta.max_time_ms))
    }

    /// The caller holds `rewriting`.
    pub(super) fn rewrite_meta(&self, change: impl FnOnce(&mut BlockMeta)) -> Result<(), BlockError> {
        let mut meta = BlockMeta::clone(&self.meta());
        change(&mut meta);
        meta.rewrite(&*self.fs, &self.dir)?;
        *self.meta.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(meta);
        Ok(())
    }

    fn record_damage_at_opening(&self, tombstones_fault: Option<String>) {
        if let Some(fault) = tombstones_fault {
            let range = self.range_or_nothing();
            let damage = Damage::new(DamagedPart::Tombstones, BLOCK_TOMBSTONES_FILE, fault, range);
            self.damages.record(self.ulid, &damage);
        }
        if let Some(fault) = self.index.symbols_fault() {
            self.index_damage(DamagedPart::Symbols, fault);
        }
        if let Some(fault) = self.index.table_fault() {
            self.index_damage(DamagedPart::Postings, fault);
        }
        for (number, segment) in self.segments.iter() {
            if let Err(fault) = segment {
                self.damages.record(self.ulid, &self.segment_damage(number, fault, self.range_or_nothing()));
            }
        }
    }

    /// Damage in a chunk segment.
    pub(super) fn segment_damage(&self, number: usize, fault: impl std::fmt::Display, range: TimeRange) -> Damage {
        Damage::new(DamagedPart::Chunk, &format!("chunks/{number:06}"), fault, range)
    }

    /// Adds the warnings that every query of the block carries.
    pub(super) fn warn_of_standing_damage(&self, warnings: &Warnings) {
        for damage in self.damages.of(DamagedPart::Tombstones) {
            warnings.add(self.ulid, &damage);
        }
    }
}

/// A block lies in a directory of its name. Other directories, such as copies made by hand, are taken as they are.
fn check_name(dir: &Path, meta: &BlockMeta) -> Result<(), BlockError> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(TMP_FOR_CREATION).unwrap_or(name);
    match Ulid::from_string(name) {
        Ok(ulid) if ulid != meta.ulid => Err(BlockError::Damaged {
            what: format!("the meta is that of block {}", meta.ulid),
            path: dir.join(BLOCK_META_FILE),
        }),
        _ => Ok(()),
    }
}

/// Reads the tombstones, and says what is wrong with them: then deleted samples show again.
fn read_tombstones(fs: &dyn Fs, dir: &Path, meta: &BlockMeta) -> (TombstoneFile, Option<String>) {
    let failed = |fault: String| (TombstoneFile::new(), Some(fault));
    match fs.read(&dir.join(BLOCK_TOMBSTONES_FILE)) {
        Ok(bytes) => match TombstoneFile::decode(&bytes) {
            Ok(tombstones) => (tombstones, None),
            Err(fault) => failed(fault.to_string()),
        },
        // Blocks that went through object storage have none. Where the meta knows of no deletion, none is lost.
        Err(error) if error.kind() == io::ErrorKind::NotFound && meta.stats.tombstones == 0 => {
            (TombstoneFile::new(), None)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            failed(format!("the file is missing, {} deleted ranges are not known", meta.stats.tombstones))
        }
        Err(error) => failed(error.to_string()),
    }
}
