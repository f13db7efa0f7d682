//! `query_exemplars`: the exemplars of the series that an expression's selectors find.
//!
//! Source: Prometheus `web/api/v1/api.go`, `queryExemplars`; `web/api/v1/json_codec.go`.

use std::sync::Arc;

use hyper::Response;

use super::encoding::accepts_gzip;
use super::error::{ApiError, ErrorType};
use super::number::{write_timestamp, write_value};
use super::params::{TIME_MAX_MS, TIME_MIN_MS};
use super::response::{self, ApiBody, Notes};
use super::{Api, ApiRequest, off_the_way};
use crate::db::Db;
use crate::model::{Matcher, TimeRange};
use crate::promql::parser::parse_expr_with;

impl Api {
    pub(super) async fn query_exemplars(
        self: &Arc<Self>,
        request: &ApiRequest,
        db: Arc<Db>,
    ) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let start_ms = params.optional_time("start")?.unwrap_or(TIME_MIN_MS);
        let end_ms = params.optional_time("end")?.unwrap_or(TIME_MAX_MS);
        if end_ms < start_ms {
            return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
        }
        let text = params.get("query").unwrap_or("").to_owned();
        let language = self.options.engine.language;
        let timeout = self.options.engine.timeout;
        let permit = self.place(timeout).await?;
        let (clock, ends) = (self.clock.clone(), self.clock.monotonic().saturating_add(timeout));
        let found = off_the_way(move || {
            let _permit = permit;
            // Here Prometheus does not say which parameter it is.
            let expr = parse_expr_with(&text, &language).map_err(|fault| ApiError::bad_data(fault.to_string()))?;
            let selectors: Vec<Vec<Matcher>> = expr.selectors().into_iter().map(<[Matcher]>::to_vec).collect();
            let goes_on = || clock.monotonic() < ends;
            let found = db.head().exemplars(&selectors, TimeRange::new(start_ms, end_ms), &goes_on);
            found.ok_or_else(|| ApiError::new(ErrorType::Timeout, "query timed out in exemplar selection"))
        })
        .await?;
        let gzip = accepts_gzip(&request.headers);
        Ok(response::stream("application/json", gzip, move |sink| {
            response::write_success(sink, &Notes::default(), |json| {
                json.begin_list();
                for (series, exemplars) in &found {
                    json.begin_object().key("seriesLabels").labels(series).key("exemplars").begin_list();
                    for exemplar in exemplars {
                        json.begin_object().key("labels").labels(&exemplar.labels).key("value").raw_with(|out| {
                            out.push(b'"');
                            write_value(out, exemplar.value);
                            out.push(b'"');
                        });
                        json.key("timestamp").raw_with(|out| write_timestamp(out, exemplar.timestamp_ms)).end_object();
                        json.flush_if_full()?;
                    }
                    json.end_list().end_object();
                }
                json.end_list();
                Ok(())
            })
        })
        .await)
    }
}
