//! OTLP over HTTP and gRPC to the running server: every port and path, both encodings, partial success, retries.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame};
use hyper::header::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::harness::process::{free_address, wait_for};
use crate::harness::remote_write::put_bytes;
use crate::harness::{Chronolith, Settings, chronolith, http};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
pub const JSON: (&str, &str) = ("Content-Type", "application/json");
pub const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

pub fn now_ms() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64
}

/// A request with gauges: their names, times in milliseconds and values.
fn message(gauges: &[(&str, u64, f64)]) -> Vec<u8> {
    let mut metrics = Vec::new();
    for (name, time_ms, value) in gauges {
        let mut point = vec![3 << 3 | 1];
        point.extend((time_ms * 1_000_000).to_le_bytes());
        point.push(4 << 3 | 1);
        point.extend(value.to_le_bytes());
        let (mut data, mut metric) = (Vec::new(), Vec::new());
        put_bytes(&mut data, 1, &point);
        put_bytes(&mut metric, 1, name.as_bytes());
        put_bytes(&mut metric, 5, &data);
        put_bytes(&mut metrics, 2, &metric);
    }
    let (mut resource, mut request) = (Vec::new(), Vec::new());
    put_bytes(&mut resource, 2, &metrics);
    put_bytes(&mut request, 1, &resource);
    request
}

pub fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// What a call gave: what came first, the body, what came last.
pub struct Reply {
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl Reply {
    pub fn text<'r>(&'r self, name: &str) -> &'r str {
        let value = self.trailers.get(name).or_else(|| self.headers.get(name));
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// A body that never comes.
pub struct Stalled;

impl Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// Calls a method of gRPC.
pub fn call(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    call_with(address, path, headers, Full::new(Bytes::from(body)))
}

pub fn call_with<B>(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: B) -> Reply
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let mut request = hyper::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let answer = tokio::time::timeout(http::TIMEOUT, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let headers = answer.headers().clone();
        let collected = tokio::time::timeout(http::TIMEOUT, answer.into_body().collect()).await.unwrap().unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        connection.abort();
        Reply { headers, body: collected.to_bytes().to_vec(), trailers }
    })
}

fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Response {
    http::request(address, "POST", path, headers, body).unwrap_or_else(|error| panic!("POST {path}: {error}"))
}

/// The newest value of a metric.
fn value(server: &Chronolith, metric: &str) -> Option<f64> {
    let data = server.query(&format!("last_over_time({metric}[5m])"), now_ms() as f64 / 1000.0);
    data["result"][0]["value"][1].as_str().map(|value| value.parse().unwrap())
}

#[test]
fn otlp_is_taken_over_http_and_grpc_on_every_port_with_the_same_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let (grpc, own) = (free_address(), free_address());
    let settings =
        Settings::default().with("otlp.grpc_listen", grpc.to_string()).with("otlp.http_listen", own.to_string());
    let mut server = Chronolith::start_with(&dir.path().join("data"), settings);
    let main = server.address;
    let places = [(main, "/api/v1/otlp/v1/metrics"), (main, "/v1/metrics"), (own, "/v1/metrics")];
    let mut commits = Vec::new();
    for (index, (address, path)) in places.into_iter().enumerate() {
        let name = format!("over_http_{index}");
        let answer = post(address, path, &[PROTOBUF], &message(&[(&name, now_ms(), 1.5)]));
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(
            (answer.header("chronolith-samples"), answer.header("chronolith-durability")),
            (Some("1"), Some("fsync"))
        );
        commits.push(answer.header("chronolith-commit").unwrap().parse::<u64>().unwrap());
        assert_eq!(value(&server, &name), Some(1.5));
    }
    for (index, address) in [main, grpc, own].into_iter().enumerate() {
        let name = format!("over_grpc_{index}");
        let reply = call(address, EXPORT, &[], framed(&message(&[(&name, now_ms(), -2.5)])));
        assert_eq!((reply.text("grpc-status"), &reply.body[..]), ("0", &[0; 5][..]));
        assert_eq!((reply.text("chronolith-samples"), reply.text("chronolith-durability")), ("1", "fsync"));
        commits.push(reply.text("chronolith-commit").parse().unwrap());
        assert_eq!(value(&server, &name), Some(-2.5));
    }
    assert!(commits.is_sorted_by(|one, next| one < next), "{commits:?}");
    // Nothing else answers at OTLP's own addresses, but for probes.
    for address in [grpc, own] {
        assert_eq!(http::get(address, "/-/ready").unwrap().status, 200);
        assert_eq!(http::get(address, "/api/v1/query?query=1").unwrap().status, 404);
        assert_eq!(post(address, "/api/v1/write", &[], b"").status, 404);
    }
    assert_eq!(server.metric("chronolith_ingest_samples_total"), Some(6.0));
    server.process.kill();
    chronolith::verify(&dir.path().join("data"), None);
}

#[test]
fn otlp_point_that_cannot_be_stored_is_named_and_the_rest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let future = now_ms() + 3_600_000;
    let body =
        message(&[("good", now_ms(), 1.0), ("late", future, 2.0), ("timeless", 0, 3.0), ("fine", now_ms(), 4.0)]);
    let reply = call(server.address, EXPORT, &[], framed(&body));
    assert_eq!(reply.text("grpc-status"), "0");
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.contains("refused 2 of 4 data points"), "{text}");
    assert!(text.contains("late") && text.contains("timeless") && !text.contains("fine"), "{text}");
    assert_eq!((value(&server, "good"), value(&server, "fine")), (Some(1.0), Some(4.0)));
    assert_eq!((value(&server, "late"), value(&server, "timeless")), (None, None));

    let point = json!({"timeUnixNano": (future * 1_000_000).to_string(), "asDouble": "Infinity"});
    let good = json!({"timeUnixNano": now_ms() * 1_000_000, "asInt": "9007199254740993"});
    let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "in_json", "gauge": {"dataPoints": [point, good]}}]}]}]});
    let answer = post(server.address, "/v1/metrics", &[JSON], body.to_string().as_bytes());
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json()["partialSuccess"]["rejectedDataPoints"], "1", "{}", answer.text());
    assert_eq!(value(&server, "in_json"), Some(9007199254740992.0));
}

#[test]
fn otlp_request_that_is_sent_twice_is_stored_once_and_answered_alike() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let body = message(&[("twice", now_ms(), 1.0), ("future", now_ms() + 3_600_000, 1.0)]);
    let answers: Vec<http::Response> =
        (0..2).map(|_| post(server.address, "/v1/metrics", &[PROTOBUF], &body)).collect();
    assert_eq!((answers[0].status, &answers[0].body), (answers[1].status, &answers[1].body));
    assert!(!answers[0].body.is_empty());
    let added: Vec<_> = answers.iter().map(|answer| answer.header("chronolith-samples").unwrap()).collect();
    assert_eq!(added, ["1", "0"]);
    let count = server.query("count_over_time(twice[5m])", now_ms() as f64 / 1000.0);
    assert_eq!(count["result"][0]["value"][1], "1");
}

#[test]
fn otlp_request_that_is_none_is_refused_for_good_in_its_own_encoding() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        Settings::default().with("limits.max_body_size", "64KiB").with("limits.max_decompressed_size", "64KiB");
    let server = Chronolith::start_with(&dir.path().join("data"), settings);
    let path = "/api/v1/otlp/v1/metrics";
    let code = |answer: &http::Response| answer.json()["code"].clone();
    let answer = post(server.address, path, &[JSON], b"{\"resourceMetrics\":[{]}");
    assert_eq!((answer.status, code(&answer)), (400, Value::from(3)));
    assert!(answer.text().contains("line 1 column"), "{}", answer.text());
    let answer = post(server.address, path, &[("Content-Type", "text/html")], b"<p>");
    assert_eq!(answer.status, 415);
    let answer = post(server.address, path, &[JSON, ("Content-Encoding", "br")], b"{}");
    assert_eq!((answer.status, code(&answer)), (415, Value::from(12)));
    let answer = post(server.address, path, &[JSON], &[b' '; 65_537]);
    assert_eq!((answer.status, code(&answer)), (413, Value::from(8)));
    let bomb = zstd::encode_all(&[0; 1 << 20][..], 3).unwrap();
    let answer = post(server.address, path, &[PROTOBUF, ("Content-Encoding", "zstd")], &bomb);
    assert_eq!((answer.status, answer.header("content-type")), (413, Some("application/x-protobuf")));
    assert_eq!(http::get(server.address, path).unwrap().status, 405);

    for (headers, body, code) in [
        (vec![], framed(b"\xff\xff"), "3"),
        (vec![("grpc-encoding", "zstd")], [&[1], &framed(&bomb)[1..]].concat(), "8"),
        (vec![("grpc-encoding", "deflate")], framed(b""), "12"),
        (vec![], framed(&[0; 1 << 17]), "8"),
    ] {
        let reply = call(server.address, EXPORT, &headers, body);
        assert_eq!(reply.text("grpc-status"), code, "{headers:?} {:?}", reply.headers);
        assert!(!reply.text("grpc-message").is_empty() && reply.body.is_empty());
    }
    assert_eq!(call(server.address, "/a.B/C", &[], framed(b"")).text("grpc-status"), "12");
    let late = call_with(server.address, EXPORT, &[("grpc-timeout", "200m")], Stalled);
    assert_eq!(late.text("grpc-status"), "4");
    assert_eq!(post(server.address, EXPORT, &[PROTOBUF], b"").status, 415);
    let reply = call(server.address, EXPORT, &[], framed(&message(&[("after", now_ms(), 1.0)])));
    assert_eq!(reply.text("grpc-status"), "0");
}

#[test]
fn otlp_request_beyond_those_that_are_worked_on_is_put_off_as_its_protocol_says() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start_with(&dir.path().join("data"), Settings::default().with("web.max_requests", "1"));
    let put_off = |what: &str, is_put_off: &dyn Fn() -> Result<(), String>| {
        wait_for(what, Duration::from_secs(20), || {
            // It holds the only place, and is too new to give way.
            let mut upload = http::connect(server.address).unwrap();
            let head =
                "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Encoding: snappy\r\nContent-Length: 9\r\n\r\n";
            upload.write_all(head.as_bytes()).unwrap();
            is_put_off()
        });
    };
    let body = message(&[("later", now_ms(), 1.0)]);
    put_off("OTLP in protobuf", &|| {
        let answer = post(server.address, "/v1/metrics", &[PROTOBUF], &body);
        if answer.status == 200 {
            return Err("it was taken".to_owned());
        }
        assert_eq!((answer.status, answer.header("content-type")), (503, Some("application/x-protobuf")));
        assert!(answer.header("retry-after").is_some() && answer.text().contains("too many requests"));
        Ok(())
    });
    put_off("OTLP in JSON", &|| {
        let answer = post(server.address, "/v1/metrics", &[JSON], b"{}");
        if answer.status == 200 {
            return Err("it was taken".to_owned());
        }
        let status = answer.json();
        assert_eq!((answer.status, &status["code"]), (503, &Value::from(14)));
        assert!(status["message"].as_str().unwrap().contains("too many requests"), "{status}");
        Ok(())
    });
    put_off("OTLP over gRPC", &|| {
        let reply = call(server.address, EXPORT, &[], framed(&body));
        if reply.text("grpc-status") == "0" {
            return Err("it was taken".to_owned());
        }
        assert_eq!(reply.text("grpc-status"), "14");
        assert!(reply.text("grpc-message").contains("too many requests"), "{}", reply.text("grpc-message"));
        assert!(!reply.text("grpc-status-details-bin").is_empty(), "no word on when to come again");
        Ok(())
    });
}
