//! Classes of characters: `[...]`, `\d`, `[[:alpha:]]`, `\p{Greek}`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::escape::escape;
use super::{Fault, SyntaxError, before, fold, split_first};

/// Most ranges of all classes of an expression together, as they are written; 12 bytes or so each. `\pL` has 650.
const RANGES_MAX: usize = 1 << 20;

/// The general categories by the names that Go knows.
const CATEGORIES: [&str; 38] = [
    "C", "Cc", "Cf", "Cn", "Co", "Cs", "L", "LC", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// The scripts by the names that Go knows, which the engine would match loosely. Sorted.
const SCRIPTS: &str = "Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali \
    Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee \
    Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan \
    Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi \
    Gurmukhi Gurung_Khema Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited \
    Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi \
    Khitan_Small_Script Khmer Khojki Khudawadi Kirat_Rai Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian \
    Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui \
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari \
    New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian Old_Italic \
    Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya \
    Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada \
    Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar Syloti_Nagri Syriac Tagalog \
    Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Todhri Toto \
    Tulu_Tigalari Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

/// The classes of `[[:name:]]`: all ASCII.
const POSIX: [(&str, &[(char, char)]); 14] = [
    ("alnum", &[('0', '9'), ('A', 'Z'), ('a', 'z')]),
    ("alpha", &[('A', 'Z'), ('a', 'z')]),
    ("ascii", &[('\0', '\x7f')]),
    ("blank", &[('\t', '\t'), (' ', ' ')]),
    ("cntrl", &[('\0', '\x1f'), ('\x7f', '\x7f')]),
    ("digit", &[('0', '9')]),
    ("graph", &[('!', '~')]),
    ("lower", &[('a', 'z')]),
    ("print", &[(' ', '~')]),
    ("punct", &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
    ("space", &[('\t', '\r'), (' ', ' ')]),
    ("upper", &[('A', 'Z')]),
    ("word", &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
    ("xdigit", &[('0', '9'), ('A', 'F'), ('a', 'f')]),
];

/// The classes of `\d`, `\s`, `\w`. A vertical tab is no space here.
const PERL: [(char, &[(char, char)]); 3] = [
    ('d', &[('0', '9')]),
    ('s', &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')]),
    ('w', &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
];

/// What the parser is asked to keep in mind about classes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folding {
    /// Whether case is ignored.
    pub(super) fold: bool,
}

/// What the classes of an expression may still take.
#[derive(Debug)]
pub(super) struct Budget {
    /// Ranges.
    left: usize,
    /// How long the text is from the last `:]` on, which ends the last of `[:alpha:]` and its like. Without it each
    /// beginning of one would search the whole rest of the text.
    posix_end: usize,
}

impl Budget {
    /// That of a whole expression.
    pub(super) fn of(text: &str) -> Self {
        Budget { left: RANGES_MAX, posix_end: text.rfind(":]").map_or(usize::MAX, |at| text.len() - at) }
    }
}

/// Why a class is none.
#[derive(Debug)]
pub(super) enum ClassError {
    Syntax(SyntaxError),
    /// The expression's classes have too many ranges.
    TooLarge,
}

impl From<SyntaxError> for ClassError {
    fn from(error: SyntaxError) -> Self {
        ClassError::Syntax(error)
    }
}

/// The ranges of a class as it is read.
struct Ranges<'b> {
    ranges: Vec<ClassUnicodeRange>,
    budget: &'b mut Budget,
}

impl Ranges<'_> {
    fn add(&mut self, ranges: impl ExactSizeIterator<Item = ClassUnicodeRange>) -> Result<(), ClassError> {
        self.budget.left = self.budget.left.checked_sub(ranges.len()).ok_or(ClassError::TooLarge)?;
        self.ranges.extend(ranges);
        Ok(())
    }

    fn add_class(&mut self, class: &ClassUnicode) -> Result<(), ClassError> {
        self.add(class.ranges().iter().copied())
    }

    /// Adds a range of code points. Those that stand for no character are in no text, so they go.
    fn add_codes(&mut self, start: u32, end: u32, folding: Folding) -> Result<(), ClassError> {
        let start = char::from_u32(start).unwrap_or('\u{e000}');
        let end = char::from_u32(end).unwrap_or('\u{d7ff}');
        if start > end {
            return Ok(());
        }
        self.add([ClassUnicodeRange::new(start, end)].into_iter())?;
        if folding.fold {
            let others = fold::pairs_of(start, end).iter();
            self.add(others.map(|(_, other)| ClassUnicodeRange::new(*other, *other)))?;
        }
        Ok(())
    }
}

/// The characters that `code` stands for.
pub(super) fn of_code(code: u32, folding: Folding, budget: &mut Budget) -> Result<ClassUnicode, ClassError> {
    let mut ranges = Ranges { ranges: Vec::new(), budget };
    ranges.add_codes(code, code, folding)?;
    Ok(ClassUnicode::new(ranges.ranges))
}

/// A class of one escape, `\d` or `\pN`, at the start of `text`, and what follows it. `None` if there is none.
pub(super) fn escaped<'t>(
    text: &'t str,
    folding: Folding,
    budget: &mut Budget,
) -> Result<Option<(ClassUnicode, &'t str)>, ClassError> {
    let mut ranges = Ranges { ranges: Vec::new(), budget };
    Ok(match escaped_into(text, folding, &mut ranges)? {
        Some(rest) => Some((ClassUnicode::new(ranges.ranges), rest)),
        None => None,
    })
}

fn escaped_into<'t>(text: &'t str, folding: Folding, ranges: &mut Ranges<'_>) -> Result<Option<&'t str>, ClassError> {
    if let Some((class, rest)) = unicode(text, folding)? {
        ranges.add_class(&class)?;
        return Ok(Some(rest));
    }
    let Some((letter, rest)) = text.strip_prefix('\\').and_then(split_first) else {
        return Ok(None);
    };
    let Some((_, group)) = PERL.iter().find(|(name, _)| *name == letter.to_ascii_lowercase()) else {
        return Ok(None);
    };
    ranges.add_class(&ascii_group(group, letter.is_ascii_uppercase(), folding))?;
    Ok(Some(rest))
}

fn ascii_group(group: &[(char, char)], negated: bool, folding: Folding) -> ClassUnicode {
    let class = ClassUnicode::new(group.iter().map(|(start, end)| ClassUnicodeRange::new(*start, *end)));
    finished(class, negated, folding)
}

/// Case is ignored before the class is negated, as in Go.
fn finished(class: ClassUnicode, negated: bool, folding: Folding) -> ClassUnicode {
    let mut class = if folding.fold { fold::fold(&class) } else { class };
    if negated {
        class.negate();
    }
    class
}

/// A class like `\p{Greek}` or `\PN` at the start of `text`, and what follows it.
fn unicode(text: &str, folding: Folding) -> Result<Option<(ClassUnicode, &str)>, SyntaxError> {
    let (mut negated, after) = match (text.strip_prefix("\\p"), text.strip_prefix("\\P")) {
        (Some(after), _) => (false, after),
        (_, Some(after)) => (true, after),
        _ => return Ok(None),
    };
    let wrong = |part: &str| SyntaxError::new(Fault::ClassRange, part);
    let (name, rest) = match after.strip_prefix('{') {
        Some(inner) => inner.split_once('}').ok_or_else(|| wrong(text))?,
        None => {
            let (_, rest) = split_first(after).ok_or_else(|| wrong(text))?;
            (before(after, rest), rest)
        }
    };
    let table = match name.strip_prefix('^') {
        Some(table) => {
            negated = !negated;
            table
        }
        None => name,
    };
    let class = table_of(table).ok_or_else(|| wrong(before(text, rest)))?;
    Ok(Some((finished(class, negated, folding), rest)))
}

/// The characters of a category or script.
fn table_of(name: &str) -> Option<ClassUnicode> {
    match name {
        "Any" => Some(ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)])),
        // Surrogates are no characters, so no text has one.
        "Cs" => Some(ClassUnicode::empty()),
        _ if CATEGORIES.contains(&name) => property(&format!(r"\p{{gc={name}}}")),
        _ if SCRIPTS.split(' ').any(|script| script == name) => property(&format!(r"\p{{sc={name}}}")),
        _ => None,
    }
}

/// The characters of a property by the engine's own syntax.
pub(super) fn property(expression: &str) -> Option<ClassUnicode> {
    let tree = regex_syntax::parse(expression).ok()?;
    match tree.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A class of one character comes as that character.
        HirKind::Literal(one) => {
            let one = std::str::from_utf8(&one.0).ok()?.chars().next()?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(one, one)]))
        }
        _ => None,
    }
}

/// The class in brackets at the start of `text`, and what follows it.
pub(super) fn bracketed<'t>(
    text: &'t str,
    folding: Folding,
    budget: &mut Budget,
) -> Result<(ClassUnicode, &'t str), ClassError> {
    let mut ranges = Ranges { ranges: Vec::new(), budget };
    let inside = text.strip_prefix('[').unwrap_or(text);
    let (negated, mut rest) = inside.strip_prefix('^').map_or((false, inside), |inside| (true, inside));
    let mut is_first = true;
    // A bracket that comes first is a character.
    while is_first || !rest.starts_with(']') {
        is_first = false;
        if let Some(after) = posix_into(rest, folding, &mut ranges)? {
            rest = after;
            continue;
        }
        if let Some(after) = escaped_into(rest, folding, &mut ranges)? {
            rest = after;
            continue;
        }
        let range = rest;
        let (start, after) = code(rest, text)?;
        rest = after;
        let mut end = start;
        // A dash that comes last is a character.
        if let Some(after) = rest.strip_prefix('-').filter(|after| !after.is_empty() && !after.starts_with(']')) {
            (end, rest) = code(after, text)?;
            if end < start {
                return Err(SyntaxError::new(Fault::ClassRange, before(range, rest)).into());
            }
        }
        ranges.add_codes(start, end, folding)?;
    }
    let mut class = ClassUnicode::new(ranges.ranges);
    if negated {
        class.negate();
    }
    Ok((class, &rest[1..]))
}

/// A class like `[:alpha:]` or `[:^alpha:]` at the start of `text`.
fn posix_into<'t>(text: &'t str, folding: Folding, ranges: &mut Ranges<'_>) -> Result<Option<&'t str>, ClassError> {
    let inner = text.strip_prefix("[:").filter(|inner| inner.len() >= ranges.budget.posix_end);
    let Some((name, rest)) = inner.and_then(|inner| inner.split_once(":]")) else {
        return Ok(None);
    };
    let (negated, known) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let Some((_, group)) = POSIX.iter().find(|(posix, _)| *posix == known) else {
        return Err(SyntaxError::new(Fault::ClassRange, before(text, rest)).into());
    };
    ranges.add_class(&ascii_group(group, negated, folding))?;
    Ok(Some(rest))
}

/// One code point of a class, and what follows it.
fn code<'t>(text: &'t str, class: &str) -> Result<(u32, &'t str), SyntaxError> {
    if text.starts_with('\\') {
        return escape(text);
    }
    let (one, rest) = split_first(text).ok_or_else(|| SyntaxError::new(Fault::MissingBracket, class))?;
    Ok((one.into(), rest))
}
