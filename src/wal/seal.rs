//! Seals: the records of our own type that prove a log.
//!
//! A *seal* ends a group: it names the group's number and requests, holds a hash of the group's records, and a chain
//! value over the seal before it. A *mark* opens a segment: it says after which group the segment begins, so that a
//! segment of ours is told from one that Prometheus wrote, and what an abandoned segment left behind from what is lost.
//! Prometheus skips records of a type that it does not know.
//!
//! The layout, byte by byte, is in `docs/format/wal.md`.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::commit::Durability;
use super::record::RecordType;
use crate::encoding::{Corruption, Cursor, put};
use crate::model::{Digest, TimestampMs};

/// Version of the layout of seals and marks.
pub const SEAL_VERSION: u8 = 1;
/// Second byte of a seal's body.
pub const KIND_SEAL: u8 = 1;
/// Second byte of a mark's body.
pub const KIND_MARK: u8 = 2;
/// Low bits of the flags: how durable the group was when it was acknowledged.
const FLAG_DURABILITY: u8 = 0b0000_0011;
/// Flag of the last seal before an orderly end.
const FLAG_CLEAN_END: u8 = 0b0000_0100;
/// Bytes of one request in a seal, at least: commit delta, sample count, digest.
const REQUEST_BYTES_MIN: usize = 18;
/// Bytes of the chain value at the end of a seal.
const CHAIN_BYTES: usize = 16;

/// One acknowledged request in a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedRequest {
    /// Its number.
    pub commit: u64,
    /// Samples that it added.
    pub samples: u64,
    /// Sum of the digests of these samples.
    pub digest: Digest,
}

/// The end of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The group's number: one more than that of the group before it.
    pub group: u64,
    /// When the group was sealed, by the wall clock.
    pub sealed_ms: TimestampMs,
    /// How durable the group was when its requests were acknowledged.
    pub durability: Durability,
    /// Whether this is the last seal before an orderly end.
    pub clean_end: bool,
    /// How many records the group has, without this seal.
    pub records: u32,
    /// Hash of the group's records ([`GroupHasher`]).
    pub records_hash: u128,
    /// Samples of all requests.
    pub samples: u64,
    /// Sum of all requests' digests.
    pub digest: Digest,
    /// The number that the next request will get.
    pub next_commit: u64,
    /// The requests, by rising number.
    pub requests: Vec<SealedRequest>,
    /// Chain value of the seal before this one.
    pub previous_chain: u128,
    /// This seal's chain value.
    pub chain: u128,
}

/// The start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The last group that was durable when the segment was opened; 0 where there was none.
    pub group: u64,
    /// The number that the next request will get.
    pub next_commit: u64,
    /// How durable the groups of the segment are when they are acknowledged.
    pub durability: Durability,
    /// Chain value of the seal of `group`.
    pub chain: u128,
}

/// What a record of type [`RecordType::Seal`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealRecord {
    /// A group ends.
    Seal(Seal),
    /// A segment begins.
    Mark(Mark),
}

impl Seal {
    /// Appends the whole record, and sets `chain` to what it must be.
    pub fn encode(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([RecordType::Seal as u8, SEAL_VERSION, KIND_SEAL, self.flags()]);
        put::u64_be(out, self.group);
        put::u64_be(out, self.sealed_ms as u64);
        put::u32_be(out, self.records);
        out.extend(self.records_hash.to_be_bytes());
        put::u64_be(out, self.samples);
        out.extend(self.digest.0.to_be_bytes());
        put::u64_be(out, self.next_commit);
        put::uvarint(out, self.requests.len() as u64);
        let mut previous = 0;
        for request in &self.requests {
            put::uvarint(out, request.commit.wrapping_sub(previous));
            put::uvarint(out, request.samples);
            out.extend(request.digest.0.to_be_bytes());
            previous = request.commit;
        }
        out.extend(self.previous_chain.to_be_bytes());
        let body = out.get(start + 1..).unwrap_or_default();
        self.chain = chain_value(self.previous_chain, body);
        out.extend(self.chain.to_be_bytes());
    }

    fn flags(&self) -> u8 {
        let durability = durability_bits(self.durability);
        if self.clean_end { durability | FLAG_CLEAN_END } else { durability }
    }

    fn decode(body: &[u8], mut cursor: Cursor<'_>) -> Result<Self, Corruption> {
        let flags = cursor.u8()?;
        let durability = durability_of(flags, &cursor)?;
        let clean_end = flags & FLAG_CLEAN_END != 0;
        let group = cursor.u64_be()?;
        let sealed_ms = cursor.u64_be()? as i64;
        let records = cursor.u32_be()?;
        let records_hash = u128::from_be_bytes(cursor.array()?);
        let samples = cursor.u64_be()?;
        let digest = Digest(u128::from_be_bytes(cursor.array()?));
        let next_commit = cursor.u64_be()?;
        let count = cursor.uvarint()?;
        if count > (cursor.remaining() / REQUEST_BYTES_MIN) as u64 {
            return Err(cursor.corrupt("request count exceeds the seal"));
        }
        let mut requests = Vec::with_capacity(count as usize);
        let mut commit = 0u64;
        for _ in 0..count {
            commit = commit.wrapping_add(cursor.uvarint()?);
            let samples = cursor.uvarint()?;
            requests.push(SealedRequest { commit, samples, digest: Digest(u128::from_be_bytes(cursor.array()?)) });
        }
        let previous_chain = u128::from_be_bytes(cursor.array()?);
        let chained = body.get(..cursor.position()).unwrap_or_default();
        let chain = u128::from_be_bytes(cursor.array()?);
        if !cursor.is_empty() {
            return Err(cursor.corrupt("seal has bytes behind its chain value"));
        }
        if chain != chain_value(previous_chain, chained) {
            return Err(Corruption { what: "seal does not give its chain value", offset: body.len() - CHAIN_BYTES });
        }
        Ok(Seal {
            group,
            sealed_ms,
            durability,
            clean_end,
            records,
            records_hash,
            samples,
            digest,
            next_commit,
            requests,
            previous_chain,
            chain,
        })
    }
}

impl Mark {
    /// Appends the whole record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([RecordType::Seal as u8, SEAL_VERSION, KIND_MARK, durability_bits(self.durability)]);
        put::u64_be(out, self.group);
        put::u64_be(out, self.next_commit);
        out.extend(self.chain.to_be_bytes());
    }
}

impl SealRecord {
    /// Reads the body of a record of type [`RecordType::Seal`]: behind the type byte.
    pub fn decode(body: &[u8]) -> Result<Self, Corruption> {
        let mut cursor = Cursor::new(body);
        if cursor.u8()? != SEAL_VERSION {
            return Err(Corruption { what: "seal has an unknown version", offset: 0 });
        }
        match cursor.u8()? {
            KIND_SEAL => Seal::decode(body, cursor).map(SealRecord::Seal),
            KIND_MARK => {
                let flags = cursor.u8()?;
                let mark = Mark {
                    durability: durability_of(flags, &cursor)?,
                    group: cursor.u64_be()?,
                    next_commit: cursor.u64_be()?,
                    chain: u128::from_be_bytes(cursor.array()?),
                };
                if !cursor.is_empty() {
                    return Err(cursor.corrupt("mark has bytes behind its end"));
                }
                Ok(SealRecord::Mark(mark))
            }
            _ => Err(Corruption { what: "seal has an unknown kind", offset: 1 }),
        }
    }
}

fn durability_bits(durability: Durability) -> u8 {
    match durability {
        Durability::Fsync => 0,
        Durability::Interval => 1,
        Durability::None => 2,
    }
}

fn durability_of(flags: u8, cursor: &Cursor<'_>) -> Result<Durability, Corruption> {
    match flags & FLAG_DURABILITY {
        0 => Ok(Durability::Fsync),
        1 => Ok(Durability::Interval),
        2 => Ok(Durability::None),
        _ => Err(cursor.corrupt("seal has an unknown durability")),
    }
}

/// Chain value of a seal: a hash of the previous one (big-endian) and of the seal's body up to its own chain value.
fn chain_value(previous: u128, body: &[u8]) -> u128 {
    let mut bytes = Vec::with_capacity(CHAIN_BYTES + body.len());
    bytes.extend(previous.to_be_bytes());
    bytes.extend(body);
    xxh3_128(&bytes)
}

/// Hashes the records of a group: each one's length as four big-endian bytes, then its bytes, uncompressed.
#[derive(Clone)]
pub struct GroupHasher {
    state: Xxh3,
    records: u32,
}

impl std::fmt::Debug for GroupHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupHasher({} records)", self.records)
    }
}

impl Default for GroupHasher {
    fn default() -> Self {
        GroupHasher { state: Xxh3::new(), records: 0 }
    }
}

impl GroupHasher {
    /// Adds a record, type byte first.
    pub fn push(&mut self, record: &[u8]) {
        self.state.update(&(record.len() as u32).to_be_bytes());
        self.state.update(record);
        self.records = self.records.saturating_add(1);
    }

    /// How many records were added.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The hash of all records so far.
    pub fn hash(&self) -> u128 {
        self.state.digest128()
    }

    /// Starts the next group.
    pub fn reset(&mut self) {
        self.state.reset();
        self.records = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        let requests = vec![
            SealedRequest { commit: 41, samples: 3, digest: Digest(7) },
            SealedRequest { commit: 42, samples: 0, digest: Digest::ZERO },
        ];
        Seal {
            group: 9,
            sealed_ms: 1_700_000_000_000,
            durability: Durability::Fsync,
            clean_end: true,
            records: 2,
            records_hash: 0xabcd,
            samples: 3,
            digest: Digest(7),
            next_commit: 43,
            requests,
            previous_chain: 5,
            chain: 0,
        }
    }

    #[test]
    fn seal_and_mark_read_back_as_written() {
        let (mut written, mut record) = (seal(), Vec::new());
        written.encode(&mut record);
        assert_eq!(SealRecord::decode(&record[1..]), Ok(SealRecord::Seal(written)));
        let mark = Mark { group: 9, next_commit: 43, durability: Durability::Interval, chain: 77 };
        let mut record = Vec::new();
        mark.encode(&mut record);
        assert_eq!(SealRecord::decode(&record[1..]), Ok(SealRecord::Mark(mark)));
    }

    #[test]
    fn seal_with_any_bit_flipped_or_cut_anywhere_is_refused() {
        let mut record = Vec::new();
        seal().encode(&mut record);
        for bit in 8..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SealRecord::decode(&damaged[1..]).is_err(), "bit {bit}");
        }
        for end in 1..record.len() {
            assert!(SealRecord::decode(&record[1..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn group_hash_tells_where_one_record_ends_and_the_next_begins() {
        let (mut together, mut apart) = (GroupHasher::default(), GroupHasher::default());
        together.push(b"ab");
        together.push(b"c");
        apart.push(b"a");
        apart.push(b"bc");
        assert_ne!(together.hash(), apart.hash());
        together.reset();
        assert_eq!(together.hash(), GroupHasher::default().hash());
    }
}
