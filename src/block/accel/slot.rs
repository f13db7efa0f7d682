//! The accelerator that a block has at the moment, or why it has none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Accel, AccelError, IndexIdentity};
use crate::encoding::Corruption;
use crate::fs::{Fs, names};

/// Whether a block has an accelerator that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccelState {
    /// It answers.
    Ready,
    /// There is none; the index answers.
    Missing,
    /// There is one that cannot be used, and why; the index answers.
    Damaged(String),
}

#[derive(Debug)]
enum Held {
    Ready(Arc<Accel>),
    Missing,
    Damaged(String),
}

impl From<Result<Accel, AccelError>> for Held {
    fn from(opened: Result<Accel, AccelError>) -> Self {
        match opened {
            Ok(accel) => Held::Ready(Arc::new(accel)),
            Err(AccelError::Missing) => Held::Missing,
            Err(other) => Held::Damaged(other.to_string()),
        }
    }
}

/// A block's place for its accelerator. What goes wrong with it is never a fault of a query: the caller asks the index.
#[derive(Debug)]
pub struct AccelSlot {
    path: PathBuf,
    identity: IndexIdentity,
    held: RwLock<Held>,
}

impl AccelSlot {
    /// Opens the accelerator in the directory of the block whose index has this identity.
    pub fn open(fs: &dyn Fs, block_dir: &Path, identity: IndexIdentity) -> Self {
        let path = block_dir.join(names::BLOCK_ACCEL_FILE);
        let held = RwLock::new(Accel::open(fs, &path, &identity).into());
        AccelSlot { path, identity, held }
    }

    /// Opens the file again, after it was built.
    pub fn reload(&self, fs: &dyn Fs) {
        let held = Accel::open(fs, &self.path, &self.identity).into();
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// Where the file is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The index that the file has to be made from.
    pub fn identity(&self) -> &IndexIdentity {
        &self.identity
    }

    /// Whether there is an accelerator that can be used.
    pub fn state(&self) -> AccelState {
        match &*self.held.read().unwrap_or_else(PoisonError::into_inner) {
            Held::Ready(_) => AccelState::Ready,
            Held::Missing => AccelState::Missing,
            Held::Damaged(reason) => AccelState::Damaged(reason.clone()),
        }
    }

    /// The accelerator, if it can be used.
    pub fn get(&self) -> Option<Arc<Accel>> {
        match &*self.held.read().unwrap_or_else(PoisonError::into_inner) {
            Held::Ready(accel) => Some(accel.clone()),
            Held::Missing | Held::Damaged(_) => None,
        }
    }

    /// What the accelerator answers; `None` where the index has to be asked. Damage that shows only now is remembered,
    /// and the accelerator is not asked again.
    pub fn ask<T>(&self, question: impl FnOnce(&Accel) -> Result<T, AccelError>) -> Option<T> {
        let accel = self.get()?;
        // The library of the automaton panics on nonsense, and who writes nonsense may have written the checksum too.
        let answer = catch_unwind(AssertUnwindSafe(|| question(&accel))).unwrap_or_else(|_told| {
            Err(Corruption { what: "its checksums match and its content is nonsense", offset: 0 }.into())
        });
        match answer {
            Ok(answer) => Some(answer),
            Err(fault) => {
                let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
                // Perhaps it was built anew meanwhile.
                if matches!(&*held, Held::Ready(asked) if Arc::ptr_eq(asked, &accel)) {
                    tracing::warn!(path = %self.path.display(), %fault, "accelerator is damaged; the index answers");
                    *held = Held::Damaged(fault.to_string());
                }
                None
            }
        }
    }
}
