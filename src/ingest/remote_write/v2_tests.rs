//! Tests of the scanner of remote write 2.0 messages.

use super::super::histogram::tests::Fields;
use super::super::message::HISTOGRAM_COST;
use super::*;
use crate::encoding::put;
use crate::model::raw_labels::encode_canonical;
use crate::model::{CounterResetHint, Label, LabelSet, MetricType};
use proptest::prelude::*;

/// Builds messages as a sender would, or as none should.
#[derive(Debug, Clone)]
struct Message {
    symbols: Vec<Vec<u8>>,
    series: Vec<Vec<u8>>,
}

fn packed(refs: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    refs.iter().for_each(|reference| put::uvarint(&mut bytes, *reference));
    bytes
}

fn sample(timestamp_ms: i64, value: f64) -> Vec<u8> {
    Fields::default().double(1, value).number(2, timestamp_ms as u64).0
}

/// A histogram that is valid where its schema is.
fn histogram(schema: i64, timestamp_ms: u64) -> Vec<u8> {
    Fields::default().number(1, 1).signed(4, schema).number(6, 1).number(15, timestamp_ms).0
}

impl Message {
    fn new() -> Self {
        Message { symbols: vec![Vec::new()], series: Vec::new() }
    }

    fn symbol(&mut self, text: &[u8]) -> u64 {
        let known = self.symbols.iter().position(|symbol| symbol == text);
        known.unwrap_or_else(|| {
            self.symbols.push(text.to_vec());
            self.symbols.len() - 1
        }) as u64
    }

    fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u64> {
        labels.iter().flat_map(|(name, value)| [name, value]).map(|text| self.symbol(text.as_bytes())).collect()
    }

    /// Adds a series of these labels, with further fields by number and content.
    fn series(mut self, labels: &[(&str, &str)], fields: &[(u64, &[u8])]) -> Self {
        let refs = self.refs(labels);
        self.raw_series(&refs, fields)
    }

    fn raw_series(mut self, refs: &[u64], fields: &[(u64, &[u8])]) -> Self {
        let series = Fields::default().bytes(1, &packed(refs));
        let series = fields.iter().fold(series, |series, (number, content)| series.bytes(*number, content));
        self.series.push(series.0);
        self
    }

    fn metadata(&mut self, metric_type: u64, help: &str, unit: &str) -> Vec<u8> {
        let (help, unit) = (self.symbol(help.as_bytes()), self.symbol(unit.as_bytes()));
        Fields::default().number(1, metric_type).number(3, help).number(4, unit).0
    }

    fn symbol_bytes(&self) -> Vec<u8> {
        self.symbols.iter().fold(Fields::default(), |fields, symbol| fields.bytes(4, symbol)).0
    }

    fn series_bytes(&self) -> Vec<u8> {
        self.series.iter().fold(Fields::default(), |fields, series| fields.bytes(5, series)).0
    }

    fn bytes(&self) -> Vec<u8> {
        [self.symbol_bytes(), self.series_bytes()].concat()
    }
}

const ALL_FEATURES: WriteFeatures = WriteFeatures { start_zeros: true, type_and_unit_labels: true };

const UP: &[(&str, &str)] = &[("__name__", "up"), ("job", "node")];

/// What a batch holds, owned: labels, samples to the bit, times of histograms, exemplars.
#[derive(Debug, PartialEq)]
struct Series {
    labels: LabelSet,
    samples: Vec<(i64, u64)>,
    histograms: Vec<i64>,
    exemplars: Vec<(i64, f64, String)>,
}

/// What was decoded, and in words what was refused.
#[derive(Debug, PartialEq)]
struct Outcome {
    series: Vec<Series>,
    rejected: Vec<(RejectReason, u64)>,
    details: Vec<String>,
    exemplars_refused: u64,
    exemplar_details: Vec<String>,
}

fn decoded_with(body: &[u8], limits: DecodeLimits) -> Result<Outcome, DecodeError> {
    let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
    let decoded = decode(body, limits, WriteFeatures::default(), &mut gathered, &mut batch)?;
    let exemplars_of = |entry| batch.exemplars.iter().filter(move |exemplar| exemplar.entry == entry);
    let series = batch.series.iter().enumerate().map(|(entry, one)| Series {
        labels: one.labels.to_label_set().unwrap(),
        samples: batch.samples_of(entry).iter().map(|one| (one.timestamp_ms, one.value.to_bits())).collect(),
        histograms: batch.histograms_of(entry).iter().map(|one| one.timestamp_ms).collect(),
        exemplars: exemplars_of(entry as u32)
            .map(|one| (one.timestamp_ms, one.value, one.labels.to_string()))
            .collect(),
    });
    let rejected = RejectReason::ALL.into_iter().zip(decoded.refused.rejected).filter(|(_, count)| *count > 0);
    Ok(Outcome {
        series: series.collect(),
        rejected: rejected.collect(),
        details: decoded.refused.rejects.iter().map(|reject| reject.detail.clone()).collect(),
        exemplars_refused: decoded.refused.exemplars_rejected_total(),
        exemplar_details: decoded.refused.exemplar_rejects.iter().map(|reject| reject.detail.clone()).collect(),
    })
}

fn decoded(body: &[u8]) -> Result<Outcome, DecodeError> {
    decoded_with(body, DecodeLimits::default())
}

/// Names of the series that were kept.
fn names(outcome: &Outcome) -> Vec<&str> {
    outcome.series.iter().map(|series| series.labels.get("__name__").unwrap()).collect()
}

#[test]
fn series_keep_their_samples_to_the_bit_and_their_order() {
    let stale = f64::from_bits(crate::model::STALE_NAN_BITS);
    let payload = f64::from_bits(0x7ff8_dead_beef_0001);
    let samples = [(1_700_000_000_000, -0.0), (1_700_000_015_000, stale), (i64::MIN, f64::from_bits(1)), (7, payload)];
    let messages: Vec<Vec<u8>> = samples.iter().map(|(time, value)| sample(*time, *value)).collect();
    let fields: Vec<(u64, &[u8])> = messages.iter().map(|message| (2, message.as_slice())).collect();
    let message = Message::new().series(UP, &fields).series(&[("__name__", "x")], &fields[..1]);
    let outcome = decoded(&message.bytes()).unwrap();
    let expected = samples.map(|(time, value)| (time, value.to_bits())).to_vec();
    assert_eq!(outcome.series[0].samples, expected);
    assert_eq!(outcome.series[0].labels, LabelSet::from_pairs(UP.iter().copied()));
    assert_eq!((names(&outcome), outcome.rejected.len()), (vec!["up", "x"], 0));
}

#[test]
fn labels_have_the_bytes_that_the_head_looks_for() {
    let long = "v".repeat(300);
    let labels = [("__name__", "up"), ("a", long.as_str()), ("job", "node")];
    let body = Message::new().series(&labels, &[(2, &sample(1, 1.0))]).bytes();
    let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
    decode(&body, DecodeLimits::default(), WriteFeatures::default(), &mut gathered, &mut batch).unwrap();
    let mut canonical = Vec::new();
    encode_canonical(labels.iter().map(|&(name, value)| Label { name, value }), &mut canonical);
    assert_eq!(batch.series[0].labels.0, canonical);
}

#[test]
fn symbols_may_stand_behind_the_series_and_between_them() {
    let message = Message::new().series(UP, &[(2, &sample(1, 1.0))]).series(&[("__name__", "x")], &[(2, &[])]);
    let expected = decoded(&message.bytes());
    assert_eq!(decoded(&[message.series_bytes(), message.symbol_bytes()].concat()), expected);
    let (first, rest) = message.symbols.split_at(2);
    let part = |symbols: &[Vec<u8>]| Message { symbols: symbols.to_vec(), series: Vec::new() }.symbol_bytes();
    assert_eq!(decoded(&[part(first), message.series_bytes(), part(rest)].concat()), expected);
}

#[test]
fn references_may_be_single_fields_and_stand_anywhere_in_their_series() {
    let mut message = Message::new();
    let refs = message.refs(UP);
    let series = Fields::default().number(1, refs[0]).bytes(2, &sample(1, 1.0)).number(1, refs[1]);
    message.series.push(series.bytes(1, &packed(&refs[2..])).0);
    let outcome = decoded(&message.bytes()).unwrap();
    assert_eq!(outcome.series[0].labels, LabelSet::from_pairs(UP.iter().copied()));
}

#[test]
fn series_with_references_that_lead_nowhere_is_refused_by_name_and_its_neighbours_are_kept() {
    let mut message = Message::new().series(UP, &[(2, &sample(1, 1.0))]);
    message.symbol(b"last");
    let count = message.symbols.len() as u64;
    let exemplar = Fields::default().double(2, 1.0).number(3, 1).0;
    let one = sample(1, 1.0);
    let message = message
        .raw_series(&[1, 2, 3, count], &[(2, &one), (2, &one), (4, &exemplar), (3, &histogram(0, 1))])
        .raw_series(&[1, 2, 3], &[(2, &one)])
        .raw_series(&[1, 2, u64::MAX, 1 << 32], &[(2, &one)])
        .series(&[("__name__", "last")], &[(2, &one)]);
    let outcome = decoded(&message.bytes()).unwrap();
    assert_eq!(names(&outcome), ["up", "last"]);
    let last = &outcome.series[1];
    assert_eq!((last.samples.len(), last.histograms.len(), last.exemplars.len()), (1, 0, 0), "nothing of the refused");
    assert_eq!(outcome.rejected, [(RejectReason::InvalidReference, 5)]);
    assert_eq!(outcome.exemplars_refused, 1);
    assert_eq!(outcome.exemplar_details, outcome.details[..1], "it goes with its series");
    assert_eq!(
        outcome.details,
        [
            r#"reference 6 is outside of the 6 symbols: {__name__="up", job="<6>"}"#,
            r#"3 label references are not pairs of name and value: {__name__="up"}"#,
            r#"reference 4294967295 is outside of the 6 symbols: {__name__="up", <4294967295>="<4294967295>"}"#,
        ]
    );
}

#[test]
fn series_without_anything_is_refused_and_one_of_exemplars_alone_is_kept() {
    let exemplar = Fields::default().double(2, 0.5).number(3, 9).0;
    let message = Message::new()
        .series(UP, &[])
        .series(&[("__name__", "traced")], &[(4, &exemplar)])
        .series(&[("__name__", "x")], &[(2, &sample(1, 1.0))]);
    let outcome = decoded(&message.bytes()).unwrap();
    assert_eq!(names(&outcome), ["traced", "x"]);
    assert_eq!(outcome.series[0].exemplars, [(9, 0.5, "{}".to_owned())]);
    assert_eq!(outcome.rejected, [], "no sample is lost");
    assert_eq!(outcome.details, [r#"neither a sample nor a histogram nor an exemplar: {__name__="up", job="node"}"#]);
}

#[test]
fn series_without_anything_that_are_many_are_told_of_as_a_few() {
    let outcome = decoded(&[0x2a, 0].repeat(100_000)).unwrap();
    assert_eq!(outcome.details.len(), BatchOutcome::REJECTS_KEPT);
    assert_eq!((outcome.series, outcome.rejected), (Vec::new(), Vec::new()));
}

#[test]
fn histograms_stand_with_their_series_and_invalid_ones_are_named() {
    let message = Message::new()
        .series(UP, &[(2, &sample(1, 1.0))])
        .series(&[("__name__", "h")], &[(3, &histogram(0, 5)), (3, &histogram(77, 6)), (3, &histogram(2, 7))])
        .series(&[("__name__", "broken")], &[(3, &histogram(-9, 8))])
        .series(&[("__name__", "fine")], &[(3, &histogram(10, 9))]);
    let outcome = decoded(&message.bytes()).unwrap();
    assert_eq!(names(&outcome), ["up", "h", "fine"]);
    assert_eq!(outcome.series[1].histograms, [5, 7]);
    assert_eq!(outcome.series[2].histograms, [9], "a finer schema than is stored is reduced");
    assert_eq!(outcome.rejected, [(RejectReason::InvalidHistogram, 2)]);
    assert!(outcome.details[0].starts_with("native histogram at 6 ms: schema 77"), "{:?}", outcome.details);
    assert!(outcome.details[1].ends_with(r#"{__name__="broken"}"#), "{:?}", outcome.details);
}

#[test]
fn exemplars_have_labels_of_their_own_and_a_bad_one_is_refused_alone() {
    let mut message = Message::new();
    let refs = message.refs(&[("trace_id", "abc")]);
    let exemplar = |refs: &[u64], time| Fields::default().bytes(1, &packed(refs)).double(2, 0.25).number(3, time).0;
    let (good, odd, outside) = (exemplar(&refs, 7), exemplar(&refs[..1], 8), exemplar(&[1, 77], 9));
    let message = message.series(UP, &[(4, &odd), (4, &good), (2, &sample(1, 1.0)), (4, &outside)]);
    let outcome = decoded(&message.bytes()).unwrap();
    assert_eq!(outcome.series[0].exemplars, [(7, 0.25, r#"{trace_id="abc"}"#.to_owned())]);
    assert_eq!((outcome.series[0].samples.len(), outcome.exemplars_refused), (1, 2));
    assert_eq!(outcome.rejected, [], "no sample is lost");
    assert_eq!(
        outcome.exemplar_details[1],
        r#"exemplar at 9 ms: reference 77 is outside of the 7 symbols: {trace_id="<77>"} of {__name__="up", job="node"}"#
    );
}

#[test]
fn metadata_is_told_once_for_each_family_and_text() {
    let mut message = Message::new();
    let histogram_of = message.metadata(3, "How long.", "s");
    let counter = message.metadata(1, "", "");
    let one = sample(1, 1.0);
    let bucket = |le| [("__name__", "lag_bucket"), ("le", le)];
    let body = message
        .series(&bucket("1"), &[(2, &one), (5, &histogram_of)])
        .series(&bucket("2"), &[(5, &histogram_of), (2, &one)])
        .series(&[("__name__", "requests_total")], &[(2, &one), (5, &counter)])
        .series(&[("__name__", "untold")], &[(2, &one), (5, &[])])
        .bytes();
    let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
    let decoded = decode(&body, DecodeLimits::default(), WriteFeatures::default(), &mut gathered, &mut batch).unwrap();
    let family = |metric_type, family, help, unit| Metadata { metric_type, family, help, unit };
    let expected =
        [family(MetricType::Histogram, "lag", "How long.", "s"), family(MetricType::Counter, "requests_total", "", "")];
    assert_eq!(decoded.metadata, expected);
    assert_eq!(batch.series.len(), 4);
}

#[test]
fn series_with_metadata_that_leads_nowhere_is_refused_by_name() {
    let mut message = Message::new();
    let not_text = message.symbol(&[0xff]);
    let one = sample(1, 1.0);
    let help = |reference| Fields::default().number(1, 1).number(3, reference).0;
    let message = message
        .series(UP, &[(2, &one), (5, &help(99))])
        .series(&[("__name__", "x")], &[(2, &one), (2, &one), (5, &help(not_text))])
        .series(&[("__name__", "fine")], &[(2, &one), (5, &help(0))]);
    let outcome = decoded(&message.bytes()).unwrap();
    assert_eq!(names(&outcome), ["fine"]);
    assert_eq!(outcome.rejected, [(RejectReason::InvalidMetadata, 3)]);
    assert_eq!(outcome.details[1], r#"metadata is not UTF-8: {__name__="x"}"#);
}

/// The labels of the first series, with types and units as labels.
fn typed_labels(labels: &[(&str, &str)], metadata: (u64, &str)) -> String {
    let mut message = Message::new();
    let metadata = message.metadata(metadata.0, "help", metadata.1);
    let body = message.series(labels, &[(2, &sample(1, 1.0)), (5, &metadata)]).bytes();
    let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
    decode(&body, DecodeLimits::default(), ALL_FEATURES, &mut gathered, &mut batch).unwrap();
    let labels = batch.series[0].labels;
    let mut canonical = Vec::new();
    encode_canonical(labels.to_label_set().unwrap().iter(), &mut canonical);
    assert_eq!(labels.0, canonical, "sorted, as the head looks for them");
    labels.to_string()
}

#[test]
fn type_and_unit_become_labels_where_that_is_asked_for() {
    assert_eq!(
        typed_labels(&[("Z", "z"), ("__name__", "up"), ("job", "a")], (1, "bytes")),
        r#"{Z="z", __name__="up", __type__="counter", __unit__="bytes", job="a"}"#
    );
    let senders = &[("__name__", "up"), ("__type__", "mine"), ("__unit__", "mine")];
    assert_eq!(typed_labels(senders, (2, "")), r#"{__name__="up", __type__="gauge"}"#);
    assert_eq!(typed_labels(senders, (0, "")), r#"{__name__="up", __type__="mine", __unit__="mine"}"#);
}

#[test]
fn starts_of_counters_become_zeros_where_that_is_asked_for() {
    let since = |time: u64, start: i64| Fields::default().double(1, 5.0).number(2, time).number(3, start as u64).0;
    let counted = Fields(histogram(3, 60)).number(17, 50).0;
    let fields: [(u64, &[u8]); 5] =
        [(2, &since(20, 10)), (2, &since(40, 30)), (2, &since(50, 50)), (2, &since(55, 0)), (3, &counted)];
    let mut message = Message::new().series(UP, &fields).raw_series(&[1, 99], &fields);
    // A series of 2.0-rc.3 has one start for all.
    let refs = message.refs(&[("__name__", "earlier")]);
    let earlier = Fields::default().bytes(1, &packed(&refs)).number(6, 3).bytes(2, &sample(4, 1.0));
    message.series.push(earlier.bytes(2, &sample(5, 1.0)).0);
    let body = message.bytes();
    let run = |features| {
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        decode(&body, DecodeLimits::default(), features, &mut gathered, &mut batch).unwrap();
        batch.starts
    };
    assert_eq!(run(WriteFeatures::default()), []);
    let starts = run(ALL_FEATURES);
    let times: Vec<_> = starts.iter().map(|zero| (zero.entry, zero.timestamp_ms, zero.before_ms)).collect();
    assert_eq!(times, [(0, 10, 20), (0, 30, 40), (0, 50, 60), (1, 3, 4)]);
    let SampleValue::Histogram(zero) = &starts[2].value else { panic!("{starts:?}") };
    assert_eq!((zero.schema, zero.count, zero.counter_reset_hint), (3, 0, CounterResetHint::Reset));
}

#[test]
fn message_of_version_1_is_an_error_and_not_an_empty_request() {
    for number in 1..=3 {
        let body = [Message::new().bytes(), Fields::default().bytes(number, b"x").0].concat();
        let error = decoded(&body).unwrap_err().to_string();
        assert!(error.contains("prometheus.WriteRequest"), "{error}");
    }
}

#[test]
fn unknown_fields_are_skipped_everywhere() {
    let unknown =
        |bytes: Vec<u8>| [bytes, Fields::default().number(20, 7).bytes(21, b"later").double(22, 1.0).0].concat();
    let mut message = Message::new();
    let metadata = unknown(message.metadata(1, "h", "u"));
    let exemplar = unknown(Fields::default().double(2, 1.0).number(3, 1).0);
    let fields = [(2, unknown(sample(7, 3.5))), (3, unknown(histogram(0, 5))), (4, exemplar), (5, metadata)];
    let fields: Vec<(u64, &[u8])> = fields.iter().map(|(number, content)| (*number, content.as_slice())).collect();
    let mut message = message.series(UP, &fields);
    message.series[0] = unknown(message.series[0].clone());
    let outcome = decoded(&unknown(message.bytes())).unwrap();
    let expected = Series {
        labels: LabelSet::from_pairs(UP.iter().copied()),
        samples: vec![(7, 3.5f64.to_bits())],
        histograms: vec![5],
        exemplars: vec![(1, 1.0, "{}".to_owned())],
    };
    assert_eq!((outcome.series, outcome.details), (vec![expected], vec![]));
}

#[test]
fn known_field_of_another_wire_type_is_an_error_with_its_place() {
    let wrong = |offset| DecodeError::from(Corruption { what: "field has the wrong wire type", offset });
    assert_eq!(decoded(&[4 << 3, 1]), Err(wrong(0)));
    let body = Message::new().series(UP, &[(2, &[1 << 3, 1])]).bytes();
    assert_eq!(decoded(&body), Err(wrong(body.len() - 2)));
    let body = Message::new().series(UP, &[(4, &[2 << 3, 1])]).bytes();
    assert_eq!(decoded(&body), Err(wrong(body.len() - 2)));
}

#[test]
fn message_past_a_limit_is_refused() {
    let exemplar = Fields::default().double(2, 1.0).0;
    let message = Message::new().series(UP, &[(2, &sample(1, 1.0)), (4, &exemplar)]);
    let message = message.series(&[("__name__", "x")], &[(2, &sample(1, 1.0)), (4, &exemplar)]).bytes();
    let run = |limits| decoded_with(&message, limits).map(drop);
    let full = DecodeLimits { series: 2, samples: 2, symbols: 6, label_bytes: 1000 };
    let too_many = |what, limit| Err(DecodeError::TooMany { what, limit });
    assert_eq!(run(full), Ok(()));
    assert_eq!(run(DecodeLimits { series: 1, ..full }), too_many("series", 1));
    assert_eq!(run(DecodeLimits { samples: 1, ..full }), too_many("samples", 1));
    let empty = |count| decoded_with(&[0x2a, 0].repeat(count), full).map(|outcome| outcome.series.len());
    assert_eq!((empty(2), empty(3)), (Ok(0), Err(DecodeError::TooMany { what: "series", limit: 2 })));
    assert_eq!(run(DecodeLimits { symbols: 5, ..full }), too_many("symbols", 5));
    let histograms = Message::new().series(UP, &[(3, &histogram(0, 1)), (3, &histogram(0, 2))]).bytes();
    let run = |samples| decoded_with(&histograms, DecodeLimits { samples, ..full }).map(drop);
    assert_eq!(run(2 * HISTOGRAM_COST), Ok(()));
    assert!(matches!(run(2 * HISTOGRAM_COST - 1), Err(DecodeError::TooMany { .. })));
}

#[test]
fn long_symbol_that_is_referred_to_often_costs_no_more_than_the_bound() {
    let mut message = Message::new();
    let refs = message.refs(&[("__name__", &"v".repeat(1 << 20))]);
    let series = (0..1000).fold(message, |message, _| message.raw_series(&refs, &[(2, &[])]));
    let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
    let limits = DecodeLimits { label_bytes: 4 << 20, ..DecodeLimits::default() };
    let body = series.bytes();
    let refused = decode(&body, limits, WriteFeatures::default(), &mut gathered, &mut batch).map(drop);
    assert!(matches!(refused, Err(DecodeError::TooMany { limit: 0x40_0000, .. })), "{refused:?}");
    assert!(gathered.capacity() <= 8 << 20, "{}", gathered.capacity());
    let one = Message { series: Vec::new(), ..series }.raw_series(&refs.repeat(1000), &[(2, &[])]).bytes();
    let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
    let refused = decode(&one, limits, WriteFeatures::default(), &mut gathered, &mut batch).map(drop);
    assert!(matches!(refused, Err(DecodeError::TooMany { limit: 0x40_0000, .. })), "{refused:?}");
    assert!(gathered.capacity() <= 8 << 20, "{} bytes for one series", gathered.capacity());
    let many = vec![1; 1 << 18];
    let message = Message::new().raw_series(&many, &[(2, &[])]).series(UP, &[(2, &[])]);
    let outcome = decoded(&message.bytes()).unwrap();
    assert_eq!(names(&outcome), ["up"]);
    assert_eq!(outcome.rejected, [(RejectReason::InvalidReference, 1)]);
}

#[test]
fn message_cut_anywhere_is_an_error_or_whole_series() {
    let message = Message::new().series(UP, &[(2, &sample(1, 1.0))]).series(UP, &[(2, &sample(2, 1.0)), (4, &[])]);
    let body = message.bytes();
    let series: Vec<usize> = message.series.iter().map(|one| one.len() + 2).collect();
    let starts = [body.len() - series[0] - series[1], body.len() - series[1]];
    for end in starts[0]..body.len() {
        assert_eq!(decoded(&body[..end]).is_ok(), starts.contains(&end), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn prop_any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        let _decided = decode(&bytes, DecodeLimits::default(), ALL_FEATURES, &mut gathered, &mut batch);
    }

    #[test]
    fn prop_damaged_messages_are_decoded_or_refused(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        value in any::<f64>(),
    ) {
        let mut message = Message::new();
        let metadata = message.metadata(1, "h", "u");
        let exemplar = Fields::default().bytes(1, &[1, 2]).double(2, value).0;
        let fields: [(u64, &[u8]); 4] =
            [(2, &sample(1, value)), (3, &histogram(0, 1)), (4, &exemplar), (5, &metadata)];
        let mut body = message.series(UP, &fields).series(&[("__name__", "x")], &fields[..1]).bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        if decode(&body, DecodeLimits::default(), ALL_FEATURES, &mut gathered, &mut batch).is_ok() {
            for (index, entry) in batch.series.iter().enumerate() {
                let exemplars = batch.exemplars.iter().filter(|one| one.entry as usize == index).count();
                prop_assert!(batch.samples_of(index).len() + batch.histograms_of(index).len() + exemplars > 0);
                prop_assert!(entry.samples.end as usize <= batch.samples.len());
            }
        }
    }
}
