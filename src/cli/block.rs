//! `block list`, `block inspect` and `block verify`: looks at the blocks of a data directory.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use ulid::Ulid;

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::fs::{Fs, SystemFs};
use crate::inspect::{inspect_block, list_blocks, verify_blocks};

#[derive(Debug, Subcommand)]
pub(super) enum BlockCommand {
    /// List the blocks of a data directory: what they cover, how much they hold
    #[command(after_help = "Examples:\n  chronolith block list data\n  chronolith block list data --format json\n\n\
                            Ends with 1 where the meta of a block cannot be read. Nothing is written.")]
    List {
        /// The data directory
        dir: PathBuf,
        /// The form of the report
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Show one block: its meta, files, labels, accelerator and damage
    #[command(after_help = "Example:\n  chronolith block inspect data 01JA0000000000000000000000\n\n\
                            The samples are not read: `block verify` does that. Nothing is written.")]
    Inspect {
        /// The data directory
        dir: PathBuf,
        /// The block's name
        #[arg(value_parser = parse_ulid)]
        ulid: Ulid,
        /// The form of the report
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Read blocks whole: checksums, order, ranges, postings against series, every sample
    #[command(
        after_help = "Examples:\n  chronolith block verify data\n  chronolith block verify data 01JA0000000000000000000000\n\n\
                            Ends with 1 where anything is wrong. Nothing is written; a server may run on the directory."
    )]
    Verify {
        /// The data directory
        dir: PathBuf,
        /// Only the block with this name
        #[arg(value_parser = parse_ulid)]
        ulid: Option<Ulid>,
        /// The form of the report
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

fn parse_ulid(text: &str) -> Result<Ulid, String> {
    Ulid::from_string(text).map_err(|_| {
        format!("{text:?} is not a block's name: 26 letters and digits, such as 01JA0000000000000000000000")
    })
}

pub(super) fn run(command: &BlockCommand) -> CommandResult {
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let (table, document, code, format) = match command {
        BlockCommand::List { dir, format } => {
            let list = list_blocks(&*fs, dir)?;
            (list.to_table(), serde_json::to_value(&list)?, list.exit_code(), format)
        }
        BlockCommand::Inspect { dir, ulid, format } => {
            let report = inspect_block(&fs, dir, *ulid)?;
            (report.to_table(), serde_json::to_value(&report)?, report.exit_code(), format)
        }
        BlockCommand::Verify { dir, ulid, format } => {
            let verified = verify_blocks(&fs, dir, *ulid, true)?;
            (verified.to_table(), serde_json::to_value(&verified)?, verified.exit_code(), format)
        }
    };
    output::emit(&match format {
        Format::Table => table,
        Format::Json => serde_json::to_string_pretty(&document)?,
    })?;
    Ok(if code == 0 { Done::Good } else { Done::Wrong })
}
