//! `config show`, `config check` and `config reference`; hashes of passwords and new tokens for the web configuration file.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Subcommand;
use comfy_table::{Table, presets};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::output::{self, Done};
use super::{CommandResult, ConfigFlags, Format};
use crate::config::{ConfigError, Resolved, Sources, reference};
use crate::fs::SystemFs;
use crate::server::doors;

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
    /// Check a file, with the environment on top, and the web configuration file that it names
    #[command(after_help = "Example:\n  chronolith config check chronolith.toml")]
    Check {
        /// The file; without it the environment alone is checked
        file: Option<PathBuf>,
    },
    /// Print the reference of all keys as Markdown: what each does, takes, and is by default, with examples
    #[command(after_help = "Example:\n  chronolith config reference > configuration.md")]
    Reference,
    /// Hash a password for `basic_auth_users` of the web configuration file
    #[command(
        after_help = "The password is the first line of stdin.\n\nExample:\n  chronolith config hash-password < password.txt"
    )]
    HashPassword,
    /// Make a token for `bearer_tokens` of the web configuration file
    #[command(after_help = "Example:\n  chronolith config new-token --name agents --rights write")]
    NewToken {
        /// The name under which its requests are counted
        #[arg(long)]
        name: String,
        /// What it may do: read, write, admin
        #[arg(long, value_delimiter = ',', default_value = "write", value_parser = ["read", "write", "admin"])]
        rights: Vec<String>,
    },
}

pub(super) fn run(command: &ConfigCommand) -> CommandResult {
    match command {
        ConfigCommand::Show { flags, format } => show(&flags.resolve()?, *format),
        ConfigCommand::Check { file } => {
            let sources = Sources::of_process(file.clone(), Vec::new());
            match Resolved::load(&SystemFs, &sources) {
                Ok(resolved) => {
                    let web = resolved.config.web.config_file.as_deref();
                    if let Some(Err(error)) = web.map(|path| doors::check(path, &SystemFs)) {
                        output::say(&format!("error: {error}"));
                        return Ok(Done::Wrong);
                    }
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
        ConfigCommand::Reference => {
            output::emit(&reference::markdown())?;
            Ok(Done::Good)
        }
        ConfigCommand::HashPassword => {
            output::emit(&doors::hash_password(&read_password()?)?)?;
            Ok(Done::Good)
        }
        ConfigCommand::NewToken { name, rights } => {
            let (token, hash) = doors::new_token()?;
            output::say("the token, for the sender:");
            output::emit(&token)?;
            let name = serde_json::Value::from(name.as_str());
            let rights = rights.join(", ");
            output::say("for the web configuration file:\n\nbearer_tokens:");
            output::say(&format!("  - {{name: {name}, sha256: {hash}, rights: [{rights}]}}"));
            Ok(Done::Good)
        }
    }
}

/// The first line of stdin. A terminal does not show it while it is typed.
fn read_password() -> io::Result<String> {
    let stdin = io::stdin();
    let shown = if stdin.is_terminal() {
        let before = tcgetattr(&stdin)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        io::stderr().write_all(b"password: ")?;
        tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
        Some(before)
    } else {
        None
    };
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if let Some(before) = shown {
        tcsetattr(&stdin, OptionalActions::Flush, &before)?;
        io::stderr().write_all(b"\n")?;
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
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
