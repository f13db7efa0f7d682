//! The storage runbook over the API, on a simulated disk with a clock that stands still.

#[path = "findings_tests.rs"]
mod findings;

use std::path::Path;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::testing::options;
use super::*;
use crate::clock::ManualClock;
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Label, RawLabels, Sample};
use crate::storage::{SeriesEntry, WriteBatch};

const MINUTE: i64 = 60_000;
const START: i64 = 19_440 * 24 * 60 * MINUTE;

struct Server {
    fs: SimFs,
    clock: Arc<ManualClock>,
    slot: Arc<DbSlot>,
    api: Arc<Api>,
}

/// A server on a disk; `ready` says whether its replay is over.
fn start(fs: SimFs, clock: Arc<ManualClock>, admin: bool, ready: bool) -> Server {
    let slot = Arc::new(DbSlot::default());
    let db = Db::open_unlocked(options(), Arc::new(fs.clone()), clock.clone(), slot.progress()).unwrap();
    match ready {
        true => slot.fill(Arc::new(db)),
        false => db.close(),
    }
    let options = ApiOptions {
        engine: EngineOptions::default(),
        queries_max: 4,
        slow_query: None,
        settings: vec![Setting {
            key: "wal.flush_interval",
            value: "5s".to_owned(),
            default: "10s",
            origin: "flag --wal.flush-interval".to_owned(),
            help: "How often.",
        }],
        started_ms: START,
        admin,
    };
    Server { api: Arc::new(Api::new(options, slot.clone(), Arc::default(), clock.clone())), fs, clock, slot }
}

fn new(admin: bool) -> Server {
    start(SimFs::new(1), Arc::new(ManualClock::at(START)), admin, true)
}

impl Server {
    fn db(&self) -> Arc<Db> {
        self.slot.get().unwrap()
    }

    /// A sample of `up` each minute.
    fn fill(&self, minutes: std::ops::Range<i64>) {
        let mut labels = Vec::new();
        encode_canonical([Label { name: "__name__", value: "up" }].into_iter(), &mut labels);
        for minute in minutes {
            self.clock.advance(Duration::from_millis(MINUTE as u64));
            let mut batch = WriteBatch::default();
            batch.samples.push(Sample { timestamp_ms: START + minute * MINUTE, value: minute as f64 });
            batch.series.push(SeriesEntry { labels: RawLabels(&labels), samples: 0..1 });
            let (outcome, durable) = self.db().append(&batch, self.clock.now_ms()).unwrap();
            assert_eq!(outcome.added, 1);
            durable.wait().unwrap();
        }
    }

    fn ask(&self, method: Method, path: &str, json: Option<&str>) -> (u16, Value) {
        let (path, url_query) = path.split_once('?').unwrap_or((path, ""));
        let request = ApiRequest {
            method,
            url_query: url_query.to_owned(),
            headers: HeaderMap::new(),
            form: None,
            json: json.map(|json| Bytes::from(json.to_owned())),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answer = self.api.handle(Route::find(path).unwrap(), request).await;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head.status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
        })
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None);
        assert_eq!(status, 200, "{path}: {body}");
        body["data"].clone()
    }

    fn post(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::POST, path, None);
        assert_eq!(status, 200, "{path}: {body}");
        body["data"].clone()
    }

    fn query(&self, from_minute: i64, to_minute: i64) -> Value {
        let at = |minute: i64| (START + minute * MINUTE) / 1000;
        let path = format!("/api/v1/query_range?query=up&step=60&start={}&end={}", at(from_minute), at(to_minute));
        self.ask(Method::GET, &path, None).1
    }

    fn health(&self) -> (u16, Value) {
        self.ask(Method::GET, "/health", None)
    }
}

#[test]
fn runbook_shows_the_way_from_the_head_to_a_block_and_out_of_the_log() {
    let server = new(true);
    server.fill(0..130);
    let status = server.get("/api/v1/storage/status");
    assert_eq!((&status["data_dir"], &status["blocks"]["served"]), (&json!("/data"), &json!(0)));
    assert_eq!(server.get("/api/v1/storage/head")["samples"], 130);
    assert!(server.get("/api/v1/storage/wal/replay-estimate")["wal_bytes"].as_u64().unwrap() > 0);
    let flushed = server.post("/api/v1/admin/storage/flush");
    let samples: Vec<&Value> =
        flushed["flushed"].as_array().unwrap().iter().map(|one| &one["stored"]["samples"]).collect();
    assert_eq!(samples, [120, 10], "{flushed}");
    let blocks = server.get("/api/v1/storage/blocks");
    let block = &blocks["blocks"][0];
    assert_eq!((&block["samples"], &block["state"], &block["level"]), (&json!(120), &json!("served"), &json!(1)));
    assert_eq!((&block["min_time"], &blocks["lost"]), (&json!("2023-03-24T00:00:00.000Z"), &json!([])));
    assert_eq!(block["recorded"]["samples"], 120);
    let path = format!("/api/v1/storage/blocks/{}", block["ulid"].as_str().unwrap());
    assert_eq!(&server.get(&path), block);
    assert!(block["last_check"].is_null());
    let check = server.post(&format!("{path}/verify"));
    assert_eq!((&check["good"], &check["stored"]["samples"]), (&json!(true), &json!(120)));
    assert_eq!(server.get(&path)["last_check"], check);
    assert_eq!(
        server.post("/api/v1/admin/storage/compact")["compactions"],
        json!([]),
        "the newest block is left alone"
    );
    assert!(server.post("/api/v1/admin/storage/checkpoint")["checkpoint"].is_null(), "the flush did it");
    server.fill(130..140);
    let verified = server.post("/api/v1/admin/storage/verify");
    assert_eq!((&verified["good"], &verified["log"]["log"]["samples"]), (&json!(true), &json!(10)), "{verified}");
    assert_eq!(verified["blocks"].as_array().unwrap().len(), 2);
    let log_only = server.post("/api/v1/admin/storage/verify?scope=log");
    assert_eq!(log_only["blocks"], json!([]));
    let proofs = server.get("/api/v1/status/verify");
    assert_eq!((proofs["log"].as_array().unwrap().len(), proofs["blocks"].as_array().unwrap().len()), (2, 2));
    assert!(proofs["log_under_way"].is_null() && proofs["blocks_not_checked"] == json!([]));
    server.db().run_due();
    let (code, health) = server.health();
    assert_eq!((code, &health["status"]), (200, &json!("ok")), "{health}");
    assert_eq!((&health["last_verification"]["good"], &health["blocks"]["served"]), (&json!(true), &json!(2)));
    assert_eq!(health["maintenance"].as_array().unwrap().len(), crate::db::maintenance::Task::ALL.len());
    assert_eq!(health["wal"]["unprocessed_entries"], 0);
}

#[test]
fn work_that_nobody_waits_for_is_begun_and_its_outcome_is_kept() {
    let server = new(true);
    server.fill(0..10);
    let (status, begun) = server.ask(Method::POST, "/api/v1/admin/storage/flush?wait=false", None);
    assert_eq!((status, &begun["data"]["begun"]), (202, &json!("flush")));
    // The runtime of the request ended, and with it waited for the work.
    assert_eq!(server.get("/api/v1/storage/blocks")["blocks"][0]["samples"], 10);
    assert_eq!(server.get("/api/v1/storage/status")["under_way"], json!([]));
}

#[test]
fn status_shows_each_setting_with_its_default_and_who_set_it_and_what_the_process_takes() {
    let server = new(false);
    let config = server.get("/api/v1/status/config");
    assert_eq!(config["yaml"], "wal.flush_interval: \"5s\"\n");
    let setting = json!({
        "key": "wal.flush_interval", "value": "5s", "default": "10s", "origin": "flag --wal.flush-interval",
        "help": "How often.",
    });
    assert_eq!(config["settings"], json!([setting]));
    assert_eq!(server.get("/api/v1/status/flags")["wal.flush-interval"], "5s");
    let process = server.get("/api/v1/status/runtimeinfo")["process"].clone();
    let number = |key: &str| process[key].as_u64().unwrap();
    assert!(number("resident_bytes") > number("anonymous_bytes") && number("anonymous_bytes") > 0, "{process}");
    let most = process["open_files_max"].as_u64().unwrap_or(u64::MAX);
    assert!((3..=most).contains(&number("open_files")), "{process}");
}

#[test]
fn block_that_does_not_exist_is_404_and_what_is_no_name_is_400() {
    let server = new(true);
    for (path, method, status, error_type) in [
        ("/api/v1/storage/blocks/01J0000000000000000000000A", Method::GET, 404, "not_found"),
        ("/api/v1/storage/blocks/01J0000000000000000000000A/verify", Method::POST, 404, "not_found"),
        ("/api/v1/storage/blocks/..", Method::GET, 400, "bad_data"),
        ("/api/v1/storage/blocks/01j0000000000000000000000a", Method::GET, 400, "bad_data"),
        ("/api/v1/admin/storage/verify?scope=everything", Method::POST, 400, "bad_data"),
        ("/api/v1/admin/storage/flush?wait=maybe", Method::POST, 400, "bad_data"),
    ] {
        let (code, body) = server.ask(method, path, None);
        assert_eq!((code, &body["errorType"]), (status, &json!(error_type)), "{path}: {body}");
    }
}

#[test]
fn admin_paths_are_forbidden_unless_they_are_turned_on() {
    let server = new(false);
    for path in
        ["tsdb/snapshot", "tsdb/delete_series", "tsdb/clean_tombstones", "storage/flush", "storage/wal/truncate"]
    {
        let (code, body) = server.ask(Method::POST, &format!("/api/v1/admin/{path}"), None);
        let refusal = json!({"status": "error", "errorType": "unavailable", "error": "admin APIs disabled"});
        assert_eq!((code, body), (403, refusal), "{path}");
    }
}

#[test]
fn log_is_truncated_by_force_only_where_that_is_confirmed_word_for_word() {
    let server = new(true);
    server.fill(0..20);
    let path = "/api/v1/admin/storage/wal/truncate";
    for body in [None, Some(""), Some("{}"), Some(r#"{"confirmation":"yes"}"#), Some(r#"["I_UNDERSTAND"]"#)] {
        let (code, answer) = server.ask(Method::POST, path, body);
        assert_eq!((code, &answer["errorType"]), (400, &json!("bad_data")), "{body:?}");
        assert!(answer["error"].as_str().unwrap().contains(r#"{"confirmation":"I_UNDERSTAND"}"#), "{answer}");
    }
    assert!(server.get("/api/v1/storage/blocks")["blocks"] == json!([]), "nothing was done");
    let (code, answer) = server.ask(Method::POST, path, Some(r#"{"confirmation":"I_UNDERSTAND"}"#));
    assert_eq!(code, 200, "{answer}");
    let place = answer["data"]["quarantine"].as_str().unwrap();
    assert!(server.fs.exists(&Path::new("/data").join(place).join("00000000")), "{answer}");
    assert_eq!((&answer["data"]["unlogged"]["samples"], &answer["data"]["log_failed"]), (&json!(0), &Value::Null));
    assert_eq!(server.query(0, 19)["data"]["result"][0]["values"].as_array().unwrap().len(), 20);
}

#[test]
fn series_are_deleted_and_cleaned_as_in_prometheus() {
    let server = new(true);
    server.fill(0..130);
    server.post("/api/v1/admin/storage/flush");
    let delete = |text: &str| server.ask(Method::POST, &format!("/api/v1/admin/tsdb/delete_series?{text}"), None);
    let time = |minute: i64| (START + minute * MINUTE) / 1000;
    assert_eq!(delete(&format!("match[]=up&start={}&end={}", time(100), time(139))).0, 204);
    let values = || server.query(90, 129)["data"]["result"][0]["values"].as_array().unwrap().len();
    // Until the lookback is over the last value is repeated.
    assert_eq!(values(), 14);
    assert_eq!(server.get("/api/v1/storage/blocks")["blocks"][0]["tombstones"], 1);
    assert_eq!(server.ask(Method::PUT, "/api/v1/admin/tsdb/clean_tombstones", None).0, 204);
    let blocks = server.get("/api/v1/storage/blocks");
    assert_eq!((&blocks["blocks"][0]["samples"], &blocks["blocks"][0]["tombstones"]), (&json!(100), &json!(0)));
    let compactions = server.get("/api/v1/storage/compactions")["compactions"].clone();
    assert_eq!(compactions[0]["reason"], "deletions");
    assert_eq!(values(), 14);
    for (wrong, words) in [
        ("", "no match[] parameter provided"),
        (
            "match[]=up&match[]=up{",
            "invalid parameter \"match[]\": 1:4: parse error: unexpected end of input inside braces",
        ),
        (
            "match[]=up&end=x",
            "invalid parameter \"end\": invalid time value for 'end': cannot parse \"x\" to a valid timestamp",
        ),
    ] {
        let (code, body) = delete(wrong);
        assert_eq!((code, &body["errorType"], &body["error"]), (400, &json!("bad_data"), &json!(words)), "{wrong}");
    }
    assert_eq!(values(), 14, "a request with a fault deletes nothing");
    assert_eq!(delete("match[]=up&start=9&end=1").0, 204);
    assert_eq!(delete("match[]={}").0, 204);
    assert_eq!(server.query(0, 129)["data"]["result"], json!([]));
}

#[test]
fn snapshot_is_named_and_lies_beside_the_blocks() {
    let server = new(true);
    server.fill(0..10);
    let name = server.post("/api/v1/admin/tsdb/snapshot")["name"].as_str().unwrap().to_owned();
    let blocks_of = |name: &str| {
        let entries = server.fs.list(&Path::new("/data/snapshots").join(name)).unwrap();
        entries.iter().filter(|entry| entry.is_dir).count()
    };
    assert_eq!(blocks_of(&name), 1, "the head as a block");
    let name = server.post("/api/v1/admin/tsdb/snapshot?skip_head=true")["name"].as_str().unwrap().to_owned();
    assert_eq!(blocks_of(&name), 0);
    let (code, body) = server.ask(Method::POST, "/api/v1/admin/tsdb/snapshot?skip_head=x", None);
    let words =
        "invalid parameter \"skip_head\": unable to parse boolean: strconv.ParseBool: parsing \"x\": invalid syntax";
    assert_eq!((code, &body["error"]), (400, &json!(words)));
}

#[test]
fn damaged_block_is_in_health_and_in_the_warnings_of_its_range_also_while_the_log_is_replayed() {
    let server = new(true);
    server.fill(0..240);
    server.post("/api/v1/admin/storage/flush");
    let ulid = server.get("/api/v1/storage/blocks")["blocks"][0]["ulid"].as_str().unwrap().to_owned();
    server.db().close();
    server.fs.set_content(&Path::new("/data").join(&ulid).join("index"), b"rot".to_vec());

    let starting = start(server.fs.clone(), server.clock.clone(), true, false);
    let (code, health) = starting.health();
    assert_eq!(
        (code, &health["status"], &health["blocks"]["served"]),
        (200, &json!("replaying"), &json!(1)),
        "{health}"
    );
    assert_eq!((&health["blocks"]["lost"][0]["ulid"], &health["alarms"][0]["about"]), (&json!(ulid), &json!("lost")));
    let warnings = starting.query(0, 10)["warnings"].to_string();
    assert!(warnings.contains("the log is being replayed") && warnings.contains(&ulid), "{warnings}");
    let warnings = starting.query(130, 140)["warnings"].to_string();
    assert!(warnings.contains("the log is being replayed") && !warnings.contains(&ulid), "{warnings}");
    assert_eq!(starting.ask(Method::GET, "/api/v1/storage/blocks", None).0, 503);

    let ready = start(server.fs.clone(), server.clock.clone(), true, true);
    let (code, health) = ready.health();
    assert_eq!((code, &health["status"]), (200, &json!("warning")), "{health}");
    let lost = &health["blocks"]["lost"][0];
    assert_eq!((&lost["state"], &lost["min_time"]), (&json!("quarantined"), &json!("2023-03-24T00:00:00.000Z")));
    assert_eq!(&ready.get(&format!("/api/v1/storage/blocks/{ulid}")), lost);
    let answer = ready.query(0, 10);
    let (from, to) = (START, START + 120 * MINUTE - 1);
    let range = format!("with samples from {from} to {to} ms is in quarantine");
    assert!(answer["warnings"][0].as_str().unwrap().contains(&range), "{answer}");
    assert!(ready.query(130, 140).get("warnings").is_none());
    // A person takes the block away: the matter is closed.
    ready.fs.remove_dir_all(&Path::new("/data/quarantine").join(format!("block-{ulid}"))).unwrap();
    ready.clock.advance(Duration::from_secs(61));
    ready.db().run_due();
    assert_eq!(ready.health().1["status"], "ok");
    assert!(ready.query(0, 10).get("warnings").is_none());
}
