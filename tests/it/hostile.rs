//! Input that no well-meaning client sends: each gets a clear error with the right status, memory stays bounded, and the
//! server goes on.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::harness::chronolith::{start, start_with};
use crate::harness::http::{self, Response};
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, now_ms, wait_for};

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The most that the process ever had resident.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A write and a query still work.
fn assert_goes_on(server: &mut Chronolith) {
    assert!(server.process.ended().is_none(), "the server ended:\n{}", server.process.log());
    let at = now_ms();
    let answer = remote_write::send(server.address, &[Series::new(&[("__name__", "goes_on")], &[(at, 1.0)])]).unwrap();
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    let data = server.query("goes_on", at as f64 / 1000.0);
    assert_eq!(data["result"][0]["value"][1], "1");
    let log = server.process.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// A refusal: the status, and a text that a person can act on.
fn assert_refused(what: &str, answer: &Response, status: u16, words: &[&str]) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{what}: {text}");
    let lower = text.to_lowercase();
    assert!(words.iter().any(|word| lower.contains(word)), "{what}: none of {words:?} in: {text}");
}

/// A refused query: Prometheus' error envelope.
fn assert_query_refused(what: &str, answer: &Response, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status), "{what}: {} {:.500}", answer.status, answer.text());
    let body = answer.json();
    assert_eq!(body["status"], "error", "{what}: {body}");
    assert!(body["errorType"].as_str().is_some_and(|kind| !kind.is_empty()), "{what}: {body}");
    assert!(body["error"].as_str().is_some_and(|text| !text.is_empty() && text.len() < 4096), "{what}: {body:.5000}");
}

#[test]
fn hostile_snappy_and_protobuf_are_refused_with_400() {
    let (_dir, mut server) = start();
    let good = remote_write::encode(&[Series::new(&[("__name__", "a"), ("b", "c")], &[(now_ms(), 1.0)])]);
    let packed = remote_write::compress(&good);
    for cut in 0..packed.len() {
        let answer = remote_write::send_raw(server.address, &packed[..cut]).unwrap();
        assert_eq!(answer.status, 400, "snappy cut to {cut} of {} bytes: {}", packed.len(), answer.text());
    }
    assert_refused(
        "no snappy",
        &remote_write::send_raw(server.address, b"no snappy at all").unwrap(),
        400,
        &["snappy"],
    );
    // Cut between two fields a message is whole; cut inside one it is not.
    for cut in 1..good.len() {
        let answer = remote_write::send_raw(server.address, &remote_write::compress(&good[..cut])).unwrap();
        assert_eq!(answer.status, 400, "protobuf cut to {cut} of {} bytes: {}", good.len(), answer.text());
    }
    let wrong_wire_type = remote_write::compress(&[0x0f, 0xff, 0xff]);
    let answer = remote_write::send_raw(server.address, &wrong_wire_type).unwrap();
    assert_refused("wire type 7", &answer, 400, &["protobuf", "wire", "decode", "invalid", "malformed"]);
    assert_goes_on(&mut server);
}

#[test]
fn hostile_declared_length_costs_no_memory() {
    let (_dir, mut server) = start();
    let before = peak(server.process.pid());
    // Snappy's block begins with the length of what it holds: 3 GB, in a body of 100 bytes.
    let mut body = vec![0x80, 0xbc, 0xc1, 0x96, 0x0b];
    body.resize(100, 0);
    let answer = remote_write::send_raw(server.address, &body).unwrap();
    assert!(matches!(answer.status, 400 | 413), "{} {}", answer.status, answer.text());
    // The same for a field of a message, and for the length of the request itself.
    let field = remote_write::compress(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]);
    assert_eq!(remote_write::send_raw(server.address, &field).unwrap().status, 400);
    let mut stream = http::connect(server.address).unwrap();
    stream
        .write_all(
            b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Encoding: snappy\r\nContent-Length: 9000000000\r\n\r\n",
        )
        .unwrap();
    let answer = http::read_response(&mut stream).unwrap();
    assert_refused("9 GB announced", &answer, 413, &["large", "limit", "bytes"]);
    let grown = peak(server.process.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more at the peak");
    assert_goes_on(&mut server);
}

#[test]
fn hostile_repetitive_body_is_bounded_when_unpacked() {
    let (_dir, mut server) = start();
    let before = peak(server.process.pid());
    // 200 MB of zeros in about 10 MB.
    let bomb = remote_write::compress(&vec![0; 200 << 20]);
    let answer = remote_write::send_raw(server.address, &bomb).unwrap();
    assert!(matches!(answer.status, 400 | 413), "{} {}", answer.status, answer.text());
    let grown = peak(server.process.pid()).saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more at the peak");
    assert_goes_on(&mut server);
}

#[test]
fn hostile_labels_are_refused_and_named() {
    let (_dir, mut server) = start();
    let at = now_ms();
    let long = "x".repeat(1 << 20);
    let many: Vec<(String, String)> = (0..5000).map(|i| (format!("label_{i:05}"), "v".to_owned())).collect();
    let mut many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    many.insert(0, ("__name__", "many"));
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no labels", vec![]),
        ("no metric name", vec![("job", "x")]),
        ("empty label name", vec![("", "x"), ("__name__", "a")]),
        ("duplicate label name", vec![("__name__", "a"), ("job", "x"), ("job", "y")]),
        ("duplicate metric name", vec![("__name__", "a"), ("__name__", "b")]),
        ("label value of 1 MiB", vec![("__name__", "a"), ("job", &long)]),
        ("label name of 1 MiB", vec![("__name__", "a"), (&long, "x")]),
        ("5000 labels", many),
    ];
    for (what, labels) in cases {
        let bad = Series::new(&labels, &[(at, 1.0)]);
        let good = Series::new(&[("__name__", "good"), ("case", what)], &[(at, 1.0)]);
        let answer = remote_write::send(server.address, &[bad, good]).unwrap();
        assert_refused(what, &answer, 400, &["label", "name"]);
        // One bad series takes nothing away from its neighbours, as in Prometheus.
        let data = server.query(&format!("good{{case=\"{what}\"}}"), at as f64 / 1000.0);
        assert_eq!(data["result"].as_array().unwrap().len(), 1, "{what}");
    }
    for (what, name, value) in [("value", &b"job"[..], &b"\xff\xfe"[..]), ("name", b"\xff", b"x")] {
        let labels = vec![(b"__name__".to_vec(), b"a".to_vec()), (name.to_vec(), value.to_vec())];
        let answer =
            remote_write::send(server.address, &[Series { labels, samples: vec![(at, 1.0)], ..Series::default() }])
                .unwrap();
        assert_refused(&format!("label {what} that is not UTF-8"), &answer, 400, &["utf-8", "utf8", "label"]);
    }
    assert_goes_on(&mut server);
}

#[test]
fn hostile_unsorted_labels_are_the_same_series() {
    let (_dir, mut server) = start();
    let at = now_ms();
    let sorted = [("__name__", "order"), ("a", "1"), ("b", "2"), ("c", "3")];
    let unsorted = [("c", "3"), ("a", "1"), ("__name__", "order"), ("b", "2")];
    for (labels, at, value) in [(sorted, at - 1000, 1.0), (unsorted, at, 2.0)] {
        let answer = remote_write::send(server.address, &[Series::new(&labels, &[(at, value)])]).unwrap();
        assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    }
    let data = server.query("order[1m]", at as f64 / 1000.0);
    assert_eq!(data["result"].as_array().unwrap().len(), 1, "{data}");
    assert_eq!(data["result"][0]["values"].as_array().unwrap().len(), 2, "{data}");
    // A label without a value is no label.
    let empty = [("__name__", "order"), ("a", "1"), ("b", "2"), ("c", "3"), ("d", "")];
    remote_write::send(server.address, &[Series::new(&empty, &[(at + 1, 3.0)])]).unwrap();
    let data = server.query("order[1m]", (at + 1) as f64 / 1000.0);
    assert_eq!(data["result"].as_array().unwrap().len(), 1, "{data}");
    assert_goes_on(&mut server);
}

#[test]
fn hostile_values_are_stored_bit_for_bit() {
    let (_dir, mut server) = start();
    let at = now_ms();
    let values = [
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        -0.0,
        f64::EPSILON,
        9_007_199_254_740_993.0,
    ];
    let samples: Vec<(i64, f64)> = values.iter().enumerate().map(|(i, &value)| (at - 1000 + i as i64, value)).collect();
    let answer = remote_write::send(server.address, &[Series::new(&[("__name__", "odd")], &samples)]).unwrap();
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    let nan = [(at - 1000, f64::NAN)];
    let answer = remote_write::send(server.address, &[Series::new(&[("__name__", "not_a_number")], &nan)]).unwrap();
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    for restarted in [false, true] {
        let data = server.query("odd[1m]", at as f64 / 1000.0);
        let stored: Vec<u64> = data["result"][0]["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|sample| sample[1].as_str().unwrap().parse::<f64>().unwrap().to_bits())
            .collect();
        assert_eq!(stored, values.map(f64::to_bits), "restarted: {restarted}: {data}");
        let data = server.query("not_a_number", at as f64 / 1000.0);
        assert_eq!(data["result"][0]["value"][1], "NaN", "{data}");
        server.kill_and_restart();
    }
    assert_goes_on(&mut server);
}

#[test]
fn hostile_timestamps_never_block_the_present() {
    let (_dir, mut server) = start();
    for timestamp_ms in [i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1, -1, 0, 1, now_ms() + 100 * 365 * 86_400_000] {
        let sample = [(timestamp_ms, 1.0)];
        let answer = remote_write::send(server.address, &[Series::new(&[("__name__", "far")], &sample)]).unwrap();
        // Taken or refused, but never an error of the server's own.
        assert!((200..500).contains(&answer.status), "{timestamp_ms}: {} {}", answer.status, answer.text());
        assert_goes_on(&mut server);
    }
    for time in ["1e300", "-1e300", "NaN", "Inf", "9223372036854775807", "-9223372036854775808", "0x7", ""] {
        let answer = http::get(server.address, &format!("/api/v1/query?query=goes_on&time={time}")).unwrap();
        assert!(matches!(answer.status, 200 | 400 | 422), "time={time}: {} {}", answer.status, answer.text());
        let path = format!("/api/v1/query_range?query=goes_on&start=0&end={time}&step=1");
        let answer = http::get(server.address, &path).unwrap();
        assert!(matches!(answer.status, 200 | 400 | 422), "end={time}: {} {}", answer.status, answer.text());
    }
    server.kill_and_restart();
    assert_goes_on(&mut server);
}

#[test]
fn hostile_queries_are_refused_in_bounded_time_and_memory() {
    let (_dir, mut server) = start();
    let before = peak(server.process.pid());
    let began = Instant::now();
    let query = |text: &str| http::post_form(server.address, "/api/v1/query", &[("query", text)]).unwrap();

    assert_query_refused("brackets 100,000 deep", &query(&"(".repeat(100_000)), &[400, 413, 422]);
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let answer = query(&deep);
    assert!(matches!(answer.status, 200 | 400 | 422), "closed brackets: {} {:.300}", answer.status, answer.text());
    assert!(query(&format!("{}1", "-".repeat(200_000))).status < 500);
    let sum = format!("1{}", "+1".repeat(500_000));
    assert!(query(&sum).status < 500, "a sum of 1 MB");
    assert_query_refused("1 MB of a", &query(&format!("{}(", "a".repeat(1 << 20))), &[400, 413, 422]);
    let nested = format!("{}up{}", "sum(".repeat(50_000), ")".repeat(50_000));
    assert!(query(&nested).status < 500, "nested sums");

    let regex = format!("up{{job=~\"{}\"}}", "(a|b)?".repeat(100_000 / 6));
    let answer = query(&regex);
    assert!(matches!(answer.status, 200 | 400 | 422), "regex of 100 kB: {} {:.300}", answer.status, answer.text());
    assert_query_refused("regex that grows", &query("up{job=~\"((((a{999}){999}){999}){999})\"}"), &[400, 422]);
    assert_query_refused("open regex", &query("up{job=~\"(\"}"), &[400]);

    let steps = "/api/v1/query_range?query=vector(1)&start=0&end=2000000000&step=1";
    assert_query_refused("2 billion steps", &http::get(server.address, steps).unwrap(), &[400]);
    let step = "/api/v1/query_range?query=vector(1)&start=0&end=10&step=0";
    assert_query_refused("step 0", &http::get(server.address, step).unwrap(), &[400]);
    let subquery = query("sum_over_time(vector(1)[10000d:1ms])");
    assert_query_refused("subquery of 864 billion steps", &subquery, &[400, 422, 503]);

    let grown = peak(server.process.pid()).saturating_sub(before);
    assert!(grown < 512 << 20, "{grown} bytes more at the peak");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_goes_on(&mut server);
}

#[test]
fn hostile_query_past_its_samples_is_refused_with_422() {
    let (_dir, mut server) = start_with(Settings::default().with("query.max_samples", "10000"));
    let at = now_ms();
    for request in 0..10 {
        let batch: Vec<Series> = (0..2000)
            .map(|i| {
                let id = (request * 2000 + i).to_string();
                Series::new(&[("__name__", "wide"), ("id", &id)], &[(at, 1.0)])
            })
            .collect();
        let answer = remote_write::send(server.address, &batch).unwrap();
        assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    }
    let answer = http::post_form(server.address, "/api/v1/query", &[("query", "wide")]).unwrap();
    assert_query_refused("20,000 series", &answer, &[422]);
    assert!(answer.text().contains("memory in query execution"), "names the bound: {}", answer.text());
    assert_goes_on(&mut server);
}

#[test]
fn hostile_paths_and_methods_get_their_status() {
    let (_dir, mut server) = start();
    let request = |method: &str, path: &str| http::request(server.address, method, path, &[], &[]).unwrap().status;
    assert_eq!(request("GET", "/no/such/path"), 404);
    assert_eq!(request("GET", "/api/v1/no_such_path"), 404);
    assert_eq!(request("GET", "/../../etc/passwd"), 404);
    assert_eq!(request("DELETE", "/api/v1/query"), 405);
    assert_eq!(request("GET", "/api/v1/write"), 405);
    assert_eq!(request("GET", "/api/v1/query"), 400, "a query without a query");
    assert_eq!(request("GET", "/api/v1/query?query=%zz"), 400);
    assert_goes_on(&mut server);
}

#[test]
fn hostile_slow_and_partial_requests_hold_nobody_up() {
    let (_dir, mut server) = start();
    let before = resident(server.process.pid());
    // Requests that stop in the request line, in a header, and in the body.
    let parts = [
        "POST /api/v1/wr",
        "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Enco",
        "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Encoding: snappy\r\nContent-Length: 1000000\r\n\r\nhalf",
    ];
    let held: Vec<_> = (0..150)
        .map(|i| {
            let mut stream = http::connect(server.address).unwrap();
            stream.write_all(parts[i % parts.len()].as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_goes_on(&mut server);
    drop(held);
    // A header without an end is refused or cut off; how much of it is kept is bounded.
    let mut endless = http::connect(server.address).unwrap();
    endless.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    let filler = vec![b'x'; 64 << 10];
    let cut_off = (0..1000).any(|_| endless.write_all(&filler).is_err());
    let mut rest = Vec::new();
    let _ = endless.read_to_end(&mut rest);
    assert!(cut_off || rest.starts_with(b"HTTP/1.1 4"), "64 MB of a header taken");
    let grown = resident(server.process.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    wait_for("going on", Duration::from_secs(5), || {
        (server.get("/-/ready").status == 200).then_some(()).ok_or_else(String::new)
    });
    assert_goes_on(&mut server);
}
