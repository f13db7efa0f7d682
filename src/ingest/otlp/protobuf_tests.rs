//! Tests of the decoder against prost: same bytes, same message, or both refuse.

use proptest::prelude::*;
use prost::Message as _;

use super::super::arbitrary::any_request;
use super::super::testing::{self, Collected, Event, Request};
use super::*;
use crate::encoding::put;

fn read(body: &[u8]) -> Result<Collected<'_>, DecodeError> {
    read_within(body, DecodeLimits::default())
}

fn read_within(body: &[u8], limits: DecodeLimits) -> Result<Collected<'_>, DecodeError> {
    let mut collected = Collected::default();
    decode(body, limits, &mut collected)?;
    Ok(collected)
}

/// Both read the same, to the sign of a zero, or both refuse.
fn assert_as_prost(body: &[u8]) {
    match (read(body), Request::decode(body)) {
        (Ok(ours), Ok(theirs)) => assert_eq!(format!("{ours:?}"), format!("{:?}", theirs.events())),
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("ours {ours:?}\nprost {theirs:?}\nbody {body:02x?}"),
    }
}

/// The fields of a message, tag and value together.
fn split(message: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut reader = Message::new(message);
    let length = |rest: usize| message.len() - rest;
    let mut start = 0;
    while let Ok(Some(_)) = reader.next_field() {
        reader.skip().unwrap();
        let end = length(reader.remaining());
        fields.push(&message[start..end]);
        start = end;
    }
    fields
}

fn nested(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put::uvarint_slice(&mut out, &parts.concat());
    out
}

proptest! {
    #[test]
    fn request_is_read_as_prost_reads_it(request in any_request()) {
        let body = request.encode_to_vec();
        // What prost reads, not what it wrote: it leaves out a zero, also a negative one.
        let read_by_prost = Request::decode(&body[..]).unwrap();
        prop_assert_eq!(format!("{:?}", read(&body).unwrap()), format!("{:?}", read_by_prost.events()));
    }

    #[test]
    fn damaged_request_is_read_or_refused_as_by_prost(
        request in any_request(),
        changes in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
        end in option_end(),
    ) {
        let mut body = request.encode_to_vec();
        if let Some(end) = end {
            body.truncate(end.index(body.len() + 1));
        }
        for (place, byte) in changes {
            if !body.is_empty() {
                let place = place.index(body.len());
                body[place] = byte;
            }
        }
        // Groups are refused here, and passed over there.
        let groups = matches!(read(&body), Err(DecodeError::Malformed(fault)) if fault.what.contains("wire type is unknown"));
        if !groups {
            assert_as_prost(&body);
        }
    }

    #[test]
    fn fields_in_any_order_are_read_as_prost_reads_them(
        request in any_request(),
        order in any::<prop::sample::Index>(),
    ) {
        let body = request.encode_to_vec();
        let mut shuffled = Vec::new();
        for part in split(&body) {
            let mut inner = Message::new(part);
            inner.next_field().unwrap();
            let mut fields = split(inner.bytes().unwrap());
            let middle = order.index(fields.len() + 1).min(fields.len());
            fields.rotate_left(middle);
            shuffled.extend(nested(1, &fields));
        }
        assert_as_prost(&shuffled);
    }
}

fn option_end() -> impl Strategy<Value = Option<prop::sample::Index>> {
    proptest::option::of(any::<prop::sample::Index>())
}

#[test]
fn resource_and_scope_behind_their_metrics_are_those_of_the_metrics() {
    let metric = testing::gauge("up", 1.0).encode_to_vec();
    let scope = testing::Scope { name: "lib".into(), ..testing::Scope::default() }.encode_to_vec();
    let resource = testing::Resource { attributes: vec![testing::attribute("a", "b")], ..Default::default() };
    let resource = resource.encode_to_vec();
    let of_scope = nested(2, &[&nested(3, &[b"url"]), &nested(2, &[&metric]), &nested(1, &[&scope])]);
    let body = nested(1, &[&of_scope, &nested(1, &[&resource])]);
    assert_as_prost(&body);
    let read = read(&body).unwrap();
    let [Event::Metric(resource, scope, metric), Event::End(end)] = &read.0[..] else { panic!("{read:?}") };
    assert_eq!((&*resource.attributes[0].key, &*scope.name, &*scope.schema_url), ("a", "lib", "url"));
    assert_eq!((&*metric.name, end), ("up", resource));
}

#[test]
fn message_in_parts_is_merged_and_the_last_alternative_counts() {
    let part = |name: &str| testing::gauge(name, 1.0).encode_to_vec();
    // Two gauges merge; a sum behind them replaces both.
    let merged = nested(1, &[&nested(2, &[&nested(2, &[&part("a"), &part("b")])])]);
    assert_as_prost(&merged);
    let collected = read(&merged).unwrap();
    let Event::Metric(_, _, metric) = &collected.0[0] else { panic!() };
    assert!(matches!(&metric.data, Data::Gauge(points) if points.len() == 2));
    let sum = testing::Metric { data: Some(testing::Data::Sum(testing::Sum::default())), ..Default::default() };
    let replaced = nested(1, &[&nested(2, &[&nested(2, &[&part("a"), &sum.encode_to_vec()])])]);
    assert_as_prost(&replaced);
    let collected = read(&replaced).unwrap();
    assert!(
        matches!(&collected.0[0], Event::Metric(_, _, Metric { data: Data::Sum { points, .. }, .. }) if points.is_empty())
    );
}

#[test]
fn repeated_numbers_that_are_not_packed_are_read() {
    let unpacked = |number: u64, wire: u64, values: &[&[u8]]| {
        let mut out = Vec::new();
        for value in values {
            put::uvarint(&mut out, number << 3 | wire);
            out.extend_from_slice(value);
        }
        out
    };
    let counts = unpacked(6, 1, &[&7u64.to_le_bytes(), &8u64.to_le_bytes()]);
    let bounds = unpacked(7, 1, &[&0.5f64.to_le_bytes()]);
    let point = nested(1, &[&counts, &bounds]);
    assert_as_prost(&nested(1, &[&nested(2, &[&nested(2, &[&nested(9, &[&point])])])]));
    let side = nested(8, &[&unpacked(2, 0, &[&[1], &[0x80, 1]]), &nested(2, &[&[3, 4]])]);
    let body = nested(1, &[&nested(2, &[&nested(2, &[&nested(10, &[&nested(1, &[&side])])])])]);
    assert_as_prost(&body);
    let collected = read(&body).unwrap();
    let Event::Metric(_, _, Metric { data: Data::ExponentialHistogram { points, .. }, .. }) = &collected.0[0] else {
        panic!("{collected:?}")
    };
    assert_eq!(points[0].positive.counts, [1, 128, 3, 4]);
}

#[test]
fn known_field_of_another_wire_type_is_refused_and_unknown_fields_are_passed_over() {
    assert!(read(&[0x08, 1]).is_err());
    assert_eq!(read(&[0x78, 1, 0x7a, 1, 0]).unwrap(), Collected::default());
    let name_as_number = nested(1, &[&nested(2, &[&nested(2, &[&[0x08, 1]])])]);
    let Err(DecodeError::Malformed(fault)) = read(&name_as_number) else { panic!("accepted") };
    assert_eq!((fault.what, fault.offset), ("field has the wrong wire type", 6));
}

#[test]
fn nan_keeps_its_payload() {
    let bits = 0x7ff8_0000_dead_beef;
    let body = testing::request(vec![testing::gauge("g", f64::from_bits(bits))]).encode_to_vec();
    let collected = read(&body).unwrap();
    let Event::Metric(_, _, Metric { data: Data::Gauge(points), .. }) = &collected.0[0] else { panic!() };
    assert!(matches!(points[0].value, Some(Number::Double(value)) if value.to_bits() == bits));
}

#[test]
fn million_empty_points_in_two_megabytes_are_refused_before_they_take_their_memory() {
    let limits = DecodeLimits { points: 1000, ..DecodeLimits::default() };
    let metric = |points: usize| {
        let histogram = nested(10, &[&[0x0a, 0].repeat(points)]);
        nested(1, &[&nested(2, &[&nested(2, &[&histogram])])])
    };
    assert!(read_within(&metric(1000), limits).is_ok());
    let refused = read_within(&metric(1_000_000), limits).unwrap_err();
    assert_eq!(refused, DecodeError::TooMany { what: "data points", limit: 1000 });
    // Two requests' worth of points in two metrics are as many as in one.
    assert!(read_within(&[metric(600), metric(600)].concat(), limits).is_err());
    let small = DecodeLimits { metric_bytes: 100_000, ..DecodeLimits::default() };
    assert!(matches!(read_within(&metric(1_000_000), small), Err(DecodeError::TooMany { limit: 100_000, .. })));
    // What is handed on is free again.
    assert!(read_within(&[metric(400), metric(400)].concat(), small).is_ok());
}

#[test]
fn attributes_exemplars_buckets_and_nested_values_are_charged_for() {
    let limits = DecodeLimits { metric_bytes: 10_000, ..DecodeLimits::default() };
    let in_point =
        |data: u8, field: &[u8]| nested(1, &[&nested(2, &[&nested(2, &[&nested(data, &[&nested(1, &[field])])])])]);
    let bodies = [
        in_point(5, &[0x3a, 0].repeat(1000)),
        in_point(5, &[0x2a, 0].repeat(1000)),
        in_point(10, &nested(8, &[&nested(2, &[&[0; 5000]])])),
        in_point(9, &nested(6, &[&[0; 16_000]])),
        in_point(9, &nested(7, &[&[0; 16_000]])),
        in_point(11, &[0x32, 0].repeat(1000)),
        in_point(5, &nested(7, &[&nested(2, &[&nested(5, &[&[0x0a, 0].repeat(1000)])])])),
        in_point(5, &nested(7, &[&nested(2, &[&nested(6, &[&[0x0a, 0].repeat(1000)])])])),
        nested(1, &[&nested(1, &[&[0x0a, 0].repeat(1000)])]),
        nested(1, &[&nested(2, &[&nested(1, &[&[0x1a, 0].repeat(1000)])])]),
    ];
    for (index, body) in bodies.iter().enumerate() {
        assert!(read(body).is_ok(), "{index}");
        assert!(matches!(read_within(body, limits), Err(DecodeError::TooMany { limit: 10_000, .. })), "{index}");
    }
}

#[test]
fn value_nested_deeper_than_the_limit_is_refused() {
    let deep = |levels: usize| {
        let mut value = Vec::new();
        for _ in 0..levels {
            value = nested(5, &[&nested(1, &[&value])]);
        }
        nested(1, &[&nested(1, &[&nested(1, &[&nested(2, &[&value])])])])
    };
    assert!(read(&deep(31)).is_ok());
    assert!(matches!(read(&deep(32)), Err(DecodeError::TooMany { limit: 32, .. })));
    assert!(read(&deep(100_000)).is_err());
}
