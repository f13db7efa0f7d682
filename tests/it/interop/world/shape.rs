//! The series and samples of a small world, as a function of a seed: what a few services export, with pods that come and
//! go, and with batches that arrive late.
//!
//! Nothing is drawn in turn: each sample, each life of a pod and each delay is a hash of where it stands. So two stores can
//! be given the same, in parts, and a third one the rest.

use std::collections::HashMap;
use std::ops::Range;

use crate::harness::random::mix;
use crate::harness::remote_write::{compress, put_bytes, put_varint};
use crate::interop::histograms::histogram;

/// Time between two scrapes.
pub const INTERVAL_MS: i64 = 15_000;
/// Scrapes of one step; a request holds those of one step.
const STEP_SCRAPES: i64 = 8;
/// Time of one step.
pub const STEP_MS: i64 = STEP_SCRAPES * INTERVAL_MS;
/// Series that one instance exports.
pub const PER_INSTANCE: usize = 21;
/// The one of them that is of native histograms, of a kind that depends on the job.
const HISTOGRAM: usize = 20;
/// Instances in one request.
const PER_REQUEST: usize = 25;
/// A late batch comes this many steps late at least, and fewer than this more: 10 to 40 minutes.
const DELAY: (i64, i64) = (5, 15);
/// What Prometheus writes where a series ends.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Jobs, by the number of the instance. The last one's batches may be late, and are sometimes sent twice.
const JOBS: [&str; 4] = ["api", "db", CUSTOM_JOB, LATE_JOB];
/// The job whose native histograms have custom buckets.
const CUSTOM_JOB: &str = "web";
/// The job whose batches may be late.
pub const LATE_JOB: &str = "batch";

/// The world.
#[derive(Debug)]
pub struct World {
    seed: u64,
    instances: u64,
    start_ms: i64,
    labels: HashMap<(u64, i64), Vec<Vec<u8>>>,
    /// The step before which a Prometheus was started the last time, or Chronolith flushed all that it had.
    pub began: i64,
}

/// A request: how many samples it holds, and its body.
#[derive(Debug)]
pub struct Request {
    /// Samples, those that were sent before included.
    pub samples: usize,
    /// The compressed message.
    pub body: Vec<u8>,
}

/// The life of a pod: its number, and the scrapes that it answers.
#[derive(Debug, Clone)]
struct Life {
    generation: i64,
    scrapes: Range<i64>,
}

impl World {
    /// A world of so many series at a time.
    pub fn new(seed: u64, series: usize, start_ms: i64) -> Self {
        assert!(series >= PER_INSTANCE * JOBS.len(), "{series} series are no world");
        World { seed, instances: (series / PER_INSTANCE) as u64, start_ms, labels: HashMap::new(), began: 0 }
    }

    /// When a step begins, in milliseconds.
    pub fn time_of(&self, step: i64) -> i64 {
        self.start_ms + step * STEP_MS
    }

    /// The requests of a step, in their order. Of the steps in `late`, some batches come later, but within these steps.
    pub fn step(&mut self, step: i64, late: &Range<i64>) -> Vec<Request> {
        let mut requests = Vec::new();
        for first in (0..self.instances).step_by(PER_REQUEST) {
            let instances = first..self.instances.min(first + PER_REQUEST as u64);
            let mut on_time = Message::default();
            let mut delayed = Message::default();
            for instance in instances {
                if self.delay(instance, step, late).is_none() {
                    self.put_scrapes(instance, step, &mut on_time);
                }
                for delay in DELAY.0..DELAY.0 + DELAY.1 {
                    if self.delay(instance, step - delay, late) == Some(delay) {
                        self.put_scrapes(instance, step - delay, &mut delayed);
                    }
                }
            }
            let is_repeated = delayed.samples > 0 && self.hash(first, step, 1).is_multiple_of(8);
            let repeated = is_repeated.then(|| Message { samples: delayed.samples, bytes: delayed.bytes.clone() });
            let messages = [Some(on_time), Some(delayed), repeated];
            let some = messages.into_iter().flatten().filter(|message| message.samples > 0);
            requests.extend(some.map(|message| Request { samples: message.samples, body: compress(&message.bytes) }));
        }
        requests
    }

    fn hash(&self, a: u64, b: i64, what: u64) -> u64 {
        mix(mix(self.seed ^ mix(a ^ what << 56)) ^ b as u64)
    }

    /// How many steps late the samples of an instance in a step are sent, if they are.
    fn delay(&self, instance: u64, step: i64, late: &Range<i64>) -> Option<i64> {
        let hash = self.hash(instance, step, 2);
        let delay = DELAY.0 + (hash >> 8) as i64 % DELAY.1;
        let is_late = JOBS[instance as usize % JOBS.len()] == LATE_JOB && hash.is_multiple_of(10);
        (is_late && late.contains(&step) && late.contains(&(step + delay))).then_some(delay)
    }

    /// The life of an instance's pod at a scrape; `None` between two lives. Half of the instances live for ever.
    fn life(&self, instance: u64, scrape: i64) -> Option<Life> {
        if (instance ^ instance >> 2) & 1 == 1 {
            return Some(Life { generation: 0, scrapes: i64::MIN..i64::MAX });
        }
        // Lives of 3 to 11 hours, the last minutes of which are the gap until the next.
        let length = 720 + (self.hash(instance, 0, 3) % 1920) as i64;
        let generation = scrape.div_euclid(length);
        let gap = (self.hash(instance, generation, 4) % 40) as i64;
        let scrapes = generation * length..(generation + 1) * length - gap;
        // The scrape behind the last one says that the series have ended.
        (scrape <= scrapes.end && scrape >= scrapes.start).then_some(Life { generation, scrapes })
    }

    fn put_scrapes(&mut self, instance: u64, step: i64, message: &mut Message) {
        let scrapes = step * STEP_SCRAPES..(step + 1) * STEP_SCRAPES;
        let mut of_lives: Vec<(Life, Vec<i64>)> = Vec::new();
        for scrape in scrapes {
            let Some(life) = self.life(instance, scrape) else { continue };
            match of_lives.last_mut().filter(|(last, _)| last.generation == life.generation) {
                Some((_, scrapes)) => scrapes.push(scrape),
                None => of_lives.push((life, vec![scrape])),
            }
        }
        let offset_ms = (self.hash(instance, 0, 5) % INTERVAL_MS as u64) as i64;
        for (life, scrapes) in of_lives {
            for kind in 0..HISTOGRAM {
                let samples = scrapes.iter().map(|&scrape| {
                    let value = match scrape < life.scrapes.end {
                        true => self.value(instance, kind, scrape, &life),
                        false => f64::from_bits(STALE),
                    };
                    (self.start_ms + offset_ms + scrape * INTERVAL_MS, value)
                });
                let samples: Vec<(i64, f64)> = samples.collect();
                let labels = self.labels.entry((instance, life.generation)).or_insert_with(|| labels(instance, &life));
                message.put(&labels[kind], &samples);
            }
            let labels = &self.labels[&(instance, life.generation)][HISTOGRAM];
            for scrape in scrapes {
                let at_ms = self.start_ms + offset_ms + scrape * INTERVAL_MS;
                let is_end = scrape == life.scrapes.end;
                // A float ends a series of histograms too. Not one with custom buckets: Prometheus 3.5 logs the marker in
                // front of those that come with it, and loses them when it starts again. Nor in the first request after a
                // start: where chunk files hold all of a series, Prometheus does not know its kind before one was added; as
                // Chronolith does not where all of it is in blocks.
                if is_end && JOBS[instance as usize % JOBS.len()] != CUSTOM_JOB && step > self.began {
                    message.put(labels, &[(at_ms, f64::from_bits(STALE))]);
                } else {
                    message.put_histogram(labels, &self.histogram(instance, scrape, &life, is_end), at_ms);
                }
            }
        }
    }

    /// A histogram in the words of `histogram`: of one job with float counts, of another with custom buckets.
    fn histogram(&self, instance: u64, scrape: i64, life: &Life, is_stale: bool) -> Vec<String> {
        let age = (scrape - life.scrapes.start.max(-100_000)) as u64;
        let noise = self.hash(instance, scrape, 8);
        let bits = |value: f64| format!("{:016x}", value.to_bits());
        // The last bucket is there half of the time only.
        let mut counts = vec![age * 3 + noise % 3, age * 7 + noise % 7];
        counts.extend((age / 200 % 2 == 1).then_some(age));
        let sum = if is_stale { f64::from_bits(STALE) } else { age as f64 * 77.25 + (noise % 77) as f64 };
        let (zeros, sum) = (age / 2, bits(sum));
        let total = counts.iter().sum::<u64>();
        let spans = if counts.len() > 2 { "2:2,5:1" } else { "2:2" };
        let join = |texts: Vec<String>| texts.join(",");
        let deltas = || {
            let before = std::iter::once(&0).chain(&counts);
            join(
                counts.iter().zip(before).map(|(count, before)| (*count as i64 - *before as i64).to_string()).collect(),
            )
        };
        let (zero, deltas) = (bits(0.0), deltas());
        let fields = |fields: [&str; 12]| fields.map(str::to_owned).to_vec();
        match JOBS[instance as usize % JOBS.len()] {
            "db" => {
                let counts = join(counts.iter().map(|count| bits(*count as f64 / 4.0)).collect());
                let (zeros, total) = (bits(zeros as f64), bits(total as f64 / 4.0 + zeros as f64));
                fields(["float", "0", "-1", &zero, &zeros, &total, &sum, spans, &counts, "-", "-", "-"])
            }
            CUSTOM_JOB => {
                let bounds = join((1..12).map(|bound| bits(f64::from(bound) * 0.5)).collect());
                let total = total.to_string();
                fields(["int", "0", "-53", &zero, "0", &total, &sum, spans, &deltas, "-", "-", &bounds])
            }
            job => {
                // A marker comes without a hint, as Prometheus sends it: in a chunk of gauges it would keep Prometheus 3.5
                // from compacting its head ever again.
                let hint = if job == LATE_JOB && !is_stale { "3" } else { "0" };
                let (threshold, zeros, total) = (bits(0.001), zeros.to_string(), (total + zeros).to_string());
                fields(["int", hint, "2", &threshold, &zeros, &total, &sum, spans, &deltas, "-", "-", "-"])
            }
        }
    }

    fn value(&self, instance: u64, kind: usize, scrape: i64, life: &Life) -> f64 {
        let age = scrape - life.scrapes.start.max(-100_000);
        let noise = self.hash(instance * 100 + kind as u64, scrape, 6);
        // A counter whose growth is never the same twice, and never negative.
        let grown = |factor: u64| (age as u64 * factor + noise % factor) as f64;
        match kind {
            0 => f64::from(u8::from(!noise.is_multiple_of(50))),
            1 => 1.0,
            // A handler that is not called for long has a counter that does not move.
            2 => (age / 100) as f64,
            3..=7 => grown(kind as u64 * 7),
            // Each bucket holds what those before it hold, at every moment and in every growth.
            8..=13 => (age as u64 * 10 + self.hash(instance, scrape, 7) % 10) as f64 * (kind - 7) as f64,
            14 => grown(977) / 1000.0,
            15 => grown(60),
            16 => (noise % 40) as f64,
            17 => 20.0 + (noise >> 11) as f64 / (1u64 << 53) as f64,
            18 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e-310, 1e300, 0.1][noise as usize % 8],
            _ => (1u64 << 30) as f64 + (noise % (1 << 28)) as f64 * 4096.0,
        }
    }
}

/// The encoded labels of what an instance exports in one life, in the order of names.
fn labels(instance: u64, life: &Life) -> Vec<Vec<u8>> {
    let job = JOBS[instance as usize % JOBS.len()];
    let (host, pod) = (format!("10.0.{}.{}:9100", instance / 250, instance % 250), life.generation);
    let version = format!("1.{}.{}", life.generation, instance % 3);
    let encode = |name: &str, extra: &[(&str, &str)]| {
        let pod = format!("{job}-{instance}-{pod}");
        let own = [("__name__", name), ("instance", &host), ("job", job), ("pod", &pod)];
        let mut all: Vec<(&str, &str)> = own.into_iter().chain(extra.iter().copied()).collect();
        all.sort_unstable();
        let mut out = Vec::new();
        for (name, value) in all {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut out, 1, &label);
        }
        out
    };
    let requests = |method, code| encode("world_requests_total", &[("method", method), ("code", code)]);
    let bucket = |bound| encode("world_latency_seconds_bucket", &[("le", bound)]);
    vec![
        encode("world_up", &[]),
        encode("world_build_info", &[("version", &version)]),
        requests("delete", "200"),
        requests("get", "200"),
        requests("get", "404"),
        requests("get", "500"),
        requests("post", "200"),
        requests("post", "500"),
        bucket("0.1"),
        bucket("0.5"),
        bucket("1"),
        bucket("5"),
        bucket("10"),
        bucket("+Inf"),
        encode("world_latency_seconds_sum", &[]),
        encode("world_latency_seconds_count", &[]),
        encode("world_queue_depth", &[]),
        encode("world_temperature_celsius", &[("sensor", "\u{df}eta \"0\"")]),
        encode("world_odd", &[]),
        encode("world_memory_bytes", &[]),
        encode("world_sizes_bytes", &[]),
    ]
}

/// A message that grows.
#[derive(Debug, Default)]
struct Message {
    samples: usize,
    bytes: Vec<u8>,
}

impl Message {
    fn put(&mut self, labels: &[u8], samples: &[(i64, f64)]) {
        let mut series = Vec::with_capacity(labels.len() + samples.len() * 18);
        series.extend_from_slice(labels);
        for (timestamp_ms, value) in samples {
            let mut sample = [0x09, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
            sample[1..].copy_from_slice(&value.to_bits().to_le_bytes());
            sample.push(0x10);
            put_varint(&mut sample, *timestamp_ms as u64);
            put_bytes(&mut series, 2, &sample);
        }
        put_bytes(&mut self.bytes, 1, &series);
        self.samples += samples.len();
    }

    fn put_histogram(&mut self, labels: &[u8], fields: &[String], timestamp_ms: i64) {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let mut series = labels.to_vec();
        put_bytes(&mut series, 4, &histogram(&fields, timestamp_ms));
        put_bytes(&mut self.bytes, 1, &series);
        self.samples += 1;
    }
}
