//! The value of a query as JSON.

use std::io;
use std::time::Duration;

use super::json::JsonWriter;
use super::number::{write_timestamp, write_timestamp_short, write_value};
use crate::encoding::go_float::write_plain;
use crate::model::FloatHistogram;
use crate::promql::engine::{QueryStats, QueryValue};
use crate::storage::Column;

/// Writes the `data` of a query's answer. `stats` comes with the time in the queue and the time in all.
pub(super) fn query_data(
    json: &mut JsonWriter<'_>,
    value: &QueryValue,
    stats: Option<(&QueryStats, Duration, Duration)>,
) -> io::Result<()> {
    json.begin_object().key("resultType");
    match value {
        QueryValue::Scalar { timestamp_ms, value } => {
            json.string("scalar").key("result").raw_with(|out| {
                out.push(b'[');
                write_timestamp_short(out, *timestamp_ms);
                out.extend_from_slice(b",\"");
                write_plain(out, *value);
                out.extend_from_slice(b"\"]");
            });
        }
        QueryValue::String { timestamp_ms, value } => {
            json.string("string").key("result").begin_list();
            json.raw_with(|out| write_timestamp_short(out, *timestamp_ms)).string(value).end_list();
        }
        QueryValue::Vector(samples) => {
            json.string("vector").key("result").begin_list();
            for sample in samples {
                json.begin_object().key("metric").labels(&sample.labels);
                match &sample.histogram {
                    None => json.key("value").raw_with(|out| point(out, sample.timestamp_ms, sample.value)),
                    Some(histogram) => histogram_point(json.key("histogram"), sample.timestamp_ms, histogram),
                };
                json.end_object();
                json.flush_if_full()?;
            }
            json.end_list();
        }
        QueryValue::Matrix(series) => {
            json.string("matrix").key("result").begin_list();
            for one in series {
                json.begin_object().key("metric").labels(&one.labels);
                points(json, &one.samples)?;
                json.end_object();
            }
            json.end_list();
        }
    }
    if let Some((stats, queued, total)) = stats {
        query_stats(json.key("stats"), stats, queued, total);
    }
    json.end_object();
    Ok(())
}

/// The value of a query as the API has it in `data`.
pub fn value_json(value: &QueryValue) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut json = JsonWriter::new(&mut text);
    query_data(&mut json, value, None)?;
    json.finish()?;
    Ok(text)
}

/// Writes `values` and `histograms` of one series; neither where it would be empty.
fn points(json: &mut JsonWriter<'_>, samples: &Column) -> io::Result<()> {
    let mut histograms = samples.histograms.iter().map(|(index, _)| *index).peekable();
    if samples.histograms.len() < samples.len() {
        json.key("values").begin_list();
        for (index, (&timestamp_ms, &value)) in samples.timestamps_ms.iter().zip(&samples.values).enumerate() {
            if histograms.next_if_eq(&index).is_none() {
                json.raw_with(|out| point(out, timestamp_ms, value));
                json.flush_if_full()?;
            }
        }
        json.end_list();
    }
    if samples.has_histograms() {
        json.key("histograms").begin_list();
        for (index, histogram) in &samples.histograms {
            let timestamp_ms = samples.timestamps_ms.get(*index).copied().unwrap_or_default();
            histogram_point(json, timestamp_ms, histogram);
            json.flush_if_full()?;
        }
        json.end_list();
    }
    Ok(())
}

fn point(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    out.push(b'[');
    write_timestamp(out, timestamp_ms);
    out.extend_from_slice(b",\"");
    write_value(out, value);
    out.extend_from_slice(b"\"]");
}

fn quoted_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    write_value(out, value);
    out.push(b'"');
}

fn histogram_point<'j, 'a>(
    json: &'j mut JsonWriter<'a>,
    timestamp_ms: i64,
    histogram: &FloatHistogram,
) -> &'j mut JsonWriter<'a> {
    json.begin_list().raw_with(|out| write_timestamp(out, timestamp_ms)).begin_object();
    json.key("count").raw_with(|out| quoted_value(out, histogram.count));
    json.key("sum").raw_with(|out| quoted_value(out, histogram.sum));
    let buckets = buckets(histogram);
    if !buckets.is_empty() {
        json.key("buckets").begin_list();
        for bucket in buckets {
            json.begin_list().int(bucket.rule);
            for value in [bucket.lower, bucket.upper, bucket.count] {
                json.raw_with(|out| quoted_value(out, value));
            }
            json.end_list();
        }
        json.end_list();
    }
    json.end_object().end_list()
}

/// One bucket of a native histogram as the API shows it.
struct Bucket {
    /// Which ends belong to it: 0 the upper, 1 the lower, 2 none, 3 both.
    rule: i64,
    lower: f64,
    upper: f64,
    count: f64,
}

/// The buckets that hold something, from the lowest to the highest.
fn buckets(histogram: &FloatHistogram) -> Vec<Bucket> {
    let mut negative = Vec::new();
    for (index, count) in indexed(&histogram.negative_spans, &histogram.negative_buckets) {
        let (lower, upper) = histogram.bucket_bounds(index);
        negative.push(Bucket { rule: 1, lower: -upper, upper: -lower, count });
    }
    negative.reverse();
    let mut all = negative;
    if histogram.zero_count != 0.0 {
        let threshold = histogram.zero_threshold;
        all.push(Bucket { rule: 3, lower: -threshold, upper: threshold, count: histogram.zero_count });
    }
    for (index, count) in indexed(&histogram.positive_spans, &histogram.positive_buckets) {
        let (lower, upper) = histogram.bucket_bounds(index);
        let rule = if lower == f64::NEG_INFINITY { 3 } else { 0 };
        all.push(Bucket { rule, lower, upper, count });
    }
    all.retain(|bucket| bucket.count != 0.0);
    all
}

/// The index of each bucket that the spans describe, and its count.
fn indexed<'h>(
    spans: &'h [crate::model::histogram::BucketSpan],
    counts: &'h [f64],
) -> impl Iterator<Item = (i32, f64)> + 'h {
    let mut next = 0i32;
    let indices = spans.iter().flat_map(move |span| {
        let start = next.saturating_add(span.offset);
        next = start.saturating_add_unsigned(span.length);
        start..next
    });
    indices.zip(counts.iter().copied())
}

fn query_stats(json: &mut JsonWriter<'_>, stats: &QueryStats, queued: Duration, total: Duration) {
    let seconds = |duration: Duration| duration.as_secs_f64();
    json.begin_object().key("timings").begin_object();
    json.key("evalTotalTime").float(seconds(stats.preparation + stats.evaluation + stats.sorting));
    json.key("resultSortTime").float(seconds(stats.sorting));
    json.key("queryPreparationTime").float(seconds(stats.preparation));
    json.key("innerEvalTime").float(seconds(stats.evaluation));
    json.key("execQueueTime").float(seconds(queued));
    json.key("execTotalTime").float(seconds(total)).end_object();
    json.key("samples").begin_object();
    if let Some(steps) = &stats.samples_per_step {
        json.key("totalQueryableSamplesPerStep").begin_list();
        for (timestamp_ms, samples) in steps {
            json.begin_list().raw_with(|out| write_timestamp_short(out, *timestamp_ms)).uint(*samples).end_list();
        }
        json.end_list();
    }
    json.key("totalQueryableSamples").uint(stats.samples_total);
    json.key("peakSamples").uint(stats.samples_peak);
    json.end_object().end_object();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LabelSet;
    use crate::model::histogram::BucketSpan;
    use crate::promql::engine::{MatrixSeries, VectorSample};

    fn data(value: &QueryValue) -> serde_json::Value {
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out);
        query_data(&mut json, value, None).unwrap();
        json.finish().unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    fn histogram() -> FloatHistogram {
        FloatHistogram {
            schema: 0,
            zero_threshold: 0.5,
            zero_count: 1.0,
            count: 6.0,
            sum: 3.5,
            positive_spans: vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 1, length: 1 }],
            positive_buckets: vec![2.0, 1.0],
            negative_spans: vec![BucketSpan { offset: 1, length: 2 }],
            negative_buckets: vec![2.0, 0.0],
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn histogram_shows_its_filled_buckets_from_low_to_high() {
        let sample = VectorSample {
            labels: LabelSet::empty(),
            timestamp_ms: 1500,
            value: 0.0,
            histogram: Some(Box::new(histogram())),
        };
        let shown = data(&QueryValue::Vector(vec![sample]));
        assert_eq!(
            shown["result"][0]["histogram"],
            serde_json::json!([1.5, {"count": "6", "sum": "3.5", "buckets": [
                [1, "-2", "-1", "2"], [3, "-0.5", "0.5", "1"], [0, "0.5", "1", "2"], [0, "2", "4", "1"]
            ]}])
        );
    }

    #[test]
    fn histogram_with_boundaries_of_its_own_begins_at_minus_infinity() {
        let custom = FloatHistogram {
            schema: -53,
            custom_values: vec![5.0],
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            positive_buckets: vec![1.0, 2.0],
            ..FloatHistogram::default()
        };
        let shown: Vec<(i64, f64, f64)> = buckets(&custom).iter().map(|b| (b.rule, b.lower, b.upper)).collect();
        assert_eq!(shown, [(3, f64::NEG_INFINITY, 5.0), (0, 5.0, f64::INFINITY)]);
    }

    #[test]
    fn matrix_series_shows_values_and_histograms_apart_and_none_empty() {
        let mut mixed = Column::default();
        mixed.push(1000, 1.0);
        mixed.push_histogram(2000, histogram());
        mixed.push(3000, f64::NAN);
        let mut floats = Column::default();
        floats.push(1000, 1.0);
        let series = |samples| MatrixSeries { labels: LabelSet::empty(), samples };
        let shown = data(&QueryValue::Matrix(vec![series(mixed), series(floats)]));
        assert_eq!(shown["result"][0]["values"], serde_json::json!([[1, "1"], [3, "NaN"]]));
        assert_eq!(shown["result"][0]["histograms"][0][0], 2);
        assert!(shown["result"][1].get("histograms").is_none());
        assert_eq!(shown["result"][1]["metric"], serde_json::json!({}));
    }
}
