//! Tests of OTLP over HTTP: statuses, encodings, and what the answer names.

use hyper::header::HeaderName;
use prost::Message as _;
use serde_json::{Value, json};

use super::super::fake_store::{gzip, run, service};
use super::super::json_writer::{self, Style};
use super::super::testing::{self, gauge, request};
use super::*;
use crate::ingest::answer::{COMMIT, DURABILITY};
use crate::ingest::sender::Protocol;

const LIMIT: u64 = 100_000;

fn post_to(unwritable: bool, headers: &[(HeaderName, &'static str)], body: Vec<u8>) -> Response<Bytes> {
    let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
    let (service, sender) = (service(unwritable, LIMIT), Sender::unknown(Protocol::OtlpHttp));
    run(handle(&service, &OtlpOptions::default(), &sender, &Method::POST, &headers, Ok(body.into())))
}

fn post(content_type: &'static str, encoding: &'static str, body: Vec<u8>) -> Response<Bytes> {
    post_to(false, &[(header::CONTENT_TYPE, content_type), (header::CONTENT_ENCODING, encoding)], body)
}

fn values(values: &[f64]) -> testing::Request {
    request(values.iter().enumerate().map(|(index, value)| gauge(&format!("g{index}"), *value)).collect())
}

fn header<'r>(response: &'r Response<Bytes>, name: &HeaderName) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn json_of(response: &Response<Bytes>) -> Value {
    assert_eq!(header(response, &header::CONTENT_TYPE), "application/json");
    serde_json::from_slice(response.body()).unwrap()
}

fn status_of(response: &Response<Bytes>) -> testing::Status {
    assert_eq!(header(response, &header::CONTENT_TYPE), "application/x-protobuf");
    testing::Status::decode(response.body().clone()).unwrap()
}

#[test]
fn request_that_is_stored_whole_gets_an_empty_message_in_its_encoding_and_a_receipt() {
    let message = values(&[1.0, 2.0]);
    let binary = message.encode_to_vec();
    for (encoding, body) in
        [("", binary.clone()), ("gzip", gzip(&binary)), ("zstd", zstd::encode_all(&binary[..], 1).unwrap())]
    {
        let answer = post("application/x-protobuf; charset=utf-8", encoding, body);
        assert_eq!((answer.status(), answer.body().len()), (StatusCode::OK, 0), "{encoding}: {answer:?}");
        assert_eq!(header(&answer, &header::CONTENT_TYPE), "application/x-protobuf");
        assert_eq!((header(&answer, &COMMIT), header(&answer, &DURABILITY)), ("41", "fsync"));
    }
    let text = json_writer::write(&message, Style::default()).into_bytes();
    let answer = post("application/json;charset=UTF-8", "gzip", gzip(&text));
    assert_eq!((answer.status(), json_of(&answer)), (StatusCode::OK, json!({})));
    assert_eq!(header(&answer, &COMMIT), "41");
}

#[test]
fn refused_points_are_counted_and_named_and_the_status_is_200() {
    let message = values(&[1.0, -1.0, 2.0, -2.0]);
    let answer = post("application/x-protobuf", "", message.encode_to_vec());
    assert_eq!(answer.status(), StatusCode::OK);
    let partial = testing::Response::decode(answer.body().clone()).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    let text = &partial.error_message;
    assert!(text.starts_with("refused 2 of 4 data points; ") && text.contains("out_of_order: 2"), "{text}");
    assert!(text.contains("g1") && text.contains("g3") && !text.contains("g2"), "{text}");
    assert_eq!(header(&answer, &COMMIT), "41");
    let answer = post("application/json", "", json_writer::write(&message, Style::default()).into_bytes());
    let partial = &json_of(&answer)["partialSuccess"];
    assert_eq!(partial["rejectedDataPoints"], "2");
    assert_eq!(partial["errorMessage"].as_str().unwrap(), text);
}

#[test]
fn request_that_is_none_gets_400_and_a_status_in_its_encoding() {
    let answer = post("application/x-protobuf", "", b"\xff\xff".to_vec());
    let status = status_of(&answer);
    assert_eq!((answer.status(), status.code), (StatusCode::BAD_REQUEST, 3));
    assert!(status.message.contains("not a valid OTLP metrics message"), "{status:?}");
    let answer = post("application/json", "", b"{\"resourceMetrics\":7}".to_vec());
    assert_eq!((answer.status(), json_of(&answer)["code"].clone()), (StatusCode::BAD_REQUEST, json!(3)));
    let answer = post("application/x-protobuf", "gzip", values(&[1.0]).encode_to_vec());
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{:?}", status_of(&answer));
    assert!(!answer.headers().contains_key(header::RETRY_AFTER));
}

#[test]
fn other_types_encodings_and_methods_are_refused_by_name() {
    for (content_type, encoding, named) in [
        ("text/plain", "", "text/plain"),
        ("", "", "application/json"),
        ("application/x-protobuf", "br", "br"),
        ("application/x-protobuf", "gzip, gzip", "gzip, gzip"),
    ] {
        let answer = post(content_type, encoding, values(&[1.0]).encode_to_vec());
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type} {encoding}");
        assert!(String::from_utf8_lossy(answer.body()).contains(named), "{content_type} {encoding}: {answer:?}");
    }
    let (service, sender) = (service(false, LIMIT), Sender::unknown(Protocol::OtlpHttp));
    let headers = HeaderMap::new();
    let answer = run(handle(&service, &OtlpOptions::default(), &sender, &Method::GET, &headers, Ok(Bytes::new())));
    assert_eq!((answer.status(), header(&answer, &header::ALLOW)), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    assert_eq!(service.metrics.of(Protocol::OtlpHttp).requests_refused.get(), 1);
}

#[test]
fn bomb_and_body_that_could_not_be_read_are_413() {
    let answer = post("application/x-protobuf", "gzip", gzip(&vec![0; 1 << 20]));
    let status = status_of(&answer);
    assert_eq!((answer.status(), status.code), (StatusCode::PAYLOAD_TOO_LARGE, 8), "{status:?}");
    let (service, sender) = (service(false, LIMIT), Sender::unknown(Protocol::OtlpHttp));
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let too_large = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body exceeds the limit");
    let answer = run(handle(&service, &OtlpOptions::default(), &sender, &Method::POST, &headers, Err(too_large)));
    assert_eq!(
        (answer.status(), json_of(&answer)["message"].clone()),
        (StatusCode::PAYLOAD_TOO_LARGE, json!("body exceeds the limit"))
    );
}

#[test]
fn unwritable_log_is_503_and_says_when_to_send_again() {
    let headers = [(header::CONTENT_TYPE, "application/x-protobuf")];
    let answer = post_to(true, &headers, values(&[1.0]).encode_to_vec());
    let status = status_of(&answer);
    assert_eq!((answer.status(), status.code), (StatusCode::SERVICE_UNAVAILABLE, 14));
    assert_eq!(header(&answer, &header::RETRY_AFTER), "2");
    let info = testing::RetryInfo::decode(&status.details[0].value[..]).unwrap();
    assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    assert_eq!(info.retry_delay, Some(testing::Duration { seconds: 2, nanos: 0 }));
    assert!(!answer.headers().contains_key(COMMIT));
    let headers = [(header::CONTENT_TYPE, "application/json")];
    let answer = post_to(true, &headers, json_writer::write(&values(&[1.0]), Style::default()).into_bytes());
    assert_eq!(json_of(&answer)["details"][0]["retryDelay"], "2s");
}

#[test]
fn request_without_metrics_is_a_success_without_a_receipt() {
    let answer = post("application/x-protobuf", "", Vec::new());
    assert_eq!((answer.status(), answer.body().len()), (StatusCode::OK, 0));
    assert!(!answer.headers().contains_key(COMMIT));
}
