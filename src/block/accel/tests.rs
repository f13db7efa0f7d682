//! Accelerators of small blocks, against a scan of all label sets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::model::{Digest, LabelSet, MatchOp, Matcher, Tally};

const IDENTITY: IndexIdentity = IndexIdentity { ulid: 0x0123_4567, index_bytes: 4711, index_toc_crc: 0xfeed };

fn path() -> PathBuf {
    Path::new("data").join("accel")
}

/// A disk that is empty but for the directory.
fn disk() -> SimFs {
    let fs = SimFs::new(1);
    fs.create_dir_all(Path::new("data")).unwrap();
    fs
}

fn tally(ordinal: u32) -> Tally {
    Tally { samples: u64::from(ordinal) * 3, digest: Digest(u128::from(ordinal) << 100 | 5) }
}

/// Writes the accelerator of a block with these series.
fn write(fs: &SimFs, series: &BTreeSet<LabelSet>) {
    let mut writer = AccelWriter::create(fs, &path(), &IDENTITY).unwrap();
    let mut labels: BTreeMap<&str, BTreeMap<&str, Vec<u32>>> = BTreeMap::new();
    for (ordinal, set) in (0u32..).zip(series) {
        writer.series(1000 + ordinal * 8, tally(ordinal)).unwrap();
        for label in set.iter() {
            labels.entry(label.name).or_default().entry(label.value).or_default().push(ordinal);
        }
    }
    writer.end_series().unwrap();
    for (name, values) in labels {
        let mut label = writer.label(name).unwrap();
        for (value, ordinals) in values {
            label.value(value, &ordinals).unwrap();
        }
        label.end().unwrap();
    }
    writer.finish().unwrap();
}

fn accel_of(series: &BTreeSet<LabelSet>) -> Accel {
    let fs = disk();
    write(&fs, series);
    Accel::open(&fs, &path(), &IDENTITY).unwrap()
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

/// Compares every answer about the matchers with a scan of the label sets.
fn assert_answers(accel: &Accel, series: &BTreeSet<LabelSet>, matchers: &[Matcher]) {
    let shown = || matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let passing: Vec<(u32, &LabelSet)> =
        (0u32..).zip(series).filter(|(_, set)| matchers.iter().all(|matcher| matcher.matches_labels(set))).collect();
    let found = accel.select(matchers).unwrap();
    assert!(found.iter().eq(passing.iter().map(|(ordinal, _)| *ordinal)), "{}", shown());
    let refs: Vec<u32> = passing.iter().map(|(ordinal, _)| 1000 + ordinal * 8).collect();
    assert_eq!(accel.series_refs(&found).unwrap(), refs);
    let names: BTreeSet<&str> = passing.iter().flat_map(|(_, set)| set.iter().map(|label| label.name)).collect();
    assert!(accel.label_names(matchers, 0).unwrap().iter().eq(names.iter()), "{}", shown());
    for name in ["a", "b", "pod", "absent"] {
        let values: BTreeSet<&str> = series.iter().filter_map(|set| set.get(name)).collect();
        assert!(accel.label_values(name, 0).unwrap().iter().eq(values.iter()), "{name}");
        let first = accel.label_values(name, 2).unwrap();
        assert!(first.iter().eq(values.iter().take(2)), "{name}");
    }
}

/// A fleet in which labels have one series, some, most, or all but a few.
fn fleet(count: usize) -> BTreeSet<LabelSet> {
    let series = |number: usize| {
        let pod = format!("pod-{:05}-{}", number / 3, ["web", "db", "cäche"][number % 3]);
        let zone = format!("zone-{}", number % 2);
        let rare = if number.is_multiple_of(97) { "yes" } else { "" };
        let mostly = if number.is_multiple_of(89) { "off" } else { "on" };
        LabelSet::from_pairs([
            ("__name__", ["up", "down"][number % 2]),
            ("a", zone.as_str()),
            ("b", mostly),
            ("pod", pod.as_str()),
            ("rare", rare),
        ])
    };
    (0..count).map(series).collect()
}

#[test]
fn accel_of_a_fleet_answers_as_a_scan_does() {
    let series = fleet(6000);
    let accel = accel_of(&series);
    accel.check().unwrap();
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let cases = [
        ("pod", Equal, "pod-00007-web"),
        ("pod", Equal, "pod"),
        ("pod", NotEqual, "pod-00007-web"),
        ("pod", Regex, "pod-00007-web|pod-00009-db|nothing"),
        ("pod", NotRegex, "pod-00007-web|pod-00009-db|nothing"),
        ("pod", Regex, "pod-01.*"),
        ("pod", Regex, "pod-01.+"),
        ("pod", Regex, "pod-00007-web.+"),
        ("pod", Regex, "pod-00007-web.*"),
        ("pod", Regex, ".*"),
        ("pod", Regex, ".+"),
        ("pod", NotRegex, ".*"),
        ("pod", NotRegex, ".+"),
        ("pod", Regex, ".*web.*"),
        ("pod", Regex, ".*äch.*"),
        ("pod", NotRegex, ".*web.*"),
        ("pod", Regex, ".*-web"),
        ("pod", Regex, "pod-00.*db"),
        ("pod", Regex, "pod-0[0-9]*[13]7-(web|db)"),
        ("pod", Regex, "(?i)POD-00007-W.*"),
        ("pod", Regex, "pod-\\d+-\\b.*"),
        ("pod", Regex, ".*[^a-z-]che"),
        ("pod", NotRegex, ".*1.*2.*"),
        ("rare", Equal, "yes"),
        ("rare", Equal, ""),
        ("rare", NotEqual, ""),
        ("rare", NotEqual, "yes"),
        ("rare", Regex, "yes|"),
        ("rare", Regex, "no|"),
        ("rare", NotRegex, "yes|"),
        ("b", NotEqual, "off"),
        ("b", NotEqual, "on"),
        ("b", Regex, "o.+"),
        ("absent", Equal, ""),
        ("absent", Equal, "x"),
        ("absent", NotEqual, "x"),
        ("absent", Regex, ".*"),
        ("absent", Regex, ".+"),
    ];
    assert_answers(&accel, &series, &[]);
    for (name, op, value) in cases {
        let one = matcher(name, op, value);
        assert_answers(&accel, &series, std::slice::from_ref(&one));
        assert_answers(&accel, &series, &[one.clone(), matcher("a", Equal, "zone-1")]);
        assert_answers(&accel, &series, &[matcher("b", NotEqual, "on"), one]);
    }
    let all = accel.label_values("pod", 0).unwrap();
    let expected: BTreeSet<&str> = series.iter().filter_map(|set| set.get("pod")).collect();
    assert!(all.iter().eq(expected.iter()));
    assert_eq!(accel.label_names(&[], 0).unwrap(), ["__name__", "a", "b", "pod", "rare"]);
}

#[test]
fn accel_tallies_are_those_of_the_series_and_add_up() {
    let series = fleet(50);
    let accel = accel_of(&series);
    assert_eq!(accel.series_count(), 50);
    assert_eq!(accel.tally(), (0..50).map(tally).sum());
    assert!((0..50).all(|ordinal| accel.series_tally(ordinal).unwrap() == Some(tally(ordinal))));
    assert_eq!(accel.series_tally(50).unwrap(), None);
}

#[test]
fn accel_without_series_answers_nothing() {
    let accel = accel_of(&BTreeSet::new());
    assert_answers(&accel, &BTreeSet::new(), &[]);
    assert_answers(&accel, &BTreeSet::new(), &[matcher("a", MatchOp::NotEqual, "x")]);
    assert!(accel.label_names(&[], 0).unwrap().is_empty());
}

#[test]
fn writer_refuses_an_index_that_contradicts_itself() {
    let fs = disk();
    let mut writer = AccelWriter::create(&fs, &path(), &IDENTITY).unwrap();
    (0..10).for_each(|ordinal| writer.series(ordinal, tally(ordinal)).unwrap());
    writer.end_series().unwrap();
    let mut label = writer.label("b").unwrap();
    assert!(label.value("x", &[3, 2]).is_err());
    assert!(label.value("x", &[3, 10]).is_err());
    label.value("x", &[2, 3]).unwrap();
    assert!(label.value("w", &[4]).is_err(), "values rise");
    let mut label = writer.label("b").unwrap();
    label.value("x", &[2, 3]).unwrap();
    label.value("y", &[3, 4]).unwrap();
    assert!(label.value("z", &[0, 1, 2, 3, 4, 5, 6]).is_err(), "eleven series of ten");
    label.value("z", &[0, 1, 2, 4, 5, 6]).unwrap();
    assert!(label.end().is_err(), "a series has one value of a label");
    writer.label("b").unwrap().end().unwrap();
    assert!(writer.label("b").is_err() && writer.label("a").is_err(), "names rise");
}

#[test]
fn accel_of_another_index_is_refused() {
    let fs = disk();
    write(&fs, &fleet(3));
    for other in [
        IndexIdentity { ulid: 1, ..IDENTITY },
        IndexIdentity { index_bytes: 1, ..IDENTITY },
        IndexIdentity { index_toc_crc: 1, ..IDENTITY },
    ] {
        assert!(matches!(Accel::open(&fs, &path(), &other), Err(AccelError::Foreign)));
    }
    let nowhere = Path::new("data").join("nothing");
    assert!(matches!(Accel::open(&fs, &nowhere, &IDENTITY), Err(AccelError::Missing)));
}

/// The answers that a damaged file is asked for; `None` where any of them is refused.
fn answers(bytes: &[u8]) -> Option<Vec<Vec<u32>>> {
    let fs = disk();
    fs.create(&path()).unwrap().write_all(bytes).unwrap();
    let accel = Accel::open(&fs, &path(), &IDENTITY).ok()?;
    let mut answers = Vec::new();
    for (name, op, value) in [
        ("pod", MatchOp::Equal, "pod-00007-web"),
        ("pod", MatchOp::Regex, "pod-0000.+"),
        ("pod", MatchOp::Regex, ".*web.*"),
        ("pod", MatchOp::Regex, ".*[47]-w?[ed]b"),
        ("b", MatchOp::NotEqual, "on"),
        ("rare", MatchOp::Equal, ""),
        ("__name__", MatchOp::Regex, ".+"),
    ] {
        let matchers = [matcher(name, op, value)];
        let series = accel.select(&matchers).ok()?;
        answers.push(accel.series_refs(&series).ok()?);
        accel.label_names(&matchers, 0).ok()?;
        accel.label_values("a", 0).ok()?;
    }
    accel.series_tally(0).ok()?;
    accel.check().ok()?;
    Some(answers)
}

#[test]
fn accel_with_any_bit_flipped_or_cut_anywhere_is_refused() {
    let fs = disk();
    write(&fs, &fleet(100));
    let whole = fs.read(&path()).unwrap();
    assert!(answers(&whole).is_some());
    for cut in 0..whole.len() {
        assert!(answers(&whole[..cut]).is_none(), "cut to {cut}");
    }
    let mut flipped = whole.clone();
    for at in 0..whole.len() {
        flipped[at] ^= 1 << (at % 8);
        assert!(answers(&flipped).is_none(), "byte {at}");
        flipped[at] = whole[at];
    }
    assert!(answers(&[whole, vec![0]].concat()).is_none());
}

/// The file with one byte of a section replaced, and all checksums made to match.
fn forged(whole: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut table = format::read_table(whole).unwrap();
    let trailer = whole.len() - format::TRAILER_BYTES;
    let end = u64::from_be_bytes(*whole[trailer..].first_chunk().unwrap());
    let mut out = whole[..end as usize].to_vec();
    out[at] = byte;
    let labels = table.labels.iter_mut().flat_map(|label| [&mut label.terms, &mut label.texts, &mut label.postings]);
    for extent in [&mut table.refs, &mut table.tallies].into_iter().chain(labels) {
        extent.crc = crate::encoding::crc32c(&out[extent.offset as usize..][..extent.bytes as usize]);
    }
    out.extend_from_slice(&format::table_and_trailer(&table, end));
    out
}

#[test]
fn slot_with_a_forged_file_whose_checksums_match_answers_or_gives_it_up() {
    let fs = disk();
    write(&fs, &fleet(40));
    let whole = fs.read(&path()).unwrap();
    let slot = AccelSlot::open(&fs, Path::new("data"), IDENTITY);
    let questions = [
        matcher("pod", MatchOp::Equal, "pod-00007-web"),
        matcher("pod", MatchOp::Regex, "pod-0000.+"),
        matcher("pod", MatchOp::Regex, ".*[47]-w?[ed]b"),
        matcher("pod", MatchOp::Regex, ".*web.*"),
    ];
    let pod = format::read_table(&whole).unwrap().labels.into_iter().find(|label| label.name == "pod").unwrap();
    let mut given_up = 0;
    for extent in [pod.terms, pod.texts, pod.postings] {
        for (at, byte) in (extent.offset..extent.offset + extent.bytes).flat_map(|at| [(at, 0), (at, 0x7f), (at, 0xff)])
        {
            fs.set_content(&path(), forged(&whole, at as usize, byte));
            slot.reload(&fs);
            for question in &questions {
                slot.ask(|accel| accel.series_refs(&accel.select(std::slice::from_ref(question))?));
            }
            given_up += u32::from(slot.state() != AccelState::Ready);
        }
    }
    assert!(given_up > 100, "{given_up}");
}

#[test]
fn slot_remembers_damage_that_shows_at_use_until_the_file_is_made_anew() {
    let fs = disk();
    let slot = AccelSlot::open(&fs, Path::new("data"), IDENTITY);
    assert_eq!(slot.state(), AccelState::Missing);
    let series = fleet(100);
    write(&fs, &series);
    slot.reload(&fs);
    assert_eq!(slot.state(), AccelState::Ready);
    let question = [matcher("pod", MatchOp::Regex, ".*web.*")];
    let answer = slot.ask(|accel| accel.select(&question)).map(|found| found.cardinality());
    assert_eq!(answer, Some(34));
    // Damage in the texts of `pod`: other labels, and questions that need no text, are not hindered by it.
    let whole = fs.read(&path()).unwrap();
    let at = whole.windows(4).position(|window| window == b"-web").unwrap();
    let mut damaged = whole.clone();
    damaged[at] ^= 1;
    fs.set_content(&path(), damaged);
    slot.reload(&fs);
    assert!(slot.ask(|accel| accel.select(&[matcher("a", MatchOp::Equal, "zone-1")])).is_some());
    assert!(slot.ask(|accel| accel.select(&question)).is_none());
    assert!(matches!(slot.state(), AccelState::Damaged(reason) if reason.contains("checksum")));
    assert!(slot.ask(|accel| accel.select(&[matcher("a", MatchOp::Equal, "zone-1")])).is_none());
    fs.set_content(&path(), whole);
    slot.reload(&fs);
    assert_eq!(slot.state(), AccelState::Ready);
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[abé\n]{1,4}", "a[ab]{0,2}x?"]
}

fn label_sets() -> impl Strategy<Value = BTreeSet<LabelSet>> {
    let labels = prop::collection::vec((prop::sample::select(vec!["a", "b", "pod"]), value()), 0..4);
    let set =
        labels.prop_map(|labels| LabelSet::from_pairs(labels.iter().map(|(name, value)| (*name, value.as_str()))));
    prop::collection::btree_set(set, 0..60)
}

fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a", "b", "ab", "é", ".", ".*", ".+", "[ab]", "^", "$", "", "\\n", "(?i:aB)", ".*?", "\\b", "(?-s:.)", "[^a]",
        "x", "a{2}",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join("|"))),
            inner.clone().prop_map(|part| format!("(?:{part})?")),
            inner.prop_map(|part| format!("({part})*")),
        ]
    })
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let name = prop::sample::select(vec!["a", "b", "pod", "absent"]);
    let test = prop_oneof![
        (prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual]), value()),
        (prop::sample::select(vec![MatchOp::Regex, MatchOp::NotRegex]), pattern()),
    ];
    (name, test).prop_map(|(name, (op, value))| matcher(name, op, &value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn prop_accel_answers_as_a_scan_does(
        series in label_sets(),
        questions in prop::collection::vec(prop::collection::vec(any_matcher(), 1..4), 8),
    ) {
        let accel = accel_of(&series);
        for matchers in &questions {
            assert_answers(&accel, &series, matchers);
        }
    }

    #[test]
    fn prop_every_way_to_values_finds_the_same(
        values in prop::collection::btree_set("[abé\n]{1,5}", 1..80),
        text in pattern(),
    ) {
        let series = values.iter().map(|value| LabelSet::from_pairs([("a", value.as_str())])).collect();
        let accel = accel_of(&series);
        let pattern = crate::model::Pattern::new(&text).unwrap();
        let expected: Vec<u32> =
            (0u32..).zip(&values).filter(|(_, value)| pattern.is_match(value)).map(|(ordinal, _)| ordinal).collect();
        prop_assert_eq!(plan::values_by_walk(&accel, "a", &pattern), pattern.automaton().map(|_| expected.clone()));
        prop_assert_eq!(plan::values_by_states(&accel, "a", &pattern), pattern.automaton().map(|_| expected));
    }
}
