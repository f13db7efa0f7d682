//! What queries cost, as Prometheus counts it: the samples in all, and those of each step.

use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::histograms;
use crate::harness::peers::with_peers;
use crate::harness::process::temp_dir;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, http};

/// Queries that are counted in different ways: overlapping windows, what is evaluated once, subqueries, histograms.
const QUERIES: &[&str] = &[
    "1",
    "time()",
    "vector(1)",
    "cost",
    "cost{code=\"500\"}",
    "nothing",
    "gaps",
    "cost offset 1m",
    "cost @ end()",
    "cost @ start()",
    "-cost",
    "timestamp(cost)",
    "timestamp(gaps)",
    "sum(cost)",
    "sum by (code) (rate(cost[2m]))",
    "topk(1, cost)",
    "quantile(scalar(cost{code=\"200\"}) > bool 0, cost)",
    "count_values(\"value\", cost)",
    "rate(cost[5m])",
    "rate(gaps[1m])",
    "increase(cost[30s])",
    "rate(cost[5m] @ end())",
    "sum(rate(cost[5m] @ start()))",
    "rate(cost[5m] offset 2m)",
    "predict_linear(cost[5m], 60)",
    "predict_linear(cost[5m] @ end(), 60)",
    "quantile_over_time(scalar(cost{code=\"200\"}) / 1e9, cost[2m])",
    "absent_over_time(gaps[1m])",
    "absent(cost)",
    "last_over_time(gaps[2m])",
    "deriv(gaps[4m])",
    "sum_over_time(cost[5m:30s])",
    "sum_over_time(cost[5m:])",
    "max_over_time(rate(cost[1m])[3m:20s])",
    "max_over_time(rate(cost[1m] @ end())[3m:20s])",
    "max_over_time(sum_over_time(cost[1m:10s])[2m:30s])",
    "max_over_time(cost[2m:30s] @ end())",
    "sum_over_time(vector(1)[2m:10s])",
    "cost / cost",
    "cost / on (code) group_left sum by (code) (cost)",
    "cost and cost{code=\"500\"}",
    "nothing and cost",
    "cost unless nothing",
    "cost or gaps",
    "cost * 2 > 10",
    "scalar(cost{code=\"200\"}) + 1",
    "label_replace(cost, \"a\", \"$1\", \"code\", \"(.).*\")",
    "label_join(gaps, \"a\", \"-\", \"code\", \"code\")",
    "sort_desc(cost)",
    "clamp(cost, 0, scalar(cost{code=\"500\"}))",
    "histogram_quantile(0.9, sum by (le) (rate(cost[1m])))",
    "(cost @ end()) + cost",
    "sum(cost @ start()) + sum(cost @ end())",
    "avg_over_time(cost[2m]) - avg_over_time(cost[1m])",
];

/// Queries that are no range queries.
const INSTANT_QUERIES: &[&str] = &[
    "cost[5m]",
    "gaps[5m]",
    "cost[5m] offset 1m",
    "cost[3m:30s]",
    "rate(cost[1m])[3m:30s]",
    "\"text\"",
    "cost[1m] @ 0",
];

#[test]
fn interop_query_stats_count_the_samples_that_prometheus_counts() {
    with_peers(|peers| {
        let dir = temp_dir();
        let server = Chronolith::start(&dir.path().join("chronolith"));
        let per_step = "--enable-feature=promql-per-step-stats";
        let prometheus = peers.prometheus_with(&dir.path().join("prometheus"), "", &[per_step]);
        let end = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 / 60 * 60 - 60;
        for address in [server.address, prometheus.address] {
            feed(address, end);
        }
        let mut faults = Vec::new();
        let mut compare = |query: &str, path: &str, parameters: &[(&str, &str)]| {
            let [ours, theirs] = [server.address, prometheus.address].map(|address| samples(address, path, parameters));
            if ours != theirs {
                faults.push(format!("{query} {path}\n    {ours}\n    not {theirs}"));
            }
        };
        let (start, end) = ((end - 600).to_string(), end.to_string());
        for query in QUERIES.iter().chain(INSTANT_QUERIES) {
            compare(query, "/api/v1/query", &[("query", query), ("time", &end), ("stats", "all")]);
        }
        for query in QUERIES {
            for step in ["15", "60", "250"] {
                let parameters =
                    [("query", *query), ("start", &*start), ("end", &*end), ("step", step), ("stats", "all")];
                compare(query, "/api/v1/query_range", &parameters);
            }
        }
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    });
}

/// Queries over histograms, each of which counts for as many samples as take its room. How buckets are laid out that a series
/// comes to have later is up to the store, so the series with most of these is left out. So are `histogram_count` and its like, for which
/// buckets are left out before they are counted.
const HISTOGRAM_QUERIES: &[&str] = &[
    "native{series=~\"int|float|custom_.*|kinds\"}",
    "native{series=\"gauge_int\"}",
    "native{series=\"gauge_float\"}",
    "native{series=\"stale_int\"}",
    "native{series=\"stale_float\"}",
    "native{series=\"hints\"}",
    "native{series=\"hints_float\"}",
    "native{series=\"large_float\"}",
    "count_over_time(native{series=~\"int|float|custom_.*|kinds\"}[1m])",
    "rate(native{series=~\"int|float\"}[2m])",
    "timestamp(native)",
    "count_over_time(native{series=~\"int|kinds\"}[2m:20s])",
];

#[test]
fn interop_query_stats_count_histograms_by_their_size() {
    with_peers(|peers| {
        let dir = temp_dir();
        let server = Chronolith::start(&dir.path().join("chronolith"));
        let arguments = ["--enable-feature=promql-per-step-stats,native-histograms"];
        let prometheus = peers.prometheus_with(&dir.path().join("prometheus"), "", &arguments);
        for address in [server.address, prometheus.address] {
            histograms::send(address);
        }
        let mut faults = Vec::new();
        for query in HISTOGRAM_QUERIES {
            let parameters =
                [("query", *query), ("start", "1700000000"), ("end", "1700000600"), ("step", "15"), ("stats", "all")];
            let [ours, theirs] = [server.address, prometheus.address]
                .map(|address| samples(address, "/api/v1/query_range", &parameters));
            assert!(theirs["totalQueryableSamples"].as_u64() > Some(100), "{query}: {theirs}");
            if ours != theirs {
                faults.push(format!("{query}\n    {ours}\n    not {theirs}"));
            }
        }
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    });
}

/// Counters, and a series with gaps and staleness markers.
fn feed(address: SocketAddr, end: i64) {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let at = |n: i64| (end - 1800 + n * 15) * 1000;
    let mut series: Vec<Series> = ["200", "404", "500"]
        .iter()
        .map(|code| {
            let samples: Vec<(i64, f64)> = (0..=120).map(|n| (at(n), (n * 7) as f64)).collect();
            Series::new(&[("__name__", "cost"), ("code", code)], &samples)
        })
        .collect();
    let gaps = (0..=120).filter(|n| n % 40 < 30).map(|n| (at(n), if n % 40 == 29 { stale } else { n as f64 }));
    series.push(Series::new(&[("__name__", "gaps"), ("code", "1")], &gaps.collect::<Vec<_>>()));
    let answer = remote_write::send(address, &series).unwrap();
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
}

/// What a query says of the samples that it looked at. The most that it held is counted in another way.
fn samples(address: SocketAddr, path: &str, parameters: &[(&str, &str)]) -> Value {
    let body = http::post_form(address, path, parameters).unwrap().json();
    assert_eq!(body["status"], "success", "{parameters:?}: {body}");
    let mut samples = body["data"]["stats"]["samples"].clone();
    assert!(samples.as_object_mut().unwrap().remove("peakSamples").is_some(), "{parameters:?}: {samples}");
    samples
}
