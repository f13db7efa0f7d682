//! OTLP's deltas added up (`otlp.deltas = "to-cumulative"`) by the running server: repeated, late, several at once, and over a
//! kill. What queries read is what was sent, each delta once.

use serde_json::{Value, json};

use crate::harness::http::{self, Response};
use crate::harness::{Chronolith, Settings, chronolith};
use crate::otlp::{JSON, now_ms};

const STEP_MS: u64 = 10_000;
/// What is counted in each step.
const COUNTS: [u64; 9] = [5, 7, 1, 30, 2, 8, 1, 3, 4];

/// The deltas of a step: of a counter, a histogram, and an exponential histogram.
fn metrics(start_ms: u64, step: usize) -> Vec<Value> {
    let nanos = |ms: u64| (ms * 1_000_000).to_string();
    let (from, to) = (nanos(start_ms + step as u64 * STEP_MS), nanos(start_ms + (step as u64 + 1) * STEP_MS));
    let count = COUNTS[step];
    let with_time = |mut point: Value| {
        point["startTimeUnixNano"] = json!(from);
        point["timeUnixNano"] = json!(to);
        json!({"aggregationTemporality": 1, "dataPoints": [point]})
    };
    let mut counter = with_time(json!({"asInt": count.to_string()}));
    counter["isMonotonic"] = json!(true);
    let histogram = with_time(json!({"count": (count + 1).to_string(), "sum": count as f64 / 4.0,
        "explicitBounds": [1.0], "bucketCounts": [count.to_string(), "1"]}));
    let exponential = with_time(json!({"count": count.to_string(), "sum": 0.5, "scale": 0, "zeroCount": "0",
        "positive": {"offset": 0, "bucketCounts": [count.to_string()]}}));
    vec![
        json!({"name": "deltas", "sum": counter}),
        json!({"name": "delays", "histogram": histogram}),
        json!({"name": "sizes", "exponentialHistogram": exponential}),
    ]
}

fn send(server: &Chronolith, metrics: &[Value]) -> Response {
    let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}).to_string();
    let answer = http::request(server.address, "POST", "/v1/metrics", &[JSON], body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Times, in steps, and values of a series, and how often it was reset.
fn read(server: &Chronolith, selector: &str, start_ms: u64) -> (Vec<(u64, f64)>, f64) {
    let now = now_ms() as f64 / 1000.0;
    let data = server.query(&format!("{selector}[15m]"), now);
    let one = &data["result"][0];
    let values = [&one["values"], &one["histograms"]].into_iter().filter_map(Value::as_array).flatten().map(|pair| {
        let at_ms = (pair[0].as_f64().unwrap() * 1000.0).round() as u64;
        let value = pair[1].as_str().or_else(|| pair[1]["count"].as_str()).unwrap().parse().unwrap();
        ((at_ms - start_ms) / STEP_MS, value)
    });
    let values = values.collect();
    let resets = server.query(&format!("resets({selector}[15m])"), now);
    (values, resets["result"][0]["value"][1].as_str().unwrap().parse().unwrap())
}

#[test]
fn otlp_deltas_are_added_up_once_each_however_they_come_and_over_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let settings = Settings::default().with("otlp.deltas", "to-cumulative");
    let mut server = Chronolith::start_with(&data, settings);
    let start_ms = (now_ms() - 600_000) / 1000 * 1000;
    let step = |step: usize| metrics(start_ms, step);
    let refused = |answer: &Response| answer.json()["partialSuccess"]["rejectedDataPoints"].as_str().map(str::to_owned);

    for number in 0..3 {
        assert_eq!(send(&server, &step(number)).text(), "{}");
    }
    // The newest once more, and one of before.
    let again = send(&server, &step(2));
    assert_eq!((again.text().as_str(), again.header("chronolith-samples")), ("{}", Some("0")));
    let late = send(&server, &step(1));
    assert_eq!(refused(&late).as_deref(), Some("3"));
    assert!(late.text().contains("comes after one that ended at"), "{}", late.text());
    // Two steps in one request, which comes twice.
    let both = [step(3), step(4)].concat();
    let answers = [send(&server, &both), send(&server, &both)];
    assert_eq!(answers.each_ref().map(|answer| answer.text()), ["{}", "{}"]);
    assert_eq!(answers.each_ref().map(|answer| answer.header("chronolith-samples").unwrap()), ["12", "0"]);

    server.kill_and_restart();
    // The sender did not hear of it, and sends it again.
    assert_eq!(refused(&send(&server, &both)).as_deref(), Some("6"));
    for number in 5..9 {
        assert_eq!(send(&server, &step(number)).text(), "{}");
    }

    // The sums begin with the first delta, and with the first one after the kill.
    let expected = |value: fn(f64) -> f64| -> Vec<(u64, f64)> {
        let sums = [0..5, 5..9].map(|steps: std::ops::Range<usize>| {
            steps
                .clone()
                .map(move |step| (step as u64 + 1, COUNTS[steps.start..=step].iter().map(|n| value(*n as f64)).sum()))
        });
        sums.into_iter().flatten().collect()
    };
    for (selector, value) in [
        ("deltas_total", (|count| count) as fn(f64) -> f64),
        ("delays_count", |count| count + 1.0),
        ("delays_sum", |count| count / 4.0),
        ("delays_bucket{le=\"1\"}", |count| count),
        ("delays_bucket{le=\"+Inf\"}", |count| count + 1.0),
        ("sizes", |count| count),
    ] {
        assert_eq!(read(&server, selector, start_ms), (expected(value), 1.0), "{selector}");
    }
    server.process.kill();
    chronolith::verify(&data, None);
}
