//! The messages of OTLP's JSON, with the fields that are of use here. Lists stay text.

use serde::Deserialize;

use super::json_values::{Double, Integer, List, Object, TemporalityNumber, Text};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RequestFields<'a> {
    #[serde(borrow)]
    pub(super) resource_metrics: List<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResourceMetricsFields<'a> {
    #[serde(borrow)]
    pub(super) resource: Option<Object<ResourceFields<'a>>>,
    #[serde(borrow)]
    pub(super) scope_metrics: List<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResourceFields<'a> {
    #[serde(borrow)]
    pub(super) attributes: List<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ScopeMetricsFields<'a> {
    #[serde(borrow)]
    pub(super) scope: Option<Object<ScopeFields<'a>>>,
    #[serde(borrow)]
    pub(super) metrics: List<'a>,
    #[serde(borrow)]
    pub(super) schema_url: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ScopeFields<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) version: Text<'a>,
    #[serde(borrow)]
    pub(super) attributes: List<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct KeyValueFields<'a> {
    #[serde(borrow)]
    pub(super) key: Text<'a>,
    #[serde(borrow)]
    pub(super) value: Option<Object<AnyValueFields<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AnyValueFields<'a> {
    #[serde(borrow)]
    pub(super) string_value: Option<Text<'a>>,
    pub(super) bool_value: Option<bool>,
    pub(super) int_value: Option<Integer<i64>>,
    pub(super) double_value: Option<Double>,
    #[serde(borrow)]
    pub(super) array_value: Option<Object<ValuesFields<'a>>>,
    #[serde(borrow)]
    pub(super) kvlist_value: Option<Object<ValuesFields<'a>>>,
    #[serde(borrow)]
    pub(super) bytes_value: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ValuesFields<'a> {
    #[serde(borrow)]
    pub(super) values: List<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MetricFields<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) description: Text<'a>,
    #[serde(borrow)]
    pub(super) unit: Text<'a>,
    #[serde(borrow)]
    pub(super) gauge: Option<Object<DataFields<'a>>>,
    #[serde(borrow)]
    pub(super) sum: Option<Object<DataFields<'a>>>,
    #[serde(borrow)]
    pub(super) histogram: Option<Object<DataFields<'a>>>,
    #[serde(borrow)]
    pub(super) exponential_histogram: Option<Object<DataFields<'a>>>,
    #[serde(borrow)]
    pub(super) summary: Option<Object<DataFields<'a>>>,
}

/// Any of the kinds of data: the fields that they have are named alike.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DataFields<'a> {
    #[serde(borrow)]
    pub(super) data_points: List<'a>,
    pub(super) aggregation_temporality: TemporalityNumber,
    pub(super) is_monotonic: Option<bool>,
}

/// Any of the kinds of points: the fields that they have are named alike.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PointFields<'a> {
    #[serde(borrow)]
    pub(super) attributes: List<'a>,
    pub(super) start_time_unix_nano: Integer<u64>,
    pub(super) time_unix_nano: Integer<u64>,
    pub(super) flags: Integer<u32>,
    #[serde(borrow)]
    pub(super) exemplars: List<'a>,
    pub(super) as_double: Option<Double>,
    pub(super) as_int: Option<Integer<i64>>,
    pub(super) count: Integer<u64>,
    pub(super) sum: Option<Double>,
    #[serde(borrow)]
    pub(super) bucket_counts: List<'a>,
    #[serde(borrow)]
    pub(super) explicit_bounds: List<'a>,
    pub(super) scale: Integer<i32>,
    pub(super) zero_count: Integer<u64>,
    pub(super) zero_threshold: Option<Double>,
    #[serde(borrow)]
    pub(super) positive: Option<Object<BucketsFields<'a>>>,
    #[serde(borrow)]
    pub(super) negative: Option<Object<BucketsFields<'a>>>,
    #[serde(borrow)]
    pub(super) quantile_values: List<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BucketsFields<'a> {
    pub(super) offset: Integer<i32>,
    #[serde(borrow)]
    pub(super) bucket_counts: List<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct QuantileFields {
    pub(super) quantile: Option<Double>,
    pub(super) value: Option<Double>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ExemplarFields<'a> {
    #[serde(borrow)]
    pub(super) filtered_attributes: List<'a>,
    pub(super) time_unix_nano: Integer<u64>,
    pub(super) as_double: Option<Double>,
    pub(super) as_int: Option<Integer<i64>>,
    #[serde(borrow)]
    pub(super) span_id: Text<'a>,
    #[serde(borrow)]
    pub(super) trace_id: Text<'a>,
}
