//! Requests whose seals left the log: a file for each truncation, some 20 bytes a request, looked up on disk.

use std::path::{Path, PathBuf};

use super::event::ReceiptsPart;
use super::store::LedgerError;
use crate::encoding::{Corruption, Cursor, crc32c, put};
use crate::fs::{Fs, ReadFile};
use crate::model::{Digest, Tally};

const MAGIC: &[u8; 8] = b"CHLRCPT\x01";
/// Requests of one block, at most.
const BLOCK_REQUESTS: usize = 4096;
/// Bytes in front of a block's requests: their bytes, their count, the first number, their checksum, the checksum of
/// these.
const BLOCK_HEADER_BYTES: usize = 24;
/// Bytes of one request, at most: two varints and a digest.
const REQUEST_BYTES_MAX: usize = 10 + 10 + 16;
const PREFIX: &str = "receipts-";

/// Writes a part with these requests, which come by rising number: durable, with its name, when this returns.
/// `None` where there is no request. A part that a crash left under the same name is replaced.
pub(super) fn write(
    fs: &dyn Fs,
    ledger_dir: &Path,
    requests: &[(u64, Tally)],
) -> Result<Option<ReceiptsPart>, LedgerError> {
    let (Some(&(first_commit, _)), Some(&(last_commit, _))) = (requests.first(), requests.last()) else {
        return Ok(None);
    };
    let name = format!("{PREFIX}{first_commit:020}-{last_commit:020}");
    let path = ledger_dir.join(&name);
    let tmp = ledger_dir.join(format!("{name}.tmp"));
    super::store::make_dir(fs, ledger_dir)?;
    if fs.exists(&tmp) {
        fs.remove_file(&tmp).map_err(LedgerError::io("remove", &tmp))?;
    }
    let mut file = fs.create(&tmp).map_err(LedgerError::io("create", &tmp))?;
    let write = LedgerError::io("write", &tmp);
    let mut write_all = || {
        file.write_all(MAGIC)?;
        for block in requests.chunks(BLOCK_REQUESTS) {
            file.write_all(&encode_block(block))?;
        }
        file.sync_data()
    };
    write_all().map_err(write)?;
    fs.rename(&tmp, &path).map_err(LedgerError::io("rename", &tmp))?;
    fs.sync_dir(ledger_dir).map_err(LedgerError::io("fsync", ledger_dir))?;
    let tally = requests.iter().map(|(_, tally)| *tally).sum();
    Ok(Some(ReceiptsPart { file: name, first_commit, last_commit, requests: requests.len() as u64, tally }))
}

fn encode_block(requests: &[(u64, Tally)]) -> Vec<u8> {
    let first_commit = requests.first().map_or(0, |(commit, _)| *commit);
    let (mut body, mut previous) = (Vec::new(), first_commit);
    for (commit, tally) in requests {
        put::uvarint(&mut body, commit.wrapping_sub(previous));
        put::uvarint(&mut body, tally.samples);
        body.extend(tally.digest.0.to_be_bytes());
        previous = *commit;
    }
    let mut block = Vec::with_capacity(BLOCK_HEADER_BYTES + body.len());
    put::u32_be(&mut block, body.len() as u32);
    put::u32_be(&mut block, requests.len() as u32);
    put::u64_be(&mut block, first_commit);
    put::u32_be(&mut block, crc32c(&body));
    let checksum = crc32c(&block);
    put::u32_be(&mut block, checksum);
    block.extend(body);
    block
}

/// Where a block of requests lies.
#[derive(Debug, Clone, Copy)]
struct BlockPlace {
    first_commit: u64,
    offset: u64,
    bytes: usize,
}

/// A part, as far as it was looked at.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    first_commit: u64,
    last_commit: u64,
    blocks: Option<Vec<BlockPlace>>,
}

/// Looks requests up. It keeps where the blocks of the parts lie, and the requests of the block that was read last.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    parts: Option<Vec<Part>>,
    /// Part, block, and its requests.
    newest: Option<(usize, usize, Vec<(u64, Tally)>)>,
}

impl Lookup {
    /// Parts were added or removed.
    pub(super) fn forget(&mut self) {
        *self = Lookup::default();
    }

    /// What the request with this number added, where a part holds it.
    pub(super) fn request(&mut self, fs: &dyn Fs, dir: &Path, commit: u64) -> Result<Option<Tally>, LedgerError> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            unlisted => unlisted.insert(list(fs, dir)?),
        };
        let within = |part: &Part| (part.first_commit..=part.last_commit).contains(&commit);
        for (number, part) in parts.iter_mut().enumerate().filter(|(_, part)| within(part)) {
            let file = fs.open(&part.path).map_err(LedgerError::io("open", &part.path))?;
            let blocks = match &mut part.blocks {
                Some(blocks) => blocks,
                unread => unread.insert(places(&*file, &part.path)?),
            };
            let Some(index) = blocks.partition_point(|block| block.first_commit <= commit).checked_sub(1) else {
                continue;
            };
            if self.newest.as_ref().is_none_or(|newest| (newest.0, newest.1) != (number, index))
                && let Some(place) = blocks.get(index)
            {
                self.newest = Some((number, index, read_block(&*file, &part.path, *place)?));
            }
            let requests = self.newest.as_ref().map_or(&[][..], |(_, _, requests)| requests);
            if let Ok(found) = requests.binary_search_by_key(&commit, |(commit, _)| *commit) {
                return Ok(requests.get(found).map(|(_, tally)| *tally));
            }
        }
        Ok(None)
    }
}

/// The parts in the ledger's directory. Also those that no entry names, since the entry may have been lost.
fn list(fs: &dyn Fs, dir: &Path) -> Result<Vec<Part>, LedgerError> {
    let entries = match fs.list(dir) {
        Ok(entries) => entries,
        Err(absent) if absent.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(LedgerError::io("list", dir)(error)),
    };
    let part = |name: &str| {
        let (first, last) = name.strip_prefix(PREFIX)?.split_once('-')?;
        let path = dir.join(name);
        Some(Part { path, first_commit: first.parse().ok()?, last_commit: last.parse().ok()?, blocks: None })
    };
    Ok(entries.iter().filter(|entry| !entry.is_dir).filter_map(|entry| part(&entry.name)).collect())
}

/// Walks over a part from block to block.
fn places(file: &dyn ReadFile, path: &Path) -> Result<Vec<BlockPlace>, LedgerError> {
    let damaged = |offset: u64, what| LedgerError::Receipts { path: path.to_owned(), offset, what };
    let len = file.len().map_err(LedgerError::io("read", path))?;
    if read_exact(file, path, 0, MAGIC.len())? != MAGIC {
        return Err(damaged(0, "file does not begin with its magic number"));
    }
    let (mut blocks, mut offset) = (Vec::new(), MAGIC.len() as u64);
    while offset < len {
        let header = read_exact(file, path, offset, BLOCK_HEADER_BYTES)?;
        let header = BlockHeader::decode(&header).map_err(|error| damaged(offset, error.what))?;
        let bytes = BLOCK_HEADER_BYTES + header.bytes as usize;
        if header.bytes as usize > BLOCK_REQUESTS * REQUEST_BYTES_MAX || offset + bytes as u64 > len {
            return Err(damaged(offset, "block of requests is too long"));
        }
        let first_commit = header.first_commit;
        blocks.push(BlockPlace { first_commit, offset, bytes });
        offset += bytes as u64;
    }
    if !blocks.is_sorted_by_key(|block| block.first_commit) {
        return Err(damaged(0, "blocks of requests are not in order"));
    }
    Ok(blocks)
}

fn read_block(file: &dyn ReadFile, path: &Path, place: BlockPlace) -> Result<Vec<(u64, Tally)>, LedgerError> {
    let bytes = read_exact(file, path, place.offset, place.bytes)?;
    decode_block(&bytes).map_err(|error| LedgerError::Receipts {
        path: path.to_owned(),
        offset: place.offset + error.offset as u64,
        what: error.what,
    })
}

/// What stands in front of a block's requests.
struct BlockHeader {
    bytes: u32,
    requests: u32,
    first_commit: u64,
    checksum: u32,
}

impl BlockHeader {
    fn decode(bytes: &[u8]) -> Result<Self, Corruption> {
        let mut cursor = Cursor::new(bytes);
        let header = BlockHeader {
            bytes: cursor.u32_be()?,
            requests: cursor.u32_be()?,
            first_commit: cursor.u64_be()?,
            checksum: cursor.u32_be()?,
        };
        let covered = bytes.get(..cursor.position()).unwrap_or_default();
        if cursor.u32_be()? != crc32c(covered) {
            return Err(Corruption { what: "header of a block of requests does not give its checksum", offset: 0 });
        }
        Ok(header)
    }
}

fn decode_block(bytes: &[u8]) -> Result<Vec<(u64, Tally)>, Corruption> {
    let mut cursor = Cursor::new(bytes);
    let header = BlockHeader::decode(cursor.take(BLOCK_HEADER_BYTES)?)?;
    if header.checksum != crc32c(bytes.get(BLOCK_HEADER_BYTES..).unwrap_or_default()) {
        return Err(Corruption { what: "block of requests does not give its checksum", offset: BLOCK_HEADER_BYTES });
    }
    let mut requests = Vec::with_capacity((header.requests as usize).min(BLOCK_REQUESTS));
    let mut commit = header.first_commit;
    for _ in 0..header.requests {
        commit = commit.wrapping_add(cursor.uvarint()?);
        let samples = cursor.uvarint()?;
        requests.push((commit, Tally { samples, digest: Digest(u128::from_be_bytes(cursor.array()?)) }));
    }
    Ok(requests)
}

fn read_exact(file: &dyn ReadFile, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, LedgerError> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64).map_err(LedgerError::io("read", path))? {
            0 => return Err(LedgerError::Receipts { path: path.to_owned(), offset, what: "file ends early" }),
            count => filled += count,
        }
    }
    Ok(bytes)
}
