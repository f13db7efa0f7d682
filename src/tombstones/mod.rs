//! Deleted ranges of time of a block's series, and the file that holds them.
