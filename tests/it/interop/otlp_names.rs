//! Names and labels of OTLP metrics beside VictoriaMetrics, which gets the same request and follows Prometheus' naming
//! where it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use crate::harness::peers::with_peers;
use crate::harness::remote_write::put_bytes;
use crate::harness::{Chronolith, Settings, http};

/// A metric's data: the number of its field.
const GAUGE: u8 = 5;
const SUM: u8 = 7;

/// Name, unit, and which data. A sum rises.
const METRICS: &[(&str, &str, u8)] = &[
    ("plain", "", GAUGE),
    ("http.server.active_requests", "{request}", GAUGE),
    ("process.memory.usage", "By", GAUGE),
    ("memory_bytes", "By", GAUGE),
    ("system.cpu.utilization", "1", GAUGE),
    ("cpu_ratio", "1", GAUGE),
    ("latency", "ms", GAUGE),
    ("age", "d", GAUGE),
    ("fan.speed", "{rotation}/min", GAUGE),
    ("disk.throughput", "By/s", GAUGE),
    ("network.rate", "MiBy/m", GAUGE),
    ("room.temperature", "Cel", GAUGE),
    ("load", "%", GAUGE),
    ("power", "W", GAUGE),
    ("frequency", "Hz", GAUGE),
    ("own", "own_unit", GAUGE),
    ("size", "KiBy", GAUGE),
    ("size2", "KBy", GAUGE),
    ("double__underscore", "", GAUGE),
    ("with:colon", "", GAUGE),
    ("2nd.try", "", GAUGE),
    ("requests", "", SUM),
    ("requests2", "1", SUM),
    ("requests3_total", "", SUM),
    ("total.of.requests4", "", SUM),
    ("io", "By", SUM),
    ("cpu.time", "s", SUM),
    ("wait_seconds", "s", SUM),
    ("packets", "{packet}", SUM),
    ("largest", "m", SUM),
];

const ATTRIBUTES: &[(&str, &str)] = &[
    ("http.method", "GET"),
    ("plain", "x"),
    ("_private", "p"),
    ("__two", "q"),
    ("1st", "y"),
    ("with:colon", "c"),
    ("k8s.pod/name", "pod"),
    ("a__b", "ab"),
    ("end.", "e"),
];

fn text(out: &mut Vec<u8>, field: u8, text: &str) {
    put_bytes(out, field, text.as_bytes());
}

fn attribute(field: u8, out: &mut Vec<u8>, key: &str, value: &str) {
    let (mut any, mut pair) = (Vec::new(), Vec::new());
    text(&mut any, 1, value);
    text(&mut pair, 1, key);
    put_bytes(&mut pair, 2, &any);
    put_bytes(out, field, &pair);
}

/// All metrics of one resource, with one point each.
fn request(resource_attributes: &[(&str, &str)], now_ms: u64) -> Vec<u8> {
    let mut metrics = Vec::new();
    for &(name, unit, data_field) in METRICS {
        let mut point = vec![3 << 3 | 1];
        point.extend((now_ms * 1_000_000).to_le_bytes());
        point.push(4 << 3 | 1);
        point.extend(1.5f64.to_le_bytes());
        for (key, value) in ATTRIBUTES {
            attribute(7, &mut point, key, value);
        }
        let (mut data, mut metric) = (Vec::new(), Vec::new());
        put_bytes(&mut data, 1, &point);
        if data_field == SUM {
            // Cumulative, monotonic.
            data.extend([2 << 3, 2, 3 << 3, 1]);
        }
        text(&mut metric, 1, name);
        text(&mut metric, 3, unit);
        put_bytes(&mut metric, data_field, &data);
        put_bytes(&mut metrics, 2, &metric);
    }
    let (mut resource, mut parts, mut request) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in resource_attributes {
        attribute(1, &mut resource, key, value);
    }
    put_bytes(&mut parts, 1, &resource);
    put_bytes(&mut parts, 2, &metrics);
    put_bytes(&mut request, 1, &parts);
    request
}

type Labels = BTreeMap<String, String>;

fn series(address: SocketAddr) -> BTreeSet<Labels> {
    let answer = http::get(address, "/api/v1/series?match%5B%5D=%7B__name__!%3D%22%22%7D&start=0").unwrap();
    let answer = answer.json();
    let pairs = |series: &serde_json::Value| -> Labels {
        let pairs = series.as_object().unwrap().iter();
        pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    };
    answer["data"].as_array().unwrap().iter().map(pairs).collect()
}

fn send(address: SocketAddr, path: &str, body: &[u8]) {
    let answer = http::request(address, "POST", path, &[("Content-Type", "application/x-protobuf")], body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text(), "");
}

#[test]
fn interop_otlp_names_and_labels_are_those_of_victoriametrics_with_prometheus_naming() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["-opentelemetry.usePrometheusNaming", "-opentelemetry.promoteScopeMetadata=false"];
        let (_process, victoria_metrics) = peers.victoria_metrics_with(dir.path(), &arguments);
        let settings = Settings::default().with("otlp.promote_all_resource_attributes", "true");
        let server = Chronolith::start_with(&dir.path().join("data"), settings);
        let now_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let resource =
            [("service.namespace", "shop"), ("service.name", "cart"), ("service.instance.id", "1"), ("host.name", "h")];
        let request = request(&resource, now_ms);
        send(server.address, "/v1/metrics", &request);
        send(victoria_metrics, "/opentelemetry/v1/metrics", &request);
        http::get(victoria_metrics, "/internal/force_flush").unwrap();
        let theirs: BTreeSet<Labels> = series(victoria_metrics).into_iter().map(as_prometheus_has_it).collect();
        let ours = series(server.address);
        let difference = |a: &BTreeSet<Labels>, b: &BTreeSet<Labels>| a.difference(b).cloned().collect::<Vec<_>>();
        let target_info = difference(&ours, &theirs);
        assert_eq!(difference(&theirs, &ours), Vec::<Labels>::new());
        // VictoriaMetrics makes no series of a resource.
        assert_eq!(target_info.iter().map(|labels| &labels["__name__"]).collect::<Vec<_>>(), ["target_info"]);
        assert_eq!(theirs.len(), METRICS.len());
    });
}

/// What VictoriaMetrics does otherwise than Prometheus, whose source we follow.
fn as_prometheus_has_it(mut labels: Labels) -> Labels {
    // It makes neither `job` nor `instance` of what identifies the resource.
    labels.insert("job".to_owned(), "shop/cart".to_owned());
    labels.insert("instance".to_owned(), "1".to_owned());
    if let Some(name) = labels.get_mut("__name__") {
        match name.as_str() {
            // Colons are allowed in names of metrics, so Prometheus keeps them.
            "with_colon" => *name = "with:colon".to_owned(),
            // A name of Prometheus' old rules can't begin with a digit.
            "2nd_try" => *name = "_2nd_try".to_owned(),
            _ => {}
        }
    }
    labels
}
