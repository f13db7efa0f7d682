//! From defaults, file, environment and flags to checked options.
