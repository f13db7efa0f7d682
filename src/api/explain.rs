//! `query_explain`: what a query would do and touch, without doing it.
//!
//! Ours; Prometheus has no such endpoint. The parameters are those of `query` or, with `start`, `end` and `step`, those
//! of `query_range`. The series of each selector are selected, but no sample is read.

use std::sync::Arc;

use hyper::Response;

use super::error::ApiError;
use super::query::{parse_query_text, query_error};
use super::response::{self, ApiBody};
use super::{Api, ApiRequest, off_the_way};
use crate::promql::engine::QueryOptions;
use crate::storage::Queryable;

impl Api {
    pub(super) async fn query_explain(
        self: &Arc<Self>,
        request: &ApiRequest,
        data: Arc<dyn Queryable>,
    ) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let timeout = params.timeout(self.options.engine.timeout)?;
        let options =
            QueryOptions { lookback_delta_ms: params.duration_ms("lookback_delta")?, ..QueryOptions::default() };
        let (start_ms, end_ms, step_ms) = match (params.time("start")?, params.time("end")?) {
            (Some(start_ms), Some(end_ms)) => {
                let no_step = || ApiError::parameter("step", "cannot parse \"\" to a valid duration");
                (start_ms, end_ms, params.duration_ms("step")?.ok_or_else(no_step)?)
            }
            (None, None) => {
                let time_ms = params.time("time")?.unwrap_or_else(|| self.clock.now_ms());
                (time_ms, time_ms, 0)
            }
            (Some(_), None) => return Err(ApiError::parameter("end", "a range needs both start and end")),
            (None, Some(_)) => return Err(ApiError::parameter("start", "a range needs both start and end")),
        };
        let text = params.get("query").unwrap_or_default().to_owned();
        let engine = self.engine.clone();
        // A selection over all series takes as long as that of a query, so it waits for a place like one.
        let permit = self.place(timeout).await?;
        let plan = off_the_way(move || {
            let _permit = permit;
            let expr = parse_query_text(&text, &engine.options().language)?;
            let plan = engine.explain(Some(&*data), &expr, start_ms, end_ms, step_ms, &options);
            Ok(plan.map_err(|fault| query_error(&fault))?.to_json())
        })
        .await?;
        Ok(response::success(|json| {
            json.raw(plan.to_string().as_bytes());
        }))
    }
}
