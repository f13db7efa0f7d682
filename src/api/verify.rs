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
use crate::db::{BlockVerification, Db, Verified};

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
            let (proofs, under_way) = (db.proofs(), db.proof_under_way());
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
                write_tally(json.key("ledger_imbalance"), imbalance);
                json.key("blocks").begin_list();
                for check in blocks.iter().filter_map(|block| block.check.as_ref()) {
                    write_check(json, check);
                }
                json.end_list();
                let unchecked = blocks.iter().filter(|block| block.check.is_none());
                json.key("blocks_not_checked").strings(unchecked.map(|block| block.meta.ulid.to_string()));
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
        self.work(&params, "verification", work, |json, (log, blocks)| {
            let good = log.as_ref().is_none_or(Verified::is_good) && blocks.iter().all(BlockVerification::is_good);
            json.begin_object().key("good").bool(good);
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

type Outcome = (Option<Verified>, Vec<BlockVerification>);

fn verify(db: &Db, scope: Scope) -> Result<Outcome, ApiError> {
    let log = if scope == Scope::Blocks { None } else { Some(db.verify()?) };
    let blocks = if scope == Scope::Log { Vec::new() } else { db.blocks() };
    // A block that was compacted meanwhile is in its child, which the scrub reads.
    let checks = blocks.iter().filter_map(|block| db.verify_block(block.meta.ulid)).collect();
    Ok((log, checks))
}

/// A proof of the log.
pub(super) fn write_verified(json: &mut JsonWriter<'_>, verified: &Verified) {
    json.begin_object();
    write_moment(json.key("time"), Some(verified.at_ms));
    json.key("duration_seconds").float(verified.elapsed.as_secs_f64());
    json.key("good").bool(verified.is_good());
    json.key("group").uint(verified.group);
    write_tally(json.key("log"), verified.log);
    write_tally(json.key("ledger_imbalance"), verified.imbalance);
    json.key("findings").strings(&verified.findings).end_object();
}
