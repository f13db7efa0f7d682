//! Tests of OTLP over gRPC: frames, codes, trailers.

use prost::Message as _;

use super::super::fake_store::{gzip, run, service};
use super::super::testing::{self, gauge, request};
use super::*;
use crate::ingest::answer::{COMMIT, DURABILITY};
use crate::ingest::sender::Protocol;

const LIMIT: u64 = 100_000;

fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))]);
    for (name, value) in pairs {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
    headers
}

fn call_to(unwritable: bool, pairs: &[(HeaderName, &'static str)], body: Vec<u8>) -> Reply {
    let (service, sender) = (service(unwritable, LIMIT), Sender::unknown(Protocol::OtlpGrpc));
    run(export(&service, &OtlpOptions::default(), &sender, &headers(pairs), Ok(body.into())))
}

fn call(pairs: &[(HeaderName, &'static str)], body: Vec<u8>) -> Reply {
    call_to(false, pairs, body)
}

fn message(values: &[f64]) -> Vec<u8> {
    let metrics = values.iter().enumerate().map(|(index, value)| gauge(&format!("g{index}"), *value));
    request(metrics.collect()).encode_to_vec()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The code and text of a call that failed, which has no message.
fn failure(reply: &Reply) -> (&str, &str) {
    assert!(reply.message.is_none(), "{reply:?}");
    (text(&reply.trailers, &STATUS), text(&reply.trailers, &MESSAGE))
}

fn answer(reply: &Reply) -> testing::Response {
    assert_eq!(text(&reply.trailers, &STATUS), "0", "{reply:?}");
    let framed = reply.message.as_ref().unwrap();
    let (prefix, message) = framed.split_at(PREFIX_BYTES);
    assert_eq!((prefix[0], u32::from_be_bytes(prefix[1..].try_into().unwrap())), (0, message.len() as u32));
    testing::Response::decode(message).unwrap()
}

#[test]
fn call_that_is_stored_whole_gets_an_empty_message_and_a_receipt_as_metadata() {
    let message = message(&[1.0, 2.0]);
    let compressed = [("gzip", gzip(&message)), ("zstd", zstd::encode_all(&message[..], 1).unwrap())];
    let mut calls = vec![(vec![], framed(0, &message)), (vec![(ENCODING, "gzip")], framed(0, &message))];
    calls.extend(compressed.into_iter().map(|(name, bytes)| (vec![(ENCODING, name)], framed(1, &bytes))));
    calls.push((vec![(header::CONTENT_TYPE, "application/grpc+proto")], framed(0, &message)));
    for (pairs, body) in calls {
        let reply = call(&pairs, body);
        assert_eq!(answer(&reply), testing::Response::default(), "{pairs:?}");
        assert_eq!((text(&reply.headers, &COMMIT), text(&reply.headers, &DURABILITY)), ("41", "fsync"));
        assert_eq!(text(&reply.headers, &ACCEPT_ENCODING), "identity,gzip,zstd");
        assert_eq!(text(&reply.headers, &header::CONTENT_TYPE), "application/grpc+proto");
    }
}

#[test]
fn refused_points_are_counted_and_named_in_a_call_that_succeeds() {
    let reply = call(&[], framed(0, &message(&[1.0, -1.0])));
    let partial = answer(&reply).partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(partial.error_message.starts_with("refused 1 of 2 data points; "), "{partial:?}");
}

#[test]
fn body_that_is_not_one_message_is_an_invalid_argument() {
    let good = message(&[1.0]);
    let mut two = framed(0, &good);
    two.extend(framed(0, &good));
    let mut short = framed(0, &good);
    short.pop();
    for (what, pairs, body) in [
        ("no message", vec![], Vec::new()),
        ("no message", vec![], vec![0, 0, 0]),
        ("ends early", vec![], short),
        ("more than one", vec![], two),
        ("unknown flag", vec![], framed(2, &good)),
        ("does not say how", vec![], framed(1, &good)),
        ("invalid gzip header", vec![(ENCODING, "gzip")], framed(1, &good)),
        ("not a valid OTLP metrics message", vec![], framed(0, b"\xff\xff")),
    ] {
        let reply = call(&pairs, body);
        let (code, said) = failure(&reply);
        assert!(code == "3" && said.contains(what), "{what}: {reply:?}");
    }
}

#[test]
fn unknown_compression_format_and_method_are_unimplemented_and_the_answer_says_what_is() {
    for pairs in [[(ENCODING, "snappy")], [(header::CONTENT_TYPE, "application/grpc+json")]] {
        let reply = call(&pairs, framed(1, b"x"));
        assert_eq!(failure(&reply).0, "12", "{reply:?}");
        assert_eq!(text(&reply.headers, &ACCEPT_ENCODING), "identity,gzip,zstd");
    }
    assert_eq!(failure(&unknown_method("/a.B/C")), ("12", "unknown method /a.B/C"));
}

#[test]
fn bomb_is_resource_exhausted_and_not_to_be_sent_again() {
    let zeros = vec![0; 1 << 20];
    for (name, bytes) in [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 1).unwrap())] {
        let reply = call(&[(ENCODING, name)], framed(1, &bytes));
        assert_eq!(failure(&reply).0, "8", "{reply:?}");
        assert!(!reply.trailers.contains_key(STATUS_DETAILS));
    }
    let reply = call(&[], framed(0, &zeros));
    assert_eq!(failure(&reply).0, "8", "{reply:?}");
}

#[test]
fn unwritable_log_is_unavailable_with_a_time_to_send_again() {
    let reply = call_to(true, &[], framed(0, &message(&[1.0])));
    assert_eq!(failure(&reply).0, "14");
    let details =
        base64::engine::general_purpose::STANDARD_NO_PAD.decode(text(&reply.trailers, &STATUS_DETAILS)).unwrap();
    let status = testing::Status::decode(&details[..]).unwrap();
    let info = testing::RetryInfo::decode(&status.details[0].value[..]).unwrap();
    assert_eq!((status.code, info.retry_delay.unwrap().seconds), (14, 2));
    assert!(!reply.headers.contains_key(COMMIT));
}

#[test]
fn message_of_a_status_is_escaped_outside_of_printable_ascii() {
    assert_eq!(percent_encode("100% \u{e9}\n~"), "100%25 %C3%A9%0A~");
}

#[test]
fn timeouts_are_read_as_digits_and_a_unit() {
    let of = |text: &'static str| timeout(&headers(&[(TIMEOUT, text)]));
    assert_eq!(of("10S"), Some(Duration::from_secs(10)));
    assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
    assert_eq!(
        (of("1500m"), of("7u"), of("9n")),
        (Some(Duration::from_millis(1500)), Some(Duration::from_micros(7)), Some(Duration::from_nanos(9)),)
    );
    for bad in ["", "S", "10", "-1S", "+1S", "100000000S", "1x", "1.5S"] {
        assert_eq!(of(bad), None, "{bad}");
    }
}

#[test]
fn calls_are_told_by_their_content_type() {
    for (content_type, is) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("Application/gRPC; x=1", true),
        ("application/grpc-web", false),
        ("application/grpcx", false),
        ("application/json", false),
    ] {
        assert_eq!(is_call(&headers(&[(header::CONTENT_TYPE, content_type)])), is, "{content_type}");
    }
}
