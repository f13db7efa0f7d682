//! Histograms of a finer resolution than is stored, made coarser: two neighbouring buckets become one for each step.
//!
//! Source: Prometheus `storage/remote/write_handler.go` (what is made coarser), `model/histogram/generic.go` (indexes).

use super::{BucketSpan, FloatHistogram, Histogram, bucket_counts, bucket_indexes};

/// The finest resolution that is stored.
const SCHEMA_FINEST: i32 = 8;
/// The finest that the specification has a number for.
const SCHEMA_FINEST_RESERVED: i32 = 52;

/// How many steps a histogram is made coarser by; `None` for one that stays.
fn steps(schema: i32) -> Option<i32> {
    (SCHEMA_FINEST + 1..=SCHEMA_FINEST_RESERVED).contains(&schema).then(|| schema - SCHEMA_FINEST)
}

/// Adds up the buckets that fall together. As many buckets as the spans say are expected.
fn merge(spans: &[BucketSpan], counts: impl Iterator<Item = i64>, steps: i32) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut merged_spans, mut merged): (Vec<BucketSpan>, Vec<i64>) = (Vec::new(), Vec::new());
    let mut end = 0i64;
    for (index, count) in bucket_indexes(spans).zip(counts) {
        // The bucket with index i ends at base^i, so the one that holds it ends at the next even index, halved.
        let index = ((index - 1) >> steps) + 1;
        match (merged.last_mut(), merged_spans.last_mut()) {
            (Some(last), _) if index + 1 == end => {
                *last = last.wrapping_add(count);
                continue;
            }
            (Some(_), Some(span)) if index == end => span.length += 1,
            _ => merged_spans.push(BucketSpan { offset: (index - end) as i32, length: 1 }),
        }
        merged.push(count);
        end = index + 1;
    }
    (merged_spans, merged)
}

impl Histogram {
    /// Makes a histogram that is finer than what is stored as fine as that. Its spans and buckets have to belong together.
    pub fn reduce_to_finest_stored(&mut self) {
        let Some(steps) = steps(self.schema) else { return };
        self.schema = SCHEMA_FINEST;
        for (spans, deltas) in [
            (&mut self.positive_spans, &mut self.positive_deltas),
            (&mut self.negative_spans, &mut self.negative_deltas),
        ] {
            let (merged_spans, merged) = merge(spans, bucket_counts(deltas), steps);
            let mut before = 0i64;
            *deltas = merged.iter().map(|count| count.wrapping_sub(std::mem::replace(&mut before, *count))).collect();
            *spans = merged_spans;
        }
    }
}

impl FloatHistogram {
    /// As [`Histogram::reduce_to_finest_stored`].
    pub fn reduce_to_finest_stored(&mut self) {
        if steps(self.schema).is_some() {
            self.reduce_resolution(SCHEMA_FINEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    #[test]
    fn histogram_finer_than_stored_has_its_buckets_added_up() {
        // Buckets -3, -2, 0, 1, 2, 3, 8 with counts 1 to 7 at schema 10: four of them become one, which ends at a quarter of
        // the index of the last.
        let histogram = Histogram {
            schema: 10,
            count: 28,
            positive_spans: vec![span(-3, 2), span(1, 4), span(4, 1)],
            positive_deltas: vec![1, 1, 1, 1, 1, 1, 1],
            ..Histogram::default()
        };
        let mut integer = histogram.clone();
        integer.reduce_to_finest_stored();
        assert_eq!(integer.schema, 8);
        // -3 to 0 are in 0, 1 to 4 in 1, 5 to 8 in 2.
        assert_eq!(integer.positive_spans, [span(0, 3)]);
        assert_eq!(bucket_counts(&integer.positive_deltas).collect::<Vec<_>>(), [6, 15, 7]);
        assert_eq!(integer.validate(), Ok(()));
        let mut float = histogram.to_float();
        float.reduce_to_finest_stored();
        assert_eq!(float, integer.to_float());
    }

    #[test]
    fn histogram_that_can_be_stored_stays_as_it_is() {
        for schema in [-53, -4, 0, 8, 53] {
            let histogram = Histogram {
                schema,
                positive_spans: vec![span(0, 2)],
                positive_deltas: vec![1, 1],
                ..Histogram::default()
            };
            let mut reduced = histogram.clone();
            reduced.reduce_to_finest_stored();
            assert_eq!(reduced, histogram);
        }
    }
}
