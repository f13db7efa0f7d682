//! The store by itself: judgement, order, bounds, and a model of all three.

use proptest::prelude::*;

use super::*;
fn exemplar(timestamp_ms: i64, value: f64, trace: &str) -> Exemplar {
    Exemplar { labels: LabelSet::from_pairs([("trace_id", trace)]), timestamp_ms, value }
}

fn labels(number: u64) -> LabelSet {
    LabelSet::from_pairs([("__name__", "m"), ("n", &number.to_string())])
}

fn add(ring: &mut ExemplarRing, series: u64, exemplar: &Exemplar, window_ms: Option<i64>) -> Added {
    ring.add([series, 0], series + 100, exemplar, window_ms, || labels(series))
}

fn all(ring: &ExemplarRing) -> Vec<(LabelSet, Vec<Exemplar>)> {
    let mut all: Vec<_> =
        ring.series().map(|(key, labels)| (labels.clone(), ring.exemplars(key, TimeRange::ALL))).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

#[test]
fn exemplars_of_a_series_are_given_by_time_then_value_then_labels() {
    let mut ring = ExemplarRing::new(10);
    let sent = [(5, 1.0, "b"), (9, 2.0, "a"), (9, -2.0, "z"), (9, 2.0, "A"), (9, -0.0, "q"), (7, 3.0, "late")];
    for (at, value, trace) in sent {
        assert_eq!(add(&mut ring, 1, &exemplar(at, value, trace), Some(2)), Added::Stored, "{trace}");
    }
    let found = all(&ring);
    assert_eq!(found.len(), 1);
    let traces: Vec<_> = found[0].1.iter().map(|one| one.labels.get("trace_id").unwrap().to_owned()).collect();
    assert_eq!(traces, ["b", "late", "z", "q", "A", "a"]);
    assert_eq!(found[0].1[3].value.to_bits(), (-0.0f64).to_bits());
}

#[test]
fn exemplar_that_is_there_already_is_a_duplicate_wherever_it_stands_and_however_late_it_is() {
    let mut ring = ExemplarRing::new(10);
    for at in [10, 1000] {
        assert_eq!(add(&mut ring, 1, &exemplar(at, f64::NAN, "t"), Some(0)), Added::Stored);
    }
    for at in [10, 1000] {
        assert_eq!(add(&mut ring, 1, &exemplar(at, f64::NAN, "t"), Some(0)), Added::Duplicate);
    }
    assert_eq!(add(&mut ring, 1, &exemplar(10, f64::NAN, "u"), Some(0)), Added::OutOfOrder { newest_ms: 1000 });
    assert_eq!(ring.stats().exemplars, 2);
}

#[test]
fn exemplar_is_late_that_is_older_than_the_newest_of_its_series_by_more_than_the_window() {
    let mut ring = ExemplarRing::new(10);
    add(&mut ring, 1, &exemplar(1000, 1.0, "t"), Some(0));
    assert_eq!(add(&mut ring, 1, &exemplar(899, 1.0, "t"), Some(100)), Added::OutOfOrder { newest_ms: 1000 });
    assert_eq!(add(&mut ring, 1, &exemplar(900, 1.0, "t"), Some(100)), Added::Stored);
    assert_eq!(add(&mut ring, 2, &exemplar(i64::MIN, 1.0, "t"), Some(0)), Added::Stored);
    assert_eq!(add(&mut ring, 1, &exemplar(i64::MIN, 1.0, "t"), None), Added::Stored);
    assert_eq!(add(&mut ring, 1, &exemplar(i64::MAX, 1.0, "t"), Some(i64::MAX)), Added::Stored);
    let found = all(&ring);
    assert_eq!(found[0].1.iter().map(|one| one.timestamp_ms).collect::<Vec<_>>(), [i64::MIN, 900, 1000, i64::MAX]);
}

#[test]
fn ring_that_is_full_lets_go_of_what_came_first_and_of_series_without_any() {
    let mut ring = ExemplarRing::new(3);
    for (series, at) in [(1, 50), (2, 10), (2, 20), (3, 5), (2, 30)] {
        add(&mut ring, series, &exemplar(at, 0.5, "t"), Some(0));
    }
    assert_eq!(ring.stats(), RingStats { exemplars: 3, series: 2, oldest_ms: Some(20) });
    let mut logged: Vec<_> = ring.logged().collect();
    logged.sort_unstable();
    assert_eq!(logged, [(102, 20), (102, 30), (103, 5)]);
    let mut none = ExemplarRing::new(0);
    add(&mut none, 1, &exemplar(1, 0.5, "t"), Some(0));
    assert_eq!(none.stats(), RingStats::default());
}

#[test]
fn exemplars_of_a_range_are_those_within_it_and_of_an_empty_one_none() {
    let mut ring = ExemplarRing::new(10);
    for series in 1..=3 {
        for at in [10, 20, 30] {
            add(&mut ring, series, &exemplar(at, 0.5, "t"), Some(0));
        }
    }
    assert_eq!(ring.exemplars([2, 0], TimeRange::new(20, 29)), [exemplar(20, 0.5, "t")]);
    assert!(ring.exemplars([2, 0], TimeRange::new(29, 20)).is_empty());
    assert!(ring.exemplars([4, 0], TimeRange::ALL).is_empty());
}

#[test]
fn labels_are_too_long_that_have_more_than_128_characters_of_any_width() {
    let of = |chars: usize| Exemplar {
        labels: LabelSet::from_pairs([("\u{e9}", "\u{1f600}".repeat(chars - 1).as_str())]),
        timestamp_ms: 0,
        value: 0.0,
    };
    assert!(!of(128).is_too_long());
    assert!(of(129).is_too_long());
}

proptest! {
    #[test]
    fn ring_equals_a_plain_list(
        capacity in 1usize..8,
        window in 0i64..6,
        sent in prop::collection::vec((0u64..3, 0i64..12, 0u8..3, 0u8..2), 0..60),
    ) {
        let mut ring = ExemplarRing::new(capacity);
        let mut list: Vec<(u64, Exemplar)> = Vec::new();
        for (series, at, value, trace) in sent {
            let one = exemplar(at, f64::from(value), &trace.to_string());
            let newest = list.iter().filter(|(of, _)| *of == series).map(|(_, one)| one.timestamp_ms).max();
            let expected = if list.contains(&(series, one.clone())) {
                Added::Duplicate
            } else if let Some(newest_ms) = newest.filter(|newest_ms| at < newest_ms - window) {
                Added::OutOfOrder { newest_ms }
            } else {
                list.push((series, one.clone()));
                if list.len() > capacity {
                    list.remove(0);
                }
                Added::Stored
            };
            prop_assert_eq!(add(&mut ring, series, &one, Some(window)), expected);
            let mut of_series: BTreeMap<LabelSet, Vec<Exemplar>> = BTreeMap::new();
            for (series, one) in &list {
                of_series.entry(labels(*series)).or_default().push(one.clone());
            }
            for exemplars in of_series.values_mut() {
                exemplars.sort_by(|a, b| {
                    (a.timestamp_ms, a.value.to_bits(), &a.labels).cmp(&(b.timestamp_ms, b.value.to_bits(), &b.labels))
                });
            }
            prop_assert_eq!(all(&ring), of_series.into_iter().collect::<Vec<_>>());
        }
    }
}
