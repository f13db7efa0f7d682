//! A Prometheus without samples of its own that asks Chronolith by remote read answers as Chronolith does, with streamed
//! chunks, and with samples where a relay leaves it no choice.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::histogram_writes::{admin, answers, assert_answers, requests, settings};
use super::histograms::{assert_same, range_answers};
use crate::harness::peers::{Peers, Prometheus, with_peers};
use crate::harness::remote_write::{Series, compress, put_bytes, put_varint, send, send_raw};
use crate::harness::{Chronolith, http};

const START_MS: i64 = 1_700_000_000_000;

/// Matchers of every kind, over floats of several chunks, some of which came late.
const FLOATS: &[&str] = &[
    "sum by (group) (plain)",
    "count_over_time(plain{group=\"1\"}[2h])",
    "plain{series=~\"1.|2.\",group!~\"0|1\"} offset 5m",
    "max_over_time({__name__=~\"pl.+\",series!=\"3\",group=\"3\"}[30m:1m])",
    "sum({group=~\".+\"}) + count(plain{nothing=\"\"})",
    "plain{series=\"nothing\"}",
    "{\"utf.8\"}",
];

fn feed(server: &Chronolith) {
    for request in requests().0 {
        assert_eq!(send_raw(server.address, &compress(&request.message)).unwrap().status, 204);
    }
    let times = |late: bool| (0..480).filter(move |n| (n % 7 == 0) == late);
    for late in [false, true] {
        let series: Vec<Series> = (0..40)
            .map(|number| {
                let samples: Vec<(i64, f64)> =
                    times(late).map(|n| (START_MS + n * 5000, (n * number % 89) as f64 + 0.5)).collect();
                let (group, number) = ((number % 4).to_string(), number.to_string());
                Series::new(&[("__name__", "plain"), ("group", &group), ("series", &number)], &samples)
            })
            .chain([Series::new(&[("__name__", "utf.8"), ("a.b", "\u{e9}")], &[(START_MS + 2_300_000, 1.5)])])
            .take(if late { 40 } else { 41 })
            .collect();
        let answer = send(server.address, &series).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

fn float_answers(address: SocketAddr) -> Vec<(&'static str, Value)> {
    let ask = |query: &&'static str| {
        let start = START_MS / 1000;
        let parameters =
            [("query", *query), ("start", &start.to_string()), ("end", &(start + 2900).to_string()), ("step", "37")];
        let answer = http::post_form(address, "/api/v1/query_range", &parameters).unwrap().json();
        assert!(answer.get("warnings").is_none(), "{query}: {answer}");
        (*query, answer["data"].clone())
    };
    FLOATS.iter().map(ask).collect()
}

/// A Prometheus that has nothing but another server to ask.
fn reader(peers: &Peers, dir: &std::path::Path, address: SocketAddr) -> Prometheus {
    let config = format!(
        "global: {{external_labels: {{region: here}}}}\n\
         remote_read: [{{url: \"http://{address}/api/v1/read\", read_recent: true, filter_external_labels: false}}]\n"
    );
    peers.prometheus_with(dir, &config, &["--enable-feature=native-histograms"])
}

/// Histograms that a Prometheus can be given as samples: its client drops the bounds of custom buckets, so that its queries
/// panic, and passes over samples of a series of both kinds.
const SAMPLES: &[&str] = &[
    "native{series!~\"(layouts|custom|kinds).*\"}",
    "late{series!~\"(custom|mixed).*\"}",
    "timestamp(late{series!~\"(custom|mixed).*\"})",
];

fn assert_same_answers(who: &str, server: &Chronolith, reader: SocketAddr, as_samples: bool) {
    if as_samples {
        let (start, end) = (START_MS / 1000, START_MS / 1000 + 2200);
        let [expected, found] = [server.address, reader].map(|address| range_answers(address, SAMPLES, start, end, 7));
        assert_same(who, &expected, &found);
    } else {
        assert_answers(who, &answers(server.address), &answers(reader));
    }
    for ((query, expected), (_, found)) in float_answers(server.address).iter().zip(float_answers(reader)) {
        let is_empty = expected["result"].as_array().unwrap().is_empty();
        assert_eq!(is_empty, query.contains("nothing\"}") && !query.contains("count"), "{query}");
        assert!(*expected == found, "{who}, {query}: {expected:#}\n{found:#}");
    }
    // What is asked for names and label sets goes the same way.
    let path = "/api/v1/series?match[]={__name__=~\"plain|late\"}&start=1700000000&end=1700003000";
    let path = path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace('|', "%7C");
    let [expected, found] = [server.address, reader].map(|address| http::get(address, &path).unwrap().json());
    assert_eq!(expected["data"], found["data"], "{who}");
}

#[test]
fn interop_prometheus_that_reads_from_here_by_either_response_type_answers_as_we_do() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Chronolith::start_with(&dir.path().join("chronolith"), settings());
        feed(&server);
        let relay = Relay::start(server.address);
        let chunks = reader(peers, &dir.path().join("chunks"), server.address);
        let samples = reader(peers, &dir.path().join("samples"), relay.address);
        let both = |server: &Chronolith, when: &str| {
            assert_same_answers(&format!("{when}, chunks"), server, chunks.address, false);
            assert_same_answers(&format!("{when}, samples"), server, samples.address, true);
        };
        both(&server, "in the head");
        assert!(relay.requests.load(Ordering::Relaxed) > 5);
        let matchers = "/api/v1/admin/tsdb/delete_series?match[]=plain&match[]=late&start=1700000500&end=1700000700";
        admin_without_body(server.address, matchers);
        both(&server, "deleted in part");
        server.kill_and_restart();
        both(&server, "killed and restarted");
        admin(server.address, "/api/v1/admin/storage/flush");
        both(&server, "in blocks");
        let matchers = "/api/v1/admin/tsdb/delete_series?match[]=plain&start=1700001500&end=1700001600";
        admin_without_body(server.address, matchers);
        both(&server, "in blocks and deleted in part");
        for reader in [&chunks, &samples] {
            let log = reader.process.log();
            assert!(!log.contains("remote_read") || !log.contains("level=ERROR"), "{log}");
        }
    });
}

fn admin_without_body(address: SocketAddr, path: &str) {
    let answer = http::request(address, "POST", path, &[], &[]).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// Passes requests on as if the client took samples only.
struct Relay {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Relay {
    fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = counter.clone();
                std::thread::spawn(move || serve(stream, target, &counter));
            }
        });
        Relay { address, requests }
    }
}

/// Serves the requests of one connection, until its client goes away.
fn serve(mut stream: TcpStream, target: SocketAddr, requests: &AtomicUsize) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    loop {
        let Some(body) = read_request(&mut stream) else { return };
        let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let headers = [
            ("Content-Encoding", "snappy"),
            ("Content-Type", "application/x-protobuf"),
            ("X-Prometheus-Remote-Read-Version", "0.1.0"),
        ];
        let body = compress(&without_response_types(&message));
        let answer = http::request(target, "POST", "/api/v1/read", &headers, &body).unwrap();
        assert_eq!(answer.header("content-type"), Some("application/x-protobuf"), "{}", answer.text());
        assert_eq!(answer.header("content-encoding"), Some("snappy"));
        let head = format!(
            "HTTP/1.1 {} OK\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.body.len()
        );
        requests.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body)).is_err() {
            return;
        }
    }
}

/// The body of the next request.
fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap().trim().parse().unwrap();
            let mut body = bytes.split_off(end + 4);
            while body.len() < length {
                let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
                body.extend_from_slice(&buffer[..count]);
            }
            return Some(body);
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// The queries of a request alone. All fields of the message are length-delimited.
fn without_response_types(mut message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((&tag, rest)) = message.split_first() {
        let (length, start) = match tag & 7 {
            0 => (0, rest.iter().position(|byte| *byte < 0x80).unwrap() + 1),
            _ => {
                let end = rest.iter().position(|byte| *byte < 0x80).unwrap() + 1;
                let fold = |value: usize, (index, byte): (usize, &u8)| value | usize::from(byte & 0x7f) << (7 * index);
                (rest[..end].iter().enumerate().fold(0, fold), end)
            }
        };
        if tag >> 3 == 1 {
            put_bytes(&mut out, 1, &rest[start..start + length]);
        }
        message = &rest[start + length..];
    }
    out
}

/// A request for one query with one matcher.
fn read_message(name: &str, start_ms: i64, end_ms: i64, response_types: &[u8]) -> Vec<u8> {
    let mut query = vec![1 << 3];
    put_varint(&mut query, start_ms as u64);
    query.push(2 << 3);
    put_varint(&mut query, end_ms as u64);
    let mut matcher = Vec::new();
    put_bytes(&mut matcher, 2, b"__name__");
    put_bytes(&mut matcher, 3, name.as_bytes());
    put_bytes(&mut query, 3, &matcher);
    let mut message = Vec::new();
    put_bytes(&mut message, 1, &query);
    put_bytes(&mut message, 2, response_types);
    message
}

#[test]
fn interop_remote_read_messages_are_those_of_prometheus() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let server = Chronolith::start(&dir.path().join("chronolith"));
        let other = peers.prometheus_with(&dir.path().join("prometheus"), "", &["--enable-feature=native-histograms"]);
        let samples: Vec<(i64, f64)> = (0..300).map(|n| (START_MS + n * 15_000, (n % 13) as f64)).collect();
        let histograms = vec![(START_MS, 2.5), (START_MS + 15_000, 3.5)];
        let series = [
            Series::new(&[("__name__", "plain"), ("job", "a")], &samples),
            Series::new(&[("__name__", "short"), ("job", "a")], &samples[..20]),
            Series { histograms, ..Series::new(&[("__name__", "lonely"), ("job", "a")], &[]) },
        ];
        for address in [other.address, server.address] {
            assert_eq!(send(address, &series).unwrap().status, 204);
        }
        let headers = [("Content-Encoding", "snappy"), ("Content-Type", "application/x-protobuf")];
        let ask = |address: SocketAddr, body: &[u8]| {
            let answer = http::request(address, "POST", "/api/v1/read", &headers, body).unwrap();
            let kind = answer.header("content-type").map(str::to_owned);
            (answer.status, kind, answer.header("content-encoding").map(str::to_owned), answer.body)
        };
        for (name, start_ms, end_ms, types) in [
            ("plain", START_MS, START_MS + 4_500_000, &[][..]),
            ("plain", START_MS + 100_000, START_MS + 115_000, &[0]),
            ("short", START_MS, START_MS + 4_500_000, &[1, 0]),
            ("lonely", START_MS, START_MS + 4_500_000, &[0]),
            ("lonely", START_MS, START_MS + 4_500_000, &[1]),
            ("plain", START_MS, START_MS + 4_500_000, &[5, 0]),
            ("nothing", START_MS, START_MS + 4_500_000, &[0]),
            ("nothing", START_MS, START_MS + 4_500_000, &[1]),
            ("plain", START_MS - 9000, START_MS - 1, &[0]),
        ] {
            let body = compress(&read_message(name, start_ms, end_ms, types));
            let (expected, found) = (ask(other.address, &body), ask(server.address, &body));
            assert_eq!((&expected.0, &expected.1, &expected.2), (&found.0, &found.1, &found.2), "{name} {types:?}");
            let plain = |(_, _, encoding, body): (u16, Option<String>, Option<String>, Vec<u8>)| match encoding {
                Some(_) => snap::raw::Decoder::new().decompress_vec(&body).unwrap(),
                None => body,
            };
            assert!(plain(expected) == plain(found), "{name} from {start_ms} to {end_ms}, {types:?}");
        }
        let unknown = compress(&read_message("plain", 0, 1, &[7]));
        assert_eq!((ask(other.address, &unknown).0, ask(server.address, &unknown).0), (400, 400));
        for body in [&b"junk"[..], &compress(&[0xff; 3])] {
            assert_eq!((ask(other.address, body).0, ask(server.address, body).0), (400, 400));
        }
        assert_eq!(http::get(server.address, "/api/v1/read").unwrap().status, 405);
    });
}
