//! `target_info`: the attributes of a resource as the labels of a series whose value is 1, to be joined by `job` and
//! `instance`.
//!
//! Source: Prometheus 3.14 `prometheusremotewrite/helper.go` (`addResourceTargetInfo`).

use super::Translator;
use super::layout::{Layout, name_labels};
use super::resource::{SERVICE_INSTANCE, SERVICE_NAME, SERVICE_NAMESPACE, SharedLabels};
use super::warnings::Category;
use crate::ingest::otlp::model::Resource;
use crate::model::{MetricType, TimestampMs};

const NAME: &str = "target_info";

/// The most samples for one resource of a request: three days and a half at half of five minutes. A device without a
/// clock sends points of 1970.
const SAMPLES_MAX: i64 = 2048;

impl<'a> Translator<'_, 'a> {
    /// Adds samples from the resource's oldest point to its newest, so close that a query always finds one.
    pub(super) fn target_info(&mut self, resource: &Resource<'a>, first_ms: TimestampMs, last_ms: TimestampMs) {
        let identifies = |key: &str| [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE].contains(&key);
        let Some(labels) = &self.resource else { return };
        // Without others it says nothing, and without `job` and `instance` it can't be joined.
        if labels.identity.is_empty() || resource.attributes.iter().all(|attribute| identifies(&attribute.key)) {
            return;
        }
        let shared = SharedLabels { over: labels.identity.clone(), under: Vec::new() };
        let keep = self.options.keep_identifying_resource_attributes;
        let attributes: Vec<_> =
            resource.attributes.iter().filter(|attribute| keep || !identifies(&attribute.key)).cloned().collect();
        let mut layout = Layout::new("");
        if let Err(why) = layout.fit(&attributes, &shared, self.options.label_naming(), &mut self.warnings) {
            self.warnings.add_once(Category::Other, NAME, || format!("a resource has no {NAME}: {why}"));
            return;
        }
        let step_ms = (self.options.lookback_ms / 2).max(1);
        let steps = last_ms.saturating_sub(first_ms).saturating_sub(1).div_euclid(step_ms);
        let skipped = (steps + 1 - SAMPLES_MAX).max(0);
        let times = (skipped..=steps).map(|step| first_ms + step * step_ms).filter(|ms| *ms < last_ms).chain([last_ms]);
        let [name] = name_labels(NAME, [""]);
        for timestamp_ms in times {
            if !self.output.reserve(1, 0) {
                return;
            }
            let start = self.output.bytes.len();
            layout.write(self.output.bytes, &attributes, &name);
            self.output.push(start, timestamp_ms, 1.0, 0);
        }
        self.record_metadata(NAME, MetricType::Gauge, "Target metadata", "");
    }
}
