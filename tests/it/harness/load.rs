//! A sender that remembers what was acknowledged, and checks later that all of it is there.
//!
//! Each worker owns series of its own and sends them scrape after scrape; a scrape that was not acknowledged is sent
//! again until it is, as Prometheus does. Each value is a function of worker, series and scrape; in every third series it is the
//! sum of a native histogram. What was acknowledged is
//! proven twice: by `chronolith verify` from the receipts, and by reading every sample back through PromQL.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::http::Response;
use super::random::mix;
use super::remote_write::{self, Series};
use super::{Chronolith, wait_for};

/// Time between two scrapes of a worker. Small, so that workers at different speeds stay close in time.
const INTERVAL_MS: i64 = 50;

/// Scrapes after which a worker stops.
const MOST_SCRAPES: u64 = 70_000;

/// Between a refusal and the next try.
const RETRY: Duration = Duration::from_millis(20);

/// One acknowledged request.
#[derive(Debug, Clone)]
pub struct Ack {
    worker: usize,
    scrape: u64,
    at: Instant,
    receipt: String,
}

#[derive(Debug, Default)]
struct Ledger {
    acks: Vec<Ack>,
    refused: HashMap<u16, u64>,
    last_refusal: String,
    broken: u64,
}

/// Of a load with late scrapes, every scrape whose number leaves this remainder is held back.
const LATE: (u64, u64) = (7, 3);

/// A late scrape is sent after so many later ones.
const LATE_BY: u64 = 10;

/// Workers that send.
#[derive(Debug)]
pub struct Load {
    workers: usize,
    series: usize,
    start_ms: i64,
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `workers` senders with `series` series each.
    pub fn start(address: SocketAddr, workers: usize, series: usize) -> Self {
        Self::start_some(address, workers, series, false)
    }

    /// The same, with some scrapes that come after later ones.
    pub fn start_with_late_scrapes(address: SocketAddr, workers: usize, series: usize) -> Self {
        Self::start_some(address, workers, series, true)
    }

    fn start_some(address: SocketAddr, workers: usize, series: usize, late: bool) -> Self {
        let start_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 - 3_600_000;
        let (stop, ledger) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Ledger::default())));
        let threads = (0..workers)
            .map(|worker| {
                let (stop, ledger) = (Arc::clone(&stop), Arc::clone(&ledger));
                thread::spawn(move || send_scrapes(address, (worker, series), start_ms, late, &stop, &ledger))
            })
            .collect();
        Load { workers, series, start_ms, stop, ledger, threads }
    }

    /// Requests acknowledged so far.
    pub fn acked(&self) -> usize {
        self.ledger.lock().unwrap().acks.len()
    }

    /// Requests acknowledged after a moment.
    pub fn acked_after(&self, moment: Instant) -> usize {
        self.ledger.lock().unwrap().acks.iter().rev().take_while(|ack| ack.at > moment).count()
    }

    /// Requests answered with a status that is no success, by status, and the last such answer.
    pub fn refused(&self) -> (HashMap<u16, u64>, String) {
        let ledger = self.ledger.lock().unwrap();
        (ledger.refused.clone(), ledger.last_refusal.clone())
    }

    /// Requests that got no answer.
    pub fn broken(&self) -> u64 {
        self.ledger.lock().unwrap().broken
    }

    /// Waits until `count` more requests are acknowledged than now.
    pub fn wait_for_acks(&self, count: usize, limit: Duration) {
        let goal = self.acked() + count;
        wait_for(&format!("{count} more acknowledged writes"), limit, || {
            let ledger = self.ledger.lock().unwrap();
            let have = ledger.acks.len();
            let complaint = || format!("{have} of {goal}; refused {:?}, last {}", ledger.refused, ledger.last_refusal);
            (have >= goal).then_some(()).ok_or_else(complaint)
        });
    }

    /// Waits until `count` more requests are acknowledged, or for `limit`.
    pub fn wait_for_acks_or(&self, count: usize, limit: Duration) {
        let (goal, start) = (self.acked() + count, Instant::now());
        while self.acked() < goal && start.elapsed() < limit {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops sending and waits for the workers.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }

    /// Writes the receipts of all acknowledged requests, as JSON lines. No commit number may be used twice, kills or not.
    pub fn write_receipts(&self, path: &Path) {
        let mut file = std::fs::File::create(path).unwrap();
        let mut commits = HashSet::new();
        for ack in &self.ledger.lock().unwrap().acks {
            let receipt: serde_json::Value = serde_json::from_str(&ack.receipt).unwrap();
            assert!(commits.insert(receipt["commit"].as_u64()), "commit number used twice: {}", ack.receipt);
            writeln!(file, "{}", ack.receipt).unwrap();
        }
    }

    /// The time of the first scrape, in milliseconds.
    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Reads every acknowledged sample back, value bits and all, while senders may go on. Gives how many there were.
    pub fn check_read_back(&self, server: &Chronolith) -> u64 {
        let mut acked = vec![BTreeSet::new(); self.workers];
        for ack in &self.ledger.lock().unwrap().acks {
            acked[ack.worker].insert(ack.scrape);
        }
        let is_running = !self.threads.is_empty();
        let mut checked = 0;
        for (worker, acked) in acked.into_iter().enumerate() {
            let Some(&last) = acked.last() else { continue };
            let end_ms = self.start_ms + last as i64 * INTERVAL_MS;
            let expression = format!("load_value{{worker=\"{worker}\"}}[{}ms]", last as i64 * INTERVAL_MS + 1);
            let data = server.query(&expression, end_ms as f64 / 1000.0);
            let found = data["result"].as_array().unwrap();
            assert_eq!(found.len(), self.series, "series of worker {worker}");
            for one in found {
                let series: usize = one["metric"]["series"].as_str().unwrap().parse().unwrap();
                let samples = one[if is_histogram(series) { "histograms" } else { "values" }].as_array().unwrap();
                let stored: HashMap<i64, u64> = samples
                    .iter()
                    .map(|sample| {
                        let timestamp_ms = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
                        let value = if is_histogram(series) { &sample[1]["sum"] } else { &sample[1] };
                        (timestamp_ms, value.as_str().unwrap().parse::<f64>().unwrap().to_bits())
                    })
                    .collect();
                assert_eq!(stored.len(), samples.len(), "a time twice: worker {worker}, series {series}");
                for scrape in &acked {
                    let timestamp_ms = self.start_ms + *scrape as i64 * INTERVAL_MS;
                    let expected = value(worker, series, *scrape);
                    assert_eq!(
                        stored.get(&timestamp_ms).copied().map(f64::from_bits),
                        Some(expected),
                        "acknowledged sample lost or changed: worker {worker}, series {series}, scrape {scrape} of {last}"
                    );
                    checked += 1;
                }
                // A request that was sent and got no answer may be there; of a late scrape, before the last acknowledged.
                let unanswered = stored.len() - acked.len();
                assert!(
                    is_running || unanswered <= 1,
                    "{unanswered} scrapes that nobody sent: worker {worker}, series {series}"
                );
            }
        }
        checked
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn value(worker: usize, series: usize, scrape: u64) -> f64 {
    let bits = mix((worker as u64) << 48 ^ (series as u64) << 32 ^ scrape);
    // Half of them are small integers, as counters and gauges have them; half have full mantissas.
    if bits & 1 == 0 { (bits >> 50) as f64 } else { bits as f64 / 1e9 }
}

/// Whether a series is of native histograms.
fn is_histogram(series: usize) -> bool {
    series % 3 == 2
}

/// The scrapes of a worker, in the order in which they are sent.
fn scrapes(late: bool) -> impl Iterator<Item = u64> {
    let is_late = move |scrape: &u64| late && scrape % LATE.0 == LATE.1;
    (0..MOST_SCRAPES).flat_map(move |scrape| {
        let held_back = scrape.checked_sub(LATE_BY).filter(is_late);
        [Some(scrape).filter(|scrape| !is_late(scrape)), held_back].into_iter().flatten()
    })
}

fn send_scrapes(
    address: SocketAddr,
    (worker, series): (usize, usize),
    start_ms: i64,
    late: bool,
    stop: &AtomicBool,
    ledger: &Mutex<Ledger>,
) {
    for scrape in scrapes(late) {
        let timestamp_ms = start_ms + scrape as i64 * INTERVAL_MS;
        let request: Vec<Series> = (0..series)
            .map(|series| {
                let (worker_label, series_label) = (worker.to_string(), series.to_string());
                let labels = [("__name__", "load_value"), ("series", &*series_label), ("worker", &*worker_label)];
                let (sample, labels) = ((timestamp_ms, value(worker, series, scrape)), Series::new(&labels, &[]));
                match is_histogram(series) {
                    true => Series { histograms: vec![sample], ..labels },
                    false => Series { samples: vec![sample], ..labels },
                }
            })
            .collect();
        let body = remote_write::compress(&remote_write::encode(&request));
        loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let answer = remote_write::send_raw(address, &body);
            let mut ledger = ledger.lock().unwrap();
            match answer {
                Ok(response) if (200..300).contains(&response.status) => {
                    let receipt = receipt_of(&response, series);
                    ledger.acks.push(Ack { worker, scrape, at: Instant::now(), receipt });
                    break;
                }
                Ok(response) => {
                    *ledger.refused.entry(response.status).or_default() += 1;
                    ledger.last_refusal = format!("{} {}", response.status, response.text().trim());
                }
                Err(_) => ledger.broken += 1,
            }
            drop(ledger);
            thread::sleep(RETRY);
        }
    }
}

/// The receipt in an acknowledgement's headers, as a line of a receipts file. A request that was sent before without an
/// answer may add nothing: its samples are there already, and its digest is that of no sample.
pub fn receipt_of(response: &Response, sent_samples: usize) -> String {
    let header = |name: &str| response.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", response.headers));
    let commit: u64 = header("chronolith-commit").parse().unwrap();
    let digest = header("chronolith-digest");
    assert!(digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "digest {digest}");
    let added = if digest.bytes().all(|byte| byte == b'0') { 0 } else { sent_samples };
    serde_json::json!({
        "commit": commit,
        "digest": digest,
        "samples": added,
        "durability": header("chronolith-durability"),
        "sent_at_ms": UNIX_EPOCH.elapsed().unwrap().as_millis() as u64,
    })
    .to_string()
}
