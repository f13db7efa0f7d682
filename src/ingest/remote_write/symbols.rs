//! The texts of a remote write message of version 2, and what refers to them by number.

use crate::encoding::protobuf::{WIRE_LENGTH, WIRE_VARINT, skip_field, wrong_wire_type};
use crate::encoding::{Corruption, Cursor};
use crate::ingest::answer::shorten;
use crate::model::raw_labels::{LABEL_OVERHEAD_MAX, put_label};
use crate::model::{METRIC_NAME, MetricType};

/// References that are kept of one series or exemplar. No store takes so many labels.
const REFS_MAX: usize = 1 << 16;
/// Labels that a message for people shows.
const SHOWN_LABELS: usize = 40;

/// The label that a metric's type becomes.
const TYPE_LABEL: &str = "__type__";
/// The label that its unit becomes.
const UNIT_LABEL: &str = "__unit__";

fn is_metadata_label(name: &[u8]) -> bool {
    name == TYPE_LABEL.as_bytes() || name == UNIT_LABEL.as_bytes()
}

/// Why what refers to symbols is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// A name has no value.
    #[error("{0} label references are not pairs of name and value")]
    Odd(usize),
    /// A symbol is not there.
    #[error("reference {reference} is outside of the {symbols} symbols")]
    Outside { reference: u32, symbols: usize },
    /// More than anybody stores.
    #[error("{0} label references, at most {REFS_MAX} are read")]
    TooMany(usize),
    /// Help or unit is no text.
    #[error("metadata is not UTF-8")]
    NotUtf8,
    #[error("neither a sample nor a histogram nor an exemplar")]
    NoSamples,
}

/// The labels of a series or of an exemplar: names and values in turns.
#[derive(Debug, Default)]
pub(super) struct Refs {
    kept: Vec<u32>,
    sent: usize,
}

impl Refs {
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.sent = 0;
    }

    /// Reads a field of references, behind its tag: packed, or a single one.
    #[inline]
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>, wire: u64) -> Result<(), Corruption> {
        match wire {
            WIRE_LENGTH => {
                let bytes = cursor.uvarint_slice()?;
                let base = cursor.position() - bytes.len();
                let mut packed = Cursor::new(bytes);
                while !packed.is_empty() {
                    let reference = packed.uvarint();
                    self.push(reference.map_err(|fault| Corruption { offset: fault.offset + base, ..fault })?);
                }
                Ok(())
            }
            WIRE_VARINT => {
                self.push(cursor.uvarint()?);
                Ok(())
            }
            _ => Err(wrong_wire_type(cursor.position())),
        }
    }

    #[inline]
    fn push(&mut self, reference: u64) {
        self.sent += 1;
        if self.sent <= REFS_MAX {
            // What does not fit is outside of any table.
            self.kept.push(u32::try_from(reference).unwrap_or(u32::MAX));
        }
    }

    /// Whether each name has a value, and each of both is a symbol.
    #[inline]
    pub(super) fn check(&self, symbols: &Symbols<'_>) -> Result<(), Fault> {
        if self.sent > REFS_MAX {
            return Err(Fault::TooMany(self.sent));
        }
        if !self.sent.is_multiple_of(2) {
            return Err(Fault::Odd(self.sent));
        }
        let outside = self.kept.iter().find(|&&reference| reference as usize >= symbols.0.len());
        outside.map_or(Ok(()), |&reference| Err(symbols.outside(reference)))
    }

    /// The labels that are whole.
    fn pairs(&self) -> impl Iterator<Item = [u32; 2]> {
        self.kept.as_chunks().0.iter().copied()
    }
}

/// The symbols of a message.
#[derive(Debug)]
pub(super) struct Symbols<'a>(pub(super) Vec<&'a [u8]>);

impl<'a> Symbols<'a> {
    #[inline]
    fn get(&self, reference: u32) -> Option<&'a [u8]> {
        self.0.get(reference as usize).copied()
    }

    #[cold]
    fn outside(&self, reference: u32) -> Fault {
        Fault::Outside { reference, symbols: self.0.len() }
    }

    /// Appends labels to `out` in the form that the head looks for, and those of `more` where they belong between them.
    /// Gives `false` where it would hold more than `bytes_max` bytes.
    #[inline]
    pub(super) fn write_labels(
        &self,
        refs: &Refs,
        mut more: &[(&str, &str)],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let is_replaced: fn(&[u8]) -> bool = if more.is_empty() { |_| false } else { is_metadata_label };
        for [name, value] in refs.pairs() {
            let (name, value) = (self.get(name).unwrap_or_default(), self.get(value).unwrap_or_default());
            if is_replaced(name) {
                continue;
            }
            while let Some((first, rest)) = more.split_first()
                && first.0.as_bytes() < name
            {
                put_label(out, first.0.as_bytes(), first.1.as_bytes());
                more = rest;
            }
            if out.len() + name.len() + value.len() + LABEL_OVERHEAD_MAX > bytes_max {
                return false;
            }
            put_label(out, name, value);
        }
        more.iter().for_each(|(name, value)| put_label(out, name.as_bytes(), value.as_bytes()));
        out.len() <= bytes_max
    }

    /// The metric name among labels: its number and its text.
    pub(super) fn metric_name(&self, refs: &Refs) -> Option<(u32, &'a str)> {
        let [_, number] = refs.pairs().find(|&[name, _]| self.get(name) == Some(METRIC_NAME.as_bytes()))?;
        let name = std::str::from_utf8(self.get(number)?).ok()?;
        Some((number, name))
    }

    /// Help and unit. Number 0 stands for an empty text, whatever the sender has there.
    pub(super) fn metadata(&self, refs: MetadataRefs) -> Result<(&'a str, &'a str), Fault> {
        let text = |reference| match reference {
            0 => Ok(""),
            _ => {
                let bytes = self.get(reference).ok_or_else(|| self.outside(reference))?;
                std::str::from_utf8(bytes).map_err(|_utf8| Fault::NotUtf8)
            }
        };
        Ok((text(refs.help)?, text(refs.unit)?))
    }

    /// The first labels for people, whatever is wrong with them: what is no symbol shows as its number.
    pub(super) fn show(&self, refs: &Refs) -> String {
        let text = |reference: u32| match self.get(reference) {
            Some(bytes) => shorten(&String::from_utf8_lossy(bytes.get(..1 << 10).unwrap_or(bytes))),
            None => format!("<{reference}>"),
        };
        let label = |[name, value]: [u32; 2]| format!("{}={:?}", text(name), text(value));
        let labels: Vec<String> = refs.pairs().take(SHOWN_LABELS).map(label).collect();
        format!("{{{}}}", labels.join(", "))
    }
}

/// What a series says of its metric family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct MetadataRefs {
    metric_type: u32,
    help: u32,
    unit: u32,
}

impl MetadataRefs {
    /// Reads a `Metadata` message over what was read of it before.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Corruption> {
        let number = |cursor: &mut Cursor<'_>| Ok(u32::try_from(cursor.uvarint()?).unwrap_or(u32::MAX));
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let start = cursor.position();
            let tag = cursor.uvarint()?;
            match (tag >> 3, tag & 7) {
                (1, WIRE_VARINT) => self.metric_type = number(&mut cursor)?,
                (3, WIRE_VARINT) => self.help = number(&mut cursor)?,
                (4, WIRE_VARINT) => self.unit = number(&mut cursor)?,
                (1 | 3 | 4, _) => return Err(wrong_wire_type(start)),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        Ok(())
    }

    /// The labels that metadata becomes where that is asked for, sorted. What a sender has under these names goes then, as
    /// in Prometheus' receiver.
    pub(super) fn labels(self, unit: &str) -> Vec<(&'static str, &str)> {
        let metric_type = self.metric_type();
        let metric_type = (metric_type != MetricType::Unknown).then(|| (TYPE_LABEL, metric_type.as_str()));
        metric_type.into_iter().chain((!unit.is_empty()).then_some((UNIT_LABEL, unit))).collect()
    }

    pub(super) fn metric_type(self) -> MetricType {
        MetricType::from_number(u64::from(self.metric_type))
    }
}
