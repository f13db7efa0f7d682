//! The same requests to Prometheus and to Chronolith, good ones and bad ones: status, headers and bodies have to be equal
//! but for the differences that `requests.txt` names with their reasons. A difference that is named and not there is a
//! failure too, unless it comes and goes.
//!
//! A request is a line `METHOD /path?parameters`, for a POST followed by `| form`. What no URL can hold is escaped here;
//! a `%` stands for itself. A difference is one of
//!
//! - `words`: only the text of an error differs,
//! - `headers`: only headers differ,
//! - `keys`: the values of `data` differ; it has at least the keys that Prometheus' has,
//! - `chance`: the body may differ or not,
//! - `more`: there are keys that Prometheus' answer does not have,
//! - `answer`: the answer is another one.

use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::http::{self, Response};
use crate::harness::peers::with_peers;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, chronolith};

/// The requests, and the differences that are meant.
const REQUESTS: &str = include_str!("requests.txt");

/// Those to the admin API.
const ADMIN_REQUESTS: &str = include_str!("admin_requests.txt");

/// Far more than the requests take.
const LIMIT: Duration = Duration::from_secs(60);

/// Headers that are compared.
const HEADERS: &[&str] = &[
    "content-type",
    "content-encoding",
    "allow",
    "location",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
];

#[test]
fn interop_http_answers_are_those_of_prometheus_but_for_what_is_listed() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let server = Chronolith::start(&dir.path().join("chronolith"));
        let prometheus = peers.prometheus(&dir.path().join("prometheus"), "");
        let end = UNIX_EPOCH.elapsed().unwrap().as_secs() / 10 * 10;
        for address in [prometheus.address, server.address] {
            feed(address, end);
        }
        compare(REQUESTS, prometheus.address, server.address, end);
    });
}

#[test]
fn interop_http_admin_deletes_cleans_and_copies_as_prometheus_does() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::default().with("web.enable_admin_api", "true");
        let server = Chronolith::start_with(&dir.path().join("chronolith"), settings);
        let prometheus = peers.prometheus_with(&dir.path().join("prometheus"), "", &["--web.enable-admin-api"]);
        let end = UNIX_EPOCH.elapsed().unwrap().as_secs() / 10 * 10;
        for address in [prometheus.address, server.address] {
            feed(address, end);
        }
        compare(ADMIN_REQUESTS, prometheus.address, server.address, end);
    });
}

/// Sends each request to both, in their order, and compares the answers.
fn compare(requests: &'static str, prometheus: SocketAddr, server: SocketAddr, end: u64) {
    let began = Instant::now();
    let requests = parse(requests);
    let mut faults = Vec::new();
    for request in &requests {
        let ask = |address| Answer::of(&request.send(address, end));
        if let Some(fault) = request.fault(&ask(prometheus), &ask(server)) {
            faults.push(format!("{}\n    {fault}", request.line));
        }
    }
    let meant = requests.iter().filter(|request| request.meant.is_some()).count();
    assert!(faults.is_empty(), "{} of {} requests:\n{}", faults.len(), requests.len(), faults.join("\n"));
    assert!(began.elapsed() < LIMIT, "the requests took {:?}", began.elapsed());
    eprintln!("{} requests: {} answered alike, {meant} as listed", requests.len(), requests.len() - meant);
}

/// Writes values of every kind, and the load of `bench write`.
fn feed(address: SocketAddr, end: u64) {
    let end = end as i64;
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let times = |count: i64, value: &dyn Fn(i64) -> f64| {
        (0..count).map(|n| ((end - 600 + n * 10) * 1000, value(n))).collect::<Vec<_>>()
    };
    let mut series = Vec::new();
    for (job, instance) in [("a", "host1:9100"), ("a", "host2:9100"), ("b", "host1:9100"), ("b", "host2:9100")] {
        let labels = [("__name__", "up"), ("instance", instance), ("job", job)];
        series.push(Series::new(&labels, &times(61, &|n| if job == "a" { 1.0 } else { (n % 2) as f64 })));
    }
    for (method, code) in [("get", "200"), ("get", "500"), ("post", "200"), ("post", "500")] {
        let labels = [("__name__", "requests_total"), ("code", code), ("job", "a"), ("method", method)];
        let factor: i64 = code.parse().unwrap();
        series.push(Series::new(&labels, &times(61, &|n| (n * factor % 7000) as f64)));
    }
    for (bound, factor) in [("0.1", 1), ("0.5", 3), ("1", 4), ("+Inf", 5)] {
        let labels = [("__name__", "latency_bucket"), ("job", "a"), ("le", bound)];
        series.push(Series::new(&labels, &times(61, &|n| (n * factor) as f64)));
    }
    for (kind, value) in [
        ("nan", f64::NAN),
        ("inf", f64::INFINITY),
        ("ninf", f64::NEG_INFINITY),
        ("nzero", -0.0),
        ("e21", 1e21),
        ("under21", 1e21f64.next_down()),
        ("em6", 1e-6),
        ("em7", 1e-7),
        ("min", f64::from_bits(1)),
        ("max", f64::MAX),
        ("tenth", 0.1),
        ("big", 123_456_789_012_345_680.0),
        ("million", 1_234_567.0),
        ("third", 1.0 / 3.0),
        ("neg", -2.5e-9),
    ] {
        series.push(Series::new(&[("__name__", "odd"), ("kind", kind)], &times(61, &|_| value)));
    }
    let gone = times(31, &|n| if n == 30 { stale } else { 7.0 });
    series.push(Series::new(&[("__name__", "gone"), ("job", "a")], &gone));
    let gap = times(61, &|n| if n == 30 { stale } else { n as f64 });
    series.push(Series::new(&[("__name__", "gap"), ("job", "a")], &gap));
    let names = [("__name__", "http.size"), ("a.b", "<&>"), ("\u{65e5}\u{672c}", "\u{8a9e}")];
    series.push(Series::new(&names, &times(61, &|n| n as f64)));
    let quotes = [("__name__", "quotes"), ("text", "a\"b\\c\nd\te\u{2028}")];
    series.push(Series::new(&quotes, &times(61, &|_| 1.0)));
    series.push(Series::new(&[("__name__", "mem"), ("job", "c")], &times(61, &|n| n as f64 * 1.5)));
    let answer = remote_write::send(address, &series).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());

    let (url, start) = (format!("http://{address}"), (end - 300).to_string());
    let arguments = ["bench", "write", "--url", &url, "--series", "200", "--scrapes", "20", "--start", &start];
    let (status, stdout, stderr) = chronolith::run(&arguments);
    assert_eq!(status, Some(0), "bench write\n{stdout}\n{stderr}");
}

/// What may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meant {
    Words,
    Headers,
    Keys,
    Chance,
    More,
    Answer,
}

/// One request.
#[derive(Debug)]
struct Request {
    line: &'static str,
    meant: Option<Meant>,
}

fn parse(text: &'static str) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(difference) = line.strip_prefix("  ") else {
            requests.push(Request { line, meant: None });
            continue;
        };
        let (kind, reason) = difference.split_once(": ").unwrap();
        assert!(!reason.is_empty(), "{line}");
        let meant = match kind {
            "words" => Meant::Words,
            "headers" => Meant::Headers,
            "keys" => Meant::Keys,
            "chance" => Meant::Chance,
            "more" => Meant::More,
            "answer" => Meant::Answer,
            _ => panic!("unknown difference: {line}"),
        };
        assert_eq!(requests.last_mut().unwrap().meant.replace(meant), None, "{line}");
    }
    requests
}

impl Request {
    fn send(&self, address: SocketAddr, end: u64) -> Response {
        let (start, end) = ((end - 600).to_string(), end.to_string());
        let line = self.line.replace("$S", &start).replace("$E", &end);
        let (method, rest) = line.split_once(' ').unwrap();
        let (path, form) = rest.split_once(" |").map_or((rest, None), |(path, form)| (path, Some(form.trim())));
        let (method, header) = match method {
            "POST" => ("POST", Some(("Content-Type", "application/x-www-form-urlencoded"))),
            "POST-JSON" => ("POST", Some(("Content-Type", "application/json"))),
            "POST-MULTI" => ("POST", Some(("Content-Type", "multipart/form-data; boundary=x"))),
            "POST-NONE" => ("POST", None),
            "ORIGIN" => ("GET", Some(("Origin", "http://example.com"))),
            "ORIGIN-OPTIONS" => ("OPTIONS", Some(("Origin", "http://example.com"))),
            "GZIP" => ("GET", Some(("Accept-Encoding", "gzip"))),
            "ACCEPT-HTML" => ("GET", Some(("Accept", "text/html"))),
            "UTF8" => ("GET", Some(("Accept", "text/plain;version=1.0.0;escaping=allow-utf-8"))),
            method => (method, None),
        };
        let body = match header {
            Some((_, "application/x-www-form-urlencoded")) => escape(form.unwrap_or("")),
            _ => form.unwrap_or("").to_owned(),
        };
        http::request(address, method, &escape(path), header.as_slice(), body.as_bytes())
            .unwrap_or_else(|error| panic!("{}: {error}", self.line))
    }

    /// What is wrong with the answers, if anything is.
    fn fault(&self, expected: &Answer, actual: &Answer) -> Option<String> {
        let may_differ = |meants: &[Meant]| self.meant.is_some_and(|meant| meants.contains(&meant));
        let whole = may_differ(&[Meant::Answer]);
        let mut differs = false;
        let mut fault = None;
        let mut compare = |what: &str, equal: bool, allowed: bool, expected: String, actual: String| {
            differs |= !equal;
            if !equal && !allowed && fault.is_none() {
                fault = Some(format!("{what}: {actual:.400}\n    not {expected:.400}"));
            }
        };
        let statuses = (expected.status.to_string(), actual.status.to_string());
        compare("status", statuses.0 == statuses.1, whole, statuses.0, statuses.1);
        let headers = (format!("{:?}", expected.headers), format!("{:?}", actual.headers));
        compare("headers", headers.0 == headers.1, whole || may_differ(&[Meant::Headers]), headers.0, headers.1);
        let (body, own) = (&expected.body, &actual.body);
        let allowed = match self.meant {
            Some(Meant::Answer | Meant::Chance) => true,
            Some(Meant::Words) => match (body.get("errorType"), own.get("errorType")) {
                (Some(kind), Some(own)) => kind == own,
                (kind, own) => kind.is_none() && own.is_none(),
            },
            Some(Meant::Keys) => {
                let keys = |body: &Value| body["data"].as_object().cloned().unwrap_or_default();
                let own = keys(own);
                keys(body).keys().all(|key| own.contains_key(key))
                    && body["data"].get("headStats") == own.get("headStats")
            }
            Some(Meant::More) => contains(own, body),
            Some(Meant::Headers) | None => false,
        };
        compare("body", body == own, allowed, body.to_string(), own.to_string());
        let must_differ = self.meant.is_some() && !may_differ(&[Meant::Chance, Meant::Keys]);
        if fault.is_none() && must_differ && !differs {
            return Some("listed as different, but the same".to_owned());
        }
        fault
    }
}

/// Escapes what no URL holds.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/?&=%:;,-._~!*'()@$".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

/// Whether a value has all that another has.
fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => {
            part.iter().all(|(key, part)| value.get(key).is_some_and(|value| contains(value, part)))
        }
        (Value::Array(value), Value::Array(part)) => {
            value.len() == part.len() && value.iter().zip(part).all(|(value, part)| contains(value, part))
        }
        _ => value == part,
    }
}

/// An answer in the form in which it is compared.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl Answer {
    fn of(response: &Response) -> Self {
        let headers = HEADERS.iter().filter_map(|&name| {
            let value = response.header(name)?;
            // Chronolith takes HEAD wherever it takes GET.
            Some((name, if name == "allow" { value.replace("HEAD, ", "") } else { value.to_owned() }))
        });
        let mut plain = response.clone();
        if response.header("content-encoding") == Some("gzip") {
            plain.body.clear();
            let mut reader = flate2::read::GzDecoder::new(response.body.as_slice());
            std::io::Read::read_to_end(&mut reader, &mut plain.body).unwrap();
        }
        let mut body = serde_json::from_slice(&plain.body).unwrap_or_else(|_| Value::String(plain.text()));
        if let Some(data) = body.get_mut("data") {
            put_in_order(data);
        }
        for notes in ["warnings", "infos"] {
            // Prometheus gives them in any order.
            if let Some(texts) = body.get_mut(notes).and_then(Value::as_array_mut) {
                texts.sort_by_cached_key(Value::to_string);
            }
        }
        Answer { status: response.status, headers: headers.collect(), body }
    }
}

/// Puts series in one order, since theirs is left to chance, and leaves out how long a query took.
fn put_in_order(data: &mut Value) {
    if let Some(stats) = data.get_mut("stats") {
        let names = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        *stats = serde_json::json!([names(&stats["timings"]), names(&stats["samples"])]);
    }
    let in_order = matches!(data.get("resultType").and_then(Value::as_str), Some("scalar" | "string"));
    let list = if data.is_array() { Some(data) } else { data.get_mut("result").filter(|_| !in_order) };
    // Names and values have an order of their own, which is compared.
    if let Some(list) = list.and_then(Value::as_array_mut).filter(|list| list.iter().all(Value::is_object)) {
        list.sort_by_cached_key(|element| element.get("metric").unwrap_or(element).to_string());
    }
}
