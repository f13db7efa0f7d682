//! `db dump`, `db export` and `db analyze`: what is in a directory that no server has open.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use ulid::Ulid;

use super::super::output::{self, Done};
use super::super::{CommandResult, Format};
use super::{moment, open, parse_milliseconds, report};
use crate::fs::{Fs as _, SystemFs, WriteFile};
use crate::model::{Matcher, TimeRange, TimestampMs};
use crate::promql::parser::parse_selector;
use crate::text::TextFormat;
use crate::transfer::analyze::{Analysis, Ranked, analyze as analyze_parts};
use crate::transfer::text_out::{self, DumpFormat, Selection, TextOutError, TextReport};

pub(super) const DUMP_HELP: &str = "Examples:
  chronolith db dump data
  chronolith db dump data --match 'up{job=\"node\"}' --min-time 2026-01-01T00:00:00Z --max-time 1767229200000
  diff <(chronolith db dump data) <(promtool tsdb dump data)

Blocks, and what only the log has: also in a directory that Prometheus wrote. Nothing is written, so it may be a
read-only copy. A directory that a server has open is refused: make a snapshot with `db snapshot --url`, and dump that.
Damage ends the dump, with its place; `db export` leaves it out, and says what is missing.";

pub(super) const EXPORT_HELP: &str = "Examples:
  chronolith db export data --output all.om
  chronolith db export data --match '{job=\"node\"}' | gzip > node.om.gz
  chronolith db export data --format prometheus --output all.prom

What it writes, `db import` and `promtool tsdb create-blocks-from openmetrics` take back. Neither format can say staleness
markers and native histograms: they are left out and counted. A directory that a server has open is refused.

Exit code 1: some samples could not be read, and the text lacks them.";

pub(super) const ANALYZE_HELP: &str = "Examples:
  chronolith db analyze data
  chronolith db analyze data 01JA0000000000000000000000 --limit 5
  chronolith db analyze data --match '{job=\"node\"}' --format json

Churn is the share of a part's time that a series does not cover, summed up: 1 for a series that is never there, 0 for one
that is there from the beginning to the end. A directory that a server has open is refused.";

/// Which samples.
#[derive(Debug, Args)]
struct SelectionArgs {
    /// Only series that this selector matches; may be given several times
    #[arg(long = "match", value_name = "SELECTOR")]
    selectors: Vec<String>,
    /// The first time, in milliseconds or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_milliseconds, allow_hyphen_values = true)]
    min_time: Option<TimestampMs>,
    /// The last time, in milliseconds or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_milliseconds, allow_hyphen_values = true)]
    max_time: Option<TimestampMs>,
}

impl SelectionArgs {
    fn selection(&self) -> Result<Selection, Box<dyn std::error::Error>> {
        let selectors: Result<Vec<Vec<Matcher>>, _> = self.selectors.iter().map(|text| parse_selector(text)).collect();
        let start_ms = self.min_time.unwrap_or(TimeRange::ALL.start_ms);
        let end_ms = self.max_time.unwrap_or(TimeRange::ALL.end_ms);
        if start_ms > end_ms {
            return Err("--min-time is later than --max-time".into());
        }
        Ok(Selection { selectors: selectors?, range: TimeRange::new(start_ms, end_ms) })
    }
}

/// The lines of a dump.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DumpForm {
    /// As `promtool tsdb dump`, times in milliseconds
    Samples,
    /// As `promtool tsdb dump-openmetrics`, times in seconds
    Openmetrics,
}

#[derive(Debug, Args)]
pub(in super::super) struct DumpArgs {
    /// The data directory
    #[arg(default_value = "./data")]
    dir: PathBuf,
    #[command(flatten)]
    selection: SelectionArgs,
    /// The lines
    #[arg(long, value_enum, default_value_t = DumpForm::Samples)]
    format: DumpForm,
}

pub(super) fn dump(args: &DumpArgs) -> CommandResult {
    let selection = args.selection.selection()?;
    let db = open(&args.dir)?;
    let format = match args.format {
        DumpForm::Samples => DumpFormat::Samples,
        DumpForm::Openmetrics => DumpFormat::OpenMetrics,
    };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let written = text_out::dump(db.parts(), &selection, format, &mut out).map_err(unwrap_write)?;
    out.flush()?;
    say(&written);
    Ok(if db.warnings().is_empty() { Done::Good } else { Done::Wrong })
}

/// The text of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExportForm {
    /// OpenMetrics, times in seconds
    Openmetrics,
    /// Prometheus' text format, times in milliseconds
    Prometheus,
}

#[derive(Debug, Args)]
pub(in super::super) struct ExportArgs {
    /// The data directory
    #[arg(default_value = "./data")]
    dir: PathBuf,
    #[command(flatten)]
    selection: SelectionArgs,
    /// The file that gets the text, which must not exist yet; standard output where it is left out
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format of the text
    #[arg(long, value_enum, default_value_t = ExportForm::Openmetrics)]
    format: ExportForm,
}

pub(super) fn export(args: &ExportArgs) -> CommandResult {
    let selection = args.selection.selection()?;
    let db = open(&args.dir)?;
    let format = match args.format {
        ExportForm::Openmetrics => TextFormat::OpenMetrics,
        ExportForm::Prometheus => TextFormat::Prometheus,
    };
    let sink: Box<dyn Write> = match &args.output {
        Some(path) => {
            let created = SystemFs.create(path);
            Box::new(NewFile(created.map_err(|error| format!("create {}: {error}", path.display()))?))
        }
        None => Box::new(io::stdout().lock()),
    };
    let mut out = BufWriter::with_capacity(1 << 16, sink);
    let written = text_out::export(&*db.queryable(), &selection, format, &mut out).map_err(unwrap_write)?;
    out.flush()?;
    say(&written);
    let is_whole = db.warnings().is_empty() && written.warnings.is_empty();
    Ok(if is_whole { Done::Good } else { Done::Wrong })
}

/// A file that is on the disk when it is flushed.
struct NewFile(Box<dyn WriteFile>);

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A reader that closes the pipe is told by the system's own error.
fn unwrap_write(error: TextOutError) -> Box<dyn std::error::Error> {
    match error {
        TextOutError::Write(error) => error.into(),
        other => other.into(),
    }
}

fn say(report: &TextReport) {
    for warning in &report.warnings {
        output::say(&format!("warning: {warning}"));
    }
    for (count, what) in [
        (report.stale_skipped, "staleness markers were left out: the format has none"),
        (report.histograms_skipped, "native histograms were left out: the format has none"),
    ] {
        if count > 0 {
            output::say(&format!("{count} {what}"));
        }
    }
}

#[derive(Debug, Args)]
pub(in super::super) struct AnalyzeArgs {
    /// The data directory
    #[arg(default_value = "./data")]
    dir: PathBuf,
    /// Only this block
    block: Option<Ulid>,
    /// Only series that this selector matches
    #[arg(long = "match", value_name = "SELECTOR")]
    selector: Option<String>,
    /// Entries of each list
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn analyze(args: &AnalyzeArgs) -> CommandResult {
    let matchers = args.selector.as_deref().map(parse_selector).transpose()?.unwrap_or_default();
    let db = open(&args.dir)?;
    let mut parts = db.parts();
    if let Some(block) = args.block {
        parts.retain(|part| part.name == block.to_string());
        if parts.is_empty() {
            return Err(format!("{} has no block {block}", args.dir.display()).into());
        }
    }
    let analysis = analyze_parts(parts, &matchers, args.limit)?;
    report(args.format, &analysis, || analysis_tables(&analysis))?;
    Ok(if db.warnings().is_empty() { Done::Good } else { Done::Wrong })
}

fn analysis_tables(analysis: &Analysis) -> String {
    let mut table = Table::new();
    let header = ["PART", "FROM", "TO", "SERIES", "CHUNKS", "SAMPLES", "BYTES/SAMPLE", "CHURN"];
    table.load_style(presets::NOTHING).set_header(header);
    for part in &analysis.parts {
        table.add_row([
            part.name.clone(),
            moment(part.min_time_ms),
            moment(part.max_time_ms),
            part.series.to_string(),
            part.chunks.to_string(),
            part.samples.to_string(),
            format!("{:.2}", part.chunk_bytes as f64 / part.samples.max(1) as f64),
            format!("{:.2}", part.churn),
        ]);
    }
    let mut text = table.trim_fmt();
    text.push_str(&format!(
        "\n\n{} series, counted in each part that has them; {} distinct labels of {} names\n",
        analysis.series, analysis.label_pairs, analysis.label_names
    ));
    for (title, ranked) in [
        ("Metrics with the most series", &analysis.metrics_by_series),
        ("Label names with the most values", &analysis.names_by_values),
        ("Label names with the longest values in all, in bytes", &analysis.names_by_bytes),
        ("Labels of the most series", &analysis.pairs_by_series),
        ("Labels whose series come and go most", &analysis.pairs_by_churn),
        ("Label names whose series come and go most", &analysis.names_by_churn),
    ] {
        if !ranked.is_empty() {
            text.push_str(&format!("\n{title}\n{}\n", ranked_table(ranked)));
        }
    }
    text
}

fn ranked_table(ranked: &[Ranked]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for one in ranked {
        let value = if one.value.fract() == 0.0 { format!("{:.0}", one.value) } else { format!("{:.2}", one.value) };
        // A value may hold anything.
        table.add_row([value, one.name.escape_debug().to_string()]);
    }
    table.trim_fmt()
}
