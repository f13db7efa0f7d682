//! The command line: words typed become calls of the library.
//!
//! Exit codes: 0 done and good; 1 the check found something wrong; 2 it could not run. Results go to stdout, everything
//! else to stderr. A reader that closes the pipe early has what it wanted: that is success.

mod bench;
mod block;
mod config;
mod db;
mod dump;
mod health;
mod output;
mod promql;
mod query;
mod serve;
mod verify;
mod wal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::keys::KEYS;
use crate::config::{ConfigError, Resolved, Sources};
use crate::fs::SystemFs;
use crate::telemetry::log::{self, LogFormat};
use output::Done;

/// A Prometheus-compatible metrics store that can prove what it stored.
#[derive(Debug, Parser)]
#[command(
    name = "chronolith",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  chronolith serve\n  chronolith serve --data-dir /var/lib/chronolith --listen 0.0.0.0:9095\n  \
                  chronolith query 'sum by (job) (rate(http_requests_total[5m]))'\n  \
                  chronolith bench write --url http://127.0.0.1:9095 --series 1000 --receipts receipts.jsonl --verify\n  \
                  chronolith verify --data-dir data --receipts receipts.jsonl\n  \
                  chronolith db import history.om --data-dir data\n  chronolith db dump data --match 'up{job=\"node\"}'\n  chronolith config show\n\nExit codes: 0 done and good, 1 the check found something wrong, 2 it could not run."
)]
struct Cli {
    /// Which log lines go to stderr: error, warn, info, debug, trace, or a filter such as `info,chronolith::wal=debug`
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    log_level: String,

    /// The form of log lines
    #[arg(long, global = true, value_enum, default_value_t = LogForm::Text)]
    log_format: LogForm,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogForm {
    Text,
    Json,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON document, for programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    #[command(
        after_help = "Examples:\n  chronolith serve\n  chronolith serve --config chronolith.toml --wal.durability interval\n  \
                            CHRONOLITH_LISTEN=0.0.0.0:9095 chronolith serve --data-dir /data"
    )]
    Serve(ConfigFlags),
    /// Ask a server, or a data directory
    Query(query::QueryArgs),
    /// Ask a server whether it is well
    Health(health::HealthArgs),
    /// Prove a data directory: its log, its receipts, the head of the server that runs on it
    Verify(verify::VerifyArgs),
    /// Look inside a log, or repair it
    #[command(subcommand)]
    Wal(wal::WalCommand),
    /// Look at the blocks of a data directory
    #[command(subcommand)]
    Block(block::BlockCommand),
    /// Look inside a block's index
    #[command(subcommand)]
    Index(dump::IndexCommand),
    /// Look inside a block's chunk segments
    #[command(subcommand)]
    Chunk(dump::ChunkCommand),
    /// Look inside a block's tombstones
    #[command(subcommand)]
    Tombstones(dump::TombstonesCommand),
    /// What a data directory holds as a whole, and data in and out of it
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Look at PromQL: its syntax tree, its plans, its tests
    #[command(subcommand)]
    Promql(promql::PromqlCommand),
    /// Measure a server under a deterministic load
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Show, check or explain the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Runs the command that the arguments of the process name.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the command that `arguments` name; the first is the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A pipe that is closed while help is printed has had enough of it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let format = match cli.log_format {
        LogForm::Text => LogFormat::Text,
        LogForm::Json => LogFormat::Json,
    };
    if let Err(error) = log::init(format, &cli.log_level) {
        return output::exit(Err(error.into()));
    }
    output::exit(match cli.command {
        Command::Serve(flags) => serve::run(&flags),
        Command::Query(args) => query::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Wal(command) => wal::run(&command),
        Command::Block(command) => block::run(&command),
        Command::Index(command) => dump::run_index(&command),
        Command::Chunk(command) => dump::run_chunk(&command),
        Command::Tombstones(command) => dump::run_tombstones(&command),
        Command::Db(command) => db::run(&command),
        Command::Promql(command) => promql::run(&command),
        Command::Bench(command) => bench::run(&command),
        Command::Config(command) => config::run(&command),
    })
}

/// The configuration's flags: `--config`, and one for each key of the table.
#[derive(Debug, Default)]
struct ConfigFlags {
    file: Option<PathBuf>,
    values: Vec<(&'static str, String)>,
}

impl ConfigFlags {
    fn resolve(&self) -> Result<Resolved, ConfigError> {
        Resolved::load(&SystemFs, &Sources::of_process(self.file.clone(), self.values.clone()))
    }
}

const CONFIG_FLAG: &str = "config";

impl Args for ConfigFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = clap::Arg::new(CONFIG_FLAG)
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file with configuration keys");
        KEYS.iter().fold(command.arg(file), |command, key| {
            let help = format!("{} Takes {}. [default: {}] [env: {}]", key.help, key.allowed, key.default, key.env());
            let flag = clap::Arg::new(key.name)
                .long(key.flag())
                .value_name("VALUE")
                .action(ArgAction::Set)
                .help(help)
                .help_heading("Configuration");
            command.arg(if key.is_switch() { flag.num_args(0..=1).default_missing_value("true") } else { flag })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let value = |name| matches.get_one::<String>(name).cloned();
        Ok(ConfigFlags {
            file: matches.get_one::<PathBuf>(CONFIG_FLAG).cloned(),
            values: KEYS.iter().filter_map(|key| Some((key.name, value(key.name)?))).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

type CommandResult = Result<Done, Box<dyn std::error::Error>>;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn cli_definition_has_no_contradiction() {
        Cli::command().debug_assert();
    }

    #[test]
    fn cli_takes_a_flag_for_every_key() {
        for key in KEYS {
            let flag = format!("--{}", key.flag());
            let cli = Cli::try_parse_from(["chronolith", "serve", &flag, key.default]).unwrap();
            let Command::Serve(flags) = cli.command else { panic!("another command") };
            assert_eq!(flags.values, [(key.name, key.default.to_owned())]);
        }
    }

    #[test]
    fn cli_switch_without_a_value_is_on() {
        let cli = Cli::try_parse_from(["chronolith", "serve", "--web.enable-admin-api"]).unwrap();
        let Command::Serve(flags) = cli.command else { panic!("another command") };
        assert_eq!(flags.values, [("web.enable_admin_api", "true".to_owned())]);
    }
}
