//! The lists that a store without scraping and alerting has nothing in. Their parameters are checked all the same, so that
//! a client with a fault hears of it.
//!
//! Source: Prometheus `web/api/v1/api.go`, `rules`, `targets`, `targetMetadata`.

use hyper::Response;

use super::ApiRequest;
use super::error::ApiError;
use super::params::quoted;
use super::response::{self, ApiBody};
use crate::promql::parser::{parse_selector, parse_selectors};

/// `rules`.
pub(super) fn rules(request: &ApiRequest) -> Result<Response<ApiBody>, ApiError> {
    let params = request.params().well_formed()?;
    parse_selectors(params.all("match[]")).map_err(|fault| ApiError::bad_data(fault.to_string()))?;
    if let Some(kind) = params.get("type").filter(|kind| !matches!(*kind, "alert" | "record")) {
        return Err(ApiError::parameter("type", format!("not supported value {}", quoted(kind))));
    }
    if let Some(text) = params.get("exclude_alerts").filter(|text| !is_bool(text)) {
        return Err(ApiError::parameter("exclude_alerts", format!("{} is neither true nor false", quoted(text))));
    }
    let limit = params.get("group_limit");
    if let Some(text) = limit {
        let number = text.parse::<i64>();
        let number =
            number.map_err(|_| ApiError::parameter("group_limit", "group_limit needs to be a valid number"))?;
        if number <= 0 {
            return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0"));
        }
    }
    match (params.get("group_next_token"), limit) {
        (Some(_), None) => Err(ApiError::parameter(
            "group_next_token",
            "group_limit needs to be present in order to paginate over the groups",
        )),
        (Some(token), Some(_)) => Err(ApiError::parameter(
            "group_next_token",
            format!("invalid group_next_token '{token:.120}'. were rule groups changed?"),
        )),
        (None, _) => Ok(response::success(|json| {
            json.begin_object().key("groups").begin_list().end_list().end_object();
        })),
    }
}

/// Whether Go reads a text as true or false.
fn is_bool(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True" | "0" | "f" | "F" | "false" | "FALSE" | "False")
}

/// `targets`.
pub(super) fn targets() -> Response<ApiBody> {
    response::success(|json| {
        json.begin_object().key("activeTargets").begin_list().end_list();
        json.key("droppedTargets").begin_list().end_list();
        json.key("droppedTargetCounts").begin_object().end_object().end_object();
    })
}

/// `targets/metadata`.
pub(super) fn targets_metadata(request: &ApiRequest) -> Result<Response<ApiBody>, ApiError> {
    let params = request.params();
    if params.get("limit").is_some_and(|text| text.parse::<i64>().is_err()) {
        return Err(ApiError::bad_data("limit must be a number"));
    }
    if let Some(text) = params.get("match_target") {
        parse_selector(text).map_err(|fault| ApiError::parameter("match_target", fault))?;
    }
    Ok(super::empty_list())
}

/// `alertmanagers`.
pub(super) fn alertmanagers() -> Response<ApiBody> {
    response::success(|json| {
        json.begin_object().key("activeAlertmanagers").begin_list().end_list();
        json.key("droppedAlertmanagers").begin_list().end_list().end_object();
    })
}
