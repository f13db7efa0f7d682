//! Directories that a Prometheus leaves when it is killed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::peers::with_peers;
use crate::harness::process::copy_dir;
use crate::harness::remote_write::{Series, send};
use crate::harness::{Chronolith, http};

/// Samples of each series before a kill: some full chunks.
const SAMPLES: i64 = 400;

#[test]
fn interop_directory_of_a_prometheus_that_was_killed_twice_holds_no_damage() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("prometheus");
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let start_ms = (now_ms - 3_600_000) / 1000 * 1000;
        // A start puts the full chunks of its log into a head chunk file, which it makes longer than its content.
        for round in 0..4 {
            let mut prometheus = peers.prometheus(&data, "");
            let times = (round * SAMPLES..(round + 1) * SAMPLES).map(|second| start_ms + second * 1000);
            let samples: Vec<(i64, f64)> = times.map(|at_ms| (at_ms, (at_ms / 1000 % 97) as f64)).collect();
            let series: Vec<Series> = (0..20)
                .map(|number| Series::new(&[("__name__", "killed"), ("series", &number.to_string())], &samples))
                .collect();
            assert_eq!(send(prometheus.address, &series).unwrap().status, 204);
            prometheus.process.kill();
        }
        let head_chunks: Vec<u64> = std::fs::read_dir(data.join("chunks_head"))
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert!(head_chunks.len() > 1 && head_chunks.contains(&(128 << 10)), "{head_chunks:?}");

        let theirs = dir.path().join("theirs");
        copy_dir(&data, &theirs);
        let mut server = Chronolith::start(&theirs);
        let end = (start_ms / 1000 + 4 * SAMPLES) as f64;
        let range = format!("sum(count_over_time(killed[{}s])) + sum(sum_over_time(killed[{0}s]))", 5 * SAMPLES);
        let ours = server.query(&range, end)["result"][0]["value"][1].clone();
        let prometheus = peers.prometheus(&data, "");
        let time = format!("{end:.3}");
        let asked = http::post_form(prometheus.address, "/api/v1/query", &[("query", &range), ("time", &time)]);
        assert_eq!(asked.unwrap().json()["data"]["result"][0]["value"][1], ours);
        assert!(ours.as_str().is_some_and(|sum| sum.parse::<f64>().unwrap() > 20.0 * 4.0 * SAMPLES as f64), "{ours}");

        assert!(server.process.terminate(Duration::from_secs(30)).success());
        let log = server.process.log();
        assert!(!log.contains("head chunk files"), "{log}");
        let set_aside = std::fs::read_dir(theirs.join("quarantine")).into_iter().flatten();
        let names: Vec<String> = set_aside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.starts_with("chunks_head")), "{names:?}");
    });
}
