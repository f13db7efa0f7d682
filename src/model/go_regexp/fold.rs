//! Case folding: which characters an expression means by a character when case does not matter.

use std::sync::OnceLock;

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// Every character that another one is equal to but for its case, with that other one; sorted.
fn pairs() -> &'static [(char, char)] {
    static PAIRS: OnceLock<Vec<(char, char)>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let mut cased = super::class::property(r"\p{Changes_When_Casefolded}").unwrap_or_else(ClassUnicode::empty);
        cased.case_fold_simple();
        let chars = cased.ranges().iter().flat_map(|range| range.start()..=range.end());
        chars.flat_map(|one| others_of(one).map(move |other| (one, other)).collect::<Vec<_>>()).collect()
    })
}

fn others_of(one: char) -> impl Iterator<Item = char> {
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(one, one)]);
    class.case_fold_simple();
    let chars: Vec<char> = class.ranges().iter().flat_map(|range| range.start()..=range.end()).collect();
    chars.into_iter().filter(move |other| *other != one)
}

/// The pairs whose first character lies in the range.
pub(super) fn pairs_of(start: char, end: char) -> &'static [(char, char)] {
    let pairs = pairs();
    let from = pairs.partition_point(|(one, _)| *one < start);
    let to = pairs.partition_point(|(one, _)| *one <= end);
    &pairs[from..to]
}

/// The ranges, and the characters that are equal to theirs but for case.
pub(super) fn fold(class: &ClassUnicode) -> ClassUnicode {
    let mut ranges = class.ranges().to_vec();
    for range in class.ranges() {
        let others = pairs_of(range.start(), range.end()).iter();
        ranges.extend(others.map(|(_, other)| ClassUnicodeRange::new(*other, *other)));
    }
    ClassUnicode::new(ranges)
}
