//! Data in and out of a data directory: import, export, dump, analysis, snapshots, restore.
