//! Whether this process may do in a data directory what it has to, asked before anything is done there: a directory that
//! belongs to somebody else is an everyday fault of containers and volumes, and "permission denied" says too little.
//!
//! The kernel is asked, so that capabilities, access lists and read-only mounts count. What it does not tell is left to
//! the operation itself.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};

use super::names;

/// Why a path of a data directory cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The modes do not allow it.
    #[error(
        "{} may not be {needs}: it belongs to {owner} with mode {mode:04o}, and this process runs as {process}; {}",
        path.display(), advice(data_dir, process)
    )]
    Denied {
        /// The path.
        path: PathBuf,
        /// What has to be possible.
        needs: Needs,
        /// Whom the path belongs to.
        owner: Ids,
        /// Its permissions.
        mode: u32,
        /// Who asks.
        process: Ids,
        /// The data directory that it belongs to.
        data_dir: PathBuf,
    },
    /// The file system takes no writes.
    #[error(
        "{} lies on a read-only file system: mount it writable, or set data_dir to a path on a volume that is (in a \
         container with a read-only root file system only volumes are)", path.display()
    )]
    ReadOnly {
        /// The path.
        path: PathBuf,
    },
    /// There is a file, where a directory has to be.
    #[error("{} is a file and has to be a directory: move it away, or set data_dir to another path", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
}

/// What has to be possible with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A directory: its entries listed, made and removed.
    Entries,
    /// A directory on the way to another.
    Passage,
    /// A directory that another is to be made in.
    Room,
    /// A file.
    ReadWrite,
    /// A file.
    Read,
}

impl Needs {
    fn access(self) -> Access {
        match self {
            Needs::Entries => Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
            Needs::Passage => Access::EXEC_OK,
            Needs::Room => Access::WRITE_OK | Access::EXEC_OK,
            Needs::ReadWrite => Access::READ_OK | Access::WRITE_OK,
            Needs::Read => Access::READ_OK,
        }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Needs::Entries => "listed and written",
            Needs::Passage => "entered",
            Needs::Room => "written, to make the data directory in it",
            Needs::ReadWrite => "read and written",
            Needs::Read => "read",
        })
    }
}

/// User and groups by number, as `chown` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Ids {
    fn of_process() -> Self {
        let gid = getegid().as_raw();
        let mut groups: Vec<u32> = getgroups().unwrap_or_default().into_iter().map(|group| group.as_raw()).collect();
        groups.retain(|&group| group != gid);
        Ids { uid: geteuid().as_raw(), gid, groups }
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)?;
        if !self.groups.is_empty() {
            let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
            write!(f, " with groups {}", groups.join(", "))?;
        }
        Ok(())
    }
}

/// What to do about a path that belongs to somebody else.
fn advice(data_dir: &Path, process: &Ids) -> String {
    format!(
        "give it to that user with `chown -R {}:{} {}`, for a Kubernetes volume set securityContext.fsGroup, or set \
         data_dir to another path",
        process.uid,
        process.gid,
        data_dir.display()
    )
}

/// Directories in one another below those of a data directory, as its formats have them.
const DEPTH_MAX: usize = 2;

/// What a look at a data directory found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// Blocks that cannot be read or removed, and a place for snapshots that cannot be written to. They do not keep a
    /// server from starting.
    pub apart: Vec<AccessError>,
}

/// Asks whether a data directory, which may not be there yet, can be opened, and all that a start reads and writes in it.
/// The first thing that is in the way is the error.
pub fn check_data_dir(data_dir: &Path) -> Result<Usable, AccessError> {
    let look = Look { data_dir };
    let Some(metadata) = look.metadata(data_dir)? else { return look.room().map(|()| Usable::default()) };
    look.dir(data_dir, &metadata, Needs::Entries)?;
    look.ask(&data_dir.join(names::LOCK_FILE), Needs::ReadWrite)?;
    for dir in [names::WAL_DIR, names::WBL_DIR, names::CHUNKS_HEAD_DIR, names::LEDGER_DIR] {
        look.dir_with_files(&data_dir.join(dir), Needs::ReadWrite, DEPTH_MAX)?;
    }
    look.dir_if_there(&data_dir.join(names::QUARANTINE_DIR))?;
    let snapshots = look.dir_if_there(&data_dir.join(names::SNAPSHOTS_DIR)).err();
    let blocks = entries(data_dir).into_iter().filter_map(|path| look.block(&path).err());
    Ok(Usable { apart: snapshots.into_iter().chain(blocks).collect() })
}

/// One look at one data directory.
struct Look<'a> {
    data_dir: &'a Path,
}

impl Look<'_> {
    /// `None` where nothing is there. What cannot be looked at because of a directory above names that.
    fn metadata(&self, path: &Path) -> Result<Option<fs::Metadata>, AccessError> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory) => {
                Err(self.above(path).err().unwrap_or_else(|| self.denied(path, Needs::Read)))
            }
            Err(_) => Ok(None),
        }
    }

    /// Whether the directories above a path can be gone through, from the root on.
    fn above(&self, path: &Path) -> Result<(), AccessError> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
        above.reverse();
        for dir in above {
            let Ok(metadata) = fs::metadata(dir) else { return Ok(()) };
            self.dir(dir, &metadata, Needs::Passage)?;
        }
        Ok(())
    }

    /// Whether a data directory that is not there can be made.
    fn room(&self) -> Result<(), AccessError> {
        let here = Path::new(".");
        let above = self.data_dir.ancestors().skip(1);
        for dir in above.map(|dir| if dir.as_os_str().is_empty() { here } else { dir }) {
            if let Some(metadata) = self.metadata(dir)? {
                return self.dir(dir, &metadata, Needs::Room);
            }
        }
        Ok(())
    }

    fn dir(&self, path: &Path, metadata: &fs::Metadata, needs: Needs) -> Result<(), AccessError> {
        if metadata.is_dir() {
            self.ask(path, needs)
        } else {
            Err(AccessError::NotADirectory { path: path.to_owned() })
        }
    }

    fn dir_if_there(&self, path: &Path) -> Result<(), AccessError> {
        match self.metadata(path)? {
            Some(metadata) => self.dir(path, &metadata, Needs::Entries),
            None => Ok(()),
        }
    }

    fn dir_with_files(&self, dir: &Path, needs: Needs, depth: usize) -> Result<(), AccessError> {
        let Some(metadata) = self.metadata(dir)? else { return Ok(()) };
        self.dir(dir, &metadata, Needs::Entries)?;
        for path in entries(dir) {
            if !path.is_dir() {
                self.ask(&path, needs)?;
            } else if depth > 1 {
                // A checkpoint, or the chunks of a block: read by starts, replaced as a whole.
                self.dir_with_files(&path, Needs::Read, depth - 1)?;
            }
        }
        Ok(())
    }

    /// A block's directory has to be writable too, or retention and compaction cannot remove the block.
    fn block(&self, path: &Path) -> Result<(), AccessError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if ulid::Ulid::from_string(name).is_err() || !path.is_dir() {
            return Ok(());
        }
        self.dir_with_files(path, Needs::Read, DEPTH_MAX)
    }

    /// Asks the kernel. A path that is gone by now is nobody's fault.
    fn ask(&self, path: &Path, needs: Needs) -> Result<(), AccessError> {
        match accessat(CWD, path, needs.access(), AtFlags::EACCESS) {
            Err(Errno::ACCESS) => Err(self.denied(path, needs)),
            Err(Errno::ROFS) => Err(AccessError::ReadOnly { path: path.to_owned() }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn denied(&self, path: &Path, needs: Needs) -> AccessError {
        let metadata = fs::metadata(path).ok();
        let owner = metadata.as_ref().map_or((0, 0), |metadata| (metadata.uid(), metadata.gid()));
        AccessError::Denied {
            path: path.to_owned(),
            needs,
            owner: Ids { uid: owner.0, gid: owner.1, groups: Vec::new() },
            mode: metadata.map_or(0, |metadata| metadata.permissions().mode() & 0o7777),
            process: Ids::of_process(),
            data_dir: self.data_dir.to_owned(),
        }
    }
}

/// The entries of a directory by name. One that cannot be listed has been asked about before.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
