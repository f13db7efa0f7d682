//! `query_explain`: what a query would do and touch, without doing it.
//!
//! Ours; Prometheus has no such endpoint. The parameters are those of `query` or, with `start`, `end` and `step`, those
//! of `query_range`. The series of each selector are selected, but no sample is read. With `analyze=true` the query is evaluated
//! and its result thrown away: then the plan says what each node took.

use std::sync::Arc;

use hyper::Response;
use serde_json::{Value, json};

use super::error::ApiError;
use super::query::{Evaluated, parse_query_text, query_error, range_of};
use super::query_log::{Asked, EndsQuery};
use super::response::{self, ApiBody};
use super::{Api, ApiRequest, off_the_way};
use crate::promql::engine::{CancelToken, QueryOptions};
use crate::promql::parser::ast::Expr;
use crate::storage::Queryable;

impl Api {
    pub(super) async fn query_explain(
        self: &Arc<Self>,
        request: &ApiRequest,
        data: Arc<dyn Queryable>,
    ) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let timeout = params.timeout(self.options.engine.timeout)?;
        let analyze = match params.get("analyze") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => return Err(ApiError::parameter("analyze", "has to be true or false")),
        };
        let is_range = params.get("start").or(params.get("end")).is_some();
        let (start_ms, end_ms, step_ms) = if is_range {
            range_of(&params)?
        } else {
            let time_ms = params.time("time")?.unwrap_or_else(|| self.clock.now_ms());
            (time_ms, time_ms, 0)
        };
        let text = params.get("query").unwrap_or_default().to_owned();
        let engine = self.engine.clone();
        if analyze {
            let common = self.common(&params, None, request)?;
            let asked = Asked::new(&text, start_ms, end_ms, step_ms);
            let run = move |expr: &Expr, options: &QueryOptions| match is_range {
                true => engine.range(&*data, expr, start_ms, end_ms, step_ms, options),
                false => engine.instant(&*data, expr, start_ms, options),
            };
            let Evaluated { result, queued, total, .. } = self.evaluate(common, asked, true, run).await?;
            let mut plan = result.explanation.map(|plan| plan.to_json()).unwrap_or_default();
            plan["run"] = json!({
                "queued_seconds": queued.as_secs_f64(),
                "elapsed_seconds": total.as_secs_f64(),
                "preparation_seconds": result.stats.preparation.as_secs_f64(),
                "evaluation_seconds": result.stats.evaluation.as_secs_f64(),
                "sorting_seconds": result.stats.sorting.as_secs_f64(),
                "samples": result.stats.samples_total,
                "samples_peak": result.stats.samples_peak,
            });
            return Ok(answer(&plan));
        }
        // A selection over all series takes as long as that of a query, so it waits for a place like one.
        let permit = self.place(timeout).await?;
        let cancel = CancelToken::new();
        let _ends_with_the_client = EndsQuery(cancel.clone());
        let options = QueryOptions {
            lookback_delta_ms: params.duration_ms("lookback_delta")?,
            timeout: Some(timeout),
            cancel,
            ..QueryOptions::default()
        };
        let plan = off_the_way(move || {
            let _permit = permit;
            let expr = parse_query_text(&text, &engine.options().language)?;
            let plan = engine.explain(Some(&*data), &expr, start_ms, end_ms, step_ms, &options);
            Ok(plan.map_err(|fault| query_error(&fault))?.to_json())
        })
        .await?;
        Ok(answer(&plan))
    }
}

fn answer(plan: &Value) -> Response<ApiBody> {
    response::success(|json| {
        json.raw(plan.to_string().as_bytes());
    })
}
