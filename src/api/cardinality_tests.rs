//! Tests of `storage/cardinality`, over a database in memory.

use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use super::*;
use crate::api::route::Route;
use crate::api::testing;
use crate::model::raw_labels::encode_canonical;
use crate::model::{LabelSet, RawLabels, Sample};
use crate::storage::{SeriesEntry, WriteBatch};

const NOW_MS: i64 = 1_700_000_000_000;

/// A server that holds `up` of ten pods and `http` of one pod and thirty paths.
fn server() -> Arc<Api> {
    let (api, db) = testing::server(NOW_MS, Arc::default());
    let mut labels: Vec<Vec<u8>> = Vec::new();
    let mut add = |metric: &str, name: &str, value: String| {
        let mut bytes = Vec::new();
        encode_canonical(LabelSet::from_pairs([("__name__", metric), (name, value.as_str())]).iter(), &mut bytes);
        labels.push(bytes);
    };
    (0..10).for_each(|pod| add("up", "pod", format!("pod-{pod}")));
    (0..30).for_each(|path| add("http", "path", format!("<img src=x onerror=alert({path})>")));
    let entries = labels.iter().zip(0..);
    let batch = WriteBatch {
        series: entries.map(|(bytes, at)| SeriesEntry { labels: RawLabels(bytes), samples: at..at + 1 }).collect(),
        samples: vec![Sample { timestamp_ms: NOW_MS, value: 0.5 }; labels.len()],
        ..WriteBatch::default()
    };
    db.append(&batch, NOW_MS).unwrap().1.wait().unwrap();
    api
}

fn ask(api: &Arc<Api>, path: &str, parameters: &str) -> (u16, Value) {
    let request = ApiRequest {
        method: Method::GET,
        url_query: parameters.to_owned(),
        headers: HeaderMap::new(),
        form: None,
        json: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = api.handle(Route::find(path).unwrap(), request).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    })
}

fn cardinality(api: &Arc<Api>, parameters: &str) -> Value {
    let (status, answer) = ask(api, "/api/v1/storage/cardinality", parameters);
    assert_eq!(status, 200, "{answer}");
    answer["data"].clone()
}

#[test]
fn cardinality_says_what_was_cut_and_counts_the_values_of_the_label_in_focus() {
    let api = server();
    let data = cardinality(&api, "limit=1&focus=path");
    assert_eq!((&data["head_series"], &data["series"], &data["metric_names"]), (&json!(40), &json!(40), &json!(2)));
    assert_eq!(
        (&data["metrics_total"], &data["label_names"], &data["pairs_total"]),
        (&json!(2), &json!(3), &json!(42))
    );
    let metric = json!([{ "name": "http", "series": 30, "queries": 0, "last_queried": null }]);
    assert_eq!(data["metrics"], metric);
    assert_eq!(data["labels"], json!([{ "name": "path", "values": 30, "series": 30 }]));
    let value = json!([{ "value": "<img src=x onerror=alert(0)>", "series": 1 }]);
    assert_eq!(data["focus"], json!({ "name": "path", "values_total": 30, "values": value }));
    let created = data["created"].as_array().unwrap();
    assert_eq!((created.len(), &created.last().unwrap()["series"]), (24, &json!(40)));
    let of_up = cardinality(&api, "match[]=up&focus=nothing");
    assert_eq!((&of_up["series"], &of_up["head_series"]), (&json!(10), &json!(40)));
    assert_eq!(of_up["focus"], json!({ "name": "nothing", "values_total": 0, "values": [] }));
}

#[test]
fn cardinality_knows_which_metrics_queries_asked_for() {
    let api = server();
    for query in ["up", "sum(rate(up[5m]))", "count({__name__=~\"ht.*\"})"] {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        assert_eq!(ask(&api, "/api/v1/query", &format!("query={query}")).0, 200);
    }
    let data = cardinality(&api, "");
    let up = json!({ "name": "up", "series": 10, "queries": 2, "last_queried": "2023-11-14T22:13:20.000Z" });
    assert_eq!(data["metrics"][1], up);
    let unqueried = cardinality(&api, "unqueried=true");
    assert_eq!((&unqueried["metrics_total"], &unqueried["metrics"][0]["name"]), (&json!(1), &json!("http")));
    assert_eq!(unqueried["metric_names"], 2);
}

#[test]
fn cardinality_refuses_what_it_cannot_read() {
    let api = server();
    for parameters in ["limit=1001", "limit=-1", "match[]=%7B", "match[]=%7Bx=%22%22%7D", "unqueried=maybe"] {
        let (status, answer) = ask(&api, "/api/v1/storage/cardinality", parameters);
        assert_eq!((status, &answer["errorType"]), (400, &json!("bad_data")), "{parameters}");
    }
}
