//! OTLP metrics in JSON, handed on metric by metric like those in protobuf.
//!
//! OTLP has rules of its own beside those of protobuf's JSON: trace and span ids are hexadecimal, enumerations are
//! numbers, names of fields are in camel case alone. Integers of 64 bits may be texts, numbers may be the texts `NaN`,
//! `Infinity` and `-Infinity`, `null` is as good as absent, and fields that nobody knows are passed over.
//!
//! Lists stay text until their turn, so what a request takes in memory follows its largest metric, and each element is
//! charged for when it is made.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>, <https://protobuf.dev/programming-guides/json/>.

use std::borrow::Cow;

use base64::Engine as _;

use super::json_fields::{
    AnyValueFields, BucketsFields, DataFields, ExemplarFields, KeyValueFields, MetricFields, PointFields,
    QuantileFields, RequestFields, ResourceMetricsFields, ScopeMetricsFields,
};
use super::json_values::{Double, Integer, List, Object, Text, elements, malformed, messages};
use super::limits::{Budget, DecodeError, DecodeLimits};
use super::model::{
    AnyValue, Data, Exemplar, ExponentialBuckets, ExponentialPoint, HistogramPoint, KeyValue, Metric, MetricSink,
    Number, NumberPoint, PointHead, Resource, Scope, SummaryPoint, Temporality,
};

/// Bytes in JSON are base64 of either alphabet, padded or not.
const BASE64: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads a request and hands its metrics to `sink`, one by one.
pub fn decode<'a>(body: &'a [u8], limits: DecodeLimits, sink: &mut dyn MetricSink<'a>) -> Result<(), DecodeError> {
    let text = std::str::from_utf8(body).map_err(|error| malformed(format!("it is not UTF-8: {error}")))?;
    // This reads the whole text once, so a fault of the JSON itself is found before anything is handed on.
    let Object(request): Object<RequestFields<'a>> =
        serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let mut decoder = Decoder { budget: Budget::new(limits), sink };
    messages(request.resource_metrics, "resourceMetrics", |fields| decoder.resource_metrics(fields))
}

struct Decoder<'s, 'a> {
    budget: Budget,
    sink: &'s mut dyn MetricSink<'a>,
}

impl<'a> Decoder<'_, 'a> {
    fn resource_metrics(&mut self, fields: ResourceMetricsFields<'a>) -> Result<(), DecodeError> {
        let mark = self.budget.mark();
        let attributes = fields.resource.unwrap_or_default().0.attributes;
        let resource = Resource { attributes: read_attributes(attributes, "resource.attributes", &mut self.budget)? };
        messages(fields.scope_metrics, "scopeMetrics", |fields| self.scope_metrics(&resource, fields))?;
        self.sink.resource_end(&resource);
        self.budget.release(mark);
        Ok(())
    }

    fn scope_metrics(&mut self, resource: &Resource<'a>, fields: ScopeMetricsFields<'a>) -> Result<(), DecodeError> {
        let mark = self.budget.mark();
        let Object(of_scope) = fields.scope.unwrap_or_default();
        let scope = Scope {
            name: keep(of_scope.name, &mut self.budget)?,
            version: keep(of_scope.version, &mut self.budget)?,
            attributes: read_attributes(of_scope.attributes, "scope.attributes", &mut self.budget)?,
            schema_url: keep(fields.schema_url, &mut self.budget)?,
        };
        messages(fields.metrics, "metrics", |fields| {
            let before = self.budget.mark();
            let metric = read_metric(fields, &mut self.budget)?;
            self.sink.metric(resource, &scope, metric);
            self.budget.release(before);
            Ok(())
        })?;
        self.budget.release(mark);
        Ok(())
    }
}

/// Charges for a text that does not stay in the body because it was escaped there.
fn keep<'a>(text: Text<'a>, budget: &mut Budget) -> Result<Cow<'a, str>, DecodeError> {
    if let Cow::Owned(text) = &text.0 {
        budget.take::<u8>(text.len())?;
    }
    Ok(text.0)
}

fn read_attributes<'a>(
    list: List<'a>,
    name: &'static str,
    budget: &mut Budget,
) -> Result<Vec<KeyValue<'a>>, DecodeError> {
    read_entries(list, name, budget, 0)
}

/// `depth` is that of the values around the entries.
fn read_entries<'a>(
    list: List<'a>,
    name: &'static str,
    budget: &mut Budget,
    depth: usize,
) -> Result<Vec<KeyValue<'a>>, DecodeError> {
    let mut entries = Vec::new();
    messages(list, name, |fields: KeyValueFields<'a>| {
        budget.take::<KeyValue<'_>>(1)?;
        let key = keep(fields.key, budget)?;
        let value = fields.value.map_or(Ok(AnyValue::Empty), |Object(value)| read_value(value, budget, depth + 1))?;
        entries.push(KeyValue { key, value });
        Ok(())
    })?;
    Ok(entries)
}

fn read_value<'a>(fields: AnyValueFields<'a>, budget: &mut Budget, depth: usize) -> Result<AnyValue<'a>, DecodeError> {
    budget.check_depth(depth)?;
    let mut values = Vec::new();
    let AnyValueFields { string_value, bool_value, int_value, double_value, array_value, kvlist_value, bytes_value } =
        fields;
    if let Some(text) = string_value {
        values.push(AnyValue::String(keep(text, budget)?));
    }
    values.extend(bool_value.map(AnyValue::Bool));
    values.extend(int_value.map(|Integer(value)| AnyValue::Int(value)));
    values.extend(double_value.map(|Double(value)| AnyValue::Double(value)));
    if let Some(Object(list)) = array_value {
        let mut items = Vec::new();
        messages(list.values, "values", |fields: AnyValueFields<'a>| {
            budget.take::<AnyValue<'_>>(1)?;
            items.push(read_value(fields, budget, depth + 1)?);
            Ok(())
        })?;
        values.push(AnyValue::Array(items));
    }
    if let Some(Object(map)) = kvlist_value {
        values.push(AnyValue::Map(read_entries(map.values, "values", budget, depth)?));
    }
    if let Some(text) = bytes_value {
        budget.take::<u8>(text.0.len())?;
        values.push(AnyValue::Bytes(base64_bytes(&text.0)?.into()));
    }
    if values.len() > 1 {
        return Err(malformed("an attribute has more than one value"));
    }
    Ok(values.pop().unwrap_or(AnyValue::Empty))
}

fn base64_bytes(text: &str) -> Result<Vec<u8>, DecodeError> {
    let standard: String = text
        .chars()
        .map(|c| {
            if c == '-' {
                '+'
            } else if c == '_' {
                '/'
            } else {
                c
            }
        })
        .collect();
    BASE64.decode(standard).map_err(|error| malformed(format!("bytes are not base64: {error}")))
}

fn read_metric<'a>(fields: MetricFields<'a>, budget: &mut Budget) -> Result<Metric<'a>, DecodeError> {
    let MetricFields { name, description, unit, gauge, sum, histogram, exponential_histogram, summary } = fields;
    let (name, description, unit) = (keep(name, budget)?, keep(description, budget)?, keep(unit, budget)?);
    let temporality = |fields: &DataFields<'a>| Temporality::from_number(fields.aggregation_temporality.0);
    let mut data = Vec::new();
    if let Some(Object(fields)) = gauge {
        data.push(Data::Gauge(read_points(fields.data_points, budget, number_point)?));
    }
    if let Some(Object(fields)) = sum {
        let (temporality, monotonic) = (temporality(&fields), fields.is_monotonic.unwrap_or(false));
        data.push(Data::Sum { points: read_points(fields.data_points, budget, number_point)?, temporality, monotonic });
    }
    if let Some(Object(fields)) = histogram {
        let temporality = temporality(&fields);
        data.push(Data::Histogram { points: read_points(fields.data_points, budget, histogram_point)?, temporality });
    }
    if let Some(Object(fields)) = exponential_histogram {
        let temporality = temporality(&fields);
        let points = read_points(fields.data_points, budget, exponential_point)?;
        data.push(Data::ExponentialHistogram { points, temporality });
    }
    if let Some(Object(fields)) = summary {
        data.push(Data::Summary(read_points(fields.data_points, budget, summary_point)?));
    }
    if data.len() > 1 {
        return Err(malformed("a metric has more than one kind of data"));
    }
    Ok(Metric { name, description, unit, data: data.pop().unwrap_or(Data::None) })
}

fn read_points<'a, P>(
    list: List<'a>,
    budget: &mut Budget,
    read: impl Fn(PointFields<'a>, PointHead<'a>, Vec<Exemplar<'a>>, &mut Budget) -> Result<P, DecodeError>,
) -> Result<Vec<P>, DecodeError> {
    let mut points = Vec::new();
    messages(list, "dataPoints", |mut fields: PointFields<'a>| {
        budget.take_point::<P>()?;
        let head = PointHead {
            attributes: read_attributes(fields.attributes.take(), "attributes", budget)?,
            start_unix_nanos: fields.start_time_unix_nano.0,
            unix_nanos: fields.time_unix_nano.0,
            flags: fields.flags.0,
        };
        let exemplars = read_exemplars(fields.exemplars.take(), budget)?;
        points.push(read(fields, head, exemplars, budget)?);
        Ok(())
    })?;
    Ok(points)
}

fn number(as_double: Option<Double>, as_int: Option<Integer<i64>>) -> Result<Option<Number>, DecodeError> {
    match (as_double, as_int) {
        (Some(_), Some(_)) => Err(malformed("a number is both asDouble and asInt")),
        (Some(Double(value)), None) => Ok(Some(Number::Double(value))),
        (None, Some(Integer(value))) => Ok(Some(Number::Int(value))),
        (None, None) => Ok(None),
    }
}

fn number_point<'a>(
    fields: PointFields<'a>,
    head: PointHead<'a>,
    exemplars: Vec<Exemplar<'a>>,
    _budget: &mut Budget,
) -> Result<NumberPoint<'a>, DecodeError> {
    Ok(NumberPoint { head, value: number(fields.as_double, fields.as_int)?, exemplars })
}

fn histogram_point<'a>(
    fields: PointFields<'a>,
    head: PointHead<'a>,
    exemplars: Vec<Exemplar<'a>>,
    budget: &mut Budget,
) -> Result<HistogramPoint<'a>, DecodeError> {
    Ok(HistogramPoint {
        head,
        count: fields.count.0,
        sum: fields.sum.map(|Double(sum)| sum),
        bucket_counts: read_counts(fields.bucket_counts, budget)?,
        explicit_bounds: read_bounds(fields.explicit_bounds, budget)?,
        exemplars,
    })
}

fn read_counts(list: List<'_>, budget: &mut Budget) -> Result<Vec<u64>, DecodeError> {
    let mut counts = Vec::new();
    elements(list, "bucketCounts", |Integer(count)| {
        budget.take::<u64>(1)?;
        counts.push(count);
        Ok(())
    })?;
    Ok(counts)
}

fn read_bounds(list: List<'_>, budget: &mut Budget) -> Result<Vec<f64>, DecodeError> {
    let mut bounds = Vec::new();
    elements(list, "explicitBounds", |Double(bound)| {
        budget.take::<f64>(1)?;
        bounds.push(bound);
        Ok(())
    })?;
    Ok(bounds)
}

fn exponential_point<'a>(
    fields: PointFields<'a>,
    head: PointHead<'a>,
    exemplars: Vec<Exemplar<'a>>,
    budget: &mut Budget,
) -> Result<ExponentialPoint<'a>, DecodeError> {
    let mut buckets = |side: Option<Object<BucketsFields<'a>>>| -> Result<ExponentialBuckets, DecodeError> {
        let Object(BucketsFields { offset, bucket_counts }) = side.unwrap_or_default();
        Ok(ExponentialBuckets { offset: offset.0, counts: read_counts(bucket_counts, budget)? })
    };
    Ok(ExponentialPoint {
        head,
        count: fields.count.0,
        sum: fields.sum.map(|Double(sum)| sum),
        scale: fields.scale.0,
        zero_count: fields.zero_count.0,
        zero_threshold: fields.zero_threshold.map_or(0.0, |Double(threshold)| threshold),
        positive: buckets(fields.positive)?,
        negative: buckets(fields.negative)?,
        exemplars,
    })
}

fn summary_point<'a>(
    fields: PointFields<'a>,
    head: PointHead<'a>,
    _exemplars: Vec<Exemplar<'a>>,
    budget: &mut Budget,
) -> Result<SummaryPoint<'a>, DecodeError> {
    let mut quantiles = Vec::new();
    messages(fields.quantile_values, "quantileValues", |QuantileFields { quantile, value }| {
        budget.take::<(f64, f64)>(1)?;
        let number = |value: Option<Double>| value.map_or(0.0, |Double(value)| value);
        quantiles.push((number(quantile), number(value)));
        Ok(())
    })?;
    let sum = fields.sum.map_or(0.0, |Double(sum)| sum);
    Ok(SummaryPoint { head, count: fields.count.0, sum, quantiles })
}

fn read_exemplars<'a>(list: List<'a>, budget: &mut Budget) -> Result<Vec<Exemplar<'a>>, DecodeError> {
    let mut exemplars = Vec::new();
    messages(list, "exemplars", |fields: ExemplarFields<'a>| {
        budget.take::<Exemplar<'_>>(1)?;
        budget.take::<u8>(fields.span_id.0.len() + fields.trace_id.0.len())?;
        exemplars.push(Exemplar {
            filtered_attributes: read_attributes(fields.filtered_attributes, "filteredAttributes", budget)?,
            unix_nanos: fields.time_unix_nano.0,
            value: number(fields.as_double, fields.as_int)?,
            span_id: hex_bytes(&fields.span_id.0)?.into(),
            trace_id: hex_bytes(&fields.trace_id.0)?.into(),
        });
        Ok(())
    })?;
    Ok(exemplars)
}

/// The bytes of an id, which is hexadecimal in letters of either case.
fn hex_bytes(text: &str) -> Result<Vec<u8>, DecodeError> {
    let nibble = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| match pair {
        &[high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.ok_or_else(|| malformed("a trace or span id is not hexadecimal"))
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
