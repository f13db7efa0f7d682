//! `/api/v1/storage/writers` and `/api/v1/storage/rejects`: who sends what, and what was refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::Response;

use super::error::ApiError;
use super::json::JsonWriter;
use super::params::{Params, quoted};
use super::response::{self, ApiBody};
use super::series::selectors;
use super::values::write_moment;
use super::{Api, ApiRequest, off_the_way};
use crate::db::Db;
use crate::head::CreatorSeries;
use crate::model::Matcher;
use crate::storage::{RejectReason, WriterNumber};
use crate::writers::{AccountView, Cause, Entry, Protocol, RingView, Writer, WriterCounts};

/// Metrics that are named of each writer.
const FAMILIES: usize = 5;
/// Entries of an answer where the request does not say how many.
const ENTRIES: usize = 100;

/// What writers are ranked by.
#[derive(Debug, Clone, Copy)]
enum Order {
    Active,
    Created,
    Samples,
    Rejected,
}

impl Order {
    fn parse(params: &Params) -> Result<Self, ApiError> {
        match params.get("sort") {
            None | Some("active_series") => Ok(Order::Active),
            Some("series_created") => Ok(Order::Created),
            Some("samples") => Ok(Order::Samples),
            Some("rejected") => Ok(Order::Rejected),
            Some(other) => {
                let fault = format!("{} is not one of active_series, series_created, samples, rejected", quoted(other));
                Err(ApiError::parameter("sort", fault))
            }
        }
    }

    fn of(self, counts: &WriterCounts, active: u64) -> u64 {
        match self {
            Order::Active => active,
            Order::Created => counts.series_created,
            Order::Samples => counts.samples_added + counts.samples_duplicate,
            Order::Rejected => counts.rejected_total(),
        }
    }
}

impl Api {
    /// `storage/writers`: what each writer sent since the start, and which of the head's series it created.
    pub(super) async fn writers(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let (order, limit) = (Order::parse(&params)?, params.limit()?.unwrap_or(usize::MAX));
        let (accounts, started_ms) = (self.writers.accounts(), self.options.started_ms);
        off_the_way(move || {
            let mut created = db.head().series_by_creator(FAMILIES);
            let unknown = created.remove(&WriterNumber::UNKNOWN).unwrap_or_default();
            let mut writers: Vec<(AccountView, CreatorSeries)> = Vec::with_capacity(accounts.writers.len());
            for account in accounts.writers {
                // Several share the number of those for whom none was left.
                let own = account.number.filter(|&number| number != WriterNumber::OTHERS);
                let series = own.and_then(|number| created.remove(&number)).unwrap_or_default();
                writers.push((account, series));
            }
            let rank = |(account, created): &(AccountView, CreatorSeries)| order.of(&account.counts, created.series);
            writers.sort_by_key(|writer| std::cmp::Reverse(rank(writer)));
            Ok(response::success(|json| {
                json.begin_object();
                write_moment(json.key("since"), Some(started_ms));
                json.key("writers").begin_list();
                writers.iter().take(limit).for_each(|(account, created)| write_account(json, account, created));
                json.end_list();
                json.key("others").begin_object();
                write_counts(json, &accounts.others);
                write_created(json, &merge(created));
                json.end_object().key("before_start").begin_object();
                write_created(json, &unknown);
                json.end_object().end_object();
            }))
        })
        .await
    }

    /// `storage/rejects`: the newest refusals, and how many there were by writer and cause.
    pub(super) fn rejects(&self, request: &ApiRequest) -> Result<Response<ApiBody>, ApiError> {
        let wanted = Wanted::parse(&request.params())?;
        let view = self.writers.rejects();
        Ok(response::success(|json| {
            json.begin_object();
            write_moment(json.key("since"), Some(self.options.started_ms));
            json.key("rejects").begin_list();
            for entry in view.entries.iter().filter(|entry| wanted.takes(entry)).take(wanted.limit) {
                write_entry(json, entry);
            }
            json.end_list().key("totals").begin_list();
            for ring in view.rings.iter().filter(|ring| wanted.takes_ring(ring.cause, &ring.writer)) {
                write_ring(json, ring);
            }
            json.end_list().end_object();
        }))
    }
}

/// The series of those who are not told apart.
fn merge(creators: BTreeMap<WriterNumber, CreatorSeries>) -> CreatorSeries {
    let mut merged = CreatorSeries::default();
    for creator in creators.into_values() {
        merged.series += creator.series;
        merged.families.extend(creator.families);
    }
    merged.families.sort_by_key(|family| std::cmp::Reverse(family.series));
    merged.families.truncate(FAMILIES);
    merged
}

/// Which refusals are asked for.
struct Wanted {
    reason: Option<String>,
    protocol: Option<Protocol>,
    writer: Option<String>,
    selectors: Vec<Vec<Matcher>>,
    limit: usize,
}

impl Wanted {
    fn parse(params: &Params) -> Result<Self, ApiError> {
        let reason = |text: &str| match Cause::all().any(|cause| cause.as_str() == text) {
            true => Ok(text.to_owned()),
            false => Err(ApiError::parameter("reason", unknown(text, Cause::all().map(Cause::as_str)))),
        };
        let protocol = |text| {
            let known = Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == text);
            known.ok_or_else(|| ApiError::parameter("protocol", unknown(text, Protocol::ALL.map(Protocol::as_str))))
        };
        Ok(Wanted {
            reason: params.get("reason").map(reason).transpose()?,
            protocol: params.get("protocol").map(protocol).transpose()?,
            writer: params.get("writer").map(str::to_owned),
            selectors: selectors(params).map_err(|fault| ApiError::parameter("match[]", fault))?,
            limit: params.limit()?.unwrap_or(ENTRIES),
        })
    }

    fn takes(&self, entry: &Entry) -> bool {
        self.takes_ring(entry.cause, &entry.writer)
            && self.protocol.is_none_or(|protocol| protocol == entry.protocol)
            && (self.selectors.is_empty() || self.selectors.iter().any(|matchers| is_selected(matchers, entry)))
    }

    /// Whether refusals of this writer for this cause are asked for. A writer is named by its address, its user, or a
    /// part of its agent.
    fn takes_ring(&self, cause: Cause, writer: &Writer) -> bool {
        let is_named = |name: &str| {
            let is_address = writer.address.is_some_and(|address| address.to_string() == name);
            is_address || writer.user == name || writer.agent.contains(name)
        };
        self.reason.as_deref().is_none_or(|wanted| wanted == cause.as_str())
            && self.writer.as_deref().is_none_or(is_named)
    }
}

fn is_selected(matchers: &[Matcher], entry: &Entry) -> bool {
    let Some(labels) = &entry.labels else { return false };
    matchers.iter().all(|matcher| matcher.matches_labels(labels))
}

fn unknown<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    format!("{} is not one of {}", quoted(text), known.join(", "))
}

fn write_writer(json: &mut JsonWriter<'_>, writer: &Writer) {
    match writer.address {
        Some(address) => json.key("address").string(&address.to_string()),
        None => json.key("address").null(),
    };
    json.key("agent").string(&writer.agent).key("user").string(&writer.user);
}

fn write_account(json: &mut JsonWriter<'_>, account: &AccountView, created: &CreatorSeries) {
    json.begin_object();
    write_writer(json, &account.writer);
    json.key("protocols").strings(account.protocols.iter().map(|protocol| protocol.as_str()));
    write_moment(json.key("first_request"), Some(account.first_ms));
    write_moment(json.key("last_request"), Some(account.last_ms));
    write_counts(json, &account.counts);
    write_created(json, created);
    json.end_object();
}

fn write_counts(json: &mut JsonWriter<'_>, counts: &WriterCounts) {
    json.key("requests").begin_object().key("ok").uint(counts.requests_ok);
    json.key("refused").uint(counts.requests_refused).key("unavailable").uint(counts.requests_unavailable).end_object();
    json.key("samples").begin_object().key("added").uint(counts.samples_added);
    json.key("duplicate").uint(counts.samples_duplicate).key("rejected").uint(counts.rejected_total()).end_object();
    json.key("rejected").begin_object();
    for (reason, &samples) in RejectReason::ALL.iter().zip(&counts.rejected).filter(|&(_, &samples)| samples > 0) {
        json.key(reason.as_str()).uint(samples);
    }
    json.end_object().key("series_created").uint(counts.series_created);
}

fn write_created(json: &mut JsonWriter<'_>, created: &CreatorSeries) {
    json.key("active_series").uint(created.series).key("metrics").begin_list();
    for family in &created.families {
        json.begin_object().key("metric").string(&family.metric).key("series").uint(family.series).key("example");
        match &family.example {
            Some(labels) => json.labels(labels),
            None => json.null(),
        };
        json.end_object();
    }
    json.end_list();
}

fn write_entry(json: &mut JsonWriter<'_>, entry: &Entry) {
    json.begin_object();
    write_moment(json.key("time"), Some(entry.at_ms));
    json.key("of").string(entry.cause.unit());
    json.key("reason").string(entry.cause.as_str()).key("protocol").string(entry.protocol.as_str());
    write_writer(json, &entry.writer);
    json.key("samples").uint(entry.samples).key("labels");
    match &entry.labels {
        Some(labels) => json.labels(labels),
        None => json.null(),
    };
    write_moment(json.key("sample_time"), entry.sample.map(|sample| sample.timestamp_ms));
    match entry.sample.and_then(|sample| sample.value) {
        Some(value) => json.key("value").raw_with(|out| {
            out.push(b'"');
            super::number::write_value(out, value);
            out.push(b'"');
        }),
        None => json.key("value").null(),
    };
    json.key("detail").string(&entry.detail).end_object();
}

fn write_ring(json: &mut JsonWriter<'_>, ring: &RingView) {
    json.begin_object().key("reason").string(ring.cause.as_str());
    write_writer(json, &ring.writer);
    json.key(ring.cause.unit()).uint(ring.refused);
    write_moment(json.key("first"), Some(ring.first_ms));
    write_moment(json.key("last"), Some(ring.last_ms));
    json.end_object();
}

#[cfg(test)]
#[path = "writers_tests.rs"]
mod tests;
