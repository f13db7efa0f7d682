//! Prometheus scrapes for a while and writes everything to Chronolith; then both, a Chronolith that was killed and
//! started again, and a Prometheus on a copy of Chronolith's directory have to give the same answers.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::answers::{Window, ask, assert_equal, non_empty};
use crate::harness::http;
use crate::harness::peers::{Peers, with_peers};
use crate::harness::process::{copy_dir, free_address, run_well};
use crate::harness::{Chronolith, chronolith, wait_for};

/// How long Prometheus scrapes, in seconds.
fn scrape_seconds() -> u64 {
    env::var("CHRONOLITH_SCRAPE_SECONDS").map_or(45, |text| text.parse().unwrap())
}

#[test]
fn interop_prometheus_gives_the_same_answers_as_what_it_wrote_to() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (data, prometheus_data) = (dir.path().join("chronolith"), dir.path().join("prometheus"));
        let mut server = Chronolith::start(&data);
        let window = scrape_into(peers, &server, &prometheus_data);

        // From here on nothing writes to either.
        let prometheus = peers.prometheus(&prometheus_data, "");
        let expected = ask(prometheus.address, window);
        assert!(
            non_empty(&expected) * 10 > expected.len() * 8,
            "too few questions with data: {}",
            non_empty(&expected)
        );
        assert_equal("running", &expected, &ask(server.address, window));

        server.kill_and_restart();
        assert_equal("killed and restarted", &expected, &ask(server.address, window));

        server.process.kill();
        chronolith::verify(&data, None);
        let copy = dir.path().join("copy");
        copy_dir(&data, &copy);
        let reader = peers.prometheus(&copy, "");
        assert_equal("Prometheus on a copy of the directory", &expected, &ask(reader.address, window));
        drop((prometheus, reader));

        // The other way round: a log that Prometheus wrote, without a seal.
        let theirs = dir.path().join("theirs");
        copy_dir(&prometheus_data, &theirs);
        let server = Chronolith::start(&theirs);
        assert_equal("Chronolith on a copy of Prometheus' directory", &expected, &ask(server.address, window));
        drop(server);

        // Sample for sample, through promtool's own reader of a directory.
        copy_dir(&data, &dir.path().join("second copy"));
        let ours = dump(peers, &dir.path().join("second copy"), window);
        let theirs = dump(peers, &prometheus_data, window);
        assert!(theirs.len() > 10_000, "{} samples dumped", theirs.len());
        let missing: Vec<&String> = theirs.difference(&ours).take(5).collect();
        let extra: Vec<&String> = ours.difference(&theirs).take(5).collect();
        assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nextra: {extra:#?}");
        eprintln!("promtool dumps {} samples, all equal", theirs.len());
    });
}

/// Lets a Prometheus scrape node_exporter, itself and Chronolith, and write all of it to Chronolith.
fn scrape_into(peers: &Peers, server: &Chronolith, data_dir: &Path) -> Window {
    let (_node, node) = peers.node_exporter(data_dir.parent().unwrap());
    let address = free_address();
    let config = format!(
        r#"
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: node
  static_configs: [{{targets: ["{node}"]}}]
- job_name: prometheus
  static_configs: [{{targets: ["{address}"]}}]
- job_name: chronolith
  static_configs: [{{targets: ["{chronolith}"]}}]
remote_write:
- url: http://{chronolith}/api/v1/write
  queue_config: {{batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 500ms}}
  metadata_config: {{send_interval: 5s}}
"#,
        chronolith = server.address
    );
    let mut prometheus = peers.prometheus_at(address, data_dir, &config);
    let began = Instant::now();
    let seconds = scrape_seconds();
    // The API is used meanwhile, so that its latency histograms hold something and no series begins later.
    wait_for("scraping", Duration::from_secs(seconds + 10), || {
        http::get(address, "/api/v1/query?query=up").map_err(|error| error.to_string())?;
        http::get(address, "/metrics").map_err(|error| error.to_string())?;
        let elapsed = began.elapsed().as_secs();
        (elapsed >= seconds).then_some(()).ok_or_else(|| format!("{elapsed} s"))
    });
    let end = UNIX_EPOCH.elapsed().unwrap().as_secs() as f64;
    // All of it has arrived once something later has.
    wait_for("everything written", Duration::from_secs(20), || {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let jobs = server.query(&format!("count(timestamp(up) > {})", end + 3.0), now);
        (jobs["result"][0]["value"][1] == "3").then_some(()).ok_or_else(|| jobs.to_string())
    });
    let metrics = http::get(address, "/metrics").unwrap().text();
    let failed = |name: &str| {
        let of_metric = metrics.lines().filter(|line| line.starts_with(name));
        of_metric.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    for name in ["failed", "dropped", "retried"] {
        assert_eq!(failed(&format!("prometheus_remote_storage_samples_{name}_total")), 0.0, "samples {name}");
    }
    let up = server.query("up == 1", end);
    assert_eq!(up["result"].as_array().unwrap().len(), 3, "every target is scraped without errors: {up}");
    prometheus.process.terminate(Duration::from_secs(30));
    let start = end - seconds as f64 + 8.0;
    Window { start, end, step: 2.5 }
}

fn dump(peers: &Peers, dir: &Path, window: Window) -> BTreeSet<String> {
    let [min, max] = [window.start, window.end].map(|seconds| (seconds * 1000.0) as i64);
    let text = run_well(
        peers.program("promtool"),
        &["tsdb", "dump", &format!("--min-time={min}"), &format!("--max-time={max}"), dir.to_str().unwrap()],
    );
    text.lines().map(str::to_owned).collect()
}
