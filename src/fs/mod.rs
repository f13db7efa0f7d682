//! The only door to files: a trait over the file system, the system's own, and a simulated disk for tests.
//!
//! Everything that writes goes through [`Fs`] and [`WriteFile`], so that a test can put a disk underneath that forgets
//! what was not synced, tears pages, fails the n-th call or runs full ([`sim`]).

pub mod access;
pub mod names;
pub mod sim;
mod system;

use std::fmt::Debug;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

pub use system::{DirLock, SystemFs, memory_limit_bytes, open_files, release_freed_memory, resident_bytes};

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name, without the directory. Names that are not UTF-8 are not listed.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes of a file.
    pub bytes: u64,
}

/// A file system.
pub trait Fs: Send + Sync + Debug {
    /// Creates a file that must not exist yet, for writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Opens an existing file for writing behind its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Opens a file for reading at any offset.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;

    /// The file's bytes, mapped where the file system can. The file must not shrink while the bytes are in use.
    fn map(&self, path: &Path) -> io::Result<MappedFile>;

    /// The entries of a directory, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether the path exists.
    fn exists(&self, path: &Path) -> bool;

    /// Creates a directory and its parents; one that exists is fine.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file or directory over an existing one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must not exist yet.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable: files created, renamed or removed in it.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that can still be written to the file system that holds `path`, where that is known.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Removes a directory with all that is in it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        for entry in self.list(dir)? {
            let path = dir.join(&entry.name);
            if entry.is_dir { self.remove_dir_all(&path)? } else { self.remove_file(&path)? }
        }
        self.remove_dir(dir)
    }

    /// Creates a directory and its parents such that a power cut does not take them away, with all that they will hold.
    fn create_dir_durably(&self, dir: &Path) -> io::Result<()> {
        let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !self.exists(dir);
        let missing: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();
        self.create_dir_all(dir)?;
        for created in missing {
            let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// A file that is being written, always behind its end.
pub trait WriteFile: Send + Debug {
    /// Appends all of `bytes`. After an error the length of the file is unknown.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's content and length durable (`fdatasync`).
    fn sync_data(&mut self) -> io::Result<()>;

    /// Cuts the file to `len` bytes; later writes go there.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// The file's length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file that is read at any offset.
pub trait ReadFile: Send + Sync + Debug {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at or behind the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The file's length now.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The bytes of a mapped file. Cloning shares them.
#[derive(Clone)]
pub struct MappedFile(Arc<dyn Deref<Target = [u8]> + Send + Sync>);

impl MappedFile {
    /// Wraps bytes that stay as they are.
    pub fn new(bytes: impl Deref<Target = [u8]> + Send + Sync + 'static) -> Self {
        MappedFile(Arc::new(bytes))
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.deref().deref()
    }
}

impl Debug for MappedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MappedFile({} bytes)", self.len())
    }
}
