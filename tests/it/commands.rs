//! The command line as people and scripts rely on it: exit codes, formats, and errors that name their cause.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use serde_json::Value;

use crate::harness::chronolith::{self, run};
use crate::harness::{Chronolith, Process, Settings, wait_for};

#[test]
fn commands_help_names_every_command() {
    let (status, stdout, _) = run(&["--help"]);
    assert_eq!(status, Some(0));
    for command in [
        "serve",
        "verify",
        "bench",
        "query",
        "health",
        "promql",
        "config",
        "block",
        "index",
        "chunk",
        "tombstones",
        "db",
    ] {
        assert!(stdout.contains(command), "{command} is not in:\n{stdout}");
    }
}

#[test]
fn commands_bad_arguments_end_with_2() {
    for arguments in [&["no-such-command"][..], &["serve", "--no-such-flag"], &["verify", "--data-dir"], &["promql"]] {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}\n{stdout}\n{stderr}");
        assert!(!stderr.is_empty() && !stderr.contains("panicked"), "{arguments:?}\n{stderr}");
    }
}

#[test]
fn commands_verify_of_no_directory_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let (status, stdout, stderr) = run(&["verify", "--data-dir", missing.to_str().unwrap()]);
    assert_eq!(status, Some(2), "{stdout}\n{stderr}");
    assert!(stderr.contains("missing"), "{stderr}");
    assert!(!missing.exists(), "verify creates nothing");
}

#[test]
fn commands_promql_parse_shows_a_tree_or_the_place_of_the_fault() {
    let (status, stdout, stderr) = run(&["promql", "parse", "sum by (job) (rate(http_requests_total[5m]))"]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.contains("http_requests_total"), "{stdout}");
    let (status, _, stderr) = run(&["promql", "parse", "sum(up"]);
    assert_ne!(status, Some(0));
    assert!(stderr.contains("1:"), "line and column: {stderr}");
}

#[test]
fn commands_promql_test_counts_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("small.test");
    let path = script.to_str().unwrap();
    std::fs::write(&script, "load 1m\n  up 0 1 2\n\neval instant at 1m up\n  up 1\n").unwrap();
    let (status, stdout, stderr) = run(&["promql", "test", path]);
    assert_eq!(status, Some(0), "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().last(), Some("1 passed, 0 failed"), "{stdout}");
    std::fs::write(&script, "load 1m\n  up 0 1 2\n\neval instant at 1m up\n  up 7\n").unwrap();
    let (status, stdout, _) = run(&["promql", "test", path]);
    assert_eq!(status, Some(1));
    assert_eq!(stdout.lines().last(), Some("0 passed, 1 failed"), "{stdout}");
}

#[test]
fn commands_config_errors_name_key_and_allowed_values() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chronolith.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(&["config", "check", file.to_str().unwrap()])
    };
    let (status, stdout, stderr) = check("data_dir = \"/x\"\n[wal]\ndurability = \"interval\"\n");
    assert_eq!(status, Some(0), "{stdout}\n{stderr}");
    for (text, words) in [
        ("[wal]\ndurabilty = \"fsync\"\n", ["wal.durabilty", "wal.durability"]),
        ("[wal]\ndurability = \"sometimes\"\n", ["wal.durability", "interval"]),
        ("[wal]\nmax_segment_size = \"1KiB\"\n", ["wal.max_segment_size", "64KiB"]),
        ("[query]\ntimeout = \"fast\"\n", ["query.timeout", "fast"]),
    ] {
        let (status, stdout, stderr) = check(text);
        assert!(matches!(status, Some(1 | 2)), "{text}: {status:?}");
        let said = stdout + &stderr;
        assert!(words.iter().all(|word| said.contains(word)), "{text}: {words:?} are not in: {said}");
    }
}

#[test]
fn commands_config_show_says_where_a_value_came_from() {
    let mut command = chronolith::command(&["config", "show", "--format", "json"]);
    command.env("CHRONOLITH_WAL_MAX_SEGMENT_SIZE", "64MiB");
    let (status, stdout, stderr) = crate::harness::process::run(command);
    assert_eq!(status, Some(0), "{stderr}");
    serde_json::from_str::<Value>(&stdout).unwrap();
    assert!(stdout.contains("64MiB") && stdout.contains("CHRONOLITH_WAL_MAX_SEGMENT_SIZE"), "{stdout}");
}

#[test]
fn commands_configuration_that_is_not_utf_8_is_refused_by_the_name_of_its_variable() {
    let latin = OsStr::from_bytes(b"/etc/caf\xe9.yml");
    for (arguments, variable) in [
        (&["config", "check"][..], "CHRONOLITH_WEB_CONFIG_FILE"),
        (&["config", "show"], "CHRONOLITH_DATA_DIR"),
        (&["config", "show"], "CHRONOLITH_DATA_DIRR"),
    ] {
        let mut command = chronolith::command(arguments);
        command.env(variable, latin);
        let (status, _, stderr) = crate::harness::process::run(command);
        assert!(matches!(status, Some(1 | 2)), "{arguments:?}: {status:?}");
        assert!(stderr.contains(variable), "{arguments:?}: {stderr}");
    }
    // What is no key of ours is nobody's business.
    let mut command = chronolith::command(&["config", "check"]);
    command.env("CHRONOLITH_SERVICE_HOST", latin).env(OsStr::from_bytes(b"CAF\xe9"), latin);
    let (status, _, stderr) = crate::harness::process::run(command);
    assert_eq!(status, Some(0), "{stderr}");
}

#[test]
fn commands_serve_on_a_taken_port_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["listen", "otlp.grpc_listen", "otlp.http_listen"] {
        let mut command = chronolith::command(&["serve", "--data-dir"]);
        command.arg(dir.path().join("data"));
        for other in ["listen", "otlp.grpc_listen", "otlp.http_listen"] {
            let flag = format!("--{}", other.replace('_', "-"));
            command.arg(flag).arg(if other == key { &address } else { "127.0.0.1:0" });
        }
        let mut process = Process::start("chronolith", command, dir.path());
        let status = process.wait(Duration::from_secs(30));
        assert_eq!(status.code(), Some(2), "{}", process.log());
        let said = format!("{key} = {address:?}: Address already in use");
        assert!(process.log().contains(&said), "{}", process.log());
    }
}

#[test]
fn commands_query_asks_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = crate::harness::Chronolith::start_with(&dir.path().join("data"), Settings::default());
    let url = format!("http://{}", server.address);
    let (status, stdout, stderr) = run(&["query", "vector(41) + 1", "--url", &url]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.contains("42"), "{stdout}");
    let (status, _, stderr) = run(&["query", "sum(", "--url", &url]);
    assert!(matches!(status, Some(1 | 2)), "{status:?}");
    assert!(stderr.contains("parse error"), "{stderr}");
}

#[test]
fn commands_health_tells_a_server_that_is_well_from_one_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let url = format!("http://{}", server.address);
    assert_eq!(run(&["health", "--url", &url]), (Some(0), "ok\n".to_owned(), String::new()));
    let (status, stdout, _) = run(&["health", "--alive", "--url", &url]);
    assert_eq!((status, stdout.as_str()), (Some(0), "Chronolith is Healthy.\n"));
    let (status, stdout, _) = run(&["health", "--format", "json", "--url", &url]);
    let body: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((status, &body["status"]), (Some(0), &Value::from("ok")));
    drop(server);
    for arguments in [&["health", "--url", &url][..], &["health", "--alive", "--url", &url]] {
        let (status, _, stderr) = run(arguments);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains("connect to"), "{stderr}");
    }
}

#[test]
fn commands_health_without_a_credential_knows_that_the_server_is_alive_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let web = dir.path().join("web.yml");
    std::fs::write(&web, "bearer_tokens:\n  - {name: a, sha256: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef, rights: [read]}\n").unwrap();
    let settings = Settings::default().with("web.config_file", web.display().to_string());
    let server = Chronolith::spawn(&dir.path().join("data"), settings);
    let url = format!("http://{}", server.address);
    wait_for("an answer", Duration::from_secs(60), || match run(&["health", "--alive", "--url", &url]) {
        (Some(0), ..) => Ok(()),
        (_, _, stderr) => Err(stderr),
    });
    let (status, _, stderr) = run(&["health", "--url", &url]);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("401"), "{stderr}");
}
