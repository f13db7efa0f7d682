//! The running server's head, compared with the log series by series.
//!
//! `GET /api/v1/storage/head/digests` answers in text: a line `group <n>`, then one line for each series:
//! `<digest of its labels> <count of its samples> <sum of their digests>`. Warnings of the server's reads follow,
//! behind `# `.
//!
//! All groups before `n` have to be in the head, and nothing behind `n`. The head may be read while group `n` is still
//! being formed: what is accepted into the group after that is in the log and not in the answer. Since the log keeps
//! the order of acceptance, these are the last samples of the series, and the rest still has to be equal.

use std::collections::HashSet;
use std::time::Duration;

use super::VerifyError;
use super::replay::{Comparison, Replay};
use super::report::Stage;
use crate::model::Digest;
use crate::net::{Connection, ServerUrl};
use crate::proof::SeriesNames;

/// Where the server tells.
const PATH: &str = "/api/v1/storage/head/digests";
/// A line has at least 66 bytes, so this is more series than a head can hold.
const ANSWER_BYTES_MAX: usize = 8 << 30;
/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How many differences are told with their labels.
const NAMED_MAX: usize = 20;

/// The head as the server tells it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LiveHead {
    /// The last group that is in it.
    pub group: u64,
    series: Vec<(Digest, u64, Digest)>,
    warnings: Vec<String>,
}

impl LiveHead {
    /// Asks the server.
    pub fn fetch(server: &str) -> Result<Self, VerifyError> {
        let failed = |reason: String| VerifyError::Live { reason };
        let url = ServerUrl::parse(server).map_err(|error| failed(error.to_string()))?;
        // A thread of its own: the caller may be within a runtime already.
        let asked = std::thread::scope(|scope| scope.spawn(|| ask(&url)).join());
        let text = asked.map_err(|_panic| failed("the request broke off".to_owned()))?.map_err(failed)?;
        LiveHead::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let group = header.strip_prefix("group ").and_then(|number| number.parse().ok());
        let group = group.ok_or_else(|| format!("answer begins with {header:?} instead of `group <n>`"))?;
        let (mut series, mut warnings) = (Vec::new(), Vec::new());
        for (number, line) in (2u64..).zip(lines) {
            if let Some(warning) = line.strip_prefix("# ") {
                warnings.push(warning.to_owned());
                continue;
            }
            let mut fields = line.split(' ');
            let parsed = (|| {
                let labels = Digest::from_hex(fields.next()?)?;
                let samples = fields.next()?.parse().ok()?;
                Some((labels, samples, Digest::from_hex(fields.next()?)?))
            })();
            series.push(parsed.ok_or_else(|| format!("line {number} of the answer is {line:?}"))?);
        }
        Ok(LiveHead { group, series, warnings })
    }

    /// What the head has otherwise than the log.
    pub(super) fn compare(&self, replay: &Replay) -> Differences {
        let mut differences =
            Differences { group: self.group, warnings: self.warnings.clone(), ..Differences::default() };
        // Groups are counted from 1.
        let log_ends_at = replay.last_group().unwrap_or(0);
        differences.log_ends_at = (log_ends_at < self.group).then_some(log_ends_at);
        let mut in_head = HashSet::with_capacity(self.series.len());
        for &(labels, samples, digest) in &self.series {
            in_head.insert(labels);
            match replay.compare(labels, samples, digest) {
                Comparison::Equal => differences.count(samples, 0),
                Comparison::Later(later) => differences.count(samples, later),
                Comparison::Different { log_samples } if log_samples == samples => {
                    differences.add(labels, format!("{samples} samples in both, with other values"));
                }
                Comparison::Different { log_samples } => {
                    differences.add(labels, format!("{samples} samples in the head, {log_samples} in the log"));
                }
            }
        }
        for (labels, samples) in replay.series().filter(|(labels, _)| !in_head.contains(labels)) {
            match replay.compare(labels, 0, Digest::ZERO) {
                Comparison::Later(later) => differences.later += later,
                _ => differences.add(labels, format!("not in the head, {samples} samples in the log")),
            }
        }
        differences
    }
}

fn ask(url: &ServerUrl) -> Result<String, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut connection = Connection::new(url, TIMEOUT, ANSWER_BYTES_MAX);
        let path = format!("{}{PATH}", url.path());
        let response = connection.get(&path).await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            let text = String::from_utf8_lossy(response.body());
            let line: String = text.lines().next().unwrap_or_default().chars().take(300).collect();
            return Err(format!("{path} answered {}: {line}", response.status()));
        }
        String::from_utf8(response.into_body().into()).map_err(|error| error.to_string())
    })
}

/// What differs between head and log.
#[derive(Debug, Default)]
pub(super) struct Differences {
    group: u64,
    equal: u64,
    samples: u64,
    /// Samples of the group that were accepted after the head was read.
    later: u64,
    different: u64,
    /// The first ones: the series' labels digest, and what differs.
    named: Vec<(Digest, String)>,
    /// The log's last group, where the head is ahead of it.
    log_ends_at: Option<u64>,
    warnings: Vec<String>,
}

impl Differences {
    fn count(&mut self, samples: u64, later: u64) {
        self.equal += 1;
        self.samples += samples;
        self.later += later;
    }

    fn add(&mut self, labels: Digest, what: String) {
        self.different += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push((labels, what));
        }
    }

    /// The differences that are told one by one.
    pub(super) fn named(&self) -> &[(Digest, String)] {
        &self.named
    }

    /// Puts the series' labels before what differs.
    pub(super) fn name(&mut self, names: &SeriesNames) {
        for (labels, what) in &mut self.named {
            *what = format!("{}: {what}", names.describe(*labels));
        }
    }

    /// The stage's result.
    pub(super) fn stage(&self) -> Stage {
        let mut stage = Stage::new("live");
        stage.summary =
            format!("{} series, {} samples equal in head and log at group {}", self.equal, self.samples, self.group);
        if let Some(last) = self.log_ends_at {
            stage.find(|| format!("the head is at group {}, the log ends with group {last}", self.group));
        }
        if self.later > 0 {
            stage.note(format!("{} samples of group {} were accepted after the head was read", self.later, self.group));
        }
        for warning in &self.warnings {
            stage.find(|| format!("the server warns: {warning}"));
        }
        for (_, what) in &self.named {
            stage.find(|| what.clone());
        }
        stage.findings_total += self.different - self.named.len() as u64;
        stage.number("group", self.group);
        stage.number("series_equal", self.equal);
        stage.number("series_different", self.different);
        stage.number("samples", self.samples);
        stage.number("samples_later", self.later);
        stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_read_line_by_line() {
        let text = format!("group 12\n{} 3 {}\n# a chunk is damaged\n", Digest(1), Digest(2));
        let head = LiveHead {
            group: 12,
            series: vec![(Digest(1), 3, Digest(2))],
            warnings: vec!["a chunk is damaged".to_owned()],
        };
        assert_eq!(LiveHead::parse(&text), Ok(head));
        assert_eq!(LiveHead::parse("group 0"), Ok(LiveHead::default()));
    }

    #[test]
    fn answer_that_is_something_else_is_refused() {
        for text in ["", "{}", "group x", "group 1\nabc 1 def", &format!("group 1\n{} 3\n", Digest(1))] {
            assert!(LiveHead::parse(text).is_err(), "{text:?}");
        }
    }
}
