//! Remote read over the real binary: who is answered what, and that a stream is whole, frame by frame.

use crate::harness::http::{self, Response};
use crate::harness::remote_write::{Series, compress, put_bytes, put_varint, send};
use crate::harness::{Chronolith, Settings};

const START_MS: i64 = 1_700_000_000_000;

/// A request for the series of one metric, by a regular expression, and the response types that are taken.
fn message(pattern: &str, response_types: &[u8]) -> Vec<u8> {
    let mut matcher = vec![1 << 3, 2];
    put_bytes(&mut matcher, 2, b"__name__");
    put_bytes(&mut matcher, 3, pattern.as_bytes());
    let mut query = vec![1 << 3];
    put_varint(&mut query, START_MS as u64);
    query.push(2 << 3);
    put_varint(&mut query, (START_MS + 86_400_000) as u64);
    put_bytes(&mut query, 3, &matcher);
    let mut message = Vec::new();
    put_bytes(&mut message, 1, &query);
    put_bytes(&mut message, 2, response_types);
    message
}

fn read(server: &Chronolith, message: &[u8]) -> Response {
    let headers = [("Content-Encoding", "snappy"), ("Content-Type", "application/x-protobuf")];
    http::request(server.address, "POST", "/api/v1/read", &headers, &compress(message)).unwrap()
}

fn start(settings: Settings) -> (tempfile::TempDir, Chronolith) {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start_with(&dir.path().join("data"), settings);
    let series: Vec<Series> = (0..30)
        .map(|number: i64| {
            let samples: Vec<(i64, f64)> = (0..300).map(|n| (START_MS + n * 1000, (n * number) as f64 * 0.1)).collect();
            Series::new(&[("__name__", "m"), ("n", &format!("{number:02}"))], &samples)
        })
        .collect();
    assert_eq!(send(server.address, &series).unwrap().status, 204);
    (dir, server)
}

/// The messages of a stream, whose checksums are right.
fn frames(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let end = body.iter().position(|byte| *byte < 0x80).unwrap() + 1;
        let length =
            body[..end].iter().enumerate().fold(0, |sum, (at, byte)| sum | usize::from(byte & 0x7f) << (7 * at));
        let checksum = u32::from_be_bytes(body[end..end + 4].try_into().unwrap());
        let message = &body[end + 4..end + 4 + length];
        assert_eq!(crc32c::crc32c(message), checksum);
        frames.push(message.to_vec());
        body = &body[end + 4 + length..];
    }
    frames
}

#[test]
fn remote_read_streams_each_series_in_a_frame_of_its_own_in_order() {
    let (_dir, server) = start(Settings::default());
    let answer = read(&server, &message("m|x", &[1, 0]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!((answer.header("content-type"), answer.header("content-encoding")), (Some(kind), None));
    let frames = frames(&answer.body);
    assert_eq!(frames.len(), 30);
    for (number, frame) in frames.iter().enumerate() {
        let label = [&b"\x0a\x01n\x12\x02"[..], format!("{number:02}").as_bytes()].concat();
        assert!(frame.windows(label.len()).any(|window| window == label), "frame {number}");
    }
    assert_eq!(read(&server, &message("nothing", &[1])).body, b"");
}

#[test]
fn remote_read_that_is_wrong_or_too_large_is_refused_and_the_server_goes_on() {
    let (_dir, server) = start(Settings::default().with("query.max_samples", "5000"));
    let refused = |message: &[u8], words: &str| {
        let answer = read(&server, message);
        assert!(answer.status == 400 && answer.text().contains(words), "{} {}", answer.status, answer.text());
    };
    refused(&message("(", &[1]), "matcher of label \"__name__\"");
    refused(&message("m", &[9]), "does not support any of the requested response types");
    refused(&[0xff, 0xff], "not a valid remote read message");
    refused(&message("m", &[0]), "exceeded the limits of one answer: 5000 samples");
    // A stream holds one series at a time, and has no such bound.
    assert_eq!(frames(&read(&server, &message("m", &[1])).body).len(), 30);
    let raw = |method: &str, headers: &[(&str, &str)], body: &[u8]| {
        http::request(server.address, method, "/api/v1/read", headers, body).unwrap().status
    };
    assert_eq!(raw("POST", &[("Content-Encoding", "gzip")], b""), 415);
    assert_eq!(raw("POST", &[], b"\xff\xff\xff\xff\xff"), 400);
    // A few bytes that claim to be four gigabytes.
    assert_eq!(raw("POST", &[], b"\xff\xff\xff\xff\x0f\x00"), 400);
    assert_eq!(raw("GET", &[], b""), 405);
    assert_eq!(server.get("/-/ready").status, 200);
}
