//! Imports on the simulated disk: what comes in is in the blocks, once, also after an interruption.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;
use crate::block::Block;
use crate::clock::ManualClock;
use crate::db::{Db, DbOptions, ReplayWatch};
use crate::fs::sim::SimFs;
use crate::model::{Matcher, TimeRange};
use crate::planted::{self, Bug};
use crate::storage::{Column, Queryable as _, SelectHints};

const NOW_MS: i64 = 1_700_000_000_000;

/// Keeps what it is told.
#[derive(Default)]
struct Told {
    blocks: Vec<(u64, u64)>,
}

impl ImportProgress for Told {
    fn reading(&mut self, _bytes: u64, _total: u64) {}
    fn writing(&mut self, blocks: u64, total: u64) {
        self.blocks.push((blocks, total));
    }
}

fn options(samples_in_memory: usize) -> ImportOptions {
    ImportOptions {
        data_dir: "/data".into(),
        source: "/text".into(),
        format: None,
        block_range_ms: None,
        samples_in_memory,
    }
}

fn run(fs: &SimFs, samples_in_memory: usize) -> Result<ImportReport, ImportError> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    import(&fs, &ManualClock::at(NOW_MS), &options(samples_in_memory), None, &mut Told::default())
}

fn run_stream(fs: &SimFs, samples_in_memory: usize, text: &str) -> Result<ImportReport, ImportError> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let options = ImportOptions { format: Some(TextFormat::Prometheus), ..options(samples_in_memory) };
    import(&fs, &ManualClock::at(NOW_MS), &options, Some(&mut text.as_bytes()), &mut Told::default())
}

type Samples = BTreeMap<(String, i64), u64>;

/// Every sample of the blocks in the data directory.
fn stored(fs: &SimFs) -> Samples {
    let mut all = Samples::new();
    let entries = fs.list(Path::new("/data")).unwrap();
    for entry in entries.iter().filter(|entry| entry.name.len() == 26) {
        let block = Block::open(Arc::new(fs.clone()), &Path::new("/data").join(&entry.name)).unwrap();
        let querier = block.querier(TimeRange::ALL).unwrap();
        for series in querier.select(&[], &SelectHints::default()).unwrap() {
            let mut column = Column::default();
            series.samples.read(TimeRange::ALL, &mut column).unwrap();
            for (&timestamp_ms, value) in column.timestamps_ms.iter().zip(&column.values) {
                let before = all.insert((series.labels.to_string(), timestamp_ms), value.to_bits());
                assert_eq!(before, None, "{} at {timestamp_ms} is in two blocks", series.labels);
            }
        }
    }
    all
}

/// A text with its samples by series and time: series in turns, hours apart, in no order of time.
fn text(series: usize, times: usize) -> (String, Samples) {
    let (mut text, mut samples) = (String::new(), Samples::new());
    for step in 0..times {
        for number in 0..series {
            let timestamp_ms = NOW_MS - 90_000_000 + ((step * 7) % times) as i64 * 600_000;
            let value = (step * 1000 + number) as f64 / 8.0;
            writeln!(text, "m{{s=\"{number}\"}} {value} {timestamp_ms}").unwrap();
            let labels = LabelSet::from_pairs([("__name__", "m"), ("s", number.to_string().as_str())]).to_string();
            samples.insert((labels, timestamp_ms), value.to_bits());
        }
    }
    (text, samples)
}

#[test]
fn import_of_unsorted_text_stores_each_sample_once_with_few_in_memory() {
    let (text, samples) = text(7, 60);
    for samples_in_memory in [1_000_000, 50, 1] {
        let fs = SimFs::new(1);
        fs.set_content(Path::new("/text"), text.clone().into_bytes());
        let report = run(&fs, samples_in_memory).unwrap();
        assert_eq!((report.samples, report.series, report.duplicates, report.conflicts), (420, 7, 0, 0));
        assert!(report.blocks.len() > 3 && report.blocks.is_sorted_by_key(|block| block.min_time_ms));
        assert_eq!(stored(&fs), samples);
        assert!(
            fs.list(Path::new("/data")).unwrap().iter().all(|entry| entry.name.len() == 26),
            "nothing is left over"
        );
    }
}

#[test]
fn import_counts_repeated_samples_and_names_other_values_for_one_time() {
    let fs = SimFs::new(1);
    fs.set_content(Path::new("/text"), b"a 1 1000\na 2 2000\na 1 1000\na 3 2000\na{b=\"\"} 4 3000\n".to_vec());
    let report = run(&fs, 2).unwrap();
    assert_eq!((report.samples, report.series, report.duplicates, report.conflicts), (5, 1, 1, 1));
    assert_eq!(report.conflicts_named, [r#"{__name__="a"} at 2000 ms: 2 is kept, 3 left out"#]);
    assert_eq!(stored(&fs).into_values().map(f64::from_bits).collect::<Vec<_>>(), [1.0, 2.0, 4.0]);
}

#[test]
fn import_of_text_with_a_fault_or_without_times_leaves_no_block() {
    for (text, what) in [
        ("a 1 1000\nb\n", "line 2, column 2: a value is missing"),
        ("a 1 1000\n\nb 1\n", "line 3: the sample has no timestamp"),
    ] {
        let fs = SimFs::new(1);
        fs.set_content(Path::new("/text"), text.as_bytes().to_vec());
        let error = run(&fs, 1).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("has to be like `name{label="), "{error}");
        assert!(stored(&fs).is_empty());
        assert_eq!(fs.list(Path::new("/data")).unwrap(), [], "what was read is removed");
    }
}

#[test]
fn import_reads_open_metrics_by_its_end() {
    let fs = SimFs::new(1);
    fs.set_content(Path::new("/text"), b"# TYPE a counter\na_total 1 2.5 # {t=\"x\"} 1\n# EOF\n".to_vec());
    let report = run(&fs, 10).unwrap();
    assert_eq!((report.samples, report.exemplars_skipped, report.blocks[0].min_time_ms), (1, 1, 2500));
}

/// Interrupts an import at each of its operations on the disk, and takes it up again.
fn interrupt_everywhere(
    import: impl Fn(&SimFs, &str) -> Result<ImportReport, ImportError>,
    after: fn(&SimFs, u64) -> SimFs,
) {
    let (text, samples) = text(3, 40);
    let disk = |seed| {
        let fs = SimFs::new(seed);
        fs.set_content(Path::new("/text"), text.clone().into_bytes());
        fs
    };
    let whole = disk(1);
    import(&whole, &text).unwrap();
    let operations = whole.operations();
    let mut resumed = 0;
    for operation in 0..operations {
        let fs = disk(operation);
        fs.lose_power_at(operation);
        assert!(import(&fs, &text).is_err(), "operation {operation} of {operations}");
        let fs = after(&fs, operation);
        fs.set_content(Path::new("/text"), text.clone().into_bytes());
        let report = import(&fs, &text).unwrap();
        resumed += u64::from(report.resumed_samples > 0);
        assert_eq!(report.samples, 120);
        assert_eq!(stored(&fs), samples, "interrupted at operation {operation} of {operations}");
        assert!(
            fs.list(Path::new("/data")).unwrap().iter().all(|entry| entry.name.len() == 26),
            "nothing is left over"
        );
    }
    assert!(resumed > operations / 4, "{resumed} of {operations} imports were taken up");
}

#[test]
fn import_interrupted_by_a_power_loss_anywhere_goes_on_and_stores_each_sample_once() {
    interrupt_everywhere(|fs, _| run(fs, 25), SimFs::crash);
}

#[test]
fn import_killed_anywhere_goes_on_and_stores_each_sample_once() {
    interrupt_everywhere(|fs, _| run(fs, 25), |fs, _| fs.kill());
}

#[test]
fn import_of_a_stream_killed_anywhere_goes_on_when_the_same_stream_comes_again() {
    interrupt_everywhere(|fs, text| run_stream(fs, 25, text), |fs, _| fs.kill());
}

#[test]
fn import_of_another_stream_that_begins_alike_is_refused_and_then_begun_anew() {
    let line = |number: i64, value: i64| format!("a {value} {}\n", number * 1000);
    let first: String = (0..8000).map(|number| line(number, 1)).collect();
    let other: String = (0..8000).map(|number| line(number, if number == 7000 { 2 } else { 1 })).collect();
    let whole = SimFs::new(1);
    run_stream(&whole, 2500, &first).unwrap();
    let mut refused = 0;
    for operation in 0..whole.operations() {
        let fs = SimFs::new(1);
        fs.lose_power_at(operation);
        run_stream(&fs, 2500, &first).unwrap_err();
        let fs = fs.kill();
        let entries = fs.list(Path::new("/data")).unwrap_or_default();
        if entries.iter().any(|entry| entry.name.len() == 26) {
            break;
        }
        let mut again = run_stream(&fs, 2500, &other);
        if matches!(again, Err(ImportError::OtherText { .. })) {
            refused += 1;
            again = run_stream(&fs, 2500, &other);
        }
        assert_eq!(again.unwrap().samples, 8000);
        let twos = stored(&fs).into_values().filter(|bits| *bits == 2f64.to_bits()).count();
        assert_eq!(twos, 1, "operation {operation}");
    }
    assert!(refused > 0);
}

#[test]
fn import_of_a_file_that_was_changed_since_it_was_interrupted_is_refused_and_then_begun_anew() {
    // As long as the first, and like it at both ends.
    let line = |number: i64, value: i64| format!("a {value} {:07}000\n", number);
    let of = |value: i64| (0..20_000).map(|n| line(n, if n == 7000 { value } else { 1 })).collect::<String>();
    let path = Path::new("/text");
    let whole = SimFs::new(1);
    whole.set_content(path, of(1).into_bytes());
    run(&whole, 2500).unwrap();
    let mut refused = 0;
    for operation in (0..whole.operations()).step_by(3) {
        let fs = SimFs::new(1);
        fs.set_content(path, of(1).into_bytes());
        fs.lose_power_at(operation);
        run(&fs, 2500).unwrap_err();
        let fs = fs.kill();
        let entries = fs.list(Path::new("/data")).unwrap_or_default();
        if entries.iter().any(|entry| entry.name.len() == 26) {
            break;
        }
        fs.set_content(path, of(2).into_bytes());
        let mut again = run(&fs, 2500);
        if matches!(again, Err(ImportError::OtherText { .. })) {
            refused += 1;
            again = run(&fs, 2500);
        }
        assert_eq!(again.unwrap().samples, 20_000);
        let twos = stored(&fs).into_values().filter(|bits| *bits == 2f64.to_bits()).count();
        assert_eq!(twos, 1, "operation {operation}");
    }
    assert!(refused > 0);
}

#[test]
fn import_of_a_stream_without_a_format_says_so() {
    let fs: Arc<dyn Fs> = Arc::new(SimFs::new(1));
    let mut stream = b"a 1 1000\n".as_slice();
    let clock = ManualClock::at(NOW_MS);
    let error = import(&fs, &clock, &options(10), Some(&mut stream), &mut Told::default()).unwrap_err();
    assert!(matches!(error, ImportError::UnknownFormat { .. }));
}

#[test]
fn import_of_the_same_text_again_finds_its_blocks_there() {
    let (text, samples) = text(2, 30);
    let fs = SimFs::new(1);
    fs.set_content(Path::new("/text"), text.into_bytes());
    let first = run(&fs, 1000).unwrap();
    let again = run(&fs, 7).unwrap();
    assert!(again.blocks.iter().all(|block| block.was_there) && first.blocks.iter().all(|block| !block.was_there));
    assert_eq!(first.blocks.len(), again.blocks.len());
    assert_eq!(stored(&fs), samples);
}

/// Opens a server's store on the directory, and closes it again.
fn served<T>(fs: &SimFs, then: impl FnOnce(&Db) -> T) -> T {
    let options = DbOptions::new("/data");
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let db = Db::open_unlocked(options, Arc::new(fs.clone()), clock, &ReplayWatch::default()).unwrap();
    let result = then(&db);
    db.close();
    result
}

#[test]
fn import_of_a_text_that_was_deleted_meanwhile_brings_it_back_for_good() {
    let (text, samples) = text(2, 30);
    // Whether the deleted samples are still stored, and only hidden, or gone with their blocks.
    for is_cleaned in [true, false] {
        let fs = SimFs::new(1);
        fs.set_content(Path::new("/text"), text.clone().into_bytes());
        let first = run(&fs, 1000).unwrap();
        served(&fs, |db| {
            db.delete_series(&[Matcher::equal("__name__", "m")], TimeRange::ALL).unwrap();
            if is_cleaned {
                assert_eq!(db.clean_tombstones().unwrap(), first.blocks.len());
            }
        });
        assert_eq!(stored(&fs), Samples::new());
        let second = run(&fs, 1000).unwrap();
        assert!(second.blocks.iter().all(|block| !block.was_there));
        for _ in 0..2 {
            served(&fs, |_db| ());
            assert_eq!(stored(&fs), samples);
        }
        let third = run(&fs, 7).unwrap();
        let names = |report: &ImportReport| report.blocks.iter().map(|block| block.ulid.clone()).collect::<Vec<_>>();
        assert_eq!(names(&third), names(&second));
        assert!(third.blocks.iter().all(|block| block.was_there), "under their second names");
        assert_eq!(stored(&fs), samples);
    }
}

#[test]
fn import_of_a_text_whose_block_was_damaged_meanwhile_is_an_error_that_names_it() {
    let fs = SimFs::new(1);
    fs.set_content(Path::new("/text"), text(2, 30).0.into_bytes());
    let ulid = run(&fs, 1000).unwrap().blocks[0].ulid.clone();
    let segment = Path::new("/data").join(&ulid).join("chunks/000001");
    let mut bytes = fs.read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs.set_content(&segment, bytes);
    let error = run(&fs, 1000).unwrap_err();
    assert!(matches!(&error, ImportError::Damaged { ulid: named, .. } if *named == ulid), "{error}");
    assert!(error.to_string().contains("chunks/000001"), "{error}");
}

#[test]
fn import_whose_block_reads_back_with_a_fault_is_refused_though_its_samples_are_right() {
    let fs = SimFs::new(1);
    fs.set_content(Path::new("/text"), text(2, 30).0.into_bytes());
    let (result, strikes) = planted::with(Bug::PostingMissing, || run(&fs, 1000));
    let error = result.unwrap_err();
    assert!(strikes > 0);
    assert!(matches!(&error, ImportError::Refused { reason, .. } if reason.contains("postings")), "{error}");
    assert_eq!(stored(&fs), Samples::new());
}
