//! What is asked about: two and a half hours of series of every kind, drawn from a seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::histograms::Observed;
use crate::harness::Random;
use crate::harness::remote_write::{compress, put_bytes, put_varint, send_raw};
use crate::interop::histograms::histogram;

/// Time of the first samples, in milliseconds: a fixed one, so that a seed means the same queries on any day.
pub const START_MS: i64 = 1_750_000_200_000;
/// How long samples are taken. Below three hours, since Prometheus begins to write blocks then.
pub const SPAN_MS: i64 = 150 * 60_000;
/// Between two samples of a series that is regular.
const STEP_MS: i64 = 15_000;
/// What one request holds.
const REQUEST_MS: i64 = 20 * 60_000;

/// The staleness marker.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

const JOB: Label = ("job", &["api", "web"]);
const INSTANCE: Label = ("instance", &["host1:9100", "host2:9100", "host3:9100"]);
const BOUNDS: Label = ("le", &["0.1", "0.5", "1", "2.5", "+Inf"]);

/// A label and its values.
pub type Label = (&'static str, &'static [&'static str]);

/// How a metric's values come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rises by small whole numbers and begins again now and then.
    Counter,
    /// Rises by fractions.
    Seconds,
    /// Wanders, below zero too.
    Gauge,
    /// Whole numbers of nine to twelve digits.
    Bytes,
    /// One of 0 to 3, so that values are equal often.
    Few,
    /// Each series has a value, or some, that are special.
    Odd,
    /// Every order of magnitude, both signs.
    Magnitude,
    /// A time in seconds, of the last and the coming hundred years.
    Time,
    /// A gauge with irregular intervals and long gaps.
    Sparse,
    /// A counter that is there for minutes only, and ends with a staleness marker or without.
    Flapping,
    /// 1; one of the series of a target follows the other.
    Info,
    /// A classic histogram.
    Buckets,
    /// A classic histogram that is none: buckets that fall, bounds that are no numbers, no last bucket.
    BrokenBuckets,
    /// A native histogram with exponential buckets, of whole numbers or floats.
    Native,
    /// The same as a gauge.
    NativeGauge,
    /// A native histogram with boundaries of its own.
    Custom,
    /// The same with other boundaries in each series.
    Uneven,
    /// Runs of floats and of native histograms in the same series.
    Mixed,
}

impl Kind {
    /// Whether samples are native histograms.
    pub fn is_native(self) -> bool {
        matches!(self, Kind::Native | Kind::NativeGauge | Kind::Custom | Kind::Uneven | Kind::Mixed)
    }
}

/// What a sample holds.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A histogram, as the fields of a line of the specimens.
    Histogram(Vec<String>),
}

/// A series: labels in their order, and samples in that of time.
#[derive(Debug, Clone)]
pub struct Series {
    labels: Vec<(&'static str, &'static str)>,
    samples: Vec<(i64, SampleValue)>,
}

/// A metric and what its series are.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How its values come about.
    pub kind: Kind,
    /// Its labels but for the name; there is a series for every combination.
    pub labels: &'static [Label],
}

/// All metrics.
pub const METRICS: &[Metric] = &[
    metric("up", Kind::Few, &[JOB, INSTANCE]),
    metric("requests_total", Kind::Counter, &[JOB, INSTANCE, ("method", &["get", "post"]), ("code", &["200", "500"])]),
    metric("cpu_seconds_total", Kind::Seconds, &[JOB, INSTANCE, ("mode", &["idle", "user"])]),
    metric("temperature", Kind::Gauge, &[INSTANCE, ("room", &["cellar", "attic"])]),
    metric("pressure", Kind::Gauge, &[INSTANCE, ("room", &["cellar", "attic"])]),
    metric("memory_bytes", Kind::Bytes, &[JOB, INSTANCE]),
    metric("odd", Kind::Odd, &[("kind", &["inf", "large", "mixed", "nan", "ninf", "nzero", "tiny", "turning"])]),
    metric("magnitude", Kind::Magnitude, &[JOB, ("part", &["1", "2", "3"])]),
    metric("seen_at", Kind::Time, &[JOB, INSTANCE]),
    metric("sparse", Kind::Sparse, &[JOB, INSTANCE]),
    metric("flapping_total", Kind::Flapping, &[JOB, INSTANCE]),
    metric("target_info", Kind::Info, &[JOB, INSTANCE, ("version", &["1.0", "1.1"])]),
    metric("build_info", Kind::Info, &[JOB, INSTANCE, ("branch", &["main", "next"])]),
    metric("latency_bucket", Kind::Buckets, &[JOB, INSTANCE, BOUNDS]),
    metric("broken_bucket", Kind::BrokenBuckets, &[JOB, ("le", &["0.1", "1", "10", "much"])]),
    metric("single", Kind::Gauge, &[]),
    metric("rpc_seconds", Kind::Native, &[JOB, INSTANCE]),
    metric("rpc_waiting", Kind::NativeGauge, &[INSTANCE]),
    metric("rpc_size", Kind::Custom, &[JOB, INSTANCE]),
    metric("rpc_uneven", Kind::Uneven, &[INSTANCE]),
    metric("rpc_mixed", Kind::Mixed, &[INSTANCE]),
];

const fn metric(name: &'static str, kind: Kind, labels: &'static [Label]) -> Metric {
    Metric { name, kind, labels }
}

/// What happens to all series of a scraped instance.
struct Target {
    /// When, within an interval, it is scraped.
    offset_ms: i64,
    /// The steps at which the scrape fails, so that its series get staleness markers.
    failed: Vec<bool>,
}

/// Every series, in the order of its labels.
pub fn series(seed: u64) -> Vec<Series> {
    let mut targets: BTreeMap<String, Target> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for metric in METRICS {
        for labels in combinations(metric.labels) {
            let value = |name: &str| labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value);
            let address = format!("{}/{}", value("job"), value("instance"));
            let target = targets.entry(address).or_insert_with_key(|address| Target::new(seed, address));
            let mut named = vec![("__name__", metric.name)];
            named.extend(&labels);
            named.sort_unstable();
            // The buckets of a histogram, and the infos of a target, are drawn alike.
            let kin: Vec<_> = match metric.kind {
                Kind::Buckets | Kind::Info => named.iter().filter(|(name, _)| !OWN.contains(name)).collect(),
                _ => named.iter().collect(),
            };
            let mut random = Random::new(hash(seed, &format!("{kin:?}")));
            let samples = if metric.kind.is_native() {
                native(metric, &labels, target, &mut random)
            } else {
                let floats = samples(metric, &labels, target, &mut random);
                floats.into_iter().map(|(time_ms, value)| (time_ms, SampleValue::Float(value))).collect()
            };
            all.insert(named.clone(), Series { labels: named, samples });
        }
    }
    all.into_values().collect()
}

/// Labels that tell the buckets of one histogram, or the infos of one target, apart.
const OWN: [&str; 3] = ["le", "version", "branch"];

/// Writes everything to a server, oldest samples first.
///
/// Every series begins with a staleness marker that no query sees, so that both stores come to know them in the order of
/// their labels: a sum of floats depends on the order in which they are added.
pub fn send(address: SocketAddr, all: &[Series]) {
    let marker = [(START_MS - REQUEST_MS, SampleValue::Float(STALE))];
    write(address, all.iter().map(|series| (series, &marker[..])));
    let mut from_ms = START_MS;
    while from_ms <= START_MS + SPAN_MS {
        let within = |(time_ms, _): &(i64, SampleValue)| *time_ms < from_ms + REQUEST_MS;
        let mut parts: Vec<_> = all
            .iter()
            .map(|series| {
                let first = series.samples.partition_point(|(time_ms, _)| *time_ms < from_ms);
                (series, &series.samples[first..series.samples.partition_point(within)])
            })
            .collect();
        // Of a series' samples in one request, the floats are appended first.
        while parts.iter().any(|(_, samples)| !samples.is_empty()) {
            write(address, parts.iter_mut().map(|(series, samples)| (*series, floats_and_histograms(samples))));
        }
        from_ms += REQUEST_MS;
    }
}

/// Takes floats, and the histograms behind them, from the beginning.
fn floats_and_histograms<'s>(samples: &mut &'s [(i64, SampleValue)]) -> &'s [(i64, SampleValue)] {
    let is_float = |(_, value): &(i64, SampleValue)| matches!(value, SampleValue::Float(_));
    let floats = samples.iter().take_while(|sample| is_float(sample)).count();
    let end = floats + samples[floats..].iter().take_while(|sample| !is_float(sample)).count();
    let (first, rest) = samples.split_at(end);
    *samples = rest;
    first
}

fn write<'s>(address: SocketAddr, parts: impl Iterator<Item = (&'s Series, &'s [(i64, SampleValue)])>) {
    let mut request = Vec::new();
    for (series, samples) in parts.filter(|(_, samples)| !samples.is_empty()) {
        let mut message = Vec::new();
        for (name, value) in &series.labels {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut message, 1, &label);
        }
        for (time_ms, value) in samples {
            match value {
                SampleValue::Float(value) => {
                    let mut sample = vec![1 << 3 | 1];
                    sample.extend_from_slice(&value.to_bits().to_le_bytes());
                    sample.push(2 << 3);
                    put_varint(&mut sample, *time_ms as u64);
                    put_bytes(&mut message, 2, &sample);
                }
                SampleValue::Histogram(fields) => {
                    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
                    put_bytes(&mut message, 4, &histogram(&fields, *time_ms));
                }
            }
        }
        put_bytes(&mut request, 1, &message);
    }
    let answer = send_raw(address, &compress(&request)).unwrap();
    assert!((200..300).contains(&answer.status), "{}", answer.text());
}

impl Target {
    fn new(seed: u64, address: &str) -> Self {
        let mut random = Random::new(hash(seed, address));
        let offset_ms = if random.below(3) == 0 { 0 } else { random.below(STEP_MS as u64) as i64 };
        let steps = (SPAN_MS / STEP_MS) as usize;
        let mut failed = vec![false; steps + 1];
        for _ in 0..3 {
            let (first, count) = (random.below(steps as u64) as usize, 1 + random.below(30) as usize);
            failed[first..].iter_mut().take(count).for_each(|failed| *failed = true);
        }
        Target { offset_ms, failed }
    }
}

fn combinations(labels: &[Label]) -> Vec<Vec<(&'static str, &'static str)>> {
    labels.iter().fold(vec![Vec::new()], |sets, (name, values)| {
        let with = |set: &Vec<_>| values.iter().map(|value| [set.as_slice(), &[(*name, *value)]].concat()).collect();
        sets.iter().flat_map(|set| -> Vec<_> { with(set) }).collect()
    })
}

fn hash(seed: u64, text: &str) -> u64 {
    text.bytes()
        .fold(crate::harness::random::mix(seed), |hash, byte| crate::harness::random::mix(hash ^ u64::from(byte)))
}

fn samples(metric: &Metric, labels: &[(&str, &str)], target: &Target, random: &mut Random) -> Vec<(i64, f64)> {
    let label = |name: &str| labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value);
    match metric.kind {
        Kind::Sparse => return sparse(random),
        Kind::Flapping => return flapping(random),
        Kind::Info => return info(metric, labels, target, random),
        _ => {}
    }
    let mut samples = Vec::new();
    let (mut value, mut was_up) = (start(metric.kind, random), false);
    for (step, &failed) in target.failed.iter().enumerate() {
        let time_ms = START_MS + step as i64 * STEP_MS + target.offset_ms;
        value = next(metric.kind, value, step, label("kind"), random);
        if failed {
            if was_up {
                samples.push((time_ms, STALE));
            }
        } else if random.below(60) > 0 {
            samples.push((time_ms, shown(metric.kind, value, label("le"))));
        }
        was_up = !failed;
    }
    samples
}

fn start(kind: Kind, random: &mut Random) -> f64 {
    match kind {
        Kind::Counter | Kind::Buckets => random.below(1000) as f64,
        Kind::Gauge => random.below(500) as f64 / 10.0,
        Kind::Bytes => random.below(1_000_000_000_000) as f64,
        _ => 0.0,
    }
}

/// The value of the next step.
fn next(kind: Kind, value: f64, step: usize, name: &str, random: &mut Random) -> f64 {
    let whole = |random: &mut Random, bound: u64| random.below(bound) as f64;
    let begins_again = random.below(90) == 0;
    match kind {
        Kind::Counter | Kind::Buckets | Kind::Seconds if begins_again => whole(random, 3),
        Kind::Counter | Kind::Buckets => value + if random.below(4) == 0 { 0.0 } else { whole(random, 12) },
        Kind::Seconds => value + whole(random, 15_000) / 1000.0,
        Kind::Gauge => value + (whole(random, 201) - 100.0) / 20.0,
        Kind::Bytes => (value + whole(random, 2_000_000_000) - 1_000_000_000.0).max(4096.0),
        Kind::Few => [1.0, 1.0, 0.0, 2.0, 3.0][random.below(5) as usize],
        Kind::Magnitude => {
            let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
            sign * (1.0 + whole(random, 900) / 100.0) * 10f64.powi(random.below(560) as i32 - 280)
        }
        Kind::Time => 1_750_000_000.0 + (whole(random, 6_000_000_000) - 3_000_000_000.0),
        Kind::BrokenBuckets => whole(random, 100),
        Kind::Odd => match name {
            "inf" => f64::INFINITY,
            "ninf" => f64::NEG_INFINITY,
            "nan" => f64::NAN,
            "nzero" => -0.0,
            "large" => f64::MAX,
            "tiny" => f64::from_bits(1 + random.below(5)),
            "turning" if step % 40 < 20 => f64::NAN,
            "turning" => step as f64,
            _ => [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, -1e300][random.below(7) as usize],
        },
        _ => value,
    }
}

/// The value that a sample has; the buckets of one histogram show parts of one value.
fn shown(kind: Kind, value: f64, le: &str) -> f64 {
    let parts: &[(&str, f64)] = &[("0.1", 0.125), ("0.5", 0.5), ("1", 0.625), ("2.5", 0.75)];
    match (kind, parts.iter().find(|(bound, _)| *bound == le)) {
        (Kind::Buckets, Some((_, part))) => (value * part).floor(),
        _ => value,
    }
}

fn sparse(random: &mut Random) -> Vec<(i64, f64)> {
    let mut samples = Vec::new();
    let mut time_ms = START_MS + random.below(600_000) as i64;
    while time_ms <= START_MS + SPAN_MS {
        let value = if random.below(12) == 0 { STALE } else { random.below(4000) as f64 / 16.0 };
        samples.push((time_ms, value));
        time_ms += 1 + match random.below(5) {
            0 => random.below(1_200_000),
            1 => random.below(2_000),
            _ => random.below(120_000),
        } as i64;
    }
    samples
}

fn flapping(random: &mut Random) -> Vec<(i64, f64)> {
    let mut samples = Vec::new();
    let mut time_ms = START_MS + random.below(1_800_000) as i64;
    while time_ms <= START_MS + SPAN_MS {
        let mut value = random.below(50) as f64;
        for _ in 0..2 + random.below(60) {
            samples.push((time_ms, value));
            value += random.below(9) as f64;
            time_ms += STEP_MS;
        }
        if random.below(2) == 0 {
            samples.push((time_ms, STALE));
        }
        time_ms += 60_000 + random.below(1_200_000) as i64;
    }
    samples.retain(|(time_ms, _)| *time_ms <= START_MS + SPAN_MS);
    samples
}

/// A target has its first version until some time, and then the second.
fn info(metric: &Metric, labels: &[(&str, &str)], target: &Target, random: &mut Random) -> Vec<(i64, f64)> {
    let change_ms = START_MS + random.below(2 * SPAN_MS as u64) as i64;
    let own = metric.labels.last().map_or(&[][..], |(_, values)| values);
    let is_first = labels.last().map(|(_, value)| value) == own.first();
    let times = (0..=SPAN_MS / STEP_MS).map(|step| START_MS + step * STEP_MS + target.offset_ms);
    let mut samples: Vec<_> = times.filter(|time_ms| (*time_ms < change_ms) == is_first).map(|ms| (ms, 1.0)).collect();
    if is_first && let Some((last_ms, _)) = samples.last().copied() {
        samples.push((last_ms + STEP_MS, STALE));
    }
    samples
}

fn native(metric: &Metric, labels: &[(&str, &str)], target: &Target, random: &mut Random) -> Vec<(i64, SampleValue)> {
    let place = |(name, values): &Label| {
        let value = labels.iter().find(|(label, _)| label == name).map(|(_, value)| value);
        values.iter().position(|other| Some(other) == value).unwrap_or_default() as u64
    };
    // The last label tells the form, and one before it what counts are.
    let form = metric.labels.iter().fold(0, |form, label| form * label.1.len() as u64 + place(label));
    let mut observed = Observed::new(metric.kind, form, random);
    let (mut samples, mut was_up, mut as_float) = (Vec::new(), false, false);
    for (step, &failed) in target.failed.iter().enumerate() {
        let time_ms = START_MS + step as i64 * STEP_MS + target.offset_ms;
        observed.observe(random);
        as_float ^= metric.kind == Kind::Mixed && random.below(40) == 0;
        // Prometheus appends the floats of a request first, so that a marker between both kinds may be lost.
        if failed && was_up && metric.kind != Kind::Mixed {
            samples.push((time_ms, observed.stale()));
        } else if !failed && random.below(60) > 0 {
            let float = || SampleValue::Float((step % 50) as f64);
            samples.push((time_ms, if as_float { float() } else { observed.sample() }));
        }
        was_up = !failed;
    }
    samples
}
