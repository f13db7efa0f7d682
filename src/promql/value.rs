//! The engine's values: columns with one place per evaluation step.

use crate::model::{FloatHistogram, LabelSet, STALE_NAN_BITS};

/// Marks a step at which a series has no value. It is the staleness marker, which no sample that a query sees can have.
pub const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a place of a column holds no value.
#[inline]
pub fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The steps at which an expression is evaluated: `count` of them, from `start_ms` on, `step_ms` apart.
///
/// An instant query has one step and a `step_ms` of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Time of the first step.
    pub start_ms: i64,
    /// Time between two steps.
    pub step_ms: i64,
    /// How many steps there are, at least one.
    pub count: usize,
}

impl Steps {
    /// The time of one step.
    #[inline]
    pub fn at(&self, index: usize) -> i64 {
        self.start_ms + self.step_ms * index as i64
    }

    /// The time of the last step.
    pub fn end_ms(&self) -> i64 {
        self.at(self.count - 1)
    }
}

/// One series of an instant vector, over all steps.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSteps {
    /// Its labels. The metric name is still there when `drop_name` says that it has to go in the end.
    pub labels: LabelSet,
    /// Whether the metric name is dropped before the result is shown (delayed name removal).
    pub drop_name: bool,
    /// One value per step; [`ABSENT`] where there is none. Where the value is a histogram, its place holds 0.
    pub values: Vec<f64>,
    /// The histograms: index of the step, rising, and the value.
    pub histograms: Vec<(u32, FloatHistogram)>,
}

/// The value of one series at one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(FloatHistogram),
}

/// What a series has at one step.
#[derive(Debug, Clone, Copy)]
pub enum Sample<'a> {
    /// A number.
    Float(f64),
    /// A histogram.
    Histogram(&'a FloatHistogram),
}

impl SeriesSteps {
    /// The value at one step.
    #[inline]
    pub fn at(&self, step: usize) -> Option<Sample<'_>> {
        let value = self.values.get(step).copied().filter(|value| !is_absent(*value))?;
        match self.histogram_at(step) {
            Some(histogram) => Some(Sample::Histogram(histogram)),
            None => Some(Sample::Float(value)),
        }
    }

    /// The histogram at one step, if there is one.
    #[inline]
    pub fn histogram_at(&self, step: usize) -> Option<&FloatHistogram> {
        if self.histograms.is_empty() {
            return None;
        }
        let place = self.histograms.binary_search_by_key(&step, |(at, _)| *at as usize).ok()?;
        self.histograms.get(place).map(|(_, histogram)| histogram)
    }
}

/// The value of an expression over all steps.
#[derive(Debug, Clone, PartialEq)]
pub enum StepsValue {
    /// One number per step.
    Scalar(Vec<f64>),
    /// An instant vector per step, kept series by series.
    Vector(Vec<SeriesSteps>),
    /// A text; the same at every step.
    String(String),
}

/// The samples of one series that a range selector covers at one step.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// When the samples were taken, rising; staleness markers are already left out.
    pub timestamps_ms: &'a [i64],
    /// Their values.
    pub values: &'a [f64],
    /// Those of the samples that are histograms, by index into the other two, and the index of the first of them there.
    pub histograms: &'a [(usize, FloatHistogram)],
    /// Index that the first sample of the window has in `histograms`' numbering.
    pub first_index: usize,
    /// Start timestamps of the samples, up to the last that has one; 0 for one that has none.
    pub starts_ms: &'a [i64],
    /// No value of the whole series is below the one before it, so no counter was reset. False where that is not known.
    pub is_rising: bool,
    /// The range, open at its start: samples lie in `(range_start_ms, range_end_ms]`.
    pub range_start_ms: i64,
    /// End of the range: the step's time less the offset.
    pub range_end_ms: i64,
    /// The step's own time.
    pub step_ms: i64,
}
