//! What well-known receivers were seen to do to their senders, each as a test that it does not happen here, in both
//! versions of the protocol where both can have it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::thread;

use serde_json::json;

use super::{Version, assert_refused, assert_stored, count, floats, now_ms, start, stored, verify, written};
use crate::harness::http;
use crate::harness::remote_write::{self, Series, compress, put_bytes};
use crate::harness::remote_write_2::{self, Request, put_double, put_number, send_as};

/// A request of one histogram of a series, made of any fields, and of another series beside it.
fn histogram_request(version: Version, name: &str, histogram: &[u8], beside: &Series) -> Vec<u8> {
    match version {
        Version::One => {
            let mut series = remote_write::encode(&[Series::new(&[("__name__", name)], &[])]);
            // The series is the only field, and its length has one byte.
            series.drain(..2);
            put_bytes(&mut series, 4, histogram);
            let mut request = Vec::new();
            put_bytes(&mut request, 1, &series);
            request.extend(remote_write::encode(std::slice::from_ref(beside)));
            request
        }
        Version::Two => {
            let mut request = Request::default();
            let series = request.labels(&[("__name__", name)]).histogram(histogram);
            request.push(series);
            request.push_version_1(beside);
            request.encode()
        }
    }
}

/// Prometheus 3.5 says 415 to another encoding and stores the batch all the same.
#[test]
fn pains_batch_refused_by_its_encoding_is_not_stored() {
    let (_dir, server) = start();
    for version in Version::BOTH {
        let body = compress(&version.encode(&[Series::new(&[("__name__", "refused")], &[(now_ms(), 1.0)])]));
        for (encoding, content_type) in
            [("gzip", version.content_type()), ("snappy", "application/x-protobuf;proto=other.Message")]
        {
            let headers = [("Content-Encoding", encoding), ("Content-Type", content_type)];
            let answer = send_as(server.address, &headers, &body).unwrap();
            assert_eq!(answer.status, 415, "{version:?}: {}", answer.text());
        }
        assert_eq!(count(&server, "refused"), 0, "{version:?}");
    }
}

/// Two values of one time in one request: both acknowledged, one lost.
#[test]
fn pains_two_conflicting_samples_of_one_request_are_not_both_acknowledged() {
    let (_dir, server) = start();
    for version in Version::BOTH {
        let name = format!("conflict_{version:?}");
        let labels = [("__name__", name.as_str())];
        let at = now_ms();
        let together = Series::new(&labels, &[(at, 1.0), (at, 2.0), (at, 1.0)]);
        let apart = Series::new(&labels, &[(at, 3.0)]);
        let answer = version.send(server.address, &[together, apart]);
        assert_refused(&answer, &["stored 2 of 4 samples", "duplicate_timestamp: 2", &name]);
        assert_eq!(written(&answer), [2, 0, 0]);
        assert_eq!(floats(&server, &name), [(at, 1.0)]);
        // The same for late samples, and for a float and a histogram.
        let late = Series::new(&labels, &[(at - 60_000, 1.0), (at - 60_000, 2.0)]);
        assert_refused(&version.send(server.address, &[late]), &["stored 1 of 2 samples", "duplicate_timestamp: 1"]);
        let mixed = Series { histograms: vec![(at + 1, 1.0)], ..Series::new(&labels, &[(at + 1, 1.0)]) };
        assert_refused(&version.send(server.address, &[mixed]), &["stored 1 of 2 samples", "duplicate_timestamp: 1"]);
        assert_eq!(floats(&server, &name), [(at - 60_000, 1.0), (at, 1.0), (at + 1, 1.0)]);
    }
}

/// A histogram of an impossible schema is acknowledged, and each query over it fails later.
#[test]
fn pains_impossible_schema_is_refused_and_queries_go_on() {
    let (_dir, server) = start();
    for version in Version::BOTH {
        for schema in [9_i64, 52, 53, 100, i64::from(i32::MAX), -5, -10, -54, i64::from(i32::MIN)] {
            let name = format!("schema_{version:?}");
            let mut histogram = vec![1 << 3, 1, 6 << 3, 1];
            put_number(&mut histogram, 4, (schema << 1 ^ schema >> 63) & 0xffff_ffff);
            put_number(&mut histogram, 15, now_ms());
            let beside = Series::new(&[("__name__", "beside")], &[(now_ms(), 1.0)]);
            let message = histogram_request(version, &name, &histogram, &beside);
            let answer = version.send_raw(server.address, &compress(&message));
            // Finer ones than are stored are made coarser, as Prometheus does.
            let finer = (9..=52).contains(&schema);
            assert_eq!(answer.status, if finer { 204 } else { 400 }, "{version:?} {schema}: {}", answer.text());
            assert!(finer || answer.text().contains("schema"), "{schema}: {}", answer.text());
        }
        let found = server.query(&format!("histogram_count(schema_{version:?})"), now_ms() as f64 / 1000.0);
        assert_eq!(found["result"][0]["value"][1], "1", "{version:?}: {found}");
    }
}

/// An invalid histogram is answered 5xx, and its sender sends it for ever.
#[test]
fn pains_invalid_histogram_is_400_and_costs_its_neighbours_nothing() {
    let (_dir, server) = start();
    let double = |field: u64, value: f64| {
        let mut bytes = Vec::new();
        put_double(&mut bytes, field, value);
        bytes
    };
    let spans = |spans: &[[u8; 2]], deltas: &[u8]| {
        let mut bytes = Vec::new();
        for [offset, length] in spans {
            put_bytes(&mut bytes, 11, &[1 << 3, *offset, 2 << 3, *length]);
        }
        put_bytes(&mut bytes, 12, deltas);
        bytes
    };
    let broken: [(&str, Vec<u8>); 7] = [
        ("count that no bucket has", vec![1 << 3, 5]),
        ("buckets that spans do not cover", [vec![1 << 3, 1], spans(&[[0, 1]], &[2, 0])].concat()),
        ("spans that buckets do not fill", [vec![1 << 3, 1], spans(&[[0, 3]], &[2])].concat()),
        ("bucket below zero", [vec![1 << 3, 1], spans(&[[0, 2]], &[2, 9])].concat()),
        ("second span that goes back", [vec![1 << 3, 2], spans(&[[0, 1], [5, 1]], &[2, 0])].concat()),
        ("float count below zero", [double(2, -1.0), double(7, -1.0)].concat()),
        ("span of four billion buckets", {
            let mut bytes = vec![1 << 3, 1];
            put_bytes(&mut bytes, 11, &[2 << 3, 0xff, 0xff, 0xff, 0xff, 0x0f]);
            bytes
        }),
    ];
    for version in Version::BOTH {
        for (what, histogram) in &broken {
            let at = now_ms();
            let mut histogram = histogram.clone();
            put_number(&mut histogram, 15, at);
            let beside = [("__name__", "beside"), ("case", *what), ("version", version.content_type())];
            let message = histogram_request(version, "invalid", &histogram, &Series::new(&beside, &[(at, 1.0)]));
            let answer = version.send_raw(server.address, &compress(&message));
            assert_refused(
                &answer,
                &["stored 1 of 2 samples", "invalid_histogram: 1", "native histogram at", "invalid"],
            );
            assert_eq!(written(&answer), [1, 0, 0], "{what}");
        }
    }
    assert_eq!((count(&server, "invalid"), count(&server, "beside")), (0, 2 * broken.len()));
}

/// -0, denormals and the payloads of NaNs come back as something else. JSON shows no payload, but a sample that is sent
/// again with the same bits is no conflict, and with others it is.
#[test]
fn pains_bits_of_values_are_kept() {
    let (dir, mut server) = start();
    let bits: [u64; 12] = [
        (-0.0_f64).to_bits(),
        1,
        0x8000_0000_0000_0001,
        0x000f_ffff_ffff_ffff,
        0x7ff8_0000_0000_0000,
        0x7ff8_0000_0000_0001,
        0xfff8_dead_beef_cafe,
        0x7ff0_0000_0000_0001,
        0x7ff0_0000_0000_0002,
        f64::NEG_INFINITY.to_bits(),
        f64::MAX.to_bits(),
        f64::MIN_POSITIVE.to_bits(),
    ];
    let at = now_ms() - 60_000;
    for version in Version::BOTH {
        let name = format!("bits_{version:?}");
        let request = |flip: u64| {
            let series = |(index, bits): (usize, &u64)| {
                let id = index.to_string();
                let value = f64::from_bits(bits ^ flip);
                let labels = [("__name__", name.as_str()), ("id", id.as_str())];
                Series { histograms: vec![(at + 1, value)], ..Series::new(&labels, &[(at, value)]) }
            };
            bits.iter().enumerate().map(series).collect::<Vec<_>>()
        };
        assert_stored(&version.send(server.address, &request(0)));
        for restarted in [false, true] {
            let again = version.send(server.address, &request(0));
            assert_stored(&again);
            assert_eq!(again.header("chronolith-samples"), Some("0"), "{version:?}, restarted: {restarted}");
            let other = version.send(server.address, &request(1 << 40));
            assert_refused(&other, &["stored 0 of 24 samples", "duplicate_timestamp: 24"]);
            server.kill_and_restart();
        }
        for (id, text) in [(0, "-0"), (1, "5e-324")] {
            assert_eq!(stored(&server, &format!("{name}{{id=\"{id}\"}}"))[0].1[0], (at, json!(text)));
        }
    }
    verify(server, dir.path());
}

/// A reference outside of the symbols ends the connection without an answer.
#[test]
fn pains_reference_outside_of_the_symbols_is_answered_on_a_connection_that_goes_on() {
    let (_dir, mut server) = start();
    let mut stream = http::connect(server.address).unwrap();
    let mut bad = Request::default();
    for reference in [3, 1 << 20, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        bad.symbols = vec![Vec::new(), b"__name__".to_vec(), b"outside".to_vec()];
        bad.push(remote_write_2::Series::default().refs(&[1, reference]).sample(now_ms(), 1.0));
        bad.push(remote_write_2::Series::default().refs(&[reference, 2]).sample(now_ms(), 1.0));
    }
    let good = Version::Two.encode(&[Series::new(&[("__name__", "inside")], &[(now_ms(), 1.0)])]);
    for (message, status) in [(bad.encode(), 400), (good, 204)] {
        let body = compress(&message);
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Encoding: snappy\r\nContent-Type: {}\r\n\
             Content-Length: {}\r\n\r\n",
            remote_write_2::CONTENT_TYPE,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let answer = http::read_next(&mut stream).unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 400 {
            assert!(answer.text().starts_with("stored 0 of 10 samples; refused 10 (invalid_reference: 10)"));
        }
    }
    assert_eq!((count(&server, "inside"), count(&server, "outside")), (1, 0));
    assert!(server.process.ended().is_none() && !server.process.log().contains("panicked"));
}

/// Two writers of one series at once: acknowledged samples cannot be read.
#[test]
fn pains_every_acknowledged_sample_of_a_series_with_many_writers_is_read_back() {
    const WRITERS: i64 = 8;
    const REQUESTS: i64 = 60;
    let (dir, mut server) = start();
    let at = now_ms() - 600_000;
    let labels = [("__name__", "shared")];
    let address = server.address;
    let acknowledged: BTreeMap<i64, f64> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for request in 0..REQUESTS {
                        // Each time is sent by two writers, with one value or with two.
                        let step = request * WRITERS + (writer / 2) * 2;
                        let value = if request % 2 == 0 { step as f64 } else { (step + writer) as f64 };
                        let samples = [(at + step, value), (at + step + 1, (step + 1) as f64)];
                        let version = Version::BOTH[(writer % 2) as usize];
                        let answer = version.send(address, &[Series::new(&labels, &samples)]);
                        match answer.status {
                            204 => acknowledged.extend(samples),
                            // One of the two values of the first time came second.
                            400 => {
                                assert_eq!((request % 2, written(&answer)), (1, [1, 0, 0]), "{}", answer.text());
                                acknowledged.push(samples[1]);
                            }
                            _ => panic!("{} {}", answer.status, answer.text()),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(acknowledged.len() as i64, WRITERS * REQUESTS);
    let expected: Vec<(i64, f64)> = acknowledged.into_iter().collect();
    assert_eq!(floats(&server, "shared"), expected);
    server.kill_and_restart();
    assert_eq!(floats(&server, "shared"), expected);
    verify(server, dir.path());
}

/// A small body becomes gigabytes, because one long symbol is referred to over and over.
#[test]
fn pains_small_body_that_refers_to_a_long_symbol_often_costs_bounded_memory() {
    let (_dir, server) = start();
    let mut request = Request::default();
    let long = "x".repeat(1 << 20);
    let refs = request.refs(&[("__name__", "long"), ("a", &long)]);
    for step in 0..100_000 {
        request.push(remote_write_2::Series::default().refs(&refs).sample(now_ms() + step, 1.0));
    }
    let peak = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    };
    let before = peak(server.process.pid());
    let answer = request.send(server.address);
    assert_refused(&answer, &["bytes of labels", "in parts"]);
    let grown = peak(server.process.pid()) - before;
    assert!(grown < 400 << 20, "{grown} bytes more at the peak");
    assert_stored(&Version::Two.send(server.address, &[Series::new(&[("__name__", "after")], &[(now_ms(), 1.0)])]));
}
