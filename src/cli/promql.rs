//! `promql parse`, `promql explain` and `promql test`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::api::params::{parse_duration_ms, parse_time};
use crate::clock::{Clock as _, SystemClock};
use crate::fs::{Fs as _, SystemFs};
use crate::model::TimestampMs;
use crate::promql::engine::{Engine, EngineOptions, Explanation, QueryOptions};
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
    /// Show how an expression would be evaluated and which times it would read, without any data
    #[command(after_help = "Examples:\n  chronolith promql explain 'sum by (job) (rate(http_requests_total[5m]))'\n  \
                            chronolith promql explain up --start 1767225600 --end 1767229200 --step 1m\n\n\
                            A server says how many series that touches: GET /api/v1/query_explain.")]
    Explain(ExplainArgs),
    /// Run scripts in Prometheus' PromQL test language
    #[command(after_help = "Example:\n  chronolith promql test testdata/promql/*.test\n\n\
                            The last line is `N passed, N failed`. The exit code is 1 if any query failed.")]
    Test {
        /// The scripts
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The expression
    expr: String,
    /// The moment of evaluation, in seconds or RFC 3339; now, where it is left out
    #[arg(long, value_parser = parse_time, conflicts_with_all = ["start", "end", "step"])]
    time: Option<TimestampMs>,
    /// First moment of a range
    #[arg(long, value_parser = parse_time, requires_all = ["end", "step"])]
    start: Option<TimestampMs>,
    /// Last moment of a range
    #[arg(long, value_parser = parse_time, requires = "start")]
    end: Option<TimestampMs>,
    /// Time between two moments of a range, such as 15s
    #[arg(long, value_parser = parse_duration_ms, requires = "start")]
    step: Option<i64>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(command: &PromqlCommand) -> CommandResult {
    match command {
        PromqlCommand::Parse { expr, format } => parse(expr, *format),
        PromqlCommand::Explain(args) => explain(args),
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

fn explain(args: &ExplainArgs) -> CommandResult {
    let clock = Arc::new(SystemClock::default());
    let (start_ms, end_ms) = match (args.start, args.end) {
        (Some(start_ms), Some(end_ms)) => (start_ms, end_ms),
        _ => {
            let time_ms = args.time.unwrap_or_else(|| clock.now_ms());
            (time_ms, time_ms)
        }
    };
    let engine = Engine::new(EngineOptions::default(), clock);
    let plan = parse_expr(&args.expr).map_err(|error| error.to_string()).and_then(|expr| {
        let step_ms = args.step.unwrap_or_default();
        let plan = engine.explain(None, &expr, start_ms, end_ms, step_ms, &QueryOptions::default());
        plan.map_err(|error| error.to_string())
    });
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            output::say(&format!("error: {error}"));
            return Ok(Done::Wrong);
        }
    };
    output::emit(&match args.format {
        Format::Table => plan_text(&plan),
        Format::Json => serde_json::to_string_pretty(&plan.to_json())?,
    })?;
    Ok(Done::Good)
}

/// The nodes of a plan, each below what takes its value, and a table of what the selectors read.
fn plan_text(plan: &Explanation) -> String {
    let mut text = String::new();
    for node in &plan.nodes {
        text.push_str(&format!("{:indent$}{}\n", "", node.text, indent = 2 * node.depth));
    }
    let moment = |ms: TimestampMs| {
        jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |moment| moment.to_string())
    };
    if !plan.selectors.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["SELECTOR", "READ FROM", "TO"]);
        for one in &plan.selectors {
            table.add_row([one.selector.clone(), moment(one.read.start_ms), moment(one.read.end_ms)]);
        }
        text.push_str(&format!("\n{}", table.trim_fmt()));
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_shows_each_node_and_what_each_selector_reads() {
        let engine = Engine::new(EngineOptions::default(), Arc::new(SystemClock::default()));
        let expr = parse_expr("sum(rate(up[1m]))").unwrap();
        let plan = engine.explain(None, &expr, 60_000, 60_000, 0, &QueryOptions::default()).unwrap();
        let text = plan_text(&plan);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines[..4],
            [
                "aggregation sum, folding each series as it comes",
                "  function rate, series by series",
                "    range selector up[1m]",
                ""
            ]
        );
        assert!(lines[5].contains("up[1m]") && lines[5].contains("1970-01-01T00:01:00Z"), "{text}");
        assert!(plan.to_json()["selectors"][0]["series"].is_null());
    }
}
