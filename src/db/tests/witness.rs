//! A store, what was sent to it, what it acknowledged, and all checks that can be made of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::exemplars::Exemplar;
use crate::fs::Fs;
use crate::head::MetadataEntry;
use crate::model::{Matcher, ReceiptLine};
use crate::storage::ExemplarSample;
use crate::verify::{StageStatus, VerifyOptions, VerifyReport, verify};

const RECEIPTS: &str = "/receipts.jsonl";

/// What finds bugs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// A block made from the head is compared with the log before it counts.
    FlushProof,
    /// A compacted block is compared with its parents before it counts.
    Conservation,
    /// A block is read whole.
    Scrub,
    /// The head and the ledger are compared with the log.
    LogProof,
    /// A stage of the command.
    Stage(&'static str),
    /// Any other step that failed.
    Step,
    /// What is refused, and what is not.
    Verdicts,
    /// What queries give, compared with a map.
    Answers,
    /// The same after a power loss.
    PowerLoss,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::FlushProof => f.write_str("proof of the flush"),
            Check::Conservation => f.write_str("conservation of the compaction"),
            Check::Scrub => f.write_str("scrub of the block"),
            Check::LogProof => f.write_str("proof of the log in the server"),
            Check::Stage(name) => write!(f, "`verify --deep`, stage {name}"),
            Check::Step => f.write_str("the step fails"),
            Check::Verdicts => f.write_str("what senders are told"),
            Check::Answers => f.write_str("answers against a map"),
            Check::PowerLoss => f.write_str("answers after a power loss"),
        }
    }
}

/// A finding.
#[derive(Debug)]
pub(super) struct Caught {
    pub(super) check: Check,
    pub(super) words: String,
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.words)
    }
}

pub(super) type Found<T = ()> = Result<T, Caught>;

pub(super) fn caught<T>(check: Check, words: impl fmt::Display) -> Found<T> {
    Err(Caught { check, words: words.to_string() })
}

/// Turns the failure of a step into a finding of the check that is part of it.
pub(super) trait OrCaught<T> {
    fn or_caught(self, check: Check) -> Found<T>;
}

impl<T, E: fmt::Display> OrCaught<T> for Result<T, E> {
    fn or_caught(self, check: Check) -> Found<T> {
        self.or_else(|error| caught(check, error))
    }
}

/// A store and its history.
pub(super) struct Witness {
    /// With what was acknowledged and not deleted.
    pub(super) store: Store,
    /// What was sent, acknowledged or not, and not deleted.
    sent: Model,
    /// Deletions that were not acknowledged: they may have taken effect.
    doubtful: Vec<(String, TimeRange)>,
    receipts: Vec<ReceiptLine>,
    /// What was acknowledged.
    exemplars: BTreeMap<LabelSet, Vec<Exemplar>>,
    /// Help of metric families.
    families: BTreeMap<String, String>,
}

pub(super) fn minute(minute: i64) -> i64 {
    START + minute * MINUTE
}

impl Witness {
    pub(super) fn new(options: DbOptions) -> Self {
        Witness {
            store: Store::new(options),
            sent: Model::new(),
            doubtful: Vec::new(),
            receipts: Vec::new(),
            exemplars: BTreeMap::new(),
            families: BTreeMap::new(),
        }
    }

    pub(super) fn db(&self) -> &Db {
        &self.store.db
    }

    /// Sends samples of one time. Gives what was said of them; an error where they were not acknowledged.
    pub(super) fn send(&mut self, at_ms: i64, series: &[(&str, f64)]) -> Result<BatchOutcome, String> {
        let sets: Vec<LabelSet> =
            series.iter().map(|(name, _)| LabelSet::from_pairs([("__name__", "up"), ("job", *name)])).collect();
        let raw: Vec<Vec<u8>> = sets
            .iter()
            .map(|set| {
                let mut out = Vec::new();
                encode_canonical(set.iter(), &mut out);
                out
            })
            .collect();
        let mut batch = WriteBatch::default();
        for (labels, (name, value)) in raw.iter().zip(series) {
            // One series is of histograms.
            let value = if *name == "late" { histogram(*value) } else { SampleValue::Float(*value) };
            push_sample(&mut batch, labels, at_ms, value);
        }
        for (set, (_, value)) in sets.iter().zip(series) {
            self.sent.entry(set.clone()).or_default().insert(at_ms, value.to_bits());
        }
        let store = &mut self.store;
        store.advance_to(at_ms);
        let text = |error: CommitError| error.to_string();
        let (outcome, durable) = store.db.append(&batch, store.clock.now_ms()).map_err(text)?;
        let receipt = durable.wait().map_err(text)?;
        self.receipts.push(ReceiptLine {
            commit: receipt.commit,
            digest: receipt.digest,
            samples: receipt.samples,
            durability: "fsync".to_owned(),
            sent_at_ms: at_ms,
        });
        let is_refused = |index: usize| outcome.rejects.iter().any(|reject| reject.series_index == index);
        for (index, (set, (_, value))) in sets.into_iter().zip(series).enumerate() {
            if !is_refused(index) {
                store.model.entry(set).or_default().insert(at_ms, value.to_bits());
            }
        }
        Ok(outcome)
    }

    /// Sends samples that have to be accepted.
    pub(super) fn give(&mut self, at_ms: i64, series: &[(&str, f64)]) -> Found {
        let outcome = self.send(at_ms, series).or_caught(Check::Step)?;
        match outcome.added == series.len() as u64 {
            true => Ok(()),
            false => {
                caught(Check::Verdicts, format!("{} added of {}: {:?}", outcome.added, series.len(), outcome.rejects))
            }
        }
    }

    /// Sends an exemplar of a series that is there, by itself, newer than those before.
    pub(super) fn exemplify(&mut self, at_ms: i64, name: &str, value: f64) -> Found {
        let set = LabelSet::from_pairs([("__name__", "up"), ("job", name)]);
        let labels = LabelSet::from_pairs([("trace_id", format!("{at_ms}").as_str())]);
        let [mut series, mut own] = [Vec::new(), Vec::new()];
        encode_canonical(set.iter(), &mut series);
        encode_canonical(labels.iter(), &mut own);
        let mut batch = WriteBatch::default();
        batch.series.push(SeriesEntry { labels: RawLabels(&series), samples: 0..0 });
        batch.exemplars.push(ExemplarSample { entry: 0, labels: RawLabels(&own), timestamp_ms: at_ms, value });
        let (outcome, durable) = self.store.db.append(&batch, at_ms).or_caught(Check::Step)?;
        durable.wait().or_caught(Check::Step)?;
        if outcome.exemplars != 1 {
            return caught(Check::Verdicts, format!("exemplar: {:?}", outcome.exemplar_rejects));
        }
        self.exemplars.entry(set).or_default().push(Exemplar { labels, timestamp_ms: at_ms, value });
        Ok(())
    }

    /// States something about a metric family.
    pub(super) fn state(&mut self, family: &str, help: &str) -> Found {
        let entry = MetadataEntry { help: help.to_owned(), ..MetadataEntry::default() };
        self.db().record_metadata(vec![(family, entry)]).or_caught(Check::Step)?;
        let (_, durable) = self.db().append(&WriteBatch::default(), START).or_caught(Check::Step)?;
        durable.wait().or_caught(Check::Step)?;
        self.families.insert(family.to_owned(), help.to_owned());
        Ok(())
    }

    /// Sends a sample that has to be refused, because there is another value of its time.
    pub(super) fn contradict(&mut self, at_ms: i64, name: &str, value: f64) -> Found {
        let outcome = self.send(at_ms, &[(name, value)]).or_caught(Check::Step)?;
        match outcome.rejects.first().map(|reject| reject.reason.as_str()) {
            Some("duplicate_timestamp") => Ok(()),
            other => caught(Check::Verdicts, format!("another value of a time that is there: {other:?}")),
        }
    }

    /// Samples of some series, a minute apart.
    pub(super) fn fill(&mut self, minutes: std::ops::Range<i64>, names: &[&str]) -> Found {
        for at in minutes {
            let series: Vec<(&str, f64)> =
                names.iter().zip(1..).map(|(name, number)| (*name, at as f64 * 0.1 + f64::from(number))).collect();
            self.give(minute(at), &series)?;
        }
        Ok(())
    }

    /// Deletes what a series has from one time to another, both included.
    pub(super) fn delete(&mut self, name: &str, start_ms: i64, end_ms: i64) -> Found {
        let range = TimeRange::new(start_ms, end_ms);
        self.doubtful.push((name.to_owned(), range));
        self.db().delete_series(&[Matcher::equal("job", name)], range).or_caught(Check::Step)?;
        self.doubtful.pop();
        for model in [&mut self.store.model, &mut self.sent] {
            let of_series = model.iter_mut().filter(|(labels, _)| labels.get("job") == Some(name));
            of_series.for_each(|(_, samples)| samples.retain(|at_ms, _| !range.contains(*at_ms)));
            model.retain(|_, samples| !samples.is_empty());
        }
        Ok(())
    }

    /// Closes and opens again.
    pub(super) fn restart(&mut self, options: DbOptions) -> Found {
        self.store.db.close();
        self.store.db = open(&self.store.fs, &self.store.clock, options).or_caught(Check::Step)?;
        Ok(())
    }

    /// Asks every check.
    pub(super) fn look(&self, when: &str) -> Found {
        let at = |check: Check| move |words: String| Caught { check, words: format!("{when}: {words}") };
        for block in self.db().blocks() {
            let found = self.db().verify_block(block.meta.ulid).map(|check| check.findings).unwrap_or_default();
            found.into_iter().next().map_or(Ok(()), Err).map_err(at(Check::Scrub))?;
        }
        let proof = self.db().verify().or_caught(Check::LogProof)?;
        proof.findings.into_iter().next().map_or(Ok(()), Err).map_err(at(Check::LogProof))?;
        self.verify_deep().map_err(|found| at(found.check)(found.words))?;
        self.answers(&self.store.db).map_err(at(Check::Answers))?;
        let exemplars: BTreeMap<_, _> =
            self.db().head().exemplars(&[Vec::new()], TimeRange::ALL, &|| true).into_iter().flatten().collect();
        let count = |of: &BTreeMap<LabelSet, Vec<Exemplar>>| of.values().map(Vec::len).sum::<usize>();
        let families: BTreeMap<_, _> =
            self.db().head().metadata(None).into_iter().map(|(family, entry)| (family, entry.help)).collect();
        // What is known of a family goes with its last series.
        if families != self.families && self.db().head().series_count() > 0 {
            return Err(at(Check::Answers)(format!("metadata of {families:?} instead of {:?}", self.families)));
        }
        match exemplars == self.exemplars {
            true => Ok(()),
            false => {
                let (found, sent) = (count(&exemplars), count(&self.exemplars));
                Err(at(Check::Answers)(format!("{found} exemplars of {sent} that were acknowledged")))
            }
        }
    }

    /// The power goes off now, and the store is opened again.
    pub(super) fn crash(&mut self, seed: u64, options: DbOptions) -> Found {
        let disk = self.store.fs.crash(seed);
        self.store.db.close();
        self.store.db = open(&disk, &self.store.clock, options).or_caught(Check::PowerLoss)?;
        self.store.fs = disk;
        Ok(())
    }

    /// Numbers of requests have to rise.
    pub(super) fn numbers_rise(&self) -> Found {
        let is_again = |pair: &&[ReceiptLine]| pair[0].commit >= pair[1].commit;
        self.receipts.windows(2).find(is_again).map_or(Ok(()), |pair| {
            caught(Check::Verdicts, format!("commit {} was given before, up to {}", pair[1].commit, pair[0].commit))
        })
    }

    /// The command `verify --receipts` finds nothing wrong, whether or not all can be proven.
    pub(super) fn nothing_is_wrong(&self) -> Found {
        let report = self.verify(&self.store.fs, false);
        if let Some(stage) = report.stages.iter().find(|stage| !stage.findings.is_empty()) {
            return caught(Check::Stage(stage.name), stage.findings.join("; "));
        }
        report.error.map_or(Ok(()), Err).or_caught(Check::Stage("log"))
    }

    /// The command `verify --receipts`, of a disk.
    pub(super) fn verify(&self, disk: &SimFs, deep: bool) -> VerifyReport {
        let lines: Vec<String> = self.receipts.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        disk.set_content(Path::new(RECEIPTS), (lines.join("\n") + "\n").into_bytes());
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let receipts = Some(RECEIPTS.into());
        verify(&fs, &VerifyOptions { data_dir: DATA.into(), receipts, deep, ..VerifyOptions::default() })
    }

    fn verify_deep(&self) -> Found {
        let report = self.verify(&self.store.fs, true);
        if let Some(stage) = report.stages.iter().find(|stage| stage.status != StageStatus::Proven) {
            return caught(Check::Stage(stage.name), stage.findings.join("; "));
        }
        report.error.map_or(Ok(()), Err).or_caught(Check::Stage("log"))
    }

    /// What was acknowledged is there, and what is there was sent and not deleted.
    pub(super) fn is_kept(&self, db: &Db) -> Result<(), String> {
        let (found, warning) = ask_with_warning(db, &[])?;
        let is_doubtful = |labels: &LabelSet, at_ms: i64| {
            self.doubtful.iter().any(|(name, range)| labels.get("job") == Some(name) && range.contains(at_ms))
        };
        for (labels, samples) in &self.store.model {
            let got = found.get(labels).cloned().unwrap_or_default();
            let is_lost = |at: i64, bits: &u64| got.get(&at) != Some(bits) && !is_doubtful(labels, at);
            if let Some((at, _)) = samples.iter().find(|(at, bits)| is_lost(**at, bits)) {
                return Err(format!("{labels} at minute {} was acknowledged and is lost", (at - START) / MINUTE));
            }
        }
        for (labels, samples) in &found {
            let sent = self.sent.get(labels).cloned().unwrap_or_default();
            if let Some((at, _)) = samples.iter().find(|(at, bits)| sent.get(at) != Some(bits)) {
                return Err(format!("{labels} at minute {} was never sent, or is deleted", (at - START) / MINUTE));
            }
        }
        warning.map_or(Ok(()), Err)
    }

    /// What queries give has to be what the map gives: all at once, and series by series.
    pub(super) fn answers(&self, db: &Db) -> Result<(), String> {
        let found = ask(db, &[])?;
        difference(&found, &self.store.model)?;
        for (labels, samples) in &self.store.model {
            let matchers: Vec<Matcher> = labels.iter().map(|label| Matcher::equal(label.name, label.value)).collect();
            difference(&ask(db, &matchers)?, &Model::from([(labels.clone(), samples.clone())]))?;
        }
        Ok(())
    }
}

/// What a query gives; an error where it warns.
pub(super) fn ask(db: &Db, matchers: &[Matcher]) -> Result<Model, String> {
    let (model, warning) = ask_with_warning(db, matchers)?;
    warning.map_or(Ok(model), Err)
}

/// What a query gives, and its first warning.
fn ask_with_warning(db: &Db, matchers: &[Matcher]) -> Result<(Model, Option<String>), String> {
    let text = |error: StorageError| error.to_string();
    let querier = db.queryable().querier(TimeRange::ALL).map_err(text)?;
    let mut model = Model::new();
    for series in querier.select(matchers, &SelectHints::default()).map_err(text)? {
        let mut column = Column::default();
        series.samples.read(TimeRange::ALL, &mut column).map_err(text)?;
        if !column.timestamps_ms.is_sorted_by(|a, b| a < b) {
            return Err(format!("{} is not in the order of time", series.labels));
        }
        let samples = column.timestamps_ms.iter().copied().zip(column.values.iter().map(|value| value.to_bits()));
        let samples: BTreeMap<i64, u64> = samples.collect();
        if !samples.is_empty() {
            model.insert(series.labels, samples);
        }
    }
    Ok((model, querier.warnings().into_iter().next()))
}

/// The first difference between what was found and what should be there.
pub(super) fn difference(found: &Model, expected: &Model) -> Result<(), String> {
    for labels in expected.keys().chain(found.keys()) {
        let (got, want) =
            (found.get(labels).cloned().unwrap_or_default(), expected.get(labels).cloned().unwrap_or_default());
        if got == want {
            continue;
        }
        let lost = want.iter().filter(|(at, _)| !got.contains_key(at)).count();
        let added = got.iter().filter(|(at, _)| !want.contains_key(at)).count();
        let first = want
            .iter()
            .find(|(at, bits)| got.get(at) != Some(bits))
            .or_else(|| got.iter().find(|(at, _)| !want.contains_key(at)));
        let minutes = first.map_or(0, |(at, _)| (at - START) / MINUTE);
        let other = want.len() - lost - want.iter().filter(|(at, bits)| got.get(at) == Some(bits)).count();
        return Err(format!(
            "{labels}: {lost} samples lost, {added} too many, {other} with another value, the first at minute {minutes}"
        ));
    }
    Ok(())
}
