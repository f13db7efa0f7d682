//! `config show` and `config check`.

use std::path::PathBuf;

use clap::Subcommand;
use comfy_table::{Table, presets};

use super::output::{self, Done};
use super::{CommandResult, ConfigFlags, Format};
use crate::config::{ConfigError, Resolved, Sources};
use crate::fs::SystemFs;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show every key with its value and where that came from
    #[command(
        after_help = "Examples:\n  chronolith config show\n  chronolith config show --config chronolith.toml --format json"
    )]
    Show {
        #[command(flatten)]
        flags: ConfigFlags,
        /// The form of the report
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Check a file, with the environment on top
    #[command(after_help = "Example:\n  chronolith config check chronolith.toml")]
    Check {
        /// The file; without it the environment alone is checked
        file: Option<PathBuf>,
    },
}

pub(super) fn run(command: &ConfigCommand) -> CommandResult {
    match command {
        ConfigCommand::Show { flags, format } => show(&flags.resolve()?, *format),
        ConfigCommand::Check { file } => {
            let sources = Sources::of_process(file.clone(), Vec::new());
            match Resolved::load(&SystemFs, &sources) {
                Ok(_) => {
                    output::emit("the configuration is valid")?;
                    Ok(Done::Good)
                }
                Err(error @ ConfigError::Read { .. }) => Err(error.into()),
                Err(error) => {
                    output::say(&format!("error: {error}"));
                    Ok(Done::Wrong)
                }
            }
        }
    }
}

fn show(resolved: &Resolved, format: Format) -> CommandResult {
    let text = match format {
        Format::Table => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header(["KEY", "VALUE", "FROM"]);
            for shown in resolved.shown() {
                table.add_row([shown.key.to_owned(), shown.value, shown.origin.to_string()]);
            }
            table.trim_fmt()
        }
        Format::Json => {
            let keys = resolved.shown().map(|shown| {
                let origin = shown.origin.to_string();
                (shown.key.to_owned(), serde_json::json!({"value": shown.value, "origin": origin}))
            });
            serde_json::to_string_pretty(&serde_json::Value::Object(keys.collect()))?
        }
    };
    output::emit(&text)?;
    Ok(Done::Good)
}
