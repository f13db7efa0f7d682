//! A file that only takes space, so that a full disk can still be made emptier.
//!
//! Removing blocks needs a few bytes: the ledger says what goes before it goes. On a disk without any the file is given
//! up first, and made again once there is room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Fs, names};

/// The reserve is only made where at least this many times its size is free, so that it is no cause of a full disk.
const FREE_TIMES: u64 = 4;
/// Below this free space the reserve is given up.
const FREE_BYTES_LOW: u64 = 1 << 20;
/// Bytes written at once.
const PIECE_BYTES: usize = 1 << 20;

/// How the reserve stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReserveState {
    /// Nobody wants one.
    Off,
    /// It is there.
    Held,
    /// There is too little room to make it.
    Short {
        /// Bytes that are free.
        free_bytes: u64,
    },
}

/// The reserve of a data directory.
#[derive(Debug)]
pub(super) struct Reserve {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// A reserve of `bytes` in `dir`; 0 turns it off.
    pub(super) fn new(fs: Arc<dyn Fs>, dir: &Path, bytes: u64) -> Self {
        Reserve { fs, dir: dir.to_owned(), bytes }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(names::RESERVE_FILE)
    }

    /// Makes the reserve where it is missing and there is room, and removes it where nobody wants it.
    pub(super) fn ensure(&self) -> io::Result<ReserveState> {
        let path = self.path();
        let len = if self.fs.exists(&path) { Some(self.fs.open(&path)?.len()?) } else { None };
        if len == Some(self.bytes) && self.bytes > 0 {
            return Ok(ReserveState::Held);
        }
        if len.is_some() {
            self.give_up()?;
        }
        if self.bytes == 0 {
            return Ok(ReserveState::Off);
        }
        let free_bytes = self.fs.free_bytes(&self.dir)?;
        if free_bytes / FREE_TIMES < self.bytes {
            return Ok(ReserveState::Short { free_bytes });
        }
        match self.write(&path) {
            Ok(()) => Ok(ReserveState::Held),
            Err(error) => {
                // Half a reserve would be taken for none, and be in the way.
                let _removed = self.give_up();
                Err(error)
            }
        }
    }

    /// Bytes that a file system which compresses would not make shorter than they are.
    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = self.fs.create(path)?;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut left = self.bytes;
        while left > 0 {
            let len = PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES));
            let mut piece = Vec::with_capacity(len + 8);
            while piece.len() < len {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                piece.extend_from_slice(&state.to_le_bytes());
            }
            piece.truncate(len);
            file.write_all(&piece)?;
            left -= len as u64;
        }
        file.sync_data()?;
        self.fs.sync_dir(&self.dir)
    }

    /// Removes the reserve; whether it was there.
    pub(super) fn give_up(&self) -> io::Result<bool> {
        let path = self.path();
        if !self.fs.exists(&path) {
            return Ok(false);
        }
        self.fs.remove_file(&path)?;
        self.fs.sync_dir(&self.dir)?;
        Ok(true)
    }

    /// Gives the reserve up where the disk is full; whether it did.
    pub(super) fn give_up_if_full(&self) -> io::Result<bool> {
        let is_kept = planted!(ReserveKept);
        if self.bytes > 0 && !is_kept && self.fs.free_bytes(&self.dir)? < FREE_BYTES_LOW {
            self.give_up()
        } else {
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;

    fn setup(bytes: u64, capacity: Option<u64>) -> (SimFs, Reserve) {
        let fs = SimFs::new(1);
        fs.create_dir_all(Path::new("/data")).unwrap();
        fs.set_capacity(capacity);
        (fs.clone(), Reserve::new(Arc::new(fs), Path::new("/data"), bytes))
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn reserve_is_made_where_there_is_room_and_its_size_follows_the_option() {
        let (fs, reserve) = setup(3 * MIB, Some(64 * MIB));
        assert_eq!(reserve.ensure().unwrap(), ReserveState::Held);
        assert_eq!(reserve.ensure().unwrap(), ReserveState::Held);
        assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), 61 * MIB);
        let smaller = Reserve::new(Arc::new(fs.clone()), Path::new("/data"), MIB);
        assert_eq!(smaller.ensure().unwrap(), ReserveState::Held);
        assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), 63 * MIB);
        let none = Reserve::new(Arc::new(fs.clone()), Path::new("/data"), 0);
        assert_eq!(none.ensure().unwrap(), ReserveState::Off);
        assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), 64 * MIB);
    }

    #[test]
    fn reserve_is_left_out_on_a_tiny_disk() {
        let (fs, reserve) = setup(3 * MIB, Some(11 * MIB));
        assert_eq!(reserve.ensure().unwrap(), ReserveState::Short { free_bytes: 11 * MIB });
        assert!(!fs.exists(Path::new("/data/reserve")));
    }

    #[test]
    fn reserve_is_given_up_on_a_full_disk_and_made_again_when_there_is_room() {
        let (fs, reserve) = setup(3 * MIB, Some(64 * MIB));
        reserve.ensure().unwrap();
        assert!(!reserve.give_up_if_full().unwrap());
        fs.create(Path::new("/data/large")).unwrap().write_all(&vec![0; 61 * MIB as usize]).unwrap();
        assert!(reserve.give_up_if_full().unwrap());
        assert!(!reserve.give_up_if_full().unwrap(), "there is none any more");
        assert_eq!(reserve.ensure().unwrap(), ReserveState::Short { free_bytes: 3 * MIB });
        fs.remove_file(Path::new("/data/large")).unwrap();
        assert_eq!(reserve.ensure().unwrap(), ReserveState::Held);
    }
}
