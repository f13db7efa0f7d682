//! What an import keeps on disk while it runs, so that it can be taken up again.
//!
//! `<data_dir>/import-<key>/` holds the runs, the series (`series`), and how far the import is (`state.json`). The key is
//! a hash of the source, so that only the same text is taken up. The state is replaced by a rename after what it speaks
//! of was synced: what lies behind the bytes that it names is left over from an interruption, and is ignored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{io, mem};

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use super::run::{Pending, Run, write_run};
use super::series::SeriesTable;
use super::{ImportError, ImportedBlock, RANGE_MS};
use crate::encoding::{crc32c, crc32c_more};
use crate::fs::{Fs, ReadFile};
use crate::text::TextFormat;

/// Latest time that a block's name can tell.
const NAME_TIME_MAX_MS: i64 = (1 << 48) - 1;
const STATE_FILE: &str = "state.json";
const SERIES_FILE: &str = "series";
/// How much of the beginning and the end of a source tells it from others.
pub(super) const SPECIMEN_BYTES: u64 = 64 << 10;

/// What tells one source from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) bytes: u64,
    is_open_metrics: bool,
    /// A stream tells neither its length nor its end before it was read.
    is_stream: bool,
    /// Hash of its beginning and its end.
    hash: u64,
}

impl Source {
    pub(super) fn of(file: &dyn ReadFile, format: TextFormat) -> io::Result<Self> {
        let bytes = file.len()?;
        let mut hash = Xxh3::new();
        let mut specimen = vec![0; SPECIMEN_BYTES as usize];
        for at in [0, bytes.saturating_sub(SPECIMEN_BYTES)] {
            let count = file.read_at(&mut specimen, at)?;
            hash.update(specimen.get(..count).unwrap_or(&[]));
        }
        let is_open_metrics = format == TextFormat::OpenMetrics;
        Ok(Source { bytes, is_open_metrics, is_stream: false, hash: hash.digest() })
    }

    /// A stream that begins with these bytes.
    pub(super) fn of_stream(beginning: &[u8], format: TextFormat) -> Self {
        let is_open_metrics = format == TextFormat::OpenMetrics;
        Source { bytes: 0, is_open_metrics, is_stream: true, hash: xxh3_64(beginning) }
    }

    /// The name of the import.
    fn key(&self) -> u64 {
        xxh3_64(format!("{} {} {} {}", self.bytes, self.is_open_metrics, self.is_stream, self.hash).as_bytes())
    }
}

/// A file of which a part is valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Extent {
    bytes: u64,
    crc: u32,
}

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) source: Source,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    /// Checksum of the text so far.
    pub(super) text_crc: u32,
    pub(super) samples: u64,
    pub(super) exemplars_skipped: u64,
    pub(super) duplicates: u64,
    pub(super) conflicts: u64,
    pub(super) conflicts_named: Vec<String>,
    pub(super) is_read: bool,
    /// Ranges of a block; fixed when the first block is written.
    pub(super) ranges_per_block: Option<i64>,
    pub(super) blocks: Vec<ImportedBlock>,
    #[serde(skip)]
    pub(super) resumed_samples: u64,
    series: Extent,
    runs: Vec<Extent>,
}

impl State {
    pub(super) fn new(source: Source) -> Self {
        State {
            source,
            lines: 0,
            bytes: 0,
            text_crc: 0,
            samples: 0,
            exemplars_skipped: 0,
            duplicates: 0,
            conflicts: 0,
            conflicts_named: Vec::new(),
            is_read: false,
            ranges_per_block: None,
            blocks: Vec::new(),
            resumed_samples: 0,
            series: Extent::default(),
            runs: Vec::new(),
        }
    }

    /// The names of the block of some ranges, the same whenever the same text is imported. The second and later ones are
    /// for a block that was there before, under those before them.
    pub(super) fn block_names(&self, block: i64, ranges_per_block: i64) -> impl Iterator<Item = Ulid> + use<> {
        let (hash, bytes, crc) = (self.source.hash, self.bytes, self.text_crc);
        let what = format!("{hash} {bytes} {crc} {ranges_per_block} {block}");
        let end_ms = block.saturating_add(1).saturating_mul(ranges_per_block).saturating_mul(RANGE_MS);
        let time_ms = end_ms.clamp(0, NAME_TIME_MAX_MS).unsigned_abs();
        (0..u64::MAX).map(move |generation| {
            let suffix = if generation == 0 { String::new() } else { format!(" {generation}") };
            Ulid::from_parts(time_ms, xxh3_128(format!("{what}{suffix}").as_bytes()))
        })
    }
}

/// The directory of an import.
pub(super) struct WorkDir {
    pub(super) fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl WorkDir {
    /// The directory for a source, made if need be.
    pub(super) fn open(fs: Arc<dyn Fs>, data_dir: &Path, source: &Source) -> Result<Self, ImportError> {
        let dir = data_dir.join(format!("import-{:016x}", source.key()));
        fs.create_dir_all(&dir).map_err(ImportError::io("create", &dir))?;
        fs.sync_dir(data_dir).map_err(ImportError::io("fsync", data_dir))?;
        Ok(WorkDir { fs, dir })
    }

    fn run_path(&self, number: usize) -> PathBuf {
        self.dir.join(format!("run-{number:05}"))
    }

    /// The state of an interrupted import, with its series; `None` where there is none that can be taken up.
    pub(super) fn load(&self) -> Result<Option<(State, Vec<u8>)>, ImportError> {
        let path = self.dir.join(STATE_FILE);
        if !self.fs.exists(&path) {
            return Ok(None);
        }
        let text = self.fs.read(&path).map_err(ImportError::io("read", &path))?;
        let Ok(state) = serde_json::from_slice::<State>(&text) else { return Ok(None) };
        let path = self.dir.join(SERIES_FILE);
        let mut series = if self.fs.exists(&path) {
            self.fs.read(&path).map_err(ImportError::io("read", &path))?
        } else {
            Vec::new()
        };
        if (series.len() as u64) < state.series.bytes {
            return Ok(None);
        }
        series.truncate(state.series.bytes as usize);
        let is_whole = crc32c(&series) == state.series.crc && self.runs(&state)?.is_some();
        Ok(is_whole.then_some((state, series)))
    }

    /// The runs of an import; `None` where one is damaged.
    pub(super) fn runs(&self, state: &State) -> Result<Option<Vec<Run>>, ImportError> {
        let mut runs = Vec::with_capacity(state.runs.len());
        for (number, run) in state.runs.iter().enumerate() {
            let path = self.run_path(number);
            if !self.fs.exists(&path) {
                return Ok(None);
            }
            match Run::open(&*self.fs, &path, run.bytes, run.crc).map_err(ImportError::io("map", &path))? {
                Some(run) => runs.push(run),
                None => return Ok(None),
            }
        }
        Ok(Some(runs))
    }

    /// Writes what was read since the last run, and makes it and the state durable.
    pub(super) fn save_run(
        &self,
        state: &mut State,
        series: &mut SeriesTable,
        pending: &mut Vec<Pending>,
    ) -> Result<(), ImportError> {
        if !pending.is_empty() {
            let path = self.run_path(state.runs.len());
            let (bytes, crc) =
                write_run(&*self.fs, &path, pending, RANGE_MS).map_err(ImportError::io("write", &path))?;
            state.runs.push(Extent { bytes, crc });
            pending.clear();
        }
        let mut new = Vec::new();
        series.save_new(&mut new);
        if !new.is_empty() {
            let path = self.dir.join(SERIES_FILE);
            let save = || -> io::Result<()> {
                let mut file = if self.fs.exists(&path) { self.fs.append(&path)? } else { self.fs.create(&path)? };
                file.truncate(state.series.bytes)?;
                file.write_all(&new)?;
                file.sync_data()
            };
            save().map_err(ImportError::io("write", &path))?;
            state.series.crc = crc32c_more(state.series.crc, &new);
            state.series.bytes += new.len() as u64;
        }
        self.save(state)
    }

    /// Makes the state durable.
    pub(super) fn save(&self, state: &State) -> Result<(), ImportError> {
        let path = self.dir.join(STATE_FILE);
        let new = self.dir.join(format!("{STATE_FILE}.tmp"));
        let save = || -> io::Result<()> {
            let text = serde_json::to_vec(state)?;
            if self.fs.exists(&new) {
                self.fs.remove_file(&new)?;
            }
            let mut file = self.fs.create(&new)?;
            file.write_all(&text)?;
            file.sync_data()?;
            mem::drop(file);
            self.fs.sync_dir(&self.dir)?;
            self.fs.rename(&new, &path)?;
            self.fs.sync_dir(&self.dir)
        };
        save().map_err(ImportError::io("write", &path))
    }

    /// Removes what an import that cannot be taken up left.
    pub(super) fn clear(&self) -> Result<(), ImportError> {
        let entries = self.fs.list(&self.dir).map_err(ImportError::io("list", &self.dir))?;
        for entry in entries {
            let path = self.dir.join(entry.name);
            self.fs.remove_file(&path).map_err(ImportError::io("remove", &path))?;
        }
        self.fs.sync_dir(&self.dir).map_err(ImportError::io("fsync", &self.dir))
    }

    /// Removes the directory of an import that has ended.
    pub(super) fn remove(&self) -> Result<(), ImportError> {
        let remove = || {
            self.fs.remove_dir_all(&self.dir)?;
            self.dir.parent().map_or(Ok(()), |data_dir| self.fs.sync_dir(data_dir))
        };
        remove().map_err(ImportError::io("remove", &self.dir))
    }
}
