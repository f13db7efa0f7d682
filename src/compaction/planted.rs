//! Bugs on purpose, for the tests that have to catch them.

use std::cell::Cell;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A chunk that should be passed on is not.
    ChunkLeftOut,
    /// Two samples of one time are both kept.
    DuplicateKept,
    /// A sample is left out, and its digest is not counted.
    DigestNotUpdated,
    /// Samples in deleted ranges are kept, and counted as deleted.
    DeletionNotApplied,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Runs `f` with a bug that strikes once, on this thread. Says whether it did.
pub(super) fn with<T>(bug: Bug, f: impl FnOnce() -> T) -> (T, bool) {
    PLANTED.set(Some(bug));
    let result = f();
    (result, PLANTED.take().is_none())
}

/// Whether the bug strikes now.
pub(super) fn strikes(bug: Bug) -> bool {
    let now = PLANTED.get() == Some(bug);
    if now {
        PLANTED.set(None);
    }
    now
}
