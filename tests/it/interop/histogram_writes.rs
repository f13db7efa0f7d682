//! Native histograms of every kind, in order and late, written to Prometheus and to Chronolith: both answer the same, hold
//! the same to the last sample, and serve each other's directories.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::histograms::{SENT, assert_same, histogram, range_answers};
use crate::harness::load::receipt_of;
use crate::harness::peers::{Peers, Prometheus, with_peers};
use crate::harness::process::{copy_dir, free_address, run_well};
use crate::harness::remote_write::{compress, put_bytes, put_varint, send_raw};
use crate::harness::{Chronolith, Settings, chronolith, http, wait_for};

const CONFIG: &str = "storage: {tsdb: {out_of_order_time_window: 1h}}\n";
const START_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
/// Half an hour.
const STEPS: i64 = 120;
const LIMIT: Duration = Duration::from_secs(60);

/// Asked for a range and, in the end, once. The buckets of `layouts` lie within the zero threshold, where Prometheus cuts
/// what it shows.
const QUERIES: &[&str] = &[
    "native{series!~\"layouts.*\"}",
    "late",
    "late{series=\"mixed\"} offset 3m",
    "late @ 1700000900",
    "timestamp(late)",
    "count by (series) (late)",
    "{__name__=~\"native|late\",series=~\"custom.*|int|mixed\"}",
];

/// Asked once: the samples as they are stored.
const WINDOWS: &[&str] = &["late[40m]", "native{series!~\"layouts.*\"}[12m]"];

/// A request: how many samples it holds, and its message.
pub(super) struct Request {
    samples: usize,
    pub(super) message: Vec<u8>,
}

#[test]
fn interop_histograms_written_to_both_are_the_same_and_travel_between_both() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs, receipts) =
            (dir.path().join("chronolith"), dir.path().join("prometheus"), dir.path().join("receipts.jsonl"));
        let mut server = Chronolith::start_with(&ours, settings());
        let mut prometheus = start_prometheus(peers, &theirs);
        let mut lines = std::fs::File::create(&receipts).unwrap();
        let (requests, samples) = requests();
        for Request { samples, message } in &requests {
            let body = compress(message);
            let answer = send_raw(prometheus.address, &body).unwrap();
            assert_eq!(answer.status, 204, "Prometheus: {}", answer.text());
            let answer = send_raw(server.address, &body).unwrap();
            assert_eq!(answer.status, 204, "Chronolith: {}", answer.text());
            let written: usize = ["samples", "histograms"]
                .map(|kind| {
                    answer.header(&format!("x-prometheus-remote-write-{kind}-written")).unwrap().parse().unwrap()
                })
                .iter()
                .sum();
            assert_eq!(written, *samples);
            writeln!(lines, "{}", receipt_of(&answer, *samples)).unwrap();
        }
        let expected = answers(prometheus.address);
        assert_answers("running", &expected, &answers(server.address));
        server.kill_and_restart();
        assert_answers("killed and restarted", &expected, &answers(server.address));

        let our_copy = dir.path().join("our copy");
        server.process.kill();
        chronolith::verify(&ours, Some(&receipts));
        copy_dir(&ours, &our_copy);
        let reader = start_prometheus(peers, &our_copy);
        assert_answers("Prometheus on a copy of the directory", &expected, &answers(reader.address));
        assert_no_complaint(&reader);
        drop(reader);

        server = Chronolith::start_with(&ours, settings());
        admin(server.address, "/api/v1/admin/storage/flush");
        let snapshot = admin(server.address, "/api/v1/admin/tsdb/snapshot");
        let snapshot = ours.join("snapshots").join(snapshot["data"]["name"].as_str().unwrap());
        assert_answers("late ones in blocks", &expected, &answers(server.address));
        assert!(server.process.terminate(LIMIT).success());
        chronolith::verify(&ours, Some(&receipts));
        prometheus.process.terminate(LIMIT);
        let dump = promtool_dump(peers, &theirs);
        // It passes over samples where a kind follows another, so there are fewer than were sent.
        assert!(dump.lines().count() * 2 > samples, "{} of {samples}", dump.lines().count());
        assert_same_text("promtool's dump of a snapshot", &dump, &promtool_dump(peers, &snapshot));
        let [of_theirs, of_ours] = [&theirs, &snapshot].map(|dir| {
            let (status, dump, stderr) = chronolith::run(&["db", "dump", dir.to_str().unwrap()]);
            assert_eq!(status, Some(0), "{stderr}");
            dump
        });
        assert_eq!(of_ours.lines().count(), samples);
        assert_same_text("our dump of a snapshot", &of_theirs, &of_ours);

        let their_copy = dir.path().join("their copy");
        copy_dir(&theirs, &their_copy);
        assert!(their_copy.join("wbl").exists(), "samples came late");
        let mut reader = Chronolith::start_with(&their_copy, settings());
        assert_answers("Chronolith on a copy of Prometheus' directory", &expected, &answers(reader.address));
        reader.kill_and_restart();
        assert_answers("the same, started again", &expected, &answers(reader.address));
        assert!(!their_copy.join("quarantine").exists(), "something of it was not taken over");
    });
}

pub(super) fn settings() -> Settings {
    Settings::default().with("web.enable_admin_api", "true").with("retention.time", "none")
}

fn start_prometheus(peers: &Peers, dir: &Path) -> Prometheus {
    peers.prometheus_with(dir, CONFIG, &["--web.enable-admin-api", "--enable-feature=native-histograms"])
}

fn assert_no_complaint(prometheus: &Prometheus) {
    let log = prometheus.process.log();
    let is_complaint = |line: &&str| line.contains("level=WARN") || line.contains("level=ERROR");
    let complaints: Vec<&str> = log.lines().filter(is_complaint).filter(|line| !line.contains("lockfile")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// What the specimen says, and series of which every third sample comes up to twenty minutes late; and how many samples
/// that is.
pub(super) fn requests() -> (Vec<Request>, usize) {
    let mut by_number: BTreeMap<u32, Request> = BTreeMap::new();
    let empty = || Request { samples: 0, message: Vec::new() };
    for line in SENT.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let request = by_number.entry(fields[0].parse().unwrap()).or_insert_with(empty);
        put_sample(request, "native", fields[1], fields[2].parse().unwrap(), &fields[3..]);
    }
    let mut requests: Vec<Request> = by_number.into_values().collect();
    // In the order in which they are sent: the late ones behind what is twenty steps to eighty steps newer.
    let mut steps: Vec<(i64, i64)> = (0..STEPS)
        .map(|step| (if step % 3 == 1 && step < 90 { step + 20 + step * 7 % 60 } else { step }, step))
        .collect();
    steps.sort_by_key(|(sent, step)| (*sent, -step));
    for part in steps.chunks(4) {
        let mut request = empty();
        for (_, step) in part {
            for series in ["integer", "float", "custom", "gauge", "mixed"] {
                let fields = late_fields(series, *step);
                let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
                put_sample(&mut request, "late", series, START_MS + step * STEP_MS, &fields);
            }
        }
        requests.push(request);
    }
    let samples = requests.iter().map(|request| request.samples).sum();
    (requests, samples)
}

/// A sample of a series of which samples come late, in the words of the specimen.
fn late_fields(series: &str, step: i64) -> Vec<String> {
    let bits = |value: f64| format!("{:016x}", value.to_bits());
    // Counters start anew after each 50 steps, and have one bucket more after each 30.
    let age = step % 50;
    let (first, last, extra) = (3 + age, 1 + age * 2, step / 30 % 2 * (age + 1));
    let sum = bits((first * 2 + last * 5) as f64 + 0.25);
    let count = first + last + extra;
    let spans = if extra > 0 { "-1:2,3:1" } else { "-1:1,4:1" };
    let deltas = if extra > 0 { vec![first, extra - first, last - extra] } else { vec![first, last - first] };
    let counts = if extra > 0 { vec![first, extra, last] } else { vec![first, last] };
    let join = |values: Vec<String>| values.join(",");
    let deltas = join(deltas.iter().map(i64::to_string).collect());
    let zero = bits(0.0);
    let fields = |fields: [&str; 12]| fields.map(str::to_owned).to_vec();
    match (series, step / 7 % 2) {
        ("float", _) => {
            let counts = join(counts.iter().map(|count| bits(*count as f64 / 2.0)).collect());
            let count = bits(count as f64 / 2.0);
            fields(["float", "0", "2", &zero, &zero, &count, &sum, spans, &counts, "-", "-", "-"])
        }
        ("custom", _) => {
            let (count, deltas) = ((first + last).to_string(), format!("{first},{}", last - first));
            let bounds = join([0.5, 2.5, 10.0].map(bits).to_vec());
            fields(["int", "0", "-53", &zero, "0", &count, &sum, "0:1,1:1", &deltas, "-", "-", &bounds])
        }
        ("mixed", 1) => vec!["value".to_owned(), bits(step as f64 + 0.5)],
        (kind, _) => {
            let hint = if kind == "gauge" { "3" } else { "0" };
            let count = count.to_string();
            fields(["int", hint, "3", &bits(0.001), "0", &count, &sum, spans, &deltas, "-", "-", "-"])
        }
    }
}

fn put_sample(request: &mut Request, name: &str, series: &str, timestamp_ms: i64, fields: &[&str]) {
    let mut message = Vec::new();
    for (name, value) in [("__name__", name), ("series", series)] {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut message, 1, &label);
    }
    if fields[0] == "value" {
        let mut sample = vec![0x09];
        sample.extend_from_slice(&u64::from_str_radix(fields[1], 16).unwrap().to_le_bytes());
        sample.push(0x10);
        put_varint(&mut sample, timestamp_ms as u64);
        put_bytes(&mut message, 2, &sample);
    } else {
        put_bytes(&mut message, 4, &histogram(fields, timestamp_ms));
    }
    put_bytes(&mut request.message, 1, &message);
    request.samples += 1;
}

pub(super) type Answers = (BTreeMap<&'static str, BTreeMap<String, Vec<Value>>>, Vec<(String, Vec<Value>)>);

pub(super) fn answers(address: SocketAddr) -> Answers {
    let (start, end) = (START_MS / 1000, (START_MS + STEPS * STEP_MS) / 1000 + 400);
    let ranges = range_answers(address, QUERIES, start, end, 7);
    let mut instants = Vec::new();
    for query in QUERIES.iter().chain(WINDOWS) {
        for time in [start + 580, end - 390] {
            let answer = http::post_form(address, "/api/v1/query", &[("query", query), ("time", &time.to_string())]);
            let json = answer.unwrap().json();
            let mut result = json["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {json}")).clone();
            result.sort_by_cached_key(|series| series["metric"].to_string());
            instants.push((format!("{query} at {time}"), result));
        }
    }
    assert!(instants.iter().filter(|(_, result)| !result.is_empty()).count() > 10);
    (ranges, instants)
}

pub(super) fn assert_answers(who: &str, expected: &Answers, found: &Answers) {
    assert_same(who, &expected.0, &found.0);
    for ((query, expected), (_, found)) in expected.1.iter().zip(&found.1) {
        let differs = expected.iter().zip(found).find(|(expected, found)| expected != found);
        assert!(differs.is_none(), "{who}, {query}: {differs:#?}");
        assert_eq!(expected.len(), found.len(), "{who}, {query}");
    }
}

pub(super) fn admin(address: SocketAddr, path: &str) -> Value {
    let answer = http::request(address, "POST", path, &[], &[]).unwrap();
    assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
    answer.json()
}

/// promtool takes a directory without a log for an empty one.
fn promtool_dump(peers: &Peers, dir: &Path) -> String {
    std::fs::create_dir_all(dir.join("wal")).unwrap();
    run_well(peers.program("promtool"), &["tsdb", "dump", dir.to_str().unwrap()])
}

/// The same lines: promtool sorts the series of blocks, and not those of a log.
fn assert_same_text(what: &str, expected: &str, found: &str) {
    let [expected, found] = [expected, found].map(|text| text.lines().collect::<BTreeSet<&str>>());
    let (missing, extra) = (expected.difference(&found).next(), found.difference(&expected).next());
    assert_eq!((missing, extra), (None, None), "{what}");
}

/// Raw samples of what Prometheus exports as a native histogram, and of everything else.
const SCRAPED: &[&str] = &[
    "prometheus_http_request_duration_seconds",
    "prometheus_http_request_duration_seconds{handler=\"/metrics\"} offset 4s",
    "{job=\"prometheus\",__name__!~\"up|scrape.*\"}",
    "timestamp(prometheus_http_request_duration_seconds)",
];

#[test]
fn interop_histograms_that_prometheus_scrapes_arrive_as_it_has_them() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("chronolith"), dir.path().join("prometheus"));
        let mut server = Chronolith::start_with(&ours, settings());
        let address = free_address();
        let config = format!(
            r#"
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: prometheus
  static_configs: [{{targets: ["{address}"]}}]
remote_write:
- url: http://{}/api/v1/write
  send_native_histograms: true
  queue_config: {{batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 500ms}}
"#,
            server.address
        );
        let features = ["--enable-feature=native-histograms"];
        let mut prometheus = peers.prometheus_with_at(address, &theirs, &config, &features);
        let seconds = || UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        wait_for("the first histogram", LIMIT, || {
            let found = server.query("prometheus_http_request_duration_seconds", seconds());
            found["result"][0].get("histogram").is_some().then_some(()).ok_or_else(|| found.to_string())
        });
        let start = seconds() as i64 + 1;
        // Its API is used meanwhile, so that its histograms grow, and so does their number.
        wait_for("scrapes", LIMIT, || {
            for path in ["/api/v1/query?query=up", "/api/v1/labels", "/metrics"] {
                http::get(address, path).map_err(|error| error.to_string())?;
            }
            let elapsed = seconds() as i64 - start;
            (elapsed >= 12).then_some(()).ok_or_else(|| format!("{elapsed} s"))
        });
        let end = seconds() as i64 - 1;
        // All of it has arrived once something later has.
        wait_for("everything written", LIMIT, || {
            let later = server.query(&format!("up > 0 and timestamp(up) > {}", end + 2), seconds());
            (!later["result"].as_array().unwrap().is_empty()).then_some(()).ok_or_else(|| later.to_string())
        });
        let metrics = http::get(address, "/metrics").unwrap().text();
        for what in ["histograms_failed", "samples_failed"] {
            let name = format!("prometheus_remote_storage_{what}_total");
            let line = metrics.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("no {name}"));
            assert!(line.ends_with(" 0"), "{line}");
        }
        assert!(server.metric("chronolith_ingest_histograms_total").unwrap() > 10.0);
        prometheus.process.terminate(LIMIT);

        let prometheus = peers.prometheus_with(&theirs, "", &features);
        let expected = range_answers(prometheus.address, SCRAPED, start, end, 1);
        let histograms = expected[SCRAPED[0]].values().flatten().filter(|sample| sample[1].is_object()).count();
        assert!(histograms > 20, "{histograms} histograms");
        assert_same("running", &expected, &range_answers(server.address, SCRAPED, start, end, 1));
        server.kill_and_restart();
        assert_same("killed and restarted", &expected, &range_answers(server.address, SCRAPED, start, end, 1));
        server.process.kill();
        chronolith::verify(&ours, None);
        let reader = peers.prometheus_with(&ours, "", &features);
        assert_same("Prometheus in the directory", &expected, &range_answers(reader.address, SCRAPED, start, end, 1));
        assert_no_complaint(&reader);
    });
}
