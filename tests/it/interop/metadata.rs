//! What Prometheus knows of metric families arrives here, and is there after a kill.

use std::time::Duration;

use super::exemplars::page_config;
use crate::harness::peers::with_peers;
use crate::harness::process::copy_dir;
use crate::harness::{Chronolith, chronolith, http, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

const REQUESTS: &[&str] = &[
    "/api/v1/metadata",
    "/api/v1/metadata?metric=calls",
    "/api/v1/metadata?metric=took_seconds&limit_per_metric=1",
    "/api/v1/metadata?metric=nothing",
    "/api/v1/metadata?limit=0",
    "/api/v1/metadata?limit=5",
];

#[test]
fn interop_metadata_that_prometheus_sends_is_answered_as_it_does_and_survives_a_kill() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("chronolith"), dir.path().join("prometheus"));
        let mut server = Chronolith::start(&ours);
        let config = page_config(server.address, "metadata_config: {send: true, send_interval: 300ms}");
        let other = peers.prometheus_with(&theirs, &config, &[]);
        let ask = |address, path: &str| http::get(address, path).unwrap().json();
        let expected = wait_for("metadata", LIMIT, || {
            let expected = ask(other.address, REQUESTS[0]);
            let found = ask(server.address, REQUESTS[0]);
            let is_there = expected["data"]["calls"][0]["help"].is_string() && expected == found;
            is_there.then_some(expected.clone()).ok_or_else(|| format!("{expected} and {found}"))
        });
        assert_eq!(expected["data"]["took_seconds"][0]["unit"], "seconds");
        const COUNT: &str = "/api/v1/query?query=count(last_over_time(calls_total[1h]))";
        wait_for("samples", LIMIT, || {
            let count = ask(server.address, COUNT);
            (count["data"]["result"][0]["value"][1] == "2").then_some(()).ok_or_else(|| count.to_string())
        });
        let answers: Vec<_> = REQUESTS.iter().map(|path| ask(other.address, path)).collect();
        // From here on nobody states anything any more.
        drop(other);
        server.kill_and_restart();
        for (path, expected) in REQUESTS.iter().zip(&answers) {
            assert_eq!(ask(server.address, path), *expected, "{path}");
        }
        server.process.kill();
        chronolith::verify(&ours, None);
        // A Prometheus passes over the records.
        let copy = dir.path().join("copy");
        copy_dir(&ours, &copy);
        let reader = peers.prometheus(&copy, "");
        let count = ask(reader.address, COUNT);
        assert_eq!(count["data"]["result"][0]["value"][1], "2", "{count}");
        assert!(!reader.process.log().contains("level=ERROR"), "{}", reader.process.log());
    });
}
