//! Data in and out of a data directory: import, export, dump, analysis, snapshots, restore.

pub mod analyze;
pub mod copy;
pub mod import;
pub mod text_out;
