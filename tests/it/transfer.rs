//! Data in and out of directories by command: import, dump, export, analyze, snapshot, restore, and queries without a
//! server.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::harness::chronolith::{self, run, verify};
use crate::harness::remote_write::{Series, send};
use crate::harness::{Chronolith, Settings, wait_for};

const START_MS: i64 = 1_700_006_400_000;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run_well(arguments: &[&str]) -> String {
    let (status, stdout, stderr) = run(arguments);
    assert_eq!(status, Some(0), "{arguments:?}\n{stdout}\n{stderr}");
    stdout
}

/// Text with its dump: two series, fifty hours.
fn history() -> (String, String) {
    let (mut history, mut dump) = (String::new(), String::new());
    for job in ["a", "b"] {
        for step in 0..600 {
            let at_ms = START_MS + step * 300_000;
            history.push_str(&format!("up{{job=\"{job}\"}} {step} {at_ms}\n"));
            dump.push_str(&format!("{{__name__=\"up\", job=\"{job}\"}} {step} {at_ms}\n"));
        }
    }
    (history, dump)
}

#[test]
fn transfer_import_of_a_file_and_of_standard_input_give_the_same_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let (history, dump) = history();
    let file = dir.path().join("history.prom");
    std::fs::write(&file, &history).unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let report = run_well(&["db", "import", text(&file), "--data-dir", text(&one), "--format", "json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["samples"], &report["series"]), (&1200.into(), &2.into()), "{report}");
    assert!(report["blocks"].as_array().unwrap().len() > 2);

    let mut command = chronolith::command(&["db", "import", "-", "--input", "prometheus", "--data-dir", text(&two)]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(history.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("older than 15d") && said.contains("when it is started"), "{said}");
    for dir in [&one, &two] {
        assert!(run_well(&["db", "dump", text(dir)]) == dump);
    }
    let range = ["--min-time", "1700006700000", "--max-time", "2023-11-15T00:10:00Z", "--match", "up{job=\"b\"}"];
    let part = run_well(&[&["db", "dump", text(&one)], &range[..]].concat());
    let expected = "{__name__=\"up\", job=\"b\"} 1 1700006700000\n{__name__=\"up\", job=\"b\"} 2 1700007000000\n";
    assert_eq!(part, expected);
}

#[test]
fn transfer_import_that_is_killed_goes_on_when_the_same_text_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let line = |step: i64| format!("up {step} {}\n", START_MS + step * 60_000);
    let history: String = (0..8000).map(line).collect();
    // Runs of a thousand samples are sorted and set down before it is killed.
    let first: String = (0..7500).map(line).collect();
    let arguments = ["db", "import", "-", "--input", "prometheus", "--memory", "64KB", "--data-dir", text(&data)];
    let mut child = chronolith::command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(first.as_bytes()).unwrap();
    wait_for("runs", Duration::from_secs(30), || {
        let left = std::fs::read_dir(&data).into_iter().flatten().map(|entry| entry.unwrap().path());
        let runs: Vec<_> = left.flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten()).collect();
        (runs.len() > 8).then_some(()).ok_or_else(|| format!("{} files", runs.len()))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    let mut child = chronolith::command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(history.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("samples were read by an interrupted import before"), "{said}");
    let expected: String =
        (0..8000).map(|step| format!("{{__name__=\"up\"}} {step} {}\n", START_MS + step * 60_000)).collect();
    assert!(run_well(&["db", "dump", text(&data)]) == expected);
    let names = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| name.len() == 26), "something is left over");
}

#[test]
fn transfer_import_of_a_fault_names_its_line_and_what_belongs_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.prom");
    std::fs::write(&file, "up 1 1000\nup one 2000\n").unwrap();
    let data = dir.path().join("data");
    let (status, _, stderr) = run(&["db", "import", text(&file), "--data-dir", text(&data)]);
    assert_eq!(status, Some(2), "{stderr}");
    for words in ["line 2, column 4", "not a number", "`name{label=\"value\"} 1.5 1767225600000`"] {
        assert!(stderr.contains(words), "{stderr}");
    }
    let (status, _, stderr) = run(&["db", "import", "-", "--data-dir", text(&data)]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("--input openmetrics"), "{stderr}");
}

#[test]
fn transfer_commands_show_a_server_s_directory_as_it_did_and_refuse_it_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Chronolith::start_with(&data, Settings::default().with("web.enable_admin_api", "true"));
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let samples: Vec<(i64, f64)> = (0..200).map(|step| (now_ms - (200 - step) * 10_000, step as f64)).collect();
    let series = |job: &str| Series::new(&[("__name__", "up"), ("job", job)], &samples);
    let answer = send(server.address, &[series("a"), series("b")]).unwrap();
    assert!(answer.status / 100 == 2, "{}", answer.text());
    let late = Series::new(&[("__name__", "up"), ("job", "a")], &[(now_ms - 2_500_000, 0.5)]);
    let answer = send(server.address, &[late]).unwrap();
    assert!(answer.status / 100 == 2, "{}", answer.text());
    let at = format!("{:.3}", now_ms as f64 / 1000.0);
    let question = ["query", "sum by (job) (count_over_time(up[2h]))", "--time", &at, "--format", "json"];
    let url = format!("http://{}", server.address);
    let expected = run_well(&[&question[..], &["--url", &url]].concat());

    let copy = dir.path().join("copy");
    for command in [
        &["db", "dump", text(&data)][..],
        &["db", "export", text(&data)],
        &["db", "analyze", text(&data)],
        &["db", "snapshot", text(&data), "--to", text(&copy)],
        &["query", "up", "--data-dir", text(&data)],
    ] {
        let (status, _, stderr) = run(command);
        assert_eq!(status, Some(2), "{command:?}");
        assert!(stderr.contains("in use by a server") && stderr.contains("db snapshot --url"), "{stderr}");
    }
    let name = run_well(&["db", "snapshot", "--url", &url]).lines().next().unwrap().to_owned();
    let asked = dir.path().join("asked");
    let snapshot = data.join("snapshots").join(name);
    run_well(&["db", "restore", text(&snapshot), "--data-dir", text(&asked)]);
    assert_eq!(run_well(&["db", "dump", text(&asked)]).lines().count(), 401);

    // An import needs no lock: blocks get their names when they are whole.
    let file = dir.path().join("history.prom");
    std::fs::write(&file, history().0).unwrap();
    let said = run_well(&["db", "import", text(&file), "--data-dir", text(&data)]);
    assert!(said.contains("within a minute"), "{said}");
    assert!(server.process.terminate(Duration::from_secs(30)).success());

    assert_eq!(run_well(&[&question[..], &["--data-dir", text(&data)]].concat()), expected);
    let dump = run_well(&["db", "dump", text(&data)]);
    assert_eq!(dump.lines().count(), 1200 + 401);
    let analysis = run_well(&["db", "analyze", text(&data), "--format", "json"]);
    let analysis: Value = serde_json::from_str(&analysis).unwrap();
    assert_eq!(analysis["names_by_values"][0], serde_json::json!({"name": "job", "value": 2.0}), "{analysis}");
    assert!(run_well(&["db", "analyze", text(&data)]).contains("head, out of order"));

    run_well(&["db", "snapshot", text(&data), "--to", text(&copy)]);
    let back = dir.path().join("back");
    let said = run_well(&["db", "restore", text(&copy), "--data-dir", text(&back)]);
    assert!(said.contains("1601 samples") && said.contains("proven"), "{said}");
    assert!(run_well(&["db", "dump", text(&back)]) == dump, "the restored directory has other samples");
    let (status, _, stderr) = run(&["db", "restore", text(&copy), "--data-dir", text(&data)]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("is not empty"), "{stderr}");
    verify(&back, None);
    let server = Chronolith::start(&back);
    let url = format!("http://{}", server.address);
    assert_eq!(run_well(&[&question[..], &["--url", &url]].concat()), expected);
}

#[test]
fn transfer_export_is_imported_to_the_same_samples() {
    let dir = tempfile::tempdir().unwrap();
    let (history, dump) = history();
    let file = dir.path().join("history.prom");
    std::fs::write(&file, &history).unwrap();
    let data = dir.path().join("data");
    run_well(&["db", "import", text(&file), "--data-dir", text(&data), "--block-duration", "24h"]);
    for format in ["openmetrics", "prometheus"] {
        let (out, again) = (dir.path().join(format!("{format}.txt")), dir.path().join(format));
        run_well(&["db", "export", text(&data), "--format", format, "--output", text(&out)]);
        run_well(&["db", "import", text(&out), "--data-dir", text(&again)]);
        assert!(run_well(&["db", "dump", text(&again)]) == dump, "{format}");
        let (status, _, stderr) = run(&["db", "export", text(&data), "--output", text(&out)]);
        assert_eq!(status, Some(2), "an existing file is left alone");
        assert!(stderr.contains("create"), "{stderr}");
    }
}

#[test]
fn transfer_restore_of_a_damaged_snapshot_ends_with_2_and_names_the_block() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.prom");
    std::fs::write(&file, history().0).unwrap();
    let (data, copy, back) = (dir.path().join("data"), dir.path().join("copy"), dir.path().join("back"));
    run_well(&["db", "import", text(&file), "--data-dir", text(&data)]);
    run_well(&["db", "snapshot", text(&data), "--to", text(&copy)]);
    let block =
        std::fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let segment = block.join("chunks/000001");
    let mut bytes = std::fs::read(&segment).unwrap();
    let last = bytes.len() - 6;
    bytes[last] ^= 4;
    // A new file: the old one is shared with the data directory.
    std::fs::remove_file(&segment).unwrap();
    std::fs::write(&segment, bytes).unwrap();
    let (status, _, stderr) = run(&["db", "restore", text(&copy), "--data-dir", text(&back)]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains(block.file_name().unwrap().to_str().unwrap()) && stderr.contains("checksum"), "{stderr}");
    assert_eq!(std::fs::read_dir(&back).unwrap().count(), 0);
}

#[test]
fn transfer_commands_on_a_damaged_directory_show_the_rest_and_end_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.prom");
    std::fs::write(&file, history().0).unwrap();
    let data = dir.path().join("data");
    run_well(&["db", "import", text(&file), "--data-dir", text(&data)]);
    let at = format!("{}", (START_MS + 600 * 300_000) / 1000);
    let question = ["query", "sum(count_over_time(up[51h]))", "--time", &at, "--format", "json"];
    let question = [&question[..], &["--data-dir", text(&data)]].concat();
    assert!(run_well(&question).contains("\"1200\""));

    let blocks = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let block = blocks.into_iter().find(|path| path.join("index").is_file()).unwrap();
    std::fs::write(block.join("index"), "no index").unwrap();
    let name = block.file_name().unwrap().to_str().unwrap();
    for command in [&question[..], &["db", "dump", text(&data)]] {
        let (status, stdout, stderr) = run(command);
        assert_eq!(status, Some(1), "{command:?}: {stderr}");
        assert!(stderr.contains(name) && !stdout.is_empty(), "{command:?}: {stderr}");
        assert!(!stdout.contains("\"1200\""), "{stdout}");
    }
}

#[test]
fn transfer_help_shows_examples() {
    for command in ["import", "dump", "export", "analyze", "snapshot", "restore"] {
        let help = run_well(&["db", command, "--help"]);
        assert!(help.contains(&format!("chronolith db {command} ")), "{help}");
    }
}
