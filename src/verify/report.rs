//! What a verification found, for people and for programs.

use std::path::Path;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::wal::LogScan;

/// How many findings of a stage are kept in words.
const FINDINGS_MAX: usize = 20;

/// Whether a stage proved what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    /// All of it.
    Proven,
    /// Not all of it: what would show the rest is not there, and nothing tells that it should be.
    Unproven,
    /// Something is missing or wrong.
    Wrong,
}

/// One stage.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// What it proved.
    pub status: StageStatus,
    /// The stage in one line.
    pub summary: String,
    /// What is missing or wrong: the first findings.
    pub findings: Vec<String>,
    /// How many findings there are.
    pub findings_total: u64,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
    /// The stage's numbers.
    pub numbers: serde_json::Map<String, serde_json::Value>,
}

impl Stage {
    pub(super) fn new(name: &'static str) -> Self {
        Stage {
            name,
            status: StageStatus::Proven,
            summary: String::new(),
            findings: Vec::new(),
            findings_total: 0,
            notes: Vec::new(),
            numbers: serde_json::Map::new(),
        }
    }

    /// Adds something that is missing or wrong.
    pub(super) fn find(&mut self, finding: impl FnOnce() -> String) {
        self.status = StageStatus::Wrong;
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding());
        }
    }

    /// Adds something that can be neither shown nor refuted.
    pub(super) fn leave_open(&mut self, what: &str) {
        if self.status == StageStatus::Proven {
            self.status = StageStatus::Unproven;
        }
        self.note(format!("not proven: {what}"));
    }

    /// Adds something that is worth knowing.
    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < FINDINGS_MAX {
            self.notes.push(note);
        }
    }

    pub(super) fn number(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.numbers.insert(name.to_owned(), value.into());
    }
}

/// The outcome of all stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was asked for is proven.
    Proven,
    /// Nothing wrong was found, and not everything can be shown any more.
    Unproven,
    /// Something is missing or wrong.
    Wrong,
    /// Nothing wrong was found, and not everything could be looked at.
    CouldNotRun,
}

/// Numbers of the log.
#[derive(Debug, Clone, Serialize)]
pub struct LogNumbers {
    /// Files read.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// First and last sealed group.
    pub groups: Option<(u64, u64)>,
    /// Sealed groups.
    pub sealed_groups: u64,
    /// Acknowledged requests.
    pub requests: u64,
    /// Samples that the seals tell.
    pub sealed_samples: u64,
    /// Records under a seal.
    pub sealed_records: u64,
    /// Records without one.
    pub unsealed_records: u64,
    /// Damaged places.
    pub damages: u64,
    /// Bytes behind the last seal.
    pub tail_bytes: u64,
}

impl From<&LogScan> for LogNumbers {
    fn from(log: &LogScan) -> Self {
        LogNumbers {
            segments: log.segments.len() as u64,
            bytes: log.segments.iter().map(|segment| segment.bytes).sum(),
            groups: log.groups,
            sealed_groups: log.sealed_groups,
            requests: log.requests,
            sealed_samples: log.sealed_samples,
            sealed_records: log.sealed_records,
            unsealed_records: log.unsealed_records,
            damages: log.damages.len() as u64,
            tail_bytes: log.torn_tail.as_ref().map_or(0, |tail| tail.bytes),
        }
    }
}

/// What a verification found.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// The directory.
    pub data_dir: String,
    /// The stages that ran.
    pub stages: Vec<Stage>,
    /// Numbers of the log.
    pub log: Option<LogNumbers>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
    /// Why a stage could not run.
    pub error: Option<String>,
}

impl VerifyReport {
    pub(super) fn new(data_dir: &Path) -> Self {
        VerifyReport {
            data_dir: data_dir.display().to_string(),
            stages: Vec::new(),
            log: None,
            notes: Vec::new(),
            error: None,
        }
    }

    /// The outcome of all stages.
    pub fn verdict(&self) -> Verdict {
        if self.stages.iter().any(|stage| stage.status == StageStatus::Wrong) {
            Verdict::Wrong
        } else if self.error.is_some() {
            Verdict::CouldNotRun
        } else if self.stages.iter().any(|stage| stage.status == StageStatus::Unproven) {
            Verdict::Unproven
        } else {
            Verdict::Proven
        }
    }

    /// 0 proven, 1 something is missing or wrong, 2 could not run, or not over everything.
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            Verdict::Proven => 0,
            Verdict::Wrong => 1,
            Verdict::Unproven | Verdict::CouldNotRun => 2,
        }
    }

    /// The report as one JSON document.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let (Some(document), Ok(verdict)) = (value.as_object_mut(), serde_json::to_value(self.verdict())) {
            document.insert("verdict".to_owned(), verdict);
        }
        value
    }

    /// The report as a table, findings, and a line with the verdict.
    pub fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["stage", "result", "what"]);
        for stage in &self.stages {
            let result = match stage.status {
                StageStatus::Proven => "proven".to_owned(),
                StageStatus::Unproven => "not proven".to_owned(),
                StageStatus::Wrong => format!("WRONG ({})", stage.findings_total),
            };
            table.add_row([stage.name.to_owned(), result, stage.summary.clone()]);
        }
        let mut out = if self.stages.is_empty() { String::new() } else { format!("{table}\n") };
        for stage in &self.stages {
            for finding in &stage.findings {
                out.push_str(&format!("{}: {finding}\n", stage.name));
            }
            let untold = stage.findings_total.saturating_sub(stage.findings.len() as u64);
            if untold > 0 {
                out.push_str(&format!("{}: and {untold} more\n", stage.name));
            }
            for note in &stage.notes {
                out.push_str(&format!("{}: note: {note}\n", stage.name));
            }
        }
        for note in &self.notes {
            out.push_str(&format!("note: {note}\n"));
        }
        if let Some(error) = &self.error {
            out.push_str(&format!("could not run: {error}\n"));
        }
        out.push_str(match self.verdict() {
            Verdict::Proven => "verdict: proven",
            Verdict::Unproven => "verdict: not proven, nothing wrong was found and not everything can be shown",
            Verdict::Wrong => "verdict: WRONG, something is missing or damaged",
            Verdict::CouldNotRun => "verdict: could not run",
        });
        out
    }
}
