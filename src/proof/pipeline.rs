//! Reads a log on one thread, and hands what it holds to a sink on another.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::fs::Fs;
use crate::wal::{LogScan, RecordPosition, ReplayProgress, ReplaySink, Seal, WalError, scan};

/// Bytes of records that travel together.
const BATCH_BYTES: usize = 256 * 1024;
/// Batches that may wait.
const BATCHES_WAITING: usize = 8;

/// What the log holds next.
enum Item {
    Record(RecordPosition, Vec<u8>),
    Seal(RecordPosition, Box<Seal>, bool),
}

/// Reads the log in `dir` as [`scan`] does. Files are read, checked and decompressed on a thread of their own, while the
/// sink works on this one.
pub fn scan_beside(
    fs: &dyn Fs,
    dir: &Path,
    sink: &mut dyn ReplaySink,
    progress: &ReplayProgress,
) -> Result<LogScan, WalError> {
    std::thread::scope(|scope| {
        let (sender, batches) = sync_channel(BATCHES_WAITING);
        let reader = scope.spawn(move || {
            let mut forward = Forward { sender, batch: Vec::new(), bytes: 0 };
            let log = scan(fs, dir, &mut forward, progress)?;
            forward.send()?;
            Ok::<_, WalError>(log)
        });
        let mut take = || -> Result<(), WalError> {
            for item in batches.iter().flatten() {
                match item {
                    Item::Record(position, record) => sink.record(position, record)?,
                    Item::Seal(position, seal, intact) => sink.seal(position, &seal, intact)?,
                }
            }
            Ok(())
        };
        let taken = take();
        // A reader that still has something to say finds nobody, and ends.
        drop(batches);
        let read = reader
            .join()
            .map_err(|_panic| WalError::Sink { reason: "the thread that reads the log panicked".to_owned() });
        taken?;
        read?
    })
}

struct Forward {
    sender: SyncSender<Vec<Item>>,
    batch: Vec<Item>,
    bytes: usize,
}

impl Forward {
    fn push(&mut self, item: Item, bytes: usize) -> Result<(), WalError> {
        self.batch.push(item);
        self.bytes += bytes + size_of::<Item>();
        if self.bytes >= BATCH_BYTES { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), WalError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.sender.send(batch).map_err(|_gone| WalError::Sink { reason: "the replay ended early".to_owned() })
    }
}

impl ReplaySink for Forward {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let bytes = record.len();
        self.push(Item::Record(position, record), bytes)
    }

    fn seal(&mut self, position: RecordPosition, seal: &Seal, intact: bool) -> Result<(), WalError> {
        let bytes = size_of_val(seal.requests.as_slice());
        self.push(Item::Seal(position, Box::new(seal.clone()), intact), bytes)
    }
}
