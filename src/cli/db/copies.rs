//! `db snapshot` and `db restore`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::Value;

use super::super::output::Done;
use super::super::{CommandResult, Format};
use super::{Bar, moment, open, report};
use crate::block::SnapshotManifest;
use crate::clock::{Clock as _, SystemClock};
use crate::fs::{DirLock, Fs, SystemFs, names};
use crate::net::{Connection, ServerUrl};
use crate::transfer::copy::{restore as restore_copy, snapshot as snapshot_dir};

pub(super) const SNAPSHOT_HELP: &str = "Examples:
  chronolith db snapshot data --to /backup/2026-01-01
  chronolith db snapshot --url http://127.0.0.1:9095

A snapshot is a directory of blocks: those that are there, as hard links where the file system can, and one more with what
only the log has, proven against the log. `db restore` makes a data directory of it again; Prometheus and promtool read it
too. A directory that a server has open is refused: with --url the server does it (`web.enable_admin_api`), below
`snapshots/` of its own data directory.";

pub(super) const RESTORE_HELP: &str = "Example:
  chronolith db restore /backup/2026-01-01 --data-dir data && chronolith serve --data-dir data

Takes snapshots of ours and of Prometheus. Each copied block is read whole, and has to hold what the snapshot says, by
count and digest, before any of them gets its name. The data directory has to be empty or absent; a restore that was
interrupted is begun anew when it is started again.";

/// How long a server may take for a snapshot.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes of its answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Args)]
pub(in super::super) struct SnapshotArgs {
    /// The data directory, which no server may have open
    #[arg(required_unless_present = "url", conflicts_with = "url", requires = "to")]
    dir: Option<PathBuf>,
    /// The directory that becomes the snapshot; it has to be empty or absent
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    to: Option<PathBuf>,
    /// The server that makes one in its own data directory
    #[arg(long)]
    url: Option<String>,
    /// With --url: without what only the log has
    #[arg(long, requires = "url")]
    skip_head: bool,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn snapshot(args: &SnapshotArgs) -> CommandResult {
    if let Some(url) = &args.url {
        return ask_server(url, args.skip_head, args.format);
    }
    let (Some(dir), Some(to)) = (&args.dir, &args.to) else { return Err("a directory and --to are needed".into()) };
    let db = open(dir)?;
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let bar = Bar::new();
    let mut progress =
        |done, total| bar.show("reading blocks {wide_bar} {bytes}/{total_bytes}, {eta} left", done, total);
    let made = snapshot_dir(&fs, &db, dir, to, SystemClock::default().now_ms(), &mut progress)?;
    drop(bar);
    report(args.format, &made, || format!("{}{} is complete\n", table(&made), to.display()))?;
    Ok(if db.warnings().is_empty() { Done::Good } else { Done::Wrong })
}

fn ask_server(url: &str, skip_head: bool, format: Format) -> CommandResult {
    let server = ServerUrl::parse(url)?;
    let path = format!("{}/api/v1/admin/tsdb/snapshot", server.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connection = Connection::new(&server, TIMEOUT, ANSWER_BYTES_MAX);
    let fields = [("skip_head", if skip_head { "true" } else { "false" })];
    let answer = runtime.block_on(connection.post_form(&path, &fields))?;
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let Some(name) = body["data"]["name"].as_str().filter(|_| body["status"] == "success") else {
        let text = body["error"].as_str().map_or_else(|| String::from_utf8_lossy(answer.body()).into(), str::to_owned);
        return Err(format!("{} answered {}: {}", server.authority(), answer.status(), text.trim_end()).into());
    };
    report(format, &body["data"], || {
        format!("{name}\nbelow {}/ of the server's data directory\n", names::SNAPSHOTS_DIR)
    })?;
    Ok(Done::Good)
}

#[derive(Debug, Args)]
pub(in super::super) struct RestoreArgs {
    /// The snapshot
    snapshot: PathBuf,
    /// The data directory that is made of it
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn restore(args: &RestoreArgs) -> CommandResult {
    // A server that runs on a directory has a lock there already, so it is not empty; here one is only looked for.
    if let Ok(None) = DirLock::acquire_existing(&args.data_dir.join(names::LOCK_FILE)) {
        return Err(format!("{} is in use by a server", args.data_dir.display()).into());
    }
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let bar = Bar::new();
    let mut progress = |done, total| bar.show("proving {wide_bar} {bytes}/{total_bytes}, {eta} left", done, total);
    let made = restore_copy(&fs, &args.snapshot, &args.data_dir, &mut progress)?;
    drop(bar);
    report(args.format, &made, || {
        format!("{}{} is restored, every block read whole and proven\n", table(&made), args.data_dir.display())
    })?;
    Ok(Done::Good)
}

fn table(report: &SnapshotManifest) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["block", "from", "to", "samples", "digest", "made of"]);
    for block in &report.blocks {
        table.add_row([
            block.ulid.to_string(),
            moment(block.min_time_ms),
            moment(block.max_time_ms),
            block.stored.samples.to_string(),
            block.stored.digest.to_string(),
            if block.from_log { "the log" } else { "a block" }.to_owned(),
        ]);
    }
    format!("{table}\n{} blocks, {}\n", report.blocks.len(), report.stored())
}
