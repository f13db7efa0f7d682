//! The HTTP API over the real binary: the shapes and codes that Grafana's client and Prometheus' own tools rely on.

use std::io::{Read as _, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::http::{self, Response};
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, wait_for};

/// A server that holds three series: `up{job="a"}`, `up{job="b"}` and `http.size`, a sample every 10 s for 10 minutes
/// before `end`, in seconds.
struct Server {
    _dir: TempDir,
    server: Chronolith,
    end: i64,
}

fn start() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let end = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 / 10 * 10;
    let samples = |of: fn(i64) -> f64| (0..=60).map(|n| ((end - 600 + n * 10) * 1000, of(n))).collect::<Vec<_>>();
    let answer = remote_write::send(
        server.address,
        &[
            Series::new(&[("__name__", "up"), ("job", "a")], &samples(|_| 1.0)),
            Series::new(&[("__name__", "up"), ("job", "b")], &samples(|n| n as f64 * 1e-7)),
            Series::new(&[("__name__", "http.size"), ("a.b", "<&>")], &samples(|_| f64::INFINITY)),
        ],
    )
    .unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
    Server { _dir: dir, server, end }
}

impl Server {
    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Response {
        self.server.get(&format!("{path}?{}", http::form(parameters)))
    }

    fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Response {
        http::post_form(self.server.address, path, parameters).unwrap()
    }

    /// The `data` of a success, the same by GET and POST.
    fn data(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let (get, post) = (self.get(path, parameters), self.post(path, parameters));
        assert_eq!(get.status, 200, "{path}: {}", get.text());
        assert_eq!(get.header("content-type"), Some("application/json"));
        assert_eq!(get.json(), post.json(), "{path}");
        assert_eq!(get.json()["status"], "success");
        get.json()["data"].clone()
    }

    /// The error of a refusal: status and type are checked, the text is given.
    fn refusal(&self, path: &str, parameters: &[(&str, &str)], status: u16, error_type: &str) -> String {
        let answer = self.get(path, parameters);
        assert_eq!(answer.status, status, "{path} {parameters:?}: {}", answer.text());
        let body = answer.json();
        assert_eq!((&body["status"], &body["errorType"]), (&json!("error"), &json!(error_type)), "{body}");
        assert!(body.get("data").is_none());
        body["error"].as_str().unwrap().to_owned()
    }
}

#[test]
fn api_query_answers_each_type_in_its_shape() {
    let server = start();
    let time = server.end.to_string();
    let query = |text: &str| server.data("/api/v1/query", &[("query", text), ("time", &time)]);
    let end = server.end;
    assert_eq!(query("1+1"), json!({"resultType": "scalar", "result": [end, "2"]}));
    assert_eq!(query("1e21"), json!({"resultType": "scalar", "result": [end, "1000000000000000000000"]}));
    assert_eq!(query("\"text\""), json!({"resultType": "string", "result": [end, "text"]}));
    assert_eq!(query("nothing"), json!({"resultType": "vector", "result": []}));
    assert_eq!(
        query("up{job=\"a\"}"),
        json!({"resultType": "vector", "result": [{"metric": {"__name__": "up", "job": "a"}, "value": [end, "1"]}]})
    );
    assert_eq!(query("sum(up{job=\"a\"}) * 6e-8")["result"][0], json!({"metric": {}, "value": [end, "6e-08"]}));
    assert_eq!(query("{\"http.size\"}")["result"][0]["value"][1], "+Inf");
    assert_eq!(query("-{\"http.size\"}")["result"][0]["metric"], json!({"a.b": "<&>"}));
    let raw = query("up{job=\"a\"}[15s]");
    assert_eq!(raw["resultType"], "matrix");
    assert_eq!(raw["result"][0]["values"], json!([[end - 10, "1"], [end, "1"]]));
    let sorted = query("sort_desc(up)");
    assert_eq!(sorted["result"][0]["metric"]["job"], "a", "the order of the engine is kept");
}

#[test]
fn api_query_shows_milliseconds_with_three_decimals_or_none() {
    let server = start();
    let time = format!("{}.5", server.end);
    let text = server.get("/api/v1/query", &[("query", "up{job=\"a\"}"), ("time", &time)]).text();
    assert!(text.contains(&format!("[{time}00,\"1\"]")), "{text}");
    let text = server.get("/api/v1/query", &[("query", "1"), ("time", &time)]).text();
    assert!(text.contains(&format!("[{time},\"1\"]")), "{text}");
}

#[test]
fn api_query_range_answers_a_matrix_sorted_by_labels() {
    let server = start();
    let (start, end) = ((server.end - 20).to_string(), server.end.to_string());
    let range = [("query", "up"), ("start", start.as_str()), ("end", end.as_str()), ("step", "10")];
    let data = server.data("/api/v1/query_range", &range);
    assert_eq!(data["resultType"], "matrix");
    assert_eq!(data["result"].as_array().unwrap().len(), 2);
    assert_eq!(data["result"][0]["metric"]["job"], "a");
    let at = |n: i64| server.end - 20 + n * 10;
    assert_eq!(data["result"][0]["values"], json!([[at(0), "1"], [at(1), "1"], [at(2), "1"]]));
    let scalar = [("query", "7"), ("start", start.as_str()), ("end", end.as_str()), ("step", "20s")];
    let data = server.data("/api/v1/query_range", &scalar);
    assert_eq!(data["result"], json!([{"metric": {}, "values": [[at(0), "7"], [at(2), "7"]]}]));
}

#[test]
fn api_limit_cuts_and_warns_and_stats_are_shown() {
    let server = start();
    let time = server.end.to_string();
    let body =
        server.get("/api/v1/query", &[("query", "up"), ("time", &time), ("limit", "1"), ("stats", "all")]).json();
    assert_eq!(body["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(body["warnings"], json!(["results truncated due to limit"]));
    assert!(body["data"]["stats"]["timings"]["execTotalTime"].is_number(), "{body}");
    assert!(body["data"]["stats"]["samples"]["totalQueryableSamples"].is_u64(), "{body}");
    let body = server.get("/api/v1/labels", &[("limit", "1")]).json();
    assert_eq!(body["data"].as_array().unwrap().len(), 1);
    assert_eq!(body["warnings"], json!(["results truncated due to limit"]));
    let infos = server.get("/api/v1/query", &[("query", "rate(up[1m])"), ("time", &time)]).json()["infos"].clone();
    assert!(infos[0].as_str().unwrap().starts_with("PromQL info: "), "{infos}");
}

#[test]
fn api_refuses_bad_parameters_in_prometheus_words() {
    let server = start();
    let range = |start: &str, end: &str, step: &str, words: &str| {
        let parameters = [("query", "up"), ("start", start), ("end", end), ("step", step)];
        for path in ["/api/v1/query_range", "/api/v1/query_explain"] {
            let error = server.refusal(path, &parameters, 400, "bad_data");
            assert!(error.contains(words), "{path}: {error}");
        }
    };
    range("0", "11001", "1", "exceeded maximum resolution of 11,000 points per timeseries");
    range("-1e300", "1e300", "1ms", "exceeded maximum resolution");
    range("10", "9", "1", "invalid parameter \"end\": end timestamp must not be before start time");
    range("0", "9", "0", "zero or negative query resolution step widths are not accepted. Try a positive integer");
    range("0", "9", "-5", "zero or negative");
    range("0", "9", "1.5h", "cannot parse \"1.5h\" to a valid duration");
    range("0", "9", "1e300", "overflows");
    range("x", "9", "1", "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp");
    range("0", "", "1", "invalid parameter \"end\"");
    let query = |parameters: &[(&str, &str)], words: &str| {
        let error = server.refusal("/api/v1/query", parameters, 400, "bad_data");
        assert!(error.contains(words), "{error}");
    };
    query(&[], "unknown position: parse error: no expression found in input");
    query(&[("query", "sum(up")], "invalid parameter \"query\": 1:");
    query(&[("query", "up"), ("time", "NaN")], "invalid parameter \"time\"");
    query(&[("query", "up"), ("limit", "-1")], "invalid parameter \"limit\"");
    query(&[("query", "up"), ("timeout", "soon")], "invalid parameter \"timeout\"");
    query(
        &[("query", "up"), ("time", "soon")],
        "invalid parameter \"time\": invalid time value for 'time': cannot parse",
    );
    query(&[("query", "up"), ("time", "2015-07-01 20:10:51Z")], "cannot parse \"2015-07-01 20:10:51Z\"");
    query(&[("query", "up"), ("lookback_delta", "x")], "error parsing lookback delta duration: cannot parse \"x\"");
    // The first fault that Prometheus would find is the one that is named.
    query(&[("query", "("), ("time", "x"), ("limit", "x"), ("timeout", "x")], "invalid parameter \"limit\"");
    query(&[("query", "("), ("lookback_delta", "x"), ("timeout", "x")], "invalid parameter \"timeout\"");
    assert_eq!(server.get("/api/v1/query", &[("query", "up"), ("lookback_delta", "-1")]).status, 200);
    assert_eq!(server.data("/api/v1/query", &[("query", "time()"), ("time", "0x1p4")])["result"][1], "16");
    // A malformed pair counts as absent, except where the whole form is read first.
    let malformed = server.server.get("/api/v1/query?query=1;time=5&time=1").json();
    assert_eq!(
        malformed["error"],
        "invalid parameter \"query\": unknown position: parse error: no expression found in input"
    );
    assert_eq!(server.server.get("/api/v1/labels?limit=%zz").status, 200);
    let malformed = server.server.get("/api/v1/series?match[]=up&limit=%zz").json();
    assert_eq!(malformed["error"], "error parsing form values: invalid URL escape \"%zz\"");
    let exemplars = server.refusal("/api/v1/query_exemplars", &[("query", "sum(")], 400, "bad_data");
    assert_eq!(exemplars, "1:5: parse error: unclosed left parenthesis");
    let timeout = server.refusal("/api/v1/query", &[("query", "up"), ("timeout", "0")], 503, "timeout");
    assert!(timeout.contains("timed out"), "{timeout}");
    server.refusal("/api/v1/query", &[("query", "label_replace(up, \"x\", \"y\", \"job\", \"(\")")], 422, "execution");
}

#[test]
fn api_series_labels_and_values_are_sorted_and_distinct() {
    let server = start();
    assert_eq!(server.data("/api/v1/labels", &[]), json!(["__name__", "a.b", "job"]));
    assert_eq!(server.data("/api/v1/labels", &[("match[]", "up")]), json!(["__name__", "job"]));
    let values = |name: &str, parameters: &[(&str, &str)]| {
        let answer = server.get(&format!("/api/v1/label/{name}/values"), parameters);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"].clone()
    };
    assert_eq!(values("job", &[]), json!(["a", "b"]));
    assert_eq!(values("__name__", &[]), json!(["http.size", "up"]));
    assert_eq!(values("U__a_2e_b", &[]), json!(["<&>"]));
    assert_eq!(values("a.b", &[]), json!(["<&>"]));
    assert_eq!(values("none", &[]), json!([]));
    assert_eq!(values("job", &[("match[]", "up{job=\"b\"}"), ("match[]", "up{job=\"a\"}")]), json!(["a", "b"]));
    assert_eq!(values("job", &[("start", "0"), ("end", "1")]), json!([]), "nothing was written then");
    let series = server.data("/api/v1/series", &[("match[]", "up"), ("match[]", "{job=\"a\"}")]);
    assert_eq!(series, json!([{"__name__": "up", "job": "a"}, {"__name__": "up", "job": "b"}]));
    assert_eq!(server.data("/api/v1/series", &[("match[]", "nothing")]), json!([]));
    let error = server.refusal("/api/v1/series", &[], 400, "bad_data");
    assert_eq!(error, "no match[] parameter provided");
    let error = server.refusal("/api/v1/series", &[("match[]", "{job=~\".*\"}")], 400, "bad_data");
    assert!(error.contains("match[] must contain at least one non-empty matcher"), "{error}");
    // A range that ends before it starts holds nothing, and is no fault.
    let nothing = [("match[]", "up"), ("start", "2"), ("end", "1")];
    assert_eq!(server.data("/api/v1/labels", &nothing), json!([]));
    assert_eq!(server.data("/api/v1/series", &nothing), json!([]));
    assert_eq!(values("job", &nothing), json!([]));
    let error = server.refusal("/api/v1/labels", &[("match[]", "{}")], 400, "bad_data");
    assert_eq!(error, "match[] must contain at least one non-empty matcher");
    let error = server.refusal("/api/v1/labels", &[("start", "x"), ("match[]", "{")], 400, "bad_data");
    assert_eq!(
        error,
        "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"
    );
    let error = server.refusal("/api/v1/series", &[("start", "x")], 400, "bad_data");
    assert_eq!(error, "no match[] parameter provided");
}

#[test]
fn api_empty_answers_have_the_shapes_that_grafana_reads() {
    let server = start();
    let data = |path: &str| {
        let answer = server.server.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["data"].clone()
    };
    assert_eq!(data("/api/v1/metadata"), json!({}));
    assert_eq!(data("/api/v1/rules"), json!({"groups": []}));
    assert_eq!(data("/api/v1/alerts"), json!({"alerts": []}));
    let targets = data("/api/v1/targets");
    assert_eq!((&targets["activeTargets"], &targets["droppedTargets"]), (&json!([]), &json!([])));
    assert_eq!(data("/api/v1/rules?type=record&exclude_alerts=true&group_limit=5"), json!({"groups": []}));
    for (wrong, words) in [
        ("type=wrong", "invalid parameter \"type\": not supported value \"wrong\""),
        ("match[]=up{", "1:4: parse error"),
        ("exclude_alerts=maybe", "invalid parameter \"exclude_alerts\""),
        ("group_limit=0", "group_limit needs to be greater than 0"),
        ("group_limit=x", "group_limit needs to be a valid number"),
        ("group_next_token=a", "group_limit needs to be present in order to paginate over the groups"),
        ("group_limit=1&group_next_token=a", "invalid group_next_token 'a'. were rule groups changed?"),
    ] {
        let answer = server.server.get(&format!("/api/v1/rules?{wrong}"));
        let error = answer.json()["error"].as_str().unwrap_or("none").to_owned();
        assert!(answer.status == 400 && error.contains(words), "{wrong}: {error}");
    }
    assert_eq!(data("/api/v1/targets/metadata?metric=up"), json!([]));
    server.refusal("/api/v1/targets/metadata", &[("limit", "x")], 400, "bad_data");
    server.refusal("/api/v1/targets/metadata", &[("match_target", "{")], 400, "bad_data");
    assert_eq!(data("/api/v1/query_exemplars?query=test&start=1795229943000&end=1795229944000"), json!([]));
    let build = data("/api/v1/status/buildinfo");
    assert_eq!((&build["version"], &build["application"]), (&json!("3.5.0"), &json!("chronolith")));
    assert!(build.as_object().unwrap().values().all(Value::is_string), "{build}");
    assert!(data("/api/v1/status/flags").as_object().unwrap().values().all(Value::is_string));
    assert!(data("/api/v1/status/config")["yaml"].as_str().unwrap().contains("wal.durability: \"fsync\""));
    assert!(data("/api/v1/status/walreplay")["max"].is_i64());
    assert!(data("/api/v1/status/runtimeinfo")["startTime"].is_string());
    let tsdb = data("/api/v1/status/tsdb?limit=1");
    assert_eq!(tsdb["headStats"]["numSeries"], 3);
    assert_eq!(tsdb["seriesCountByMetricName"], json!([{"name": "up", "value": 2}]));
    server.refusal("/api/v1/status/tsdb", &[("limit", "0")], 400, "bad_data");
    assert_eq!(server.data("/api/v1/format_query", &[("query", "sum(up)by(job)")]), json!("sum by (job) (up)"));
    assert_eq!(server.data("/api/v1/parse_query", &[("query", "up")])["type"], "vectorSelector");
}

#[test]
fn api_paths_methods_and_headers_are_those_of_prometheus() {
    let server = start();
    let address = server.server.address;
    let missing = server.server.get("/api/v1/rules/test/test");
    assert_eq!((missing.status, missing.text().as_str()), (404, "404 page not found\n"));
    let wrong = http::request(address, "POST", "/api/v1/metadata", &[], b"").unwrap();
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let options = |path: &str, headers: &[(&str, &str)]| http::request(address, "OPTIONS", path, headers, b"").unwrap();
    let preflight = options("/api/v1/query", &[("Origin", "http://grafana")]);
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some("*")));
    let plain = options("/api/v1/query", &[]);
    assert_eq!((plain.status, plain.header("access-control-allow-origin")), (204, None));
    let outside = options("/-/ready", &[("Origin", "http://grafana")]);
    assert_eq!((outside.status, outside.header("allow")), (200, Some("GET, HEAD, OPTIONS")));
    assert_eq!(outside.header("access-control-allow-origin"), None, "only the API is open to other pages");
    let cors = http::request(address, "GET", "/api/v1/labels", &[("Origin", "http://grafana")], b"").unwrap();
    assert_eq!(cors.header("access-control-allow-origin"), Some("*"));
    assert!(cors.header("vary").unwrap().contains("Origin"));
    assert_eq!(server.server.get("/-/healthy").status, 200);
    assert_eq!(server.server.get("/health").json()["wal"]["durability"], "fsync");
}

#[test]
fn api_large_answers_are_compressed_and_complete() {
    let server = start();
    let (first, end) = ((server.end - 600).to_string(), server.end.to_string());
    let form = http::form(&[
        ("query", "label_join(up, \"long\", \"-\", \"job\", \"job\") or vector(1)"),
        ("start", &first),
        ("end", &end),
        ("step", "100ms"),
    ]);
    let path = format!("/api/v1/query_range?{form}");
    let plain = server.server.get(&path);
    let zipped = http::request(server.server.address, "GET", &path, &[("Accept-Encoding", "gzip;q=1.0")], b"").unwrap();
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(zipped.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text == plain.text() && plain.body.len() > 200_000, "{} bytes", plain.body.len());
    assert!(zipped.body.len() < plain.body.len() / 4);
}

#[test]
fn api_metrics_are_read_by_a_parser_and_count() {
    let server = start();
    server.data("/api/v1/query", &[("query", "up"), ("time", "0")]);
    let answer = server.server.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let lines = answer.text().lines().map(|line| Ok(line.to_owned())).collect::<Vec<_>>();
    let scrape = prometheus_parse::Scrape::parse(lines.into_iter()).unwrap();
    let has = |name: &str| scrape.samples.iter().any(|sample| sample.metric == name);
    for name in [
        "prometheus_build_info",
        "prometheus_tsdb_head_series",
        "prometheus_tsdb_head_chunks",
        "prometheus_tsdb_head_min_time",
        "prometheus_tsdb_head_max_time_seconds",
        "prometheus_tsdb_wal_segment_current",
        "prometheus_tsdb_wal_storage_size_bytes",
        "prometheus_engine_queries",
        "prometheus_engine_query_duration_seconds",
        "prometheus_http_request_duration_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "chronolith_wal_writable",
    ] {
        assert!(has(name), "{name}");
    }
    assert_eq!(server.server.metric("prometheus_tsdb_head_series"), Some(3.0));
    assert_eq!(server.server.metric("prometheus_tsdb_head_samples_appended_total"), Some(183.0));
    assert_eq!(server.server.metric("chronolith_ingest_samples_total"), Some(183.0));
    let open = [("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let answer = http::request(server.server.address, "GET", "/metrics", &open, b"").unwrap();
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(answer.text().ends_with("# EOF\n"));
}

#[test]
fn api_federate_gives_the_newest_samples_with_their_times() {
    let server = start();
    let selectors = [("match[]", "up"), ("match[]", "{\"http.size\"}")];
    let path = format!("/federate?{}", http::form(&selectors));
    let utf8 = [("Accept", "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.1")];
    let answer = http::request(server.server.address, "GET", &path, &utf8, b"").unwrap();
    assert_eq!(answer.status, 200);
    let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8";
    assert_eq!(answer.header("content-type"), Some(content_type));
    let ms = server.end * 1000;
    assert_eq!(
        answer.text(),
        format!(
            "# TYPE \"http.size\" untyped\n{{\"http.size\",\"a.b\"=\"<&>\",instance=\"\"}} +Inf {ms}\n\
             # TYPE up untyped\nup{{job=\"a\",instance=\"\"}} 1 {ms}\nup{{job=\"b\",instance=\"\"}} 6e-06 {ms}\n"
        )
    );
    // A scraper that says nothing may be too old for quoted names.
    let answer = server.get("/federate", &selectors[1..]);
    let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    assert_eq!(answer.header("content-type"), Some(content_type));
    let line = format!("http_size{{a_b=\"<&>\",instance=\"\"}} +Inf {ms}");
    assert_eq!(answer.text(), format!("# TYPE http_size untyped\n{line}\n"));
    assert_eq!(
        server.get("/federate", &[("match[]", "{}")]).text(),
        "",
        "an empty selector does not ask for everything"
    );
    assert_eq!(server.get("/federate", &[("match[]", "{")]).status, 400);
}

#[test]
fn api_digests_name_the_group_and_count_every_series() {
    let server = start();
    let text = server.server.get("/api/v1/storage/head/digests").text();
    let mut lines = text.lines();
    let group = lines.next().unwrap().strip_prefix("group ").unwrap().parse::<u64>().unwrap();
    assert!(group >= 1);
    let series: Vec<Vec<&str>> = lines.map(|line| line.split(' ').collect()).collect();
    assert_eq!(series.len(), 3, "{text}");
    assert!(series.iter().all(|one| one.len() == 3 && one[0].len() == 32 && one[1] == "61" && one[2].len() == 32));
}

#[test]
fn api_query_of_a_client_that_went_away_ends() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::default().with("query.max_concurrency", "1");
    let server = Chronolith::start_with(&dir.path().join("data"), settings);
    // Hours of work, were it let to.
    let slow = "sum_over_time(sum(range_probe)[3650d:1s]) + sum_over_time(vector(1)[3650d:100ms])";
    let mut stream = http::connect(server.address).unwrap();
    let body = http::form(&[("query", slow)]);
    let head = format!(
        "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    // The only place is free again.
    wait_for("the query to end", Duration::from_secs(30), || {
        let queries = server.metric("prometheus_engine_queries");
        (queries == Some(0.0)).then_some(()).ok_or_else(|| format!("{queries:?} queries"))
    });
    assert_eq!(server.query("1", 0.0)["result"][1], "1");
}

#[test]
fn api_admin_paths_take_post_and_put_and_a_confirmed_truncation_keeps_every_sample() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::default().with("web.enable_admin_api", "true");
    let mut server = Chronolith::start_with(&dir.path().join("data"), settings);
    let end = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let samples: Vec<(i64, f64)> = (0..100).map(|n| ((end - 100 + n) * 1000, n as f64)).collect();
    let answer = remote_write::send(server.address, &[Series::new(&[("__name__", "up")], &samples)]).unwrap();
    assert_eq!(answer.status, 204);
    let send = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        http::request(server.address, method, path, headers, body).unwrap()
    };
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let delete = send("PUT", "/api/v1/admin/tsdb/delete_series", &form, b"match%5B%5D=nothing");
    assert_eq!((delete.status, delete.body.len()), (204, 0));
    let wrong = send("GET", "/api/v1/admin/tsdb/snapshot", &[], b"");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("OPTIONS, POST, PUT")));
    let wrong = send("GET", "/api/v1/admin/storage/flush", &[], b"");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("OPTIONS, POST")));
    let truncate = "/api/v1/admin/storage/wal/truncate";
    let confirmation = br#"{"confirmation":"I_UNDERSTAND"}"#;
    assert_eq!(send("POST", truncate, &form, confirmation).status, 400, "only as JSON");
    let truncated = send("POST", truncate, &[("Content-Type", "application/json")], confirmation);
    assert_eq!(truncated.status, 200, "{}", truncated.text());
    let place = truncated.json()["data"]["quarantine"].as_str().unwrap().to_owned();
    assert!(dir.path().join("data").join(place).is_dir());
    let count =
        |server: &Chronolith| server.query("count_over_time(up[5m])", end as f64)["result"][0]["value"][1].clone();
    assert_eq!(count(&server), "100");
    assert_eq!(server.metric("prometheus_tsdb_blocks_loaded"), server.metric("prometheus_tsdb_compactions_total"));
    assert_eq!(server.metric("chronolith_ledger_imbalance_samples"), Some(0.0));
    server.kill_and_restart();
    assert_eq!(count(&server), "100");
}

#[test]
fn api_refuses_a_query_of_a_feature_that_is_off_in_the_words_of_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::default().with("enable_feature", "promql-binop-fill-modifiers,native-histograms");
    let server = Chronolith::start_with(&dir.path().join("data"), settings);
    let switch = "must be enabled with --enable-feature=promql-experimental-functions";
    for (query, refusal) in [
        ("limitk(1, up)", format!("1:1: parse error: limitk() is experimental and {switch}")),
        ("abs(info(up))", "1:5: parse error: function \"info\" is not enabled".to_owned()),
        ("rate(up[1m] smoothed)", "1:6: parse error: smoothed modifier is experimental and not enabled".to_owned()),
    ] {
        for path in ["query", "query_explain", "parse_query", "format_query"] {
            let answer = server.get(&format!("/api/v1/{path}?{}", http::form(&[("query", query)])));
            assert_eq!((answer.status, &answer.json()["errorType"]), (400, &json!("bad_data")), "{path} {query}");
            assert_eq!(answer.json()["error"], format!("invalid parameter \"query\": {refusal}"), "{path}");
        }
    }
    assert_eq!(server.query("up + on (a) fill (0) up", 0.0)["resultType"], "vector");
}
