//! Labels of points, written straight in the canonical form by which the head looks series up
//! ([`raw_labels`](crate::model::raw_labels)).
//!
//! Points of a metric, and of most metrics of a resource, have attributes of the same names in the same order. So the
//! names are translated and sorted once, into a layout: the encoded names in their order, each with the place of its
//! value among a point's attributes. A point whose attributes have these names then costs one comparison of each name and
//! one copy of each value.
//!
//! Source: Prometheus 3.14 `storage/remote/otlptranslator/prometheusremotewrite/helper.go` (`createAttributes`).

use std::borrow::Cow;
use std::ops::Range;

use super::label_names::LabelNaming;
use super::resource::SharedLabels;
use super::values::{label_value, render};
use super::warnings::{Category, Warnings};
use crate::encoding::put;
use crate::ingest::otlp::model::KeyValue;
use crate::model::METRIC_NAME;

/// A field of a label set and the first field of a label: number 1, with its length before it.
const TAG_1: u8 = 0x0a;
/// The second field of a label.
const TAG_2: u8 = 0x12;

/// Where bytes stand in [`Layout::text`].
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    end: u32,
}

impl Place {
    fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Where a label's value comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// From nowhere: the text is the whole label.
    Shared,
    /// From the attribute with this index.
    Attribute(u32),
    /// From several, whose indices stand here in [`Layout::joined`].
    Attributes(Place),
}

/// One label of a layout.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The fields of the label up to its value.
    text: Place,
    source: Source,
    /// The value that is taken where the attribute's is empty.
    under: Option<Place>,
}

/// How the labels of points are put together.
#[derive(Debug, Default)]
pub(super) struct Layout<'a> {
    /// A label that some series of a point have beside those of its attributes: `le`, `quantile`, or none.
    extra: &'static str,
    /// Whether it is one, for attributes of the names in `keys`.
    is_built: bool,
    keys: Vec<Cow<'a, str>>,
    /// Sorted by name, without the metric's name and the extra label.
    slots: Vec<Slot>,
    /// How many slots come before the metric's name, and before the extra label.
    name_at: usize,
    extra_at: usize,
    /// The attribute that has the extra label's name.
    own_extra: Option<Slot>,
    text: Vec<u8>,
    joined: Vec<u32>,
    /// Why points with these attributes can't be stored.
    fault: Option<String>,
    scratch: Vec<u8>,
    value: Vec<u8>,
}

/// Labels of a point without the metric's name: written once, copied for each series.
#[derive(Debug, Clone)]
pub(super) struct PointLabels {
    before_name: Range<usize>,
    before_extra: Range<usize>,
    own_extra: Range<usize>,
    rest: Range<usize>,
}

/// Appends a label.
#[inline]
pub(super) fn put_label(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let name_bytes = 1 + uvarint_len(name.len()) + name.len();
    out.push(TAG_1);
    put::uvarint(out, (name_bytes + 1 + uvarint_len(value.len()) + value.len()) as u64);
    out.push(TAG_1);
    put::uvarint_slice(out, name.as_bytes());
    out.push(TAG_2);
    put::uvarint_slice(out, value);
}

/// The labels with the names of the series that a family has, by their suffixes.
pub(super) fn name_labels<const N: usize>(family: &str, suffixes: [&str; N]) -> [Vec<u8>; N] {
    suffixes.map(|suffix| {
        let mut label = Vec::new();
        put_label(&mut label, METRIC_NAME, format!("{family}{suffix}").as_bytes());
        label
    })
}

/// Appends a label of which all up to the value is encoded.
#[inline]
fn put_value(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let inner = name.len() + uvarint_len(value.len()) + value.len();
    if inner < 0x80 {
        out.extend_from_slice(&[TAG_1, inner as u8]);
        out.extend_from_slice(name);
        out.push(value.len() as u8);
        out.extend_from_slice(value);
        return;
    }
    out.push(TAG_1);
    put::uvarint(out, inner as u64);
    out.extend_from_slice(name);
    put::uvarint_slice(out, value);
}

fn uvarint_len(value: usize) -> usize {
    ((usize::BITS - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Who gives a label, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Giver {
    Over(u32),
    Attribute(u32),
    Under(u32),
}

impl<'a> Layout<'a> {
    /// A layout for points some of whose series have the label `extra`.
    pub(super) fn new(extra: &'static str) -> Self {
        Layout { extra, ..Layout::default() }
    }

    /// Forgets what it was built from.
    pub(super) fn reset(&mut self) {
        self.is_built = false;
    }

    /// Prepares for a point with these attributes. An error is why it can't be stored.
    #[inline]
    pub(super) fn fit(
        &mut self,
        attributes: &[KeyValue<'a>],
        shared: &SharedLabels,
        naming: LabelNaming,
        warnings: &mut Warnings,
    ) -> Result<(), String> {
        let fits = self.is_built
            && self.keys.len() == attributes.len()
            && self.keys.iter().zip(attributes).all(|(key, attribute)| *key == attribute.key);
        if !fits {
            self.build(attributes, shared, naming, warnings);
        }
        self.fault.clone().map_or(Ok(()), Err)
    }

    fn build(
        &mut self,
        attributes: &[KeyValue<'a>],
        shared: &SharedLabels,
        naming: LabelNaming,
        warnings: &mut Warnings,
    ) {
        self.keys.clear();
        self.keys.extend(attributes.iter().map(|attribute| attribute.key.clone()));
        self.slots.clear();
        self.text.clear();
        self.joined.clear();
        (self.own_extra, self.fault, self.is_built) = (None, None, true);
        let mut labels: Vec<(Cow<'_, str>, Giver)> =
            Vec::with_capacity(attributes.len() + shared.over.len() + shared.under.len());
        for (index, attribute) in attributes.iter().enumerate() {
            // The metric's own name stands elsewhere.
            if attribute.key != METRIC_NAME {
                match naming.name(&attribute.key) {
                    Ok(name) => labels.push((name, Giver::Attribute(index as u32))),
                    Err(fault) => self.fault = Some(fault),
                }
            }
        }
        let pairs = |pairs: &'_ [(String, String)]| pairs.len() as u32;
        labels.extend((0..pairs(&shared.over)).filter_map(|index| {
            Some((Cow::Borrowed(shared.over.get(index as usize)?.0.as_str()), Giver::Over(index)))
        }));
        labels.extend((0..pairs(&shared.under)).filter_map(|index| {
            Some((Cow::Borrowed(shared.under.get(index as usize)?.0.as_str()), Giver::Under(index)))
        }));
        let key = |giver: &Giver| match giver {
            Giver::Attribute(index) => attributes.get(*index as usize).map(|attribute| &*attribute.key),
            Giver::Over(_) | Giver::Under(_) => None,
        };
        // Attributes of one label are joined in the order of their names.
        labels.sort_unstable_by(|(a, by_a), (b, by_b)| {
            let rank = |giver: &Giver| match giver {
                Giver::Over(_) => 0,
                Giver::Attribute(_) => 1,
                Giver::Under(_) => 2,
            };
            let order = a.cmp(b).then(rank(by_a).cmp(&rank(by_b)));
            order.then_with(|| key(by_a).cmp(&key(by_b))).then(by_a.cmp(by_b))
        });
        let extra = self.extra;
        for group in labels.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((name, first)) = group.first() else { continue };
            let collides = |warnings: &mut Warnings, how: &str| {
                warnings.add_once(Category::LabelNameCollision, name, || {
                    let keys: Vec<String> =
                        group.iter().filter_map(|(_, giver)| key(giver)).map(|key| format!("{key:?}")).collect();
                    format!("data point attributes {} become the label {name:?}; {how}", keys.join(", "))
                });
            };
            let attributes = group.iter().filter(|(_, giver)| matches!(giver, Giver::Attribute(_))).count();
            if name == METRIC_NAME {
                collides(warnings, "the metric's name stays");
                continue;
            }
            if let Giver::Over(index) = first {
                if attributes > 0 {
                    collides(warnings, "that of the resource or scope stays");
                }
                let value = shared.over.get(*index as usize).map_or("", |(_, value)| value);
                if !value.is_empty() {
                    self.push_shared(name, value);
                }
                continue;
            }
            let under = group.iter().find_map(|(_, giver)| match giver {
                Giver::Under(index) => shared.under.get(*index as usize).map(|(_, value)| value.as_str()),
                Giver::Over(_) | Giver::Attribute(_) => None,
            });
            let Giver::Attribute(index) = *first else {
                self.push_shared(name, under.unwrap_or_default());
                continue;
            };
            let source = if attributes > 1 {
                collides(warnings, "their values are joined with ';'");
                let start = self.joined.len() as u32;
                self.joined.extend(group.iter().filter_map(|(_, giver)| match giver {
                    Giver::Attribute(index) => Some(*index),
                    Giver::Over(_) | Giver::Under(_) => None,
                }));
                Source::Attributes(Place { start, end: self.joined.len() as u32 })
            } else {
                Source::Attribute(index)
            };
            let text = self.push_text(|text| {
                text.push(TAG_1);
                put::uvarint_slice(text, name.as_bytes());
                text.push(TAG_2);
            });
            let under = under.map(|value| self.push_text(|text| text.extend_from_slice(value.as_bytes())));
            let slot = Slot { text, source, under };
            if !extra.is_empty() && name == extra {
                self.own_extra = Some(slot);
            } else {
                self.slots.push(slot);
            }
        }
        let before = |limit: &str| self.slots.partition_point(|slot| self.slot_name(slot) < limit.as_bytes());
        let (name_at, extra_at) = (before(METRIC_NAME), before(extra));
        (self.name_at, self.extra_at) = (name_at, extra_at.max(name_at));
    }

    fn push_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Place {
        let start = self.text.len() as u32;
        write(&mut self.text);
        Place { start, end: self.text.len() as u32 }
    }

    fn push_shared(&mut self, name: &str, value: &str) {
        let text = self.push_text(|text| put_label(text, name, value.as_bytes()));
        let slot = Slot { text, source: Source::Shared, under: None };
        if !self.extra.is_empty() && name == self.extra {
            self.own_extra = Some(slot);
        } else {
            self.slots.push(slot);
        }
    }

    /// The name of a slot's label, out of its encoded text.
    fn slot_name(&self, slot: &Slot) -> &[u8] {
        let mut cursor = crate::encoding::Cursor::new(slot.text.of(&self.text));
        let mut read = || {
            if matches!(slot.source, Source::Shared) {
                cursor.u8()?;
                cursor.uvarint()?;
            }
            cursor.u8()?;
            cursor.uvarint_slice()
        };
        read().unwrap_or_default()
    }

    /// Writes the labels of a series: those of the point, and the metric's name, which is a whole label.
    #[inline]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, attributes: &[KeyValue<'_>], name: &[u8]) {
        let Layout { slots, name_at, text, joined, scratch, value, .. } = self;
        let (before, after) = slots.split_at_checked(*name_at).unwrap_or((slots, &[]));
        let mut writer = Writer { attributes, text, joined, scratch, value };
        before.iter().for_each(|slot| writer.put(out, slot));
        out.extend_from_slice(name);
        after.iter().for_each(|slot| writer.put(out, slot));
    }

    /// Writes the labels of a point, to be copied for each of its series.
    pub(super) fn write_parts(&mut self, out: &mut Vec<u8>, attributes: &[KeyValue<'_>]) -> PointLabels {
        let Layout { slots, name_at, extra_at, own_extra, text, joined, scratch, value, .. } = self;
        let mut writer = Writer { attributes, text, joined, scratch, value };
        let mut part = |slots: &[Slot]| {
            let start = out.len();
            slots.iter().for_each(|slot| writer.put(out, slot));
            start..out.len()
        };
        PointLabels {
            before_name: part(slots.get(..*name_at).unwrap_or_default()),
            before_extra: part(slots.get(*name_at..*extra_at).unwrap_or_default()),
            own_extra: part(own_extra.as_slice()),
            rest: part(slots.get(*extra_at..).unwrap_or_default()),
        }
    }
}

impl PointLabels {
    /// Writes the labels of a series of the point: the metric's name is a whole label, and so is the extra one, which
    /// stands for the point's own of that name.
    pub(super) fn put(&self, out: &mut Vec<u8>, name: &[u8], extra: Option<(&str, &[u8])>) {
        out.extend_from_within(self.before_name.clone());
        out.extend_from_slice(name);
        out.extend_from_within(self.before_extra.clone());
        match extra {
            Some((name, value)) => put_label(out, name, value),
            None => out.extend_from_within(self.own_extra.clone()),
        }
        out.extend_from_within(self.rest.clone());
    }

    /// Where they all stand.
    pub(super) fn all(&self) -> Range<usize> {
        self.before_name.start..self.rest.end
    }

    /// About how many bytes the labels of one series take.
    pub(super) fn bytes(&self) -> usize {
        self.rest.end - self.before_name.start
    }
}

/// Writes the labels of one point.
struct Writer<'s, 'k> {
    attributes: &'s [KeyValue<'k>],
    text: &'s [u8],
    joined: &'s [u32],
    scratch: &'s mut Vec<u8>,
    value: &'s mut Vec<u8>,
}

impl Writer<'_, '_> {
    /// Appends a label, unless its value is empty.
    #[inline]
    fn put(&mut self, out: &mut Vec<u8>, slot: &Slot) {
        let text = slot.text.of(self.text);
        let mut value = match slot.source {
            Source::Shared => return out.extend_from_slice(text),
            Source::Attribute(index) => match self.attributes.get(index as usize) {
                Some(attribute) => label_value(&attribute.value, self.scratch),
                None => &[],
            },
            Source::Attributes(place) => {
                self.value.clear();
                let indices = self.joined.get(place.start as usize..place.end as usize).unwrap_or_default();
                for attribute in indices.iter().filter_map(|index| self.attributes.get(*index as usize)) {
                    if !self.value.is_empty() {
                        self.value.push(b';');
                    }
                    render(self.value, &attribute.value);
                }
                self.value.as_slice()
            }
        };
        if value.is_empty() {
            value = slot.under.map_or(&[], |place| place.of(self.text));
        }
        if !value.is_empty() {
            put_value(out, text, value);
        }
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
