//! Tests of the scanner of remote write messages.

use super::super::histogram::tests::Fields;
use super::super::message::HISTOGRAM_COST;
use super::super::sample::{TAG_TIMESTAMP, TAG_VALUE};
use super::*;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Label, LabelSet};
use crate::storage::RejectReason;
use proptest::prelude::*;

/// Builds messages field by field, as a sender would or as none should.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn field(mut self, number: u8, content: &[u8]) -> Self {
        self.0.push(number << 3 | 2);
        put::uvarint_slice(&mut self.0, content);
        self
    }

    fn label(self, name: &str, value: &str) -> Self {
        let label = Message::default().field(1, name.as_bytes()).field(2, value.as_bytes());
        self.field(1, &label.0)
    }

    fn sample(self, timestamp_ms: i64, value: f64) -> Self {
        let mut sample = vec![TAG_VALUE];
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(TAG_TIMESTAMP);
        put::uvarint(&mut sample, timestamp_ms as u64);
        self.field(2, &sample)
    }

    fn series(self, series: Message) -> Self {
        self.field(1, &series.0)
    }
}

fn up() -> Message {
    Message::default().label("__name__", "up").label("job", "node")
}

/// Label set and samples of each series of a message, and what else it held.
fn decoded(message: &Message) -> Result<(Vec<(LabelSet, Vec<(i64, u64)>)>, usize), DecodeError> {
    let mut gathered = Vec::new();
    let mut batch = WriteBatch::default();
    decode(&message.0, DecodeLimits::default(), &mut gathered, &mut batch)?;
    let series = batch.series.iter().map(|entry| {
        let samples = &batch.samples[entry.samples.start as usize..entry.samples.end as usize];
        let samples = samples.iter().map(|sample| (sample.timestamp_ms, sample.value.to_bits())).collect();
        (entry.labels.to_label_set().unwrap(), samples)
    });
    Ok((series.collect(), batch.histograms.len()))
}

#[test]
fn series_keep_their_samples_to_the_bit_and_their_order() {
    let stale = f64::from_bits(crate::model::STALE_NAN_BITS);
    let message = Message::default()
        .series(up().sample(1_700_000_000_000, 1.0).sample(1_700_000_015_000, stale))
        .series(Message::default().label("__name__", "x").sample(i64::MIN, -0.0).sample(i64::MAX, f64::INFINITY));
    let (series, ..) = decoded(&message).unwrap();
    assert_eq!(
        series,
        [
            (
                LabelSet::from_pairs([("__name__", "up"), ("job", "node")]),
                vec![(1_700_000_000_000, 1.0f64.to_bits()), (1_700_000_015_000, stale.to_bits())]
            ),
            (
                LabelSet::from_pairs([("__name__", "x")]),
                vec![(i64::MIN, (-0.0f64).to_bits()), (i64::MAX, f64::INFINITY.to_bits())]
            ),
        ]
    );
}

#[test]
fn labels_in_one_piece_are_borrowed_from_the_message() {
    let message = Message::default().series(up().sample(1, 1.0));
    let mut gathered = Vec::new();
    let mut batch = WriteBatch::default();
    decode(&message.0, DecodeLimits::default(), &mut gathered, &mut batch).unwrap();
    assert_eq!(batch.series[0].labels.0, up().0);
    assert!(message.0.as_ptr_range().contains(&batch.series[0].labels.0.as_ptr()));
    assert!(gathered.is_empty());
}

#[test]
fn labels_behind_the_samples_are_borrowed_too() {
    let message = Message::default().series(Message::default().sample(1, 1.0).label("__name__", "up"));
    let mut gathered = Vec::new();
    let mut batch = WriteBatch::default();
    decode(&message.0, DecodeLimits::default(), &mut gathered, &mut batch).unwrap();
    assert_eq!(batch.series[0].labels.0, Message::default().label("__name__", "up").0);
    assert!(gathered.is_empty());
}

#[test]
fn scattered_labels_are_gathered_per_series() {
    let scattered =
        |job: &str| Message::default().label("__name__", "up").sample(1, 2.0).label("job", job).label("z", "1");
    let message = Message::default().series(scattered("a")).series(up().sample(3, 4.0)).series(scattered("b"));
    let (series, ..) = decoded(&message).unwrap();
    assert_eq!(series[0].0, LabelSet::from_pairs([("__name__", "up"), ("job", "a"), ("z", "1")]));
    assert_eq!(series[1].0, LabelSet::from_pairs([("__name__", "up"), ("job", "node")]));
    assert_eq!(series[2].0, LabelSet::from_pairs([("__name__", "up"), ("job", "b"), ("z", "1")]));
}

#[test]
fn exemplars_stand_with_their_series_also_where_their_labels_are_scattered() {
    let exemplar = |message: Message| {
        let value = Fields::default().double(2, 0.25).number(3, 7);
        Message(message.label("trace_id", "a").0.into_iter().chain(value.0).collect())
    };
    let together = exemplar(Message::default());
    let scattered = together.clone().label("span_id", "b");
    let message = Message::default()
        .series(up().sample(1, 1.0))
        .series(up().field(3, &together.0))
        .series(up().sample(2, 1.0).field(3, &scattered.0).field(3, &[]));
    let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
    decode(&message.0, DecodeLimits::default(), &mut gathered, &mut batch).unwrap();
    assert_eq!(batch.series.len(), 3);
    let read: Vec<_> = batch
        .exemplars
        .iter()
        .map(|one| (one.entry, one.labels.decode().unwrap().len(), one.timestamp_ms, one.value))
        .collect();
    assert_eq!(read, [(1, 1, 7, 0.25), (2, 2, 7, 0.25), (2, 0, 0, 0.0)]);
    assert_eq!(batch.exemplars[1].labels.decode().unwrap()[1], (&b"span_id"[..], &b"b"[..]));
}

/// A histogram that is valid where its schema is.
fn histogram(schema: i64, timestamp_ms: u64) -> Vec<u8> {
    Fields::default().number(1, 1).signed(4, schema).number(6, 1).number(15, timestamp_ms).0
}

#[test]
fn histograms_stand_with_their_series_and_invalid_ones_are_named() {
    let of = |name: &str| Message::default().label("__name__", name);
    let message = Message::default()
        .series(up().sample(1, 1.0))
        .series(of("h").field(4, &histogram(0, 5)).sample(3, 0.5).label("a", "b").field(4, &histogram(2, 6)))
        .series(of("broken").field(4, &histogram(77, 7)).label("a", "b"))
        .series(up().field(4, &histogram(1, 8)).field(4, &histogram(53, 9)));
    let mut gathered = Vec::new();
    let mut batch = WriteBatch::default();
    let decoded = decode(&message.0, DecodeLimits::default(), &mut gathered, &mut batch).unwrap();
    let times = |entry: usize| -> Vec<i64> { batch.histograms_of(entry).iter().map(|one| one.timestamp_ms).collect() };
    assert_eq!((0..4).map(times).collect::<Vec<_>>(), [vec![], vec![5, 6], vec![8], vec![]]);
    let floats: Vec<usize> = (0..4).map(|entry| batch.samples_of(entry).len()).collect();
    assert_eq!((floats, batch.series.len()), (vec![1, 1, 0, 0], 3));
    assert_eq!(batch.series[1].labels.to_label_set().unwrap(), LabelSet::from_pairs([("__name__", "h"), ("a", "b")]));
    assert_eq!(decoded.refused.rejected[RejectReason::InvalidHistogram as usize], 2);
    let reason = |schema: i32| format!("schema {schema} is neither between -4 and 8 nor -53");
    assert_eq!(
        decoded.refused.rejects.iter().map(|reject| reject.detail.clone()).collect::<Vec<_>>(),
        [
            format!(r#"native histogram at 7 ms: {}: {{__name__="broken", a="b"}}"#, reason(77)),
            format!(r#"native histogram at 9 ms: {}: {{__name__="up", job="node"}}"#, reason(53)),
        ]
    );
}

#[test]
fn malformed_histogram_is_an_error_with_its_place() {
    let mut bytes = histogram(0, 5);
    bytes.extend([3 << 3, 1]);
    let place = 2 + up().0.len() + 2 + bytes.len() - 2;
    let error = decoded(&Message::default().series(up().field(4, &bytes))).unwrap_err();
    assert_eq!(error, Corruption { what: "field has the wrong wire type", offset: place }.into());
}

#[test]
fn metadata_is_read() {
    let mut metadata = vec![0x08, 1];
    metadata.extend(Message::default().field(2, b"go_gc").field(4, b"Collections.").field(5, b"s").0);
    let mut gathered = Vec::new();
    let mut batch = WriteBatch::default();
    let message = Message::default().field(3, &metadata);
    let decoded = decode(&message.0, DecodeLimits::default(), &mut gathered, &mut batch).unwrap();
    let expected = Metadata { metric_type: MetricType::Counter, family: "go_gc", help: "Collections.", unit: "s" };
    assert_eq!(decoded.metadata, [expected]);
}

#[test]
fn unknown_fields_are_skipped_everywhere() {
    let unknown = |message: Message| message.field(9, b"later").field(15, &[]);
    let mut sample = vec![0x18, 5, TAG_TIMESTAMP, 7];
    sample.push(TAG_VALUE);
    sample.extend_from_slice(&3.5f64.to_le_bytes());
    let message = unknown(Message::default()).series(unknown(up()).field(2, &sample));
    let (series, ..) = decoded(&message).unwrap();
    assert_eq!(series[0].1, [(7, 3.5f64.to_bits())]);
}

#[test]
fn message_of_version_2_is_an_error_and_not_an_empty_request() {
    for (number, content) in [(4, &b"up"[..]), (5, &[0x0a, 2, 1, 2])] {
        let message = Message::default().series(up().sample(1, 1.0)).field(number, content);
        let error = decoded(&message).unwrap_err().to_string();
        assert!(error.contains("io.prometheus.write.v2.Request"), "{error}");
    }
}

#[test]
fn sample_fields_that_are_zero_may_be_left_out() {
    let (series, ..) = decoded(&Message::default().series(up().field(2, &[]).field(2, &[TAG_TIMESTAMP, 9]))).unwrap();
    assert_eq!(series[0].1, [(0, 0), (9, 0)]);
}

#[test]
fn known_field_of_another_wire_type_is_an_error_with_its_place() {
    let mut series = up();
    series.0.extend([2 << 3, 1]);
    let place = 2 + up().0.len();
    let error = decoded(&Message::default().series(series)).unwrap_err();
    assert_eq!(error, Corruption { what: "field has the wrong wire type", offset: place }.into());
    assert!(decoded(&Message(vec![1 << 3, 1])).is_err());
}

#[test]
fn labels_of_any_length_stay_in_one_piece() {
    for lengths in [[1, 200, 3], [200, 1, 1], [127, 128, 126], [1, 1, 300]] {
        let values = lengths.map(|length| "v".repeat(length));
        let labels = Message::default().label("__name__", &values[0]).label("b", &values[1]).label("c", &values[2]);
        for series in [
            labels.clone().sample(1, 1.0),
            Message(Message::default().sample(1, 1.0).0.into_iter().chain(labels.0.clone()).collect()),
        ] {
            let message = Message::default().series(series);
            let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
            decode(&message.0, DecodeLimits::default(), &mut gathered, &mut batch).unwrap();
            assert_eq!(batch.series[0].labels.0, labels.0);
            assert!(gathered.is_empty());
        }
    }
}

#[test]
fn message_past_a_limit_is_refused() {
    let message = Message::default().series(up().sample(1, 1.0)).series(up().sample(2, 1.0).sample(3, 1.0));
    let run = |series, samples| {
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        decode(&message.0, DecodeLimits { series, samples, ..DecodeLimits::default() }, &mut gathered, &mut batch)
            .map(drop)
    };
    assert_eq!(run(2, 3), Ok(()));
    assert_eq!(run(1, 3), Err(DecodeError::TooMany { what: "series", limit: 1 }));
    assert_eq!(run(2, 2), Err(DecodeError::TooMany { what: "samples", limit: 2 }));
    let message = Message::default().field(3, &[]).field(3, &[]).field(3, &[]);
    let run = |series| {
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        decode(&message.0, DecodeLimits { series, ..DecodeLimits::default() }, &mut gathered, &mut batch).map(drop)
    };
    assert_eq!(run(3), Ok(()));
    assert_eq!(run(2), Err(DecodeError::TooMany { what: "metadata entries", limit: 2 }));
    let message = Message::default().series(up().field(4, &histogram(0, 1)).field(4, &histogram(0, 2)));
    let run = |samples| {
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        decode(&message.0, DecodeLimits { series: 1, samples, ..DecodeLimits::default() }, &mut gathered, &mut batch)
            .map(drop)
    };
    assert_eq!(run(2 * HISTOGRAM_COST), Ok(()));
    assert!(matches!(run(2 * HISTOGRAM_COST - 1), Err(DecodeError::TooMany { .. })));
}

#[test]
fn message_cut_anywhere_is_an_error_or_whole_series() {
    let message = Message::default().series(up().sample(1, 1.0)).series(up().sample(2, 1.0).field(3, b"x"));
    let whole = [0, 2 + up().sample(1, 1.0).0.len()];
    for end in 0..message.0.len() {
        let result = decoded(&Message(message.0[..end].to_vec()));
        assert_eq!(result.is_ok(), whole.contains(&end), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn prop_any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        if decode(&bytes, DecodeLimits::default(), &mut gathered, &mut batch).is_ok() {
            for entry in &batch.series {
                prop_assert!(entry.samples.start < entry.samples.end);
                prop_assert!(entry.samples.end as usize <= batch.samples.len());
            }
        }
    }

    #[test]
    fn prop_damaged_messages_are_decoded_or_refused(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        value in any::<f64>(),
    ) {
        let mut labels = Vec::new();
        encode_canonical([Label { name: "__name__", value: "up" }].into_iter(), &mut labels);
        let mut message = Message::default().series(Message(labels).sample(1, value)).series(up().sample(2, 1.0));
        let at = at.index(message.0.len());
        message.0[at] = byte;
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        let _decided = decode(&message.0, DecodeLimits::default(), &mut gathered, &mut batch);
    }
}
