//! Log lines: to stderr, as text for people or as JSON for programs.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line of text.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The level is none.
    #[error(
        "log level {level:?} is not allowed: error, warn, info, debug, trace, or a filter such as info,chronolith::wal=debug"
    )]
    Level {
        /// What was asked for.
        level: String,
    },
    /// Logging was set up before.
    #[error("logging was set up twice")]
    Twice,
}

/// Sends log lines of `level` and above to stderr, for the whole process.
pub fn init(format: LogFormat, level: &str) -> Result<(), LogError> {
    let filter = filter(level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let done = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    done.map_err(|_| LogError::Twice)
}

/// The filter of a level, or of levels for parts of the program.
fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let refused = || LogError::Level { level: level.to_owned() };
    // Another word than a level would be taken for a part of the program, and be the only one that is heard.
    let mut words = level.split(',').filter(|part| !part.contains(['=', '[']));
    if words.any(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(refused());
    }
    EnvFilter::builder().parse(level).map_err(|_| refused())
}

/// What the log is told in this thread while `f` runs: for tests.
#[cfg(test)]
pub(crate) fn captured(f: impl FnOnce()) -> String {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, f);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_is_one_of_the_levels_alone_or_of_a_part_of_the_program() {
        for level in
            ["error", "WARN", "off", "info,chronolith::wal=debug", "chronolith=trace", "[flush]=debug,info", ""]
        {
            assert!(filter(level).is_ok(), "{level:?}");
        }
        for level in ["warning", "verbose", "info,debugg", "chronolith::wal", "warn ", "info,chronolith=loud"] {
            let error = filter(level).unwrap_err().to_string();
            assert!(error.contains(&format!("{level:?} is not allowed")), "{error}");
        }
    }
}
