//! Records of type 226: what a checkpoint stands for.
//!
//! The layout, byte by byte, is in `docs/format/wal.md`.

use crate::encoding::{Corruption, Cursor, put};
use crate::model::{Digest, Tally};
use crate::wal::RecordType;

/// Version of the layout.
const VERSION: u8 = 1;
const KIND_BEGIN: u8 = 1;
const KIND_GROUP: u8 = 2;
const KIND_END: u8 = 3;

/// Where the part of the log ends that a checkpoint stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointEdge {
    /// The last segment.
    pub up_to_segment: u32,
    /// The last group; 0 where there was none.
    pub last_group: u64,
    /// Number of the request behind the last one.
    pub next_commit: u64,
    /// Chain value of the last group. The first seal behind the checkpoint follows it.
    pub chain: u128,
}

/// The end of a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointEnd {
    /// What the checkpoint stands for.
    pub edge: CheckpointEdge,
    /// In-order samples that it keeps.
    pub in_order: Tally,
    /// Out-of-order samples that it keeps.
    pub out_of_order: Tally,
    /// How many records it has between its first and this one.
    pub records: u64,
    /// Hash of these records ([`GroupHasher`](crate::wal::seal::GroupHasher)).
    pub records_hash: u128,
}

/// What a record of type [`RecordType::Checkpoint`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointRecord {
    /// The first record of a checkpoint.
    Begin(CheckpointEdge),
    /// The records behind this one stood in this group; 0: in none.
    Group(u64),
    /// The last record of a checkpoint.
    End(CheckpointEnd),
}

impl CheckpointRecord {
    /// Appends the whole record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([RecordType::Checkpoint as u8, VERSION]);
        match self {
            CheckpointRecord::Begin(edge) => {
                out.push(KIND_BEGIN);
                encode_edge(edge, out);
            }
            CheckpointRecord::Group(group) => {
                out.push(KIND_GROUP);
                put::u64_be(out, *group);
            }
            CheckpointRecord::End(end) => {
                out.push(KIND_END);
                encode_edge(&end.edge, out);
                for tally in [end.in_order, end.out_of_order] {
                    put::u64_be(out, tally.samples);
                    out.extend(tally.digest.0.to_be_bytes());
                }
                put::u64_be(out, end.records);
                out.extend(end.records_hash.to_be_bytes());
            }
        }
    }

    /// Reads the body: behind the type byte.
    pub fn decode(body: &[u8]) -> Result<Self, Corruption> {
        let mut cursor = Cursor::new(body);
        if cursor.u8()? != VERSION {
            return Err(Corruption { what: "checkpoint record has an unknown version", offset: 0 });
        }
        let record = match cursor.u8()? {
            KIND_BEGIN => CheckpointRecord::Begin(decode_edge(&mut cursor)?),
            KIND_GROUP => CheckpointRecord::Group(cursor.u64_be()?),
            KIND_END => CheckpointRecord::End(CheckpointEnd {
                edge: decode_edge(&mut cursor)?,
                in_order: decode_tally(&mut cursor)?,
                out_of_order: decode_tally(&mut cursor)?,
                records: cursor.u64_be()?,
                records_hash: u128::from_be_bytes(cursor.array()?),
            }),
            _ => return Err(Corruption { what: "checkpoint record has an unknown kind", offset: 1 }),
        };
        if !cursor.is_empty() {
            return Err(cursor.corrupt("checkpoint record has bytes behind its end"));
        }
        Ok(record)
    }
}

fn encode_edge(edge: &CheckpointEdge, out: &mut Vec<u8>) {
    put::u32_be(out, edge.up_to_segment);
    put::u64_be(out, edge.last_group);
    put::u64_be(out, edge.next_commit);
    out.extend(edge.chain.to_be_bytes());
}

fn decode_edge(cursor: &mut Cursor<'_>) -> Result<CheckpointEdge, Corruption> {
    Ok(CheckpointEdge {
        up_to_segment: cursor.u32_be()?,
        last_group: cursor.u64_be()?,
        next_commit: cursor.u64_be()?,
        chain: u128::from_be_bytes(cursor.array()?),
    })
}

fn decode_tally(cursor: &mut Cursor<'_>) -> Result<Tally, Corruption> {
    Ok(Tally { samples: cursor.u64_be()?, digest: Digest(u128::from_be_bytes(cursor.array()?)) })
}
