//! Looking inside the files of a data directory.
