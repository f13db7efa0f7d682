//! Tests of messages and answers.

use std::time::Duration;

use hyper::Response;

use super::super::workload::Shape;
use super::answer::{Verdict, judge};
use super::*;
use crate::encoding::protobuf::skip_field;
use crate::encoding::{Corruption, Cursor};
use crate::model::LabelSet;

fn workload() -> Workload {
    // Not at the beginning of a target, and over its end.
    Workload::new(Shape { series: 1200, attributes: 8, start_ms: 1_700_000_000_000, interval_ms: 15_000 })
}

const SERIES: Range<u64> = 460..900;

fn message(protocol: Protocol, scrape: u64) -> (Vec<u8>, Digest) {
    let workload = workload();
    let mut message = b"what was before".to_vec();
    let digest = Prepared::new(protocol, &workload, SERIES).encode(&workload, scrape, &mut message);
    (message, digest)
}

fn expected_digest(scrape: u64) -> Digest {
    let workload = workload();
    SERIES.fold(Digest::ZERO, |sum, series| {
        let sample = workload.sample(series, scrape);
        sum + Digest::of_labels(&workload.label_set(series)).of_sample(sample.timestamp_ms, sample.value)
    })
}

/// The fields of a message that are bytes or eight bytes, by number.
fn fields(message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let read = || -> Result<_, Corruption> {
        let (mut cursor, mut fields) = (Cursor::new(message), Vec::new());
        while !cursor.is_empty() {
            let tag = cursor.uvarint()?;
            match tag & 7 {
                1 => fields.push((tag >> 3, cursor.take(8)?.to_vec())),
                2 => fields.push((tag >> 3, cursor.uvarint_slice()?.to_vec())),
                0 => fields.push((tag >> 3, cursor.uvarint()?.to_le_bytes().to_vec())),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        Ok(fields)
    };
    read().unwrap()
}

fn all(message: &[u8], number: u64) -> Vec<Vec<u8>> {
    fields(message).into_iter().filter(|(known, _)| *known == number).map(|(_, value)| value).collect()
}

fn one(message: &[u8], number: u64) -> Vec<u8> {
    let [value] = all(message, number).try_into().unwrap();
    value
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn word(bytes: Vec<u8>) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// The samples that were meant, in their order.
fn expected(scrape: u64) -> Vec<(LabelSet, i64, u64)> {
    let workload = workload();
    let sample = |series| {
        let sample = workload.sample(series, scrape);
        (workload.label_set(series), sample.timestamp_ms, sample.value.to_bits())
    };
    SERIES.map(sample).collect()
}

#[test]
fn digest_of_every_protocol_is_that_of_what_was_meant() {
    for protocol in
        [Protocol::RemoteWrite1, Protocol::RemoteWrite2, Protocol::OtlpHttp, Protocol::OtlpGrpc, Protocol::Text]
    {
        assert_eq!(message(protocol, 5).1, expected_digest(5), "{}", protocol.as_str());
    }
}

#[test]
fn remote_write_2_message_has_each_text_once_and_refers_to_it() {
    let (message, _) = message(Protocol::RemoteWrite2, 7);
    let symbols: Vec<String> = all(&message, 4).into_iter().map(text).collect();
    assert_eq!(symbols[0], "");
    assert_eq!(symbols.iter().collect::<std::collections::HashSet<_>>().len(), symbols.len());
    let decoded = all(&message, 5).into_iter().map(|series| {
        let (refs, mut cursor_refs) = (one(&series, 1), Vec::new());
        let mut cursor = Cursor::new(&refs);
        while !cursor.is_empty() {
            cursor_refs.push(symbols[cursor.uvarint().unwrap() as usize].as_str());
        }
        let labels = LabelSet::from_pairs(cursor_refs.chunks(2).map(|pair| (pair[0], pair[1])));
        let sample = one(&series, 2);
        (labels, word(one(&sample, 2)) as i64, word(one(&sample, 1)))
    });
    assert_eq!(decoded.collect::<Vec<_>>(), expected(7));
}

#[test]
fn otlp_message_has_a_point_for_each_series_under_its_metric() {
    let (message, _) = message(Protocol::OtlpGrpc, 7);
    let scope = one(&one(&message, 1), 2);
    let mut decoded = Vec::new();
    for metric in all(&scope, 2) {
        let name = text(one(&metric, 1));
        let is_counter = name.ends_with(".total");
        let data = one(&metric, if is_counter { 7 } else { 5 });
        let kind: Vec<u64> = all(&data, 2).into_iter().chain(all(&data, 3)).map(word).collect();
        assert_eq!(kind, if is_counter { vec![2, 1] } else { vec![] }, "{name}");
        for point in all(&data, 1) {
            assert_eq!(all(&point, 2).len(), usize::from(is_counter));
            let mut labels = vec![("__name__".to_owned(), name.replace('.', "_"))];
            labels.extend(
                all(&point, 7)
                    .into_iter()
                    .map(|attribute| (text(one(&attribute, 1)).replace('.', "_"), text(one(&one(&attribute, 2), 1)))),
            );
            assert_eq!(labels.len(), 8);
            let labels = LabelSet::from_pairs(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let nanos = word(one(&point, 3));
            assert_eq!(nanos % NANOS_PER_MS, 0);
            decoded.push((labels, (nanos / NANOS_PER_MS) as i64, word(one(&point, 4))));
        }
    }
    assert_eq!(decoded, expected(7));
}

const NANOS_PER_MS: u64 = 1_000_000;

#[test]
fn text_lines_are_read_back_by_another_parser() {
    let (message, _) = message(Protocol::Text, 7);
    let lines = text(message);
    let scrape = prometheus_parse::Scrape::parse(lines.lines().map(|line| Ok(line.to_owned()))).unwrap();
    assert_eq!(scrape.samples.len(), SERIES.count());
    for (sample, (labels, timestamp_ms, bits)) in scrape.samples.iter().zip(expected(7)) {
        assert_eq!(Some(sample.metric.as_str()), labels.metric_name());
        assert_eq!(sample.labels.get("instance"), labels.get("instance"));
        assert_eq!(sample.timestamp.timestamp_millis(), timestamp_ms);
        let prometheus_parse::Value::Untyped(value) = sample.value else { panic!("{sample:?}") };
        assert_eq!(value.to_bits(), bits);
    }
}

#[test]
fn body_is_the_message_under_every_compression() {
    let message: Vec<u8> = (0..10_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
    let body = |protocol, compression| Framer::new(protocol, compression).body(&message).unwrap();
    assert_eq!(&body(Protocol::OtlpHttp, Compression::None)[..], message);
    let snappy = body(Protocol::RemoteWrite1, Compression::Snappy);
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&snappy).unwrap(), message);
    let zstd = body(Protocol::OtlpHttp, Compression::Zstd);
    assert_eq!(zstd::decode_all(&zstd[..]).unwrap(), message);
    let framed = body(Protocol::OtlpGrpc, Compression::Gzip);
    assert_eq!(framed[0], 1);
    assert_eq!(u32::from_be_bytes(framed[1..5].try_into().unwrap()) as usize, framed.len() - 5);
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&framed[5..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, message);
    let plain = body(Protocol::OtlpGrpc, Compression::None);
    assert_eq!((plain[0], &plain[5..]), (0, &message[..]));
}

fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response<Bytes> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Bytes::copy_from_slice(body)).unwrap()
}

fn rejected(verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Final { rejected, .. } => Some(*rejected),
        _ => None,
    }
}

#[test]
fn remote_write_answers_are_taken_by_their_status_and_counts() {
    const WRITTEN: &str = "x-prometheus-remote-write-samples-written";
    let v1 = |status, headers: &[_]| judge(Protocol::RemoteWrite1, 10, &answer(status, headers, b"why\nmore"));
    let v2 = |status, headers: &[_]| judge(Protocol::RemoteWrite2, 10, &answer(status, headers, b"why\nmore"));
    assert_eq!(rejected(&v1(204, &[])), Some(0));
    assert_eq!(rejected(&v1(204, &[(WRITTEN, "0")])), Some(0));
    assert_eq!(v1(400, &[(WRITTEN, "7")]), Verdict::Final { rejected: 3, note: Some("400 Bad Request: why".into()) });
    assert_eq!(rejected(&v1(400, &[])), Some(10));
    assert_eq!(rejected(&v2(204, &[(WRITTEN, "10")])), Some(0));
    assert_eq!(rejected(&v2(204, &[(WRITTEN, "9")])), Some(1));
    assert!(matches!(v2(204, &[]), Verdict::Refused { .. }));
    assert!(matches!(v1(415, &[]), Verdict::Refused { status: 415, .. }));
    let wait = Some(Duration::from_secs(3));
    assert_eq!(
        v1(503, &[("retry-after", "3")]),
        Verdict::Later { problem: "503 Service Unavailable: why".into(), wait }
    );
    assert!(matches!(v2(429, &[]), Verdict::Later { wait: None, .. }));
}

#[test]
fn otlp_answers_are_taken_by_their_status_and_partial_success() {
    let (mut partial, mut message) = (vec![0x08, 4], Vec::new());
    push_field(&mut partial, 2, b"out of order");
    push_field(&mut message, 1, &partial);
    let http = |status, body: &[u8]| {
        judge(Protocol::OtlpHttp, 10, &answer(status, &[("content-type", "application/x-protobuf")], body))
    };
    assert_eq!(http(200, b""), Verdict::Final { rejected: 0, note: None });
    let note = Some("4 data points rejected: out of order".to_owned());
    assert_eq!(http(200, &message), Verdict::Final { rejected: 4, note: note.clone() });
    let mut fault = Vec::new();
    push_field(&mut fault, 2, b"no protobuf");
    assert_eq!(http(400, &fault), Verdict::Final { rejected: 10, note: Some("400 Bad Request: no protobuf".into()) });
    assert!(matches!(http(503, b""), Verdict::Later { .. }));
    assert!(matches!(http(500, b""), Verdict::Refused { status: 500, .. }));

    let grpc = |headers: &[_], body: &[u8]| judge(Protocol::OtlpGrpc, 10, &answer(200, headers, body));
    let framed = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
    assert_eq!(grpc(&[("grpc-status", "0")], &framed), Verdict::Final { rejected: 4, note });
    assert_eq!(rejected(&grpc(&[("grpc-status", "0")], &[0; 5])), Some(0));
    assert_eq!(
        grpc(&[("grpc-status", "3"), ("grpc-message", "bad%20%C3%A9")], b""),
        Verdict::Final { rejected: 10, note: Some("INVALID_ARGUMENT: bad é".into()) }
    );
    assert!(matches!(grpc(&[("grpc-status", "14")], b""), Verdict::Later { .. }));
    assert!(matches!(grpc(&[("grpc-status", "12")], b""), Verdict::Refused { .. }));
    assert!(matches!(grpc(&[], b""), Verdict::Later { .. }));
}
