//! What the specification of remote write 2.0 demands of a receiver: each MUST, MUST NOT and SHOULD a test, its words in
//! short above it.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, 2.0-rc.4.

use serde_json::json;

use super::{
    Version, assert_refused, assert_stored, count, floats, metadata, now_ms, start, start_with, stored, verify, written,
};
use crate::harness::remote_write::{Series, compress, histogram, put_bytes, put_varint};
use crate::harness::remote_write_2::{self, CONTENT_TYPE, Request, put_double, put_number, send_as, send_raw};
use crate::harness::{Settings, http};

const SNAPPY: (&str, &str) = ("Content-Encoding", "snappy");

/// "Receivers MUST support the io.prometheus.write.v2.Request"; "any 2.x compatible Receiver MUST be able to read any 2.x
/// compatible Senders".
#[test]
fn spec_request_of_version_2_is_stored_as_it_was_sent() {
    let (dir, mut server) = start();
    let at = now_ms();
    let mut request = Request::default();
    let series = request.labels(&[("__name__", "floats"), ("job", "a")]).sample(at - 1000, 1.5).sample(at, -0.25);
    request.push(series);
    let series = request.labels(&[("__name__", "histograms")]);
    request.push(series.histogram(&histogram(at - 1000, 2.0)).histogram(&histogram(at, 3.5)));
    let answer = request.send(server.address);
    assert_stored(&answer);
    assert_eq!(written(&answer), [2, 2, 0]);
    for restarted in [false, true] {
        assert_eq!(floats(&server, "floats{job=\"a\"}"), [(at - 1000, 1.5), (at, -0.25)], "restarted: {restarted}");
        let histograms = stored(&server, "histograms");
        let sums: Vec<_> = histograms[0].1.iter().map(|(time, value)| (*time, value["sum"].clone())).collect();
        assert_eq!(sums, [(at - 1000, json!("2")), (at, json!("3.5"))], "restarted: {restarted}");
        assert_eq!(histograms[0].1[0].1["count"], "7");
        server.kill_and_restart();
    }
    verify(server, dir.path());
}

/// "Snappy's block format MUST be used -- the framed format MUST NOT be used."
#[test]
fn spec_framed_snappy_is_refused_and_nothing_stored() {
    use std::io::Write as _;
    let (_dir, server) = start();
    let message = Version::Two.encode(&[Series::new(&[("__name__", "framed")], &[(now_ms(), 1.0)])]);
    let mut framed = snap::write::FrameEncoder::new(Vec::new());
    framed.write_all(&message).unwrap();
    let answer = send_raw(server.address, &framed.into_inner().unwrap()).unwrap();
    assert_refused(&answer, &["snappy"]);
    assert_eq!(count(&server, "framed"), 0);
}

/// "Receivers MUST support snappy compression"; the value follows RFC 9110, where case means nothing.
#[test]
fn spec_content_encoding_snappy_is_supported() {
    let (_dir, server) = start();
    for (encoding, at) in [("snappy", now_ms() - 2), ("Snappy", now_ms() - 1), ("SNAPPY", now_ms())] {
        let message = Version::Two.encode(&[Series::new(&[("__name__", "packed"), ("as", encoding)], &[(at, 1.0)])]);
        let headers = [("Content-Encoding", encoding), ("Content-Type", CONTENT_TYPE)];
        assert_stored(&send_as(server.address, &headers, &compress(&message)).unwrap());
    }
    assert_eq!(count(&server, "packed"), 3);
}

/// "Receivers MUST use the content type header to identify the Protobuf Message schema to use"; the header follows RFC
/// 9110, which allows space around parameters and quotes around their values.
#[test]
fn spec_content_type_chooses_the_message() {
    let (_dir, server) = start();
    let body = |version: Version, id: &str| {
        compress(&version.encode(&[Series::new(&[("__name__", "typed"), ("id", id)], &[(now_ms(), 1.0)])]))
    };
    let mut stored = 0;
    for (content_type, version) in [
        ("application/x-protobuf", Version::One),
        ("application/x-protobuf;proto=prometheus.WriteRequest", Version::One),
        ("application/x-protobuf; proto=prometheus.WriteRequest", Version::One),
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Version::Two),
        ("application/x-protobuf; proto=io.prometheus.write.v2.Request", Version::Two),
        ("Application/X-Protobuf ; Proto=\"io.prometheus.write.v2.Request\"", Version::Two),
    ] {
        let headers = [SNAPPY, ("Content-Type", content_type)];
        assert_stored(&send_as(server.address, &headers, &body(version, content_type)).unwrap());
        stored += 1;
        assert_eq!(count(&server, "typed"), stored, "{content_type}");
        // The other message is no request, and is not taken for an empty one.
        let other = if version == Version::One { Version::Two } else { Version::One };
        let answer = send_as(server.address, &headers, &body(other, "other")).unwrap();
        assert_refused(&answer, &["content type"]);
        assert_eq!(count(&server, "typed"), stored, "{content_type}");
    }
}

/// "Receivers that written all data successfully MUST return a success 2xx"; "the response body SHOULD be empty and the
/// status code SHOULD be 204".
#[test]
fn spec_success_is_204_without_a_body() {
    let (_dir, server) = start();
    let answer = Version::Two.send(server.address, &[Series::new(&[("__name__", "a")], &[(now_ms(), 1.0)])]);
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let empty = Request::default().send(server.address);
    assert_eq!((empty.status, empty.body.len(), written(&empty)), (204, 0, [0, 0, 0]));
}

/// "Receivers MUST NOT return a 2xx if any of the pieces of sent data were NOT written"; "the Receiver MUST provide a
/// human-readable error message in the response body", which "SHOULD contain information about the amount of the samples
/// being rejected and for what reasons"; "MUST return a 400 for write requests that contain any invalid samples"; "MAY
/// write valid samples within a write request that also contains some invalid".
#[test]
fn spec_partial_write_is_400_that_counts_and_names_and_the_rest_is_stored() {
    let (_dir, server) = start();
    let at = now_ms();
    assert_stored(&Version::Two.send(server.address, &[Series::new(&[("__name__", "known")], &[(at, 1.0)])]));
    /// Adds a series of which something has to be refused.
    type Bad = fn(&mut Request, i64);
    let cases: &[(&str, Bad, &str, [u64; 3])] = &[
        (
            "sample with another value of its time",
            |request, at| {
                let series = request.labels(&[("__name__", "known")]).sample(at, 2.0);
                request.push(series);
            },
            "stored 1 of 2 samples; refused 1 (duplicate_timestamp: 1)",
            [1, 0, 0],
        ),
        (
            "sample of the far future",
            |request, at| {
                let series = request.labels(&[("__name__", "known")]).sample(at + 86_400_000, 2.0);
                request.push(series);
            },
            "stored 1 of 2 samples; refused 1 (too_far_in_future: 1)",
            [1, 0, 0],
        ),
        (
            "samples too old beside a good one",
            |request, at| {
                let series = request.labels(&[("__name__", "known")]);
                request.push(series.sample(at - 86_400_000, 1.0).sample(at - 86_400_001, 1.0).sample(at + 1, 1.0));
            },
            "stored 2 of 4 samples; refused 2 (too_old: 2)",
            [2, 0, 0],
        ),
        (
            "histogram whose count is not that of its buckets",
            |request, at| {
                let mut broken = vec![1 << 3, 77];
                put_number(&mut broken, 15, at);
                let series = request.labels(&[("__name__", "broken")]);
                request.push(series.histogram(&broken).histogram(&histogram(at, 1.0)));
            },
            "stored 2 of 3 samples; refused 1 (invalid_histogram: 1)",
            [1, 1, 0],
        ),
        (
            "reference outside of the symbols",
            |request, at| {
                let mut refs = request.refs(&[("__name__", "lost"), ("job", "x")]);
                refs[3] = 1000;
                request.push(remote_write_2::Series::default().refs(&refs).sample(at, 1.0).sample(at + 1, 1.0));
            },
            "stored 1 of 3 samples; refused 2 (invalid_reference: 2)",
            [1, 0, 0],
        ),
        (
            "name without a value",
            |request, at| {
                let refs = request.refs(&[("__name__", "lost"), ("job", "x")]);
                request.push(remote_write_2::Series::default().refs(&refs[..3]).sample(at, 1.0));
            },
            "stored 1 of 2 samples; refused 1 (invalid_reference: 1)",
            [1, 0, 0],
        ),
        (
            "no labels at all",
            |request, at| request.push(remote_write_2::Series::default().sample(at, 1.0)),
            "stored 1 of 2 samples; refused 1 (invalid_labels: 1)",
            [1, 0, 0],
        ),
        (
            "metadata that refers to nothing",
            |request, at| {
                let series = request.labels(&[("__name__", "lost")]).sample(at, 1.0);
                request.push(series.metadata(&remote_write_2::metadata(1, 1 << 20, 0)));
            },
            "stored 1 of 2 samples; refused 1 (invalid_metadata: 1)",
            [1, 0, 0],
        ),
        (
            "exemplar that refers to nothing",
            |request, at| {
                let mut exemplar = Vec::new();
                put_bytes(&mut exemplar, 1, &[1, 100]);
                put_double(&mut exemplar, 2, 1.0);
                put_number(&mut exemplar, 3, at);
                let series = request.labels(&[("__name__", "with_exemplar"), ("at", &at.to_string())]);
                request.push(series.sample(at, 1.0).exemplar(&exemplar));
            },
            "stored 2 of 2 samples; refused 1 exemplars",
            [2, 0, 0],
        ),
        (
            "series with nothing in it",
            |request, _| {
                let series = request.labels(&[("__name__", "empty")]);
                request.push(series);
            },
            "stored 1 of 1 samples; no_samples: ",
            [1, 0, 0],
        ),
    ];
    for (number, (what, add, says, counts)) in cases.iter().enumerate() {
        let mut request = Request::default();
        let id = number.to_string();
        let neighbour = [("__name__", "neighbour"), ("id", id.as_str())];
        add(&mut request, at);
        let series = request.labels(&neighbour).sample(at, number as f64);
        request.push(series);
        let answer = request.send(server.address);
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(answer.text().starts_with(says), "{what}: {}", answer.text());
        assert_eq!(written(&answer), *counts, "{what}");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"), "{what}");
        let selector = format!("neighbour{{id=\"{number}\"}}");
        assert_eq!(floats(&server, &selector), [(at, number as f64)], "{what}");
    }
    assert_eq!(floats(&server, "known"), [(at, 1.0), (at + 1, 1.0)]);
    assert_eq!((count(&server, "lost"), count(&server, "empty"), count(&server, "broken")), (0, 0, 1));
}

/// "For each important piece of data Receivers MUST send a dedicated HTTP X-Prometheus-Remote-Write-*-Written response
/// header with the precise number of successfully written elements"; "each header value MUST be a single 64-bit integer".
/// A sample that was there already is written, since it is there.
#[test]
fn spec_written_headers_count_what_is_stored_whether_new_or_sent_again() {
    let (_dir, server) = start();
    let at = now_ms();
    let mut request = Request::default();
    let series = request.labels(&[("__name__", "counted")]).sample(at - 1, 1.0).sample(at, 2.0);
    request.push(series);
    let series = request.labels(&[("__name__", "counted_too")]).histogram(&histogram(at, 1.0));
    request.push(series);
    for again in [false, true] {
        let answer = request.send(server.address);
        assert_stored(&answer);
        assert_eq!(written(&answer), [2, 1, 0], "again: {again}");
        assert_eq!(answer.header("chronolith-samples"), Some(if again { "0" } else { "3" }));
    }
    // A request that was not understood has written nothing, and says so.
    assert_eq!(written(&send_raw(server.address, &compress(b"\xff")).unwrap()), [0, 0, 0]);
    assert_eq!(written(&send_raw(server.address, b"no snappy").unwrap()), [0, 0, 0]);
}

/// "Receivers MUST return 415 if they don't support a given content type or encoding provided by Senders."
#[test]
fn spec_unsupported_type_or_encoding_is_415_and_nothing_is_stored() {
    let (_dir, server) = start();
    let body = compress(&Version::Two.encode(&[Series::new(&[("__name__", "unsupported")], &[(now_ms(), 1.0)])]));
    for (encoding, content_type) in [
        ("gzip", CONTENT_TYPE),
        ("zstd", CONTENT_TYPE),
        ("identity", CONTENT_TYPE),
        ("snappy, gzip", CONTENT_TYPE),
        ("snappy", "application/json"),
        ("snappy", "text/plain"),
        ("snappy", "application/x-protobuf;proto=io.prometheus.write.v3.Request"),
        ("snappy", "application/x-protobuf;proto=io.prometheus.write.v2.request"),
        ("snappy", "application/x-protobuf;proto="),
    ] {
        let headers = [("Content-Encoding", encoding), ("Content-Type", content_type)];
        let answer = send_as(server.address, &headers, &body).unwrap();
        assert_eq!(answer.status, 415, "{encoding} {content_type}: {}", answer.text());
        assert!(answer.text().contains("accept"), "says what is: {}", answer.text());
    }
    assert_eq!(count(&server, "unsupported"), 0);
}

/// "The Receiver MUST support idempotency as Senders MAY retry with the same request."
#[test]
fn spec_same_request_twice_gives_one_result_and_two_equal_answers() {
    let (_dir, mut server) = start();
    let at = now_ms();
    for version in Version::BOTH {
        let name = format!("retried_{version:?}");
        let labels = [("__name__", name.as_str())];
        let good = Series { histograms: vec![(at + 1, 1.0), (at + 2, 2.0)], ..Series::new(&labels, &[(at, 1.0)]) };
        let late = Series::new(&labels, &[(at - 600_000, 5.0), (at - 600_000, 5.0)]);
        let conflict = Series::new(&labels, &[(at, 7.0)]);
        let requests = [vec![good.clone()], vec![late.clone()], vec![good, late, conflict]];
        let first: Vec<_> = requests.iter().map(|request| version.send(server.address, request)).collect();
        let samples = stored(&server, &name);
        server.kill_and_restart();
        for (request, first) in requests.iter().zip(&first) {
            let second = version.send(server.address, request);
            assert_eq!((second.status, second.text()), (first.status, first.text()));
            assert_eq!(written(&second), written(first));
            assert_eq!(second.header("chronolith-samples"), Some("0"));
        }
        assert_eq!(stored(&server, &name), samples);
        assert_eq!(first.iter().map(|answer| answer.status).collect::<Vec<_>>(), [204, 204, 400]);
    }
}

/// "Future minor versions of 2.x MAY add new optional fields": a receiver reads past them.
#[test]
fn spec_fields_of_later_versions_are_passed_over() {
    let (_dir, server) = start();
    let at = now_ms();
    let later = |bytes: &mut Vec<u8>| {
        put_number(bytes, 200, 7);
        put_double(bytes, 201, 1.0);
        put_varint(bytes, 202 << 3 | 2);
        put_varint(bytes, 3);
        bytes.extend(b"new");
    };
    let mut request = Request::default();
    let mut series = request.labels(&[("__name__", "later")]).sample(at, 1.0);
    later(&mut series.0);
    request.push(series);
    let mut message = request.encode();
    later(&mut message);
    assert_stored(&send_raw(server.address, &compress(&message)).unwrap());
    assert_eq!(floats(&server, "later"), [(at, 1.0)]);
}

/// "The symbols table MUST be provided"; its order in the message, and that of the strings, is up to the sender.
#[test]
fn spec_symbols_may_come_in_any_order_and_behind_the_series() {
    let (_dir, server) = start();
    let at = now_ms();
    let mut request = Request::default();
    let refs = request.refs(&[("job", "x"), ("__name__", "behind")]);
    request.push(remote_write_2::Series::default().refs(&[refs[2], refs[3], refs[0], refs[1]]).sample(at, 1.0));
    let mut message = Vec::new();
    request.series.iter().for_each(|series| put_bytes(&mut message, 5, series));
    request.symbols.iter().for_each(|symbol| put_bytes(&mut message, 4, symbol));
    assert_stored(&send_raw(server.address, &compress(&message)).unwrap());
    assert_eq!(floats(&server, "behind{job=\"x\"}"), [(at, 1.0)]);
}

/// The label set "MUST NOT contain repeated label names", "MUST NOT contain any empty label names"; "SHOULD contain a
/// __name__ label": what cannot be a series is refused by name. Labels in another order "MUST have label names sorted" are
/// the same series here.
#[test]
fn spec_label_sets_that_are_no_series_are_refused_and_unsorted_ones_are_the_same_series() {
    let (_dir, server) = start();
    let at = now_ms();
    for (labels, says) in [
        (vec![("__name__", "set"), ("a", "1"), ("a", "2")], "appears more than once"),
        (vec![("__name__", "set"), ("__name__", "set")], "appears more than once"),
        (vec![("", "1"), ("__name__", "set")], "label name is empty"),
        (vec![("a", "1")], "no metric name"),
        (vec![("__name__", ""), ("a", "1")], "no metric name"),
    ] {
        let mut request = Request::default();
        let series = request.labels(&labels).sample(at, 1.0);
        request.push(series);
        let answer = request.send(server.address);
        assert_refused(&answer, &["stored 0 of 1 samples", "invalid_labels", says]);
    }
    assert_eq!(count(&server, "{a=~\".+\"}"), 0);
    for (labels, at) in
        [([("__name__", "set"), ("a", "1"), ("b", "2")], at), ([("b", "2"), ("__name__", "set"), ("a", "1")], at + 1)]
    {
        let mut request = Request::default();
        let series = request.labels(&labels).sample(at, 1.0);
        request.push(series);
        assert_stored(&request.send(server.address));
    }
    assert_eq!(floats(&server, "set"), [(at, 1.0), (at + 1, 1.0)]);
}

/// "Metric names, label names, and label values MUST be any sequence of UTF-8 characters."
#[test]
fn spec_names_and_values_are_any_utf_8_and_nothing_else() {
    let (_dir, server) = start();
    let at = now_ms();
    let mut request = Request::default();
    let series = request.labels(&[("__name__", "größe.in bytes"), ("λ\n\"", "☃ \u{0}\u{10ffff}")]).sample(at, 1.0);
    request.push(series);
    assert_stored(&request.send(server.address));
    let found = stored(&server, "{\"größe.in bytes\"}");
    let labels: serde_json::Value = serde_json::from_str(&found[0].0).unwrap();
    assert_eq!(labels, json!({"__name__": "größe.in bytes", "λ\n\"": "☃ \u{0}\u{10ffff}"}));
    for bad in [&b"\xff"[..], b"caf\xe9", b"\xed\xa0\x80", b"\xc0\x80"] {
        let mut request = Request::default();
        let mut refs = request.refs(&[("__name__", "bytes"), ("raw", "x")]);
        refs[3] = request.symbol(bad);
        request.push(remote_write_2::Series::default().refs(&refs).sample(at, 1.0));
        let answer = request.send(server.address);
        assert_refused(&answer, &["stored 0 of 1 samples", "invalid_labels", "UTF-8", "__name__=\"bytes\""]);
    }
    assert_eq!(count(&server, "bytes"), 0);
}

/// "Stale markers MUST be signalled by the special NaN value 0x7ff0000000000002": it ends a series, and other NaNs don't.
#[test]
fn spec_stale_marker_ends_a_series_and_other_nans_are_values() {
    let (_dir, server) = start();
    let at = now_ms();
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    for (name, end) in [("ended", stale), ("not_a_number", f64::from_bits(0x7ff8_0000_0000_0001))] {
        let mut request = Request::default();
        let series = request.labels(&[("__name__", name)]).sample(at - 1000, 1.0).sample(at, end);
        request.push(series);
        let series = request.labels(&[("__name__", name), ("kind", "histogram")]);
        request.push(series.histogram(&histogram(at - 1000, 1.0)).histogram(&histogram(at, end)));
        let answer = request.send(server.address);
        assert_stored(&answer);
        assert_eq!(written(&answer), [2, 2, 0]);
    }
    let alive = |name: &str, at: i64| server.query(name, at as f64 / 1000.0)["result"].as_array().unwrap().len();
    assert_eq!((alive("ended", at - 1), alive("ended", at)), (2, 0));
    assert_eq!((alive("not_a_number", at - 1), alive("not_a_number", at)), (2, 2));
}

/// "metadata sub-fields SHOULD be provided. Receivers MAY reject series with unspecified Metadata.type": they are taken
/// here, and what is provided is told by the metadata API.
#[test]
fn spec_metadata_of_every_type_is_taken_and_told() {
    let (_dir, server) = start();
    let at = now_ms();
    let types = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    for (number, kind) in types.into_iter().enumerate() {
        let mut request = Request::default();
        let name = format!("of_type_{kind}");
        let described = request.metadata(number as i64, &format!("A {kind}."), "bytes");
        let series = request.labels(&[("__name__", &name)]).sample(at, 1.0).metadata(&described);
        request.push(series);
        assert_stored(&request.send(server.address));
        let told = metadata(&server, &name);
        assert_eq!(told, json!([{"type": kind, "help": format!("A {kind}."), "unit": "bytes"}]), "{name}");
    }
    assert_eq!(count(&server, "{__name__=~\"of_type_.*\"}"), 8);
}

/// "The 0 value MUST be treated by receivers as unset value" of a start timestamp; any other one is read, and by default
/// changes nothing of what is stored.
#[test]
fn spec_start_timestamps_are_read_and_zero_is_none() {
    for (feature, zeros) in [("none", false), ("created-timestamp-zero-ingestion", true)] {
        let (_dir, server) = start_with(Settings::default().with("enable_feature", feature));
        let at = now_ms();
        let mut request = Request::default();
        let series = request.labels(&[("__name__", "unset")]).sample_since(at, 5.0, 0);
        request.push(series);
        let series = request.labels(&[("__name__", "counted")]).sample_since(at, 5.0, at - 1000);
        request.push(series);
        let answer = request.send(server.address);
        assert_stored(&answer);
        assert_eq!(written(&answer), [2, 0, 0], "what was sent counts, and no zero");
        assert_eq!(floats(&server, "unset"), [(at, 5.0)]);
        let zero = [(at - 1000, 0.0), (at, 5.0)];
        assert_eq!(floats(&server, "counted"), if zeros { &zero[..] } else { &zero[1..] }, "{feature}");
    }
}

/// "MUST be used by Receivers to indicate that the write operation will never be able to succeed": what is no request is
/// 4xx, and the connection stays.
#[test]
fn spec_what_can_never_succeed_is_4xx_and_the_connection_goes_on() {
    use std::io::Write as _;
    let (_dir, server) = start();
    let mut stream = http::connect(server.address).unwrap();
    let good = compress(&Version::Two.encode(&[Series::new(&[("__name__", "after")], &[(now_ms(), 1.0)])]));
    let garbage = compress(&[0xff; 10]);
    for (body, status) in [(b"\x05hello".as_slice(), 400), (&garbage, 400), (b"".as_slice(), 400), (&good, 204)] {
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Encoding: snappy\r\nContent-Type: {CONTENT_TYPE}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        assert_eq!(http::read_next(&mut stream).unwrap().status, status);
    }
}
