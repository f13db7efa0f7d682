//! The flusher: one thread that writes full chunks to the head chunk files, and then lets go of them in memory.
//!
//! Chunks come to it only after the log group that covers them is durable, so what the files hold is always in the log
//! too. A failed write costs nothing: the chunks stay in memory, in order, and are tried again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Shared;
use super::series::{ChunkPlace, EncodedChunk};
use super::shard::split_slot;
use crate::chunk::{ChunkRef, FilesExtent, HeadChunkEntry, HeadChunkFileWriter};
use crate::index::Slot;
use crate::model::TimeRange;

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
    /// Write what there is, once, and end.
    Stop,
}

/// The running flusher.
#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) sender: Sender<FlushMessage>,
    pub(super) thread: JoinHandle<()>,
}

impl Flusher {
    pub(super) fn start(shared: Arc<Shared>, writer: HeadChunkFileWriter) -> io::Result<Self> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let state = FlushState { shared, writer, waiting: VecDeque::new(), is_failing: false };
        let thread = std::thread::Builder::new().name("head-flush".into()).spawn(move || state.run(&receiver))?;
        Ok(Flusher { sender, thread })
    }
}

struct FlushState {
    shared: Arc<Shared>,
    writer: HeadChunkFileWriter,
    waiting: VecDeque<PendingChunk>,
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
                    let _ = answer.send(self.writer.sync());
                    continue;
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
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(CHUNKS_PER_WRITE);
            let entries = self.waiting.iter().take(count).map(|chunk| HeadChunkEntry {
                series_ref: chunk.series_ref,
                min_time_ms: chunk.range.start_ms,
                max_time_ms: chunk.range.end_ms,
                encoding: chunk.encoded.encoding as u8,
                data: &chunk.encoded.bytes,
            });
            let (refs, result) = self.writer.write(entries);
            for (chunk, chunk_ref) in self.waiting.drain(..refs.len()).zip(refs) {
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
}

/// Tells a chunk's series that it is in a file now.
fn place_in_file(shared: &Shared, chunk: &PendingChunk, chunk_ref: ChunkRef) {
    let (shard, row) = split_slot(chunk.slot);
    let mut shard = shared.shard(shard);
    let full = &mut shard.row_mut(row).full;
    // The oldest that is still in memory: chunks are written in order.
    if let Some(known) = full.iter_mut().rev().find(|known| known.min_time_ms == chunk.range.start_ms) {
        known.place = ChunkPlace::File(chunk_ref);
    }
}
