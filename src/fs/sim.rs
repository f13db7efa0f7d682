//! A simulated disk: it forgets what was not synced, tears pages, fails the n-th call, runs full.
//!
//! Each file has two states: what a reader sees now, and what the disk holds for certain. Writes and truncations since
//! the last sync are in between, and so are the names created, renamed or removed since their directory was synced.
//! [`SimFs::crash`] gives the disk after a power loss: for each 512-byte sector in between it draws whether it arrived,
//! and for a sector that did not arrive but lies within the file, whether zeros or stale bytes stand there. All draws
//! come from a seed. After a failed sync, what was in between never arrives: the kernel drops such pages, and shows them
//! to readers all the same.
//!
//! [`SimFs::record`] keeps the disk as it is before each call, so that one run shows every moment at which the power could
//! have gone. Copies share what they have in common.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::Xxh3Default;

use super::{DirEntry, Fs, MappedFile, ReadFile, WriteFile};

/// Bytes that a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Numbers from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct SimRandom(u64);

impl SimRandom {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        SimRandom(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// True once in `times` draws.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk answers with an error; of a write nothing is taken.
    Error,
    /// There is no space; of a write nothing is taken.
    NoSpace,
    /// A part of the write is taken, then there is no space. Other calls fail as with [`Fault::Error`].
    ShortWrite,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Error => io::Error::other("simulated input/output error"),
            Fault::NoSpace | Fault::ShortWrite => {
                io::Error::new(io::ErrorKind::StorageFull, "simulated: no space left on device")
            }
        }
    }
}

/// A change to a file that is not synced.
#[derive(Debug, Clone)]
enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

#[derive(Debug, Clone, Default)]
struct Inode {
    /// What readers see.
    current: Vec<u8>,
    /// What the disk holds for certain.
    durable: Vec<u8>,
    changes: Vec<FileChange>,
}

impl Inode {
    /// A file of which all is certain.
    fn settled(bytes: Vec<u8>) -> Self {
        Inode { current: bytes.clone(), durable: bytes, changes: Vec::new() }
    }
}

/// The bytes of a file as they were when it was mapped.
struct Mapped(Arc<Inode>);

impl Deref for Mapped {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0.current
    }
}

/// A change to names that is not synced, with the directory whose sync makes it certain.
#[derive(Debug, Clone)]
enum NameChange {
    Create { path: PathBuf, inode: usize },
    CreateDir { path: PathBuf },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Create { path, .. } | NameChange::CreateDir { path } | NameChange::Remove { path } => {
                path.parent()
            }
            NameChange::Rename { to, .. } => to.parent(),
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Create { path, inode } => drop(names.insert(path.clone(), Name::File(*inode))),
            NameChange::CreateDir { path } => drop(names.insert(path.clone(), Name::Dir)),
            NameChange::Remove { path } => drop(names.remove(path)),
            NameChange::Rename { from, to } => {
                let within: Vec<PathBuf> = names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in within {
                    if let (Some(name), Ok(rest)) = (names.remove(&path), path.strip_prefix(from)) {
                        names.insert(moved(to, rest), name);
                    }
                }
            }
        }
    }

    /// Follows the renaming of a directory that the change lies in.
    fn follow(&mut self, from: &Path, to: &Path) {
        let follow = |path: &mut PathBuf| {
            if let Ok(rest) = path.strip_prefix(from)
                && !rest.as_os_str().is_empty()
            {
                *path = to.join(rest);
            }
        };
        match self {
            NameChange::Create { path, .. } | NameChange::CreateDir { path } | NameChange::Remove { path } => {
                follow(path);
            }
            NameChange::Rename { from, to } => {
                follow(from);
                follow(to);
            }
        }
    }
}

fn moved(to: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    File(usize),
    Dir,
}

type Names = BTreeMap<PathBuf, Name>;

/// The disk just before a call that changes it or makes a change durable.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The number of the call.
    pub operation: u64,
    /// What the call does, and to which path.
    pub what: String,
    /// What [`SimFs::mark`] was last told.
    pub mark: usize,
    /// The disk, without the call.
    pub disk: SimFs,
}

#[derive(Debug)]
struct Disk {
    inodes: Vec<Arc<Inode>>,
    names: Arc<Names>,
    durable_names: Arc<Names>,
    name_changes: Vec<NameChange>,
    random: SimRandom,
    operations: u64,
    faults: Vec<(Range<u64>, Fault)>,
    power_lost_at: Option<u64>,
    capacity: Option<u64>,
    unreadable: Vec<(usize, Range<u64>)>,
    mark: usize,
    moments: Option<Vec<Moment>>,
}

/// The simulated disk. Cloning shares it.
#[derive(Debug, Clone)]
pub struct SimFs(Arc<Mutex<Disk>>);

impl SimFs {
    /// An empty disk, whose draws come from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with(Vec::new(), BTreeMap::from([(PathBuf::from("/"), Name::Dir)]), seed)
    }

    /// A disk on which only `dir`, and what it lies in, is there, durably.
    pub fn with_dir(seed: u64, dir: &Path) -> Self {
        let names = dir.ancestors().map(|dir| (dir.to_owned(), Name::Dir)).collect();
        Self::with(Vec::new(), names, seed)
    }

    fn with(inodes: Vec<Arc<Inode>>, names: Names, seed: u64) -> Self {
        let names = Arc::new(names);
        SimFs(Arc::new(Mutex::new(Disk {
            inodes,
            durable_names: names.clone(),
            names,
            name_changes: Vec::new(),
            random: SimRandom::new(seed),
            operations: 0,
            faults: Vec::new(),
            power_lost_at: None,
            capacity: None,
            unreadable: Vec::new(),
            mark: 0,
            moments: None,
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls so far that changed something or made it durable.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Lets the calls with these numbers (the first is 0) fail.
    pub fn fail(&self, operations: Range<u64>, fault: Fault) {
        self.disk().faults.push((operations, fault));
    }

    /// Takes all faults back; what they lost stays lost.
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.faults.clear();
        disk.capacity = None;
        disk.unreadable.clear();
    }

    /// Lets every call from this number on fail, and change nothing: the power is off.
    pub fn lose_power_at(&self, operation: u64) {
        self.disk().power_lost_at = Some(operation);
    }

    /// Bytes that all files together may have; `None` for no bound.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.disk().capacity = capacity;
    }

    /// Bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.disk().used()
    }

    /// Lets reads of this part of a file fail, under whatever name it is opened.
    pub fn make_unreadable(&self, path: &Path, range: Range<u64>) {
        let mut disk = self.disk();
        if let Some(Name::File(inode)) = disk.names.get(path).copied() {
            disk.unreadable.push((inode, range));
        }
    }

    /// Keeps the disk as it is before each call from now on; see [`take_moments`](Self::take_moments).
    pub fn record(&self) {
        self.disk().moments = Some(Vec::new());
    }

    /// Ends the recording, and gives the moments since it began.
    pub fn take_moments(&self) -> Vec<Moment> {
        self.disk().moments.take().unwrap_or_default()
    }

    /// Moments from now on carry this mark: a caller's word for what it knows of the disk by then.
    pub fn mark(&self, mark: usize) {
        self.disk().mark = mark;
    }

    /// A copy that changes by itself, without faults and recordings.
    pub fn copy(&self) -> SimFs {
        self.disk().copy()
    }

    /// A hash of all names and bytes that readers see.
    pub fn fingerprint(&self) -> u64 {
        let disk = self.disk();
        let mut hasher = Xxh3Default::new();
        for (path, name) in disk.names.iter() {
            hasher.write(path.as_os_str().as_encoded_bytes());
            match name {
                Name::Dir => hasher.write_u64(u64::MAX),
                Name::File(inode) => {
                    let bytes = disk.inodes.get(*inode).map(|inode| inode.current.as_slice()).unwrap_or_default();
                    hasher.write_u64(bytes.len() as u64);
                    hasher.write(bytes);
                }
            }
        }
        hasher.finish()
    }

    /// All files that readers see, with their bytes.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let disk = self.disk();
        let files = disk.names.iter().filter_map(|(path, name)| match name {
            Name::File(inode) => Some((path.clone(), disk.inodes.get(*inode)?.current.clone())),
            Name::Dir => None,
        });
        files.collect()
    }

    /// Replaces a file's bytes on the disk, as bit rot does, or creates it.
    pub fn set_content(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = self.disk();
        let inode = Arc::new(Inode::settled(bytes));
        match disk.names.get(path).copied() {
            Some(Name::File(number)) => {
                if let Some(slot) = disk.inodes.get_mut(number) {
                    *slot = inode;
                }
            }
            _ => {
                let name = Name::File(disk.inodes.len());
                disk.inodes.push(inode);
                Arc::make_mut(&mut disk.names).insert(path.to_owned(), name);
                Arc::make_mut(&mut disk.durable_names).insert(path.to_owned(), name);
            }
        }
    }

    /// The disk after a power loss now.
    pub fn crash(&self, seed: u64) -> SimFs {
        let disk = self.disk();
        let mut random = SimRandom::new(seed);
        // Some crashes lose everything in between, some nothing, most a part of it.
        let arrives_in = [0, 1, 2, 2, 4][random.below(5) as usize];
        let mut names = Names::clone(&disk.durable_names);
        for change in &disk.name_changes {
            if arrives_in > 0 && random.once_in(arrives_in) {
                change.apply(&mut names);
            }
        }
        // What was made in a directory that did not arrive itself is gone with it.
        let orphans: Vec<PathBuf> =
            names.keys().filter(|path| path.ancestors().skip(1).any(|dir| !names.contains_key(dir))).cloned().collect();
        for orphan in orphans {
            names.remove(&orphan);
        }
        let stale: Vec<u8> = disk.inodes.iter().flat_map(|inode| inode.durable.iter().copied()).take(1 << 20).collect();
        let inodes = disk
            .inodes
            .iter()
            .map(|inode| {
                if inode.changes.is_empty() && inode.current == inode.durable {
                    return inode.clone();
                }
                Arc::new(Inode::settled(settle(inode, arrives_in, &stale, &mut random)))
            })
            .collect();
        SimFs::with(inodes, names, random.next_u64())
    }

    /// The disk after the process was killed: everything that was written is there, and what was not synced still is
    /// not.
    pub fn kill(&self) -> SimFs {
        let disk = self.disk();
        let copy = disk.copy();
        copy.disk().random = SimRandom::new(disk.random.clone().next_u64());
        copy
    }
}

/// What the disk holds of a file when the power goes.
fn settle(inode: &Inode, arrives_in: u64, stale: &[u8], random: &mut SimRandom) -> Vec<u8> {
    let mut disk = inode.durable.clone();
    for change in &inode.changes {
        match change {
            FileChange::Truncate { len } => {
                if arrives_in > 0 && random.once_in(arrives_in) {
                    disk.resize(*len, 0);
                }
            }
            FileChange::Write { offset, bytes } => settle_write(&mut disk, *offset, bytes, arrives_in, stale, random),
        }
    }
    disk
}

fn settle_write(
    disk: &mut Vec<u8>,
    offset: usize,
    bytes: &[u8],
    arrives_in: u64,
    stale: &[u8],
    random: &mut SimRandom,
) {
    let end = offset + bytes.len();
    let mut at = offset;
    while at < end {
        let sector_end = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        let part = bytes.get(at - offset..sector_end - offset).unwrap_or_default();
        let old_len = disk.len();
        if arrives_in > 0 && random.once_in(arrives_in) {
            if old_len < sector_end {
                disk.resize(sector_end, 0);
            }
            if let Some(place) = disk.get_mut(at..sector_end) {
                place.copy_from_slice(part);
            }
        } else if arrives_in > 1 && old_len < sector_end && random.once_in(3) {
            // The length arrived, the data did not.
            disk.resize(sector_end, 0);
            if random.once_in(3) {
                let from = random.below(stale.len().saturating_sub(SECTOR_BYTES) as u64) as usize / SECTOR_BYTES
                    * SECTOR_BYTES;
                for (place, byte) in disk.iter_mut().skip(old_len.max(at)).zip(stale.iter().skip(from)) {
                    *place = *byte;
                }
            }
        }
        at = sector_end;
    }
}

impl Disk {
    fn copy(&self) -> SimFs {
        SimFs(Arc::new(Mutex::new(Disk {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            name_changes: self.name_changes.clone(),
            random: self.random.clone(),
            operations: self.operations,
            faults: Vec::new(),
            power_lost_at: None,
            capacity: None,
            unreadable: Vec::new(),
            mark: self.mark,
            moments: None,
        })))
    }

    /// The file's state, to be changed.
    fn inode_mut(&mut self, inode: usize) -> Option<&mut Inode> {
        self.inodes.get_mut(inode).map(Arc::make_mut)
    }

    /// Counts a call, and says how it fails.
    fn operation(&mut self, action: &str, path: &Path) -> Result<(), Fault> {
        let number = self.operations;
        if self.moments.is_some() {
            let what = format!("{action} {}", path.display());
            let moment = Moment { operation: number, what, mark: self.mark, disk: self.copy() };
            self.moments.get_or_insert_default().push(moment);
        }
        self.operations += 1;
        if self.power_lost_at.is_some_and(|at| number >= at) {
            return Err(Fault::Error);
        }
        match self.faults.iter().find(|(range, _)| range.contains(&number)) {
            Some((_, fault)) => Err(*fault),
            None => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        let files = self.names.values().filter_map(|name| match name {
            Name::File(inode) => self.inodes.get(*inode),
            Name::Dir => None,
        });
        files.map(|inode| inode.current.len() as u64).sum()
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Name::File(inode)) => Ok(*inode),
            Some(Name::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(Arc::make_mut(&mut self.names));
        self.name_changes.push(change);
    }

    fn write(&mut self, inode: usize, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let fault = self.operation("write", path).err();
        let mut taken = bytes.len();
        let mut error = None;
        if let Some(fault) = fault {
            let powered = self.power_lost_at.is_none_or(|at| self.operations <= at);
            taken = match fault {
                Fault::ShortWrite if powered => self.random.below(bytes.len() as u64) as usize,
                _ => 0,
            };
            error = Some(fault.error());
        } else if let Some(capacity) = self.capacity {
            let free = capacity.saturating_sub(self.used()) as usize;
            if free < taken {
                taken = free;
                error = Some(Fault::NoSpace.error());
            }
        }
        if let (Some(file), Some(bytes)) = (self.inode_mut(inode), bytes.get(..taken))
            && taken > 0
        {
            file.changes.push(FileChange::Write { offset: file.current.len(), bytes: bytes.to_vec() });
            file.current.extend_from_slice(bytes);
        }
        error.map_or(Ok(()), Err)
    }

    fn sync(&mut self, inode: usize, path: &Path) -> io::Result<()> {
        let fault = self.operation("sync", path).err();
        let powered = self.power_lost_at.is_none_or(|at| self.operations <= at);
        let Some(file) = self.inodes.get_mut(inode).map(Arc::make_mut) else {
            return Ok(());
        };
        match fault {
            None => {
                // Not the current bytes: what an earlier failed sync dropped stays dropped.
                for change in std::mem::take(&mut file.changes) {
                    match change {
                        FileChange::Truncate { len } => file.durable.resize(len, 0),
                        FileChange::Write { offset, bytes } => {
                            let end = offset + bytes.len();
                            if file.durable.len() < end {
                                file.durable.resize(end, 0);
                            }
                            if let Some(place) = file.durable.get_mut(offset..end) {
                                place.copy_from_slice(&bytes);
                            }
                        }
                    }
                }
                Ok(())
            }
            Some(fault) => {
                if powered {
                    // Some of it arrived; the rest is dropped, and shown all the same.
                    file.durable = settle(file, 3, &[], &mut self.random);
                    file.changes.clear();
                }
                Err(fault.error())
            }
        }
    }
}

impl Fs for SimFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut disk = self.disk();
        disk.operation("create", path).map_err(Fault::error)?;
        if disk.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path.parent().is_some_and(|dir| disk.names.get(dir) != Some(&Name::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = disk.inodes.len();
        disk.inodes.push(Arc::default());
        disk.change_names(NameChange::Create { path: path.to_owned(), inode });
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let inode = self.disk().inode(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let inode = self.disk().inode(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        let disk = self.disk();
        let inode = disk.inode(path)?;
        Ok(MappedFile::new(Mapped(disk.inodes.get(inode).cloned().unwrap_or_default())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let disk = self.disk();
        if disk.names.get(dir) != Some(&Name::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let within = disk.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let mut entries: Vec<_> = within
            .filter_map(|(path, name)| {
                let bytes = match name {
                    Name::File(inode) => disk.inodes.get(*inode)?.current.len() as u64,
                    Name::Dir => 0,
                };
                let is_dir = *name == Name::Dir;
                Some(DirEntry { name: path.file_name()?.to_str()?.to_owned(), is_dir, bytes })
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk().names.contains_key(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation("create directory", dir).map_err(Fault::error)?;
        let mut missing: Vec<_> = dir.ancestors().take_while(|path| !disk.names.contains_key(*path)).collect();
        while let Some(path) = missing.pop() {
            disk.change_names(NameChange::CreateDir { path: path.to_owned() });
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation("rename", from).map_err(Fault::error)?;
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if disk.names.get(to) == Some(&Name::Dir) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.name_changes.iter_mut().for_each(|change| change.follow(from, to));
        disk.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation("remove", path).map_err(Fault::error)?;
        disk.inode(path)?;
        disk.change_names(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation("remove directory", dir).map_err(Fault::error)?;
        match disk.names.get(dir) {
            Some(Name::Dir) => {}
            Some(Name::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        if disk.names.keys().any(|path| path.parent() == Some(dir)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        disk.change_names(NameChange::Remove { path: dir.to_owned() });
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation("link", from).map_err(Fault::error)?;
        let inode = disk.inode(from)?;
        if disk.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if to.parent().is_some_and(|dir| disk.names.get(dir) != Some(&Name::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_names(NameChange::Create { path: to.to_owned(), inode });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation("sync directory", dir).map_err(Fault::error)?;
        let (durable, kept) =
            std::mem::take(&mut disk.name_changes).into_iter().partition(|change| change.dir() == Some(dir));
        disk.name_changes = kept;
        let durable: Vec<NameChange> = durable;
        for change in durable {
            change.apply(Arc::make_mut(&mut disk.durable_names));
        }
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used())))
    }
}

/// An open file. It stays itself when its name is removed or given to another file.
#[derive(Debug)]
struct SimFile {
    disk: SimFs,
    inode: usize,
    path: PathBuf,
}

impl WriteFile for SimFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.disk().write(self.inode, &self.path, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.disk().sync(self.inode, &self.path)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.operation("truncate", &self.path).map_err(Fault::error)?;
        if let Some(file) = disk.inode_mut(self.inode) {
            file.current.resize(len as usize, 0);
            file.changes.push(FileChange::Truncate { len: len as usize });
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        ReadFile::len(self)
    }
}

impl ReadFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.disk.disk();
        let wanted = offset..offset + buffer.len() as u64;
        let bad = |range: &Range<u64>| range.start < wanted.end && wanted.start < range.end;
        if disk.unreadable.iter().any(|(inode, range)| *inode == self.inode && bad(range)) {
            return Err(Fault::Error.error());
        }
        let bytes =
            disk.inodes.get(self.inode).and_then(|inode| inode.current.get(offset as usize..)).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.disk().inodes.get(self.inode).map_or(0, |inode| inode.current.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        PathBuf::from("/").join(name)
    }

    #[test]
    fn crash_keeps_what_was_synced_with_its_directory() {
        for seed in 0..200 {
            let fs = SimFs::new(seed);
            let mut file = fs.create(&path("a")).unwrap();
            file.write_all(b"synced").unwrap();
            file.sync_data().unwrap();
            fs.sync_dir(&path("")).unwrap();
            file.write_all(&[b'x'; 2000]).unwrap();
            let after = fs.crash(seed).read(&path("a")).unwrap();
            assert!(after.starts_with(b"synced") && after.len() <= 2006, "seed {seed}");
        }
    }

    #[test]
    fn crash_may_lose_names_and_bytes_that_were_not_synced_and_tears_at_sectors() {
        let (mut lost_names, mut lost_bytes, mut torn, mut zeros) = (0, 0, 0, 0);
        for seed in 0..400 {
            let fs = SimFs::new(seed);
            let mut file = fs.create(&path("a")).unwrap();
            file.write_all(&[b'x'; 4 * SECTOR_BYTES]).unwrap();
            match fs.crash(seed).read(&path("a")) {
                Err(_) => lost_names += 1,
                Ok(bytes) if bytes.is_empty() => lost_bytes += 1,
                Ok(bytes) => {
                    torn += u32::from(bytes.len() < 4 * SECTOR_BYTES);
                    zeros += u32::from(bytes.contains(&0));
                }
            }
        }
        assert!(lost_names > 50 && lost_bytes > 0 && torn > 5 && zeros > 5, "{lost_names} {lost_bytes} {torn} {zeros}");
    }

    #[test]
    fn failed_sync_loses_pages_that_readers_still_see() {
        let fs = SimFs::new(7);
        let mut file = fs.create(&path("a")).unwrap();
        fs.sync_dir(&path("")).unwrap();
        file.write_all(&[b'x'; 8 * SECTOR_BYTES]).unwrap();
        let next = fs.operations();
        fs.fail(next..next + 1, Fault::Error);
        assert!(file.sync_data().is_err());
        assert_eq!(fs.read(&path("a")).unwrap(), [b'x'; 8 * SECTOR_BYTES]);
        file.sync_data().unwrap();
        assert_ne!(fs.crash(1).read(&path("a")).unwrap(), [b'x'; 8 * SECTOR_BYTES]);
    }

    #[test]
    fn full_disk_takes_what_fits_and_works_again_with_more_room() {
        let fs = SimFs::new(1);
        fs.set_capacity(Some(10));
        let mut file = fs.create(&path("a")).unwrap();
        assert_eq!(file.write_all(&[1; 16]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 10);
        fs.set_capacity(Some(100));
        file.write_all(&[1; 16]).unwrap();
        assert_eq!(fs.free_bytes(&path("a")).unwrap(), 74);
    }
}
