//! The OpenTelemetry SDKs of Python and JavaScript send with every instrument, over gRPC and HTTP, in protobuf and, the latter, JSON:
//! what is stored is, series by series and value by value, what they say that they sent.
//!
//! The packages come from PyPI and npm, in the versions that `requirements.txt` and `package-lock.json` name, those that
//! others need included, into a directory that stays for later runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use crate::harness::packages;
use crate::harness::peers::with_peers;
use crate::harness::process::{self, free_address};
use crate::harness::{Chronolith, Settings, chronolith};

const PYTHON_PACKAGES: &str = include_str!("requirements.txt");
const NODE_PACKAGES: [(&str, &str); 2] =
    [("package.json", include_str!("package.json")), ("package-lock.json", include_str!("package-lock.json"))];
/// What each instrument is called when it is stored.
const FAMILIES: &[(&str, &str)] = &[
    ("http.requests", "http_requests_total"),
    ("queue.size", "queue_size"),
    ("temperature", "temperature_celsius"),
    ("request.duration", "request_duration_seconds"),
    ("payload.size", "payload_size_bytes"),
    ("cpu.time", "cpu_time_seconds_total"),
    ("open.files", "open_files"),
    ("load", "load_ratio"),
];

/// Labels of a series, and the values at its times in milliseconds.
type Series = BTreeMap<BTreeMap<String, String>, BTreeMap<i64, Stored>>;

/// A value as it is compared.
#[derive(Debug, Clone, PartialEq)]
enum Stored {
    /// The bits of a number.
    Float(u64),
    Histogram {
        count: u64,
        sum: u64,
        /// Boundaries and counts of the buckets that are not empty, from the lowest.
        buckets: Vec<(f64, f64, u64)>,
    },
}

impl Stored {
    fn float(value: f64) -> Self {
        Stored::Float(value.to_bits())
    }

    /// Whether both are the same. Boundaries are computed, here and there in another order.
    fn is(&self, other: &Stored) -> bool {
        let (Stored::Histogram { count, sum, buckets }, Stored::Histogram { count: c, sum: s, buckets: b }) =
            (self, other)
        else {
            return self == other;
        };
        let near = |a: f64, b: f64| (a - b).abs() <= a.abs().max(b.abs()) * 1e-12;
        let same = |(one, other): (&(f64, f64, u64), &(f64, f64, u64))| {
            near(one.0, other.0) && near(one.1, other.1) && one.2 == other.2
        };
        count == c && sum == s && buckets.len() == b.len() && buckets.iter().zip(b).all(same)
    }
}

#[test]
fn interop_otlp_of_the_python_sdk_is_stored_as_it_was_sent() {
    with_peers(|_| {
        let packages = python_packages();
        each_way(&["grpc", "grpc-gzip", "http", "http-gzip"], |kind, endpoint, service| {
            let mut command = Command::new("python3");
            command.arg(source("send.py")).args([kind, endpoint, service]).env("PYTHONPATH", &packages);
            command
        });
    });
}

#[test]
fn interop_otlp_of_the_javascript_sdk_is_stored_as_it_was_sent() {
    with_peers(|_| {
        let packages = node_packages();
        each_way(&["grpc", "grpc-gzip", "proto", "proto-gzip", "json", "json-gzip"], |kind, endpoint, service| {
            let mut command = Command::new("node");
            command.arg(source("send.mjs")).args([kind, endpoint, service]).env("NODE_PACKAGES", &packages);
            command
        });
    });
}

/// Sends in each way to the main port and to OTLP's own, and compares.
fn each_way(kinds: &[&str], sender: impl Fn(&str, &str, &str) -> Command) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (grpc, http) = (free_address(), free_address());
    let settings =
        Settings::default().with("otlp.grpc_listen", grpc.to_string()).with("otlp.http_listen", http.to_string());
    let mut server = Chronolith::start_with(&data, settings);
    for kind in kinds {
        let own = if kind.starts_with("grpc") { grpc } else { http };
        for (place, address) in [("main", server.address), ("own", own)] {
            let service = format!("{kind}-{place}");
            let send = sender(kind, &endpoint(kind, place, address), &service);
            let sent: Value = serde_json::from_str(&run(send)).unwrap();
            let expected = expected(&sent, &service);
            assert!(expected.len() > 30, "{service}: {} series", expected.len());
            compare(&service, &expected, &stored(&server, &service));
            let job = format!("shop/{service}");
            let info = server.query(&format!("target_info{{job={job:?}}}"), now());
            let labels = &info["result"][0]["metric"];
            assert_eq!((&labels["instance"], &labels["host_name"]), (&"one".into(), &"caf\u{e9}".into()), "{info}");
        }
    }
    server.process.kill();
    chronolith::verify(&data, None);
}

fn endpoint(kind: &str, place: &str, address: SocketAddr) -> String {
    match (kind.split('-').next(), place) {
        (Some("grpc"), _) => format!("http://{address}"),
        (_, "main") => format!("http://{address}/api/v1/otlp/v1/metrics"),
        _ => format!("http://{address}/v1/metrics"),
    }
}

fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop/otlp").join(name)
}

/// What the SDK says that it sent, as series.
fn expected(sent: &Value, service: &str) -> Series {
    let mut series = Series::new();
    for point in sent.as_array().unwrap() {
        let name = point["metric"].as_str().unwrap();
        let (_, family) = FAMILIES.iter().find(|(sent, _)| *sent == name).unwrap_or_else(|| panic!("{name}"));
        let mut labels = BTreeMap::new();
        for (key, value) in point["attributes"].as_object().unwrap() {
            labels.insert(key.replace('.', "_"), value.as_str().unwrap().to_owned());
        }
        labels.insert("job".to_owned(), format!("shop/{service}"));
        labels.insert("instance".to_owned(), "one".to_owned());
        let time = &point["time_unix_nano"];
        let nanos: i64 = time.as_i64().unwrap_or_else(|| time.as_str().unwrap().parse().unwrap());
        let mut add = |suffix: &str, le: Option<String>, value: Stored| {
            let mut labels = labels.clone();
            labels.insert("__name__".to_owned(), format!("{family}{suffix}"));
            labels.extend(le.map(|le| ("le".to_owned(), le)));
            series.entry(labels).or_default().insert(nanos / 1_000_000, value);
        };
        let float = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
        let count = || point["count"].as_u64().unwrap();
        match point["kind"].as_str().unwrap() {
            "number" => add("", None, Stored::float(float(&point["value"]))),
            "histogram" => {
                let bounds = point["bounds"].as_array().unwrap().iter().map(|bound| float(bound).to_string());
                let mut sum = 0;
                for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(point["buckets"].as_array().unwrap()) {
                    sum += bucket.as_u64().unwrap();
                    add("_bucket", Some(bound), Stored::float(sum as f64));
                }
                assert_eq!(sum, count());
                add("_count", None, Stored::float(count() as f64));
                add("_sum", None, Stored::float(float(&point["sum"])));
            }
            "exponential" => {
                let scale = point["scale"].as_i64().unwrap();
                assert!(scale <= 8, "the SDK's scale is finer than what is stored: {scale}");
                let base = (-scale as f64).exp2().exp2();
                let offset = point["offset"].as_i64().unwrap() as i32;
                let zeros = point["zero_count"].as_u64().unwrap();
                let mut buckets = vec![(-1e-128, 1e-128, zeros)];
                for (bucket, index) in point["buckets"].as_array().unwrap().iter().zip(offset..) {
                    buckets.push((base.powi(index), base.powi(index + 1), bucket.as_u64().unwrap()));
                }
                buckets.retain(|bucket| bucket.2 > 0);
                assert!(buckets.len() > 1, "{buckets:?}");
                add("", None, Stored::Histogram { count: count(), sum: float(&point["sum"]).to_bits(), buckets });
            }
            other => panic!("{other}"),
        }
    }
    series
}

/// What the server has of a service.
fn stored(server: &Chronolith, service: &str) -> Series {
    let job = format!("shop/{service}");
    let data = server.query(&format!("{{__name__!=\"target_info\",job={job:?}}}[10m]"), now());
    let mut series = Series::new();
    let text = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let time_ms = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() as i64;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for one in data["result"].as_array().unwrap() {
        let labels = one["metric"].as_object().unwrap().iter();
        let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let mut values = BTreeMap::new();
        for pair in list(&one["values"]) {
            values.insert(time_ms(&pair[0]), Stored::float(text(&pair[1])));
        }
        for pair in list(&one["histograms"]) {
            let histogram = &pair[1];
            let bucket = |bucket: &Value| (text(&bucket[1]), text(&bucket[2]), text(&bucket[3]) as u64);
            let buckets = list(&histogram["buckets"]).iter().map(bucket).collect();
            let (count, sum) = (text(&histogram["count"]) as u64, text(&histogram["sum"]).to_bits());
            values.insert(time_ms(&pair[0]), Stored::Histogram { count, sum, buckets });
        }
        series.insert(labels, values);
    }
    series
}

fn compare(what: &str, expected: &Series, stored: &Series) {
    for (labels, values) in expected {
        let found = stored.get(labels).unwrap_or_else(|| panic!("{what}: not stored: {labels:?}"));
        let same = values.len() == found.len()
            && values.iter().all(|(time, value)| found.get(time).is_some_and(|found| value.is(found)));
        assert!(same, "{what}: {labels:?}\nsent   {values:?}\nstored {found:?}");
    }
    for labels in stored.keys() {
        assert!(expected.contains_key(labels), "{what}: stored and not sent: {labels:?}");
    }
}

/// Runs a program that has to succeed; gives what it prints.
fn run(command: Command) -> String {
    let line = format!("{command:?}");
    let (status, stdout, stderr) = process::run(command);
    assert_eq!(status, Some(0), "{line}\n{stdout}\n{stderr}");
    stdout
}

fn python_packages() -> PathBuf {
    packages::of_python("otlp-python", PYTHON_PACKAGES)
}

fn node_packages() -> PathBuf {
    packages::installed("otlp-javascript", &NODE_PACKAGES.map(|(_, text)| text).concat(), |dir| {
        for (name, text) in NODE_PACKAGES {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(dir);
        run(npm);
    })
}
