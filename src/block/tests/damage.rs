//! Every bit of a small block flipped, every length it can be cut to: an error, a warning, a finding, or no harm, and
//! never a wrong answer unsaid.

use std::path::PathBuf;

use super::*;
use crate::fs::sim::SimFs;
use crate::storage::{Column, Queryable as _, SelectHints};

/// What a block serves: each series with its samples.
type Served = Vec<(LabelSet, Vec<(i64, u64)>)>;

const FILES: [&str; 4] = ["meta.json", "index", "chunks/000001", "tombstones"];

fn specimen_on_disk() -> (SimFs, PathBuf, Served) {
    let fs = SimFs::new(1);
    let series = specimen(6, 8);
    let options = WriterOptions::default();
    let block = write_block(Arc::new(fs.clone()), Path::new("/"), ulid(1), options, &series).unwrap().unwrap();
    let block = block.publish().unwrap();
    let deleted = TimeRange::new(START_MS + 30_000, START_MS + 50_000);
    assert_eq!(block.delete(&[Matcher::equal("zone", "z1")], deleted).unwrap().series, 2);
    let (served, warnings) = serve(&block);
    assert_eq!((served.len(), warnings), (6, vec![]));
    (fs, block.dir().to_owned(), served)
}

fn serve(block: &Block) -> (Served, Vec<String>) {
    let querier = block.querier(TimeRange::ALL).unwrap();
    let mut served = Vec::new();
    for series in querier.select(&[], &SelectHints::default()).unwrap() {
        let mut column = Column::default();
        series.samples.read(TimeRange::ALL, &mut column).unwrap();
        let values = column.values.iter().map(|value| value.to_bits());
        served.push((series.labels, column.timestamps_ms.into_iter().zip(values).collect()));
    }
    // Other ways in must not end the process either.
    let matcher = Matcher::new("instance", crate::model::MatchOp::Regex, "host-00[01]").unwrap();
    querier.select(std::slice::from_ref(&matcher), &SelectHints::default()).unwrap();
    querier.label_names(&[], 0).unwrap();
    querier.label_values("instance", &[matcher], 0).unwrap();
    (served, querier.warnings())
}

#[derive(Debug, Default)]
struct Outcomes {
    refused: usize,
    warned: usize,
    found: usize,
    harmless: usize,
}

/// Opens the block as it is now, and judges what it says and serves.
fn judge(fs: &SimFs, dir: &Path, expected: &Served, stored: crate::model::Tally, what: &str, outcomes: &mut Outcomes) {
    let Ok(block) = Block::open(Arc::new(fs.clone()), dir) else {
        outcomes.refused += 1;
        return;
    };
    let (served, warnings) = serve(&block);
    // Series and samples that are not those that were written must never be served. Samples may show again if the
    // tombstones are damaged, which is said.
    let is_tombstones = what.starts_with("tombstones");
    for (labels, samples) in &served {
        let known = expected.iter().find(|(known, _)| known == labels);
        let known = &known.unwrap_or_else(|| panic!("{what}: {labels} was never written")).1;
        assert!(is_tombstones || samples.iter().all(|sample| known.contains(sample)), "{what}: {labels}");
    }
    let check = check(&block, &mut |_| {});
    let mut source = block.chunk_source();
    let mut passed = 0;
    let source_ends_well = loop {
        match source.next_series() {
            Ok(Some(_)) => passed += 1,
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    if served == *expected {
        if check.is_good() {
            assert_eq!(check.stored, stored, "{what}");
            outcomes.harmless += 1;
        } else {
            outcomes.found += 1;
        }
        return;
    }
    // What is not served was said: by a warning, or where the meta is damaged, by the check at least.
    assert!(!check.is_good(), "{what}: the check finds nothing");
    if what.starts_with("meta.json") {
        outcomes.found += 1;
        return;
    }
    assert!(!warnings.is_empty(), "{what}: no warning");
    assert!(warnings.iter().all(|warning| warning.contains(&ulid(1).to_string())), "{warnings:?}");
    assert!(!block.damages().is_empty(), "{what}: no damage is remembered");
    assert!(!source_ends_well || passed == 0, "{what}: a compaction would take the rest for all");
    outcomes.warned += 1;
    // Damage stays local: one damaged place costs one series or one chunk at most.
    let lost: usize = expected.iter().filter(|known| !served.contains(known)).count();
    let is_segment = block.damages().iter().any(|damage| damage.what.contains("chunk segment"));
    assert!(lost <= 1 || is_segment || is_tombstones, "{what}: {lost} series lost: {warnings:?}");
}

fn damage_everywhere(mut each: impl FnMut(&str, &[u8], &mut dyn FnMut(Vec<u8>, String))) -> Outcomes {
    let (fs, dir, expected) = specimen_on_disk();
    let stored = check(&Block::open(Arc::new(fs.clone()), &dir).unwrap(), &mut |_| {}).stored;
    let mut outcomes = Outcomes::default();
    for file in FILES {
        let path = dir.join(file);
        let good = fs.read(&path).unwrap();
        each(file, &good, &mut |damaged, what| {
            fs.set_content(&path, damaged);
            judge(&fs, &dir, &expected, stored, &what, &mut outcomes);
        });
        fs.set_content(&path, good);
    }
    let block = Block::open(Arc::new(fs), &dir).unwrap();
    assert_eq!(serve(&block), (expected, vec![]));
    outcomes
}

#[test]
fn block_with_any_bit_flipped_serves_the_rest_and_says_so() {
    let outcomes = damage_everywhere(|file, good, try_it| {
        for bit in 0..good.len() * 8 {
            let mut damaged = good.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            try_it(damaged, format!("{file} bit {bit}"));
        }
    });
    assert!(outcomes.refused > 500 && outcomes.warned > 500 && outcomes.found > 500, "{outcomes:?}");
}

#[test]
fn block_with_a_file_cut_to_any_length_serves_the_rest_and_says_so() {
    let mut seen = 0;
    let (fs, dir, expected) = specimen_on_disk();
    for file in FILES {
        let path = dir.join(file);
        let good = fs.read(&path).unwrap();
        for length in 0..good.len() {
            fs.set_content(&path, good[..length].to_vec());
            seen += 1;
            let Ok(block) = Block::open(Arc::new(fs.clone()), &dir) else { continue };
            assert!(!matches!(file, "meta.json" | "index"), "{file} of {length} bytes is opened");
            let (served, warnings) = serve(&block);
            assert!(served != expected && !warnings.is_empty(), "{file} of {length} bytes: nothing is said");
            assert!(!check(&block, &mut |_| {}).is_good());
        }
        fs.set_content(&path, good);
    }
    assert!(seen > 1000, "{seen}");
}

#[test]
fn block_without_its_tombstones_says_that_deleted_samples_show() {
    let (fs, dir, expected) = specimen_on_disk();
    fs.remove_file(&dir.join("tombstones")).unwrap();
    let block = Block::open(Arc::new(fs.clone()), &dir).unwrap();
    let (served, warnings) = serve(&block);
    assert_ne!(served, expected);
    assert!(warnings[0].contains("deleted samples may show again"), "{warnings:?}");
    assert!(block.chunk_source().next_series().is_err(), "a compaction would bring them back for good");
    // A block that never had a deletion needs none.
    block.rewrite_meta(|meta| meta.stats.tombstones = 0).unwrap();
    let block = Block::open(Arc::new(fs), &dir).unwrap();
    assert_eq!((serve(&block).1, block.damages()), (vec![], vec![]));
}

#[test]
fn block_without_a_segment_serves_the_others() {
    let fs = SimFs::new(1);
    let series = specimen(40, 60);
    let options = WriterOptions { segment_bytes_max: 4_000, ..WriterOptions::default() };
    let block = write_block(Arc::new(fs.clone()), Path::new("/"), ulid(1), options, &series).unwrap().unwrap();
    let dir = block.publish().unwrap().dir().to_owned();
    fs.remove_file(&dir.join("chunks/000002")).unwrap();
    let block = Block::open(Arc::new(fs), &dir).unwrap();
    let (served, warnings) = serve(&block);
    let samples: usize = served.iter().map(|(_, samples)| samples.len()).sum();
    assert!(served.len() == 40 && samples > 1000 && samples < 40 * 60, "{samples}");
    assert!(!warnings.is_empty() && warnings.len() <= 10 && !block.damages().is_empty());
}

#[test]
fn damage_that_was_met_and_is_not_there_any_more_is_forgotten_by_the_check_that_finds_the_block_well() {
    let fs = Arc::new(SimFs::new(3));
    let prepared =
        write_block(fs.clone(), Path::new("/"), ulid(1), WriterOptions::default(), &specimen(4, 5)).unwrap().unwrap();
    let block = prepared.publish().unwrap();
    let met = Damage::new(DamagedPart::Chunk, "chunks/000001", "read wrongly once", TimeRange::ALL);
    block.shared.damages.record(block.ulid(), &met);
    assert_eq!(block.damages(), [met]);
    assert!(check(&block, &mut |_| {}).is_good());
    assert_eq!(block.damages(), []);
}
