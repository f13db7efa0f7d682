//! Chronolith beside the real programs: Prometheus writes to it, reads its directory, scrapes it, and answers the same.

pub mod answers;
mod deploy;
mod doors;
mod exemplars;
mod federation;
mod flow;
mod histogram_writes;
pub mod histograms;
mod killed;
mod metadata;
mod metrics;
mod otlp;
mod otlp_names;
mod parity;
mod queries;
mod regex;
mod remote_read;
mod remote_write;
mod stats;
mod taken_over;
mod text_import;
mod transfer;
mod world;
