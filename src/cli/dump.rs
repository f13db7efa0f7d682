//! `index dump`, `chunk dump` and `tombstones dump`: what the files of a block hold, entry by entry.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::fs::{Fs, SystemFs};
use crate::inspect::{ChunkDumpOptions, IndexDumpOptions, dump_chunks, dump_index, dump_samples, dump_tombstones};
use crate::promql::parser::parse_selector;

/// What every dump takes.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// The block's directory
    dir: PathBuf,
    /// At most this many rows; the rest are counted
    #[arg(long, default_value_t = 10_000)]
    rows: usize,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum IndexCommand {
    /// List the series of a block with their references and chunks
    #[command(after_help = "Examples:\n  chronolith index dump data/01JA0000000000000000000000\n  \
                            chronolith index dump data/01JA0000000000000000000000 --match 'up{job=~\"node.*\"}' --format json\n\n\
                            Chunks are named segment:offset, as `chunk dump` takes them. Nothing is written.")]
    Dump {
        #[command(flatten)]
        args: DumpArgs,
        /// Only the series that this selector matches
        #[arg(long = "match", value_name = "SELECTOR")]
        selector: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ChunkCommand {
    /// List the chunks of a block, or show the samples of one
    #[command(after_help = "Examples:\n  chronolith chunk dump data/01JA0000000000000000000000\n  \
                            chronolith chunk dump data/01JA0000000000000000000000 --segment 1 --offset 8\n\n\
                            The offset of a chunk is what the list shows behind the colon. Nothing is written.")]
    Dump {
        #[command(flatten)]
        args: DumpArgs,
        /// Only the segment with this number
        #[arg(long)]
        segment: Option<u32>,
        /// The samples of the chunk at this offset of the segment
        #[arg(long, requires = "segment")]
        offset: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TombstonesCommand {
    /// List the deleted ranges of a block by the reference of their series, which `index dump` names
    #[command(
        after_help = "Example:\n  chronolith tombstones dump data/01JA0000000000000000000000\n\nNothing is written."
    )]
    Dump {
        #[command(flatten)]
        args: DumpArgs,
    },
}

pub(super) fn run_index(command: &IndexCommand) -> CommandResult {
    let IndexCommand::Dump { args, selector } = command;
    let matchers = selector.as_deref().map(parse_selector).transpose()?.unwrap_or_default();
    let options = IndexDumpOptions { dir: args.dir.clone(), matchers, rows_max: args.rows };
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let dump = dump_index(&fs, &options)?;
    emit(args, &dump.to_table(), &dump, dump.exit_code())
}

pub(super) fn run_chunk(command: &ChunkCommand) -> CommandResult {
    let ChunkCommand::Dump { args, segment, offset } = command;
    if let (Some(segment), Some(offset)) = (segment, offset) {
        let dump = dump_samples(&SystemFs, &args.dir, *segment, *offset, args.rows)?;
        return emit(args, &dump.to_table(), &dump, dump.exit_code());
    }
    let options = ChunkDumpOptions { dir: args.dir.clone(), segment: *segment, rows_max: args.rows };
    let dump = dump_chunks(&SystemFs, &options)?;
    emit(args, &dump.to_table(), &dump, dump.exit_code())
}

pub(super) fn run_tombstones(command: &TombstonesCommand) -> CommandResult {
    let TombstonesCommand::Dump { args } = command;
    let dump = dump_tombstones(&SystemFs, &args.dir, args.rows)?;
    emit(args, &dump.to_table(), &dump, 0)
}

fn emit(args: &DumpArgs, table: &str, dump: &impl serde::Serialize, code: u8) -> CommandResult {
    match args.format {
        Format::Table => output::emit(table)?,
        Format::Json => output::emit(&serde_json::to_string_pretty(dump)?)?,
    }
    Ok(if code == 0 { Done::Good } else { Done::Wrong })
}
