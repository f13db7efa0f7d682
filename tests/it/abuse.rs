//! Clients that mean ill, on loopback, bounded in number and time: the server's memory stays within a bound, and a good
//! client is served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::doors::{ANN, HASH};
use crate::harness::chronolith::start_with;
use crate::harness::http;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, now_ms, wait_for};

/// How long a request of a good client may take while others misbehave, on a busy machine.
const GOOD_WITHIN: Duration = Duration::from_secs(10);

/// A field of `/proc/PID/status`, in bytes.
fn memory(server: &Chronolith, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What the most that the process ever held grows by while `abuse` runs; it may be `bound` at most.
fn assert_memory_within(server: &Chronolith, bound: u64, abuse: impl FnOnce()) {
    let before = memory(server, "VmHWM:");
    abuse();
    let grown = memory(server, "VmHWM:").saturating_sub(before);
    assert!(grown <= bound, "{} KiB more at the peak, {} KiB are allowed", grown >> 10, bound >> 10);
}

/// A good client: writes once and reads it back, coming again as it is told to.
fn assert_served(server: &Chronolith) {
    let began = Instant::now();
    let series = [Series::new(&[("__name__", "good")], &[(now_ms(), 1.0)])];
    wait_for("a good write", GOOD_WITHIN, || match remote_write::send(server.address, &series) {
        Ok(answer) if answer.status == 204 => Ok(()),
        Ok(answer) if answer.status == 503 && answer.header("retry-after").is_some() => Err(answer.text()),
        Ok(answer) => panic!("{} {}", answer.status, answer.text()),
        Err(error) => Err(error.to_string()),
    });
    let answer = wait_for("a good query", GOOD_WITHIN, || {
        let path = format!("/api/v1/query?query=good&time={}", now_ms() / 1000 + 1);
        http::get(server.address, &path).map_err(|error| error.to_string())
    });
    assert_eq!(answer.json()["data"]["result"][0]["value"][1], "1", "{}", answer.text());
    assert!(began.elapsed() < 2 * GOOD_WITHIN);
}

fn assert_unharmed(server: &mut Chronolith) {
    assert!(server.process.ended().is_none(), "the server ended:\n{}", server.process.log());
    assert_served(server);
    let log = server.process.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn write_head(length: usize) -> String {
    format!("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Encoding: snappy\r\nContent-Length: {length}\r\n\r\n")
}

/// An upload that sends a part of what it announces, and then nothing.
fn stalled_upload(address: SocketAddr, announced: usize, sent: usize) -> TcpStream {
    let mut stream = http::connect(address).unwrap();
    stream.write_all(write_head(announced).as_bytes()).unwrap();
    // A server that has enough of it may close before all is sent.
    let _ = stream.write_all(&vec![0; sent]);
    stream
}

#[test]
fn abuse_ten_stalled_uploads_starve_no_good_writer() {
    let settings = Settings::default()
        .with("limits.max_body_size", "256KiB")
        .with("limits.max_bodies_in_flight", "1MiB")
        .with("web.max_requests", "10");
    let (_dir, mut server) = start_with(settings);
    // By bytes: ten times 200 of 256 KiB are twice what bodies may hold.
    let by_bytes: Vec<TcpStream> = (0..10).map(|_| stalled_upload(server.address, 256 << 10, 200 << 10)).collect();
    // Those that wait for room themselves are told to come again.
    wait_for("uploads that give way", Duration::from_secs(20), || {
        let count = gave_way(&server) + limited(&server, "bodies_in_flight");
        if count > 0 { Ok(()) } else { Err(count.to_string()) }
    });
    assert_served(&server);
    drop(by_bytes);
    wait_all_let_go(&server);
    // By requests: ten are as many as are worked on.
    let before = gave_way(&server);
    let by_requests: Vec<TcpStream> = (0..10).map(|_| stalled_upload(server.address, 1000, 10)).collect();
    wait_for("ten uploads", Duration::from_secs(20), || {
        let held = server.metric("chronolith_http_bodies_in_flight_bytes").unwrap();
        if held >= 100.0 { Ok(()) } else { Err(held.to_string()) }
    });
    for _ in 0..20 {
        assert_served(&server);
    }
    assert!(gave_way(&server) > before, "no upload made room for a request");
    drop(by_requests);
    wait_all_let_go(&server);
    assert_unharmed(&mut server);
}

/// Waits until no body holds anything.
fn wait_all_let_go(server: &Chronolith) {
    wait_for("bodies that are let go", Duration::from_secs(10), || {
        let held = server.metric("chronolith_http_bodies_in_flight_bytes").unwrap();
        if held == 0.0 { Ok(()) } else { Err(held.to_string()) }
    });
}

/// Uploads that gave way to others.
fn gave_way(server: &Chronolith) -> u64 {
    limited(server, "stalled_body")
}

/// What a limit ended.
fn limited(server: &Chronolith, limit: &str) -> u64 {
    let metrics = server.get("/metrics").text();
    let name = format!("chronolith_http_limited_total{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&*name)?.parse().ok()).unwrap()
}

#[test]
fn abuse_slow_body_ends_when_it_makes_no_progress() {
    let (_dir, mut server) = start_with(Settings::default().with("web.stall_timeout", "1s"));
    let began = Instant::now();
    let mut stream = stalled_upload(server.address, 1 << 20, 100);
    // A byte now and then is no progress.
    let mut sent = 0;
    while began.elapsed() < Duration::from_secs(20) && stream.write_all(&[0]).is_ok() {
        sent += 1;
        let mut answered = [0];
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if stream.peek(&mut answered).is_ok() {
            break;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{sent} bytes were taken for {:?}", began.elapsed());
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let answer = http::read_response(&mut stream).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some() && answer.text().contains("took too long"), "{}", answer.text());
    assert_unharmed(&mut server);
}

#[test]
fn abuse_endless_and_crumbled_chunked_bodies_take_bounded_memory() {
    let (_dir, mut server) = start_with(Settings::default().with("limits.max_body_size", "1MiB"));
    assert_memory_within(&server, 64 << 20, || {
        for chunk in [1, 64 << 10] {
            let mut stream = http::connect(server.address).unwrap();
            let head = "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            let one = [format!("{chunk:x}\r\n").into_bytes(), vec![0; chunk], b"\r\n".to_vec()].concat();
            let many = one.repeat((256 << 10) / one.len() + 1);
            let taken = (0..400).take_while(|_| stream.write_all(&many).is_ok()).count();
            assert!(taken < 400, "{} MiB of chunks of {chunk} bytes were taken", (taken * many.len()) >> 20);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            // The answer may be lost where the server closed with bytes of ours unread.
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
        }
    });
    assert_unharmed(&mut server);
}

#[test]
fn abuse_bombs_all_at_once_take_bounded_memory() {
    let (_dir, mut server) = start_with(Settings::default());
    // Each is within the bound of a body and far past that of what it unpacks to.
    let bomb = remote_write::compress(&vec![0; 200 << 20]);
    assert_memory_within(&server, 512 << 20, || {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let answer = remote_write::send_raw(server.address, &bomb).unwrap();
                    assert!(matches!(answer.status, 400 | 413 | 503), "{} {}", answer.status, answer.text());
                });
            }
            scope.spawn(|| assert_served(&server));
        });
    });
    assert_unharmed(&mut server);
}

#[test]
fn abuse_a_thousand_idle_connections_keep_nobody_out() {
    let (_dir, mut server) = start_with(Settings::default());
    assert_memory_within(&server, 64 << 20, || {
        let mut held = Vec::new();
        for number in 0..1000 {
            let mut stream = http::connect(server.address).unwrap();
            // Some say nothing, some begin a head, some were answered once.
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost").unwrap(),
                _ => stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(),
            }
            held.push(stream);
            if number % 250 == 249 {
                assert_served(&server);
            }
        }
        let open = server.metric("chronolith_http_connections").unwrap();
        assert!(open <= 513.0, "{open} connections are open");
    });
    assert_unharmed(&mut server);
}

#[test]
fn abuse_connections_of_one_address_are_bounded_where_that_is_set() {
    let (_dir, server) = start_with(Settings::default().with("web.max_connections_per_address", "4"));
    // Each is busy with a body, so none may be closed for another.
    let upload = || stalled_upload(server.address, 1000, 10);
    let mut held: Vec<TcpStream> = (0..4).map(|_| upload()).collect();
    wait_for("refused connections", Duration::from_secs(10), || {
        let Ok(answer) = http::get(server.address, "/-/healthy") else { return Ok(()) };
        // One was not busy yet, and was closed for this.
        held.push(upload());
        Err(answer.text())
    });
    drop(held);
    wait_for("places", Duration::from_secs(10), || {
        http::get(server.address, "/-/healthy").map(|_| ()).map_err(|error| error.to_string())
    });
}

#[test]
fn abuse_huge_heads_are_cut_off() {
    let (_dir, mut server) = start_with(Settings::default());
    assert_memory_within(&server, 64 << 20, || {
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: x\r\n".repeat(10_000));
        let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
        for head in [long, many, path] {
            let mut stream = http::connect(server.address).unwrap();
            let sent = stream.write_all(head.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let refused = sent.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
            assert!(refused, "{}", String::from_utf8_lossy(&answer));
        }
        // The same by HTTP/2: a head that goes on and on.
        let mut stream = http2::connect(server.address);
        let piece = http2::frame(http2::CONTINUATION, 0, 1, &[0; 16 << 10]);
        stream.write_all(&http2::frame(http2::HEADERS, 0, 1, &http2::request_head())).unwrap();
        let taken = (0..2000).take_while(|_| stream.write_all(&piece).is_ok()).count();
        assert!(taken < 2000, "{} MiB of a head were taken", taken / 64);
    });
    assert_unharmed(&mut server);
}

#[test]
fn abuse_http2_resets_at_speed_keep_nobody_out() {
    let (_dir, mut server) = start_with(Settings::default());
    assert_memory_within(&server, 128 << 20, || {
        let (stop, streams) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        streams.fetch_add(reset_streams(server.address, &stop), Ordering::Relaxed);
                    }
                });
            }
            let _stopping = StopOnDrop(&stop);
            for _ in 0..10 {
                assert_served(&server);
            }
        });
        assert!(streams.load(Ordering::Relaxed) > 1000, "{streams:?} streams were reset");
    });
    assert_unharmed(&mut server);
}

/// Stops the threads of a test that fails too.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens and resets streams on a connection of its own until the server has enough of that; gives their number.
fn reset_streams(address: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut stream = http2::connect(address);
    let mut count = 0;
    for number in 0..20_000u32 {
        let id = 2 * number + 1;
        // The end of the head and of the stream, then a reset: "cancel".
        let request = http2::frame(http2::HEADERS, 0x5, id, &http2::request_head());
        let reset = http2::frame(http2::RST_STREAM, 0, id, &8u32.to_be_bytes());
        if stop.load(Ordering::Relaxed) || stream.write_all(&[request, reset].concat()).is_err() {
            break;
        }
        count += 1;
    }
    count
}

/// As much of HTTP/2 as abuse needs.
mod http2 {
    use super::*;

    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const CONTINUATION: u8 = 9;

    /// A connection with the preface sent. What the server says is read and forgotten, so that it does not wait for us.
    pub fn connect(address: SocketAddr) -> TcpStream {
        let mut stream = http::connect(address).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(4, 0, 0, &[])).unwrap();
        let mut reader = stream.try_clone().unwrap();
        thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        stream
    }

    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// `GET /` by the static table, and a literal authority.
    pub fn request_head() -> Vec<u8> {
        [&[0x82, 0x86, 0x84, 0x01, 9][..], b"localhost"].concat()
    }
}

#[test]
fn abuse_answers_that_nobody_takes_are_given_up() {
    let (_dir, mut server) = start_with(Settings::default().with("web.send_timeout", "1s"));
    assert_memory_within(&server, 128 << 20, || {
        let held: Vec<TcpStream> = (0..4)
            .map(|_| {
                let mut stream = http::connect(server.address).unwrap();
                let path = "/api/v1/query_range?query=vector(time())&start=0&end=10000&step=1";
                let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(200);
                // Some of it may not fit any more once the server has stopped reading.
                stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
                let _ = stream.write_all(request.as_bytes());
                stream
            })
            .collect();
        wait_for("connections that are closed", Duration::from_secs(30), || {
            let open = server.metric("chronolith_http_connections").unwrap();
            if open <= 1.0 { Ok(()) } else { Err(format!("{open} are open")) }
        });
        drop(held);
    });
    assert_unharmed(&mut server);
}

#[test]
fn abuse_http2_stream_without_a_window_is_given_up_and_others_of_its_connection_go_on() {
    let (_dir, mut server) = start_with(Settings::default().with("web.send_timeout", "1s"));
    let address = server.address;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let request = |method, path| {
        let uri = format!("http://{address}{path}");
        hyper::Request::builder().method(method).uri(uri).body(Empty::<Bytes>::new()).unwrap()
    };
    // A short answer that never begins, and one that is streamed and stops.
    for (window, path) in
        [(0, "/-/healthy"), (1000, "/api/v1/query_range?query=vector(time())&start=0&end=10000&step=1")]
    {
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let handshake = builder.initial_stream_window_size(window).handshake(TokioIo::new(stream));
            let (mut sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            let untaken = sender.send_request(request("GET", path)).await.unwrap();
            assert_eq!(untaken.status(), 200, "{path}");
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(4) {
                // Without a body it needs no window.
                let other = sender.send_request(request("OPTIONS", "/api/v1/query")).await.unwrap();
                assert_eq!(other.status(), 204, "{path}");
            }
            assert!(untaken.into_body().collect().await.is_err(), "{path}: the stream was kept");
        });
    }
    assert_unharmed(&mut server);
}

#[test]
fn abuse_wrong_passwords_at_speed_keep_no_known_client_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let web = dir.path().join("web.yml");
    std::fs::write(&web, format!("basic_auth_users: {{ann: {HASH}}}")).unwrap();
    let settings = Settings::default().with("web.config_file", web.display().to_string());
    let mut server = Chronolith::spawn(&dir.path().join("data"), settings);
    let good = || http::request(server.address, "GET", "/-/ready", &[("Authorization", ANN)], &[]);
    wait_for("ready", Duration::from_secs(60), || match good() {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_memory_within(&server, 64 << 20, || {
        let (stop, refused, busy) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (server, stop, refused, busy) = (&server, &stop, &refused, &busy);
                scope.spawn(move || {
                    for try_number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        // Each another one, so that none is known.
                        let wrong = format!("Basic {}", base64(&format!("u{thread}:{try_number:05}")));
                        let headers = [("Authorization", wrong.as_str())];
                        let answer = http::request(server.address, "GET", "/-/ready", &headers, &[]).unwrap();
                        let counter = match answer.status {
                            401 => refused,
                            503 => busy,
                            status => panic!("{status} {}", answer.text()),
                        };
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let _stopping = StopOnDrop(&stop);
            let began = Instant::now();
            let mut served = 0;
            while began.elapsed() < Duration::from_secs(3) || busy.load(Ordering::Relaxed) == 0 {
                let asked = Instant::now();
                assert_eq!(good().unwrap().status, 200);
                assert!(asked.elapsed() < GOOD_WITHIN, "{:?}", asked.elapsed());
                served += 1;
                assert!(began.elapsed() < Duration::from_secs(60), "no check had to be refused; {served} served");
            }
        });
        assert!(refused.load(Ordering::Relaxed) > 0 && busy.load(Ordering::Relaxed) > 0);
    });
    assert!(server.process.ended().is_none());
}

/// Base64 of a text whose length three divides.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = format!("{text:x<width$}", width = text.len().next_multiple_of(3));
    let digits = bytes.as_bytes().chunks(3).flat_map(|three| {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
    });
    digits.collect()
}

#[test]
fn abuse_new_series_past_the_bound_are_refused_by_name_and_old_ones_go_on() {
    let (_dir, mut server) = start_with(Settings::default().with("head.max_series", "10"));
    let batch = |count: usize, at: i64| -> Vec<Series> {
        let one = |n: usize| Series::new(&[("__name__", "bounded"), ("n", &n.to_string())], &[(at, n as f64)]);
        (0..count).map(one).collect()
    };
    let at = now_ms();
    assert_eq!(remote_write::send(server.address, &batch(9, at - 2000)).unwrap().status, 204);
    let answer = remote_write::send(server.address, &batch(50, at - 1000)).unwrap();
    assert_eq!(answer.status, 400);
    let text = answer.text();
    assert!(text.contains("stored 10 of 50") && text.contains("n=\"10\"") && !text.contains("n=\"3\""), "{text}");
    assert_eq!(remote_write::send(server.address, &batch(10, at)).unwrap().status, 204);
    let data = server.query("count(bounded)", at as f64 / 1000.0);
    assert_eq!(data["result"][0]["value"][1], "10");
    assert!(server.process.ended().is_none());
}

#[test]
fn abuse_memory_past_its_bound_refuses_writes_until_later_and_answers_queries() {
    let settings = Settings::default().with("limits.max_memory", "16MiB").with("head.max_memory", "none");
    let (_dir, server) = start_with(settings);
    // More than the bound, in buckets of a query's result: the server holds it while the label names are asked for.
    let series: Vec<Series> = (0..20_000)
        .map(|n| Series::new(&[("__name__", "wide"), ("n", &format!("{n:0>200}"))], &[(now_ms(), 1.0)]))
        .collect();
    let refused = wait_for("a refusal", Duration::from_secs(60), || {
        let mut last = String::new();
        for part in series.chunks(2000) {
            let answer = remote_write::send(server.address, part).unwrap();
            if answer.status == 503 {
                return Ok(answer);
            }
            last = format!("{} {}", answer.status, answer.text());
        }
        Err(last)
    });
    assert!(refused.header("retry-after").is_some() && refused.text().contains("memory"), "{}", refused.text());
    assert_eq!(http::get(server.address, "/api/v1/query?query=1").unwrap().status, 200);
}
