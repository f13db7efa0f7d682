//! Prometheus' own tool and server as judges. `CHRONOLITH_PEERS` names the directory of the programs; without it these
//! tests are left out, as those of `tests/it` that need them are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

fn peers() -> Option<PathBuf> {
    std::env::var_os("CHRONOLITH_PEERS").map(PathBuf::from)
}

/// Runs promtool and gives its output; it has to end well.
fn promtool(peers: &Path, arguments: &[&str]) -> String {
    let output = Command::new(peers.join("promtool")).args(arguments).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {stdout}{stderr}");
    stdout.into_owned()
}

/// The lines that `promtool tsdb dump` has for these series.
fn dump_lines(series: &[(LabelSet, Vec<(i64, f64)>)]) -> Vec<String> {
    let line = |labels: &LabelSet, timestamp_ms: i64, value: f64| {
        let labels: Vec<String> =
            labels.iter().map(|label| format!("{}={}", label.name, crate::encoding::quote(label.value))).collect();
        format!("{{{}}} {} {timestamp_ms}", labels.join(", "), crate::encoding::go_float::general(value, None))
    };
    series.iter().flat_map(|(labels, samples)| samples.iter().map(move |&(t, v)| line(labels, t, v))).collect()
}

#[test]
fn promtool_accepts_a_block_and_dumps_what_was_written() {
    let Some(peers) = peers() else { return };
    for (segment_bytes_max, postings_per_pass) in [(u64::MAX, 1 << 20), (2_000, 7)] {
        let dir = tempfile::tempdir().unwrap();
        let series = specimen(200, 50);
        let options = WriterOptions { segment_bytes_max, postings_per_pass, ..WriterOptions::default() };
        let fs = Arc::new(SystemFs);
        let block = write_block(fs, dir.path(), ulid(1), options, &series).unwrap().unwrap();
        assert_eq!(block.meta().stats.samples, 200 * 50);
        let block = block.publish().unwrap();
        let block_dir = block.dir().to_owned();
        assert_eq!(std::fs::read_dir(&block_dir).unwrap().count(), 4, "index, chunks, tombstones, meta.json");
        let path = dir.path().to_str().unwrap();
        assert!(promtool(&peers, &["tsdb", "list", path]).contains(&ulid(1).to_string()));
        let analysis = promtool(&peers, &["tsdb", "analyze", "--extended", path]);
        assert!(analysis.contains("Total Series: 200"), "{analysis}");
        // The tool wants a whole data directory here.
        std::fs::create_dir(dir.path().join("wal")).unwrap();
        let dump = || promtool(&peers, &["tsdb", "dump", path]);
        assert_eq!(dump().lines().collect::<Vec<_>>(), dump_lines(&series));
        // What is ours beside the index is passed over.
        crate::block::accel::build(&SystemFs, &block).unwrap();
        assert_eq!(dump().lines().collect::<Vec<_>>(), dump_lines(&series));
    }
}

#[test]
fn block_that_promtool_made_is_whole_and_answers_the_same_with_an_accelerator() {
    let Some(peers) = peers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("# TYPE requests counter\n");
    for series in 0..150 {
        for sample in 0..3 {
            let (zone, seconds) = (series % 4, START_MS / 1000 + sample * 15);
            text += &format!("requests_total{{host=\"h{series:03}\",zone=\"z{zone}\"}} {sample} {seconds}\n");
        }
    }
    text += "# EOF\n";
    let (input, output) = (dir.path().join("input"), dir.path().join("data"));
    std::fs::write(&input, text).unwrap();
    let made = ["tsdb", "create-blocks-from", "openmetrics", input.to_str().unwrap(), output.to_str().unwrap()];
    promtool(&peers, &made);
    let mut blocks = 0;
    for entry in std::fs::read_dir(&output).unwrap() {
        let path = entry.unwrap().path();
        let Ok(block) = Block::open(Arc::new(SystemFs), &path) else { continue };
        blocks += 1;
        assert_eq!(check(&block, &mut |_| {}).findings, []);
        let questions = [("host", "h0.*"), ("host", ".*[13]"), ("zone", "z[^2]"), ("zone", ""), ("zone", ".+")];
        let answers = || {
            let answer = |(name, pattern)| {
                let matcher = crate::model::Matcher::new(name, crate::model::MatchOp::Regex, pattern).unwrap();
                block.series_refs(&[matcher])
            };
            questions.map(answer)
        };
        let plain = answers();
        assert!(plain[0].len() == 100 && plain[4].len() == 150, "{plain:?}");
        crate::block::accel::build(&SystemFs, &block).unwrap();
        assert_eq!(block.accel_state(), crate::block::accel::AccelState::Ready);
        assert_eq!(answers(), plain);
        assert_eq!(block.accel().unwrap().tally(), check(&block, &mut |_| {}).stored);
    }
    assert_eq!(blocks, 1);
}
