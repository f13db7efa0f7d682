//! `/api/v1/storage/cardinality`: which metrics and labels the head's series are of, which of them are new, and which are
//! asked for. One answer, so that its numbers go together.

use std::sync::Arc;

use hyper::Response;

use super::error::ApiError;
use super::query_usage::Used;
use super::response::{self, ApiBody};
use super::series::selectors;
use super::values::write_moment;
use super::{Api, ApiRequest, off_the_way};
use crate::db::Db;
use crate::head::{Cardinality, CardinalityOptions};
use crate::model::TimestampMs;

/// Rows of each table where the request does not say how many.
const ROWS: usize = 20;
/// Rows of each table at most.
const ROWS_MAX: usize = 1_000;

/// What is known of the head when the counting is over.
struct Counted {
    cardinality: Cardinality,
    /// How each of its metrics was asked for.
    used: Vec<Option<Used>>,
    created: Vec<(TimestampMs, u64)>,
    focus: Option<String>,
    head_series: u64,
}

impl Api {
    pub(super) async fn cardinality(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let selectors = selectors(&params).map_err(|fault| ApiError::parameter("match[]", fault))?;
        let limit = params.limit()?.unwrap_or(ROWS);
        if limit > ROWS_MAX {
            return Err(ApiError::parameter("limit", format!("at most {ROWS_MAX} rows are given")));
        }
        let focus = params.get("focus").map(str::to_owned);
        let only_unqueried = params.bool("unqueried")?.unwrap_or(false);
        let (started_ms, now_ms, metrics) = (self.options.started_ms, self.clock.now_ms(), self.metrics.clone());
        off_the_way(move || {
            let known = metrics.usage.all();
            let options = CardinalityOptions { selectors: &selectors, focus: focus.as_deref(), limit };
            let is_wanted = |metric: &str| !only_unqueried || !known.contains_key(metric);
            let head = db.head();
            let cardinality = head.cardinality(options, is_wanted);
            let used = cardinality.metrics.rows.iter().map(|(metric, _)| known.get(metric).copied()).collect();
            let created = head.series_created_by_hour(now_ms);
            let head_series = head.series_count() as u64;
            let range = head.time_range();
            let counted = Counted { cardinality, used, created, focus, head_series };
            Ok(response::success(|json| {
                json.begin_object();
                write_moment(json.key("since"), Some(started_ms));
                write_moment(json.key("min_time"), range.map(|range| range.start_ms));
                write_moment(json.key("max_time"), range.map(|range| range.end_ms));
                write(json, &counted);
                json.end_object();
            }))
        })
        .await
    }
}

fn write(json: &mut super::json::JsonWriter<'_>, counted: &Counted) {
    let Counted { cardinality, used, created, focus, head_series } = counted;
    json.key("head_series").uint(*head_series).key("series").uint(cardinality.series);
    json.key("metric_names").uint(cardinality.metric_names).key("label_names").uint(cardinality.labels.total);
    json.key("metrics_total").uint(cardinality.metrics.total).key("metrics").begin_list();
    for ((name, series), used) in cardinality.metrics.rows.iter().zip(used) {
        json.begin_object().key("name").string(name).key("series").uint(*series);
        json.key("queries").uint(used.map_or(0, |used| used.queries));
        write_moment(json.key("last_queried"), used.map(|used| used.last_ms));
        json.end_object();
    }
    json.end_list().key("labels").begin_list();
    for (name, values, series) in &cardinality.labels.rows {
        json.begin_object().key("name").string(name).key("values").uint(*values);
        json.key("series").uint(*series).end_object();
    }
    json.end_list().key("pairs_total").uint(cardinality.pairs.total).key("pairs").begin_list();
    for (name, value, series) in &cardinality.pairs.rows {
        json.begin_object().key("name").string(name).key("value").string(value);
        json.key("series").uint(*series).end_object();
    }
    json.end_list().key("focus");
    match focus {
        None => {
            json.null();
        }
        Some(name) => {
            json.begin_object().key("name").string(name).key("values_total").uint(cardinality.focus.total);
            json.key("values").begin_list();
            for (value, series) in &cardinality.focus.rows {
                json.begin_object().key("value").string(value).key("series").uint(*series).end_object();
            }
            json.end_list().end_object();
        }
    }
    json.key("created").begin_list();
    for (hour_ms, series) in created {
        json.begin_object();
        write_moment(json.key("hour"), Some(*hour_ms));
        json.key("series").uint(*series).end_object();
    }
    json.end_list();
}

#[cfg(test)]
#[path = "cardinality_tests.rs"]
mod tests;
