//! A directory that is looked at without a start shows what a start would show, and stays as it is.

use super::*;
use crate::fs::{Fs, names};
use crate::model::Matcher;

/// What is seen without a start. Nothing on the disk may change by it.
pub(super) fn look(fs: &SimFs, clock: &Arc<ManualClock>) -> Model {
    let before = (fs.operations(), listing(fs));
    let db = OfflineDb::open_unlocked(Path::new(DATA), Arc::new(fs.clone()), clock.clone()).unwrap();
    assert_eq!(db.warnings(), [""; 0]);
    let model = read(&*db.queryable(), TimeRange::ALL);
    assert_eq!(dumped(&db), model, "the parts, one after the other");
    drop(db);
    assert_eq!((fs.operations(), listing(fs)), before, "a look changes nothing");
    model
}

/// The samples of the parts; of one time the first counts.
fn dumped(db: &OfflineDb) -> Model {
    let mut model = Model::new();
    for mut part in db.parts() {
        while let Some(series) = part.series.next_series().unwrap() {
            for chunk in &series.chunks {
                for sample in crate::chunk::samples(chunk.encoding, &chunk.bytes).unwrap() {
                    let (at_ms, value) = sample.unwrap();
                    let crate::model::SampleValue::Float(value) = value else { panic!("a histogram") };
                    if !series.deleted.iter().any(|deleted| deleted.contains(at_ms)) {
                        model.entry(series.labels.clone()).or_default().entry(at_ms).or_insert(value.to_bits());
                    }
                }
            }
        }
    }
    model
}

#[test]
fn look_at_a_directory_shows_what_its_server_shows_at_each_step_of_a_life() {
    let mut store = Store::new(options());
    for minute in (0..20 * 60).step_by(5) {
        let at_ms = START + minute * MINUTE;
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &[("a".to_owned(), minute as f64), (format!("b{}", minute / 240), 0.5)]));
        if minute % 50 == 20 {
            // Out of order, some of it below the floor.
            assert!(store.append(at_ms - 170 * MINUTE, &[(format!("late{}", minute / 240), minute as f64)]));
        }
        if minute % 60 == 30 {
            store.db.run_due();
            store.assert_equals_model(&format!("minute {minute}"));
            assert_same(&look(&store.fs.kill(), &store.clock), &store.model, &format!("looked at, minute {minute}"));
        }
        if minute == 11 * 60 {
            let range = TimeRange::new(START + 6 * HOUR, START + 10 * HOUR);
            store.db.delete_series(&[Matcher::equal("job", "a")], range).unwrap();
            for (labels, samples) in &mut store.model {
                samples.retain(|at_ms, _| labels.get("job") != Some("a") || !range.contains(*at_ms));
            }
            assert_same(&look(&store.fs.kill(), &store.clock), &store.model, "looked at after a deletion");
        }
    }
    assert!(store.db.ledger_state().flushed_out_of_order_group.is_some(), "out-of-order samples were flushed");
    store.db.close();
    assert_same(&look(&store.fs.kill(), &store.clock), &store.model, "closed");
}

#[test]
fn look_at_a_damaged_directory_shows_the_rest_and_says_what_is_missing() {
    let mut store = Store::new(options());
    for minute in 0..5 * 60 {
        let at_ms = START + minute * MINUTE;
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &[("a".to_owned(), minute as f64)]));
    }
    store.db.run_due();
    let blocks = store.db.blocks();
    store.db.close();
    let ulid = blocks[0].meta.ulid;
    let fs = store.fs.crash(1);
    fs.set_content(&Path::new(DATA).join(ulid.to_string()).join("index"), b"no index".to_vec());
    let operations = fs.operations();
    let db = OfflineDb::open_unlocked(Path::new(DATA), Arc::new(fs.clone()), store.clock.clone()).unwrap();
    assert!(db.warnings().len() == 1 && db.warnings()[0].contains(&ulid.to_string()), "{:?}", db.warnings());
    assert!(!dumped(&db).is_empty());
    assert_eq!(fs.operations(), operations, "the block was not moved to quarantine");
}

#[test]
fn look_at_something_that_is_no_data_directory_is_refused() {
    let fs = SimFs::new(1);
    fs.create_dir_all(Path::new(DATA)).unwrap();
    let clock = Arc::new(ManualClock::at(START));
    let look = |dir: &str| OfflineDb::open_unlocked(Path::new(dir), Arc::new(fs.clone()), clock.clone());
    assert!(matches!(look(DATA), Err(OpenError::NoData { .. })));
    assert!(matches!(look("/elsewhere"), Err(OpenError::Io { .. })));
}

#[test]
fn look_at_a_directory_that_lacks_chunks_of_the_head_takes_them_from_the_log_and_says_so() {
    let head = HeadOptions { chunk_file_bytes_max: 1000, ..options().head };
    let mut store = Store::new(DbOptions { head, ..options() });
    for step in 0..400 {
        let at_ms = START + step * MINUTE / 4;
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &[("a".to_owned(), (step as f64).sin()), ("b".to_owned(), step as f64)]));
    }
    store.db.close();
    let file = |number| names::head_chunk_file(&Path::new(DATA).join(names::CHUNKS_HEAD_DIR), number);
    type Harm = fn(&SimFs, &Path);
    let cases: [(&str, u32, Harm); 3] = [
        ("the first file is gone", 1, |fs, path| fs.remove_file(path).unwrap()),
        ("a file ends early", 1, |fs, path| fs.set_content(path, fs.read(path).unwrap()[..8].to_vec())),
        ("a later file ends early", 2, |fs, path| fs.set_content(path, fs.read(path).unwrap()[..8].to_vec())),
    ];
    for (what, number, harm) in cases {
        let fs = store.fs.kill();
        assert!(fs.exists(&file(number + 1)), "{:?}", listing(&fs));
        harm(&fs, &file(number));
        let (operations, before) = (fs.operations(), listing(&fs));
        let db = OfflineDb::open_unlocked(Path::new(DATA), Arc::new(fs.clone()), store.clock.clone()).unwrap();
        assert_same(&read(&*db.queryable(), TimeRange::ALL), &store.model, what);
        assert_eq!(dumped(&db), store.model, "{what}");
        assert!(db.warnings().len() == 1 && db.warnings()[0].contains("missing"), "{what}: {:?}", db.warnings());
        drop(db);
        assert_eq!((fs.operations(), listing(&fs)), (operations, before), "{what}");
    }
}
