//! The flusher: one thread that writes full chunks to the head chunk files, and then lets go of them in memory.
//!
//! Chunks come to it only after the log group that covers them is durable, so what the files hold is always in the log
//! too. A failed write costs nothing: the chunks stay in memory, in order, and are tried again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Shared;
use super::series::{ChunkPlace, EncodedChunk};
use super::shard::split_slot;
use crate::chunk::{ChunkRef, FilesExtent, HeadChunkEntry, HeadChunkFileWriter, OUT_OF_ORDER};
use crate::index::Slot;
use crate::model::{TimeRange, TimestampMs};

/// How long the flusher waits after a failed write before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Most chunks of one write, so that their memory is let go of step by step.
const CHUNKS_PER_WRITE: usize = 4096;

/// A full chunk on its way to a file.
#[derive(Debug, Clone)]
pub(super) struct PendingChunk {
    pub(super) slot: Slot,
    pub(super) series_ref: u64,
    pub(super) range: TimeRange,
    pub(super) encoded: Arc<EncodedChunk>,
    /// The number of an out-of-order chunk.
    pub(super) out_of_order: Option<u64>,
}

impl PendingChunk {
    /// The encoding's number, with the mark of out-of-order chunks.
    fn encoding_number(&self) -> u8 {
        self.encoded.encoding as u8 | if self.out_of_order.is_some() { OUT_OF_ORDER } else { 0 }
    }
}

/// What a file holds that may still be needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileContent {
    /// The newest time of its in-order chunks; `None` where it has none.
    pub(super) newest_ms: Option<TimestampMs>,
    /// One more than the greatest number of its out-of-order chunks.
    pub(super) out_of_order_before: u64,
}

impl FileContent {
    /// A file in which nothing is needed.
    pub(super) const NOTHING: FileContent = FileContent { newest_ms: None, out_of_order_before: 0 };

    fn add(&mut self, chunk: &PendingChunk) {
        match chunk.out_of_order {
            Some(number) => self.out_of_order_before = self.out_of_order_before.max(number + 1),
            None => self.newest_ms = self.newest_ms.max(Some(chunk.range.end_ms)),
        }
    }
}

/// What the flusher is told.
#[derive(Debug)]
pub(super) enum FlushMessage {
    /// Chunks whose samples are durable in the log.
    Chunks(Vec<PendingChunk>),
    /// Answer once all chunks so far were tried; what is left is their number.
    Barrier(SyncSender<usize>),
    /// Make what was written durable, and say up to where the files go.
    Sync(SyncSender<io::Result<FilesExtent>>),
    /// Chunks that end below a time are not needed any more: remove the files that hold no others.
    Truncate { below_ms: TimestampMs, answer: SyncSender<RemovedFiles> },
    /// Write what there is, once, and end.
    Stop,
}

/// Head chunk files that were removed.
#[derive(Debug, Default)]
pub(super) struct RemovedFiles {
    pub(super) count: u64,
    /// Why there are not more.
    pub(super) failure: Option<String>,
}

/// The running flusher.
#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) sender: Sender<FlushMessage>,
    pub(super) thread: JoinHandle<()>,
}

impl Flusher {
    pub(super) fn start(
        shared: Arc<Shared>,
        writer: HeadChunkFileWriter,
        contents: BTreeMap<u32, FileContent>,
    ) -> io::Result<Self> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let state = FlushState {
            shared,
            writer,
            waiting: VecDeque::new(),
            contents,
            below_ms: TimestampMs::MIN,
            is_failing: false,
        };
        let thread = std::thread::Builder::new()
            .name("head-flush".into())
            .spawn(crate::planted::carry(move || state.run(&receiver)))?;
        Ok(Flusher { sender, thread })
    }
}

struct FlushState {
    shared: Arc<Shared>,
    writer: HeadChunkFileWriter,
    waiting: VecDeque<PendingChunk>,
    /// What each file holds, by its number.
    contents: BTreeMap<u32, FileContent>,
    /// Chunks that end below are not needed any more.
    below_ms: TimestampMs,
    is_failing: bool,
}

impl FlushState {
    fn run(mut self, receiver: &Receiver<FlushMessage>) {
        loop {
            let message = match self.waiting.is_empty() {
                true => receiver.recv().map_err(|_closed| RecvTimeoutError::Disconnected),
                false => receiver.recv_timeout(RETRY_AFTER),
            };
            match message {
                Ok(FlushMessage::Chunks(chunks)) => self.waiting.extend(chunks),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(FlushMessage::Barrier(answer)) => {
                    self.write();
                    // Who asked may have gone.
                    let _ = answer.send(self.waiting.len());
                    continue;
                }
                Ok(FlushMessage::Sync(answer)) => {
                    // Who asked may have gone.
                    let _ = answer.send(self.writer.sync());
                    continue;
                }
                Ok(FlushMessage::Truncate { below_ms, answer }) => {
                    self.below_ms = self.below_ms.max(below_ms);
                    // Who asked may have gone.
                    let _ = answer.send(self.remove_files());
                }
                Ok(FlushMessage::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.write();
                    return;
                }
            }
            self.write();
        }
    }

    /// Writes what waits, up to the first failure.
    fn write(&mut self) {
        // Blocks have what was dropped. In a file it would come back with the next start.
        let dropped = self.shared.counters.out_of_order_dropped.load(Ordering::Acquire);
        self.waiting.retain(|chunk| match chunk.out_of_order {
            Some(number) => number >= dropped,
            None => chunk.range.end_ms >= self.below_ms,
        });
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(CHUNKS_PER_WRITE);
            let entries = self.waiting.iter().take(count).map(|chunk| HeadChunkEntry {
                series_ref: chunk.series_ref,
                min_time_ms: chunk.range.start_ms,
                max_time_ms: chunk.range.end_ms,
                encoding: chunk.encoding_number(),
                data: &chunk.encoded.bytes,
            });
            let (refs, result) = self.writer.write(entries);
            for (chunk, chunk_ref) in self.waiting.drain(..refs.len()).zip(refs) {
                self.contents.entry(chunk_ref.file()).or_insert(FileContent::NOTHING).add(&chunk);
                place_in_file(&self.shared, &chunk, chunk_ref);
            }
            if let Err(error) = result {
                self.shared.counters.chunk_write_failures.fetch_add(1, Ordering::Relaxed);
                if !self.is_failing {
                    tracing::warn!(%error, chunks = self.waiting.len(), "head chunk file not written, chunks kept in memory");
                }
                self.is_failing = true;
                return;
            }
            self.is_failing = false;
        }
        self.waiting.shrink_to(CHUNKS_PER_WRITE);
    }

    /// Removes the oldest files, up to the first that holds a chunk which is still needed: so there is no gap, whenever
    /// a crash comes. The newest may be among them; what is written next begins another.
    fn remove_files(&mut self) -> RemovedFiles {
        let mut removed = RemovedFiles::default();
        let dropped = self.shared.counters.out_of_order_dropped.load(Ordering::Acquire);
        while let Some(oldest) = self.contents.first_entry() {
            let content = oldest.get();
            if content.newest_ms >= Some(self.below_ms) || content.out_of_order_before > dropped {
                break;
            }
            let file = *oldest.key();
            if let Err(error) = self.writer.remove(file) {
                tracing::warn!(file, %error, "head chunk file that is not needed any more not removed");
                removed.failure = Some(error.to_string());
                break;
            }
            if let Some(files) = &self.shared.files {
                files.forget(file);
            }
            oldest.remove();
            removed.count += 1;
        }
        removed
    }
}

/// Tells a chunk's series that it is in a file now.
fn place_in_file(shared: &Shared, chunk: &PendingChunk, chunk_ref: ChunkRef) {
    let (shard, row) = split_slot(chunk.slot);
    let mut shard = shared.shard(shard);
    // The series may be gone, and the row with it, or in use for another.
    let Some(series) = shard.get_mut(row).filter(|series| series.series_ref == chunk.series_ref) else { return };
    if let Some(number) = chunk.out_of_order {
        let held = series.out_of_order_mut();
        if let Some(known) = held.and_then(|held| held.chunks.iter_mut().find(|known| known.number == number)) {
            known.place = ChunkPlace::File(chunk_ref);
        }
        return;
    }
    // The oldest that is still in memory: chunks are written in order.
    if let Some(known) = series.full.iter_mut().rev().find(|known| known.min_time_ms == chunk.range.start_ms) {
        known.place = ChunkPlace::File(chunk_ref);
    }
}
