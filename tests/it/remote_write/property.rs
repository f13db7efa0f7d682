//! Random batches, good and bad, in both versions: what is stored is what was sent, less what the answer names.
//!
//! A map beside the server says what has to become of each sample. Answers are compared with it, and so is everything that
//! is read back, now and after a SIGKILL. The same request is sent again now and then, and has to get the same answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Version, now_ms, start, stored, verify, written};
use crate::harness::Random;
use crate::harness::remote_write::{compress, histogram, put_bytes, put_varint};
use crate::harness::remote_write_2::{self, Request, metadata, put_double, put_number};

/// Batches of a run.
const BATCHES: usize = 150;
/// Series that are written to.
const SERIES: u64 = 10;
/// The span of time that good samples come from.
const SPAN_MS: u64 = 20 * 60_000;

/// A value: a float by its bits, or a histogram by those of its sum.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stored {
    Float(u64),
    Histogram(u64),
}

/// What is wrong with a whole entry.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Its labels are no series.
    Labels,
    /// Version 2: a reference that leads nowhere.
    Reference,
    /// Version 2: metadata that leads nowhere.
    Metadata,
}

/// A sample of an entry, and whether it is a histogram that is none.
#[derive(Debug, Clone, Copy)]
struct Sample {
    time: i64,
    value: Stored,
    broken: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    series: u64,
    fault: Fault,
    /// Floats first, as they are in a message.
    samples: Vec<Sample>,
}

/// What an answer has to say.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    floats: u64,
    histograms: u64,
    rejected: BTreeMap<String, u64>,
    /// A refusal that costs no sample.
    empty: bool,
}

type Model = BTreeMap<u64, BTreeMap<i64, Stored>>;

/// The times that are good while the test runs.
#[derive(Debug, Clone, Copy)]
struct Times {
    newest: i64,
}

impl Times {
    fn draw(self, random: &mut Random) -> i64 {
        match random.below(20) {
            0 => self.newest + 3_600_000,
            1 => self.newest - 5 * 3_600_000,
            // Few of them, so that many meet.
            2..8 => self.newest - (random.below(SPAN_MS / 60_000) * 60_000) as i64,
            _ => self.newest - random.below(SPAN_MS) as i64,
        }
    }
}

fn draw_entry(random: &mut Random, times: Times, version: Version) -> Entry {
    let fault = match random.below(20) {
        0 => Fault::Labels,
        1 if version == Version::Two => Fault::Reference,
        2 if version == Version::Two => Fault::Metadata,
        _ => Fault::None,
    };
    let bits = |random: &mut Random| match random.below(6) {
        0 => (-0.0_f64).to_bits(),
        1 => random.below(3) + 1,
        2 => f64::INFINITY.to_bits(),
        _ => (random.below(1 << 40) as f64 / 1024.0).to_bits(),
    };
    let mut samples = Vec::new();
    for _ in 0..random.below(5) {
        samples.push(Sample { time: times.draw(random), value: Stored::Float(bits(random)), broken: false });
    }
    for _ in 0..random.below(12).saturating_sub(9) {
        let broken = random.below(4) == 0;
        samples.push(Sample { time: times.draw(random), value: Stored::Histogram(bits(random)), broken });
    }
    Entry { series: random.below(SERIES), fault, samples }
}

/// What has to become of a batch, and what is stored then.
fn judge(batch: &[Entry], version: Version, times: Times, model: &mut Model) -> Expected {
    let mut expected = Expected::default();
    for entry in batch {
        let mut reject = |reason: &str, count: usize| {
            if count > 0 {
                *expected.rejected.entry(reason.to_owned()).or_default() += count as u64;
            }
        };
        let broken = entry.samples.iter().filter(|sample| sample.broken).count();
        match entry.fault {
            // What the store refuses are the samples that reach it.
            Fault::Labels => {
                reject("invalid_histogram", broken);
                reject("invalid_labels", entry.samples.len() - broken);
                expected.empty |= entry.samples.is_empty() && version == Version::Two;
                continue;
            }
            Fault::Reference => {
                reject("invalid_reference", entry.samples.len());
                expected.empty |= entry.samples.is_empty();
                continue;
            }
            Fault::Metadata => {
                reject("invalid_metadata", entry.samples.len());
                expected.empty |= entry.samples.is_empty();
                continue;
            }
            Fault::None => {}
        }
        reject("invalid_histogram", broken);
        expected.empty |= entry.samples.is_empty() && version == Version::Two;
        for sample in entry.samples.iter().filter(|sample| !sample.broken) {
            let mut reject = |reason: &str| *expected.rejected.entry(reason.to_owned()).or_default() += 1;
            if sample.time > times.newest + 1_800_000 {
                reject("too_far_in_future");
                continue;
            }
            if sample.time < times.newest - 2 * 3_600_000 {
                reject("too_old");
                continue;
            }
            let series = model.entry(entry.series).or_default();
            if *series.entry(sample.time).or_insert(sample.value) != sample.value {
                reject("duplicate_timestamp");
                continue;
            }
            match sample.value {
                Stored::Float(_) => expected.floats += 1,
                Stored::Histogram(_) => expected.histograms += 1,
            }
        }
    }
    expected
}

/// A histogram's message, which counts an observation too many if it is broken.
fn histogram_message(sample: &Sample, sum: u64) -> Vec<u8> {
    let mut message = histogram(sample.time, f64::from_bits(sum));
    if sample.broken {
        put_number(&mut message, 1, 8);
    }
    message
}

fn encode_1(batch: &[Entry]) -> Vec<u8> {
    let mut request = Vec::new();
    for entry in batch {
        let mut series = Vec::new();
        for (name, value) in labels(entry) {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        for sample in &entry.samples {
            match sample.value {
                Stored::Float(bits) => {
                    let mut message = Vec::new();
                    put_double(&mut message, 1, f64::from_bits(bits));
                    message.push(2 << 3);
                    put_varint(&mut message, sample.time as u64);
                    put_bytes(&mut series, 2, &message);
                }
                Stored::Histogram(sum) => put_bytes(&mut series, 4, &histogram_message(sample, sum)),
            }
        }
        put_bytes(&mut request, 1, &series);
    }
    request
}

fn encode_2(batch: &[Entry], random: &mut Random) -> Vec<u8> {
    let mut request = Request::default();
    for entry in batch {
        let labels = labels(entry);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut refs = request.refs(&labels);
        if entry.fault == Fault::Reference {
            match random.below(2) {
                0 => drop(refs.pop()),
                _ => refs[1] = 1 << random.below(64) | 1 << 20,
            }
        }
        let mut series = remote_write_2::Series::default().refs(&refs);
        for sample in &entry.samples {
            series = match sample.value {
                Stored::Float(bits) => series.sample(sample.time, f64::from_bits(bits)),
                Stored::Histogram(sum) => series.histogram(&histogram_message(sample, sum)),
            };
        }
        if entry.fault == Fault::Metadata {
            series = series.metadata(&metadata(1, 0, 1 << 20));
        }
        request.push(series);
    }
    request.encode()
}

fn labels(entry: &Entry) -> Vec<(&'static str, String)> {
    let id = entry.series.to_string();
    match entry.fault {
        Fault::Labels if entry.series.is_multiple_of(2) => vec![("id", id)],
        Fault::Labels => vec![("__name__", "random".to_owned()), ("id", id.clone()), ("id", id)],
        _ => vec![("__name__", "random".to_owned()), ("id", id)],
    }
}

/// What an answer says: counts by reason.
fn rejected(text: &str) -> BTreeMap<String, u64> {
    let first = text.lines().next().unwrap_or_default();
    let Some(rest) = first.split_once("; refused ").map(|(_, rest)| rest) else { return BTreeMap::new() };
    let (total, rest) = rest.split_once(" (").unwrap();
    let (reasons, _) = rest.split_once(')').unwrap();
    let reasons: BTreeMap<String, u64> = reasons
        .split(", ")
        .map(|reason| reason.split_once(": ").unwrap())
        .map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()))
        .collect();
    assert_eq!(total.parse::<u64>().unwrap(), reasons.values().sum::<u64>(), "{first}");
    reasons
}

fn read_back(server: &crate::harness::Chronolith) -> Model {
    let mut model = Model::new();
    for (labels, samples) in stored(server, "random") {
        let labels: Value = serde_json::from_str(&labels).unwrap();
        let bits = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap().to_bits();
        let value = |value: &Value| match value.get("sum") {
            Some(sum) => Stored::Histogram(bits(sum)),
            None => Stored::Float(bits(value)),
        };
        let samples = samples.iter().map(|(time, sample)| (*time, value(sample))).collect();
        model.insert(labels["id"].as_str().unwrap().parse().unwrap(), samples);
    }
    model
}

#[test]
fn property_what_is_stored_is_what_was_sent_less_what_the_answers_name() {
    let mut random = Random::from_env("CHRONOLITH_WRITES_SEED");
    let (dir, mut server) = start();
    let times = Times { newest: now_ms() - 5000 };
    let mut model = Model::new();
    // The newest sample of all, from which the bounds on times are counted.
    let first = Entry {
        series: 0,
        fault: Fault::None,
        samples: vec![Sample { time: times.newest, value: Stored::Float(1.0_f64.to_bits()), broken: false }],
    };
    let (mut batch, mut version) = (vec![first], Version::One);
    for round in 0..BATCHES {
        let body = match version {
            Version::One => encode_1(&batch),
            Version::Two => encode_2(&batch, &mut random),
        };
        let body = compress(&body);
        let expected = judge(&batch, version, times, &mut model);
        for again in 0..=random.below(2) {
            let answer = version.send_raw(server.address, &body);
            let what = || format!("round {round}, {version:?}, again: {again}, {batch:#?}\n{}", answer.text());
            let is_whole = expected.rejected.is_empty() && !expected.empty;
            assert_eq!(answer.status, if is_whole { 204 } else { 400 }, "{}", what());
            assert_eq!(rejected(&answer.text()), expected.rejected, "{}", what());
            let stored = expected.floats + expected.histograms;
            let sent = stored + expected.rejected.values().sum::<u64>();
            let says = format!("stored {stored} of {sent} samples");
            assert!(is_whole || answer.text().starts_with(&says), "not {says:?}: {}", what());
            assert_eq!(written(&answer), [expected.floats, expected.histograms, 0], "{}", what());
            if again > 0 {
                assert!(matches!(answer.header("chronolith-samples"), None | Some("0")), "{}", what());
            }
        }
        version = Version::BOTH[random.below(2) as usize];
        batch = (0..=random.below(12)).map(|_| draw_entry(&mut random, times, version)).collect();
    }
    assert_eq!(read_back(&server), model);
    server.kill_and_restart();
    assert_eq!(read_back(&server), model);
    verify(server, dir.path());
}
