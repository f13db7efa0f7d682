//! Native histograms as text: `{count:7, sum:3.5, [-2,-1):1, [-0.001,0.001]:2, (1,2]:4}`.
//!
//! Source: Prometheus `model/histogram/float_histogram.go` (`String`) and `generic.go` (bounds of buckets).

use std::fmt;

use super::{FloatHistogram, Histogram, SampleValue};
use crate::encoding::go_float;

impl FloatHistogram {
    fn write_text(&self, f: &mut fmt::Formatter<'_>, count_text: fn(f64) -> String) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", count_text(self.count), text(self.sum))?;
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let buckets = self.negative().rev().chain(zero).chain(self.positive());
        for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper, count) = (text(bucket.lower), text(bucket.upper), count_text(bucket.count));
            write!(f, ", {open}{lower},{upper}{close}:{count}")?;
        }
        f.write_str("}")
    }
}

fn text(value: f64) -> String {
    go_float::general(value, None)
}

impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f, text)
    }
}

/// As a float histogram, but for large counts, which have no exponent.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_float().write_text(f, |count| (count as u64).to_string())
    }
}

/// As Go prints it with `%g`, and `%s` for histograms.
impl fmt::Display for SampleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SampleValue::Float(value) => f.write_str(&text(*value)),
            SampleValue::Histogram(histogram) => histogram.fmt(f),
            SampleValue::FloatHistogram(histogram) => histogram.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::BucketSpan;

    #[test]
    fn histogram_text_shows_filled_buckets_from_the_lowest_to_the_highest() {
        let spans = vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 1, length: 1 }];
        let histogram = FloatHistogram {
            count: 12.0,
            sum: 18.4,
            zero_threshold: 0.001,
            zero_count: 2.0,
            positive_spans: spans.clone(),
            positive_buckets: vec![1.0, 0.0, 4.0],
            negative_spans: spans,
            negative_buckets: vec![2.0, 1.0, 2.0],
            ..FloatHistogram::default()
        };
        let text = "{count:12, sum:18.4, [-8,-4):2, [-2,-1):1, [-1,-0.5):2, [-0.001,0.001]:2, (0.5,1]:1, (4,8]:4}";
        assert_eq!(histogram.to_string(), text);
    }

    #[test]
    fn histogram_text_of_whole_counts_has_no_exponent() {
        let spans = vec![BucketSpan { offset: 0, length: 1 }];
        let histogram = Histogram {
            count: 1_234_567,
            sum: 1e6,
            positive_spans: spans,
            positive_deltas: vec![1_234_567],
            ..Histogram::default()
        };
        assert_eq!(histogram.to_string(), "{count:1234567, sum:1e+06, (0.5,1]:1234567}");
        assert_eq!(histogram.to_float().to_string(), "{count:1.234567e+06, sum:1e+06, (0.5,1]:1.234567e+06}");
    }
}
