//! Points of summaries: quantiles that the client computed, a sum and a count.

use super::layout::name_labels;
use super::{Counting, Family, Refused, Translator, describe, is_end, time_ms};
use crate::encoding::go_float;
use crate::ingest::otlp::model::SummaryPoint;
use crate::model::stale_nan;
use crate::storage::RejectReason;

/// How many samples a point becomes.
pub(super) fn samples_of(point: &SummaryPoint<'_>) -> usize {
    point.quantiles.len() + 2
}

fn check(point: &SummaryPoint<'_>) -> Result<(), Refused> {
    match point.quantiles.iter().find(|(quantile, _)| !(0.0..=1.0).contains(quantile)) {
        Some((quantile, _)) => Err((RejectReason::InvalidPoint, format!("quantile {quantile} is not between 0 and 1"))),
        None => Ok(()),
    }
}

impl<'a> Translator<'_, 'a> {
    /// Adds the points of a summary.
    pub(super) fn summaries(&mut self, family: &Family, points: &[SummaryPoint<'a>]) {
        let [sum_name, count_name, name] = name_labels(&family.name, ["_sum", "_count", ""]);
        let naming = self.options.label_naming();
        let mut quantile_text = Vec::new();
        for point in points {
            self.output.begin_point();
            let head = &point.head;
            let samples = samples_of(point);
            let read = || {
                check(point)?;
                time_ms(head)
            };
            let timestamp_ms = match read() {
                Ok(timestamp_ms) => timestamp_ms,
                Err((reason, why)) => {
                    self.output.refuse_point(reason, (samples, 0), || describe(&why, &family.sent_as, head));
                    continue;
                }
            };
            if let Err(why) = self.with_quantile.fit(&head.attributes, &self.shared, naming, &mut self.warnings) {
                self.output
                    .refuse_point(RejectReason::InvalidLabels, (samples, 0), || describe(&why, &family.sent_as, head));
                continue;
            }
            let labels = self.with_quantile.write_parts(self.output.bytes, &head.attributes);
            if !self.output.reserve(samples, labels.bytes() + sum_name.len()) {
                return;
            }
            let value = |value: f64| if is_end(head) { stale_nan() } else { value };
            let began_ms = self.start_ms(head, Counting::AsItIs);
            self.output.push_series(&labels, (&sum_name, None), timestamp_ms, value(point.sum), began_ms);
            self.output.push_series(&labels, (&count_name, None), timestamp_ms, value(point.count as f64), began_ms);
            for (quantile, at) in &point.quantiles {
                quantile_text.clear();
                go_float::write_plain(&mut quantile_text, *quantile);
                let extra = Some(("quantile", quantile_text.as_slice()));
                self.output.push_series(&labels, (&name, extra), timestamp_ms, value(*at), 0);
            }
            self.output.end_point();
            self.note_time(timestamp_ms);
        }
    }
}
