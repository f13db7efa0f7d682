//! Native histograms that grow, begin again, change their form, and give way to floats.

use std::collections::BTreeMap;

use super::data::{Kind, STALE, SampleValue};
use crate::harness::Random;

/// The schema of histograms with boundaries of their own.
const CUSTOM: i32 = -53;

/// Bits of the hint that a histogram is a gauge, in the protocol's numbers.
const GAUGE: u8 = 3;

/// What was observed so far.
#[derive(Debug, Clone)]
pub struct Observed {
    kind: Kind,
    is_float: bool,
    schema: i32,
    bounds: &'static [f64],
    zero_threshold: f64,
    zeros: u64,
    /// Observations that are no number are in no bucket.
    nans: u64,
    positive: BTreeMap<i32, u64>,
    negative: BTreeMap<i32, u64>,
    sum: f64,
}

impl Observed {
    /// Nothing yet, by a series of one of several forms.
    pub fn new(kind: Kind, form: u64, random: &mut Random) -> Self {
        let bounds: &'static [f64] = match kind {
            Kind::Uneven => [&[0.1, 0.5, 1.0, 2.5][..], &[0.1, 1.0, 5.0], &[0.5, 1.0]][form as usize % 3],
            Kind::Custom => &[0.1, 0.5, 1.0, 2.5],
            _ => &[],
        };
        let schema = if bounds.is_empty() { [0, 2, 1][form as usize % 3] } else { CUSTOM };
        let is_float = kind == Kind::NativeGauge || form >= 3;
        let zero_threshold = if bounds.is_empty() { [2f64.powi(-128), 0.001][random.below(2) as usize] } else { 0.0 };
        let (positive, negative) = (BTreeMap::new(), BTreeMap::new());
        Observed { kind, is_float, schema, bounds, zero_threshold, zeros: 0, nans: 0, positive, negative, sum: 0.0 }
    }

    /// Adds some observations; now and then begins again, or in another form.
    pub fn observe(&mut self, random: &mut Random) {
        if self.kind == Kind::NativeGauge && random.below(3) == 0 || random.below(120) == 0 {
            self.forget();
        }
        if self.kind == Kind::Native && random.below(200) == 0 {
            self.forget();
            self.schema = random.below(5) as i32 - 1;
        }
        for _ in 0..random.below(4) {
            let count = 1 + random.below(5);
            if self.schema == CUSTOM {
                let index = random.below(self.bounds.len() as u64 + 1) as i32;
                *self.positive.entry(index).or_default() += count;
                let bound = self.bounds.get(index as usize).copied().unwrap_or(8.0);
                self.sum += count as f64 * bound;
                continue;
            }
            let index = random.below(12) as i32 - 4;
            let bound = 2f64.powf(f64::from(index) * 2f64.powi(-self.schema));
            match random.below(12) {
                0 => self.zeros += count,
                1 if self.kind == Kind::NativeGauge => self.nans += 1,
                1..3 if self.kind != Kind::Mixed => {
                    *self.negative.entry(index).or_default() += count;
                    self.sum -= count as f64 * bound;
                }
                _ => {
                    *self.positive.entry(index).or_default() += count;
                    self.sum += count as f64 * bound;
                }
            }
        }
    }

    fn forget(&mut self) {
        (self.zeros, self.nans, self.sum) = (0, 0, 0.0);
        self.positive.clear();
        self.negative.clear();
    }

    /// The histogram of now, as the fields of a line of the specimens.
    pub fn sample(&self) -> SampleValue {
        let hex = |value: f64| format!("{:x}", value.to_bits());
        // Half of each count, which shows that a count is no whole number.
        let number = |count: u64| if self.is_float { hex(count as f64 / 2.0) } else { count.to_string() };
        let in_buckets: u64 = self.positive.values().chain(self.negative.values()).sum();
        let (spans, buckets) = self.side(&self.positive);
        let (negative_spans, negative) = self.side(&self.negative);
        let sum = match (self.nans, self.is_float) {
            (0, false) => self.sum,
            (0, true) => self.sum / 2.0,
            _ => f64::NAN,
        };
        let fields = [
            if self.is_float { "float".to_owned() } else { "int".to_owned() },
            if self.kind == Kind::NativeGauge { GAUGE.to_string() } else { "0".to_owned() },
            self.schema.to_string(),
            hex(self.zero_threshold),
            number(self.zeros),
            number(self.zeros + self.nans + in_buckets),
            hex(sum),
            spans,
            buckets,
            negative_spans,
            negative,
            list(self.bounds.iter().map(|bound| hex(*bound))),
        ];
        SampleValue::Histogram(fields.to_vec())
    }

    /// Spans and buckets of one side.
    fn side(&self, buckets: &BTreeMap<i32, u64>) -> (String, String) {
        let mut spans: Vec<(i32, u32)> = Vec::new();
        let mut next = None;
        for &index in buckets.keys() {
            match (next, spans.last_mut()) {
                (Some(expected), Some((_, length))) if expected == index => *length += 1,
                _ => spans.push((index - next.unwrap_or(0), 1)),
            }
            next = Some(index + 1);
        }
        let mut before = 0;
        let counts = buckets.values().map(|&count| {
            if self.is_float {
                return format!("{:x}", (count as f64 / 2.0).to_bits());
            }
            let delta = count as i64 - before;
            before = count as i64;
            delta.to_string()
        });
        (list(spans.iter().map(|(offset, length)| format!("{offset}:{length}"))), list(counts))
    }

    /// The marker that the series ends.
    pub fn stale(&self) -> SampleValue {
        let SampleValue::Histogram(mut fields) = Observed { nans: 0, ..self.emptied() }.sample() else {
            return SampleValue::Float(STALE);
        };
        fields[6] = format!("{:x}", STALE.to_bits());
        SampleValue::Histogram(fields)
    }

    fn emptied(&self) -> Self {
        let mut empty = self.clone();
        empty.forget();
        empty
    }
}

/// Texts as a list, which is `-` where there are none.
fn list(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(",") }
}
