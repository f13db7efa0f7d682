//! `db`: what a data directory holds as a whole, and data in and out of it.

mod copies;
mod import;
mod read;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;
use super::{CommandResult, Format};
use crate::api::params::parse_time;
use crate::clock::SystemClock;
use crate::db::{OfflineDb, OpenError};
use crate::fs::SystemFs;
use crate::model::TimestampMs;

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Turn text, Prometheus' format or OpenMetrics, into blocks of any age; also beside a running server
    #[command(after_help = import::HELP)]
    Import(import::ImportArgs),
    /// Write samples as `promtool tsdb dump` does: one line each, with labels, value and time
    #[command(after_help = read::DUMP_HELP)]
    Dump(read::DumpArgs),
    /// Write samples as OpenMetrics or Prometheus text that can be imported again
    #[command(after_help = read::EXPORT_HELP)]
    Export(read::ExportArgs),
    /// Say what the series are made of: cardinality, churn, the labels and metrics that count most
    #[command(after_help = read::ANALYZE_HELP)]
    Analyze(read::AnalyzeArgs),
    /// Make a consistent copy: of a directory that no server has open, or by asking the server
    #[command(after_help = copies::SNAPSHOT_HELP)]
    Snapshot(copies::SnapshotArgs),
    /// Copy a snapshot into an empty data directory, and prove the copy
    #[command(after_help = copies::RESTORE_HELP)]
    Restore(copies::RestoreArgs),
}

pub(super) fn run(command: &DbCommand) -> CommandResult {
    match command {
        DbCommand::Import(args) => import::run(args),
        DbCommand::Dump(args) => read::dump(args),
        DbCommand::Export(args) => read::export(args),
        DbCommand::Analyze(args) => read::analyze(args),
        DbCommand::Snapshot(args) => copies::snapshot(args),
        DbCommand::Restore(args) => copies::restore(args),
    }
}

/// Opens a directory to look at it, and says what is missing.
pub(super) fn open(dir: &Path) -> Result<OfflineDb, Box<dyn std::error::Error>> {
    let bar = Bar::new();
    bar.message("reading the log {spinner}");
    let opened = OfflineDb::open(dir, Arc::new(SystemFs), Arc::new(SystemClock::default()));
    drop(bar);
    let db = opened.map_err(|error| match &error {
        OpenError::InUse { .. } => format!(
            "{} is in use by a server: ask that with `query`, or make a snapshot with `db snapshot --url URL` and use \
             that",
            dir.display()
        )
        .into(),
        _ => Box::<dyn std::error::Error>::from(error),
    })?;
    for warning in db.warnings() {
        output::say(&format!("warning: {warning}"));
    }
    Ok(db)
}

/// A time as promtool takes it, in whole milliseconds, or in RFC 3339.
fn parse_milliseconds(text: &str) -> Result<TimestampMs, String> {
    text.parse().or_else(|_| {
        let is_date = text.contains('T');
        is_date.then(|| parse_time(text)).and_then(Result::ok).ok_or_else(|| {
            format!("{text:?} is neither a number of milliseconds nor a time such as 2026-01-01T00:00:00Z")
        })
    })
}

/// A time for people.
fn moment(timestamp_ms: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(timestamp_ms)
        .map_or_else(|_| timestamp_ms.to_string(), |moment| format!("{moment:.3}"))
}

/// A report, in the form that was asked for.
fn report(format: Format, report: &impl serde::Serialize, table: impl FnOnce() -> String) -> std::io::Result<()> {
    match format {
        Format::Table => output::emit(&table()),
        Format::Json => output::emit(&serde_json::to_string_pretty(report)?),
    }
}

/// Progress on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    fn message(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }

    fn show(&self, template: &str, done: u64, total: u64) {
        self.message(template);
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
