//! Runs a target in a process of its own, and finds what that process cannot tell: that it died, or that it hangs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::run;
use crate::targets::Target;

/// Between two looks at the process.
const POLL: Duration = Duration::from_millis(20);
/// An input that takes longer is a finding.
const HANG: Duration = Duration::from_secs(30);

/// Whether nothing was found.
pub fn watch(target: &Target, options: &Options) -> bool {
    let current = std::env::temp_dir().join(format!("chronolith-fuzz-{}-{}", std::process::id(), target.name));
    let good = watch_with(target, options, &current);
    // It is not there if the process did not get to its first input.
    let _ = fs::remove_file(current);
    good
}

fn watch_with(target: &Target, options: &Options, current: &Path) -> bool {
    let program = std::env::current_exe().expect("a running program has a file");
    let mut command = Command::new(program);
    command.args(["--target", target.name, "--seed", &options.seed.to_string(), "--count", &options.count.to_string()]);
    command.arg("--kept").arg(&options.kept).arg("--current").arg(current);
    if let Some(limit) = options.limit {
        command.args(["--seconds", &limit.as_secs().to_string()]);
    }
    if let Some(input) = &options.input {
        command.arg("--input").arg(input);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{}: cannot be started: {error}", target.name);
            return false;
        }
    };
    let (mut before, mut since) = (None, Instant::now());
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.code().is_some() => return status.success(),
            Ok(Some(status)) => return found(target, options, current, &status.to_string()),
            Ok(None) => {}
            Err(error) => {
                eprintln!("{}: cannot be waited for: {error}", target.name);
                return false;
            }
        }
        let now = run::read_current(current).map(|(number, _)| number);
        if now != before {
            (before, since) = (now, Instant::now());
        }
        if since.elapsed() > HANG {
            // An error means that it ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return found(target, options, current, &format!("no end within {HANG:?}"));
        }
        thread::sleep(POLL);
    }
}

fn found(target: &Target, options: &Options, current: &Path, what: &str) -> bool {
    let input = run::read_current(current).map(|(_, input)| input).unwrap_or_default();
    run::keep(target, &options.kept, &input, what);
    false
}
