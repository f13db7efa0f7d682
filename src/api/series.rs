//! What is stored, without samples: `series`, `labels`, `label/<name>/values`, `metadata`.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::Response;

use super::encoding::accepts_gzip;
use super::error::ApiError;
use super::params::{Params, quoted};
use super::query::TRUNCATED;
use super::response::{self, ApiBody, Notes};
use super::selection::{Bounds, distinct_selectors};
use super::{Api, ApiRequest, off_the_way};
use crate::db::Db;
use crate::model::{LabelSet, Matcher, TimeRange};
use crate::storage::{Querier, Queryable, SelectHints, StorageError};

/// The selectors of `match[]`, or what is wrong with them.
pub(super) fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, String> {
    let selectors = distinct_selectors(params).map_err(|fault| fault.to_string())?;
    if selectors.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
        return Err("match[] must contain at least one non-empty matcher".to_owned());
    }
    Ok(selectors)
}

/// What the metadata endpoints have in common.
struct Asked {
    selectors: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: Option<usize>,
    gzip: bool,
}

impl Asked {
    /// The parameters of `labels` and of the values of a label.
    fn parse(request: &ApiRequest) -> Result<Self, ApiError> {
        Asked::read(&request.params(), request, ApiError::bad_data)
    }

    /// The parameters of `series`, which is stricter, and says which parameter a selector stands in.
    fn parse_series(request: &ApiRequest) -> Result<Self, ApiError> {
        let params = request.params().well_formed()?;
        if params.all("match[]").next().is_none() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        Asked::read(&params, request, |fault| ApiError::parameter("match[]", fault))
    }

    fn read(
        params: &Params,
        request: &ApiRequest,
        selector_fault: impl Fn(String) -> ApiError,
    ) -> Result<Self, ApiError> {
        Ok(Asked {
            limit: params.limit()?,
            range: params.time_range()?,
            selectors: selectors(params).map_err(selector_fault)?,
            gzip: accepts_gzip(&request.headers),
        })
    }

    /// Whether nothing can be found, since the range ends before it starts.
    fn is_empty(&self) -> bool {
        self.range.end_ms < self.range.start_ms
    }

    /// One more than the limit, so that it shows whether something was cut; 0 for no limit.
    fn wanted(&self) -> usize {
        self.limit.map_or(0, |limit| limit.saturating_add(1))
    }

    /// Collects texts over all selectors: sorted, distinct, cut.
    fn collect(
        &self,
        querier: &dyn Querier,
        bounds: &Bounds,
        ask: impl Fn(&[Matcher], usize) -> Result<Vec<String>, StorageError>,
    ) -> Result<(Vec<String>, Notes), ApiError> {
        let mut texts = match self.selectors.as_slice() {
            _ if self.is_empty() => Vec::new(),
            [] => ask(&[], self.wanted())?,
            [one] => ask(one, self.wanted())?,
            many => {
                let mut all = BTreeSet::new();
                for matchers in many {
                    bounds.check_time()?;
                    all.extend(ask(matchers, self.wanted())?);
                }
                all.into_iter().collect()
            }
        };
        // After the questions: what could not be read is known then.
        let mut notes = Notes { warnings: querier.warnings(), infos: Vec::new() };
        if self.limit.is_some_and(|limit| texts.len() > limit) {
            texts.truncate(self.limit.unwrap_or_default());
            notes.warnings.push(TRUNCATED.to_owned());
        }
        Ok((texts, notes))
    }
}

/// `series`: the label sets that a selector finds. It takes a place among the queries.
pub(super) async fn series(
    api: &Api,
    request: ApiRequest,
    data: Arc<dyn Queryable>,
) -> Result<Response<ApiBody>, ApiError> {
    let asked = Asked::parse_series(&request)?;
    let gzip = asked.gzip;
    let bounds = Bounds::of_query(api);
    let permit = api.place(api.options.engine.timeout).await?;
    let (sets, notes) = off_the_way(move || {
        let _permit = permit;
        let querier = data.querier(asked.range)?;
        let hints = SelectHints { limit: asked.wanted(), labels_only: true, ..SelectHints::default() };
        let selectors = asked.selectors.iter().filter(|_| !asked.is_empty());
        let found = bounds.select(&*querier, selectors, hints)?;
        let mut sets: Vec<LabelSet> = found.into_iter().map(|series| series.labels).collect();
        let mut notes = Notes { warnings: querier.warnings(), infos: Vec::new() };
        if let Some(limit) = asked.limit.filter(|limit| sets.len() > *limit) {
            sets.truncate(limit);
            notes.warnings.push(TRUNCATED.to_owned());
        }
        Ok((sets, notes))
    })
    .await?;
    Ok(response::stream("application/json", gzip, move |sink| {
        response::write_success(sink, &notes, |json| {
            json.begin_list();
            for labels in &sets {
                json.labels(labels);
                json.flush_if_full()?;
            }
            json.end_list();
            Ok(())
        })
    })
    .await)
}

/// `labels`: the names of labels.
pub(super) async fn labels(
    api: &Api,
    request: ApiRequest,
    data: Arc<dyn Queryable>,
) -> Result<Response<ApiBody>, ApiError> {
    let asked = Asked::parse(&request)?;
    let gzip = asked.gzip;
    let bounds = Bounds::of_query(api);
    let (names, notes) = off_the_way(move || {
        let querier = data.querier(asked.range)?;
        asked.collect(&*querier, &bounds, |matchers, limit| querier.label_names(matchers, limit))
    })
    .await?;
    Ok(texts(names, notes, gzip).await)
}

/// `label/<name>/values`: the values of one label.
pub(super) async fn label_values(
    api: &Api,
    name: String,
    request: ApiRequest,
    data: Arc<dyn Queryable>,
) -> Result<Response<ApiBody>, ApiError> {
    if name.is_empty() || name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(ApiError::bad_data(format!("invalid label name: {}", quoted(&name))));
    }
    let asked = Asked::parse(&request)?;
    let gzip = asked.gzip;
    let bounds = Bounds::of_query(api);
    let (values, notes) = off_the_way(move || {
        let querier = data.querier(asked.range)?;
        asked.collect(&*querier, &bounds, |matchers, limit| querier.label_values(&name, matchers, limit))
    })
    .await?;
    Ok(texts(values, notes, gzip).await)
}

async fn texts(texts: Vec<String>, notes: Notes, gzip: bool) -> Response<ApiBody> {
    response::stream("application/json", gzip, move |sink| {
        response::write_success(sink, &notes, |json| {
            json.begin_list();
            for text in &texts {
                json.string(text);
                json.flush_if_full()?;
            }
            json.end_list();
            Ok(())
        })
    })
    .await
}

/// `metadata`: what senders said about metric families.
pub(super) fn metadata(request: &ApiRequest, db: &Db) -> Result<Response<ApiBody>, ApiError> {
    let params = request.params();
    let number = |name: &'static str| {
        let parse =
            |text: &str| text.parse::<i64>().map_err(|_| ApiError::bad_data(format!("{name} must be a number")));
        params.get(name).map(parse).transpose()
    };
    // A negative limit means all, and 0 means none.
    let limit = number("limit")?.and_then(|limit| usize::try_from(limit).ok());
    // The head keeps one description of a family, the newest: no bound on them can cut anything.
    number("limit_per_metric")?;
    let mut families = db.head().metadata(params.get("metric"));
    families.truncate(limit.unwrap_or(usize::MAX));
    Ok(response::success(|json| {
        json.begin_object();
        for (family, entry) in &families {
            json.key(family).begin_list().begin_object();
            json.key("type").string(entry.metric_type.as_str()).key("unit").string(&entry.unit);
            json.key("help").string(&entry.help).end_object().end_list();
        }
        json.end_object();
    }))
}
