//! `wal inspect` and `wal repair`: looks inside a log.

use std::path::PathBuf;

use clap::Subcommand;

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::fs::SystemFs;
use crate::inspect::wal::parse_record_type;
use crate::inspect::{WalInspectOptions, inspect_wal, repair_wal};
use crate::wal::RecordType;

#[derive(Debug, Subcommand)]
pub(super) enum WalCommand {
    /// List the records of a log, and what is damaged; never writes
    #[command(
        after_help = "Examples:\n  chronolith wal inspect data\n  chronolith wal inspect data --segment 3 --type samples"
    )]
    Inspect {
        /// A data directory, or its `wal` directory
        dir: PathBuf,
        /// Only the segment with this number
        #[arg(long)]
        segment: Option<u32>,
        /// Only records of this type
        #[arg(long = "type", value_parser = parse_record_type)]
        record_type: Option<RecordType>,
        /// At most this many rows; the rest are counted
        #[arg(long, default_value_t = 10_000)]
        rows: usize,
        /// The form of the report
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Say what a start would do about damage and torn tails; with --write, do it
    #[command(after_help = "Examples:\n  chronolith wal repair data\n  chronolith wal repair data --write\n\n\
                            What is cut goes to `quarantine/`.")]
    Repair {
        /// The data directory
        dir: PathBuf,
        /// Do it
        #[arg(long)]
        write: bool,
        /// The form of the report
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

pub(super) fn run(command: &WalCommand) -> CommandResult {
    let (table, document, code, format) = match command {
        WalCommand::Inspect { dir, segment, record_type, rows, format } => {
            let options =
                WalInspectOptions { dir: dir.clone(), segment: *segment, record_type: *record_type, rows_max: *rows };
            let report = inspect_wal(&SystemFs, &options)?;
            (report.to_table(), report.to_json(), report.exit_code(), format)
        }
        WalCommand::Repair { dir, write, format } => {
            let report = repair_wal(&SystemFs, dir, *write)?;
            (report.to_table(), report.to_json(), report.exit_code(), format)
        }
    };
    output::emit(&match format {
        Format::Table => table,
        Format::Json => serde_json::to_string_pretty(&document)?,
    })?;
    Ok(if code == 0 { Done::Good } else { Done::Wrong })
}
