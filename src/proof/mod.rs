//! What the log alone gives: an independent replay that shares nothing with the head but the format of the records.
