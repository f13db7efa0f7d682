//! Chunks: compressed runs of samples, and the files that hold the head's full ones.
