//! `bench write`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::bench::{Compression, Protocol, WriteOptions, run_write};
use crate::config::units::parse_duration;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Send a deterministic load: each value is a function of its series and scrape
    #[command(after_help = "Examples:\n  chronolith bench write --series 1000 --scrapes 100\n  \
                            chronolith bench write --url http://127.0.0.1:9095 --receipts receipts.jsonl --verify\n  \
                            chronolith bench write --preset otlp-40 --url http://127.0.0.1:4317 \
                            --query-url http://127.0.0.1:9095\n  \
                            chronolith bench write --protocol otlp-http --url http://victoria:8428/opentelemetry/v1/metrics")]
    Write(WriteArgs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProtocolName {
    /// Prometheus remote write 1.0
    RemoteWrite,
    /// Prometheus remote write 2.0
    #[value(name = "remote-write-2")]
    RemoteWrite2,
    /// OTLP over HTTP, in protobuf
    OtlpHttp,
    /// OTLP over gRPC
    OtlpGrpc,
    /// Prometheus' text format
    Text,
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::RemoteWrite => Protocol::RemoteWrite1,
            ProtocolName::RemoteWrite2 => Protocol::RemoteWrite2,
            ProtocolName::OtlpHttp => Protocol::OtlpHttp,
            ProtocolName::OtlpGrpc => Protocol::OtlpGrpc,
            ProtocolName::Text => Protocol::Text,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompressionName {
    /// Not at all
    None,
    /// snappy, the only one of remote write
    Snappy,
    /// gzip at its fastest
    Gzip,
    /// Zstandard at its fastest
    Zstd,
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::None => Compression::None,
            CompressionName::Snappy => Compression::Snappy,
            CompressionName::Gzip => Compression::Gzip,
            CompressionName::Zstd => Compression::Zstd,
        }
    }
}

/// A case by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// OTLP over gRPC with 40 attributes a point, read back at the end
    #[value(name = "otlp-40")]
    Otlp40,
}

#[derive(Debug, Args)]
pub(super) struct WriteArgs {
    /// The server, or the full address of its write endpoint
    #[arg(long, default_value = "http://127.0.0.1:9095")]
    url: String,
    /// The server that is asked for its metrics and for what was written, where that is another
    #[arg(long)]
    query_url: Option<String>,
    /// A case by its name: sets protocol, attributes and verify
    #[arg(long, value_enum, conflicts_with_all = ["protocol", "attributes"])]
    preset: Option<Preset>,
    /// How the samples are sent
    #[arg(long, value_enum, default_value_t = ProtocolName::RemoteWrite)]
    protocol: ProtocolName,
    /// How bodies are compressed; without it as such senders do: snappy, gzip for OTLP, none for text
    #[arg(long, value_enum)]
    compression: Option<CompressionName>,
    /// How many series
    #[arg(long, default_value_t = 10_000)]
    series: u64,
    /// Labels of a series, the metric name included; with OTLP attributes of a point, beside the name
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
    let (protocol, attributes, verify) = match args.preset {
        Some(Preset::Otlp40) => (Protocol::OtlpGrpc, 40, true),
        None => (args.protocol.into(), args.attributes, args.verify),
    };
    let options = WriteOptions {
        url: args.url.clone(),
        query_url: args.query_url.clone(),
        protocol,
        compression: args.compression.map(Compression::from),
        series: args.series,
        attributes,
        scrapes: (args.scrapes > 0).then_some(args.scrapes),
        interval: args.interval,
        start_ms: args.start,
        batch: args.batch,
        connections: args.connections,
        duration: args.duration,
        receipts: args.receipts.clone(),
        verify,
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
