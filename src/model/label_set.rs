//! A series' identity: its sorted, unique set of labels, in one allocation that clones by reference count.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::encoding::quote;

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// One borrowed label: a name and a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    /// The label's name.
    pub name: &'a str,
    /// The label's value; in a stored label set it is never empty.
    pub value: &'a str,
}

/// The sorted set of labels that names one series.
///
/// Labels are ordered by name, names are unique, and an empty value means that the label is absent, so it is not kept.
/// Cloning copies a pointer. Order between sets is Prometheus' `labels.Compare`: label by label, name before value,
/// and a set that is a prefix of another comes first.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LabelSet {
    text: Arc<str>,
    /// End offsets in `text`: name end, value end, name end, value end, ...
    ends: Arc<[u32]>,
}

impl LabelSet {
    /// The set without a label.
    pub fn empty() -> Self {
        LabelSet { text: Arc::from(""), ends: Arc::from([]) }
    }

    /// Builds a set from labels in any order. A later label of the same name replaces an earlier one.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut builder = LabelSetBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// Builds a set from labels that are already sorted by name, unique and without empty values.
    pub fn from_sorted<'a>(labels: impl Iterator<Item = Label<'a>>) -> Self {
        LabelSet::from_sorted_with(labels, &mut LabelSetScratch::default())
    }

    /// As [`from_sorted`](Self::from_sorted), with memory that is used again for the next of many sets.
    pub fn from_sorted_with<'a>(labels: impl Iterator<Item = Label<'a>>, scratch: &mut LabelSetScratch) -> Self {
        let LabelSetScratch { text, ends } = scratch;
        text.clear();
        ends.clear();
        for label in labels {
            text.push_str(label.name);
            ends.push(text.len() as u32);
            text.push_str(label.value);
            ends.push(text.len() as u32);
        }
        LabelSet { text: text.as_str().into(), ends: ends.as_slice().into() }
    }

    /// Bytes on the heap, shared by all clones.
    pub fn heap_bytes(&self) -> usize {
        let counts = 2 * size_of::<usize>();
        self.text.len() + self.ends.len() * size_of::<u32>() + 2 * counts
    }

    /// How many labels the set has.
    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    /// Whether the set has no label.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The label at `index` in name order.
    fn at(&self, index: usize) -> Label<'_> {
        let start = if index == 0 { 0 } else { self.ends[index * 2 - 1] as usize };
        let middle = self.ends[index * 2] as usize;
        let end = self.ends[index * 2 + 1] as usize;
        Label { name: &self.text[start..middle], value: &self.text[middle..end] }
    }

    /// The labels in name order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Label<'_>> + ExactSizeIterator + Clone {
        (0..self.len()).map(|index| self.at(index))
    }

    /// The value of the label called `name`, or `None` where the set has no such label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|label| label.name == name).map(|label| label.value)
    }

    /// The value of `__name__`, or `None`.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// The set without the labels for which `drop` says so.
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Self {
        let kept: Vec<Label<'_>> = self.iter().filter(|label| !drop(label.name)).collect();
        if kept.len() == self.len() { self.clone() } else { LabelSet::from_sorted(kept.into_iter()) }
    }

    /// A builder that starts with this set's labels.
    pub fn to_builder(&self) -> LabelSetBuilder {
        LabelSetBuilder { labels: self.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect() }
    }
}

impl Ord for LabelSet {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for LabelSet {
    /// Prometheus' notation: `{__name__="up", job="node"}`; a name of other characters stands in quotes too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, label) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match is_bare(label.name) {
                true => f.write_str(label.name)?,
                false => f.write_str(&quote(label.name))?,
            }
            f.write_str("=")?;
            f.write_str(&quote(label.value))?;
        }
        f.write_str("}")
    }
}

/// Whether a label's name needs no quotes.
fn is_bare(name: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.as_bytes().first().is_some_and(is_first) && name.bytes().all(|byte| is_first(&byte) || byte.is_ascii_digit())
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Memory in which label sets are put together.
#[derive(Debug, Default)]
pub struct LabelSetScratch {
    text: String,
    ends: Vec<u32>,
}

/// Collects labels in any order and makes a [`LabelSet`] of them.
#[derive(Debug, Clone, Default)]
pub struct LabelSetBuilder {
    labels: Vec<(String, String)>,
}

impl LabelSetBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.labels.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => value.clone_into(&mut entry.1),
            None => self.labels.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.labels.retain(|(known, _)| known != name);
        self
    }

    /// The current value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The finished set: sorted, without empty values.
    pub fn build(mut self) -> LabelSet {
        self.labels.retain(|(_, value)| !value.is_empty());
        self.labels.sort_unstable();
        LabelSet::from_sorted(self.labels.iter().map(|(name, value)| Label { name, value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_set_is_shown_as_prometheus_shows_it() {
        let set = LabelSet::from_pairs([("__name__", "a.b"), ("the path", "C:\\\"\n\u{7f}ü"), ("1", "x"), ("_1", "")]);
        let text = r#"{"1"="x", __name__="a.b", "the path"="C:\\\"\n\x7fü"}"#;
        assert_eq!(set.to_string(), text);
    }

    #[test]
    fn label_set_from_unsorted_pairs_is_sorted_and_drops_empty_values() {
        let set = LabelSet::from_pairs([("job", "node"), ("__name__", "up"), ("gone", "")]);
        assert_eq!(set.to_string(), r#"{__name__="up", job="node"}"#);
        assert_eq!(set.get("job"), Some("node"));
        assert_eq!(set.get("gone"), None);
    }

    #[test]
    fn label_set_order_compares_label_by_label_with_the_shorter_first() {
        let a = LabelSet::from_pairs([("a", "1")]);
        let ab = LabelSet::from_pairs([("a", "1"), ("b", "1")]);
        let a2 = LabelSet::from_pairs([("a", "2")]);
        assert!(a < ab && ab < a2);
    }
}
