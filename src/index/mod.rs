//! The inverted index of the head: symbols, label pairs, postings.
