//! Metrics and logs: the instruments, the text in which metrics are read, and where log lines go.
//!
//! There is no registry. Each part of the program owns its instruments, and whoever serves `/metrics` writes them, and
//! what it reads from the parts' own counts, into one [`Exposition`]: a number lives in one place only.

pub mod exposition;
pub mod instrument;
pub mod log;

pub use exposition::{Exposition, Kind, TextFormat};
pub use instrument::{Counter, Histogram, Summary};
