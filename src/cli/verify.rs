//! `verify`: proves a data directory.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::config::{Resolved, Sources};
use crate::fs::{Fs, SystemFs};
use crate::verify::{Verdict, VerifyOptions, verify};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  chronolith verify --data-dir /var/lib/chronolith\n  \
                        chronolith verify --data-dir data --receipts receipts.jsonl --server http://127.0.0.1:9095\n\n\
                        Nothing is written; a server may run on the directory meanwhile.")]
pub(super) struct VerifyArgs {
    /// The data directory; without it, the one that a server with this environment would open
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A file of receipts, as `bench write --receipts` writes them: each has to be in the log
    #[arg(long, value_name = "FILE")]
    receipts: Option<PathBuf>,
    /// The server that runs on the directory: its head has to hold what the log gives, series by series
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Decode every sample of the blocks, and compare digests: as long as it takes to read them all
    #[arg(long)]
    deep: bool,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(args: &VerifyArgs) -> CommandResult {
    let data_dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => Resolved::load(&SystemFs, &Sources::of_process(None, Vec::new()))?.config.data_dir,
    };
    let options = VerifyOptions {
        data_dir,
        receipts: args.receipts.clone(),
        server: args.server.clone(),
        deep: args.deep,
        progress: true,
    };
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let report = verify(&fs, &options);
    output::emit(&match args.format {
        Format::Table => report.to_table(),
        Format::Json => serde_json::to_string_pretty(&report.to_json())?,
    })?;
    match (report.verdict(), report.error) {
        (Verdict::Proven, _) => Ok(Done::Good),
        (Verdict::Wrong, _) => Ok(Done::Wrong),
        (Verdict::Unproven, _) => Err("not everything can be shown: see what is not proven".into()),
        (Verdict::CouldNotRun, error) => Err(error.unwrap_or_else(|| "verify could not run".to_owned()).into()),
    }
}
