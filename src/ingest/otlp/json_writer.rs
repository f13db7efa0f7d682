//! Writes requests as OTLP's JSON, for tests, in each of the spellings that its rules allow.

use proptest::prelude::*;

use super::testing::{
    AnyValue, Buckets, Data, Exemplar, ExemplarNumber, KeyValue, Metric, Number, NumberPoint, Request, Value,
};

/// Which of the spellings that mean the same are used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    /// Integers of 64 bits are numbers, not texts.
    integers_bare: bool,
    /// What is absent is `null`.
    nulls: bool,
    /// Numbers are texts.
    numbers_quoted: bool,
}

impl Arbitrary for Style {
    type Parameters = ();
    type Strategy = BoxedStrategy<Style>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        any::<(bool, bool, bool)>()
            .prop_map(|(integers_bare, nulls, numbers_quoted)| Style { integers_bare, nulls, numbers_quoted })
            .boxed()
    }
}

pub(super) fn write(request: &Request, style: Style) -> String {
    let resources = style.list(&request.resource_metrics, |one| {
        let resource = one
            .resource
            .as_ref()
            .map(|resource| object(&[("attributes", Some(style.attributes(&resource.attributes)))], style));
        let scopes = style.list(&one.scope_metrics, |one| {
            let scope = one.scope.as_ref().map(|scope| {
                let fields = [
                    ("name", Some(text(&scope.name))),
                    ("version", Some(text(&scope.version))),
                    ("attributes", Some(style.attributes(&scope.attributes))),
                ];
                object(&fields, style)
            });
            let metrics = style.list(&one.metrics, |metric| style.metric(metric));
            object(&[("scope", scope), ("metrics", Some(metrics)), ("schemaUrl", Some(text(&one.schema_url)))], style)
        });
        let fields =
            [("resource", resource), ("scopeMetrics", Some(scopes)), ("schemaUrl", Some(text(&one.schema_url)))];
        object(&fields, style)
    });
    object(&[("resourceMetrics", Some(resources))], style)
}

fn object(fields: &[(&str, Option<String>)], style: Style) -> String {
    let mut parts = Vec::new();
    for (name, value) in fields {
        match value {
            Some(value) => parts.push(format!("\"{name}\":{value}")),
            None if style.nulls => parts.push(format!("\"{name}\":null")),
            None => {}
        }
    }
    format!("{{{}}}", parts.join(","))
}

fn text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text(&digits)
}

impl Style {
    fn list<T>(self, of: &[T], write: impl Fn(&T) -> String) -> String {
        format!("[{}]", of.iter().map(write).collect::<Vec<_>>().join(","))
    }

    fn integer(self, value: impl ToString) -> Option<String> {
        let digits = value.to_string();
        Some(if self.integers_bare { digits } else { format!("\"{digits}\"") })
    }

    fn double(self, value: f64) -> String {
        if value.is_nan() {
            "\"NaN\"".to_owned()
        } else if value.is_infinite() {
            if value > 0.0 { "\"Infinity\"".to_owned() } else { "\"-Infinity\"".to_owned() }
        } else if self.numbers_quoted {
            format!("\"{value:?}\"")
        } else {
            format!("{value:?}")
        }
    }

    fn attributes(self, of: &[KeyValue]) -> String {
        self.list(of, |one| {
            object(&[("key", Some(text(&one.key))), ("value", one.value.as_ref().map(|value| self.value(value)))], self)
        })
    }

    fn value(self, of: &AnyValue) -> String {
        use base64::Engine as _;
        let values = |list: String| Some(object(&[("values", Some(list))], self));
        let (name, value) = match &of.value {
            None => return "{}".to_owned(),
            Some(Value::String(value)) => ("stringValue", Some(text(value))),
            Some(Value::Bool(value)) => ("boolValue", Some(value.to_string())),
            Some(Value::Int(value)) => ("intValue", self.integer(value)),
            Some(Value::Double(value)) => ("doubleValue", Some(self.double(*value))),
            Some(Value::Array(list)) => ("arrayValue", values(self.list(&list.values, |one| self.value(one)))),
            Some(Value::Map(map)) => ("kvlistValue", values(self.attributes(&map.values))),
            Some(Value::Bytes(bytes)) => {
                ("bytesValue", Some(text(&base64::engine::general_purpose::STANDARD.encode(bytes))))
            }
        };
        object(&[(name, value)], self)
    }

    fn exemplars(self, of: &[Exemplar]) -> String {
        self.list(of, |one| {
            let (double, int) = match one.value {
                None => (None, None),
                Some(ExemplarNumber::Double(value)) => (Some(self.double(value)), None),
                Some(ExemplarNumber::Int(value)) => (None, self.integer(value)),
            };
            let fields = [
                ("timeUnixNano", self.integer(one.time_unix_nano)),
                ("asDouble", double),
                ("asInt", int),
                ("spanId", Some(hex(&one.span_id))),
                ("traceId", Some(hex(&one.trace_id))),
                ("filteredAttributes", Some(self.attributes(&one.filtered_attributes))),
            ];
            object(&fields, self)
        })
    }

    fn numbers(self, of: &[NumberPoint]) -> String {
        self.list(of, |one| {
            let (double, int) = match one.value {
                None => (None, None),
                Some(Number::Double(value)) => (Some(self.double(value)), None),
                Some(Number::Int(value)) => (None, self.integer(value)),
            };
            let fields = [
                ("attributes", Some(self.attributes(&one.attributes))),
                ("startTimeUnixNano", self.integer(one.start_time_unix_nano)),
                ("timeUnixNano", self.integer(one.time_unix_nano)),
                ("asDouble", double),
                ("asInt", int),
                ("exemplars", Some(self.exemplars(&one.exemplars))),
                ("flags", Some(one.flags.to_string())),
            ];
            object(&fields, self)
        })
    }

    fn integers(self, of: &[u64]) -> Option<String> {
        Some(self.list(of, |count| self.integer(count).unwrap()))
    }

    fn buckets(self, of: Option<&Buckets>) -> Option<String> {
        of.map(|of| {
            let fields = [("offset", Some(of.offset.to_string())), ("bucketCounts", self.integers(&of.bucket_counts))];
            object(&fields, self)
        })
    }

    fn metric(self, of: &Metric) -> String {
        let data = match &of.data {
            None => ("gauge", None),
            Some(Data::Gauge(gauge)) => {
                ("gauge", Some(object(&[("dataPoints", Some(self.numbers(&gauge.data_points)))], self)))
            }
            Some(Data::Sum(sum)) => {
                let fields = [
                    ("dataPoints", Some(self.numbers(&sum.data_points))),
                    ("aggregationTemporality", Some(sum.aggregation_temporality.to_string())),
                    ("isMonotonic", Some(sum.is_monotonic.to_string())),
                ];
                ("sum", Some(object(&fields, self)))
            }
            Some(Data::Histogram(histogram)) => {
                let points = self.list(&histogram.data_points, |one| {
                    let fields = [
                        ("attributes", Some(self.attributes(&one.attributes))),
                        ("startTimeUnixNano", self.integer(one.start_time_unix_nano)),
                        ("timeUnixNano", self.integer(one.time_unix_nano)),
                        ("count", self.integer(one.count)),
                        ("sum", one.sum.map(|sum| self.double(sum))),
                        ("min", one.min.map(|min| self.double(min))),
                        ("max", one.max.map(|max| self.double(max))),
                        ("bucketCounts", self.integers(&one.bucket_counts)),
                        ("explicitBounds", Some(self.list(&one.explicit_bounds, |bound| self.double(*bound)))),
                        ("exemplars", Some(self.exemplars(&one.exemplars))),
                        ("flags", Some(one.flags.to_string())),
                    ];
                    object(&fields, self)
                });
                let temporality = histogram.aggregation_temporality.to_string();
                let fields = [("dataPoints", Some(points)), ("aggregationTemporality", Some(temporality))];
                ("histogram", Some(object(&fields, self)))
            }
            Some(Data::ExponentialHistogram(histogram)) => {
                let points = self.list(&histogram.data_points, |one| {
                    let fields = [
                        ("attributes", Some(self.attributes(&one.attributes))),
                        ("startTimeUnixNano", self.integer(one.start_time_unix_nano)),
                        ("timeUnixNano", self.integer(one.time_unix_nano)),
                        ("count", self.integer(one.count)),
                        ("sum", one.sum.map(|sum| self.double(sum))),
                        ("scale", Some(one.scale.to_string())),
                        ("zeroCount", self.integer(one.zero_count)),
                        ("zeroThreshold", Some(self.double(one.zero_threshold))),
                        ("positive", self.buckets(one.positive.as_ref())),
                        ("negative", self.buckets(one.negative.as_ref())),
                        ("exemplars", Some(self.exemplars(&one.exemplars))),
                        ("flags", Some(one.flags.to_string())),
                    ];
                    object(&fields, self)
                });
                let temporality = histogram.aggregation_temporality.to_string();
                let fields = [("dataPoints", Some(points)), ("aggregationTemporality", Some(temporality))];
                ("exponentialHistogram", Some(object(&fields, self)))
            }
            Some(Data::Summary(summary)) => {
                let points = self.list(&summary.data_points, |one| {
                    let quantiles = self.list(&one.quantile_values, |pair| {
                        let (quantile, value) = (self.double(pair.quantile), self.double(pair.value));
                        object(&[("quantile", Some(quantile)), ("value", Some(value))], self)
                    });
                    let fields = [
                        ("attributes", Some(self.attributes(&one.attributes))),
                        ("startTimeUnixNano", self.integer(one.start_time_unix_nano)),
                        ("timeUnixNano", self.integer(one.time_unix_nano)),
                        ("count", self.integer(one.count)),
                        ("sum", Some(self.double(one.sum))),
                        ("quantileValues", Some(quantiles)),
                        ("flags", Some(one.flags.to_string())),
                    ];
                    object(&fields, self)
                });
                ("summary", Some(object(&[("dataPoints", Some(points))], self)))
            }
        };
        let fields = [
            ("name", Some(text(&of.name))),
            ("description", Some(text(&of.description))),
            ("unit", Some(text(&of.unit))),
            data,
        ];
        object(&fields, self)
    }
}
