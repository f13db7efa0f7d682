//! `health`: whether a server is well, for people, and for probes in images that hold no other HTTP client.

use std::time::Duration;

use clap::Args;
use hyper::StatusCode;
use serde_json::Value;

use super::output::{self, Done};
use super::{CommandResult, Format};
use crate::net::{Connection, ServerUrl};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  chronolith health\n  chronolith health --alive\n  chronolith health --url http://10.0.0.7:9095 --format json\n\n\
                        Ends with 0 where it serves or starts, 1 where its log cannot be written, 2 where it does not answer. \
                        Whether it takes writes yet, /-/ready tells. With --alive, 0 means that the process answers at all, \
                        on a full disk too."
)]
pub(super) struct HealthArgs {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:9095")]
    url: String,
    /// Ask only whether the process answers: what a restart could mend
    #[arg(long)]
    alive: bool,
    /// How long it may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(args: &HealthArgs) -> CommandResult {
    let server = ServerUrl::parse(&args.url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connection = Connection::new(&server, Duration::from_secs(args.timeout), ANSWER_BYTES_MAX);
    let path = format!("{}{}", server.path(), if args.alive { "/-/healthy" } else { "/health" });
    let answer = runtime.block_on(connection.get(&path))?;
    let text = String::from_utf8_lossy(answer.body());
    let wants_credential = matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if args.alive {
        // Who asks for a credential is there.
        let is_alive = answer.status() == StatusCode::OK || wants_credential;
        output::emit(text.trim_end())?;
        return Ok(if is_alive { Done::Good } else { Done::Wrong });
    }
    let body: Value = match serde_json::from_str(&text) {
        Ok(body) if !wants_credential => body,
        _ => return Err(format!("{} answered {}: {}", server.authority(), answer.status(), text.trim_end()).into()),
    };
    output::emit(&match args.format {
        Format::Json => serde_json::to_string_pretty(&body)?,
        Format::Table => summary(&body),
    })?;
    Ok(if answer.status() == StatusCode::OK { Done::Good } else { Done::Wrong })
}

/// The status, and in lines of their own what a person should look at.
fn summary(body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![text(&body["status"])];
    if let Some(failure) = body["wal"]["failure"].as_str() {
        lines.push(format!("log: {failure}"));
    }
    let alarms = body["alarms"].as_array().into_iter().flatten();
    lines.extend(alarms.map(|alarm| format!("{}: {}", text(&alarm["about"]), text(&alarm["alarm"]))));
    if let Some(replay) = body.get("replay") {
        lines.push(format!("replay: {} of {} bytes", replay["bytes_done"], replay["bytes_total"]));
    }
    lines.join("\n")
}
