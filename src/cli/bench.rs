//! `bench write`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::bench::{WriteOptions, run_write};
use crate::config::units::parse_duration;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Send a deterministic load: each value is a function of its series and scrape
    #[command(after_help = "Examples:\n  chronolith bench write --series 1000 --scrapes 100\n  \
                            chronolith bench write --url http://127.0.0.1:9095 --receipts receipts.jsonl --verify")]
    Write(WriteArgs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Protocol {
    /// Prometheus remote write 1.0
    RemoteWrite,
}

#[derive(Debug, Args)]
pub(super) struct WriteArgs {
    /// The server, or the full address of its write endpoint
    #[arg(long, default_value = "http://127.0.0.1:9095")]
    url: String,
    /// How the samples are sent
    #[arg(long, value_enum, default_value_t = Protocol::RemoteWrite)]
    protocol: Protocol,
    /// How many series
    #[arg(long, default_value_t = 10_000)]
    series: u64,
    /// Labels of a series, the metric name included
    #[arg(long, default_value_t = 10)]
    attributes: usize,
    /// How many samples each series gets; 0 sends until the duration is over
    #[arg(long, default_value_t = 60)]
    scrapes: u64,
    /// Time between two samples of a series
    #[arg(long, default_value = "15s", value_parser = duration)]
    interval: Duration,
    /// Time of the first sample, in seconds or RFC 3339; without it the last one is now
    #[arg(long, value_parser = moment)]
    start: Option<i64>,
    /// Samples of one request
    #[arg(long, default_value_t = 2000)]
    batch: usize,
    /// Connections; each sends its part of the series
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// End the load after this time
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Append a receipt for each acknowledged request to this file
    #[arg(long, value_name = "FILE")]
    receipts: Option<PathBuf>,
    /// Read everything back and compare value bits
    #[arg(long)]
    verify: bool,
    /// How long a request that the server cannot take is tried again
    #[arg(long, default_value = "30s", value_parser = duration)]
    retry_for: Duration,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "it is not a duration such as 15s, 1h30m or 500ms".to_owned())
}

fn moment(text: &str) -> Result<i64, String> {
    crate::api::params::parse_time(text)
}

pub(super) fn run(command: &BenchCommand) -> CommandResult {
    let BenchCommand::Write(args) = command;
    let Protocol::RemoteWrite = args.protocol;
    let options = WriteOptions {
        url: args.url.clone(),
        series: args.series,
        attributes: args.attributes,
        scrapes: (args.scrapes > 0).then_some(args.scrapes),
        interval: args.interval,
        start_ms: args.start,
        batch: args.batch,
        connections: args.connections,
        duration: args.duration,
        receipts: args.receipts.clone(),
        verify: args.verify,
        retry_for: args.retry_for,
        progress: true,
        ..WriteOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(run_write(options))?;
    output::emit(&match args.format {
        Format::Table => report.to_table(),
        Format::Json => serde_json::to_string_pretty(&report.to_json())?,
    })?;
    Ok(if report.is_good() { Done::Good } else { Done::Wrong })
}
