//! Data in and out beside promtool: the same text gives the same samples, and the same directories the same dumps.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::harness::chronolith::run;
use crate::harness::peers::{Peers, with_peers};
use crate::harness::process::{copy_dir, run_well};
use crate::harness::remote_write::{Series, send};
use crate::harness::{Chronolith, Settings};

const START_MS: i64 = 1_700_006_400_000;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn ours(arguments: &[&str]) -> String {
    let (status, stdout, stderr) = run(arguments);
    assert_eq!(status, Some(0), "{arguments:?}\n{stderr}");
    stdout
}

fn promtool(peers: &Peers, arguments: &[&str]) -> String {
    run_well(peers.program("promtool"), &[&["tsdb"], arguments].concat())
}

/// promtool takes a directory without a log for an empty one.
fn promtool_dump(peers: &Peers, dir: &Path, arguments: &[&str]) -> String {
    std::fs::create_dir_all(dir.join("wal")).unwrap();
    promtool(peers, &[&["dump"], arguments, &[text(dir)]].concat())
}

fn assert_same(what: &str, expected: &str, found: &str) {
    if expected != found {
        let differing = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
        let (a, b) = (expected.lines().count(), found.lines().count());
        panic!("{what}: {a} lines expected, {b} found; the first that differ: {differing:#?}");
    }
}

/// Three days of a few families, with values and labels that are easily got wrong.
fn open_metrics() -> String {
    let mut families = Vec::new();
    let values = |step: i64| match step % 7 {
        0 => "NaN".to_owned(),
        1 => "+Inf".to_owned(),
        2 => "-0".to_owned(),
        3 => format!("{step}e-9"),
        4 => format!("{}", step * 1_234_567),
        5 => "4.9e-324".to_owned(),
        _ => format!("{}.{step}", step * 3),
    };
    for (name, kind) in [("requests", "counter"), ("temperature", "gauge"), ("a:rule", "unknown")] {
        let mut family = format!("# HELP {name} Some \\\\ text.\n# TYPE {name} {kind}\n");
        let suffix = if kind == "counter" { "_total" } else { "" };
        for labels in ["", "{job=\"a\"}", "{job=\"b\",path=\"C:\\\\x \\\"y\\\"\\n\"}", "{Zone=\"ü\"}"] {
            for step in 0..400 {
                let at_ms = START_MS + step * 600_123;
                let seconds = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
                family.push_str(&format!("{name}{suffix}{labels} {} {seconds}\n", values(step)));
            }
        }
        families.push(family);
    }
    families.concat() + "# EOF\n"
}

#[test]
fn interop_import_stores_what_promtool_stores_and_export_brings_it_back_to_both() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (file, theirs, mine) = (at("text.om"), at("theirs"), at("mine"));
        std::fs::write(&file, open_metrics()).unwrap();
        promtool(peers, &["create-blocks-from", "openmetrics", text(&file), text(&theirs)]);
        ours(&["db", "import", text(&file), "--data-dir", text(&mine)]);
        let expected = promtool_dump(peers, &theirs, &[]);
        assert_eq!(expected.lines().count(), 4800);
        assert_same("our dump of our import", &expected, &ours(&["db", "dump", text(&mine)]));
        assert_same("our dump of their blocks", &expected, &ours(&["db", "dump", text(&theirs)]));
        assert_same("their dump of our import", &expected, &promtool_dump(peers, &mine, &[]));
        let as_open_metrics = promtool(peers, &["dump-openmetrics", text(&theirs)]);
        let dump = ours(&["db", "dump", "--format", "openmetrics", text(&mine)]);
        assert_same("our dump as OpenMetrics", &as_open_metrics, &dump);
        for selection in [
            &["--match={job=\"b\"}", "--match=temperature"][..],
            &["--min-time=1700010000000", "--max-time=1700020000000"],
            &["--match={Zone=~\".+\"}", "--max-time=1700020000000"],
        ] {
            let part = promtool_dump(peers, &theirs, selection);
            assert!(!part.is_empty());
            let found = ours(&[&["db", "dump", text(&mine)], selection].concat());
            assert_same(&format!("{selection:?}"), &part, &found);
        }

        let exported = at("exported.om");
        ours(&["db", "export", text(&mine), "--output", text(&exported)]);
        let (back, again) = (at("back"), at("again"));
        promtool(peers, &["create-blocks-from", "openmetrics", text(&exported), text(&back)]);
        assert_same("export, promtool, dump", &expected, &promtool_dump(peers, &back, &[]));
        ours(&["db", "import", text(&exported), "--data-dir", text(&again)]);
        assert_same("export, import, dump", &expected, &ours(&["db", "dump", text(&again)]));

        // Cardinality as promtool counts it.
        let block = newest_block(&mine);
        let theirs = promtool(peers, &["analyze", "--limit=100", text(&mine), &block]);
        let analysis = ours(&["db", "analyze", text(&mine), &block, "--limit", "100", "--format", "json"]);
        let analysis: serde_json::Value = serde_json::from_str(&analysis).unwrap();
        for (title, list) in [
            ("Highest cardinality labels:", "names_by_values"),
            ("Highest cardinality metric names:", "metrics_by_series"),
        ] {
            let lines = theirs.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.is_empty());
            let mut expected: Vec<String> = lines.map(str::to_owned).collect();
            let entry = |one: &serde_json::Value| {
                format!("{} {}", one["value"].as_f64().unwrap(), one["name"].as_str().unwrap())
            };
            let mut found: Vec<String> = analysis[list].as_array().unwrap().iter().map(entry).collect();
            expected.sort();
            found.sort();
            assert!(!expected.is_empty(), "{theirs}");
            assert_eq!(found, expected, "{title}");
        }
    });
}

fn newest_block(dir: &Path) -> String {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.len() == 26).max().unwrap()
}

#[test]
fn interop_dumps_and_copies_of_a_log_are_the_same_for_us_and_for_prometheus() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (mine, theirs) = (at("mine"), at("theirs"));
        let mut server = Chronolith::start_with(&mine, Settings::default());
        let config = "storage: {tsdb: {out_of_order_time_window: 2h}}";
        let mut prometheus = peers.prometheus_with(&theirs, config, &["--web.enable-admin-api"]);
        let now_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        for step in 0..300 {
            let at_ms = now_ms - (300 - step) * 15_000;
            let series = |number: i64| {
                let labels = [("__name__", "m"), ("n", &*number.to_string())];
                Series::new(&labels, &[(at_ms + number, (step * number) as f64 / 3.0)])
            };
            let mut batch: Vec<Series> = (0..20).map(series).collect();
            if step % 10 == 9 {
                // Behind what its series has.
                batch.push(Series::new(&[("__name__", "m"), ("n", "3")], &[(at_ms - 1_000_000, 7.5)]));
            }
            for address in [server.address, prometheus.address] {
                let answer = send(address, &batch).unwrap();
                assert!(answer.status / 100 == 2, "{address}: {}", answer.text());
            }
        }
        let url = format!("http://{}", prometheus.address);
        let name = ours(&["db", "snapshot", "--url", &url]).lines().next().unwrap().to_owned();
        assert!(server.process.terminate(Duration::from_secs(30)).success());
        assert!(prometheus.process.terminate(Duration::from_secs(30)).success());

        let expected = ours(&["db", "dump", text(&mine)]);
        assert_eq!(expected.lines().count(), 300 * 20 + 30);
        assert_same("our dump of their directory", &expected, &ours(&["db", "dump", text(&theirs)]));
        // promtool gives the series of a log in the order in which they came.
        let sorted = |dump: &str| {
            let mut lines: Vec<&str> = dump.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        let lines = sorted(&expected);
        assert_same("their dump of their directory", &lines, &sorted(&promtool_dump(peers, &theirs, &[])));
        let copy = at("copy of mine");
        copy_dir(&mine, &copy);
        assert_same("their dump of our directory", &lines, &sorted(&promtool_dump(peers, &copy, &[])));
        let query = ["query", "sum(m)", "--format", "json", "--time", &format!("{}", now_ms / 1000)];
        let answers = [&mine, &theirs].map(|dir| ours(&[&query[..], &["--data-dir", text(dir)]].concat()));
        assert!(answers[0] == answers[1] && answers[0].contains("value"), "{answers:#?}");

        // Copies of both, and the one that Prometheus made of itself.
        for (from, to) in [(&mine, "mine"), (&theirs, "theirs")] {
            ours(&["db", "snapshot", text(from), "--to", text(&at(&format!("snapshot of {to}")))]);
        }
        let made_by_itself = theirs.join("snapshots").join(name);
        for (number, snapshot) in
            [at("snapshot of mine"), at("snapshot of theirs"), made_by_itself].into_iter().enumerate()
        {
            let what = format!("restored from {}", snapshot.display());
            let back = at(&format!("back {number}"));
            ours(&["db", "restore", text(&snapshot), "--data-dir", text(&back)]);
            let mut expected = expected.clone();
            if number == 2 {
                // A snapshot that Prometheus makes has no out-of-order samples of its head.
                expected =
                    expected.lines().filter(|line| !line.contains(" 7.5 ")).map(|line| format!("{line}\n")).collect();
            }
            assert_same(&what, &expected, &ours(&["db", "dump", text(&back)]));
            assert_same(&what, &expected, &promtool_dump(peers, &back, &[]));
        }
    });
}
