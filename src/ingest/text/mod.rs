//! `POST /api/v1/import/prometheus`: samples as text, of any length.
//!
//! A body is read while it arrives. Whole lines are collected up to a bound, appended as one batch, and committed; then
//! the next are. So a body of gigabytes takes the memory of one batch, and one that stalls holds nothing but what came of
//! it: a write place is taken for a batch that is there, and given back when it is durable. Each batch is acknowledged by
//! a receipt of its own.
//!
//! A faulty line is refused with its number, and the others are stored. A body that breaks off costs the lines behind the
//! last batch, and the answer, where one is possible, says what is stored.

mod answer;
mod batch;
mod request;

#[cfg(test)]
mod tests;

use std::io;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::http::Response;
use memchr::{memchr, memrchr};

use super::accept::{Stored, WriteService, WriteStore};
use super::answer::Refusal;
use super::decompress::{Decompressor, Encoding, Progress};
use super::sender::Sender;
use super::turns::Turns;
use crate::model::TimestampMs;
use crate::storage::BatchOutcome;
use crate::text::{LINE_BYTES_MAX, TextError};
use crate::wal::Receipt;
use batch::LineDecoder;

pub use request::ImportRequest;

/// Bytes of text that make a batch: a line of the greatest length fits, with its end.
const BATCH_BYTES: usize = LINE_BYTES_MAX + 2;

/// An import under way.
#[derive(Debug)]
pub struct TextImport<'s, S> {
    service: &'s WriteService<S>,
    turns: &'s Turns,
    sender: Sender,
    decompressor: Decompressor,
    decoder: LineDecoder,
    /// Text that is not stored yet.
    text: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    is_skipping: bool,
    began_ms: TimestampMs,
    total: Total,
}

/// What became of an import so far.
#[derive(Debug, Default)]
struct Total {
    outcome: BatchOutcome,
    exemplars_refused: u64,
    receipts: Vec<Receipt>,
    /// Lines that are dealt with.
    lines: u64,
    cut_off: Option<TextError>,
}

impl Total {
    fn add(&mut self, stored: Stored) {
        self.outcome.add(stored.outcome);
        self.exemplars_refused += stored.exemplars_refused;
        self.receipts.extend(stored.receipt);
    }

    fn is_partial(&self) -> bool {
        self.outcome.rejected_total() > 0 || self.exemplars_refused > 0 || self.cut_off.is_some()
    }
}

impl<'s, S: WriteStore> TextImport<'s, S> {
    /// Begins an import. Each batch waits for a turn of its own.
    pub fn new(
        service: &'s WriteService<S>,
        turns: &'s Turns,
        sender: Sender,
        request: ImportRequest,
        encoding: Encoding,
    ) -> Result<Self, Refusal> {
        let decompressor = Decompressor::new(encoding)
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("begin to unpack: {error}")))?;
        Ok(TextImport {
            service,
            turns,
            sender,
            decompressor,
            began_ms: service.clock.now_ms(),
            decoder: LineDecoder::new(request),
            text: Vec::new(),
            is_skipping: false,
            total: Total::default(),
        })
    }

    /// Takes the next part of the body, and stores what makes whole batches.
    pub async fn feed(&mut self, part: Bytes) -> Result<(), Refusal> {
        self.service.metrics.of(self.sender.protocol).body_bytes.add(part.len() as u64);
        self.decompressor.push(part);
        self.drain().await
    }

    /// Stores the whole lines that came: there may be nothing more for a while.
    pub async fn flush(&mut self) -> Result<(), Refusal> {
        match memrchr(b'\n', &self.text) {
            Some(end) => self.store(end + 1).await,
            None => Ok(()),
        }
    }

    /// Stores what is left, and gives the answer.
    pub async fn finish(mut self) -> Response<Bytes> {
        self.decompressor.end();
        match self.finish_text().await {
            Ok(()) => {
                self.service.count_request(&self.sender, Ok(self.total.is_partial()));
                answer::done(&self.total, self.began_ms)
            }
            Err(refusal) => self.fail(refusal),
        }
    }

    /// The answer to an import that ends before its body does.
    pub fn fail(self, refusal: Refusal) -> Response<Bytes> {
        self.service.count_request(&self.sender, Err(&refusal));
        answer::broken_off(&self.total, self.began_ms, refusal)
    }

    async fn finish_text(&mut self) -> Result<(), Refusal> {
        self.drain().await?;
        let last_line = memrchr(b'\n', &self.text).map_or(0, |end| end + 1);
        let is_cut_off =
            self.text.get(last_line..).is_some_and(|line| !line.is_empty() && self.decoder.is_cut_off(line));
        if is_cut_off {
            self.flush().await?;
            self.refuse_text("the text ends in it: it was cut off");
        } else if !self.text.is_empty() {
            self.store(self.text.len()).await?;
        }
        self.total.lines = self.decoder.lines();
        self.total.cut_off = self.decoder.finish().err();
        Ok(())
    }

    /// Unpacks all that there is, and stores it batch by batch.
    async fn drain(&mut self) -> Result<(), Refusal> {
        loop {
            let before = self.text.len();
            let progress = self.decompressor.read(&mut self.text, BATCH_BYTES).map_err(|error| {
                let what = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "it was cut off".to_owned(),
                    _ => error.to_string(),
                };
                Refusal::bad_request(format!("the body cannot be unpacked: {what}"))
            })?;
            let unpacked = self.text.len() - before;
            self.service.metrics.of(self.sender.protocol).decoded_bytes.add(unpacked as u64);
            self.skip();
            match progress {
                Progress::Starved | Progress::Ended => return Ok(()),
                Progress::Full => self.flush().await?,
            }
            if self.text.len() >= BATCH_BYTES {
                self.refuse_text(&format!("longer than {LINE_BYTES_MAX} bytes"));
                self.is_skipping = true;
            }
            // A body can be all comments, and then nothing above waits.
            tokio::task::yield_now().await;
        }
    }

    /// Passes over the rest of a line that was too long.
    fn skip(&mut self) {
        if self.is_skipping {
            let end = memchr(b'\n', &self.text);
            self.text.drain(..end.map_or(self.text.len(), |end| end + 1));
            self.is_skipping = end.is_none();
        }
    }

    /// Refuses what there is, which is a line or its beginning.
    fn refuse_text(&mut self, what: &str) {
        let mut refused = BatchOutcome::default();
        self.decoder.refuse_unread(&self.text, what, &mut refused);
        self.service.count_rejected(&self.sender, &refused);
        self.total.outcome.add(refused);
        self.text.clear();
    }

    /// Stores the first bytes of the text, which are whole lines.
    async fn store(&mut self, bytes: usize) -> Result<(), Refusal> {
        let (lines, decoder) = (self.text.get(..bytes).unwrap_or_default(), &mut self.decoder);
        let stored =
            self.service.store_part(&self.sender, bytes, |scratch, batch| Ok(decoder.decode(lines, scratch, batch)));
        let mut stored = self.turns.take(stored).await??;
        let BatchOutcome { rejects, exemplar_rejects, .. } = &mut stored.outcome;
        let samples = rejects.iter_mut().map(|reject| (reject.series_index, &mut reject.detail));
        let exemplars = exemplar_rejects.iter_mut().map(|reject| (reject.series_index, &mut reject.detail));
        for (entry, detail) in samples.chain(exemplars) {
            if let Some(line) = self.decoder.line_of(entry) {
                detail.insert_str(0, &format!("line {line}: "));
            }
        }
        self.text.drain(..bytes);
        self.total.lines = self.decoder.lines();
        self.total.add(stored);
        Ok(())
    }
}
