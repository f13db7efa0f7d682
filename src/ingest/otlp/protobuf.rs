//! OTLP metrics in protobuf: an `ExportMetricsServiceRequest`, read in place and handed on metric by metric.
//!
//! Texts stay in the body. Fields may come in any order, so a resource is looked for before its metrics are read, and a
//! scope before its own. A message that comes in several parts is merged, and of alternatives the last one counts, both
//! as protobuf says.
//!
//! Source: `opentelemetry-proto/opentelemetry/proto/collector/metrics/v1/metrics_service.proto`, `metrics/v1/metrics.proto`,
//! `common/v1/common.proto`, `resource/v1/resource.proto`; the numbers of fields are theirs.

use super::limits::{Budget, DecodeError, DecodeLimits};
use super::model::{
    AnyValue, Data, Exemplar, ExponentialBuckets, ExponentialPoint, HistogramPoint, KeyValue, Metric, MetricSink,
    Number, NumberPoint, PointHead, Resource, Scope, SummaryPoint, Temporality,
};
use super::wire::Message;

/// Reads a request and hands its metrics to `sink`, one by one.
pub fn decode<'a>(body: &'a [u8], limits: DecodeLimits, sink: &mut dyn MetricSink<'a>) -> Result<(), DecodeError> {
    let mut decoder = Decoder { budget: Budget::new(limits), sink };
    let mut request = Message::new(body);
    while let Some(field) = request.next_field()? {
        match field {
            1 => decoder.resource_metrics(&request.message()?)?,
            _ => request.skip()?,
        }
    }
    Ok(())
}

struct Decoder<'s, 'a> {
    budget: Budget,
    sink: &'s mut dyn MetricSink<'a>,
}

impl<'a> Decoder<'_, 'a> {
    fn resource_metrics(&mut self, message: &Message<'a>) -> Result<(), DecodeError> {
        let mark = self.budget.mark();
        let mut resource = Resource::default();
        let mut fields = message.clone();
        while let Some(field) = fields.next_field()? {
            match field {
                1 => merge_resource(&mut resource, fields.message()?, &mut self.budget)?,
                2 => drop(fields.bytes()?),
                3 => drop(fields.text()?),
                _ => fields.skip()?,
            }
        }
        let mut fields = message.clone();
        while let Some(field) = fields.next_field()? {
            match field {
                2 => self.scope_metrics(&resource, &fields.message()?)?,
                _ => fields.skip()?,
            }
        }
        self.sink.resource_end(&resource);
        self.budget.release(mark);
        Ok(())
    }

    fn scope_metrics(&mut self, resource: &Resource<'a>, message: &Message<'a>) -> Result<(), DecodeError> {
        let mark = self.budget.mark();
        let mut scope = Scope::default();
        let mut fields = message.clone();
        while let Some(field) = fields.next_field()? {
            match field {
                1 => merge_scope(&mut scope, fields.message()?, &mut self.budget)?,
                2 => drop(fields.bytes()?),
                3 => scope.schema_url = fields.text()?.into(),
                _ => fields.skip()?,
            }
        }
        let mut fields = message.clone();
        while let Some(field) = fields.next_field()? {
            match field {
                2 => {
                    let before = self.budget.mark();
                    let metric = read_metric(fields.message()?, &mut self.budget)?;
                    self.sink.metric(resource, &scope, metric);
                    self.budget.release(before);
                }
                _ => fields.skip()?,
            }
        }
        self.budget.release(mark);
        Ok(())
    }
}

fn merge_resource<'a>(
    resource: &mut Resource<'a>,
    mut message: Message<'a>,
    budget: &mut Budget,
) -> Result<(), DecodeError> {
    while let Some(field) = message.next_field()? {
        match field {
            1 => push_attribute(&mut resource.attributes, message.message()?, budget, 0)?,
            _ => message.skip()?,
        }
    }
    Ok(())
}

fn merge_scope<'a>(scope: &mut Scope<'a>, mut message: Message<'a>, budget: &mut Budget) -> Result<(), DecodeError> {
    while let Some(field) = message.next_field()? {
        match field {
            1 => scope.name = message.text()?.into(),
            2 => scope.version = message.text()?.into(),
            3 => push_attribute(&mut scope.attributes, message.message()?, budget, 0)?,
            _ => message.skip()?,
        }
    }
    Ok(())
}

/// Reads an attribute and puts it behind the others. `depth` is that of the values around it.
fn push_attribute<'a>(
    attributes: &mut Vec<KeyValue<'a>>,
    mut message: Message<'a>,
    budget: &mut Budget,
    depth: usize,
) -> Result<(), DecodeError> {
    budget.take::<KeyValue<'_>>(1)?;
    let mut attribute = KeyValue { key: "".into(), value: AnyValue::Empty };
    while let Some(field) = message.next_field()? {
        match field {
            1 => attribute.key = message.text()?.into(),
            2 => merge_value(&mut attribute.value, message.message()?, budget, depth + 1)?,
            _ => message.skip()?,
        }
    }
    attributes.push(attribute);
    Ok(())
}

fn merge_value<'a>(
    value: &mut AnyValue<'a>,
    mut message: Message<'a>,
    budget: &mut Budget,
    depth: usize,
) -> Result<(), DecodeError> {
    budget.check_depth(depth)?;
    while let Some(field) = message.next_field()? {
        match field {
            1 => *value = AnyValue::String(message.text()?.into()),
            2 => *value = AnyValue::Bool(message.varint()? != 0),
            3 => *value = AnyValue::Int(message.varint()? as i64),
            4 => *value = AnyValue::Double(message.double()?),
            5 => {
                let mut list = message.message()?;
                if !matches!(value, AnyValue::Array(_)) {
                    *value = AnyValue::Array(Vec::new());
                }
                let AnyValue::Array(items) = value else { continue };
                while let Some(field) = list.next_field()? {
                    match field {
                        1 => {
                            budget.take::<AnyValue<'_>>(1)?;
                            let mut item = AnyValue::Empty;
                            merge_value(&mut item, list.message()?, budget, depth + 1)?;
                            items.push(item);
                        }
                        _ => list.skip()?,
                    }
                }
            }
            6 => {
                let mut map = message.message()?;
                if !matches!(value, AnyValue::Map(_)) {
                    *value = AnyValue::Map(Vec::new());
                }
                let AnyValue::Map(entries) = value else { continue };
                while let Some(field) = map.next_field()? {
                    match field {
                        1 => push_attribute(entries, map.message()?, budget, depth)?,
                        _ => map.skip()?,
                    }
                }
            }
            7 => *value = AnyValue::Bytes(message.bytes()?.into()),
            _ => message.skip()?,
        }
    }
    Ok(())
}

/// The points of a metric so far, of the kind that `empty` is; those of another kind do not count any more.
fn of_kind<'d, 'a>(data: &'d mut Data<'a>, empty: Data<'a>) -> &'d mut Data<'a> {
    if std::mem::discriminant(data) != std::mem::discriminant(&empty) {
        *data = empty;
    }
    data
}

fn read_metric<'a>(mut message: Message<'a>, budget: &mut Budget) -> Result<Metric<'a>, DecodeError> {
    let mut metric = Metric { name: "".into(), description: "".into(), unit: "".into(), data: Data::None };
    let temporality = Temporality::Unspecified;
    while let Some(field) = message.next_field()? {
        let data = match field {
            1 => {
                metric.name = message.text()?.into();
                continue;
            }
            2 => {
                metric.description = message.text()?.into();
                continue;
            }
            3 => {
                metric.unit = message.text()?.into();
                continue;
            }
            5 => Data::Gauge(Vec::new()),
            7 => Data::Sum { points: Vec::new(), temporality, monotonic: false },
            9 => Data::Histogram { points: Vec::new(), temporality },
            10 => Data::ExponentialHistogram { points: Vec::new(), temporality },
            11 => Data::Summary(Vec::new()),
            _ => {
                message.skip()?;
                continue;
            }
        };
        merge_data(of_kind(&mut metric.data, data), message.message()?, budget)?;
    }
    Ok(metric)
}

/// Reads `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary`, which number their fields alike.
fn merge_data<'a>(data: &mut Data<'a>, mut message: Message<'a>, budget: &mut Budget) -> Result<(), DecodeError> {
    while let Some(field) = message.next_field()? {
        match (field, &mut *data) {
            (1, Data::Gauge(points) | Data::Sum { points, .. }) => {
                budget.take_point::<NumberPoint<'_>>()?;
                points.push(number_point(message.message()?, budget)?);
            }
            (1, Data::Histogram { points, .. }) => {
                budget.take_point::<HistogramPoint<'_>>()?;
                points.push(histogram_point(message.message()?, budget)?);
            }
            (1, Data::ExponentialHistogram { points, .. }) => {
                budget.take_point::<ExponentialPoint<'_>>()?;
                points.push(exponential_point(message.message()?, budget)?);
            }
            (1, Data::Summary(points)) => {
                budget.take_point::<SummaryPoint<'_>>()?;
                points.push(summary_point(message.message()?, budget)?);
            }
            (
                2,
                Data::Sum { temporality, .. }
                | Data::Histogram { temporality, .. }
                | Data::ExponentialHistogram { temporality, .. },
            ) => *temporality = Temporality::from_number(i64::from(message.varint()? as i32)),
            (3, Data::Sum { monotonic, .. }) => *monotonic = message.varint()? != 0,
            _ => message.skip()?,
        }
    }
    Ok(())
}

/// Reads the times, which have the same numbers in each kind of point; `false` where the field is another one.
fn merge_times(head: &mut PointHead<'_>, field: u64, message: &mut Message<'_>) -> Result<bool, DecodeError> {
    match field {
        2 => head.start_unix_nanos = message.fixed64()?,
        3 => head.unix_nanos = message.fixed64()?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn number_point<'a>(mut message: Message<'a>, budget: &mut Budget) -> Result<NumberPoint<'a>, DecodeError> {
    let mut point = NumberPoint { head: PointHead::default(), value: None, exemplars: Vec::new() };
    while let Some(field) = message.next_field()? {
        if merge_times(&mut point.head, field, &mut message)? {
            continue;
        }
        match field {
            4 => point.value = Some(Number::Double(message.double()?)),
            5 => push_exemplar(&mut point.exemplars, message.message()?, budget)?,
            6 => point.value = Some(Number::Int(message.fixed64()? as i64)),
            7 => push_attribute(&mut point.head.attributes, message.message()?, budget, 0)?,
            8 => point.head.flags = message.varint()? as u32,
            _ => message.skip()?,
        }
    }
    Ok(point)
}

fn histogram_point<'a>(mut message: Message<'a>, budget: &mut Budget) -> Result<HistogramPoint<'a>, DecodeError> {
    let mut point = HistogramPoint::default();
    while let Some(field) = message.next_field()? {
        if merge_times(&mut point.head, field, &mut message)? {
            continue;
        }
        match field {
            4 => point.count = message.fixed64()?,
            5 => point.sum = Some(message.double()?),
            6 => message.repeated_fixed64(&mut point.bucket_counts, budget)?,
            7 => message.repeated_double(&mut point.explicit_bounds, budget)?,
            8 => push_exemplar(&mut point.exemplars, message.message()?, budget)?,
            9 => push_attribute(&mut point.head.attributes, message.message()?, budget, 0)?,
            10 => point.head.flags = message.varint()? as u32,
            // The smallest and the largest observation.
            11 | 12 => drop(message.double()?),
            _ => message.skip()?,
        }
    }
    Ok(point)
}

fn exponential_point<'a>(mut message: Message<'a>, budget: &mut Budget) -> Result<ExponentialPoint<'a>, DecodeError> {
    let mut point = ExponentialPoint::default();
    while let Some(field) = message.next_field()? {
        if merge_times(&mut point.head, field, &mut message)? {
            continue;
        }
        match field {
            1 => push_attribute(&mut point.head.attributes, message.message()?, budget, 0)?,
            4 => point.count = message.fixed64()?,
            5 => point.sum = Some(message.double()?),
            6 => point.scale = message.zigzag32()?,
            7 => point.zero_count = message.fixed64()?,
            8 => merge_buckets(&mut point.positive, message.message()?, budget)?,
            9 => merge_buckets(&mut point.negative, message.message()?, budget)?,
            10 => point.head.flags = message.varint()? as u32,
            11 => push_exemplar(&mut point.exemplars, message.message()?, budget)?,
            12 | 13 => drop(message.double()?),
            14 => point.zero_threshold = message.double()?,
            _ => message.skip()?,
        }
    }
    Ok(point)
}

fn merge_buckets(
    buckets: &mut ExponentialBuckets,
    mut message: Message<'_>,
    budget: &mut Budget,
) -> Result<(), DecodeError> {
    while let Some(field) = message.next_field()? {
        match field {
            1 => buckets.offset = message.zigzag32()?,
            2 => message.repeated_varint(&mut buckets.counts, budget)?,
            _ => message.skip()?,
        }
    }
    Ok(())
}

fn summary_point<'a>(mut message: Message<'a>, budget: &mut Budget) -> Result<SummaryPoint<'a>, DecodeError> {
    let mut point = SummaryPoint::default();
    while let Some(field) = message.next_field()? {
        if merge_times(&mut point.head, field, &mut message)? {
            continue;
        }
        match field {
            4 => point.count = message.fixed64()?,
            5 => point.sum = message.double()?,
            6 => {
                budget.take::<(f64, f64)>(1)?;
                let (mut quantile, mut value) = (0.0, 0.0);
                let mut pair = message.message()?;
                while let Some(field) = pair.next_field()? {
                    match field {
                        1 => quantile = pair.double()?,
                        2 => value = pair.double()?,
                        _ => pair.skip()?,
                    }
                }
                point.quantiles.push((quantile, value));
            }
            7 => push_attribute(&mut point.head.attributes, message.message()?, budget, 0)?,
            8 => point.head.flags = message.varint()? as u32,
            _ => message.skip()?,
        }
    }
    Ok(point)
}

fn push_exemplar<'a>(
    exemplars: &mut Vec<Exemplar<'a>>,
    mut message: Message<'a>,
    budget: &mut Budget,
) -> Result<(), DecodeError> {
    budget.take::<Exemplar<'_>>(1)?;
    let mut exemplar = Exemplar::default();
    while let Some(field) = message.next_field()? {
        match field {
            2 => exemplar.unix_nanos = message.fixed64()?,
            3 => exemplar.value = Some(Number::Double(message.double()?)),
            4 => exemplar.span_id = message.bytes()?.into(),
            5 => exemplar.trace_id = message.bytes()?.into(),
            6 => exemplar.value = Some(Number::Int(message.fixed64()? as i64)),
            7 => push_attribute(&mut exemplar.filtered_attributes, message.message()?, budget, 0)?,
            _ => message.skip()?,
        }
    }
    exemplars.push(exemplar);
    Ok(())
}

#[cfg(test)]
#[path = "protobuf_tests.rs"]
mod tests;
