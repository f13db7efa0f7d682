//! The command line.

use std::path::PathBuf;
use std::time::Duration;

/// What is shown where the command line is not understood.
pub const HELP: &str =
    "chronolith-fuzz [--target NAME]... [--seed N] [--count N] [--seconds N] [--input FILE] [--kept DIR] [--list]

  --target   only this one; all where none is named
  --seed     the same seed gives the same inputs (1)
  --count    inputs for each target (20000)
  --seconds  end a target after this time, whatever the count
  --input    run this input and no other
  --kept     where inputs are that once failed (testdata/fuzz)
  --list     name the targets";

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    targets: Vec<String>,
    /// Where randomness comes from.
    pub seed: u64,
    /// Inputs for each target.
    pub count: u64,
    /// Time for each target.
    pub limit: Option<Duration>,
    /// The only input.
    pub input: Option<PathBuf>,
    /// Inputs that once failed, by target.
    pub kept: PathBuf,
    /// Name the targets and do nothing.
    pub list: bool,
    /// Set in the process that runs one target: where to say which input it is at.
    pub current: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/fuzz");
        let (targets, limit, input, current) = (Vec::new(), None, None, None);
        let mut options = Options { targets, seed: 1, count: 20_000, limit, input, kept, list: false, current };
        while let Some(name) = arguments.next() {
            if name == "--list" {
                options.list = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name}: no value follows, or no such flag"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name}: {value:?} is no number"));
            match name.as_str() {
                "--target" => options.targets.push(value),
                "--seed" => options.seed = number()?,
                "--count" => options.count = number()?,
                "--seconds" => options.limit = Some(Duration::from_secs(number()?)),
                "--input" => options.input = Some(value.into()),
                "--kept" => options.kept = value.into(),
                "--current" => options.current = Some(value.into()),
                _ => return Err(format!("no such flag: {name}")),
            }
        }
        Ok(options)
    }

    /// Whether a target is to run.
    pub fn names(&self, target: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|name| name == target)
    }
}
