//! The load: which series there are, and what each is worth at each scrape.
//!
//! Everything is a pure function of the series' number and the scrape's number, so that anyone can check what a store
//! gives back, and two runs with the same options send the same bytes.
//!
//! A target has 500 series, shaped like those of a node exporter. `mix` is the finalizer of SplitMix64; with
//! `h(n) = mix(series * 8 + n)` and `r(k) = mix(h(7) ^ mix(k))`, all in wrapping 64-bit arithmetic, the value of a
//! series at scrape `s` is
//!
//! | kind | of 500 | value |
//! |---|---|---|
//! | constant | 60 | `1024 * (h(0) % 65536)` |
//! | step | 75 | `r((s + h(0) % 16) / 16) % 100`: changes every sixteenth scrape at most |
//! | slow counter | 90 | `h(0) % 1000 + (3 * s + h(1) % 8) / 8`: rises in three of eight scrapes |
//! | counter | 130 | `h(0) % 1000000 + s * i + r(s) % i` with `i = 1 + h(1) % 100000` |
//! | seconds | 75 | as counter with `i = 1 + h(1) % 1500`, divided by 100 |
//! | gauge | 70 | `4096 * (h(0) % 65536 + r(s) % 4096)` |
//!
//! with integer division except for the last step of `seconds`. About 37 % of the samples repeat the value before
//! them, as was measured on node exporters. The timestamp is `start + s * interval + mix(target) % interval`.

use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label, LabelSet, Sample, TimestampMs};

/// Series of one target.
pub const TARGET_SERIES: u64 = 500;
/// The fewest labels of a series: its metric name, its target, and what tells it from its like.
pub const ATTRIBUTES_MIN: usize = 3;
/// The most labels of a series.
pub const ATTRIBUTES_MAX: usize = 64;

/// What the load looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many series.
    pub series: u64,
    /// Labels of each series, the metric name included.
    pub attributes: usize,
    /// Time of the first scrape.
    pub start_ms: TimestampMs,
    /// Time from one scrape to the next.
    pub interval_ms: i64,
}

/// The series of one shape.
#[derive(Debug, Clone)]
pub struct Workload {
    shape: Shape,
    slots: Vec<Slot>,
}

/// How the values of a series go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Constant,
    Step,
    SlowCounter,
    Counter,
    Seconds,
    Gauge,
}

/// One of the series that every target has.
#[derive(Debug, Clone)]
struct Slot {
    metric_name: String,
    kind: Kind,
    /// The labels by which it differs from others of its name.
    own: Vec<(&'static str, String)>,
}

fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Workload {
    /// The load of this shape. The number of labels is brought within its bounds.
    pub fn new(shape: Shape) -> Self {
        let attributes = shape.attributes.clamp(ATTRIBUTES_MIN, ATTRIBUTES_MAX);
        Workload { shape: Shape { attributes, interval_ms: shape.interval_ms.max(1), ..shape }, slots: slots() }
    }

    /// What the load looks like.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The number of targets; the last may have fewer series.
    pub fn targets(&self) -> u64 {
        self.shape.series.div_ceil(TARGET_SERIES)
    }

    fn slot(&self, series: u64) -> &Slot {
        &self.slots[(series % TARGET_SERIES) as usize]
    }

    /// Whether a series only rises; its name says so too.
    pub fn is_counter(&self, series: u64) -> bool {
        self.slot(series).metric_name.ends_with("_total")
    }

    /// The value of a series at a scrape: see the head of this file.
    #[inline]
    pub fn value(&self, series: u64, scrape: u64) -> f64 {
        let h = |n: u64| mix(series.wrapping_mul(8).wrapping_add(n));
        let r = |k: u64| mix(h(7) ^ mix(k));
        let counter = |increment: u64| h(0) % 1_000_000 + scrape.wrapping_mul(increment) + r(scrape) % increment;
        match self.slot(series).kind {
            Kind::Constant => (1024 * (h(0) % 65_536)) as f64,
            Kind::Step => (r((scrape + h(0) % 16) / 16) % 100) as f64,
            Kind::SlowCounter => (h(0) % 1000 + (3 * scrape + h(1) % 8) / 8) as f64,
            Kind::Counter => counter(1 + h(1) % 100_000) as f64,
            Kind::Seconds => counter(1 + h(1) % 1500) as f64 / 100.0,
            Kind::Gauge => (4096 * (h(0) % 65_536 + r(scrape) % 4096)) as f64,
        }
    }

    /// When a target is scraped.
    #[inline]
    pub fn timestamp_ms(&self, target: u64, scrape: u64) -> TimestampMs {
        let offset = mix(target) % self.shape.interval_ms.unsigned_abs();
        self.shape.start_ms + scrape as i64 * self.shape.interval_ms + offset as i64
    }

    /// The sample of a series at a scrape.
    #[inline]
    pub fn sample(&self, series: u64, scrape: u64) -> Sample {
        let timestamp_ms = self.timestamp_ms(series / TARGET_SERIES, scrape);
        Sample { timestamp_ms, value: self.value(series, scrape) }
    }

    /// The value of a target's label `instance`, by which its series are found.
    pub fn instance(&self, target: u64) -> String {
        let (a, b, c) = (target >> 16 & 0xff, target >> 8 & 0xff, target & 0xff);
        format!("10.{a}.{b}.{c}:9100")
    }

    /// Calls `write` with the labels of a series, sorted by name.
    pub fn with_labels<T>(&self, series: u64, write: impl FnOnce(&[Label<'_>]) -> T) -> T {
        let slot = self.slot(series);
        let target = series / TARGET_SERIES;
        let item = (series % TARGET_SERIES).to_string();
        let instance = self.instance(target);
        let mut labels = Vec::with_capacity(self.shape.attributes);
        labels.push(Label { name: crate::model::METRIC_NAME, value: &slot.metric_name });
        labels.push(Label { name: "instance", value: &instance });
        if 2 + slot.own.len() <= self.shape.attributes {
            labels.extend(slot.own.iter().map(|(name, value)| Label { name, value }));
        } else {
            labels.push(Label { name: "item", value: &item });
        }
        let common: Vec<(String, String)> =
            (0..self.shape.attributes - labels.len()).map(|index| common_label(index, target)).collect();
        labels.extend(common.iter().map(|(name, value)| Label { name, value }));
        labels.sort_unstable();
        write(&labels)
    }

    /// The label set of a series.
    pub fn label_set(&self, series: u64) -> LabelSet {
        self.with_labels(series, |labels| LabelSet::from_sorted(labels.iter().copied()))
    }
}

/// The labels that all series of a target share, in the order in which they are added until there are enough. The
/// first are short, as on a node exporter; from the seventh on they are long, as on Kubernetes.
fn common_label(index: usize, target: u64) -> (String, String) {
    let id = mix(target ^ (index as u64) << 48);
    let pick =
        |values: &[&str]| values.get((id % values.len() as u64) as usize).copied().unwrap_or_default().to_owned();
    let (name, value) = match index {
        0 => ("job", "node-exporter".to_owned()),
        1 => ("cluster", pick(&["eu-central-prod", "eu-west-prod", "us-east-prod", "ap-south-prod"])),
        2 => ("env", pick(&["production", "staging", "canary"])),
        3 => ("node", format!("worker-{target:06}.nodes.internal")),
        4 => ("team", pick(&["payments", "search", "platform", "identity", "storage"])),
        5 => ("region", pick(&["eu-central-1", "eu-west-1", "us-east-1", "ap-south-1"])),
        6 => ("namespace", format!("monitoring-{}", pick(&["payments-backend", "search-frontend", "platform-core"]))),
        7 => ("pod", format!("node-exporter-{:08x}-{:05x}", id >> 32, id & 0xf_ffff)),
        8 => ("container_id", format!("containerd://{:016x}{:016x}{:016x}{:016x}", id, mix(id), mix(!id), mix(id ^ 5))),
        9 => ("image", format!("registry.example.com/platform/node-exporter@sha256:{:016x}{:016x}", mix(3), mix(4))),
        10 => ("uid", format!("{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}", id >> 32, id & 0xffff, 7, 9, mix(id) >> 16)),
        11 => ("service", "node-exporter-prometheus-node-exporter.monitoring.svc.cluster.local".to_owned()),
        12 => ("endpoint", "http-metrics".to_owned()),
        13 => ("prometheus", "monitoring/kube-prometheus-stack-prometheus".to_owned()),
        14 => ("topology_kubernetes_io_zone", pick(&["eu-central-1a", "eu-central-1b", "eu-central-1c"])),
        15 => ("helm_sh_chart", "prometheus-node-exporter-4.43.1".to_owned()),
        _ => return (format!("label_{index:02}"), format!("value-{:016x}", id)),
    };
    (name.to_owned(), value)
}

/// The series of a target.
fn slots() -> Vec<Slot> {
    let mut slots = Vec::with_capacity(TARGET_SERIES as usize);
    let mut add = |metric_name: &str, kind, own: Vec<(&'static str, String)>| {
        slots.push(Slot { metric_name: metric_name.to_owned(), kind, own });
    };
    let device = |index: usize| vec![("device", format!("eth{index}"))];
    let disk = |index: usize| vec![("device", format!("nvme{index}n1"))];
    let mount = |index: usize| {
        let mount = format!("/var/lib/volumes/pvc-{index:02}");
        vec![("device", format!("/dev/nvme{index}n1p1")), ("fstype", "ext4".to_owned()), ("mountpoint", mount)]
    };
    const MODES: [&str; 8] = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
    for index in 0..64 {
        let own = vec![("cpu", (index / 8).to_string()), ("mode", MODES[index % 8].to_owned())];
        add("node_cpu_seconds_total", Kind::Seconds, own);
    }
    (0..11).for_each(|index| add("node_disk_io_time_seconds_total", Kind::Seconds, disk(index)));
    (0..16).for_each(|index| {
        add("node_cpu_frequency_max_hertz", Kind::Constant, vec![("cpu", index.to_string())]);
    });
    (0..20).for_each(|index| add("node_network_mtu_bytes", Kind::Constant, device(index)));
    (0..24).for_each(|index| add("node_filesystem_size_bytes", Kind::Constant, mount(index)));
    (0..24).for_each(|index| add("node_filesystem_files_free", Kind::Step, mount(index)));
    (0..31).for_each(|index| add("node_network_carrier", Kind::Step, device(index)));
    (0..20).for_each(|index| add("node_disk_io_now", Kind::Step, disk(index)));
    (0..30).for_each(|index| add("node_network_receive_errs_total", Kind::SlowCounter, device(index)));
    (0..30).for_each(|index| add("node_network_transmit_errs_total", Kind::SlowCounter, device(index)));
    (0..30).for_each(|index| add("node_disk_flush_requests_total", Kind::SlowCounter, disk(index)));
    (0..30).for_each(|index| add("node_network_receive_bytes_total", Kind::Counter, device(index)));
    (0..30).for_each(|index| add("node_network_transmit_bytes_total", Kind::Counter, device(index)));
    (0..30).for_each(|index| add("node_network_receive_packets_total", Kind::Counter, device(index)));
    (0..20).for_each(|index| add("node_disk_read_bytes_total", Kind::Counter, disk(index)));
    (0..20).for_each(|index| add("node_disk_written_bytes_total", Kind::Counter, disk(index)));
    (0..24).for_each(|index| add("node_filesystem_avail_bytes", Kind::Gauge, mount(index)));
    (0..46).for_each(|index| {
        add("node_memory_numa_used_bytes", Kind::Gauge, vec![("zone", format!("zone{index}"))]);
    });
    slots
}

/// The series of one connection, ready to be sent: label bytes encoded once, and their digests.
#[derive(Debug)]
pub struct PreparedSeries {
    first: u64,
    labels: Vec<u8>,
    ends: Vec<usize>,
    digests: Vec<Digest>,
}

impl PreparedSeries {
    /// Encodes the series `first..end` of a load.
    pub fn new(workload: &Workload, first: u64, end: u64) -> Self {
        let count = end.saturating_sub(first) as usize;
        let mut prepared = PreparedSeries {
            first,
            labels: Vec::new(),
            ends: Vec::with_capacity(count),
            digests: Vec::with_capacity(count),
        };
        for series in first..end {
            let start = prepared.labels.len();
            workload.with_labels(series, |labels| encode_canonical(labels.iter().copied(), &mut prepared.labels));
            prepared.ends.push(prepared.labels.len());
            prepared.digests.push(Digest::of_canonical_labels(&prepared.labels[start..]));
        }
        prepared
    }

    /// How many series.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The number, label bytes and digest of the series at `index`.
    #[inline]
    fn get(&self, index: usize) -> (u64, &[u8], Digest) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        (self.first + index as u64, &self.labels[start..self.ends[index]], self.digests[index])
    }

    /// Writes the remote write 1.0 message with one scrape of the series at `range` into `message`, and gives the
    /// digest of its samples.
    pub fn write_request(
        &self,
        workload: &Workload,
        scrape: u64,
        range: std::ops::Range<usize>,
        message: &mut Vec<u8>,
    ) -> Digest {
        message.clear();
        let mut digest = Digest::ZERO;
        for index in range {
            let (series, labels, labels_digest) = self.get(index);
            let sample = workload.sample(series, scrape);
            digest += labels_digest.of_sample(sample.timestamp_ms, sample.value);
            push_series(labels, sample, message);
        }
        digest
    }
}

/// Appends one `WriteRequest.timeseries` field with one sample.
fn push_series(labels: &[u8], sample: Sample, message: &mut Vec<u8>) {
    use crate::encoding::put::uvarint;
    let timestamp = sample.timestamp_ms as u64;
    let timestamp_bytes = (u64::BITS - (timestamp | 1).leading_zeros()).div_ceil(7) as usize;
    // Two tags and the value; no sample is longer than 20 bytes, so its length takes one.
    let sample_bytes = 1 + 8 + 1 + timestamp_bytes;
    message.push(0x0a);
    uvarint(message, (labels.len() + 2 + sample_bytes) as u64);
    message.extend_from_slice(labels);
    message.extend_from_slice(&[0x12, sample_bytes as u8, 0x09]);
    message.extend_from_slice(&sample.value.to_le_bytes());
    message.push(0x10);
    uvarint(message, timestamp);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::encoding::Cursor;
    use crate::model::RawLabels;

    fn workload(attributes: usize) -> Workload {
        Workload::new(Shape { series: 1200, attributes, start_ms: 1_700_000_000_000, interval_ms: 15_000 })
    }

    #[test]
    fn target_has_as_many_series_as_it_says() {
        assert_eq!(slots().len() as u64, TARGET_SERIES);
    }

    #[test]
    fn series_have_the_wanted_number_of_labels_and_are_distinct() {
        for attributes in [3, 4, 5, 6, 10, 18, 30] {
            let workload = workload(attributes);
            let sets: HashSet<LabelSet> = (0..1200).map(|series| workload.label_set(series)).collect();
            assert_eq!(sets.len(), 1200, "{attributes} labels");
            assert!(sets.iter().all(|set| set.len() == attributes), "{attributes} labels");
        }
    }

    #[test]
    fn counters_never_fall_and_values_repeat_as_often_as_on_node_exporters() {
        let workload = workload(10);
        let mut repeats = 0;
        for series in 0..500 {
            let kind = workload.slot(series).kind;
            for scrape in 0..200 {
                let (now, next) = (workload.value(series, scrape), workload.value(series, scrape + 1));
                if matches!(kind, Kind::Counter | Kind::Seconds | Kind::SlowCounter) {
                    assert!(next >= now, "series {series} falls at scrape {scrape}");
                }
                repeats += u32::from(now.to_bits() == next.to_bits());
            }
        }
        let share = f64::from(repeats) / 100_000.0;
        assert!((0.35..0.40).contains(&share), "{share}");
    }

    #[test]
    fn request_decodes_to_the_series_samples_and_digest_that_were_promised() {
        let workload = workload(10);
        let prepared = PreparedSeries::new(&workload, 400, 1100);
        let mut message = Vec::new();
        let digest = prepared.write_request(&workload, 7, 50..650, &mut message);
        let mut request = Cursor::new(&message);
        let (mut sum, mut count) = (Digest::ZERO, 0);
        while !request.is_empty() {
            assert_eq!(request.u8(), Ok(0x0a));
            let bytes = request.uvarint_slice().unwrap();
            let mut fields = Cursor::new(bytes);
            while bytes[fields.position()] == 0x0a {
                fields.u8().unwrap();
                fields.uvarint_slice().unwrap();
            }
            let labels = RawLabels(&bytes[..fields.position()]).to_label_set().unwrap();
            assert_eq!(fields.u8(), Ok(0x12));
            let mut fields = Cursor::new(fields.uvarint_slice().unwrap());
            assert_eq!(fields.u8(), Ok(0x09));
            let value = f64::from_le_bytes(fields.array().unwrap());
            assert_eq!(fields.u8(), Ok(0x10));
            let timestamp_ms = fields.uvarint().unwrap() as i64;
            assert!(fields.is_empty());
            let series = 450 + count;
            assert_eq!(labels, workload.label_set(series));
            assert_eq!(Sample { timestamp_ms, value }, workload.sample(series, 7));
            sum += Digest::of_labels(&labels).of_sample(timestamp_ms, value);
            count += 1;
        }
        assert_eq!(count, 600);
        assert_eq!(digest, sum);
    }

    #[test]
    fn timestamps_keep_their_distance_and_targets_their_offset() {
        let workload = workload(10);
        for target in 0..3 {
            let offset = workload.timestamp_ms(target, 0) - 1_700_000_000_000;
            assert!((0..15_000).contains(&offset));
            assert_eq!(workload.timestamp_ms(target, 9), 1_700_000_000_000 + 9 * 15_000 + offset);
        }
    }
}
