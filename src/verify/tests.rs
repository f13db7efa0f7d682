//! A log that is whole is proven; a log that lacks anything is not. Each negative control takes one thing away.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::encoding::crc32c;
use crate::fs::SystemFs;
use crate::model::{Digest, Label, LabelSet, ReceiptLine};
use crate::wal::record::{SamplesEncoder, SeriesEncoder, split};
use crate::wal::{GroupRecords, GroupWriter, LogFiles, RecordType, Resume, SegmentEvent, SegmentReader, WalOptions};

mod blocks;

const GROUPS: u64 = 4;

/// A data directory whose log has [`GROUPS`] groups: each creates a series, and has two requests that write samples to
/// all series so far. A receipts file lies beside it.
struct Log {
    dir: TempDir,
}

fn labels(series: u64) -> LabelSet {
    LabelSet::from_pairs([("__name__", "up"), ("instance", format!("node-{series}").as_str())])
}

impl Log {
    fn new() -> Self {
        Log::rolled_before(None)
    }

    /// With a second segment that begins with this group.
    fn rolled_before(roll_before: Option<u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wal_dir = dir.path().join(names::WAL_DIR);
        SystemFs.create_dir_all(&wal_dir).unwrap();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let mut writer = GroupWriter::new(Arc::new(SystemFs), wal_dir, Resume::default(), WalOptions::default(), clock);
        let mut receipts = Vec::new();
        for group in 1..=GROUPS {
            if Some(group) == roll_before {
                writer.roll_before_next();
            }
            let mut series = Vec::new();
            let set = labels(group);
            SeriesEncoder::push(&mut series, group, set.iter());
            let mut records = vec![series];
            let mut requests = Vec::new();
            for request in 0..2 {
                let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::new());
                let mut digest = Digest::ZERO;
                for series_ref in 1..=group {
                    let (at, value) = ((group * 10 + request) as i64, series_ref as f64 / 3.0);
                    encoder.push(&mut record, series_ref, at, value);
                    digest += Digest::of_labels(&labels(series_ref)).of_sample(at, value);
                }
                records.push(record);
                requests.push((group, digest));
            }
            writer.form_group(&requests, GroupRecords { records, on_durable: None }, false);
            writer.write_pending().1.unwrap();
            for (index, (samples, digest)) in requests.into_iter().enumerate() {
                let commit = (group - 1) * 2 + index as u64 + 1;
                receipts.push(ReceiptLine { commit, digest, samples, durability: "fsync".into(), sent_at_ms: 0 });
            }
        }
        let log = Log { dir };
        log.write_receipts(&receipts);
        log
    }

    fn receipts_path(&self) -> PathBuf {
        self.dir.path().join("receipts")
    }

    fn write_receipts(&self, receipts: &[ReceiptLine]) {
        let lines = receipts.iter().map(|line| serde_json::to_string(line).unwrap() + "\n");
        self.replace(&self.receipts_path(), lines.collect::<String>().as_bytes());
    }

    fn receipts(&self) -> Vec<ReceiptLine> {
        let bytes = SystemFs.read(&self.receipts_path()).unwrap();
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn replace(&self, path: &Path, bytes: &[u8]) {
        if SystemFs.exists(path) {
            SystemFs.remove_file(path).unwrap();
        }
        SystemFs.create(path).unwrap().write_all(bytes).unwrap();
    }

    fn segment_path(&self) -> PathBuf {
        let files = LogFiles::list(&SystemFs, &self.dir.path().join(names::WAL_DIR)).unwrap();
        files.files[0].path.clone()
    }

    /// The records of the log: type byte first, seals and marks included.
    fn records(&self) -> Vec<(u64, Vec<u8>)> {
        let mut reader = SegmentReader::open(&SystemFs, &self.segment_path()).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.next_event() {
                SegmentEvent::Record { offset, bytes, .. } => records.push((offset, bytes)),
                SegmentEvent::Damage { what, .. } => panic!("{what}"),
                SegmentEvent::End { .. } => return records,
            }
        }
    }

    /// Writes the log again with these records: a forger who gets every checksum right.
    fn rewrite(&self, records: impl Iterator<Item = Vec<u8>>) {
        let mut bytes = Vec::new();
        for record in records {
            bytes.push(1);
            bytes.extend((record.len() as u16).to_be_bytes());
            bytes.extend(crc32c(&record).to_be_bytes());
            bytes.extend(record);
        }
        assert!(bytes.len() < 32 << 10, "more than a page needs more kinds of fragments");
        self.replace(&self.segment_path(), &bytes);
    }

    /// The places of all records of a kind.
    fn places(&self, wanted: RecordType) -> Vec<usize> {
        let records = self.records();
        (0..records.len()).filter(|&index| split(&records[index].1).0 == Some(wanted)).collect()
    }

    fn verify(&self) -> VerifyReport {
        self.verify_with(Some(self.receipts_path()), None)
    }

    fn verify_with(&self, receipts: Option<PathBuf>, server: Option<String>) -> VerifyReport {
        let options =
            VerifyOptions { data_dir: self.dir.path().to_owned(), receipts, server, ..VerifyOptions::default() };
        let fs: Arc<dyn Fs> = Arc::new(SystemFs);
        verify(&fs, &options)
    }

    /// The head that a server would have that lost nothing.
    fn head(&self, group: u64) -> Vec<(Digest, u64, Digest)> {
        let mut rows = std::collections::BTreeMap::<u64, (u64, Digest)>::new();
        for written in 1..=group {
            for request in 0..2 {
                for series in 1..=written {
                    let row = rows.entry(series).or_default();
                    row.0 += 1;
                    let (at, value) = ((written * 10 + request) as i64, series as f64 / 3.0);
                    row.1 += Digest::of_labels(&labels(series)).of_sample(at, value);
                }
            }
        }
        rows.into_iter().map(|(series, (count, digest))| (Digest::of_labels(&labels(series)), count, digest)).collect()
    }
}

/// Serves one answer over HTTP.
fn serve_once(status: &'static str, body: String) -> String {
    serve_once_below("", status, body)
}

/// The same, and nothing outside of a path.
fn serve_once_below(prefix: &'static str, status: &'static str, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{prefix}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
        }
        let asked = format!("GET {prefix}/api/v1/storage/head/digests HTTP/1.1\r\n");
        let status = if request.starts_with(asked.as_bytes()) { status } else { "404 Not Found" };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
    });
    url
}

fn digests(group: u64, head: &[(Digest, u64, Digest)]) -> String {
    let lines = head.iter().map(|(labels, count, digest)| format!("{labels} {count} {digest}\n"));
    format!("group {group}\n{}", lines.collect::<String>())
}

fn stage<'r>(report: &'r VerifyReport, name: &str) -> &'r Stage {
    report.stages.iter().find(|stage| stage.name == name).unwrap()
}

#[track_caller]
fn assert_wrong(report: &VerifyReport, name: &str, words: &str) {
    assert_eq!(report.exit_code(), 1, "{}", report.to_table());
    let stage = stage(report, name);
    assert_eq!(stage.status, StageStatus::Wrong, "{}", report.to_table());
    assert!(stage.findings.iter().any(|finding| finding.contains(words)), "{}", report.to_table());
}

#[test]
fn whole_log_and_its_receipts_are_proven() {
    let report = Log::new().verify();
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert_eq!(stage(&report, "replay").numbers["series"], 4);
    assert_eq!(stage(&report, "replay").numbers["samples"], 20);
    assert_eq!(stage(&report, "receipts").numbers["receipts_proven"], 8);
    assert_eq!(report.log.as_ref().unwrap().groups, Some((1, GROUPS)));
    assert!(report.to_table().ends_with("verdict: proven"));
    assert_eq!(report.to_json()["verdict"], "proven");
}

#[test]
fn removed_record_with_every_checksum_right_is_found_and_its_group_named() {
    for kind in [RecordType::Series, RecordType::Samples] {
        let count = Log::new().places(kind).len();
        for nth in 0..count {
            let log = Log::new();
            let removed = log.places(kind)[nth];
            let records = log.records();
            log.rewrite(records.into_iter().enumerate().filter(|&(i, _)| i != removed).map(|(_, (_, record))| record));
            let group = match kind {
                RecordType::Series => nth + 1,
                _ => nth / 2 + 1,
            };
            let report = log.verify();
            if group as u64 == GROUPS {
                // Nothing stands behind the newest group, so it is taken for torn. Its receipts say that it was whole.
                assert_wrong(&report, "receipts", "commit 7 (4 samples) is not in the log");
                continue;
            }
            assert_wrong(&report, "replay", &format!("group {group}, sealed at"));
            assert_wrong(&report, "receipts", &format!("is in group {group}, which is damaged"));
        }
    }
}

#[test]
fn repeated_or_exchanged_records_are_found() {
    let log = Log::new();
    let mut records: Vec<Vec<u8>> = log.records().into_iter().map(|(_, record)| record).collect();
    let samples = log.places(RecordType::Samples)[2];
    records.insert(samples, records[samples].clone());
    log.rewrite(records.into_iter());
    assert_eq!(log.verify().exit_code(), 1);

    let log = Log::new();
    let mut records: Vec<Vec<u8>> = log.records().into_iter().map(|(_, record)| record).collect();
    let places = log.places(RecordType::Samples);
    records.swap(places[2], places[3]);
    log.rewrite(records.into_iter());
    assert_wrong(&log.verify(), "replay", "group 2");
}

#[test]
fn flipped_bit_anywhere_in_a_sealed_record_is_found() {
    let whole = Log::new();
    let bytes = SystemFs.read(&whole.segment_path()).unwrap();
    let samples = whole.places(RecordType::Samples);
    let records = whole.records();
    for nth in [0, 3, 5] {
        let (offset, _) = records[samples[nth]];
        let log = Log::new();
        let mut flipped = bytes.clone();
        flipped[offset as usize + 10] ^= 0x10;
        log.replace(&log.segment_path(), &flipped);
        let report = log.verify();
        assert_wrong(&report, "log", &format!("00000000:{offset}"));
        assert_wrong(&report, "receipts", &format!("group {}", nth / 2 + 1));
    }
}

#[test]
fn dropped_seal_is_found_by_the_gap_it_leaves() {
    let log = Log::new();
    // The first record of that type is the mark at the segment's beginning.
    let dropped = log.places(RecordType::Seal)[2];
    let records = log.records();
    log.rewrite(records.into_iter().enumerate().filter(|&(i, _)| i != dropped).map(|(_, (_, record))| record));
    let report = log.verify();
    assert_wrong(&report, "log", "group 2");
    assert_wrong(&report, "receipts", "commit 3 (2 samples) is not in the log");
}

#[test]
fn cut_tail_is_found_by_the_receipts_it_held() {
    let log = Log::new();
    let last_seal = *log.places(RecordType::Seal).last().unwrap();
    let (offset, _) = log.records()[last_seal];
    let bytes = SystemFs.read(&log.segment_path()).unwrap();
    log.replace(&log.segment_path(), &bytes[..offset as usize + 20]);
    let report = log.verify();
    assert_wrong(&report, "receipts", "commit 7 (4 samples) is not in the log");
    assert_eq!(stage(&report, "log").status, StageStatus::Proven, "a torn tail is no damage");
    assert!(stage(&report, "log").notes[0].contains("behind the last seal"));
    let without_receipts = log.verify_with(None, None);
    assert_eq!(without_receipts.exit_code(), 0, "{}", without_receipts.to_table());
}

#[test]
fn removed_log_is_found_by_the_receipts_and_cannot_be_verified_without() {
    let log = Log::new();
    SystemFs.rename(&log.dir.path().join(names::WAL_DIR), &log.dir.path().join("elsewhere")).unwrap();
    assert_wrong(&log.verify(), "receipts", "commit 1 (1 samples) is not in the log");
    let report = log.verify_with(None, None);
    assert_eq!(report.exit_code(), 2);
    assert!(report.to_table().contains("holds no log"));
}

#[test]
fn altered_receipts_line_is_found_and_named() {
    let alter = |change: &dyn Fn(&mut ReceiptLine)| {
        let log = Log::new();
        let mut receipts = log.receipts();
        change(&mut receipts[4]);
        log.write_receipts(&receipts);
        log.verify()
    };
    assert_wrong(
        &alter(&|line| line.digest = Digest(line.digest.0 ^ 1)),
        "receipts",
        "line 5: commit 5 says 3 samples",
    );
    assert_wrong(&alter(&|line| line.samples += 1), "receipts", "line 5: commit 5 says 4 samples");
    assert_wrong(&alter(&|line| line.commit = 900), "receipts", "line 5: commit 900 (3 samples) is not in the log");
}

#[test]
fn receipts_file_that_ends_within_a_line_is_read_up_to_there() {
    let log = Log::new();
    let bytes = SystemFs.read(&log.receipts_path()).unwrap();
    log.replace(&log.receipts_path(), &bytes[..bytes.len() - 20]);
    let report = log.verify();
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert_eq!(stage(&report, "receipts").numbers["receipts_proven"], 7);
    assert_eq!(stage(&report, "receipts").notes, ["the last line of the file is cut"]);
}

#[test]
fn line_that_is_no_receipt_is_found() {
    let log = Log::new();
    let mut bytes = b"commit 1\n".to_vec();
    bytes.extend(SystemFs.read(&log.receipts_path()).unwrap());
    log.replace(&log.receipts_path(), &bytes);
    assert_wrong(&log.verify(), "receipts", "line 1 is not a receipt");
}

#[test]
fn receipts_file_that_cannot_be_read_is_no_verdict() {
    let log = Log::new();
    assert_eq!(log.verify_with(Some(log.dir.path().join("absent")), None).exit_code(), 2);
}

#[test]
fn live_head_that_equals_the_log_at_its_group_is_proven() {
    let log = Log::new();
    for group in [0, 2, GROUPS] {
        let url = serve_once("200 OK", digests(group, &log.head(group)));
        let report = log.verify_with(None, Some(url));
        assert_eq!(report.exit_code(), 0, "group {group}: {}", report.to_table());
        assert_eq!(stage(&report, "live").numbers["series_equal"], group);
    }
}

#[test]
fn live_head_of_a_server_below_a_path_is_asked_for_there() {
    let log = Log::new();
    let answer = |status| serve_once_below("/tools/db", status, digests(GROUPS, &log.head(GROUPS)));
    for slash in ["", "/"] {
        let report = log.verify_with(None, Some(answer("200 OK") + slash));
        assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    }
    let report = log.verify_with(None, Some(answer("500 Oh")));
    assert!(report.to_table().contains("/tools/db/api/v1/storage/head/digests answered 500"), "{}", report.to_table());
}

#[test]
fn live_head_that_lacks_or_alters_anything_is_found_and_the_series_named() {
    let log = Log::new();
    let live =
        |head: &[(Digest, u64, Digest)], group| log.verify_with(None, Some(serve_once("200 OK", digests(group, head))));
    let whole = log.head(GROUPS);
    assert_wrong(&live(&whole[1..], GROUPS), "live", r#"instance="node-1"}: not in the head, 8 samples in the log"#);
    let mut head = whole.clone();
    head[2].1 -= 1;
    assert_wrong(&live(&head, GROUPS), "live", r#"instance="node-3"}: 3 samples in the head, 4 in the log"#);
    let mut head = whole.clone();
    head[2].2 = Digest(1);
    assert_wrong(&live(&head, GROUPS), "live", r#"instance="node-3"}: 4 samples in both, with other values"#);
    let mut head = whole.clone();
    head.push((Digest(99), 1, Digest(5)));
    assert_wrong(&live(&head, GROUPS), "live", "1 samples in the head, 0 in the log");
    let warned = digests(GROUPS, &whole) + "# chunk 3 is damaged\n";
    let report = log.verify_with(None, Some(serve_once("200 OK", warned)));
    assert_wrong(&report, "live", "the server warns: chunk 3 is damaged");
    assert_wrong(&live(&whole, GROUPS + 1), "live", "the head is at group 5, the log ends with group 4");
    assert_wrong(&live(&whole, GROUPS - 1), "live", "samples in the head");
}

#[test]
fn live_head_that_was_read_while_its_group_was_forming_is_proven_but_for_that() {
    let log = Log::new();
    let live =
        |head: &[(Digest, u64, Digest)]| log.verify_with(None, Some(serve_once("200 OK", digests(GROUPS, head))));
    let whole = log.head(GROUPS);
    let sample = |series: u64, request: u64| {
        let at = (GROUPS * 10 + request) as i64;
        Digest::of_labels(&labels(series)).of_sample(at, series as f64 / 3.0)
    };
    // The group's second request came later; then both of one series.
    let mut head = whole.clone();
    head[0] = (head[0].0, head[0].1 - 1, head[0].2 - sample(1, 1));
    head[3] = (head[3].0, 0, Digest::ZERO);
    let report = live(&head);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert_eq!(stage(&report, "live").numbers["samples_later"], 3);
    assert_eq!(live(&whole[..3]).exit_code(), 0, "a series of which all samples came later");
    // The first request lacks while the second is there: that is no order of acceptance.
    let mut head = whole.clone();
    head[0] = (head[0].0, head[0].1 - 1, head[0].2 - sample(1, 0));
    assert_wrong(&live(&head), "live", r#"instance="node-1"}: 7 samples in the head, 8 in the log"#);
    // A sample of an earlier group lacks.
    let mut head = whole.clone();
    head[2] = log.head(GROUPS - 1)[2];
    head[2].1 -= 1;
    assert_wrong(&live(&head), "live", r#"instance="node-3"}: 1 samples in the head, 4 in the log"#);
}

#[test]
fn server_that_does_not_answer_is_no_verdict_and_the_log_is_still_proven() {
    let log = Log::new();
    let report = log.verify_with(Some(log.receipts_path()), Some(serve_once("404 Not Found", "no such path".into())));
    assert_eq!(report.exit_code(), 2, "{}", report.to_table());
    assert_eq!(stage(&report, "receipts").status, StageStatus::Proven);
    assert!(report.to_table().contains("404 Not Found: no such path"));
}

#[test]
fn verification_leaves_the_directory_as_it_was() {
    let log = Log::new();
    let before = SystemFs.read(&log.segment_path()).unwrap();
    let entries = SystemFs.list(log.dir.path()).unwrap();
    log.verify();
    assert_eq!(SystemFs.read(&log.segment_path()).unwrap(), before);
    assert_eq!(SystemFs.list(log.dir.path()).unwrap(), entries);
}

#[test]
fn labels_are_told_by_name_whatever_their_order_in_the_log() {
    let mut record = Vec::new();
    let unsorted = [Label { name: "b", value: "2" }, Label { name: "a", value: "1" }];
    SeriesEncoder::push(&mut record, 1, unsorted.into_iter());
    let sorted = LabelSet::from_pairs([("a", "1"), ("b", "2")]);
    let mut names = SeriesNames::of(std::iter::once(Digest::of_labels(&sorted)));
    let position = crate::wal::RecordPosition::default();
    crate::wal::ReplaySink::record(&mut names, position, record).unwrap();
    assert_eq!(names.describe(Digest::of_labels(&sorted)), r#"{a="1", b="2"}"#);
}

/// A segment as Prometheus writes it: without marks and seals.
fn write_foreign(dir: &Path, records: &[Vec<u8>]) {
    SystemFs.create_dir_all(dir).unwrap();
    let path = names::wal_segment(dir, 0);
    if SystemFs.exists(&path) {
        SystemFs.remove_file(&path).unwrap();
    }
    let mut file = SystemFs.create(&path).unwrap();
    for record in records {
        file.write_all(&[1]).unwrap();
        file.write_all(&(record.len() as u16).to_be_bytes()).unwrap();
        file.write_all(&crc32c(record).to_be_bytes()).unwrap();
        file.write_all(record).unwrap();
    }
}

#[test]
fn samples_that_prometheus_wrote_late_to_both_of_its_logs_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let samples = |samples: &[(i64, f64)]| {
        let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::new());
        samples.iter().for_each(|(at, value)| encoder.push(&mut record, 1, *at, *value));
        record
    };
    let mut series = Vec::new();
    SeriesEncoder::push(&mut series, 1, labels(1).iter());
    write_foreign(
        &dir.path().join(names::WAL_DIR),
        &[series, samples(&[(100, 1.0), (50, 2.0), (60, 3.0), (110, 4.0)])],
    );
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let options = VerifyOptions { data_dir: dir.path().to_owned(), ..VerifyOptions::default() };
    write_foreign(&dir.path().join(names::WBL_DIR), &[samples(&[(50, 2.0), (60, 3.0), (50, 2.0)])]);
    let report = verify(&fs, &options);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert_eq!(stage(&report, "replay").numbers["samples"], 4);
    let expected: Digest = [(100, 1.0), (50, 2.0), (60, 3.0), (110, 4.0)]
        .into_iter()
        .map(|(at, value)| Digest::of_labels(&labels(1)).of_sample(at, value))
        .sum();
    assert_eq!(stage(&report, "replay").numbers["digest"], expected.to_string());
    // Of a series that `wal/` does not name.
    let (mut unknown, mut encoder) = (Vec::new(), SamplesEncoder::new());
    encoder.push(&mut unknown, 9, 50, 1.0);
    write_foreign(&dir.path().join(names::WBL_DIR), &[unknown]);
    assert_wrong(&verify(&fs, &options), "replay", "wbl segment 00000000 are of series that the log lacks");
}

/// Our log after Prometheus ran on it: its checkpoint stands for the first segment, with groups 1 and 2.
fn taken_over() -> Log {
    let log = Log::rolled_before(Some(3));
    let wal_dir = log.dir.path().join(names::WAL_DIR);
    SystemFs.remove_file(&names::wal_segment(&wal_dir, 0)).unwrap();
    let (mut series, mut samples, mut encoder) = (Vec::new(), Vec::new(), SamplesEncoder::new());
    (1..=2).for_each(|number| SeriesEncoder::push(&mut series, number, labels(number).iter()));
    encoder.push(&mut samples, 1, 21, 1.0 / 3.0);
    write_foreign(&names::checkpoint_dir(&wal_dir, 0), &[series, samples]);
    log
}

#[test]
fn groups_and_receipts_that_prometheus_truncated_are_neither_proven_nor_wrong() {
    let log = taken_over();
    let report = log.verify();
    assert_eq!((report.verdict(), report.exit_code()), (Verdict::Unproven, 2), "{}", report.to_table());
    assert_eq!(stage(&report, "replay").status, StageStatus::Proven, "{}", report.to_table());
    for (name, words) in [("log", "groups 1 to 2: another program"), ("receipts", "not proven: 4 receipts: another")] {
        let stage = stage(&report, name);
        assert_eq!(stage.status, StageStatus::Unproven, "{}", report.to_table());
        assert!(stage.notes.iter().any(|note| note.contains(words)), "{}", report.to_table());
    }
    assert_eq!(stage(&report, "receipts").numbers["receipts_proven"], 4);
    assert!(report.to_table().contains("verdict: not proven"));
}

#[test]
fn receipts_between_or_behind_requests_that_are_still_sealed_are_wrong_whoever_truncated_the_log() {
    let log = taken_over();
    let line = |commit| {
        let receipt = ReceiptLine { commit, digest: Digest(7), samples: 3, durability: "fsync".into(), sent_at_ms: 0 };
        serde_json::to_string(&receipt).unwrap() + "\n"
    };
    log.replace(&log.receipts_path(), line(9).as_bytes());
    assert_wrong(&log.verify(), "receipts", "commit 9 (3 samples) is not in the log");
    // Sealed, with other samples.
    log.replace(&log.receipts_path(), line(6).as_bytes());
    assert_wrong(&log.verify(), "receipts", "commit 6 says 3 samples");
}

#[test]
fn segment_that_is_missing_without_a_checkpoint_is_nobodys_truncation() {
    let log = taken_over();
    let wal_dir = log.dir.path().join(names::WAL_DIR);
    SystemFs.remove_file(&names::wal_segment(&names::checkpoint_dir(&wal_dir, 0), 0)).unwrap();
    std::fs::remove_dir(names::checkpoint_dir(&wal_dir, 0)).unwrap();
    assert_wrong(&log.verify(), "receipts", "commit 1 ");
}
