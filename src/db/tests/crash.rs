//! The power goes off at every operation of a life: what was acknowledged is there afterwards, and nothing else.

use super::*;

/// Appends, flushes, compacts and truncates, up to the first failure.
fn live(store: &mut Store) -> Result<(), String> {
    let text = |error: maintenance::TaskError| error.to_string();
    for window in 0..4 {
        for step in 0..4 {
            let at_ms = START + window * 2 * HOUR + step * 29 * MINUTE;
            store.advance_to(at_ms);
            let series: Vec<(String, f64)> =
                (0..3).map(|number| (format!("{}", number + window / 2), (at_ms + number) as f64)).collect();
            if !store.append(at_ms, &series) {
                return Err("not acknowledged".to_owned());
            }
        }
        store.db.note_watermark_if_due().map_err(text)?;
        store.db.flush().map_err(text)?;
    }
    store.db.compact().map_err(text)?;
    store.db.expire().map_err(text)?;
    Ok(())
}

fn small() -> DbOptions {
    DbOptions { storage: StorageOptions { reserve_bytes: 4096, ..options().storage }, ..options() }
}

/// What is acknowledged is there; what is there was sent.
fn assert_nothing_lost(found: &Model, store: &Store, when: &str) {
    for (labels, samples) in &store.model {
        let got = found.get(labels).cloned().unwrap_or_default();
        for (at_ms, bits) in samples {
            assert_eq!(got.get(at_ms), Some(bits), "{when}: {labels} at {at_ms} is lost; {:#?}", listing(&store.fs));
        }
    }
    for (labels, samples) in found {
        for (at_ms, bits) in samples {
            let number = f64::from_bits(*bits) as i64 - at_ms;
            assert!((0..3).contains(&number), "{when}: {labels} at {at_ms} was never sent");
        }
    }
}

fn seed() -> u64 {
    super::states::number("CHRONOLITH_SEED").unwrap_or(1)
}

#[test]
fn power_loss_at_every_operation_loses_nothing_that_was_acknowledged() {
    let mut whole = Store::new(small());
    live(&mut whole).unwrap();
    whole.db.close();
    let operations = whole.fs.operations();
    let first = Store::new(small()).fs.operations();
    let mut states = 0;
    // With three seeds in a row, every operation is hit.
    for operation in (first + seed() % 3..operations).step_by(3) {
        let mut store = Store::new(small());
        store.fs.lose_power_at(operation);
        let lived = live(&mut store);
        store.db.close();
        for seed in 0..2 {
            let disk = store.fs.crash(operation * 31 + seed);
            let before = offline::look(&disk, &store.clock);
            let db =
                open(&disk, &store.clock, small()).unwrap_or_else(|error| panic!("operation {operation}: {error}"));
            let when = format!("operation {operation}, seed {seed}, {lived:?}");
            assert_nothing_lost(&contents(&db, TimeRange::ALL), &store, &when);
            assert_same(&before, &contents(&db, TimeRange::ALL), &format!("{when}, looked at before the start"));
            // And it goes on from there.
            let ended = db.flush().and_then(|_| db.compact());
            assert!(ended.is_ok(), "{when}: {ended:?}");
            assert_nothing_lost(&contents(&db, TimeRange::ALL), &store, &format!("{when}, after a flush"));
            assert_eq!(db.ledger_state().imbalance(), crate::model::Tally::ZERO, "{when}");
            db.close();
            states += 1;
        }
    }
    assert!(states > 100, "{states}");
}

#[test]
fn disk_that_is_full_at_any_step_and_then_freed_goes_on_without_a_restart() {
    let mut whole = Store::new(small());
    live(&mut whole).unwrap();
    let operations = whole.fs.operations();
    let first = Store::new(small()).fs.operations();
    for operation in (first + seed() % 11..operations).step_by(11) {
        let mut store = Store::new(small());
        store.fs.fail(operation..operation + 40, crate::fs::sim::Fault::NoSpace);
        let lived = live(&mut store);
        store.fs.heal();
        let when = format!("full from operation {operation}, {lived:?}");
        assert_nothing_lost(&contents(&store.db, TimeRange::ALL), &store, &when);
        // The log takes writes again by itself.
        let at_ms = START + 9 * HOUR;
        store.advance_to(at_ms);
        let goes_on = (0..1_000_000).any(|_| {
            std::thread::yield_now();
            store.append(at_ms, &[("later".to_owned(), at_ms as f64)])
        });
        assert!(goes_on, "{when}");
        let ended = store.db.flush().and_then(|_| store.db.compact());
        assert!(ended.is_ok(), "{when}: {ended:?}");
        assert_nothing_lost(&contents(&store.db, TimeRange::ALL), &store, &format!("{when}, then freed"));
    }
}
