//! Real senders: Prometheus with both versions of remote write, and vmagent. What they hold and what Chronolith then holds
//! is compared series by series and value by value.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::answers::value_difference;
use crate::harness::peers::{Peers, Prometheus, with_peers};
use crate::harness::process::free_address;
use crate::harness::remote_write;
use crate::harness::remote_write_2::Request;
use crate::harness::{Chronolith, Process, Settings, chronolith, http, now_ms, wait_for};

const LIMIT: Duration = Duration::from_secs(90);
/// Steps of a second that are fed to Prometheus.
const STEPS: i64 = 90;
/// Series of each kind.
const SERIES: i64 = 12;

/// A value of a step: ordinary ones, and what is not. There is no -0 among them: Prometheus' senders leave out what
/// equals 0, so that it arrives as 0.
fn value(series: i64, step: i64) -> f64 {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let odd = [0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(1), f64::MAX, stale];
    match (series + step) % 9 {
        0 => odd[(series * 5 + step) as usize % odd.len()],
        _ => (series * 1000 + step) as f64 / 7.0,
    }
}

/// Sends a Prometheus what it is to forward, by its own receiver of version 2: series of floats and of histograms, with
/// metadata and exemplars.
fn feed(prometheus: &Prometheus, start_ms: i64) {
    for step in 0..STEPS {
        let at = start_ms + step * 1000;
        let mut request = Request::default();
        for number in 0..SERIES {
            let id = number.to_string();
            let labels = [("__name__", "fed_total"), ("id", id.as_str()), ("zone", "größe ☃ \"x\"\n")];
            let described = request.metadata(1, "What was fed.", "bytes");
            let series = request.labels(&labels).sample(at, value(number, step)).metadata(&described);
            let exemplar = request.exemplar(&[("trace_id", &format!("{number}-{step}"))], at, step as f64);
            let series = if step % 10 == 3 { series.exemplar(&exemplar) } else { series };
            request.push(series);
            let described = request.metadata(3, "How long it took.", "seconds");
            let series = request.labels(&[("__name__", "fed_seconds"), ("id", id.as_str())]).metadata(&described);
            request.push(series.histogram(&remote_write::histogram(at, (number + step) as f64 / 3.0)));
        }
        let answer = request.send(prometheus.address);
        assert_eq!(answer.status, 204, "Prometheus: {}", answer.text());
    }
}

/// A counter of a Prometheus, summed over its queues.
fn sum(prometheus: &Prometheus, name: &str) -> f64 {
    let text = http::get(prometheus.address, "/metrics").unwrap().text();
    let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The raw samples of a selector before `end_ms`, in one order.
fn raw(address: SocketAddr, selector: &str, end_ms: i64) -> Value {
    let time = format!("{:.3}", end_ms as f64 / 1000.0);
    let answer = http::post_form(address, "/api/v1/query", &[("query", &format!("{selector}[10m]")), ("time", &time)]);
    let mut result = answer.unwrap().json()["data"]["result"].clone();
    result.as_array_mut().unwrap().sort_by_cached_key(|series| series["metric"].to_string());
    result
}

fn samples(result: &Value) -> usize {
    let lists = result.as_array().unwrap().iter().flat_map(|series| [&series["values"], &series["histograms"]]);
    lists.filter_map(Value::as_array).map(Vec::len).sum()
}

fn exemplars(address: SocketAddr, start_ms: i64, end_ms: i64) -> Value {
    let [start, end] = [start_ms, end_ms].map(|ms| format!("{:.3}", ms as f64 / 1000.0));
    let parameters = [("query", "fed_total"), ("start", start.as_str()), ("end", end.as_str())];
    let mut data = http::post_form(address, "/api/v1/query_exemplars", &parameters).unwrap().json()["data"].clone();
    data.as_array_mut().unwrap().sort_by_cached_key(|series| series["seriesLabels"].to_string());
    data
}

fn assert_same(what: &str, expected: &Value, found: &Value) {
    if let Some(difference) = value_difference("result", expected, found, 0.0) {
        panic!("{what}: {difference}");
    }
}

#[test]
fn interop_remote_write_prometheus_forwards_by_both_versions_and_we_hold_what_it_holds() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let [mut first, mut second] = ["first", "second"].map(|name| {
            let home = dir.path().join(name);
            std::fs::create_dir(&home).unwrap();
            Chronolith::start_with(&home.join("data"), Settings::default())
        });
        let address = free_address();
        let config = format!(
            r#"
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
storage: {{exemplars: {{max_exemplars: 10000}}}}
scrape_configs:
- job_name: prometheus
  static_configs: [{{targets: ["{address}"]}}]
remote_write:
- name: first
  url: http://{}/api/v1/write
  protobuf_message: prometheus.WriteRequest
  send_exemplars: true
  send_native_histograms: true
  queue_config: {{batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 500ms}}
- name: second
  url: http://{}/api/v1/write
  protobuf_message: io.prometheus.write.v2.Request
  send_exemplars: true
  send_native_histograms: true
  queue_config: {{batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 500ms}}
"#,
            first.address, second.address
        );
        let features = ["--enable-feature=exemplar-storage,native-histograms,metadata-wal-records"];
        let mut prometheus = peers.prometheus_with_at(address, &dir.path().join("prometheus"), &config, &features);
        // What it scrapes until then is compared too.
        let scraped_ms = (now_ms() / 1000 + 10) * 1000;
        // What is older than its queues is not forwarded.
        let start_ms = now_ms() + 2000;
        feed(&prometheus, start_ms);
        let end_ms = start_ms + STEPS * 1000;
        let fed = (STEPS * SERIES) as f64;
        wait_for("everything forwarded", LIMIT, || {
            let names = ["samples", "histograms", "exemplars"];
            let sent = names.map(|kind| sum(&prometheus, &format!("prometheus_remote_storage_{kind}_total")));
            let pending = names.map(|kind| sum(&prometheus, &format!("prometheus_remote_storage_{kind}_pending")));
            let held = |server: &Chronolith| samples(&raw(server.address, "{__name__=~\"fed_.*\"}", end_ms));
            let all = samples(&raw(address, "{__name__=~\"fed_.*\"}", end_ms));
            let arrived = [held(&first), held(&second)] == [all; 2] && sent[0] >= 2.0 * fed;
            arrived.then_some(()).ok_or_else(|| format!("sent {sent:?}, pending {pending:?}, of {all}"))
        });
        for kind in ["samples", "histograms", "exemplars", "metadata"] {
            for what in ["failed", "dropped", "retried"] {
                let name = format!("prometheus_remote_storage_{kind}_{what}_total");
                assert_eq!(sum(&prometheus, &name), 0.0, "{name}");
            }
        }
        let selectors = ["fed_total", "fed_seconds", "{job=\"prometheus\",__name__!~\"up|scrape.*\"}"];
        wait_for("the last scrape", LIMIT, || {
            let later = format!("timestamp(up) > {}", scraped_ms / 1000 + 1);
            let now = now_ms() as f64 / 1000.0;
            let seen = [&first, &second].map(|server| server.query(&later, now)["result"].as_array().unwrap().len());
            (seen == [1, 1]).then_some(()).ok_or_else(|| format!("{seen:?}"))
        });
        let times = [end_ms, end_ms, scraped_ms];
        let expected = [0, 1, 2].map(|index| raw(address, selectors[index], times[index]));
        assert_eq!(samples(&expected[1]), (STEPS * SERIES) as usize);
        assert!(samples(&expected[0]) > (STEPS * SERIES * 9 / 10) as usize, "staleness markers alone are not shown");
        assert!(samples(&expected[2]) > 1000, "{} samples scraped", samples(&expected[2]));
        let traced = exemplars(address, start_ms, end_ms);
        assert_eq!(traced.as_array().unwrap().len() as i64, SERIES);
        for restarted in [false, true] {
            for (version, server) in [("1.0", &mut first), ("2.0", &mut second)] {
                for (index, expected) in expected.iter().enumerate() {
                    let found = raw(server.address, selectors[index], times[index]);
                    let what = format!("{version}, {}, restarted: {restarted}", selectors[index]);
                    assert_same(&what, expected, &found);
                }
                let found = exemplars(server.address, start_ms, end_ms);
                assert_same(&format!("{version}, exemplars, restarted: {restarted}"), &traced, &found);
                server.kill_and_restart();
            }
        }
        let told = |server: &Chronolith, family: &str| {
            server.get(&format!("/api/v1/metadata?metric={family}")).json()["data"][family].clone()
        };
        for (family, kind, help, unit) in [
            ("fed_total", "counter", "What was fed.", "bytes"),
            ("fed_seconds", "histogram", "How long it took.", "seconds"),
        ] {
            assert_eq!(told(&second, family), json!([{"type": kind, "help": help, "unit": unit}]));
        }
        assert_eq!(told(&second, "go_goroutines")[0]["type"], "gauge");
        prometheus.process.terminate(LIMIT);
        for (name, mut server) in [("first", first), ("second", second)] {
            server.process.kill();
            chronolith::verify(&dir.path().join(name).join("data"), None);
        }
        eprintln!("{} samples equal by both versions", expected.iter().map(samples).sum::<usize>());
    });
}

fn vmagent(peers: &Peers, dir: &Path, target: SocketAddr) -> (Process, SocketAddr) {
    let address = free_address();
    let mut command = Command::new(peers.program("vmagent"));
    command
        .arg(format!("-remoteWrite.url=http://{target}/api/v1/write"))
        .arg(format!("-remoteWrite.tmpDataPath={}", dir.join("vmagent").display()))
        .arg("-remoteWrite.flushInterval=100ms")
        .arg(format!("-httpListenAddr={address}"));
    let mut process = Process::start("vmagent", command, dir);
    process.wait_ready(address, "/health", LIMIT);
    (process, address)
}

#[test]
fn interop_remote_write_vmagent_forwards_what_it_is_given() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Chronolith::start(&dir.path().join("data"));
        let (_vmagent, address) = vmagent(peers, dir.path(), server.address);
        let start_ms = now_ms() / 1000 * 1000 - 60_000;
        let mut text = String::new();
        for step in 0..60 {
            for number in 0..SERIES {
                let value = (number * 1_000_003 + step * 7919) as f64 / 1024.0 - 5.0;
                let at = start_ms + step * 1000;
                text.push_str(&format!("given_total{{id=\"{number}\",zone=\"größe \\\"x\\\"\"}} {value:?} {at}\n"));
            }
        }
        let answer = http::request(address, "POST", "/api/v1/import/prometheus", &[], text.as_bytes()).unwrap();
        assert_eq!(answer.status, 204, "vmagent: {}", answer.text());
        let end_ms = start_ms + 60_000;
        wait_for("everything forwarded", LIMIT, || {
            let held = samples(&raw(server.address, "given_total", end_ms));
            (held as i64 == 60 * SERIES).then_some(()).ok_or_else(|| format!("{held} samples"))
        });
        for restarted in [false, true] {
            let found = raw(server.address, "given_total", end_ms);
            let mut lines: Vec<String> = Vec::new();
            for series in found.as_array().unwrap() {
                let id = series["metric"]["id"].as_str().unwrap();
                assert_eq!(series["metric"]["zone"], "größe \"x\"");
                for pair in series["values"].as_array().unwrap() {
                    let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
                    let at = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
                    lines.push(format!("given_total{{id=\"{id}\",zone=\"größe \\\"x\\\"\"}} {value:?} {at}"));
                }
            }
            lines.sort();
            let mut expected: Vec<&str> = text.lines().collect();
            expected.sort_unstable();
            assert_eq!(lines, expected, "restarted: {restarted}");
            server.kill_and_restart();
        }
        server.process.kill();
        chronolith::verify(&dir.path().join("data"), None);
    });
}
