//! Points of gauges and sums: one sample each.

use super::layout::name_labels;
use super::{Counting, Family, Refused, Translator, describe, is_end, time_ms};
use crate::ingest::otlp::model::{Number, NumberPoint};
use crate::model::stale_nan;
use crate::storage::RejectReason;

/// A number as a sample has it. Whole numbers beyond 2^53 lose digits, as in Prometheus.
pub(super) fn float(number: Number) -> f64 {
    match number {
        Number::Int(number) => number as f64,
        Number::Double(number) => number,
    }
}

fn value(point: &NumberPoint<'_>) -> Result<f64, Refused> {
    match point.value {
        _ if is_end(&point.head) => Ok(stale_nan()),
        Some(number) => Ok(float(number)),
        None => Err((RejectReason::InvalidPoint, "point has no value".to_owned())),
    }
}

impl<'a> Translator<'_, 'a> {
    /// Adds the points of a gauge or a sum.
    pub(super) fn numbers(
        &mut self,
        family: &Family,
        points: &[NumberPoint<'a>],
        counting: Counting,
        is_counter: bool,
    ) {
        let [name] = name_labels(&family.name, [""]);
        let naming = self.options.label_naming();
        for point in points {
            self.output.begin_point();
            let head = &point.head;
            let read = || Ok((time_ms(head)?, value(point)?));
            let (timestamp_ms, mut value) = match read() {
                Ok(read) => read,
                Err((reason, why)) => {
                    self.output
                        .refuse_point(reason, (1, point.exemplars.len()), || describe(&why, &family.sent_as, head));
                    continue;
                }
            };
            if let Err(why) = self.plain.fit(&head.attributes, &self.shared, naming, &mut self.warnings) {
                self.output.refuse_point(RejectReason::InvalidLabels, (1, point.exemplars.len()), || {
                    describe(&why, &family.sent_as, head)
                });
                continue;
            }
            if !self.output.reserve(1, 0) {
                return;
            }
            let start = self.output.bytes.len();
            self.plain.write(self.output.bytes, &head.attributes, &name);
            if counting == Counting::Delta
                && !is_end(head)
                && let (Some(deltas), Some(delta)) = (&mut self.deltas, point.value)
            {
                let changes = deltas.changes(&self.output);
                let id = changes.id(&family.name, self.output.bytes.get(start..).unwrap_or_default());
                match changes.number(id, head, delta) {
                    Ok(total) => value = float(total),
                    Err((reason, why)) => {
                        self.output.bytes.truncate(start);
                        self.output
                            .refuse_point(reason, (1, point.exemplars.len()), || describe(&why, &family.sent_as, head));
                        continue;
                    }
                }
            }
            let began_ms = if is_counter { self.start_ms(head, counting) } else { 0 };
            self.output.push(start, timestamp_ms, value, began_ms);
            if !point.exemplars.is_empty() {
                self.exemplars(point.exemplars.iter(), timestamp_ms);
            }
            self.output.end_point();
            self.note_time(timestamp_ms);
        }
    }
}
