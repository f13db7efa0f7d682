//! Observations behind points.
//!
//! Source: Prometheus 3.14 `prometheusremotewrite/helper.go` (`getPromExemplars`); OpenMetrics 1.0, "Exemplars".

use super::Translator;
use super::layout::put_label;
use super::numbers::float;
use super::values::{hex, render};
use super::warnings::Category;
use crate::ingest::otlp::model::Exemplar;
use crate::model::TimestampMs;
use crate::storage::{BatchOutcome, ExemplarRejectReason};

/// The most characters of an exemplar's labels, names and values together.
const CHARS_MAX: usize = 128;

const TRACE_ID: &str = "trace_id";
const SPAN_ID: &str = "span_id";

/// Why an exemplar is not stored, and what a person needs to know of it.
type RefusedExemplar = (ExemplarRejectReason, String);

/// An identifier, unless it is missing: none, or zeros.
fn identifier<'b>(name: &str, bytes: &'b [u8], len: usize) -> Result<Option<&'b [u8]>, RefusedExemplar> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if bytes.len() == len {
        return Ok(Some(bytes));
    }
    let why = format!("its {name} has {} bytes and not {len}", bytes.len());
    Err((ExemplarRejectReason::InvalidLabels, why))
}

impl<'a> Translator<'_, 'a> {
    /// Adds exemplars to the newest entry. One without a time has that of its point.
    pub(super) fn exemplars<'e>(&mut self, exemplars: impl Iterator<Item = &'e Exemplar<'a>>, point_ms: TimestampMs)
    where
        'a: 'e,
    {
        for exemplar in exemplars {
            if let Err((reason, why)) = self.exemplar(exemplar, point_ms) {
                self.output.refused.reject_exemplar(reason, BatchOutcome::NO_ENTRY, || {
                    format!("exemplar of {} ms: {why}", exemplar.unix_nanos / 1_000_000)
                });
            }
        }
    }

    fn exemplar(&mut self, exemplar: &Exemplar<'a>, point_ms: TimestampMs) -> Result<(), RefusedExemplar> {
        let value = float(exemplar.value.ok_or((ExemplarRejectReason::NoValue, "it has no value".to_owned()))?);
        let mut labels: Vec<(&str, Vec<u8>)> = Vec::new();
        for (name, bytes, len) in [(SPAN_ID, &exemplar.span_id, 8), (TRACE_ID, &exemplar.trace_id, 16)] {
            if let Some(id) = identifier(name, bytes, len)? {
                let mut text = Vec::with_capacity(2 * len);
                hex(&mut text, id);
                labels.push((name, text));
            }
        }
        let ids = labels.len();
        let chars = |name: &str, value: &[u8]| {
            name.chars().count() + std::str::from_utf8(value).map_or(0, |text| text.chars().count())
        };
        let mut all_chars: usize = labels.iter().map(|(name, value)| chars(name, value)).sum();
        for attribute in &exemplar.filtered_attributes {
            let mut text = Vec::new();
            render(&mut text, &attribute.value);
            if text.is_empty() || labels.iter().any(|(name, _)| *name == attribute.key) {
                continue;
            }
            all_chars += chars(&attribute.key, &text);
            // What follows is not looked at: there may be millions, and each was compared with all before it.
            if all_chars > CHARS_MAX {
                break;
            }
            labels.push((&attribute.key, text));
        }
        if all_chars > CHARS_MAX {
            labels.truncate(ids);
            self.warnings.add_once(Category::Other, "exemplar attributes", || {
                format!(
                    "the attributes of an exemplar have more than {CHARS_MAX} characters and are not stored with it"
                )
            });
        }
        labels.sort_unstable();
        let start = self.output.bytes.len();
        for (name, value) in &labels {
            put_label(self.output.bytes, name, value);
        }
        let own_ms = (exemplar.unix_nanos / 1_000_000) as TimestampMs;
        self.output.push_exemplar(start, if own_ms == 0 { point_ms } else { own_ms }, value);
        Ok(())
    }
}
