//! `block list`, `block inspect` and `block verify`: looks at the blocks of a data directory.

use std::path::PathBuf;

use clap::Subcommand;

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::fs::SystemFs;
use crate::inspect::list_blocks;

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
}

pub(super) fn run(command: &BlockCommand) -> CommandResult {
    let (table, document, code, format) = match command {
        BlockCommand::List { dir, format } => {
            let list = list_blocks(&SystemFs, dir)?;
            (list.to_table(), serde_json::to_value(&list)?, list.exit_code(), format)
        }
    };
    output::emit(&match format {
        Format::Table => table,
        Format::Json => serde_json::to_string_pretty(&document)?,
    })?;
    Ok(if code == 0 { Done::Good } else { Done::Wrong })
}
