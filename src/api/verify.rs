//! Proofs over the API: the last ones, the one under way, and new ones.

use std::sync::Arc;

use hyper::Response;

use super::blocks::write_check;
use super::error::ApiError;
use super::json::JsonWriter;
use super::params::quoted;
use super::response::{self, ApiBody};
use super::values::{write_moment, write_tally};
use super::{Api, ApiRequest, off_the_way};
use crate::db::{
    BlockVerification, CheckRunRecord, ChecksUnderWay, ClosedFinding, Db, KeptFinding, LogCoverage, OpenFindings,
    Proven, Verified,
};

/// What a verification looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The log against the head, and the ledger's balance.
    Log,
    /// Every block, read whole.
    Blocks,
    /// Both.
    All,
}

impl Scope {
    fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        match text {
            None | Some("all") => Ok(Scope::All),
            Some("log") => Ok(Scope::Log),
            Some("blocks") => Ok(Scope::Blocks),
            Some(other) => {
                let fault = format!("{} is none of log, blocks and all", quoted(other));
                Err(ApiError::parameter("scope", fault))
            }
        }
    }
}

impl Api {
    /// `status/verify`: the last proofs of the log and of each block, and what is under way.
    pub(super) async fn verify_status(self: &Arc<Self>, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let api = self.clone();
        off_the_way(move || {
            let (proofs, under_way, coverage) = (db.proofs(), db.proof_under_way(), db.log_coverage());
            let (checking, runs) = (db.checks_under_way(), db.ended_check_runs());
            let (open, closed) = (db.open_findings(), db.closed_findings());
            let blocks = db.blocks();
            let imbalance = db.ledger_state().imbalance();
            Ok(response::success(|json| {
                json.begin_object().key("log").begin_list();
                for proof in proofs.iter().rev() {
                    write_verified(json, proof);
                }
                json.end_list();
                match under_way {
                    Some(proof) => {
                        json.key("log_under_way").begin_object();
                        write_moment(json.key("since"), Some(proof.since_ms));
                        json.key("bytes_done").uint(proof.bytes_done);
                        json.key("bytes_total").uint(proof.bytes_total).end_object();
                    }
                    None => {
                        json.key("log_under_way").null();
                    }
                }
                write_coverage(json.key("log_coverage"), coverage.as_ref());
                write_tally(json.key("ledger_imbalance"), imbalance);
                json.key("blocks").begin_list();
                for check in blocks.iter().filter_map(|block| block.check.as_ref()) {
                    write_check(json, check);
                }
                json.end_list();
                let unchecked = blocks.iter().filter(|block| block.check.is_none());
                json.key("blocks_not_checked").strings(unchecked.map(|block| block.meta.ulid.to_string()));
                write_checks_under_way(json.key("blocks_under_way"), &checking);
                write_check_runs(json.key("block_runs"), &runs);
                write_open(json.key("open_findings"), &open);
                write_closed(json.key("closed_findings"), &closed);
                api.write_jobs(json.key("under_way"));
                json.end_object();
            }))
        })
        .await
    }

    /// `admin/storage/verify`: proves the log, or reads all blocks, or both, now. `scope`: `log`, `blocks` or `all`.
    pub(super) async fn verify(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params().well_formed()?;
        let scope = Scope::parse(params.get("scope"))?;
        let work = move || verify(&db, scope);
        self.work(&params, "verification", work, |json, (log, run, blocks)| {
            let good = log.as_ref().is_none_or(Verified::is_good) && blocks.iter().all(BlockVerification::is_good);
            // What was not read is not known to be good.
            let is_stopped = run.is_some_and(|run| run.is_stopped);
            json.begin_object().key("good").bool(good && !is_stopped).key("stopped").bool(is_stopped);
            match &log {
                Some(proof) => write_verified(json.key("log"), proof),
                None => {
                    json.key("log").null();
                }
            }
            json.key("blocks").begin_list();
            for check in &blocks {
                write_check(json, check);
            }
            json.end_list().end_object();
        })
        .await
    }
}

impl Api {
    /// `admin/storage/verify/stop`: lets the checks of blocks under way end behind the block that each is reading.
    pub(super) fn stop_verify(db: &Db) -> Response<ApiBody> {
        let stopped = db.stop_block_checks();
        response::success(|json| {
            json.begin_object().key("stopped").uint(stopped as u64).end_object();
        })
    }
}

type Outcome = (Option<Verified>, Option<CheckRunRecord>, Vec<BlockVerification>);

fn verify(db: &Db, scope: Scope) -> Result<Outcome, ApiError> {
    let log = if scope == Scope::Blocks { None } else { Some(db.verify()?) };
    if scope == Scope::Log {
        return Ok((log, None, Vec::new()));
    }
    let (run, checks) = db.verify_blocks();
    Ok((log, Some(run), checks))
}

/// A proof of the log.
pub(super) fn write_verified(json: &mut JsonWriter<'_>, verified: &Verified) {
    json.begin_object();
    write_moment(json.key("time"), Some(verified.at_ms));
    json.key("duration_seconds").float(verified.elapsed.as_secs_f64());
    json.key("good").bool(verified.is_good());
    json.key("group").uint(verified.group);
    json.key("segments").uint(verified.segments).key("bytes").uint(verified.bytes);
    write_tally(json.key("log"), verified.log);
    write_tally(json.key("ledger_imbalance"), verified.imbalance);
    json.key("findings").strings(&verified.findings).end_object();
}

/// What the last proof of the log read.
fn write_coverage(json: &mut JsonWriter<'_>, coverage: Option<&LogCoverage>) {
    let Some(coverage) = coverage else {
        json.null();
        return;
    };
    json.begin_object();
    write_moment(json.key("time"), Some(coverage.at_ms));
    json.key("group").uint(coverage.group).key("segments").begin_list();
    for segment in &coverage.segments {
        json.begin_object().key("number").uint(segment.segment.into()).key("checkpoint").bool(segment.checkpoint);
        json.key("bytes").uint(segment.bytes).key("records").uint(segment.records);
        write_groups(json.key("groups"), segment.groups);
        json.end_object();
    }
    json.end_list().end_object();
}

/// First and last group, or null.
pub(super) fn write_groups(json: &mut JsonWriter<'_>, groups: Option<(u64, u64)>) {
    match groups {
        Some((first, last)) => json.begin_list().uint(first).uint(last).end_list(),
        None => json.null(),
    };
}

fn write_checks_under_way(json: &mut JsonWriter<'_>, runs: &[ChecksUnderWay]) {
    json.begin_list();
    for run in runs {
        json.begin_object().key("by").string(if run.is_scrub { "scrub" } else { "request" });
        write_moment(json.key("since"), Some(run.since_ms));
        match run.block {
            Some(ulid) => json.key("ulid").string(&ulid.to_string()),
            None => json.key("ulid").null(),
        };
        json.key("blocks_done").uint(run.blocks_done).key("blocks_total").uint(run.blocks_total);
        json.key("bytes_done").uint(run.bytes_done).key("bytes_total").uint(run.bytes_total);
        json.key("damaged").uint(run.damaged).key("stopping").bool(run.is_stopped).end_object();
    }
    json.end_list();
}

/// Newest first.
fn write_check_runs(json: &mut JsonWriter<'_>, runs: &[CheckRunRecord]) {
    json.begin_list();
    for run in runs.iter().rev() {
        json.begin_object();
        write_moment(json.key("time"), Some(run.at_ms));
        json.key("duration_seconds").float(run.elapsed.as_secs_f64());
        json.key("good").bool(run.damaged == 0);
        json.key("blocks").uint(run.blocks).key("blocks_total").uint(run.blocks_total);
        json.key("bytes").uint(run.bytes).key("samples").uint(run.samples);
        json.key("damaged").uint(run.damaged).key("stopped").bool(run.is_stopped).end_object();
    }
    json.end_list();
}

/// What a finding is about.
fn write_object(json: &mut JsonWriter<'_>, of: Proven) {
    let (kind, name) = match of {
        Proven::Ledger => ("ledger", String::new()),
        Proven::Head => ("head", String::new()),
        Proven::Log => ("log", String::new()),
        Proven::Segment(number) => ("segment", format!("{number:08}")),
        Proven::Checkpoint(number) => ("checkpoint", format!("{number:08}")),
        Proven::Block(ulid) => ("block", ulid.to_string()),
    };
    json.begin_object().key("kind").string(kind).key("name").string(&name).end_object();
}

fn write_finding(json: &mut JsonWriter<'_>, finding: &KeptFinding) {
    json.key("what").string(&finding.what);
    write_moment(json.key("first_seen"), Some(finding.first_ms));
    write_moment(json.key("last_seen"), Some(finding.last_ms));
}

fn write_open(json: &mut JsonWriter<'_>, open: &[OpenFindings]) {
    json.begin_list();
    for object in open {
        json.begin_object();
        write_object(json.key("object"), object.of);
        json.key("findings").begin_list();
        for finding in &object.findings {
            json.begin_object();
            write_finding(json, finding);
            json.end_object();
        }
        json.end_list().key("more").uint(object.more).end_object();
    }
    json.end_list();
}

fn write_closed(json: &mut JsonWriter<'_>, closed: &[ClosedFinding]) {
    json.begin_list();
    for one in closed {
        json.begin_object();
        write_object(json.key("object"), one.of);
        write_finding(json, &one.finding);
        write_moment(json.key("closed"), Some(one.closed_ms));
        json.key("closed_by").string(if one.by_proof { "proof" } else { "removal" }).end_object();
    }
    json.end_list();
}
