//! The head: the mutable, most recent part of the store.
