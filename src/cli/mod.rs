//! The command line: words typed become calls.
