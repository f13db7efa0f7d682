//! Prometheus' own tool and server as judges. `CHRONOLITH_PEERS` names the directory of the programs; without it these
//! tests are left out, as those of `tests/it` that need them are.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::encoding::put;
use crate::storage::{Column, Queryable as _, SelectHints};

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

/// A Prometheus that is killed when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Server {
    fn start(peers: &Path, dir: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::write(dir.join("prometheus.yml"), "").unwrap();
        let child = Command::new(peers.join("prometheus"))
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address={address}"))
            .args(["--web.enable-remote-write-receiver", "--web.enable-admin-api"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { child, address };
        let started = Instant::now();
        while server.post("GET", "/-/ready", "", &[]).is_none() {
            assert!(started.elapsed() < Duration::from_secs(60), "Prometheus does not get ready");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        server
    }

    /// Sends a request; `None` where it is not answered well.
    fn post(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once(' ').is_some_and(|(_, status)| status.starts_with('2')).then_some(answer)
    }

    fn remote_write(&self, series: &[(LabelSet, Vec<(i64, f64)>)]) {
        let mut request = Vec::new();
        let field = |out: &mut Vec<u8>, number: u8, bytes: &[u8]| {
            out.push(number << 3 | 2);
            put::uvarint_slice(out, bytes);
        };
        for (labels, samples) in series {
            let mut message = Vec::new();
            for label in labels.iter() {
                let mut pair = Vec::new();
                field(&mut pair, 1, label.name.as_bytes());
                field(&mut pair, 2, label.value.as_bytes());
                field(&mut message, 1, &pair);
            }
            for (timestamp_ms, value) in samples {
                let mut sample = vec![0x09];
                sample.extend_from_slice(&value.to_bits().to_le_bytes());
                sample.push(0x10);
                put::uvarint(&mut sample, *timestamp_ms as u64);
                field(&mut message, 2, &sample);
            }
            field(&mut request, 1, &message);
        }
        let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        let headers = "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n";
        self.post("POST", "/api/v1/write", headers, &body).expect("Prometheus takes the samples");
    }
}

fn block_dirs(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut dirs: Vec<PathBuf> = entries.filter(|path| path.join("meta.json").exists()).collect();
    dirs.sort();
    dirs
}

/// What the block in `dir` holds, as promtool writes it.
fn dump_block(dir: &Path) -> Vec<String> {
    let block = Block::open(Arc::new(SystemFs), dir).unwrap();
    let checked = check(&block, &mut |_| {});
    assert!(checked.is_good(), "{:?}", checked.findings);
    assert_eq!(block.damages(), vec![]);
    let querier = block.querier(TimeRange::ALL).unwrap();
    let mut all = Vec::new();
    for series in querier.select(&[], &SelectHints::default()).unwrap() {
        let mut column = Column::default();
        series.samples.read(TimeRange::ALL, &mut column).unwrap();
        all.push((series.labels, column.timestamps_ms.into_iter().zip(column.values).collect()));
    }
    assert_eq!(querier.warnings(), Vec::<String>::new());
    dump_lines(&all)
}

#[test]
fn block_that_prometheus_made_is_read_as_promtool_dumps_it() {
    let Some(peers) = peers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&peers, dir.path());
    // More values of a label than the reader keeps the places of, and several chunks a series.
    let series = specimen(300, 250);
    server.remote_write(&series);
    let answer = server.post("POST", "/api/v1/admin/tsdb/snapshot", "", &[]).expect("a snapshot is made");
    let name = answer.split("\"name\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let snapshot = dir.path().join("data/snapshots").join(name);
    drop(server);
    let blocks = block_dirs(&snapshot);
    assert_eq!(blocks.len(), 1);
    std::fs::create_dir_all(snapshot.join("wal")).unwrap();
    let path = snapshot.to_str().unwrap();
    let dump = || promtool(&peers, &["tsdb", "dump", path]).lines().map(str::to_owned).collect::<Vec<_>>();
    let expected = dump();
    assert_eq!(expected, dump_lines(&series));
    assert_eq!(dump_block(&blocks[0]), expected);
    // Its meta is rewritten to the same bytes, and it sees our deletions.
    let before = std::fs::read(blocks[0].join("meta.json")).unwrap();
    let block = Block::open(Arc::new(SystemFs), &blocks[0]).unwrap();
    block.rewrite_meta(|_| {}).unwrap();
    assert_eq!(std::fs::read(blocks[0].join("meta.json")).unwrap(), before);
    let range = TimeRange::new(START_MS + 100_000, START_MS + 1_000_000);
    assert_eq!(block.delete(&[Matcher::equal("__name__", "up")], range).unwrap().series, 75);
    let left = dump();
    assert!(left.len() < expected.len());
    assert_eq!(dump_block(&blocks[0]), left);
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
