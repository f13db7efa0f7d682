//! What `verify` says after Prometheus has run on a directory of ours and truncated its log.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::peers::with_peers;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, chronolith, wait_for};

const SERIES: usize = 200;
const SCRAPES: i64 = 240;
const STEP_MS: i64 = 30_000;

/// Two hours of samples in a log of many segments, with the receipts in a file.
fn write(server: &Chronolith, receipts: &Path) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut lines = String::new();
    for scrape in 0..SCRAPES {
        let at_ms = now_ms - (SCRAPES - scrape) * STEP_MS;
        let one = |n: usize| Series::new(&[("__name__", "up"), ("n", &n.to_string())], &[(at_ms, scrape as f64)]);
        let answer = remote_write::send(server.address, &(0..SERIES).map(one).collect::<Vec<_>>()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
        lines += &crate::harness::load::receipt_of(&answer, SERIES);
        lines.push('\n');
    }
    std::fs::write(receipts, lines).unwrap();
}

#[test]
fn interop_verify_of_a_log_that_prometheus_truncated_proves_what_is_left_and_says_what_is_open() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let (data, receipts) = (dir.path().join("data"), dir.path().join("receipts"));
        let settings = Settings::default().with("wal.max_segment_size", "64KiB");
        let mut server = Chronolith::start_with(&data, settings);
        write(&server, &receipts);
        server.process.terminate(Duration::from_secs(30));
        chronolith::verify(&data, Some(&receipts));

        let ranges = ["--storage.tsdb.min-block-duration=20m", "--storage.tsdb.max-block-duration=20m"];
        let mut prometheus = peers.prometheus_with(&data, "global: {}", &ranges);
        wait_for("a checkpoint of Prometheus", Duration::from_secs(120), || {
            let names = std::fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().file_name());
            let is_there = |name: &String| name.starts_with("checkpoint.") && !name.ends_with(".tmp");
            let there = names.map(|name| name.to_string_lossy().into_owned()).any(|name| is_there(&name));
            there.then_some(()).ok_or_else(|| prometheus.process.log())
        });
        prometheus.process.terminate(Duration::from_secs(60));

        let verify = |receipts: &Path| {
            let (data, receipts) = (data.to_str().unwrap(), receipts.to_str().unwrap());
            chronolith::run(&["verify", "--data-dir", data, "--receipts", receipts])
        };
        let (status, stdout, stderr) = verify(&receipts);
        assert_eq!(status, Some(2), "{stdout}\n{stderr}");
        for words in ["another program, such as Prometheus, has truncated the log", "verdict: not proven"] {
            assert!(stdout.contains(words), "{stdout}");
        }
        assert!(!stdout.contains("WRONG"), "{stdout}");

        // The last request of all is still sealed: one that claims to come behind it was lost, whoever has been here.
        let lines = std::fs::read_to_string(&receipts).unwrap();
        let last = lines.lines().last().unwrap();
        let invented = last.replace(&format!("\"commit\":{SCRAPES},"), &format!("\"commit\":{},", SCRAPES + 1));
        assert_ne!(invented, last);
        std::fs::write(&receipts, format!("{lines}{invented}\n")).unwrap();
        let (status, stdout, _) = verify(&receipts);
        assert_eq!(status, Some(1), "{stdout}");
        assert!(stdout.contains(&format!("commit {} ({SERIES} samples) is not in the log", SCRAPES + 1)), "{stdout}");
    });
}
