//! Text sent to the import endpoint, beside promtool and VictoriaMetrics, which get the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::chronolith::{run, verify};
use crate::harness::http::{self, Response};
use crate::harness::peers::{Peers, with_peers};
use crate::harness::process::run_well;
use crate::harness::{Chronolith, Settings, now_ms, wait_for};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Values of series by time.
type Samples = BTreeMap<(BTreeMap<String, String>, i64), f64>;

fn import(server: &Chronolith, query: &str, content_type: &str, body: &[u8]) -> Response {
    let path = format!("/api/v1/import/prometheus{query}");
    http::request(server.address, "POST", &path, &[("Content-Type", content_type)], body).unwrap()
}

fn labels(metric: &Value) -> BTreeMap<String, String> {
    let pairs = metric.as_object().unwrap().iter();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// Everything of the last two hours.
fn ours(server: &Chronolith, now_ms: i64) -> Samples {
    let data = server.query("{__name__!=\"\"}[2h]", now_ms as f64 / 1000.0);
    let mut samples = Samples::new();
    for series in data["result"].as_array().unwrap() {
        for sample in series["values"].as_array().unwrap() {
            let at_ms = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
            samples.insert((labels(&series["metric"]), at_ms), sample[1].as_str().unwrap().parse().unwrap());
        }
    }
    samples
}

/// Everything that a VictoriaMetrics has, once it shows as many samples: what it took can be read a little later.
fn theirs(address: std::net::SocketAddr, count: usize) -> Samples {
    wait_for("samples in VictoriaMetrics", Duration::from_secs(30), || {
        let samples = theirs_now(address);
        if samples.len() >= count { Ok(samples) } else { Err(format!("{} of {count}", samples.len())) }
    })
}

fn theirs_now(address: std::net::SocketAddr) -> Samples {
    http::get(address, "/internal/force_flush").unwrap();
    let exported = http::get(address, "/api/v1/export?match%5B%5D=%7B__name__!%3D%22%22%7D").unwrap();
    assert_eq!(exported.status, 200, "{}", exported.text());
    let mut samples = Samples::new();
    for line in exported.text().lines() {
        let series: Value = serde_json::from_str(line).unwrap();
        let times = series["timestamps"].as_array().unwrap().iter();
        for (value, at_ms) in series["values"].as_array().unwrap().iter().zip(times) {
            let value = match value {
                Value::String(word) => word.parse().unwrap(),
                Value::Null => f64::NAN,
                number => number.as_f64().unwrap(),
            };
            samples.insert((labels(&series["metric"]), at_ms.as_i64().unwrap()), value);
        }
    }
    samples
}

/// VictoriaMetrics keeps decimal digits, about fifteen of them, and leaves out what is no number.
fn assert_same(expected: &Samples, found: &Samples) {
    let found: Samples =
        found.iter().filter(|(_, value)| !value.is_nan()).map(|(key, value)| (key.clone(), *value)).collect();
    let found = &found;
    let only_in = |a: &Samples, b: &Samples| -> Vec<_> {
        a.iter().filter(|(key, _)| !b.contains_key(key)).take(3).map(|(key, value)| (key.clone(), *value)).collect()
    };
    assert_eq!((only_in(expected, found), only_in(found, expected)), (Vec::new(), Vec::new()));
    for (key, value) in expected {
        let other = found[key];
        let is_near = (value - other).abs() <= value.abs() * 1e-14;
        assert!(is_near || *value == other, "{key:?}: {value} and {other}");
    }
}

/// Half an hour of families with exemplars, escapes, names in quotes, and values that are easily got wrong.
fn open_metrics(start_ms: i64) -> String {
    let values = ["NaN", "+Inf", "-Inf", "-0", "4.9e-324", "1e-9", "123456789.125", "0.1", "9007199254740993", "17"];
    let mut text = String::new();
    for (family, kind, samples) in [
        ("requests", "counter", &[r#"requests_total{path="C:\\x \"y\"\n"}"#, r#"requests_created{path="a"}"#][..]),
        ("latency_seconds", "histogram", &[r#"latency_seconds_bucket{le="0.1"}"#, "latency_seconds_count"]),
        ("temperature_celsius", "gauge", &[r#"temperature_celsius{room="ü, {1} # x"}"#, "temperature_celsius"]),
        ("\"http.size\"", "unknown", &[r#"{"http.size","the path"="/"}"#, r#"{"http.size",a="b"}"#]),
    ] {
        writeln!(text, "# HELP {family} Some \\\\ \\\"text\\\".\n# TYPE {family} {kind}").unwrap();
        for (number, series) in samples.iter().enumerate() {
            for step in 0..120 {
                let at_ms = start_ms + step * 15_000 + number as i64;
                let value = values[(step as usize + number) % values.len()];
                let exemplar = match (kind, step % 3) {
                    ("counter" | "histogram", 0) => format!(" # {{trace_id=\"{step}\"}} 0.05 {}.5", at_ms / 1000),
                    ("counter" | "histogram", 1) => format!(" # {{trace_id=\"{step}\",\"a.b\"=\"\\\"\"}} 1e-3"),
                    _ => String::new(),
                };
                writeln!(text, "{series} {value} {}.{:03}{exemplar}", at_ms / 1000, at_ms % 1000).unwrap();
            }
        }
    }
    text + "# EOF\n"
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn promtool_dump(peers: &Peers, dir: &Path) -> String {
    // promtool takes a directory without a log for an empty one.
    std::fs::create_dir_all(dir.join("wal")).unwrap();
    run_well(peers.program("promtool"), &["tsdb", "dump", text(dir)])
}

#[test]
fn interop_text_import_stores_what_promtool_makes_blocks_of() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let body = open_metrics(now_ms() - 3_000_000);
        std::fs::write(at("text.om"), &body).unwrap();
        let mut server = Chronolith::start_with(&at("data"), Settings::default());
        let answer = import(&server, "", OPEN_METRICS, body.as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
        assert_eq!(answer.header("chronolith-samples"), Some("960"), "{}", answer.text());
        assert!(server.process.terminate(Duration::from_secs(30)).success());
        verify(&at("data"), None);

        let blocks = at("blocks");
        run_well(
            peers.program("promtool"),
            &["tsdb", "create-blocks-from", "openmetrics", text(&at("text.om")), text(&blocks)],
        );
        let expected = promtool_dump(peers, &blocks);
        assert_eq!(expected.lines().count(), 960);
        let (status, found, stderr) = run(&["db", "dump", text(&at("data"))]);
        assert_eq!((status, found == expected), (Some(0), true), "{stderr}");
    });
}

#[test]
fn interop_text_import_stores_what_victoriametrics_stores() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (_process, address) = peers.victoria_metrics(dir.path());
        let server = Chronolith::start_with(&dir.path().join("data"), Settings::default());
        let now_ms = now_ms();
        let seconds = now_ms / 1000 - 60;
        let mut bodies = vec![
            ("", format!("a{{b=\"c\\\\d\\n\\\"\"}} 1.5 {}\n# TYPE x gauge\n\nx{{}} -2e3 {}\n", now_ms - 5, now_ms - 9)),
            ("?extra_label=job=x&extra_label=b=y", format!("f{{b=\"z\",q=\"1\"}} 3 {now_ms}\nf 4 {now_ms}\n")),
            ("?timestamp=TIME", "without_time 5\nwithout_time{a=\"b,c=d}\"} 6\n".to_owned()),
            ("/metrics/job/some+job/instance@base64/L3Zhci90bXA=", format!("pushed{{job=\"own\"}} 7 {now_ms}\n")),
            ("", format!("seconds 8 {seconds}\nseconds{{a=\"b\"}} 9 {seconds} # {{t=\"x\"}} 1 {seconds}.5\n")),
        ];
        bodies.push(("", (0..2000).map(|n| format!("many{{n=\"{n}\"}} {n}.25 {}\n", now_ms - n)).collect()));
        for (query, body) in &bodies {
            let query = query.replace("TIME", &(now_ms - 77).to_string());
            let path = format!("/api/v1/import/prometheus{query}");
            let answer = http::request(address, "POST", &path, &[], body.as_bytes()).unwrap();
            // It has another one for pushes.
            assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
            let answer = import(&server, &query, "application/x-www-form-urlencoded", body.as_bytes());
            assert_eq!(answer.status, 204, "{query}: {}", answer.text());
        }
        let found = ours(&server, now_ms + 1000);
        assert_eq!(found.len(), 2000 + 9);
        assert_same(&theirs(address, found.len()), &found);
    });
}

#[test]
fn interop_text_import_takes_what_node_exporter_and_we_ourselves_give() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (_exporter, exporter) = peers.node_exporter(dir.path());
        let own = Chronolith::start(&dir.path().join("own"));
        let now_ms = now_ms();
        for (number, (source, accept)) in
            [(exporter, PROMETHEUS_TEXT), (own.address, PROMETHEUS_TEXT), (own.address, OPEN_METRICS)]
                .iter()
                .enumerate()
        {
            let dir = dir.path().join(number.to_string());
            std::fs::create_dir(&dir).unwrap();
            let (_process, address) = peers.victoria_metrics(&dir);
            let server = Chronolith::start(&dir.join("data"));
            let scraped = http::request(*source, "GET", "/metrics", &[("Accept", accept)], &[]).unwrap();
            let content_type = scraped.header("content-type").unwrap();
            assert_eq!(content_type.contains("openmetrics"), number == 2, "{content_type}");
            let lines = scraped.text().lines().filter(|line| !line.starts_with('#')).count();
            assert!(lines > 100, "{lines}");
            let query = format!("?timestamp={now_ms}&extra_label=instance=node");
            let answer = import(&server, &query, content_type, &scraped.body);
            assert_eq!((answer.status, answer.header("chronolith-samples")), (204, Some(&*lines.to_string())));
            let path = format!("/api/v1/import/prometheus{query}");
            let answer = http::request(address, "POST", &path, &[], &scraped.body).unwrap();
            assert_eq!(answer.status, 204, "{}", answer.text());
            let found = ours(&server, now_ms + 1000);
            assert_eq!(found.len(), lines);
            let count = found.values().filter(|value| !value.is_nan()).count();
            assert_same(&theirs(address, count), &found);
        }
    });
}

#[test]
fn interop_text_import_refuses_a_line_where_promtool_refuses_it_or_takes_more() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let server = Chronolith::start_with(&dir.path().join("data"), Settings::default());
        let at_ms = now_ms();
        // A line, and whether each takes it. What promtool says of lints is no refusal.
        let lines = [
            ("good 1", true, true),
            ("good{a=\"b\",} 1", true, true),
            ("good{a=\"b\"}1", true, true),
            ("good +Inf", true, true),
            ("good nan", true, true),
            ("1bad 1", false, false),
            ("bad{a=b} 1", false, false),
            ("bad{a=\"b\" 1", false, false),
            ("bad{a=\"b\"} one", false, false),
            ("bad{a=\"b\",a=\"c\"} 1", false, false),
            ("bad 1 2 3", false, false),
            ("bad{a=\"\u{0}b\"} 1_0", false, false),
            ("bad 1 # {a=\"b\"} 1", false, false),
        ];
        for ((line, we_take, promtool_takes), number) in lines.into_iter().zip(0..) {
            let line = format!("{line}\n");
            let answer = import(&server, &format!("?timestamp={}", at_ms + number), PROMETHEUS_TEXT, line.as_bytes());
            assert_eq!(answer.status, if we_take { 204 } else { 400 }, "{line}: {}", answer.text());
            assert!(we_take || answer.text().contains("line 1, column"), "{line}: {}", answer.text());
            let mut command = std::process::Command::new(peers.program("promtool"));
            command.args(["check", "metrics"]);
            let output = with_input(command, line.as_bytes());
            assert_eq!(!output.contains("error while linting"), promtool_takes, "{line}: {output}");
        }
    });
}

/// Runs a command with something to read; what it said.
fn with_input(mut command: std::process::Command, input: &[u8]) -> String {
    use std::io::Write as _;
    use std::process::Stdio;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}
