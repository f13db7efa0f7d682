//! How a command ends: what it says on stdout, and the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

/// How a command that could run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// Done, and good.
    Good,
    /// A check found something wrong.
    Wrong,
}

/// The exit code of a command; an error is said on stderr with its causes.
pub(super) fn exit(result: super::CommandResult) -> ExitCode {
    match result {
        Ok(Done::Good) => ExitCode::SUCCESS,
        Ok(Done::Wrong) => ExitCode::from(1),
        Err(error) if is_closed_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                let part = error.to_string();
                // Errors that name their source in their own text need no second time.
                if !text.contains(&part) {
                    text.push_str(&format!(": {part}"));
                }
                cause = error.source();
            }
            say(&text);
            ExitCode::from(2)
        }
    }
}

/// Says something to people.
pub(super) fn say(text: &str) {
    // Where stderr is closed nobody can be told.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a result.
pub(super) fn emit(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
