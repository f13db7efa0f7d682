//! What Grafana's data source for Prometheus asks, replayed: every call of `testdata/grafana/`, and its answer read as
//! strictly as Grafana reads it.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use crate::harness::Chronolith;
use crate::harness::http::{self, Response};
use crate::harness::peers::with_peers;
use crate::harness::remote_write::{self, compress};
use crate::harness::remote_write_2::{self, Request};

const RECORDED: [(&str, &str); 6] = [
    ("settings", include_str!("../../testdata/grafana/settings.json")),
    ("editor", include_str!("../../testdata/grafana/editor.json")),
    ("panels", include_str!("../../testdata/grafana/panels.json")),
    ("variables", include_str!("../../testdata/grafana/variables.json")),
    ("alerting", include_str!("../../testdata/grafana/alerting.json")),
    ("links", include_str!("../../testdata/grafana/links.json")),
];

const START_MS: i64 = 1_750_000_000_000;
const INTERVAL_MS: i64 = 15_000;
const POINTS: i64 = 41;

/// What is asked for: ten minutes of counters with an exemplar, native histograms, names that need escaping, and numbers
/// that are none.
fn data() -> Request {
    const COUNTER: i64 = 1;
    let mut request = Request::default();
    let times = || (0..POINTS).map(|point| START_MS + point * INTERVAL_MS);
    // In the order of their labels, in which both give them back: Prometheus' head goes by age.
    let series = request.labels(&[("__name__", "http.status"), ("service.name", "web")]);
    request.push(times().fold(series, |series, time| series.sample(time, 1.0)));
    let exemplar = request.exemplar(&[("trace_id", "abc")], START_MS + 300_500, 7.0);
    let metadata = request.metadata(COUNTER, "Requests that were answered.", "");
    let series = request.labels(&[("__name__", "http_requests_total"), ("code", "200"), ("job", "api")]);
    let counted = times().enumerate().fold(series, |series, (count, time)| series.sample(time, count as f64));
    request.push(counted.exemplar(&exemplar).metadata(&metadata));
    let series = request.labels(&[("__name__", "latency_seconds"), ("job", "api")]);
    request.push(times().fold(series, |series, time| series.histogram(&remote_write::histogram(time, 3.5))));
    for (kind, value) in
        [("large", 1e21), ("minus", f64::NEG_INFINITY), ("nan", f64::NAN), ("plus", f64::INFINITY), ("small", 1e-7)]
    {
        let series = request.labels(&[("__name__", "odd"), ("kind", kind)]);
        request.push(times().fold(series, |series, time| series.sample(time, value)));
    }
    for (instance, value) in [("a:9100", 1.0), ("b:9100", 0.0)] {
        let series = request.labels(&[("__name__", "up"), ("instance", instance), ("job", "node")]);
        request.push(times().fold(series, |series, time| series.sample(time, value)));
    }
    request
}

fn write(address: SocketAddr) {
    let answer = remote_write_2::send_raw(address, &compress(&data().encode())).unwrap();
    assert!(matches!(answer.status, 200 | 204), "{} {}", answer.status, answer.text());
}

/// Every recorded call, with where it stands.
fn calls() -> Vec<(String, Value)> {
    let mut calls = Vec::new();
    for (file, text) in RECORDED {
        let recorded: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        for call in recorded["calls"].as_array().unwrap() {
            calls.push((format!("{file}: {}", call["what"].as_str().unwrap()), call.clone()));
        }
    }
    calls
}

/// Sends a call as Grafana does.
fn ask(address: SocketAddr, call: &Value) -> Response {
    let form = call["form"].as_str();
    let mut headers = vec![("User-Agent", "Grafana/12.2.0"), ("X-Grafana-Referer", "https://grafana.example/explore")];
    headers.extend(form.map(|_| ("Content-Type", "application/x-www-form-urlencoded")));
    let (method, path) = (call["method"].as_str().unwrap(), call["path"].as_str().unwrap());
    http::request(address, method, path, &headers, form.unwrap_or("").as_bytes()).unwrap()
}

/// What is wrong with an answer.
fn faults(call: &Value, answer: &Response) -> Vec<String> {
    let expected = &call["answer"];
    let mut faults = Vec::new();
    if expected["status"] != answer.status {
        faults.push(format!("status {}: {:.200}", answer.status, answer.text()));
    }
    if let Some(text) = expected["text"].as_str()
        && answer.text() != text
    {
        faults.push(format!("{:?} instead of {text:?}", answer.text()));
    }
    if let Some(location) = expected["location"].as_str()
        && answer.header("location") != Some(location)
    {
        faults.push(format!("leads to {:?}", answer.header("location")));
    }
    let none = Map::new();
    let equals = expected["equals"].as_object().unwrap_or(&none);
    let absent: Vec<&str> = expected["absent"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let reads = expected["reads"].as_str();
    if equals.is_empty() && absent.is_empty() && reads.is_none() {
        return faults;
    }
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
        faults.push(format!("no JSON: {:.200}", answer.text()));
        return faults;
    };
    for (pointer, value) in equals {
        if body.pointer(pointer) != Some(value) {
            faults.push(format!("{pointer} is {:?} instead of {value}", body.pointer(pointer).map(Value::to_string)));
        }
    }
    faults.extend(absent.iter().filter(|at| body.pointer(at).is_some()).map(|at| format!("{at} is there")));
    if let Some(Err(fault)) = reads.map(|reader| read(reader, &body, &answer.text())) {
        faults.push(format!("read as {reader}: {fault}: {body:.300}", reader = reads.unwrap_or("")));
    }
    faults
}

/// Reads an answer as Grafana does; what it stumbles over is the error.
fn read(reader: &str, body: &Value, text: &str) -> Result<(), String> {
    if reader == "error" {
        let told = body["error"].is_string() && body["errorType"].is_string() && body.get("data").is_none();
        return if told { Ok(()) } else { Err("it does not tell what is wrong".to_owned()) };
    }
    if body["status"] != "success" {
        return Err("no success".to_owned());
    }
    for notes in ["warnings", "infos"] {
        let are_texts = |notes: &Value| notes.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        if body.get(notes).is_some_and(|notes| !are_texts(notes)) {
            return Err(format!("{notes} are not texts"));
        }
    }
    let data = &body["data"];
    let list = || data.as_array().ok_or("data is no list");
    let all = |fits: bool, what: &str| if fits { Ok(()) } else { Err(what.to_owned()) };
    match reader {
        "frames" => {
            // Only then is it read in one pass.
            let order = (text.find("\"resultType\""), text.find("\"result\""));
            all(order.0.is_some() && order.0 < order.1, "the type comes behind the result")?;
            frames(data)
        }
        "strings" => all(list()?.iter().all(Value::is_string), "data are not texts"),
        "series" => all(list()?.iter().all(is_labels), "data are not label sets"),
        "exemplars" => {
            for series in list()? {
                all(keys(series) == ["exemplars", "seriesLabels"], "keys of a series")?;
                all(text.find("seriesLabels") < text.find("exemplars\""), "the labels come behind the exemplars")?;
                for exemplar in series["exemplars"].as_array().ok_or("exemplars are no list")? {
                    all(keys(exemplar) == ["labels", "timestamp", "value"], "keys of an exemplar")?;
                    all(is_labels(&exemplar["labels"]), "labels of an exemplar")?;
                    point(&Value::Array(vec![exemplar["timestamp"].clone(), exemplar["value"].clone()]))?;
                }
            }
            all(!list()?.is_empty(), "no exemplars")
        }
        "metadata" => {
            for entries in data.as_object().ok_or("data is no object")?.values() {
                let entries = entries.as_array().ok_or("metadata of a metric is no list")?;
                let is_text = |entry: &Value| ["type", "help", "unit"].iter().all(|key| entry[key].is_string());
                all(entries.iter().all(is_text), "an entry lacks a text")?;
            }
            Ok(())
        }
        "rules" => all(data["groups"].is_array(), "no groups"),
        "buildinfo" => {
            // Decoded into a struct of texts, and the version compared with 2.24.
            let keys = ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"];
            all(keys.iter().all(|key| data[key].is_string()), "a key is no text")?;
            let version = data["version"].as_str().unwrap_or("").split('.').map(str::parse::<u32>);
            let version: Vec<u32> = version.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
            all(version.len() == 3 && version >= vec![2, 24, 0], "a version that lacks label values by selector")
        }
        other => Err(format!("{other} is no reader")),
    }
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn is_labels(value: &Value) -> bool {
    value.as_object().is_some_and(|labels| labels.values().all(Value::is_string))
}

/// The result of a query.
fn frames(data: &Value) -> Result<(), String> {
    let (kind, result) = (data["resultType"].as_str().unwrap_or(""), &data["result"]);
    match kind {
        "scalar" => return point(result),
        "string" => {
            let is_pair =
                result.as_array().is_some_and(|pair| pair.len() == 2 && pair[0].is_number() && pair[1].is_string());
            return if is_pair { Ok(()) } else { Err("a text is no pair".to_owned()) };
        }
        "vector" | "matrix" => {}
        other => return Err(format!("{other:?} is no type of a result")),
    }
    for series in result.as_array().ok_or("the result is no list")? {
        if !is_labels(&series["metric"]) {
            return Err("a series has no labels".to_owned());
        }
        let (mut points, mut histograms): (Vec<&Value>, Vec<&Value>) = Default::default();
        for (key, value) in series.as_object().into_iter().flatten() {
            match key.as_str() {
                "metric" => {}
                "value" => points.push(value),
                "values" => points.extend(value.as_array().ok_or("values are no list")?),
                "histogram" => histograms.push(value),
                "histograms" => histograms.extend(value.as_array().ok_or("histograms are no list")?),
                other => return Err(format!("a series has {other}")),
            }
        }
        if points.is_empty() && histograms.is_empty() {
            return Err("a series without samples".to_owned());
        }
        points.into_iter().try_for_each(point)?;
        histograms.into_iter().try_for_each(histogram)?;
    }
    Ok(())
}

/// A time as a number, and a value as a text that Go reads as a float.
fn point(pair: &Value) -> Result<(), String> {
    let read = |pair: &Value| {
        let pair = pair.as_array().filter(|pair| pair.len() == 2)?;
        pair[0].as_f64()?;
        number(&pair[1])
    };
    read(pair).ok_or_else(|| format!("{pair} is no time and value"))
}

fn number(text: &Value) -> Option<()> {
    let text = text.as_str()?;
    matches!(text, "NaN" | "+Inf" | "-Inf").then_some(()).or_else(|| text.parse::<f64>().ok().map(drop))
}

fn histogram(pair: &Value) -> Result<(), String> {
    let read = |pair: &Value| {
        let pair = pair.as_array().filter(|pair| pair.len() == 2 && pair[0].is_number())?;
        let histogram = pair[1].as_object()?;
        number(histogram.get("count")?)?;
        number(histogram.get("sum")?)?;
        for bucket in histogram.get("buckets").and_then(Value::as_array).into_iter().flatten() {
            let bucket = bucket.as_array().filter(|bucket| bucket.len() == 4)?;
            bucket[0].as_u64().filter(|rule| *rule < 4)?;
            bucket[1..].iter().try_for_each(number)?;
        }
        Some(())
    };
    read(pair).ok_or_else(|| format!("{pair} is no histogram"))
}

#[test]
fn grafana_reads_the_answer_to_everything_that_it_asks() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    write(server.address);
    let mut wrong = Vec::new();
    for (what, call) in calls() {
        for fault in faults(&call, &ask(server.address, &call)) {
            wrong.push(format!("{what}: {fault}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn interop_grafana_is_answered_as_prometheus_answers() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let server = Chronolith::start(&dir.path().join("chronolith"));
        let features = ["--enable-feature=exemplar-storage,native-histograms"];
        let prometheus = peers.prometheus_with(&dir.path().join("prometheus"), "", &features);
        write(server.address);
        write(prometheus.address);
        let (mut wrong, mut equal) = (Vec::new(), 0);
        for (what, call) in calls() {
            let (ours, theirs) = (ask(server.address, &call), ask(prometheus.address, &call));
            if ours.status != theirs.status {
                wrong.push(format!("{what}: status {} instead of {}", ours.status, theirs.status));
            }
            // The recorded answer has to be one that Prometheus gives, or it would be ours alone.
            if call.get("differs_from_prometheus").is_some() {
                continue;
            }
            wrong.extend(faults(&call, &theirs).into_iter().map(|fault| format!("{what}: of Prometheus: {fault}")));
            let json = |answer: &Response| serde_json::from_slice::<Value>(&answer.body).ok();
            match (json(&ours), json(&theirs)) {
                (Some(ours), Some(theirs)) if ours == theirs => equal += 1,
                (None, None) if ours.body == theirs.body || call["answer"]["text"].is_null() => equal += 1,
                _ => wrong.push(format!("{what}: {:.600}\n  instead of {:.600}", ours.text(), theirs.text())),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        eprintln!("{equal} answers to Grafana equal those of Prometheus");
    });
}
