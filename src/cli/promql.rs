//! `promql parse` and `promql test`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::clock::SystemClock;
use crate::fs::{Fs as _, SystemFs};
use crate::promql::parser::{format, parse_expr, to_json, tree_text};
use crate::promql::script::{ScriptOptions, report, run_script};

#[derive(Debug, Subcommand)]
pub(super) enum PromqlCommand {
    /// Show the syntax tree of an expression, or the place of its fault
    #[command(after_help = "Examples:\n  chronolith promql parse 'sum by (job) (rate(http_requests_total[5m]))'\n  \
                            chronolith promql parse --format json 'up offset 5m'")]
    Parse {
        /// The expression
        expr: String,
        /// The form of the report: the text laid out and the tree, or the tree as Prometheus' API shows it
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Run scripts in Prometheus' PromQL test language
    #[command(after_help = "Example:\n  chronolith promql test testdata/promql/*.test\n\n\
                            The last line is `N passed, N failed`. The exit code is 1 if any query failed.")]
    Test {
        /// The scripts
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

pub(super) fn run(command: &PromqlCommand) -> CommandResult {
    match command {
        PromqlCommand::Parse { expr, format } => parse(expr, *format),
        PromqlCommand::Test { files } => test(files),
    }
}

fn parse(text: &str, form: Format) -> CommandResult {
    let expr = match parse_expr(text) {
        Ok(expr) => expr,
        Err(error) => {
            output::say(&format!("error: {error}"));
            return Ok(Done::Wrong);
        }
    };
    output::emit(&match form {
        Format::Table => format!("{}\n\n{}", format(&expr), tree_text(&expr)),
        Format::Json => serde_json::to_string_pretty(&to_json(&expr))?,
    })?;
    Ok(Done::Good)
}

fn test(files: &[PathBuf]) -> CommandResult {
    let options = ScriptOptions::new(Arc::new(SystemClock::default()));
    let mut reports = Vec::with_capacity(files.len());
    for path in files {
        let name = path.display().to_string();
        let bytes = SystemFs.read(path).map_err(|error| format!("read {name}: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|error| format!("read {name}: {error}"))?;
        reports.push((name, run_script(&text, &options)));
    }
    let mut text = String::new();
    report::write_reports(&reports, &mut text)?;
    output::emit(&text)?;
    let totals = report::Totals::of(reports.iter().map(|(_, report)| report));
    Ok(if totals.failed == 0 { Done::Good } else { Done::Wrong })
}
