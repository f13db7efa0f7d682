//! Expositions: line by line, and as an import. A line that is written again says the same; of an import, what is stored
//! and what is refused are the lines that were sent, however the body was cut.

use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chronolith::clock::ManualClock;
use chronolith::encoding::go_float;
use chronolith::ingest::decompress::Encoding;
use chronolith::ingest::text::{ImportRequest, TextImport};
use chronolith::ingest::{Appended, Metadata, Protocol, Sender, Turns, WriteLimits, WriteService, WriteStore};
use chronolith::model::{Digest, TimestampMs, is_stale_nan};
use chronolith::storage::{BatchOutcome, WriteBatch};
use chronolith::text::{Dialect, Line, SampleLine, TextFormat, TextReader, parse_line};
use chronolith::wal::{CommitError, Durability, Receipt};

use super::{Target, no_repair};

const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"\\n",
    b"\\\"",
    b"=",
    b",",
    b"#",
    b"# ",
    b"# {",
    b"# EOF\n",
    b"# TYPE a counter\n",
    b"# HELP a ",
    b"# UNIT a_seconds seconds\n",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"NaN",
    b"+Inf",
    b"-Inf",
    b"-0",
    b"1e-324",
    b"1e400",
    b"0x1p-2",
    b"1.7e9",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"__name__",
    b"a{b=\"c\"} 1 2\n",
    b"{\"a b\",\"c d\"=\"e\"} 1",
    b" # {t=\"u\"} 1 2",
    b"\xc3\xa4",
    b"\xff",
    b"\0",
];

pub(super) const PROMETHEUS: Target = Target {
    name: "text",
    seeds,
    words: WORDS,
    repair: no_repair,
    run: |input| run_lines(input, Dialect::Prometheus, TextFormat::Prometheus),
    // The buffer of a reader, and messages.
    bytes_fixed: 64 << 10,
    // Two texts of up to a few bytes become a pair of pointers and lengths.
    bytes_each: 200,
};

pub(super) const OPEN_METRICS: Target = Target {
    name: "openmetrics",
    run: |input| run_lines(input, Dialect::OpenMetrics, TextFormat::OpenMetrics),
    ..PROMETHEUS
};

pub(super) const IMPORT: Target = Target {
    name: "text-import",
    run: run_import,
    // A runtime, a batch's text of a mebibyte while it is read.
    bytes_fixed: 8 << 20,
    bytes_each: 400,
    ..PROMETHEUS
};

fn seeds() -> Vec<Vec<u8>> {
    [
        "# HELP http_requests_total Some \\\\ text.\n# TYPE http_requests_total counter\n\
         http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n",
        "# A comment\nmsdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot \\\"find\\\"\\n\"} 1.458e9\n",
        "something_weird{problem=\"division by zero\"} +Inf -3982045\nmetric_without_labels 12.47\n",
        "{\"http.requests\",\"a b\"=\"\u{fc}\",} -0\n",
        "a_bucket{le=\"0.5\"} 3 1.5 # {trace_id=\"x\",\"span.id\"=\"1\"} 0.25 1.25\n# EOF\n",
        "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n# HELP a_seconds Text \\\"in quotes\\\".\n\
         a_seconds_created 1.7e9\n# EOF\n",
        "a NaN\nb{x=\"\"} 4.9e-324 1\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn run_lines(input: &[u8], dialect: Dialect, format: TextFormat) -> bool {
    let mut samples = 0;
    for line in input.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        match parse_line(line, dialect) {
            Ok(Line::Sample(sample)) => {
                check_sample(&sample);
                samples += 1;
            }
            Ok(_) => {}
            Err(fault) => assert!((1..=line.len() + 1).contains(&fault.column), "{line:?}: column {}", fault.column),
        }
    }
    let mut reader = TextReader::new(input, format);
    while let Ok(Some(_)) = reader.next_line() {}
    assert!(reader.bytes() <= input.len() as u64);
    samples > 0
}

fn check_sample(sample: &SampleLine<'_>) {
    assert!(!is_stale_nan(sample.value), "a text is no staleness marker");
    let again = write(sample);
    let Ok(Line::Sample(read)) = parse_line(&again, Dialect::Prometheus) else { panic!("{again:?} is no sample") };
    assert_eq!(read.labels, sample.labels, "{again:?}");
    assert_eq!((read.value.to_bits(), read.timestamp_ms), (sample.value.to_bits(), sample.timestamp_ms), "{again:?}");
    // Sorted, unique and named, or refused before.
    let labels = sample.label_set();
    assert!(labels.get("__name__").is_some_and(|name| !name.is_empty()));
    assert!(labels.iter().is_sorted_by(|a, b| a.name < b.name) && labels.iter().all(|label| !label.value.is_empty()));
}

fn write(sample: &SampleLine<'_>) -> String {
    let mut line = "{".to_owned();
    for (name, value) in &sample.labels {
        if name == "__name__" {
            let _ = write!(line, "{},", quote(value));
        } else {
            let _ = write!(line, "{}={},", quote(name), quote(value));
        }
    }
    let _ = write!(line, "}} {}", go_float::general(sample.value, None));
    if let Some(timestamp_ms) = sample.timestamp_ms {
        let _ = write!(line, " {timestamp_ms}");
    }
    line
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Takes everything, and remembers it.
#[derive(Debug, Default)]
struct Store(Mutex<Vec<(Vec<u8>, TimestampMs, u64)>>);

impl WriteStore for Store {
    type Commit = Ready<Result<Receipt, CommitError>>;

    fn append(&self, batch: &WriteBatch<'_>, _now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError> {
        let mut taken = self.0.lock().unwrap();
        for (index, entry) in batch.series.iter().enumerate() {
            let set = entry.labels.to_label_set().expect("what is read is a label set");
            let mut canonical = Vec::new();
            chronolith::model::raw_labels::encode_canonical(set.iter(), &mut canonical);
            assert_eq!(canonical, entry.labels.0, "labels are canonical");
            let samples = batch.samples_of(index);
            assert_eq!(samples.len(), 1);
            taken.extend(samples.iter().map(|it| (canonical.clone(), it.timestamp_ms, it.value.to_bits())));
        }
        let (samples, exemplars) = (batch.samples.len() as u64, batch.exemplars.len() as u64);
        let outcome = BatchOutcome { added: samples, exemplars, ..BatchOutcome::default() };
        let receipt = Receipt { commit: 1, samples, digest: Digest::default(), durability: Durability::Fsync };
        Ok(Appended { outcome, commit: ready(Ok(receipt)) })
    }

    fn record_metadata(&self, metadata: &[Metadata<'_>]) {
        assert!(metadata.iter().all(|known| !known.family.is_empty()));
    }
}

/// Status, answer, and what was stored.
type Imported = (u16, String, Vec<(Vec<u8>, TimestampMs, u64)>);

fn import(input: &[u8], dialect: Dialect, part: usize) -> Imported {
    let service = WriteService::new(Store::default(), WriteLimits::default(), Arc::new(ManualClock::at(0)));
    let turns = Turns::new(1, Duration::from_secs(3600));
    let request = ImportRequest { dialect, labels: vec![("job".to_owned(), "x".to_owned())], timestamp_ms: 77 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answer = runtime.block_on(async {
        let sender = Sender::unknown(Protocol::Text);
        let mut import = TextImport::new(&service, &turns, sender, request, Encoding::Identity).unwrap();
        for part in input.chunks(part) {
            import.feed(Bytes::copy_from_slice(part)).await.unwrap();
        }
        import.finish().await
    });
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    (answer.status().as_u16(), text, service.store.0.into_inner().unwrap())
}

fn run_import(input: &[u8]) -> bool {
    let mut samples = 0;
    for dialect in [Dialect::Prometheus, Dialect::OpenMetrics, Dialect::Undeclared] {
        let (status, text, stored) = import(input, dialect, input.len().max(1));
        let lines = input.split(|byte| *byte == b'\n');
        let sent = lines.filter(|line| !matches!(line.trim_ascii_start().first(), None | Some(b'#'))).count();
        match status {
            204 => assert_eq!(stored.len(), sent, "{dialect:?}"),
            400 => {
                let kept = stored.len();
                let refused = sent - kept;
                let counts = match refused {
                    0 => format!("stored {kept} of {sent} samples"),
                    _ => format!("stored {kept} of {sent} samples; refused {refused} (malformed_line: {refused})"),
                };
                assert!(text.contains(&counts), "{dialect:?}: {counts}: {text}");
                assert!(refused > 0 || text.contains("# EOF"), "{dialect:?}: {text}");
            }
            _ => panic!("{dialect:?}: {status} {text}"),
        }
        samples += stored.len();
        assert_eq!(import(input, dialect, input.len() % 7 + 1), (status, text, stored), "in parts, {dialect:?}");
    }
    samples > 0
}
