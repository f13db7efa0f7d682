//! Chronolith's own `/metrics` as Prometheus reads them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::Chronolith;
use crate::harness::peers::{say_what_is_left_out, with_peers};

#[test]
fn interop_left_out_is_said() {
    say_what_is_left_out();
}

#[test]
fn interop_metrics_pass_promtool() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let server = Chronolith::start(&dir.path().join("data"));
        let response = server.get("/metrics");
        assert_eq!(response.status, 200);
        let mut promtool = Command::new(peers.program("promtool"))
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        promtool.stdin.take().unwrap().write_all(&response.body).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // 3 stands for advice on names; what cannot be parsed is 1.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{said}\n{}", response.text());
        // Names that are ours follow the advice; those that Prometheus chose stay as they are.
        let ours: Vec<&str> = said.lines().filter(|line| line.starts_with("chronolith_")).collect();
        assert!(ours.is_empty(), "{ours:#?}");
    });
}
