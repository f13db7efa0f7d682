//! What a query costs and how that is bounded, over the real binary: explained before it runs, refused where it cannot end well,
//! ended when nobody waits for it, and named afterwards where it was slow.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::http::{self, Response};
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, wait_for};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// A server that holds ten series of 61 samples each, up to a time in seconds.
fn start(settings: Settings) -> (TempDir, Chronolith, i64) {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start_with(&dir.path().join("data"), settings.with("web.enable_admin_api", "true"));
    // All samples lie in one of the ranges that chunks are cut at.
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 / 10 * 10;
    let end = if now % 7200 < 600 { now - 600 } else { now };
    let samples: Vec<(i64, f64)> = (0..=60).map(|n| ((end - 600 + n * 10) * 1000, n as f64)).collect();
    let series: Vec<Series> =
        (0..10).map(|id| Series::new(&[("__name__", "wide_total"), ("id", &id.to_string())], &samples)).collect();
    let answer = remote_write::send(server.address, &series).unwrap();
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    (dir, server, end)
}

fn ask(server: &Chronolith, path: &str, parameters: &[(&str, &str)]) -> Response {
    http::post_form(server.address, path, parameters).unwrap()
}

fn data(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

#[test]
fn query_explain_says_what_is_stored_and_what_each_node_took() {
    let (_dir, server, end) = start(Settings::default());
    let (start, end) = ((end - 300).to_string(), end.to_string());
    let query = "sum(rate(wide_total[1m])) + max_over_time(wide_total{id=\"1\"}[5m:10s])";
    let parameters = [("query", query), ("start", &*start), ("end", &*end), ("step", "10")];
    for flushed in [false, true] {
        if flushed {
            let answer = http::request(server.address, "POST", "/api/v1/admin/storage/flush", &[], &[]).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let plan = data(&ask(&server, "/api/v1/query_explain", &parameters));
        let rate = &plan["selectors"][0];
        assert_eq!(
            (&rate["selector"], &rate["series"], &rate["chunks"]),
            (&"wide_total[1m]".into(), &10.into(), &10.into())
        );
        assert_eq!(rate["samples"], 610, "flushed: {flushed}: {plan}");
        assert!(rate["bytes"].as_u64().is_some_and(|bytes| bytes > 500 && bytes < 10_000), "{plan}");
        assert_eq!(plan["estimate"]["series"], 11);
        assert_eq!(plan["estimate"]["chunks"], 11);
        assert!(
            plan["refused"].is_null() && plan["run"].is_null() && plan["plan"][0]["elapsed_seconds"].is_null(),
            "{plan}"
        );

        let analyzed: Vec<(&str, &str)> = parameters.iter().copied().chain([("analyze", "true")]).collect();
        let plan = data(&ask(&server, "/api/v1/query_explain", &analyzed));
        let nodes = plan["plan"].as_array().unwrap();
        let shown: Vec<(u64, &str)> =
            nodes.iter().map(|node| (node["depth"].as_u64().unwrap(), node["text"].as_str().unwrap())).collect();
        assert_eq!(
            shown,
            [
                (0, "binary operator +"),
                (1, "aggregation sum, folding each series as it comes"),
                (2, "function rate, series by series"),
                (3, "range selector wide_total[1m]: 10 series"),
                (1, "function max_over_time, series by series"),
                (2, "subquery over 300000 ms, every 10000 ms"),
                (3, "instant selector wide_total{id=\"1\"}: 1 series"),
            ]
        );
        assert_eq!(nodes.iter().map(|node| node["series"].as_u64()).collect::<Vec<_>>()[2], Some(10), "{plan}");
        let seconds = |node: usize| nodes[node]["elapsed_seconds"].as_f64().unwrap();
        assert!(seconds(0) >= seconds(1) && seconds(1) >= seconds(2) && seconds(4) >= seconds(6), "{plan}");
        // A range of a minute and the five before it, at each end one sample more than steps.
        assert_eq!(nodes[2]["samples_read"], plan["selectors"][0]["samples_read"]);
        assert_eq!(plan["selectors"][0]["samples_read"], 10 * 36);
        assert!(
            plan["run"]["samples"].as_u64().unwrap() > 0
                && plan["run"]["elapsed_seconds"].as_f64().unwrap() >= seconds(0)
        );
    }
    let wrong = ask(&server, "/api/v1/query_explain", &[("query", "up"), ("analyze", "perhaps")]);
    assert_eq!((wrong.status, wrong.json()["errorType"].as_str()), (400, Some("bad_data")));
}

#[test]
fn query_stats_all_gives_the_samples_of_each_step() {
    let (_dir, server, end) = start(Settings::default());
    let (start, end) = ((end - 20).to_string(), end.to_string());
    let parameters =
        [("query", "rate(wide_total[1m])"), ("start", &*start), ("end", &*end), ("step", "10"), ("stats", "all")];
    let stats = data(&ask(&server, "/api/v1/query_range", &parameters))["stats"]["samples"].clone();
    assert_eq!(stats["totalQueryableSamples"], 180);
    let steps = stats["totalQueryableSamplesPerStep"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    assert_eq!(steps[0][0].as_f64(), Some(start.parse().unwrap()));
    assert!(steps.iter().all(|step| step[1] == 60), "{stats}");
}

#[test]
fn query_that_passes_a_bound_whatever_the_data_is_refused_before_it_runs() {
    let (_dir, server, end) = start(Settings::default().with("query.max_samples", "1000000"));
    let end = end.to_string();
    // What stands before the subquery would take far longer than the test may.
    let query = "quantile_over_time(0.5, vector(1)[10h:100ms]) + sum_over_time(vector(1)[1y:1ms])";
    let plan = data(&ask(&server, "/api/v1/query_explain", &[("query", query), ("time", &end)]));
    let text = "query processing would load too many samples into memory in query execution";
    assert_eq!(plan["refused"], text, "{plan}");
    assert!(plan["certain"]["samples"].as_u64() > plan["limits"]["samples"].as_u64(), "{plan}");
    let began = Instant::now();
    let answer = ask(&server, "/api/v1/query", &[("query", query), ("time", &end)]);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (422, Some(text)));
    assert_eq!(answer.json()["errorType"], "execution");
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    // What is stored is a bound from above and refuses nothing.
    let plan =
        data(&ask(&server, "/api/v1/query_explain", &[("query", "count_over_time(wide_total[10m])"), ("time", &end)]));
    assert!(plan["refused"].is_null(), "{plan}");
}

/// Ticks of processor time that a process took so far.
fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn active(server: &Chronolith) -> Vec<Value> {
    data(&server.get("/api/v1/status/active_queries"))["queries"].as_array().unwrap().clone()
}

#[test]
fn query_whose_client_goes_away_ends_and_leaves_the_processor() {
    let settings = Settings::default().with("query.log_slower_than", "1ms").with("query.max_concurrency", "1");
    let (_dir, server, end) = start(settings);
    // Minutes of work over a few samples: each of many steps sorts a large window.
    let query = "quantile_over_time(0.5, vector(1)[1d:1s])";
    let (start, end) = ((end - 10_000).to_string(), end.to_string());
    let form = http::form(&[("query", query), ("start", &start), ("end", &end), ("step", "1")]);
    for path in ["/api/v1/query_range", "/api/v1/query_explain"] {
        let analyze = if path.ends_with("explain") { "&analyze=true" } else { "" };
        let head = format!("GET {path}?{form}{analyze} HTTP/1.1\r\nHost: x\r\n\r\n");
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let mut client = http::connect(server.address).unwrap();
                client.write_all(head.as_bytes()).unwrap();
                client
            })
            .collect();
        // One has its turn and one waits for it.
        wait_for("two active queries", LIMIT, || {
            let states: Vec<String> = active(&server).iter().map(|one| one["state"].to_string()).collect();
            let is_right = states.len() == 2 && states.iter().any(|state| state.contains("running"));
            if is_right { Ok(()) } else { Err(format!("{states:?}")) }
        });
        let too_late = ask(&server, "/api/v1/query", &[("query", "late"), ("timeout", "20ms")]);
        assert_eq!(too_late.status, 503, "{}", too_late.text());
        let shown = active(&server).remove(0);
        assert_eq!((shown["query"].as_str(), shown["step_seconds"].as_f64()), (Some(query), Some(1.0)), "{shown}");
        assert_eq!(server.metric("prometheus_engine_queries"), Some(2.0));
        drop(clients);
        wait_for("no active query", LIMIT, || {
            let active = active(&server);
            if active.is_empty() { Ok(()) } else { Err(format!("{active:?}")) }
        });
        assert_eq!(server.metric("prometheus_engine_queries"), Some(0.0));
        let before = processor_ticks(server.process.pid());
        thread::sleep(Duration::from_millis(500));
        let ticks = processor_ticks(server.process.pid()) - before;
        assert!(ticks < 25, "{ticks} ticks of 50 taken by nobody's query");
    }
    let slowest = data(&server.get("/api/v1/status/slow_queries"))["queries"].clone();
    assert_eq!(slowest[0]["query"], query, "{slowest}");
    assert_eq!(slowest[0]["error"], "query was canceled in expression evaluation", "{slowest}");
    let late = slowest.as_array().unwrap().iter().find(|one| one["query"] == "late").expect("one that had no turn");
    assert_eq!(late["error"], "query timed out in query queue");
    assert!(server.process.log().contains("slow query"), "{}", server.process.log());
}

#[test]
fn slow_queries_are_listed_with_what_they_cost() {
    let (_dir, server, end) = start(Settings::default().with("query.log_slower_than", "none"));
    let end = end.to_string();
    for query in ["wide_total", "sum_over_time(vector(1)[1d:1s])"] {
        data(&ask(&server, "/api/v1/query", &[("query", query), ("time", &end)]));
    }
    let slowest = data(&server.get("/api/v1/status/slow_queries"))["queries"].clone();
    assert_eq!(slowest.as_array().unwrap().len(), 2);
    let seconds = |place: usize| slowest[place]["elapsed_seconds"].as_f64().unwrap();
    assert!(seconds(0) >= seconds(1), "{slowest}");
    let wide = slowest.as_array().unwrap().iter().find(|one| one["query"] == "wide_total").unwrap();
    assert_eq!((&wide["series"], &wide["samples"]), (&10.into(), &10.into()), "{slowest}");
    assert!(!server.process.log().contains("slow query"));
}

#[test]
fn hostile_expressions_in_little_memory_are_refused_or_answered() {
    let settings = Settings::default().with("query.max_memory", "16MiB").with("query.timeout", "10s");
    let (_dir, mut server, end) = start(settings);
    let end = end.to_string();
    let repeat = |before: &str, core: &str, behind: &str, times: usize| {
        format!("{}{core}{}", before.repeat(times), behind.repeat(times))
    };
    let year = (end.parse::<i64>().unwrap() - 31_536_000).to_string();
    let literal = "x".repeat(900_000);
    let doubling = |times| repeat("label_replace(", "wide_total", ", \"id\", \"$1$1\", \"id\", \"(.*)\")", times);
    let queries = [
        repeat("(", "1", ")", 1_000_000),
        repeat("(", "1", ")", 500_000),
        repeat("(", "1", ")", 900),
        repeat("", "1", "+1", 10_000),
        repeat("", "wide_total", " + wide_total", 10_000),
        repeat("", "wide_total", " or wide_total", 900),
        repeat("-", "1", "", 100_000),
        repeat("-", "wide_total", "", 900),
        repeat("abs(", "wide_total", ")", 100_000),
        repeat("abs(", "wide_total", ")", 900),
        repeat("sum(", "wide_total", ")", 900),
        repeat("topk(1, ", "wide_total", ")", 900),
        repeat("max_over_time(", "wide_total", "[1m:10s])", 900),
        repeat("max_over_time(", "wide_total", "[1y:1ms])", 3),
        "sum_over_time(wide_total[1y:1ms])".to_owned(),
        "sum_over_time(vector(1)[1y:1ms])".to_owned(),
        "count_over_time(wide_total[1y:100ms])".to_owned(),
        "wide_total[1y]".to_owned(),
        "wide_total[1y:1ms]".to_owned(),
        format!("\"{literal}\""),
        format!("label_join(wide_total, \"a\", \"{literal}\", \"id\", \"id\")"),
        format!("label_replace(wide_total, \"a\", \"{literal}\", \"id\", \".*\")"),
        format!("label_replace(wide_total, \"a\", \"{}\", \"id\", \"(.*)\")", "$1".repeat(400_000)),
        format!("label_replace(wide_total, \"a\", \"\", \"id\", \"{literal}\")"),
        format!("label_join(wide_total, \"a\", \"-\"{})", ", \"id\"".repeat(45_000)),
        format!("wide_total{{id=~\"{literal}\"}}"),
        format!("wide_total{{id=~\"{}\"}}", "(a|b)?".repeat(10_000)),
        "wide_total{id=~\"((a{100}){100}){100}\"}".to_owned(),
        repeat("", "wide_total", " or wide_total{id=~\"(.{990}|c)d\"}", 900),
        format!("wide_total{{{}}}", "id!=\"x\",".repeat(20_000)),
        format!("wide_total{{{}}}", "id!=\"\",".repeat(20_000)),
        format!("wide_total{{{}}}", (0..200).map(|one| format!("id=~\".+|{one}\",")).collect::<String>()),
        doubling(40),
        doubling(900),
        format!("sum by ({}) (wide_total)", "a,".repeat(40_000)),
        format!("count_values(\"{literal}\", wide_total)"),
        "wide_total @ 1e300 offset 1e9y".to_owned(),
        format!("{}[1y:1ms]", repeat("max_over_time(", "vector(1)", "[1h:1ms])", 50)),
    ];
    for query in &queries {
        for range in [false, true] {
            let began = Instant::now();
            let parameters: &[(&str, &str)] = match range {
                false => &[("query", query), ("time", &end)],
                true => &[("query", query), ("start", &year), ("end", &end), ("step", "604800")],
            };
            let path = if range { "/api/v1/query_range" } else { "/api/v1/query" };
            for path in [path, "/api/v1/query_explain"] {
                let answer = ask(&server, path, parameters);
                let text = answer.text();
                assert!(
                    matches!(answer.status, 200 | 400 | 413 | 422 | 503),
                    "{path} {query:.80}: {} {text:.300}",
                    answer.status
                );
                assert!(
                    matches!(answer.status, 200 | 413) || text.contains("\"error\":\""),
                    "{path} {query:.80}: {text:.300}"
                );
            }
            assert!(began.elapsed() < LIMIT, "{query:.80}: {:?}", began.elapsed());
        }
        assert!(server.process.ended().is_none(), "{query:.80} ended the server:\n{}", server.process.log());
    }
    for path in ["/api/v1/format_query", "/api/v1/parse_query"] {
        for query in &queries {
            assert!(ask(&server, path, &[("query", query)]).status < 500, "{path} {query:.80}");
        }
    }
    let steps = [("query", "vector(1)"), ("start", "0"), ("end", "1000000"), ("step", "1")];
    assert_eq!(ask(&server, "/api/v1/query_range", &steps).status, 400, "a million steps");
    let peak = std::fs::read_to_string(format!("/proc/{}/status", server.process.pid())).unwrap();
    let peak =
        peak.lines().find(|line| line.starts_with("VmHWM:")).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert!(peak.parse::<u64>().unwrap() < 1 << 20, "{peak} KiB at the peak");
    assert!(!server.process.log().contains("panicked"), "{}", server.process.log());
}
