//! Tests of `storage/writers` and `storage/rejects`, over a database in memory.

use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method};
use serde_json::Value;

use super::*;
use crate::api::route::Route;
use crate::api::testing;
use crate::model::raw_labels::encode_canonical;
use crate::model::{LabelSet, RawLabels, Sample};
use crate::storage::{BatchOutcome, SeriesEntry, WriteBatch};
use crate::writers::{Answered, RequestFault, Sender, WriterBook};

const NOW_MS: i64 = 1_700_000_000_000;

struct Server {
    api: Arc<Api>,
    db: Arc<Db>,
    book: Arc<WriterBook>,
}

fn server() -> Server {
    let book = Arc::new(WriterBook::default());
    let (api, db) = testing::server(NOW_MS, book.clone());
    Server { api, db, book }
}

fn sender(last: u8, agent: &str) -> Sender {
    Sender {
        address: Some([10, 0, 0, last].into()),
        agent: Some(agent.to_owned()),
        ..Sender::unknown(Protocol::RemoteWrite1)
    }
}

impl Server {
    /// Sends `count` series of a metric as the write path does.
    fn write(&self, sender: &Sender, metric: &str, count: u32, timestamp_ms: i64) -> BatchOutcome {
        let encode = |number: u32| {
            let mut bytes = Vec::new();
            let number = number.to_string();
            let set = LabelSet::from_pairs([("__name__", metric), ("pod", number.as_str())]);
            encode_canonical(set.iter(), &mut bytes);
            bytes
        };
        let labels: Vec<Vec<u8>> = (0..count).map(encode).collect();
        let entries = labels.iter().zip(0..);
        let batch = WriteBatch {
            writer: self.book.number(sender, NOW_MS),
            series: entries.map(|(bytes, at)| SeriesEntry { labels: RawLabels(bytes), samples: at..at + 1 }).collect(),
            samples: vec![Sample { timestamp_ms, value: 0.5 }; count as usize],
            ..WriteBatch::default()
        };
        let (outcome, durable) = self.db.append(&batch, NOW_MS).unwrap();
        self.book.accepted(sender, NOW_MS, &outcome, |at| batch.series.get(at)?.labels.to_label_set().ok());
        durable.wait().unwrap();
        self.book.stored(sender, NOW_MS, &outcome);
        self.book.answered(sender, NOW_MS, Answered::Ok);
        outcome
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (path, url_query) = path.split_once('?').unwrap_or((path, ""));
        let request = ApiRequest {
            method: Method::GET,
            url_query: url_query.to_owned(),
            headers: HeaderMap::new(),
            form: None,
            json: None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answer = self.api.handle(Route::find(path).unwrap(), request).await;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&body).unwrap())
        })
    }
}

#[test]
fn writer_of_many_series_is_first_and_named_with_its_metrics() {
    let server = server();
    server.write(&sender(1, "quiet/1.0"), "up", 3, NOW_MS);
    server.write(&sender(2, "noisy/2.0"), "http_requests_total", 400, NOW_MS);
    server.write(&sender(2, "noisy/2.0"), "up", 4, NOW_MS);
    let (status, answer) = server.get("/api/v1/storage/writers");
    assert_eq!(status, 200);
    let writers = answer["data"]["writers"].as_array().unwrap();
    assert_eq!(writers.len(), 2);
    let noisy = &writers[0];
    assert_eq!((noisy["address"].as_str(), noisy["agent"].as_str()), (Some("10.0.0.2"), Some("noisy/2.0")));
    // One of its series of `up` is its own, the other three were there.
    assert_eq!((noisy["active_series"].as_u64(), noisy["series_created"].as_u64()), (Some(401), Some(401)));
    assert_eq!(noisy["metrics"][0]["metric"], "http_requests_total");
    assert_eq!(noisy["metrics"][0]["series"], 400);
    assert_eq!(noisy["metrics"][0]["example"]["__name__"], "http_requests_total");
    assert_eq!(noisy["samples"]["added"].as_u64(), Some(401));
    assert_eq!(noisy["samples"]["duplicate"].as_u64(), Some(3));
    assert_eq!(writers[1]["active_series"], 3);
    assert_eq!(answer["data"]["before_start"]["active_series"], 0);
    let (_, answer) = server.get("/api/v1/storage/writers?sort=samples&limit=1");
    assert_eq!(answer["data"]["writers"].as_array().unwrap().len(), 1);
    let (status, answer) = server.get("/api/v1/storage/writers?sort=name");
    assert_eq!(status, 400, "{answer}");
}

#[test]
fn rejects_are_told_with_who_why_and_which_sample() {
    let server = server();
    server.write(&sender(1, "quiet/1.0"), "up", 1, NOW_MS);
    let outcome = server.write(&sender(2, "noisy/2.0"), "up", 1, NOW_MS + 86_400_000);
    assert_eq!(outcome.rejected_total(), 1);
    server.book.refuse(&sender(3, "odd"), NOW_MS, Answered::Refused, RequestFault::MediaType, "only snappy");
    let (status, answer) = server.get("/api/v1/storage/rejects");
    assert_eq!(status, 200);
    let rejects = answer["data"]["rejects"].as_array().unwrap();
    assert_eq!(rejects.len(), 2);
    assert_eq!(rejects[0]["reason"], "unsupported_media_type");
    assert_eq!(rejects[0]["detail"], "only snappy");
    let late = &rejects[1];
    assert_eq!(late["reason"], "too_far_in_future");
    assert_eq!((late["protocol"].as_str(), late["address"].as_str()), (Some("remote-write"), Some("10.0.0.2")));
    assert_eq!(late["labels"]["pod"], "0");
    assert_eq!((late["value"].as_str(), late["samples"].as_u64()), (Some("0.5"), Some(1)));
    assert_eq!(late["sample_time"], "2023-11-15T22:13:20.000Z");
    assert_eq!(answer["data"]["totals"].as_array().unwrap().len(), 2);
}

#[test]
fn rejects_are_chosen_by_reason_protocol_writer_and_labels() {
    let server = server();
    server.write(&sender(1, "a"), "up", 3, NOW_MS + 86_400_000);
    server.write(&sender(2, "b"), "down", 2, NOW_MS + 86_400_000);
    server.book.refuse(&sender(2, "b"), NOW_MS, Answered::Refused, RequestFault::Malformed, "no protobuf");
    let count = |query: &str| {
        let (status, answer) = server.get(&format!("/api/v1/storage/rejects?{query}"));
        assert_eq!(status, 200, "{query}: {answer}");
        answer["data"]["rejects"].as_array().unwrap().len()
    };
    for (query, expected) in [
        ("", 6),
        ("limit=2", 2),
        ("reason=malformed_request", 1),
        ("reason=too_far_in_future", 5),
        ("protocol=remote-write", 6),
        ("protocol=otlp-grpc", 0),
        ("writer=10.0.0.2", 3),
        ("writer=a", 3),
        ("writer=nobody", 0),
        ("match[]=up", 3),
        ("match[]=%7Bpod%3D%221%22%7D", 2),
        ("match[]=up&match[]=down", 5),
        ("writer=10.0.0.2&match[]=down", 2),
    ] {
        assert_eq!(count(query), expected, "{query}");
    }
    for query in ["reason=bad", "protocol=smtp", "match[]=%7B", "limit=x"] {
        assert_eq!(server.get(&format!("/api/v1/storage/rejects?{query}")).0, 400, "{query}");
    }
}
