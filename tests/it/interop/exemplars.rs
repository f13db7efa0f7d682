//! Exemplars beside Prometheus: both answer `query_exemplars` alike, also after a kill, and from each other's directories.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::peers::{Peers, Prometheus, with_peers};
use crate::harness::process::copy_dir;
use crate::harness::remote_write::{compress, put_bytes, put_varint, send_raw};
use crate::harness::{Chronolith, Settings, chronolith, http, wait_for};

const START_MS: i64 = 1_700_000_000_000;
const LIMIT: Duration = Duration::from_secs(60);
const FEATURES: [&str; 1] = ["--enable-feature=exemplar-storage"];

/// Labels, time in milliseconds and value.
type Exemplar<'a> = (&'a [(&'a str, &'a str)], i64, f64);

/// Selectors of every kind, ranges with and without exemplars, and what is no range or no query.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("requests_total", "", ""),
    ("requests_total", "1700000000", "1700000030"),
    ("requests_total", "1700000010.001", "1700000020"),
    ("requests_total", "1700000010", "1700000010"),
    ("requests_total", "1600000000", "1600000001"),
    ("rate(requests_total{code=\"200\"}[5m])", "", ""),
    ("rate(requests_total{code=~\"2..\"}[5m]) / ignoring(code) latency_bucket{le!=\"1\"}", "", ""),
    ("histogram_quantile(0.9, sum by (le) (rate(latency_bucket[1m:10s] offset 5m)))", "", ""),
    ("latency_bucket or latency_bucket or {code!~\"5..\"}", "", ""),
    ("topk(scalar(requests_total), latency_bucket)", "", ""),
    ("{\"http.requests\"}", "", ""),
    ("{__name__=~\".+\"}", "", "2023-11-14T22:13:40Z"),
    ("nothing", "", ""),
    ("requests_total{code=\"none\"}", "", ""),
    ("requests_total", "2", "1"),
    ("requests_total", "x", "1"),
    ("requests_total{", "1", "2"),
    ("", "1", "2"),
];

fn answers(address: SocketAddr) -> Vec<(String, Value)> {
    let ask = |(query, start, end): &(&str, &str, &str)| {
        let mut parameters = vec![("query", *query)];
        parameters.extend([("start", *start), ("end", *end)].into_iter().filter(|(_, value)| !value.is_empty()));
        let path = format!("/api/v1/query_exemplars?{}", http::form(&parameters));
        let by_get = http::get(address, &path).unwrap();
        let by_post = http::post_form(address, "/api/v1/query_exemplars", &parameters).unwrap();
        assert_eq!((by_get.status, by_get.text()), (by_post.status, by_post.text()), "{path}");
        let mut body = by_get.json();
        if let Some(error) = body.get_mut("error") {
            // Where in the text it is differs for some.
            *error = json!(error.as_str().is_some_and(|text| !text.is_empty()));
        }
        (format!("{query} from {start:?} to {end:?}"), json!([by_get.status, body]))
    };
    REQUESTS.iter().map(ask).collect()
}

fn assert_answers(who: &str, expected: &[(String, Value)], address: SocketAddr) {
    for ((request, expected), (_, found)) in expected.iter().zip(answers(address)) {
        assert_eq!(*expected, found, "{who}: {request}");
    }
}

/// One series of a request.
fn put_series(request: &mut Vec<u8>, labels: &[(&str, &str)], sample: Option<(i64, f64)>, exemplars: &[Exemplar<'_>]) {
    let mut message = Vec::new();
    let put_labels = |out: &mut Vec<u8>, labels: &[(&str, &str)]| {
        for (name, value) in labels {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(out, 1, &label);
        }
    };
    put_labels(&mut message, labels);
    if let Some((timestamp_ms, value)) = sample {
        let mut field = vec![0x09];
        field.extend_from_slice(&value.to_le_bytes());
        field.push(0x10);
        put_varint(&mut field, timestamp_ms as u64);
        put_bytes(&mut message, 2, &field);
    }
    for (labels, timestamp_ms, value) in exemplars {
        let mut field = Vec::new();
        put_labels(&mut field, labels);
        field.push(2 << 3 | 1);
        field.extend_from_slice(&value.to_le_bytes());
        field.push(3 << 3);
        put_varint(&mut field, *timestamp_ms as u64);
        put_bytes(&mut message, 3, &field);
    }
    put_bytes(request, 1, &message);
}

/// What is sent: six requests, ten seconds apart.
fn requests() -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for round in 0..6i64 {
        let at_ms = START_MS + round * 10_000;
        let mut request = Vec::new();
        for (number, code) in ["200", "500"].into_iter().enumerate() {
            let labels = [("__name__", "requests_total"), ("code", code), ("job", "a")];
            let trace = format!("trace-{round}-{code}");
            let own = [("span_id", "s\"\u{e9}\n"), ("trace_id", trace.as_str())];
            let exemplars: [Exemplar<'_>; 1] = [(&own, at_ms - 7, round as f64 + 0.5)];
            // One of them is not sampled each time.
            let exemplars = if number == 1 && round % 2 == 0 { &[][..] } else { &exemplars };
            put_series(&mut request, &labels, Some((at_ms, round as f64)), exemplars);
        }
        for (bound, value) in [("0.1", 0.05), ("1", 1e-7), ("+Inf", 1e21)] {
            let labels = [("__name__", "latency_bucket"), ("job", "a"), ("le", bound)];
            put_series(&mut request, &labels, Some((at_ms, 1.0)), &[(&[("trace_id", bound)], at_ms, value)]);
        }
        let labels = [("__name__", "http.requests"), ("a.b", "<&>")];
        put_series(&mut request, &labels, Some((at_ms, 1.0)), &[(&[], at_ms - 1, f64::INFINITY)]);
        // As Prometheus sends them: an entry of its own.
        put_series(&mut request, &labels, None, &[(&[("x", "")], at_ms, f64::NAN)]);
        requests.push(compress(&request));
    }
    requests
}

fn prometheus(peers: &Peers, data_dir: &Path) -> Prometheus {
    peers.prometheus_with(data_dir, "", &FEATURES)
}

#[test]
fn interop_exemplars_written_to_both_are_answered_alike_and_travel_between_both() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("chronolith"), dir.path().join("prometheus"));
        let mut server = Chronolith::start(&ours);
        let mut other = prometheus(peers, &theirs);
        let requests = requests();
        for request in &requests {
            for address in [other.address, server.address] {
                let answer = send_raw(address, request).unwrap();
                assert_eq!(answer.status, 204, "{}", answer.text());
            }
        }
        let expected = answers(other.address);
        let found = expected.iter().filter(|(_, answer)| answer[1]["data"][0]["exemplars"].is_array()).count();
        assert!(found > 8, "{expected:#?}");
        assert_answers("running", &expected, server.address);
        // What is sent again is answered as before, and changes nothing.
        for request in &requests {
            let answer = send_raw(server.address, request).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (204, ""));
            assert!(answer.header("x-prometheus-remote-write-exemplars-written").is_some_and(|count| count != "0"));
        }
        assert_answers("sent again", &expected, server.address);
        server.kill_and_restart();
        assert_answers("killed and restarted", &expected, server.address);
        assert_eq!(server.metric("prometheus_tsdb_exemplar_exemplars_in_storage"), Some(39.0));

        server.process.kill();
        chronolith::verify(&ours, None);
        let copy = dir.path().join("our copy");
        copy_dir(&ours, &copy);
        other.process.kill();
        let their_copy = dir.path().join("their copy");
        copy_dir(&theirs, &their_copy);
        // A start of Prometheus loses exemplars that differ from the one before in their time only.
        let replayed = answers(prometheus(peers, &theirs).address);
        assert_answers("Prometheus in our directory", &replayed, prometheus(peers, &copy).address);
        assert_answers("Chronolith in their directory", &expected, Chronolith::start(&their_copy).address);
    });
}

#[test]
fn interop_exemplars_survive_that_their_samples_go_to_blocks_and_the_log_is_truncated() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("chronolith"), dir.path().join("prometheus"));
        let mut server = Chronolith::start_with(&ours, Settings::default().with("web.enable_admin_api", "true"));
        let other = prometheus(peers, &theirs);
        for request in requests() {
            for address in [other.address, server.address] {
                assert_eq!(send_raw(address, &request).unwrap().status, 204);
            }
        }
        let expected = answers(other.address);
        for path in ["flush", "checkpoint"] {
            let path = format!("/api/v1/admin/storage/{path}");
            let answer = http::request(server.address, "POST", &path, &[], &[]).unwrap();
            assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
        }
        assert!(
            std::fs::read_dir(ours.join("wal"))
                .unwrap()
                .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with("checkpoint") })
        );
        assert_answers("flushed", &expected, server.address);
        server.kill_and_restart();
        assert_answers("flushed, killed and restarted", &expected, server.address);
        server.process.kill();
        chronolith::verify(&ours, None);
    });
}

/// Serves one page of OpenMetrics whose exemplars go with the time.
fn serve_page(listener: TcpListener) {
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(mut stream) = stream else { return };
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let (bucket, first) = ("took_seconds_bucket", number / 3);
        let lines = [
            r#"# HELP calls Calls \"so far\"."#.to_owned(),
            "# TYPE calls counter".to_owned(),
            format!(r#"calls_total{{code="200"}} {number} # {{trace_id="a{number}"}} 1.5 {now:.3}"#),
            format!(r#"calls_total{{code="500"}} {number} # {{}} 0.25"#),
            "# TYPE took_seconds histogram".to_owned(),
            "# UNIT took_seconds seconds".to_owned(),
            format!(r#"{bucket}{{le="1.0"}} {number} # {{trace_id="b{first}"}} 0.5"#),
            format!(r#"{bucket}{{le="+Inf"}} {number} # {{trace_id="c"}} 7 1700000000.5"#),
            format!("took_seconds_sum 1\ntook_seconds_count {number}\n# EOF\n"),
        ];
        let page = lines.join("\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        );
        // A scraper that went away is none of this page's concern.
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// Serves the page, and gives the configuration of a Prometheus that scrapes it and writes to `address`.
pub(super) fn page_config(address: SocketAddr, sends: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::spawn(move || serve_page(listener));
    format!(
        r#"
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: page
  static_configs: [{{targets: ["{target}"]}}]
remote_write:
- url: http://{address}/api/v1/write
  {sends}
  queue_config: {{batch_send_deadline: 100ms, min_backoff: 30ms, max_backoff: 500ms}}
"#
    )
}

#[test]
fn interop_exemplars_that_prometheus_scrapes_arrive_as_it_has_them() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("chronolith"), dir.path().join("prometheus"));
        let mut server = Chronolith::start(&ours);
        let config = page_config(server.address, "send_exemplars: true");
        let other = peers.prometheus_with(&theirs, &config, &FEATURES);
        let of = |address: SocketAddr| -> BTreeMap<String, Vec<Value>> {
            let asked = http::post_form(address, "/api/v1/query_exemplars", &[("query", "{job=\"page\"}")]);
            let body = asked.unwrap().json();
            let series = body["data"].as_array().unwrap_or_else(|| panic!("{body}")).clone();
            let exemplars = |one: &Value| one["exemplars"].as_array().unwrap().clone();
            series.iter().map(|one| (one["seriesLabels"].to_string(), exemplars(one))).collect()
        };
        let count = |found: &BTreeMap<String, Vec<Value>>| found.values().map(Vec::len).sum::<usize>();
        wait_for("exemplars", LIMIT, || {
            let found = of(server.address);
            (count(&found) > 60 && found.len() == 4).then_some(()).ok_or_else(|| format!("{found:?}"))
        });
        // Ours may lack what is on its way.
        let found = of(server.address);
        let expected = of(other.address);
        for (series, exemplars) in &found {
            assert_eq!(expected[series][..exemplars.len()], exemplars[..], "{series}");
        }
        let metrics = http::get(other.address, "/metrics").unwrap().text();
        for what in ["exemplars_failed", "samples_failed", "exemplars_retried"] {
            let name = format!("prometheus_remote_storage_{what}_total");
            let line = metrics.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("no {name}"));
            assert!(line.ends_with(" 0"), "{line}");
        }
        server.kill_and_restart();
        let again = of(server.address);
        for (series, exemplars) in &found {
            assert_eq!(again[series][..exemplars.len()], exemplars[..], "killed and restarted: {series}");
        }
        assert_eq!(server.metric("chronolith_ingest_rejected_exemplars_total"), Some(0.0));
    });
}
