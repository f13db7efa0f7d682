//! What a sender's native histogram must be like to be stored.
//!
//! The rules are those of Prometheus (`model/histogram/histogram.go`, `Validate`), so that what one of the two accepts
//! the other can read.

use super::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, bucket_counts, span_end};

/// Exponential schemas that may be stored.
const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// Why a histogram is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramError {
    /// The schema is none that may be stored.
    #[error("schema {schema} is neither between -4 and 8 nor -53")]
    Schema {
        /// The schema.
        schema: i32,
    },
    /// A span overlaps the one before it, or starts below the first custom bucket.
    #[error("span {number} has the negative offset {offset}")]
    NegativeOffset {
        /// Number of the span, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// A span lies beyond the buckets of all floating-point numbers, and further than a chunk can tell.
    #[error("span {number} with the offset {offset} reaches further than any value")]
    SpanTooFar {
        /// Number of the span, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// Spans and buckets don't belong together.
    #[error("spans need {needed} buckets, have {buckets}")]
    Spans {
        /// Buckets that the spans hold.
        needed: u64,
        /// Buckets that there are.
        buckets: usize,
    },
    /// A bucket, or the whole, has less than no observations.
    #[error("{what} has a negative count")]
    NegativeCount {
        /// What has it.
        what: &'static str,
    },
    /// The buckets hold more or fewer observations than the histogram.
    #[error("{in_buckets} observations in buckets, but a count of {count}")]
    Count {
        /// Observations in buckets.
        in_buckets: u128,
        /// The histogram's count.
        count: u64,
    },
    /// The boundaries of custom buckets are not strictly rising finite numbers.
    #[error("custom boundaries are not finite numbers in strictly rising order")]
    CustomBounds,
    /// There are buckets beyond the last boundary's.
    #[error("{bounds} custom boundaries are too few for spans of length {length}")]
    CustomBoundsTooFew {
        /// Boundaries that there are.
        bounds: usize,
        /// Indexes that the spans reach over.
        length: u64,
    },
    /// A field is set that the schema has no use for.
    #[error("schema {schema} does not go with {field}")]
    Field {
        /// The schema.
        schema: i32,
        /// The field.
        field: &'static str,
    },
}

impl Histogram {
    /// Refuses what is inconsistent: a histogram that passes can be stored, and served as it came.
    pub fn validate(&self) -> Result<(), HistogramError> {
        check_layout(&Layout {
            schema: self.schema,
            zero_is_used: self.zero_count != 0,
            zero_threshold: self.zero_threshold,
            positive: (&self.positive_spans, self.positive_deltas.len()),
            negative: (&self.negative_spans, self.negative_deltas.len()),
            custom_values: &self.custom_values,
        })?;
        let mut in_buckets = u128::from(self.zero_count);
        for deltas in [&self.positive_deltas, &self.negative_deltas] {
            for count in bucket_counts(deltas) {
                in_buckets +=
                    u128::try_from(count).map_err(|_negative| HistogramError::NegativeCount { what: "a bucket" })?;
            }
        }
        // Observations of NaN are counted, but in no bucket.
        let count = u128::from(self.count);
        if in_buckets > count || in_buckets < count && !self.sum.is_nan() {
            return Err(HistogramError::Count { in_buckets, count: self.count });
        }
        Ok(())
    }
}

impl FloatHistogram {
    /// Refuses what is inconsistent. Counts need not add up, as they may be results of calculations.
    pub fn validate(&self) -> Result<(), HistogramError> {
        check_layout(&Layout {
            schema: self.schema,
            zero_is_used: self.zero_count != 0.0,
            zero_threshold: self.zero_threshold,
            positive: (&self.positive_spans, self.positive_buckets.len()),
            negative: (&self.negative_spans, self.negative_buckets.len()),
            custom_values: &self.custom_values,
        })?;
        let counts = [("the zero bucket", self.zero_count), ("the histogram", self.count)];
        let buckets = self.positive_buckets.iter().chain(&self.negative_buckets).map(|&count| ("a bucket", count));
        match counts.into_iter().chain(buckets).find(|(_, count)| *count < 0.0) {
            Some((what, _)) => Err(HistogramError::NegativeCount { what }),
            None => Ok(()),
        }
    }
}

/// What both kinds have in common.
struct Layout<'a> {
    schema: i32,
    zero_is_used: bool,
    zero_threshold: f64,
    positive: (&'a [BucketSpan], usize),
    negative: (&'a [BucketSpan], usize),
    custom_values: &'a [f64],
}

fn check_layout(layout: &Layout<'_>) -> Result<(), HistogramError> {
    let schema = layout.schema;
    let useless = |field| Err(HistogramError::Field { schema, field });
    if schema == CUSTOM_BUCKETS_SCHEMA {
        check_custom_bounds(layout.custom_values)?;
        let length = check_spans(layout.positive, true)?;
        if length > layout.custom_values.len() as u64 + 1 {
            return Err(HistogramError::CustomBoundsTooFew { bounds: layout.custom_values.len(), length });
        }
        if layout.zero_is_used {
            return useless("a zero count");
        }
        if layout.zero_threshold != 0.0 {
            return useless("a zero threshold");
        }
        if !layout.negative.0.is_empty() || layout.negative.1 > 0 {
            return useless("negative buckets");
        }
    } else if EXPONENTIAL_SCHEMAS.contains(&schema) {
        check_spans(layout.positive, false)?;
        check_spans(layout.negative, false)?;
        if !layout.custom_values.is_empty() {
            return useless("custom boundaries");
        }
    } else {
        return Err(HistogramError::Schema { schema });
    }
    Ok(())
}

fn check_custom_bounds(bounds: &[f64]) -> Result<(), HistogramError> {
    let is_rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    // Rising ones are no NaN, unless there is only one. The last, infinite one is implied; the first may be -Inf.
    if !is_rising || bounds.last().is_some_and(|last| last.is_nan() || *last == f64::INFINITY) {
        return Err(HistogramError::CustomBounds);
    }
    Ok(())
}

/// How far the spans reach from index 0, where none has a negative offset that is not allowed.
fn check_spans((spans, buckets): (&[BucketSpan], usize), first_too: bool) -> Result<u64, HistogramError> {
    let (mut needed, mut length) = (0u64, 0i64);
    for (index, span) in spans.iter().enumerate() {
        if span.offset < 0 && (index > 0 || first_too) {
            return Err(HistogramError::NegativeOffset { number: index + 1, offset: span.offset });
        }
        needed += u64::from(span.length);
        // Ours: without it a chunk could not tell the place of a bucket.
        let end = span_end(length, i64::from(span.offset), span.length);
        length = end.ok_or(HistogramError::SpanTooFar { number: index + 1, offset: span.offset })?;
    }
    if needed != buckets as u64 {
        return Err(HistogramError::Spans { needed, buckets });
    }
    Ok(length.max(0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Histogram {
        Histogram {
            schema: 1,
            zero_threshold: 0.001,
            zero_count: 2,
            count: 12,
            sum: 18.4,
            positive_spans: vec![BucketSpan { offset: -3, length: 2 }, BucketSpan { offset: 1, length: 1 }],
            positive_deltas: vec![1, 1, -1],
            negative_spans: vec![BucketSpan { offset: 0, length: 2 }],
            negative_deltas: vec![3, 0],
            ..Histogram::default()
        }
    }

    fn custom() -> Histogram {
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 3,
            positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
            positive_deltas: vec![1, 1],
            custom_values: vec![0.5, 1.0],
            ..Histogram::default()
        }
    }

    /// Both kinds are judged alike, but for counts that don't add up.
    fn judge(histogram: &Histogram) -> Result<(), HistogramError> {
        let result = histogram.validate();
        match &result {
            Err(HistogramError::Count { .. }) => assert_eq!(histogram.to_float().validate(), Ok(())),
            _ => assert_eq!(histogram.to_float().validate(), result),
        }
        result
    }

    #[test]
    fn consistent_histograms_are_accepted() {
        assert_eq!(judge(&good()), Ok(()));
        assert_eq!(judge(&custom()), Ok(()));
        assert_eq!(judge(&Histogram { count: 13, sum: f64::NAN, ..good() }), Ok(()));
    }

    #[test]
    fn inconsistent_histograms_are_refused_with_what_is_wrong() {
        use HistogramError as E;
        let span = |offset, length| BucketSpan { offset, length };
        assert_eq!(judge(&Histogram { count: 13, ..good() }), Err(E::Count { in_buckets: 12, count: 13 }));
        assert_eq!(
            judge(&Histogram { count: 11, sum: f64::NAN, ..good() }),
            Err(E::Count { in_buckets: 12, count: 11 })
        );
        assert_eq!(judge(&Histogram { schema: 9, ..good() }), Err(E::Schema { schema: 9 }));
        assert_eq!(judge(&Histogram { schema: -5, ..good() }), Err(E::Schema { schema: -5 }));
        let broken = Histogram { positive_spans: vec![span(0, 2), span(-1, 1)], ..good() };
        assert_eq!(judge(&broken), Err(E::NegativeOffset { number: 2, offset: -1 }));
        for (spans, number) in [
            (vec![span(i32::MIN, 1), span(i32::MAX, 0), span(i32::MAX - 1, 1), span(0, 1)], 1),
            (vec![span(0, 2), span(i32::MAX, 0), span(0, 1)], 2),
            (vec![span(0, 2), span(1 << 30, 1)], 2),
        ] {
            let offset = spans[number - 1].offset;
            let broken = Histogram { positive_spans: spans, ..good() };
            assert_eq!(judge(&broken), Err(E::SpanTooFar { number, offset }));
            assert!(!broken.is_well_formed());
        }
        let broken = Histogram { positive_spans: vec![span(0, 2)], ..good() };
        assert_eq!(judge(&broken), Err(E::Spans { needed: 2, buckets: 3 }));
        let broken = Histogram { negative_deltas: vec![3, -4], ..good() };
        assert_eq!(judge(&broken), Err(E::NegativeCount { what: "a bucket" }));
        assert!(matches!(judge(&Histogram { custom_values: vec![1.0], ..good() }), Err(E::Field { schema: 1, .. })));
    }

    #[test]
    fn custom_buckets_need_enough_finite_rising_boundaries_and_nothing_else() {
        use HistogramError as E;
        for bounds in [vec![1.0, 1.0], vec![2.0, 1.0], vec![1.0, f64::INFINITY], vec![f64::NAN], vec![0.0, f64::NAN]] {
            assert_eq!(judge(&Histogram { custom_values: bounds, ..custom() }), Err(E::CustomBounds));
        }
        let broken = Histogram { custom_values: vec![1.0], ..custom() };
        assert_eq!(judge(&broken), Err(E::CustomBoundsTooFew { bounds: 1, length: 3 }));
        let negative = vec![BucketSpan { offset: -1, length: 2 }];
        let broken = Histogram { positive_spans: negative, ..custom() };
        assert_eq!(judge(&broken), Err(E::NegativeOffset { number: 1, offset: -1 }));
        for broken in [
            Histogram { zero_count: 1, count: 4, ..custom() },
            Histogram { zero_threshold: 0.1, ..custom() },
            Histogram { negative_spans: vec![BucketSpan { offset: 0, length: 0 }], ..custom() },
        ] {
            assert!(matches!(judge(&broken), Err(E::Field { schema: CUSTOM_BUCKETS_SCHEMA, .. })));
        }
    }
}
