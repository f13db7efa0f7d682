//! `info` over many targets.

use super::*;

#[test]
fn info_of_five_thousand_instances_describes_each() {
    let mut storage = MemoryStorage::new();
    for number in 0..5000 {
        let instance = format!("node-{number:04}.region.example.org:9100");
        let version = format!("{}", number % 7);
        storage.append(&labels(&[("__name__", "up"), ("instance", &instance), ("job", "node")]), 0, 1.0);
        let target = [("__name__", "target_info"), ("instance", &instance), ("job", "node"), ("version", &version)];
        storage.append(&labels(&target), 0, 1.0);
    }
    let described = vector(&storage, "count by (version) (info(up))", 0);
    let counts = (0..7).map(|version| format!("{{version=\"{version}\"}} {}", if version < 2 { 715 } else { 714 }));
    assert_eq!(described, counts.collect::<Vec<_>>());
}

#[test]
fn info_of_an_instance_that_looks_like_a_pattern_takes_it_by_the_letter() {
    let storage = storage(&[
        (&[("__name__", "up"), ("instance", "a.*|b"), ("job", "x")], &[1.0]),
        (&[("__name__", "target_info"), ("instance", "a.*|b"), ("job", "x"), ("version", "1")], &[1.0]),
        (&[("__name__", "target_info"), ("instance", "ab"), ("job", "x"), ("version", "2")], &[1.0]),
    ]);
    assert_eq!(vector(&storage, "info(up)", 0), [r#"{__name__="up", instance="a.*|b", job="x", version="1"} 1"#]);
}
