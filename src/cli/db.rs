//! `db`: what is in a data directory as a whole, and data in and out of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::clock::SystemClock;
use crate::fs::{Fs, SystemFs};
use crate::model::duration::parse_duration_ms;
use crate::text::TextFormat;
use crate::transfer::import::{ImportOptions, ImportProgress, ImportReport, import};

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Turn text, Prometheus' format or OpenMetrics, into blocks of any age; also beside a running server
    #[command(after_help = "Examples:\n  chronolith db import history.om --data-dir data\n  \
                            promtool tsdb dump-openmetrics old > old.om; chronolith db import old.om --data-dir data\n\n\
                            Each sample needs a timestamp: milliseconds in Prometheus' format, seconds in OpenMetrics.\n\
                            An import that was interrupted goes on when it is started again. Every block is read back \
                            and proven before it gets its place; a running server takes it up within a minute.\n\
                            Exit code 1: samples with other values for the same time were left out.")]
    Import {
        /// The file with the text
        file: PathBuf,
        /// The data directory that gets the blocks
        #[arg(long, default_value = "./data")]
        data_dir: PathBuf,
        /// The format of the text; found out from its end where it is left out
        #[arg(long, value_enum)]
        input: Option<InputFormat>,
        /// Time that a block covers, a multiple of 2h; chosen by the time that the text covers where it is left out
        #[arg(long, value_name = "DURATION", value_parser = parse_block_range)]
        block_duration: Option<i64>,
        /// The form of the report
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

/// A format of text.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum InputFormat {
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

pub(super) fn run(command: &DbCommand) -> CommandResult {
    match command {
        DbCommand::Import { file, data_dir, input, block_duration, format } => {
            let options = ImportOptions {
                data_dir: data_dir.clone(),
                source: file.clone(),
                format: input.map(|input| match input {
                    InputFormat::Prometheus => TextFormat::Prometheus,
                    InputFormat::Openmetrics => TextFormat::OpenMetrics,
                }),
                block_range_ms: *block_duration,
                samples_in_memory: ImportOptions::SAMPLES_IN_MEMORY,
            };
            let fs: Arc<dyn Fs> = Arc::new(SystemFs);
            let report = import(&fs, &SystemClock::default(), &options, &mut Bar::new())?;
            output::emit(&match format {
                Format::Table => import_table(&report),
                Format::Json => serde_json::to_string_pretty(&report)?,
            })?;
            Ok(if report.conflicts == 0 { Done::Good } else { Done::Wrong })
        }
    }
}

fn import_table(report: &ImportReport) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["block", "from", "to", "series", "samples", "digest"]);
    let moment = |timestamp_ms| {
        jiff::Timestamp::from_millisecond(timestamp_ms)
            .map_or_else(|_| timestamp_ms.to_string(), |at| format!("{at:.3}"))
    };
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
    for (count, what) in [
        (report.resumed_samples, "samples were read by an interrupted import before"),
        (report.duplicates, "samples stood in the text twice, with one value"),
        (report.exemplars_skipped, "exemplars were left out: blocks do not hold them"),
        (report.future_blocks, "blocks begin later than now"),
        (report.conflicts, "samples were left out: the text has another value for the same series and time before"),
    ] {
        if count > 0 {
            text.push_str(&format!("{count} {what}\n"));
        }
    }
    for conflict in &report.conflicts_named {
        text.push_str(&format!("  {conflict}\n"));
    }
    text
}

/// Progress on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    fn show(&self, template: &str, done: u64, total: u64) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl ImportProgress for Bar {
    fn reading(&mut self, bytes: u64, total: u64) {
        self.show("reading {wide_bar} {bytes}/{total_bytes}, {eta} left", bytes, total);
    }

    fn writing(&mut self, blocks: u64, total: u64) {
        self.show("writing blocks {wide_bar} {pos}/{len}, {eta} left", blocks, total);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
