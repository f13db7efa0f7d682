//! `query`: asks a server, or a directory that no server has open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use comfy_table::{Table, presets};
use serde_json::Value;

use super::output::{self, Done};
use super::{CommandResult, Format, db};
use crate::api::params::{parse_duration_ms, parse_time};
use crate::api::value_json;
use crate::clock::{Clock as _, SystemClock};
use crate::net::{Connection, ServerUrl};
use crate::promql::annotations::Level;
use crate::promql::engine::{Engine, EngineOptions, QueryOptions};
use crate::promql::parser::parse_expr;

/// How long an answer may take: longer than any query may.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 30;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  chronolith query up\n  chronolith query 'rate(http_requests_total[5m])' --time 2026-01-01T00:00:00Z\n  \
                        chronolith query up --start 1767225600 --end 1767229200 --step 1m --format json\n  \
                        chronolith query 'count({__name__=~\".+\"})' --data-dir /backup/data --time 2026-01-01T00:00:00Z\n\n\
                        A directory that a server has open is refused: ask the server. Nothing is written to it."
)]
pub(super) struct QueryArgs {
    /// The PromQL expression
    expr: String,
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:9095")]
    url: String,
    /// A data directory that no server has open, one of Prometheus too: it is asked instead of a server
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    /// The moment that is asked for, in seconds or RFC 3339; now, where it is left out
    #[arg(long, conflicts_with_all = ["start", "end", "step"])]
    time: Option<String>,
    /// First moment of a range
    #[arg(long, requires_all = ["end", "step"])]
    start: Option<String>,
    /// Last moment of a range
    #[arg(long, requires = "start")]
    end: Option<String>,
    /// Time between two moments of a range, such as 15s
    #[arg(long, requires = "start")]
    step: Option<String>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(args: &QueryArgs) -> CommandResult {
    if let Some(dir) = &args.data_dir {
        return ask_directory(args, dir);
    }
    let server = ServerUrl::parse(&args.url)?;
    let mut fields = vec![("query", args.expr.as_str())];
    for (name, value) in [("time", &args.time), ("start", &args.start), ("end", &args.end), ("step", &args.step)] {
        fields.extend(value.as_deref().map(|value| (name, value)));
    }
    let endpoint = if args.start.is_some() { "query_range" } else { "query" };
    let path = format!("{}/api/v1/{endpoint}", server.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connection = Connection::new(&server, TIMEOUT, ANSWER_BYTES_MAX);
    let answer = runtime.block_on(connection.post_form(&path, &fields))?;
    let Ok(body) = serde_json::from_slice::<Value>(answer.body()) else {
        let text = String::from_utf8_lossy(answer.body());
        return Err(format!("{} answered {}: {}", server.authority(), answer.status(), text.trim_end()).into());
    };
    if body["status"] != "success" {
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        output::say(&format!("error: {}: {}", text("errorType"), text("error")));
        return Ok(Done::Wrong);
    }
    for note in [&body["warnings"], &body["infos"]].into_iter().filter_map(Value::as_array).flatten() {
        output::say(note.as_str().unwrap_or_default());
    }
    emit(args.format, &body["data"])?;
    Ok(Done::Good)
}

fn emit(format: Format, data: &Value) -> Result<(), Box<dyn std::error::Error>> {
    Ok(output::emit(&match format {
        Format::Json => serde_json::to_string_pretty(data)?,
        Format::Table => table(data),
    })?)
}

/// Evaluates the expression here, over a directory.
fn ask_directory(args: &QueryArgs, dir: &Path) -> CommandResult {
    let clock = Arc::new(SystemClock::default());
    let time = |text: &Option<String>| text.as_deref().map(parse_time).transpose();
    let (start, end) = (time(&args.start)?, time(&args.end)?);
    let at_ms = time(&args.time)?.unwrap_or_else(|| clock.now_ms());
    let step = args.step.as_deref().map(parse_duration_ms).transpose()?;
    let expr = match parse_expr(&args.expr) {
        Ok(expr) => expr,
        Err(fault) => {
            output::say(&format!("error: {fault}"));
            return Ok(Done::Wrong);
        }
    };
    let data = db::open(dir)?;
    let engine = Engine::new(EngineOptions::default(), clock);
    let options = QueryOptions::default();
    let result = match (start, end, step) {
        (Some(start_ms), Some(end_ms), Some(step_ms)) if step_ms > 0 && start_ms <= end_ms => {
            engine.range(&*data.queryable(), &expr, start_ms, end_ms, step_ms, &options)
        }
        (None, None, None) => engine.instant(&*data.queryable(), &expr, at_ms, &options),
        _ => return Err("a range needs --start, a later --end, and a --step above zero".into()),
    };
    let result = match result {
        Ok(result) => result,
        Err(fault) => {
            output::say(&format!("error: {fault}"));
            return Ok(Done::Wrong);
        }
    };
    let notes = [Level::Warning, Level::Info].map(|level| result.annotations.render(level, &args.expr));
    for note in notes.iter().flatten().chain(&result.storage_warnings) {
        output::say(note);
    }
    emit(args.format, &serde_json::from_slice(&value_json(&result.value)?)?)?;
    let is_whole = data.warnings().is_empty() && result.storage_warnings.is_empty();
    Ok(if is_whole { Done::Good } else { Done::Wrong })
}

/// One row for each point.
fn table(data: &Value) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["SERIES", "TIME", "VALUE"]);
    let mut add = |series: &str, point: &Value| {
        let value = point[1].as_str().map_or_else(|| point[1].to_string(), str::to_owned);
        table.add_row([series.to_owned(), time(&point[0]), value]);
    };
    match data["resultType"].as_str() {
        Some(kind @ ("scalar" | "string")) => add(kind, &data["result"]),
        _ => {
            for series in data["result"].as_array().into_iter().flatten() {
                let name = series_name(&series["metric"]);
                for key in ["value", "histogram"] {
                    if !series[key].is_null() {
                        add(&name, &series[key]);
                    }
                }
                for point in ["values", "histograms"].iter().filter_map(|key| series[*key].as_array()).flatten() {
                    add(&name, point);
                }
            }
        }
    }
    table.trim_fmt()
}

fn time(seconds: &Value) -> String {
    let ms = seconds.as_f64().map(|seconds| (seconds * 1000.0).round() as i64);
    let moment = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| seconds.to_string(), |moment| moment.to_string())
}

fn series_name(metric: &Value) -> String {
    let Some(labels) = metric.as_object() else { return String::new() };
    let name = labels.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    if pairs.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", pairs.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_table_has_a_row_for_each_point() {
        let data = serde_json::json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "values": [[1, "1"], [1.5, "NaN"]]},
            {"metric": {}, "values": [[1, "2"]]},
        ]});
        let text = table(&data);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("up{job=\"a\"}") && text.contains("1970-01-01T00:00:01.5Z"), "{text}");
        let text = table(&serde_json::json!({"resultType": "scalar", "result": [0, "42"]}));
        assert!(text.contains("scalar") && text.contains("42"), "{text}");
    }
}
