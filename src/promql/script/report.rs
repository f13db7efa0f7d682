//! The outcome of several scripts as text: counts per file, what failed, and one closing line.

use std::fmt::{self, Write};

use super::ScriptReport;

/// Longest reason that is shown of a failure, in bytes.
const REASON_BYTES_MAX: usize = 400;

/// The outcome of all scripts together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Queries that gave what they should.
    pub passed: usize,
    /// Queries that did not.
    pub failed: usize,
    /// Queries among the failed ones that do not parse.
    pub unparsed: usize,
}

impl Totals {
    /// The sums over all reports.
    pub fn of<'r>(reports: impl IntoIterator<Item = &'r ScriptReport>) -> Self {
        reports.into_iter().fold(Totals::default(), |sum, report| Totals {
            passed: sum.passed + report.passed,
            failed: sum.failed + report.failed,
            unparsed: sum.unparsed + report.unparsed,
        })
    }
}

/// Writes what failed file by file, then the counts per file, then `N passed, N failed` as the last line. Each report
/// stands beside the name of its file.
pub fn write_reports(reports: &[(String, ScriptReport)], out: &mut dyn Write) -> fmt::Result {
    for (name, report) in reports {
        for failure in &report.failures {
            let reason = shortened(&failure.reason);
            let query = if failure.query.is_empty() { String::new() } else { format!(" {}:", failure.query) };
            writeln!(out, "{name}:{}:{query} {reason}", failure.line)?;
        }
    }
    let width = reports.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, report) in reports {
        write!(out, "{name:width$}  {:>5} passed {:>5} failed", report.passed, report.failed)?;
        if report.unparsed > 0 {
            write!(out, ", {} of them do not parse", report.unparsed)?;
        }
        writeln!(out)?;
    }
    let totals = Totals::of(reports.iter().map(|(_, report)| report));
    writeln!(out, "{} passed, {} failed", totals.passed, totals.failed)
}

fn shortened(reason: &str) -> String {
    if reason.len() <= REASON_BYTES_MAX {
        return reason.to_owned();
    }
    let end = (0..=REASON_BYTES_MAX).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
    format!("{}...", &reason[..end])
}

#[cfg(test)]
mod tests {
    use super::super::Failure;
    use super::*;

    #[test]
    fn reports_end_with_the_sums_over_all_files() {
        let failure = Failure { line: 7, query: "up".to_owned(), reason: "x".repeat(500) };
        let bad = ScriptReport { passed: 1, failed: 1, unparsed: 1, failures: vec![failure] };
        let good = ScriptReport { passed: 12, ..ScriptReport::default() };
        let mut text = String::new();
        write_reports(&[("a.test".to_owned(), bad), ("long.test".to_owned(), good)], &mut text).expect("a string");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("a.test:7: up: xxx") && lines[0].ends_with("x..."));
        assert_eq!(lines[1], "a.test         1 passed     1 failed, 1 of them do not parse");
        assert_eq!(lines[2], "long.test     12 passed     0 failed");
        assert_eq!(lines[3], "13 passed, 1 failed");
    }
}
