//! Repetition operators: `*`, `+`, `?` and `{2,5}`.

/// Most copies that a repetition, with those inside it, may make of an expression.
pub(super) const COPIES_MAX: u32 = 1000;

/// A repetition operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) min: u32,
    pub(super) max: Option<u32>,
    /// Whether it is written with numbers.
    pub(super) counted: bool,
}

impl Repeat {
    /// The operator of one character, if it is one.
    pub(super) fn of_char(operator: char) -> Option<Self> {
        let (min, max) = match operator {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            _ => return None,
        };
        Some(Repeat { min, max, counted: false })
    }

    /// How many copies it makes of an expression that has `copies` inside.
    pub(super) fn copies(self, copies: u32) -> u32 {
        match (self.counted, self.max) {
            (false, _) => copies,
            (true, Some(0)) => 1,
            (true, max) => copies.saturating_mul(max.unwrap_or(self.min).max(1)),
        }
    }

    /// Whether the copies are judged at all: only where there can be more than one.
    pub(super) fn multiplies(self) -> bool {
        self.counted && (self.min >= 2 || self.max.is_some_and(|max| max >= 2))
    }

    /// How many instructions Go counts for it, over an expression of `size`.
    pub(super) fn size(self, size: u64) -> u64 {
        let min = u64::from(self.min);
        let size = match (self.counted, self.max) {
            (false, None) if min == 0 => 2 + size,
            (false, _) => 1 + size,
            (true, None) if min == 0 => 2 + size,
            (true, None) => 1 + min.saturating_mul(size),
            (true, Some(max)) => u64::from(max).saturating_mul(size) + u64::from(max - self.min),
        };
        size.max(1)
    }
}

/// What stands in braces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Braces<'t> {
    /// A repetition, and what follows it.
    Repeat(Repeat, &'t str),
    /// Numbers that are too large, or in the wrong order, and what follows them.
    Wrong(&'t str),
    /// No repetition: the brace is a character.
    Text,
}

/// Reads the braces at the start of `text`.
pub(super) fn braces(text: &str) -> Braces<'_> {
    let Some((numbers, rest)) = text.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
        return Braces::Text;
    };
    let (min, max) = match numbers.split_once(',') {
        None => (numbers, Some(numbers)),
        Some((min, "")) => (min, None),
        Some((min, max)) => (min, Some(max)),
    };
    if !is_number(min) || !max.is_none_or(is_number) {
        return Braces::Text;
    }
    // A number that does not fit is too large as well.
    let value = |digits: &str| digits.parse::<u32>().ok().filter(|value| *value <= COPIES_MAX);
    let repeat = match (value(min), max.map(value)) {
        (Some(min), None) => Repeat { min, max: None, counted: true },
        (Some(min), Some(Some(max))) if min <= max => Repeat { min, max: Some(max), counted: true },
        _ => return Braces::Wrong(rest),
    };
    Braces::Repeat(repeat, rest)
}

/// Whether it is a number without leading zeros.
fn is_number(digits: &str) -> bool {
    let is_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_digits && (digits.len() == 1 || !digits.starts_with('0'))
}
