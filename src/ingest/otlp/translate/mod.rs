//! From OTLP metrics to a batch, as Prometheus 3.14 translates them.
//!
//! | file | does |
//! |---|---|
//! | `options.rs` | what an operator chooses, how much a request may become |
//! | `names.rs`, `units.rs`, `label_names.rs` | names of metrics, units and labels |
//! | `values.rs` | attribute values as label values |
//! | `resource.rs` | labels that a resource and a scope give to all of their series |
//! | `layout.rs` | the labels of points, in their canonical bytes |
//! | `numbers.rs`, `histograms.rs`, `exponential.rs`, `summaries.rs` | the kinds of points |
//! | `delta.rs`, `total.rs` | deltas added up, and what to |
//! | `exemplars.rs` | observations behind points |
//! | `target_info.rs` | what else is known about a resource, as a series |
//! | `output.rs` | the batch while it is built |
//! | `warnings.rs` | what was stored otherwise than its sender may think |
//!
//! A point is stored as a whole or refused by name: what can't be stored of one is found before any of its series is in
//! the batch. Prometheus refuses the whole request then, with an answer for which senders try again.
//!
//! What differs from Prometheus otherwise:
//!
//! - A zero threshold that a histogram says is kept, as OpenTelemetry's specification has it; it is 1e-128 only where
//!   there is none.
//! - A histogram with explicit boundaries and without buckets has one bucket for all observations where it becomes a
//!   native one.
//! - Exemplars of gauges are kept.
//! - A point without a value marks all series of a histogram as ended, `_sum` among them.
//! - The samples of `target_info` in one request are bounded: where its points lie further apart in time, it has the
//!   newest.
//!
//! Source: Prometheus 3.14 `storage/remote/otlptranslator/prometheusremotewrite`; OpenTelemetry's "Prometheus and
//! OpenMetrics Compatibility"; `opentelemetry/proto/metrics/v1/metrics.proto`.

mod delta;
mod exemplars;
mod exponential;
mod histograms;
mod label_names;
mod layout;
mod names;
mod numbers;
mod options;
mod output;
mod resource;
mod summaries;
mod target_info;
mod total;
mod units;
mod values;
mod warnings;

use std::collections::HashSet;
use std::fmt::Write as _;

pub use delta::{BegunStreams, DeltaLimits, DeltaStreams};
pub use options::{DeltaMode, Promotion, TranslateLimits, TranslateOptions, TranslationStrategy};
pub use output::TooMuch;
pub use warnings::{Category, Warnings};

use super::model::{
    Data, FLAG_NO_RECORDED_VALUE, HistogramPoint, KeyValue, Metric, MetricSink, PointHead, Resource, Scope, Temporality,
};
use crate::ingest::accept::Decoded;
use crate::model::{MetricType, TimestampMs};
use crate::storage::{RejectReason, WriteBatch};
use delta::DeltaChanges;
use layout::Layout;
use names::Kind;
use output::{Finished, Output};
use resource::{Pair, ResourceLabels, SharedLabels, scope_labels};

/// Why a point is not stored, and what a person needs to know of it.
type Refused = (RejectReason, String);

/// A metric's family: what all of its points have in common.
#[derive(Debug)]
struct Family {
    /// The metric's name as it was sent.
    sent_as: String,
    /// Its name as it is stored.
    name: String,
}

/// What is read of points that are not stored as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// From the start, or not at all.
    AsItIs,
    /// From the last point, and stored so.
    NativeDelta,
    /// From the last point, and to be added up.
    Delta,
}

/// The labels of the scope that was last seen.
struct ScopeLabels<'a> {
    scope: Scope<'a>,
    labels: Result<Vec<Pair>, String>,
}

/// What a request was translated into, beside its batch.
#[derive(Debug)]
pub struct Translated<'a> {
    /// For the write path.
    pub decoded: Decoded<'a>,
    /// What was stored otherwise than its sender may think.
    pub warnings: Warnings,
    /// For [`DeltaStreams::settle`], when the batch is stored.
    pub begun: BegunStreams,
}

/// Translates one request, metric by metric.
pub struct Translator<'t, 'a> {
    options: &'t TranslateOptions,
    output: Output<'t, 'a>,
    resource: Option<ResourceLabels>,
    scope: Option<ScopeLabels<'a>>,
    /// Type and unit that `shared` was made with.
    type_and_unit: Option<(MetricType, String)>,
    shared: SharedLabels,
    /// Why points of this resource and scope can't be stored.
    fault: Option<String>,
    plain: Layout<'a>,
    with_le: Layout<'a>,
    with_quantile: Layout<'a>,
    /// The oldest and the newest point of the resource that are stored.
    times_ms: Option<(TimestampMs, TimestampMs)>,
    /// Families whose metadata was taken.
    families: HashSet<String>,
    warnings: Warnings,
    deltas: Option<Deltas<'t>>,
}

/// Where deltas are added up.
struct Deltas<'t> {
    streams: &'t DeltaStreams,
    now_ms: TimestampMs,
    /// What this request does there, once it has a delta.
    changes: Option<DeltaChanges<'t>>,
}

impl<'t> Deltas<'t> {
    /// The sums as this request changes them, for the point that is added next.
    fn changes(&mut self, output: &Output<'_, '_>) -> &mut DeltaChanges<'t> {
        let changes = self.changes.get_or_insert_with(|| self.streams.begin(self.now_ms));
        changes.at_point(output.next_point());
        changes
    }
}

impl std::fmt::Debug for Translator<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translator").field("options", self.options).finish_non_exhaustive()
    }
}

impl<'t, 'a> Translator<'t, 'a> {
    /// Translates into `batch`, whose labels are going to stand in `bytes`; both are cleared first.
    pub fn new(
        options: &'t TranslateOptions,
        limits: TranslateLimits,
        bytes: &'a mut Vec<u8>,
        batch: &'t mut WriteBatch<'a>,
    ) -> Self {
        Translator {
            options,
            output: Output::new(limits, bytes, batch),
            resource: None,
            scope: None,
            type_and_unit: None,
            shared: SharedLabels::default(),
            fault: None,
            plain: Layout::new(""),
            with_le: Layout::new("le"),
            with_quantile: Layout::new("quantile"),
            times_ms: None,
            families: HashSet::new(),
            warnings: Warnings::default(),
            deltas: None,
        }
    }

    /// Adds deltas up where the options ask for that. `now_ms` is the wall clock.
    #[must_use]
    pub fn with_deltas(self, streams: &'t DeltaStreams, now_ms: TimestampMs) -> Self {
        Translator { deltas: Some(Deltas { streams, now_ms, changes: None }), ..self }
    }

    /// Ends the request: from here on the batch has its labels. After an error the batch must not be used.
    pub fn finish(self) -> Result<Translated<'a>, TooMuch> {
        let Finished { metadata, points, refused } = self.output.finish()?;
        let changes = self.deltas.and_then(|deltas| deltas.changes);
        let begun = changes.map(|changes| changes.keep(&points.entries)).unwrap_or_default();
        Ok(Translated { decoded: Decoded { metadata, refused, points }, warnings: self.warnings, begun })
    }

    /// Prepares the labels that a metric's points share.
    fn prepare(&mut self, resource: &Resource<'a>, scope: &Scope<'a>, metric_type: MetricType, unit: &str) {
        let mut is_new = false;
        let labels = self.resource.get_or_insert_with(|| {
            is_new = true;
            ResourceLabels::new(resource, self.options, &mut self.warnings)
        });
        let known = self.scope.as_ref().filter(|known| !self.options.promote_scope_metadata || known.scope == *scope);
        if known.is_none() {
            is_new = true;
            let labels = scope_labels(scope, self.options, &mut self.warnings);
            self.scope = Some(ScopeLabels { scope: scope.clone(), labels });
        }
        if self.options.features.type_and_unit_labels {
            let known = self.type_and_unit.as_ref();
            if !known.is_some_and(|(known_type, known_unit)| *known_type == metric_type && known_unit == unit) {
                is_new = true;
                self.type_and_unit = Some((metric_type, unit.to_owned()));
            }
        }
        if !is_new {
            return;
        }
        let mut over = labels.identity.clone();
        self.fault = labels.fault.clone();
        match self.scope.as_ref().map(|scope| &scope.labels) {
            Some(Ok(labels)) => {
                for (name, value) in labels {
                    resource::set(&mut over, name.clone(), value.clone());
                }
            }
            Some(Err(fault)) => self.fault = Some(fault.clone()),
            None => {}
        }
        if let Some((metric_type, unit)) = &self.type_and_unit {
            if *metric_type != MetricType::Unknown {
                resource::set(&mut over, "__type__".to_owned(), metric_type.as_str().to_owned());
            }
            if !unit.is_empty() {
                resource::set(&mut over, "__unit__".to_owned(), unit.clone());
            }
        }
        self.shared = SharedLabels { over, under: labels.promoted.clone() };
        for layout in [&mut self.plain, &mut self.with_le, &mut self.with_quantile] {
            layout.reset();
        }
    }

    /// Takes the family's metadata, once in a request.
    fn record_metadata(&mut self, name: &str, metric_type: MetricType, help: &str, unit: &str) {
        if !self.families.contains(name) {
            self.families.insert(name.to_owned());
            self.output.push_metadata(metric_type, name, help, unit);
        }
    }

    /// What becomes of points that count in this way, or why they are refused.
    fn counting(&self, temporality: Temporality) -> Result<Counting, Refused> {
        let reason = RejectReason::UnsupportedTemporality;
        match (temporality, self.options.deltas) {
            (Temporality::Cumulative, _) => Ok(Counting::AsItIs),
            (Temporality::Delta, DeltaMode::Native) => Ok(Counting::NativeDelta),
            (Temporality::Delta, DeltaMode::ToCumulative) if self.deltas.is_some() => Ok(Counting::Delta),
            (Temporality::Delta, DeltaMode::Refuse | DeltaMode::ToCumulative) => Err((
                reason,
                "deltas are not taken; let the sender count from the start (cumulative temporality), or set otlp.deltas"
                    .to_owned(),
            )),
            (Temporality::Unspecified, _) => {
                Err((reason, "metric does not say whether it counts from the start (its temporality)".to_owned()))
            }
        }
    }

    /// Refuses points of which none can be stored. With each goes how many samples and exemplars it would have become.
    fn refuse_all<'p>(
        &mut self,
        sent_as: &str,
        (reason, why): &Refused,
        points: impl Iterator<Item = (&'p PointHead<'a>, (usize, usize))>,
    ) where
        'a: 'p,
    {
        for (head, parts) in points {
            self.output.begin_point();
            self.output.refuse_point(*reason, parts, || describe(why, sent_as, head));
        }
    }

    /// When the counting of a point began, where a zero is to stand there. Deltas have their sum's.
    #[inline]
    fn start_ms(&self, head: &PointHead<'_>, counting: Counting) -> TimestampMs {
        if !self.options.features.start_zeros || counting == Counting::NativeDelta || is_end(head) {
            return 0;
        }
        let changes = self.deltas.as_ref().and_then(|deltas| deltas.changes.as_ref());
        let began_nanos = match changes.filter(|_| counting == Counting::Delta) {
            Some(changes) => changes.began_nanos(),
            None => head.start_unix_nanos,
        };
        (began_nanos / 1_000_000) as TimestampMs
    }

    /// Takes note of a stored point's time.
    #[inline]
    fn note_time(&mut self, timestamp_ms: TimestampMs) {
        let (first, last) = self.times_ms.unwrap_or((timestamp_ms, timestamp_ms));
        self.times_ms = Some((first.min(timestamp_ms), last.max(timestamp_ms)));
    }
}

/// The time of a point, or why it can't be stored.
#[inline]
fn time_ms(head: &PointHead<'_>) -> Result<TimestampMs, Refused> {
    if head.unix_nanos == 0 {
        return Err((RejectReason::InvalidPoint, "point has no time".to_owned()));
    }
    Ok((head.unix_nanos / 1_000_000) as TimestampMs)
}

/// Whether a point says that its series has ended.
#[inline]
fn is_end(head: &PointHead<'_>) -> bool {
    head.flags & FLAG_NO_RECORDED_VALUE != 0
}

/// A point for people: why it is refused, its metric, its attributes and its time.
fn describe(why: &str, sent_as: &str, head: &PointHead<'_>) -> String {
    const ATTRIBUTES_SHOWN: usize = 20;
    let mut out = format!("{why}: metric {sent_as:?}");
    for (index, KeyValue { key, value }) in head.attributes.iter().take(ATTRIBUTES_SHOWN).enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{}{key}={:?}", if index == 0 { " {" } else { ", " }, resource::text_of(value));
    }
    if head.attributes.len() > ATTRIBUTES_SHOWN {
        out.push_str(", ...");
    }
    if !head.attributes.is_empty() {
        out.push('}');
    }
    if head.unix_nanos > 0 {
        let _ = write!(out, " at {} ms", head.unix_nanos / 1_000_000);
    }
    out
}

/// A metric's kind for its name; its type for its metadata.
fn kinds(data: &Data<'_>, deltas: DeltaMode) -> (Kind, MetricType) {
    // Prometheus has no type for deltas.
    let counting = |temporality: Temporality, metric_type: MetricType| match (temporality, deltas) {
        (Temporality::Delta, DeltaMode::Native) => MetricType::Unknown,
        _ => metric_type,
    };
    match data {
        Data::None => (Kind::Other, MetricType::Unknown),
        Data::Gauge(_) => (Kind::Gauge, MetricType::Gauge),
        Data::Sum { temporality, monotonic: true, .. } => (Kind::Counter, counting(*temporality, MetricType::Counter)),
        Data::Sum { temporality, monotonic: false, .. } => (Kind::Other, counting(*temporality, MetricType::Gauge)),
        Data::Histogram { temporality, .. } | Data::ExponentialHistogram { temporality, .. } => {
            (Kind::Other, counting(*temporality, MetricType::Histogram))
        }
        Data::Summary(_) => (Kind::Other, MetricType::Summary),
    }
}

impl<'a> MetricSink<'a> for Translator<'_, 'a> {
    fn metric(&mut self, resource: &Resource<'a>, scope: &Scope<'a>, metric: Metric<'a>) {
        if self.output.is_full() {
            return;
        }
        let Metric { name: sent_as, description, unit, data } = metric;
        let (kind, metric_type) = kinds(&data, self.options.deltas);
        let name = names::metric_name(self.options.strategy, &sent_as, &unit, kind);
        let unit = units::unit_name(&unit);
        self.prepare(resource, scope, metric_type, &unit);
        let counting = match &data {
            Data::Sum { temporality, .. }
            | Data::Histogram { temporality, .. }
            | Data::ExponentialHistogram { temporality, .. } => self.counting(*temporality),
            Data::None | Data::Gauge(_) | Data::Summary(_) => Ok(Counting::AsItIs),
        };
        let invalid = |why: String| (RejectReason::InvalidLabels, why);
        let takes = match &self.fault {
            Some(fault) => Err(invalid(fault.clone())),
            None => name.map_err(invalid).and_then(|name| Ok((name, counting?))),
        };
        let is_empty = match &data {
            Data::None => true,
            Data::Gauge(points) | Data::Sum { points, .. } => points.is_empty(),
            Data::Histogram { points, .. } => points.is_empty(),
            Data::ExponentialHistogram { points, .. } => points.is_empty(),
            Data::Summary(points) => points.is_empty(),
        };
        if is_empty {
            self.warnings.add(Category::EmptyDataPoints, || format!("metric {sent_as:?} has no data points"));
            return;
        }
        let (name, counting) = match takes {
            Ok(takes) => takes,
            Err(refused) => {
                match &data {
                    Data::None => {}
                    Data::Gauge(points) | Data::Sum { points, .. } => {
                        let points = points.iter().map(|point| (&point.head, (1, point.exemplars.len())));
                        self.refuse_all(&sent_as, &refused, points);
                    }
                    Data::Histogram { points, .. } => {
                        let nhcb = self.options.convert_histograms_to_nhcb;
                        let parts =
                            |point: &HistogramPoint<'_>| (histograms::samples_of(point, nhcb), point.exemplars.len());
                        let points = points.iter().map(|point| (&point.head, parts(point)));
                        self.refuse_all(&sent_as, &refused, points);
                    }
                    Data::ExponentialHistogram { points, .. } => {
                        let points = points.iter().map(|point| (&point.head, (1, point.exemplars.len())));
                        self.refuse_all(&sent_as, &refused, points);
                    }
                    Data::Summary(points) => {
                        let points = points.iter().map(|point| (&point.head, (summaries::samples_of(point), 0)));
                        self.refuse_all(&sent_as, &refused, points);
                    }
                }
                return;
            }
        };
        self.record_metadata(&name, metric_type, &description, &unit);
        let family = Family { sent_as: sent_as.into_owned(), name };
        match data {
            Data::None => {}
            Data::Gauge(points) | Data::Sum { points, monotonic: false, .. } => {
                self.numbers(&family, &points, counting, false);
            }
            Data::Sum { points, monotonic: true, .. } => self.numbers(&family, &points, counting, true),
            Data::Histogram { points, .. } if self.options.convert_histograms_to_nhcb => {
                self.custom_histograms(&family, &points, counting);
            }
            Data::Histogram { points, .. } => self.histograms(&family, &points, counting),
            Data::ExponentialHistogram { points, .. } => self.exponential_histograms(&family, &points, counting),
            Data::Summary(points) => self.summaries(&family, &points),
        }
    }

    fn resource_end(&mut self, resource: &Resource<'a>) {
        if let Some((first_ms, last_ms)) = self.times_ms.take() {
            self.target_info(resource, first_ms, last_ms);
        }
        (self.resource, self.scope) = (None, None);
    }
}

#[cfg(test)]
mod tests;
