//! The only door to files: a trait over a directory, the system's files, and a simulated disk for tests.
