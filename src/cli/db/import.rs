//! `db import`: text becomes blocks.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use super::super::output::Done;
use super::super::{CommandResult, Format};
use super::{Bar, moment, report};
use crate::clock::{Clock as _, SystemClock};
use crate::config::keys::KEYS;
use crate::config::units::Bytes;
use crate::fs::{DirLock, Fs, SystemFs, names};
use crate::model::duration::parse_duration_ms;
use crate::text::TextFormat;
use crate::transfer::import::{ImportOptions, ImportProgress, ImportReport, import as import_text};

pub(super) const HELP: &str = "Examples:
  chronolith db import history.om --data-dir data
  zcat history.om.gz | chronolith db import - --input openmetrics --data-dir data
  promtool tsdb dump-openmetrics old > old.om && chronolith db import old.om --data-dir data

Each sample needs a timestamp: milliseconds in Prometheus' format, seconds in OpenMetrics. Lines may stand in any order.
An import that was interrupted goes on when it is started again with the same text. Every block is read back and proven
before it gets its place; a running server takes it up within a minute, another one at its start. Where the server was
sent another value for the same series and time, that one stays, unless it came late; which of two imports stays is not
defined.

Exit code 1: samples with other values for the same time were left out, and named.";

/// The name of standard input.
const STANDARD_INPUT: &str = "-";

#[derive(Debug, Args)]
pub(in super::super) struct ImportArgs {
    /// The file with the text; - for standard input
    file: PathBuf,
    /// The data directory that gets the blocks
    #[arg(long, default_value = "./data")]
    data_dir: PathBuf,
    /// The format of the text; a file's is found out from its end where it is left out
    #[arg(long, value_enum)]
    input: Option<InputFormat>,
    /// Time that a block covers, a multiple of 2h; chosen by the time that the text covers where it is left out
    #[arg(long, value_name = "DURATION", value_parser = parse_block_range)]
    block_duration: Option<i64>,
    /// Memory for samples; what does not fit is sorted and set down in the data directory. Labels come on top
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    memory: Bytes,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A format of text.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum InputFormat {
    /// Prometheus' text format, timestamps in milliseconds
    Prometheus,
    /// OpenMetrics, timestamps in seconds
    Openmetrics,
}

fn parse_block_range(text: &str) -> Result<i64, String> {
    const RANGE_MS: i64 = 7_200_000;
    let range_ms = parse_duration_ms(text).map_err(|error| error.to_string())?;
    let fits = range_ms > 0 && range_ms % RANGE_MS == 0;
    fits.then_some(range_ms).ok_or_else(|| "a block covers a multiple of 2h".to_owned())
}

fn parse_size(text: &str) -> Result<Bytes, String> {
    Bytes::parse(text).ok_or_else(|| "a size is a number and a unit, such as 256MiB".to_owned())
}

pub(super) fn run(args: &ImportArgs) -> CommandResult {
    let is_stream = args.file == Path::new(STANDARD_INPUT);
    if is_stream && args.input.is_none() {
        return Err("the format of standard input is not known before its end: say --input openmetrics or --input \
                    prometheus"
            .into());
    }
    let options = ImportOptions {
        data_dir: args.data_dir.clone(),
        source: if is_stream { "standard input".into() } else { args.file.clone() },
        format: args.input.map(|input| match input {
            InputFormat::Prometheus => TextFormat::Prometheus,
            InputFormat::Openmetrics => TextFormat::OpenMetrics,
        }),
        block_range_ms: args.block_duration,
        samples_in_memory: usize::try_from(args.memory.0 / ImportOptions::SAMPLE_BYTES).unwrap_or(usize::MAX).max(1),
    };
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let mut stdin = io::stdin();
    let stream = is_stream.then_some(&mut stdin as &mut dyn Read);
    let imported = import_text(&fs, &SystemClock::default(), &options, stream, &mut Bar::new())?;
    report(args.format, &imported, || table(&imported, &args.data_dir))?;
    Ok(if imported.conflicts == 0 { Done::Good } else { Done::Wrong })
}

fn table(report: &ImportReport, data_dir: &Path) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["block", "from", "to", "series", "samples", "digest"]);
    for block in &report.blocks {
        table.add_row([
            block.ulid.clone(),
            moment(block.min_time_ms),
            moment(block.max_time_ms),
            block.series.to_string(),
            block.samples.to_string(),
            block.digest.to_string(),
        ]);
    }
    let mut text = format!(
        "{table}\n{} samples of {} series in {} lines; {} blocks, each read back and proven\n",
        report.samples,
        report.series,
        report.lines,
        report.blocks.len()
    );
    let (old, retention) = beyond_default_retention(report);
    let there = report.blocks.iter().filter(|block| block.was_there).count() as u64;
    for (count, what) in [
        (report.resumed_samples, "samples were read by an interrupted import before"),
        (there, "blocks were there already, from an earlier import of this text"),
        (report.duplicates, "samples stood in the text twice, with one value"),
        (report.exemplars_skipped, "exemplars were left out: blocks do not hold them"),
        (report.future_blocks, "blocks begin later than now"),
        (old, &format!("blocks are older than {retention}: a server removes them unless its retention.time is longer")),
        (report.conflicts, "samples were left out: the text has another value for the same series and time before"),
    ] {
        if count > 0 {
            text.push_str(&format!("{count} {what}\n"));
        }
    }
    for conflict in &report.conflicts_named {
        text.push_str(&format!("  {conflict}\n"));
    }
    text.push_str(match DirLock::acquire_existing(&data_dir.join(names::LOCK_FILE)) {
        Ok(None) => "the server that runs on the directory takes them up within a minute\n",
        _ => "a server takes them up when it is started on the directory\n",
    });
    text
}

/// How many blocks a server would remove if nothing was configured, and the age that it goes by.
fn beyond_default_retention(report: &ImportReport) -> (u64, &'static str) {
    let Some(retention) = KEYS.iter().find(|key| key.name == "retention.time") else { return (0, "") };
    let Ok(age_ms) = parse_duration_ms(retention.default) else { return (0, "") };
    let oldest_ms = SystemClock::default().now_ms().saturating_sub(age_ms);
    let old = report.blocks.iter().filter(|block| block.max_time_ms < oldest_ms).count();
    (old as u64, retention.default)
}

impl ImportProgress for Bar {
    fn reading(&mut self, bytes: u64, total: u64) {
        match total {
            0 => self.show("reading {spinner} {bytes}", bytes, total),
            _ => self.show("reading {wide_bar} {bytes}/{total_bytes}, {eta} left", bytes, total),
        }
    }

    fn writing(&mut self, blocks: u64, total: u64) {
        self.show("writing blocks {wide_bar} {pos}/{len}, {eta} left", blocks, total);
    }
}
