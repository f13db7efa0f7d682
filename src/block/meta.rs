//! `meta.json`: what a block holds and where it came from, field for field as Prometheus writes it. The counts of float
//! and histogram samples are of its later versions; 3.5 passes over them.
//!
//! What others keep in it (Thanos its `thanos` section) is carried along when the file is rewritten.
//!
//! Source: Prometheus `tsdb/block.go`, `BlockMeta`. Format: `docs/format/block.md`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ulid::Ulid;

use super::BlockError;
use crate::fs::Fs;
use crate::fs::names::BLOCK_META_FILE;
use crate::model::{TimeRange, TimestampMs};

/// The one version of the file.
pub(super) const META_VERSION: u32 = 1;

/// Ending of the file while it is being rewritten.
const TMP_SUFFIX: &str = ".tmp";

/// Hint of a block that was made of out-of-order samples.
pub const HINT_FROM_OUT_OF_ORDER: &str = "from-out-of-order";

/// What a block holds and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// The block's name.
    #[serde(with = "ulid_text")]
    pub ulid: Ulid,
    /// Time of the first sample that may be in the block.
    #[serde(rename = "minTime")]
    pub min_time_ms: TimestampMs,
    /// The first time behind the block: no sample is as late as this.
    #[serde(rename = "maxTime")]
    pub max_time_ms: TimestampMs,
    /// Counts.
    #[serde(default)]
    pub stats: BlockStats,
    /// Where the block came from.
    pub compaction: BlockCompaction,
    /// [`META_VERSION`].
    pub version: u32,
    /// Fields of others.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Counts of what is stored in a block, deleted samples included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockStats {
    /// Samples of all kinds.
    #[serde(rename = "numSamples", default, skip_serializing_if = "is_zero")]
    pub samples: u64,
    /// Float samples.
    #[serde(rename = "numFloatSamples", default, skip_serializing_if = "is_zero")]
    pub float_samples: u64,
    /// Native histogram samples.
    #[serde(rename = "numHistogramSamples", default, skip_serializing_if = "is_zero")]
    pub histogram_samples: u64,
    /// Series.
    #[serde(rename = "numSeries", default, skip_serializing_if = "is_zero")]
    pub series: u64,
    /// Chunks.
    #[serde(rename = "numChunks", default, skip_serializing_if = "is_zero")]
    pub chunks: u64,
    /// Deleted ranges, over all series.
    #[serde(rename = "numTombstones", default, skip_serializing_if = "is_zero")]
    pub tombstones: u64,
    /// Fields of others.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Where a block came from, and what its compaction has to know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockCompaction {
    /// 1 for a block made from the head, one more than its parents' highest otherwise.
    pub level: u32,
    /// The level 1 blocks whose samples are in this one; of a level 1 block itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "ulid_texts")]
    pub sources: Vec<Ulid>,
    /// Whether a compaction found that nothing of it is left, so that it may be removed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// The blocks that this one was compacted from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BlockDesc>,
    /// Whether its last compaction failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
    /// What compaction has to know besides, such as [`HINT_FROM_OUT_OF_ORDER`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// Fields of others.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A block by name and range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDesc {
    /// Its name.
    #[serde(with = "ulid_text")]
    pub ulid: Ulid,
    /// As [`BlockMeta::min_time_ms`].
    #[serde(rename = "minTime")]
    pub min_time_ms: TimestampMs,
    /// As [`BlockMeta::max_time_ms`].
    #[serde(rename = "maxTime")]
    pub max_time_ms: TimestampMs,
}

/// A ULID as its text, for `serde(with)`.
pub mod ulid_text {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de};
    use ulid::Ulid;

    /// Writes the text.
    pub fn serialize<S: Serializer>(ulid: &Ulid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&ulid.to_string())
    }

    /// Reads the text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ulid, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Ulid::from_string(&text).map_err(|_invalid| de::Error::custom(format!("{text:?} is not a ULID")))
    }
}

/// ULIDs as a list of their texts, for `serde(with)`.
pub mod ulid_texts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use ulid::Ulid;

    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(with = "super::ulid_text")] Ulid);

    /// Writes the list.
    pub fn serialize<S: Serializer>(ulids: &[Ulid], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ulids.iter().map(|&ulid| Text(ulid)))
    }

    /// Reads the list; `null`, which Go writes for none, is an empty one.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ulid>, D::Error> {
        let texts = Option::<Vec<Text>>::deserialize(deserializer)?;
        Ok(texts.unwrap_or_default().into_iter().map(|Text(ulid)| ulid).collect())
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl BlockMeta {
    /// The times of which the block may hold samples, closed; `None` where the meta leaves no room for any.
    pub fn time_range(&self) -> Option<TimeRange> {
        (self.min_time_ms < self.max_time_ms).then(|| TimeRange::new(self.min_time_ms, self.max_time_ms - 1))
    }

    /// Whether the block was made of out-of-order samples.
    pub fn is_from_out_of_order(&self) -> bool {
        self.compaction.hints.iter().any(|hint| hint == HINT_FROM_OUT_OF_ORDER)
    }

    /// The block by name and range.
    pub fn desc(&self) -> BlockDesc {
        BlockDesc { ulid: self.ulid, min_time_ms: self.min_time_ms, max_time_ms: self.max_time_ms }
    }

    /// Reads the meta of the block in `dir`.
    pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Self, BlockError> {
        let path = dir.join(BLOCK_META_FILE);
        let bytes = fs.read(&path).map_err(BlockError::io("read", &path))?;
        BlockMeta::parse(&bytes).map_err(|what| BlockError::Damaged { what, path })
    }

    /// Reads the bytes of a `meta.json`; an error says what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let meta: BlockMeta = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if meta.version != META_VERSION {
            return Err(format!("unknown meta version {}", meta.version));
        }
        if meta.min_time_ms > meta.max_time_ms {
            return Err(format!("minTime {} is behind maxTime {}", meta.min_time_ms, meta.max_time_ms));
        }
        Ok(meta)
    }

    /// The bytes of the file: indented with tabs, as Prometheus has it.
    pub fn encode(&self) -> Result<Vec<u8>, BlockError> {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        self.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
            .map_err(|error| BlockError::Origin { reason: format!("meta cannot be written: {error}") })?;
        Ok(bytes)
    }

    /// Writes the file for the first time, and makes its content durable; its name is durable with its directory.
    pub(super) fn create(&self, fs: &dyn Fs, dir: &Path) -> Result<(), BlockError> {
        write_synced(fs, &dir.join(BLOCK_META_FILE), &self.encode()?)
    }

    /// Replaces the file of the block in `dir` at once: a reader, or a power loss, finds the old or the new.
    pub fn rewrite(&self, fs: &dyn Fs, dir: &Path) -> Result<(), BlockError> {
        replace_synced(fs, dir, BLOCK_META_FILE, &self.encode()?)
    }
}

/// Creates a file, writes it whole and makes its content durable.
pub(super) fn write_synced(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<(), BlockError> {
    let mut file = fs.create(path).map_err(BlockError::io("create", path))?;
    file.write_all(bytes).map_err(BlockError::io("write", path))?;
    file.sync_data().map_err(BlockError::io("fsync", path))
}

/// Replaces a file at once and durably: written under another name, synced, renamed, its directory synced.
pub(super) fn replace_synced(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), BlockError> {
    let tmp = dir.join(format!("{name}{TMP_SUFFIX}"));
    // Left by a power loss or an error in an earlier try.
    if fs.exists(&tmp) {
        fs.remove_file(&tmp).map_err(BlockError::io("remove", &tmp))?;
    }
    write_synced(fs, &tmp, bytes)?;
    let path = dir.join(name);
    fs.rename(&tmp, &path).map_err(BlockError::io("rename", &path))?;
    fs.sync_dir(dir).map_err(BlockError::io("fsync", dir))
}
