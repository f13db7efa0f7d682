//! The records of the log: their types, and the bodies of those that this program reads and writes.
//!
//! A record is one type byte and a body. Encoders append to a byte vector and write the type byte themselves; decoders
//! take the body behind the type byte ([`split`]) and borrow from it. Deltas are taken and applied with wrapping
//! arithmetic, as in Prometheus, so any reference and any timestamp can be written and reads back.
//!
//! Source of the layouts: Prometheus `tsdb/record/record.go` and `tsdb/docs/format/wal.md`; ours is in
//! `docs/format/wal.md`.

mod exemplar;
mod histogram;

pub use exemplar::{ExemplarsEncoder, RefExemplar, exemplars};
pub use histogram::{HistogramsEncoder, RefValue, ValuesIter, values};

use crate::encoding::{Corruption, Cursor, put};
use crate::model::{Label, MetricType, TimestampMs};

/// What a record holds, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum RecordType {
    /// Series references and their label sets.
    Series = 1,
    /// Float samples.
    Samples = 2,
    /// Deleted time ranges of series.
    Tombstones = 3,
    /// Exemplars.
    Exemplars = 4,
    /// Markers of chunks that were written to disk; only in Prometheus' write-behind log.
    MmapMarkers = 5,
    /// Type, unit and help of series.
    Metadata = 6,
    /// Native histograms with integer counts.
    HistogramSamples = 7,
    /// Native histograms with float counts.
    FloatHistogramSamples = 8,
    /// Native histograms with integer counts and custom buckets.
    CustomBucketsHistogramSamples = 9,
    /// Native histograms with float counts and custom buckets.
    CustomBucketsFloatHistogramSamples = 10,
    /// Float samples with start timestamps.
    SamplesV2 = 11,
    /// Native histograms with integer counts and start timestamps.
    HistogramSamplesV2 = 12,
    /// Native histograms with float counts and start timestamps.
    FloatHistogramSamplesV2 = 13,
    /// Ours: the end of a group, or the start of a segment ([`seal`](super::seal)).
    Seal = 224,
    /// Ours: float samples that are older than the newest of their series; laid out as [`RecordType::Samples`]. The
    /// same samples stand in `wbl/`, where Prometheus looks for them.
    OutOfOrderSamples = 225,
    /// Ours: what a checkpoint stands for; its last record.
    Checkpoint = 226,
    /// Ours: native histograms that are older than the newest sample of their series. The body is a whole record of one of
    /// the types of histograms, as it stands in `wbl/`.
    OutOfOrderHistograms = 227,
    /// Ours: type, unit and help of metric families, by the families' names.
    Families = 228,
}

impl RecordType {
    /// Every type, in the order of the numbers.
    pub const ALL: [RecordType; 18] = [
        RecordType::Series,
        RecordType::Samples,
        RecordType::Tombstones,
        RecordType::Exemplars,
        RecordType::MmapMarkers,
        RecordType::Metadata,
        RecordType::HistogramSamples,
        RecordType::FloatHistogramSamples,
        RecordType::CustomBucketsHistogramSamples,
        RecordType::CustomBucketsFloatHistogramSamples,
        RecordType::SamplesV2,
        RecordType::HistogramSamplesV2,
        RecordType::FloatHistogramSamplesV2,
        RecordType::Seal,
        RecordType::OutOfOrderSamples,
        RecordType::Checkpoint,
        RecordType::OutOfOrderHistograms,
        RecordType::Families,
    ];

    /// The type with this number, or `None` for one that is not known.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == byte)
    }

    /// The type's name in documents and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordType::Series => "series",
            RecordType::Samples => "samples",
            RecordType::Tombstones => "tombstones",
            RecordType::Exemplars => "exemplars",
            RecordType::MmapMarkers => "mmap_markers",
            RecordType::Metadata => "metadata",
            RecordType::HistogramSamples => "histogram_samples",
            RecordType::FloatHistogramSamples => "float_histogram_samples",
            RecordType::CustomBucketsHistogramSamples => "custom_buckets_histogram_samples",
            RecordType::CustomBucketsFloatHistogramSamples => "custom_buckets_float_histogram_samples",
            RecordType::SamplesV2 => "samples_v2",
            RecordType::HistogramSamplesV2 => "histogram_samples_v2",
            RecordType::FloatHistogramSamplesV2 => "float_histogram_samples_v2",
            RecordType::Seal => "seal",
            RecordType::OutOfOrderSamples => "out_of_order_samples",
            RecordType::Checkpoint => "checkpoint",
            RecordType::OutOfOrderHistograms => "out_of_order_histograms",
            RecordType::Families => "families",
        }
    }

    /// Whether the samples of such a record came late, which only records of ours say.
    pub fn is_out_of_order(self) -> bool {
        matches!(self, RecordType::OutOfOrderSamples | RecordType::OutOfOrderHistograms)
    }
}

/// A record's type and body. The type is `None` where it is not known; the body of an empty record is empty.
pub fn split(record: &[u8]) -> (Option<RecordType>, &[u8]) {
    match record.split_first() {
        Some((&byte, body)) => (RecordType::from_byte(byte), body),
        None => (None, &[]),
    }
}

/// Writes series records: any number of series in each.
#[derive(Debug, Clone, Copy)]
pub struct SeriesEncoder;

impl SeriesEncoder {
    /// Starts a record.
    pub fn start(out: &mut Vec<u8>) {
        out.push(RecordType::Series as u8);
    }

    /// Appends a series to a record that was started. Starts one where `out` is empty.
    pub fn push<'a>(out: &mut Vec<u8>, series_ref: u64, labels: impl ExactSizeIterator<Item = Label<'a>>) {
        if out.is_empty() {
            Self::start(out);
        }
        put::u64_be(out, series_ref);
        put::uvarint(out, labels.len() as u64);
        for label in labels {
            put::uvarint_slice(out, label.name.as_bytes());
            put::uvarint_slice(out, label.value.as_bytes());
        }
    }
}

/// The series of a series record.
#[derive(Debug, Clone)]
pub struct SeriesDecoder<'a>(Cursor<'a>);

/// Reads the body of a series record.
pub fn series(body: &[u8]) -> SeriesDecoder<'_> {
    SeriesDecoder(Cursor::new(body))
}

impl<'a> SeriesDecoder<'a> {
    /// The next series: its reference, with its labels in `labels` (which is cleared first), or `None` at the end.
    /// Labels come as they stand in the log: Prometheus writes them sorted and unique.
    pub fn next_into(&mut self, labels: &mut Vec<Label<'a>>) -> Result<Option<u64>, Corruption> {
        labels.clear();
        if self.0.is_empty() {
            return Ok(None);
        }
        let series_ref = self.0.u64_be()?;
        let count = self.0.uvarint()?;
        // Each label takes two bytes at least.
        if count > self.0.remaining() as u64 / 2 {
            return Err(self.0.corrupt("label count exceeds the record"));
        }
        for _ in 0..count {
            labels.push(Label { name: self.0.uvarint_str()?, value: self.0.uvarint_str()? });
        }
        Ok(Some(series_ref))
    }
}

/// Writes one record of float samples. The first sample is the base of all others' deltas.
#[derive(Debug, Clone, Copy, Default)]
pub struct SamplesEncoder {
    base: Option<(u64, TimestampMs)>,
    is_out_of_order: bool,
}

impl SamplesEncoder {
    /// An encoder for the next record.
    pub fn new() -> Self {
        SamplesEncoder { base: None, is_out_of_order: false }
    }

    /// An encoder for the next record of out-of-order samples.
    pub fn out_of_order() -> Self {
        SamplesEncoder { base: None, is_out_of_order: true }
    }

    /// Appends a sample. The first one starts the record, with its type byte.
    #[inline]
    pub fn push(&mut self, out: &mut Vec<u8>, series_ref: u64, timestamp_ms: TimestampMs, value: f64) {
        let (base_ref, base_timestamp_ms) = match self.base {
            Some(base) => base,
            None => {
                self.base = Some((series_ref, timestamp_ms));
                let kind = if self.is_out_of_order { RecordType::OutOfOrderSamples } else { RecordType::Samples };
                out.push(kind as u8);
                put::u64_be(out, series_ref);
                put::u64_be(out, timestamp_ms as u64);
                (series_ref, timestamp_ms)
            }
        };
        put::varint(out, series_ref.wrapping_sub(base_ref) as i64);
        put::varint(out, timestamp_ms.wrapping_sub(base_timestamp_ms));
        put::u64_be(out, value.to_bits());
    }
}

/// One sample of a samples record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefSample {
    /// The series.
    pub series_ref: u64,
    /// When it was measured.
    pub timestamp_ms: TimestampMs,
    /// What was measured.
    pub value: f64,
}

/// The samples of a samples record. It ends after the first error.
#[derive(Debug, Clone)]
pub struct SamplesIter<'a> {
    cursor: Cursor<'a>,
    base: Option<(u64, TimestampMs)>,
    failed: bool,
}

/// Reads the body of a samples record.
pub fn samples(body: &[u8]) -> SamplesIter<'_> {
    SamplesIter { cursor: Cursor::new(body), base: None, failed: false }
}

impl SamplesIter<'_> {
    #[inline]
    fn read(&mut self) -> Result<RefSample, Corruption> {
        let (base_ref, base_timestamp_ms) = match self.base {
            Some(base) => base,
            None => {
                let base = (self.cursor.u64_be()?, self.cursor.u64_be()? as i64);
                self.base = Some(base);
                base
            }
        };
        Ok(RefSample {
            series_ref: base_ref.wrapping_add(self.cursor.varint()? as u64),
            timestamp_ms: base_timestamp_ms.wrapping_add(self.cursor.varint()?),
            value: f64::from_bits(self.cursor.u64_be()?),
        })
    }
}

impl Iterator for SamplesIter<'_> {
    type Item = Result<RefSample, Corruption>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.cursor.is_empty() {
            return None;
        }
        let sample = self.read();
        self.failed = sample.is_err();
        // A record of a base and no sample is what Prometheus never writes, and harmless.
        if self.failed && self.base.is_some() && self.cursor.is_empty() && self.cursor.position() == 16 {
            return None;
        }
        Some(sample)
    }
}

/// A deleted time range of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// The series.
    pub series_ref: u64,
    /// First deleted millisecond.
    pub start_ms: TimestampMs,
    /// Last deleted millisecond.
    pub end_ms: TimestampMs,
}

/// Appends a tombstone to a record; starts the record where `out` is empty.
pub fn push_tombstone(out: &mut Vec<u8>, tombstone: Tombstone) {
    if out.is_empty() {
        out.push(RecordType::Tombstones as u8);
    }
    put::u64_be(out, tombstone.series_ref);
    put::varint(out, tombstone.start_ms);
    put::varint(out, tombstone.end_ms);
}

/// Reads the body of a tombstones record. Ends after the first error.
pub fn tombstones(body: &[u8]) -> impl Iterator<Item = Result<Tombstone, Corruption>> + '_ {
    entries(body, |cursor| {
        Ok(Tombstone { series_ref: cursor.u64_be()?, start_ms: cursor.varint()?, end_ms: cursor.varint()? })
    })
}

/// Type, unit and help of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefMetadata<'a> {
    /// The series.
    pub series_ref: u64,
    /// The metric's type.
    pub metric_type: MetricType,
    /// The metric's unit, or empty.
    pub unit: &'a str,
    /// What the metric is.
    pub help: &'a str,
}

const METADATA_UNIT: &str = "UNIT";
const METADATA_HELP: &str = "HELP";

/// Appends the metadata of a series to a record; starts the record where `out` is empty.
pub fn push_metadata(out: &mut Vec<u8>, metadata: RefMetadata<'_>) {
    if out.is_empty() {
        out.push(RecordType::Metadata as u8);
    }
    put::uvarint(out, metadata.series_ref);
    push_facts(out, metadata.metric_type, metadata.unit, metadata.help);
}

/// Type, unit and help of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyMetadata<'a> {
    /// The family's name.
    pub family: &'a str,
    /// The family's type.
    pub metric_type: MetricType,
    /// The family's unit, or empty.
    pub unit: &'a str,
    /// What the family is.
    pub help: &'a str,
}

/// Appends the metadata of a family to a record; starts the record where `out` is empty.
pub fn push_family(out: &mut Vec<u8>, metadata: FamilyMetadata<'_>) {
    if out.is_empty() {
        out.push(RecordType::Families as u8);
    }
    put::uvarint_slice(out, metadata.family.as_bytes());
    push_facts(out, metadata.metric_type, metadata.unit, metadata.help);
}

/// Reads the body of a families record. Fields that are not known are skipped. Ends after the first error.
pub fn families(body: &[u8]) -> impl Iterator<Item = Result<FamilyMetadata<'_>, Corruption>> + '_ {
    entries(body, |cursor| {
        let family = cursor.uvarint_str()?;
        let (metric_type, unit, help) = read_facts(cursor)?;
        Ok(FamilyMetadata { family, metric_type, unit, help })
    })
}

fn push_facts(out: &mut Vec<u8>, metric_type: MetricType, unit: &str, help: &str) {
    out.push(metric_type as u8);
    put::uvarint(out, 2);
    for (name, value) in [(METADATA_UNIT, unit), (METADATA_HELP, help)] {
        put::uvarint_slice(out, name.as_bytes());
        put::uvarint_slice(out, value.as_bytes());
    }
}

/// Type, unit and help.
fn read_facts<'a>(cursor: &mut Cursor<'a>) -> Result<(MetricType, &'a str, &'a str), Corruption> {
    let metric_type = MetricType::from_number(u64::from(cursor.u8()?));
    let (mut unit, mut help) = ("", "");
    let fields = cursor.uvarint()?;
    if fields > cursor.remaining() as u64 / 2 {
        return Err(cursor.corrupt("field count exceeds the record"));
    }
    for _ in 0..fields {
        let name = cursor.uvarint_slice()?;
        match name {
            name if name == METADATA_UNIT.as_bytes() => unit = cursor.uvarint_str()?,
            name if name == METADATA_HELP.as_bytes() => help = cursor.uvarint_str()?,
            _ => drop(cursor.uvarint_slice()?),
        }
    }
    Ok((metric_type, unit, help))
}

/// Reads the body of a metadata record. Fields that are not known are skipped. Ends after the first error.
pub fn metadata(body: &[u8]) -> impl Iterator<Item = Result<RefMetadata<'_>, Corruption>> + '_ {
    entries(body, |cursor| {
        let series_ref = cursor.uvarint()?;
        let (metric_type, unit, help) = read_facts(cursor)?;
        Ok(RefMetadata { series_ref, metric_type, unit, help })
    })
}

/// Reads entries one behind the other until the body or the first error ends.
fn entries<'a, T>(
    body: &'a [u8],
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<T, Corruption>,
) -> impl Iterator<Item = Result<T, Corruption>> {
    let mut cursor = Cursor::new(body);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || cursor.is_empty() {
            return None;
        }
        let entry = read(&mut cursor);
        failed = entry.is_err();
        Some(entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label<'a>(name: &'a str, value: &'a str) -> Label<'a> {
        Label { name, value }
    }

    #[test]
    fn series_record_has_the_layout_of_prometheus_and_reads_back() {
        let mut record = Vec::new();
        SeriesEncoder::push(&mut record, 0x0102, [label("a", "bc")].into_iter());
        SeriesEncoder::push(&mut record, u64::MAX, [label("x", ""), label("y", "é")].into_iter());
        assert_eq!(record[..14], [1, 0, 0, 0, 0, 0, 0, 1, 2, 1, 1, b'a', 2, b'b']);
        let (kind, body) = split(&record);
        assert_eq!(kind, Some(RecordType::Series));
        let (mut decoder, mut labels) = (series(body), Vec::new());
        assert_eq!(decoder.next_into(&mut labels), Ok(Some(0x0102)));
        assert_eq!(labels, [label("a", "bc")]);
        assert_eq!(decoder.next_into(&mut labels), Ok(Some(u64::MAX)));
        assert_eq!(labels, [label("x", ""), label("y", "é")]);
        assert_eq!(decoder.next_into(&mut labels), Ok(None));
    }

    #[test]
    fn samples_record_has_the_layout_of_prometheus_and_reads_back_bit_for_bit() {
        let written = [
            (7u64, 1_000i64, 1.5f64),
            (9, 999, f64::from_bits(0x7ff0_0000_0000_0002)),
            (0, i64::MIN, -0.0),
            (u64::MAX, i64::MAX, f64::INFINITY),
        ];
        let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::new());
        for (series_ref, timestamp_ms, value) in written {
            encoder.push(&mut record, series_ref, timestamp_ms, value);
        }
        assert_eq!(record[..19], [2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0]);
        assert_eq!(record[27..29], [4, 1]);
        let read: Vec<_> = samples(split(&record).1)
            .map(|sample| sample.unwrap())
            .map(|sample| (sample.series_ref, sample.timestamp_ms, sample.value.to_bits()))
            .collect();
        assert_eq!(read, written.map(|(series_ref, timestamp_ms, value)| (series_ref, timestamp_ms, value.to_bits())));
    }

    #[test]
    fn samples_record_of_a_base_alone_holds_no_sample() {
        assert_eq!(samples(&[0; 16]).count(), 0);
    }

    #[test]
    fn tombstones_and_metadata_read_back_as_written() {
        let mut record = Vec::new();
        let tombstone = Tombstone { series_ref: 3, start_ms: i64::MIN, end_ms: 5 };
        push_tombstone(&mut record, tombstone);
        push_tombstone(&mut record, Tombstone { series_ref: 4, ..tombstone });
        assert_eq!(split(&record).0, Some(RecordType::Tombstones));
        let read: Vec<_> = tombstones(&record[1..]).map(|entry| entry.unwrap()).collect();
        assert_eq!(read, [tombstone, Tombstone { series_ref: 4, ..tombstone }]);

        let mut record = Vec::new();
        let entry = RefMetadata { series_ref: 300, metric_type: MetricType::Counter, unit: "s", help: "time" };
        push_metadata(&mut record, entry);
        assert_eq!(record[..5], [6, 0xac, 2, 1, 2]);
        record.extend([1, 2, 1, 1, b'x', 1, b'y']);
        let read: Vec<_> = metadata(&record[1..]).map(|entry| entry.unwrap()).collect();
        assert_eq!(read[0], entry);
        assert_eq!((read[1].series_ref, read[1].metric_type, read[1].help), (1, MetricType::Gauge, ""));
    }

    #[test]
    fn families_read_back_as_written_and_unknown_fields_are_skipped() {
        let mut record = Vec::new();
        let entry = FamilyMetadata { family: "up", metric_type: MetricType::Gauge, unit: "s", help: "" };
        push_family(&mut record, entry);
        assert_eq!(record[..6], [228, 2, b'u', b'p', 2, 2]);
        record.extend([1, b'a', 1, 1, 1, b'x', 1, b'y']);
        let read: Vec<_> = families(&record[1..]).map(|entry| entry.unwrap()).collect();
        assert_eq!(read[0], entry);
        assert_eq!((read[1].family, read[1].metric_type, read[1].unit), ("a", MetricType::Counter, ""));
    }

    #[test]
    fn records_cut_or_flipped_anywhere_never_panic() {
        let mut record = Vec::new();
        SeriesEncoder::push(&mut record, 1, [label("__name__", "up"), label("job", "node")].into_iter());
        let mut metadata_record = Vec::new();
        push_metadata(
            &mut metadata_record,
            RefMetadata { series_ref: 1, metric_type: MetricType::Info, unit: "", help: "h" },
        );
        let (mut samples_record, mut encoder) = (Vec::new(), SamplesEncoder::new());
        encoder.push(&mut samples_record, 1, 2, 3.0);
        encoder.push(&mut samples_record, 2, 5, 4.0);
        for whole in [record, metadata_record, samples_record] {
            for end in 1..=whole.len() {
                for flip in 0..=255u8 {
                    let mut bytes = whole[1..end].to_vec();
                    if let Some(last) = bytes.last_mut() {
                        *last ^= flip;
                    }
                    let (mut decoder, mut labels) = (series(&bytes), Vec::new());
                    while let Ok(Some(_)) = decoder.next_into(&mut labels) {}
                    assert!(samples(&bytes).count() <= bytes.len());
                    assert!(tombstones(&bytes).count() <= bytes.len());
                    assert!(metadata(&bytes).count() <= bytes.len());
                    assert!(families(&bytes).count() <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn label_count_beyond_the_record_is_refused_before_memory_is_taken() {
        let mut body = vec![0; 8];
        put::uvarint(&mut body, u64::MAX);
        let mut labels = Vec::new();
        assert!(series(&body).next_into(&mut labels).is_err());
        assert_eq!(labels.capacity(), 0);
    }
}
