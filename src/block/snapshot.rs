//! `snapshot.json`: what each block of a snapshot holds, so that one that was left behind on the way is missed.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{Block, ulid_text};
use crate::fs::Fs;
use crate::model::{Tally, TimestampMs};

/// Beside the blocks of a snapshot.
const FILE_NAME: &str = "snapshot.json";

/// A block of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotBlock {
    /// Its name.
    #[serde(with = "ulid_text")]
    pub ulid: Ulid,
    /// The first time that it covers.
    pub min_time_ms: TimestampMs,
    /// The last time that it covers.
    pub max_time_ms: TimestampMs,
    /// What is stored in it, deleted samples included.
    pub stored: Tally,
    /// It was made of what only the log had.
    pub from_log: bool,
}

impl SnapshotBlock {
    /// What is said of a block.
    pub fn of(block: &Block, stored: Tally, from_log: bool) -> Self {
        let meta = block.meta();
        SnapshotBlock {
            ulid: block.ulid(),
            min_time_ms: meta.min_time_ms,
            max_time_ms: meta.max_time_ms.saturating_sub(1),
            stored,
            from_log,
        }
    }
}

/// What a snapshot, or a copy of one, holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotManifest {
    /// The blocks, by name.
    pub blocks: Vec<SnapshotBlock>,
}

impl SnapshotManifest {
    /// Everything that is stored in it.
    pub fn stored(&self) -> Tally {
        self.blocks.iter().map(|block| block.stored).sum()
    }

    /// Writes it into the directory of a snapshot, durably.
    pub fn write(&self, fs: &dyn Fs, snapshot: &Path) -> io::Result<()> {
        let mut file = fs.create(&snapshot.join(FILE_NAME))?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_data()?;
        fs.sync_dir(snapshot)
    }

    /// That of a snapshot; Prometheus makes none.
    pub fn read(fs: &dyn Fs, snapshot: &Path) -> io::Result<Option<Self>> {
        let path = snapshot.join(FILE_NAME);
        if !fs.exists(&path) {
            return Ok(None);
        }
        Ok(serde_json::from_slice(&fs.read(&path)?)?)
    }
}
