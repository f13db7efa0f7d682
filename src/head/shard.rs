//! A shard: a part of the series under one lock, with the log records of what was accepted since the last group.

use hashbrown::HashTable;

use super::flush::PendingChunk;
use super::series::{ChunkPlace, Series, SeriesHash};
use crate::chunk::HistogramRef;
use crate::index::Slot;
use crate::model::{Label, TimestampMs};
use crate::wal::record::{SamplesEncoder, SeriesEncoder};

/// Number of shards. A series' shard is fixed by its hash; its slot says it again.
pub(super) const SHARDS: usize = 16;

/// Rows of one page. Pages never move, so that growth copies nothing.
const PAGE_ROWS: usize = 256;

/// A samples or series record is closed once it is this long.
const RECORD_BYTES: usize = 512 << 10;

/// The shard of a hash. The table below uses the other word.
#[inline]
pub(super) fn shard_of(hash: SeriesHash) -> usize {
    hash.0[1] as usize % SHARDS
}

/// The shard and the row of a slot.
#[inline]
pub(super) fn split_slot(slot: Slot) -> (usize, u32) {
    (slot as usize % SHARDS, slot / SHARDS as u32)
}

/// Log records that wait for the next group.
#[derive(Debug, Default)]
pub(super) struct RecordBuffers {
    /// Closed records.
    pub(super) closed: Vec<Vec<u8>>,
    /// The record that is being written; empty where there is none.
    pub(super) current: Vec<u8>,
}

impl RecordBuffers {
    fn close_if_long(&mut self) -> bool {
        let is_long = self.current.len() >= RECORD_BYTES;
        if is_long {
            self.closed.push(std::mem::take(&mut self.current));
        }
        is_long
    }

    /// Moves all records to `out`; `spare` is an empty buffer to go on with.
    pub(super) fn take_into(&mut self, out: &mut Vec<Vec<u8>>, spare: impl FnOnce() -> Vec<u8>) {
        out.append(&mut self.closed);
        if !self.current.is_empty() {
            out.push(std::mem::replace(&mut self.current, spare()));
        }
    }
}

/// Part of the series.
#[derive(Debug)]
pub(super) struct Shard {
    number: usize,
    table: HashTable<u32>,
    pages: Vec<Vec<Series>>,
    pub(super) series_records: RecordBuffers,
    pub(super) samples_records: RecordBuffers,
    samples_encoder: SamplesEncoder,
    /// Chunks that became full since the last group; kept only where there are files for them.
    pub(super) pending: Vec<PendingChunk>,
    keeps_pending: bool,
}

impl Shard {
    pub(super) fn new(number: usize, keeps_pending: bool) -> Self {
        Shard {
            number,
            table: HashTable::new(),
            pages: Vec::new(),
            series_records: RecordBuffers::default(),
            samples_records: RecordBuffers::default(),
            samples_encoder: SamplesEncoder::new(),
            pending: Vec::new(),
            keeps_pending,
        }
    }

    /// The row of a series, by the hash of its canonical label bytes.
    #[inline]
    pub(super) fn find(&self, hash: SeriesHash) -> Option<u32> {
        self.table.find(hash.0[0], |&row| self.row(row).hash == hash).copied()
    }

    #[inline]
    pub(super) fn row(&self, row: u32) -> &Series {
        &self.pages[row as usize / PAGE_ROWS][row as usize % PAGE_ROWS]
    }

    #[inline]
    pub(super) fn row_mut(&mut self, row: u32) -> &mut Series {
        &mut self.pages[row as usize / PAGE_ROWS][row as usize % PAGE_ROWS]
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE_ROWS + last.len())
    }

    /// All rows, in order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Series> {
        self.pages.iter().flatten()
    }

    /// All series with their slots, in the order of their rows.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &Series)> {
        self.rows().zip(0..).map(|(series, row)| (self.slot(row), series))
    }

    /// The slot of a row.
    #[inline]
    pub(super) fn slot(&self, row: u32) -> Slot {
        row * SHARDS as u32 + self.number as u32
    }

    /// Adds a series that is not there yet.
    pub(super) fn insert(&mut self, series: Series) -> u32 {
        let row = self.len() as u32;
        let hash = series.hash;
        if self.pages.last().is_none_or(|page| page.len() == PAGE_ROWS) {
            self.pages.push(Vec::with_capacity(PAGE_ROWS));
        }
        if let Some(page) = self.pages.last_mut() {
            page.push(series);
        }
        let pages = &self.pages;
        self.table.insert_unique(hash.0[0], row, |&other| {
            pages[other as usize / PAGE_ROWS][other as usize % PAGE_ROWS].hash.0[0]
        });
        row
    }

    /// Writes the log record of a new series.
    pub(super) fn log_series<'a>(&mut self, series_ref: u64, labels: impl ExactSizeIterator<Item = Label<'a>>) {
        SeriesEncoder::push(&mut self.series_records.current, series_ref, labels);
        self.series_records.close_if_long();
    }

    /// Adds a sample that is newer than all of its series.
    #[inline]
    pub(super) fn push(&mut self, row: u32, timestamp_ms: TimestampMs, bits: u64, chunk_range_ms: i64) {
        let keeps_pending = self.keeps_pending;
        let series = self.row_mut(row);
        if series.push(timestamp_ms, bits, chunk_range_ms) && keeps_pending {
            self.note_full_chunk(row);
        }
    }

    /// Adds a histogram that is newer than all of its series.
    pub(super) fn push_histogram(
        &mut self,
        row: u32,
        timestamp_ms: TimestampMs,
        histogram: HistogramRef<'_>,
        chunk_range_ms: i64,
    ) {
        let keeps_pending = self.keeps_pending;
        let series = self.row_mut(row);
        if series.push_histogram(timestamp_ms, histogram, chunk_range_ms) && keeps_pending {
            self.note_full_chunk(row);
        }
    }

    /// Writes the log record of a sample.
    #[inline]
    pub(super) fn log_sample(&mut self, series_ref: u64, timestamp_ms: TimestampMs, bits: u64) {
        let out = &mut self.samples_records.current;
        if out.is_empty() {
            self.samples_encoder = SamplesEncoder::new();
        }
        self.samples_encoder.push(out, series_ref, timestamp_ms, f64::from_bits(bits));
        self.samples_records.close_if_long();
    }

    /// Cuts the open chunks that begin before this time; says how many.
    pub(super) fn cut_open_chunks(&mut self, begun_before_ms: TimestampMs) -> usize {
        let begun = |(series, row): (&Series, u32)| {
            series.open_range().filter(|range| range.start_ms < begun_before_ms).map(|_| row)
        };
        let rows: Vec<u32> = self.rows().zip(0..).filter_map(begun).collect();
        for &row in &rows {
            self.row_mut(row).cut();
            if self.keeps_pending {
                self.note_full_chunk(row);
            }
        }
        rows.len()
    }

    #[cold]
    fn note_full_chunk(&mut self, row: u32) {
        let slot = self.slot(row);
        let series = self.row(row);
        if let Some(chunk) = series.full.last()
            && let ChunkPlace::Memory(encoded) = &chunk.place
        {
            let (series_ref, range, encoded) = (series.series_ref, chunk.range(), encoded.clone());
            self.pending.push(PendingChunk { slot, series_ref, range, encoded });
        }
    }

    /// Bytes of the table and the pages.
    pub(super) fn table_bytes(&self) -> usize {
        self.table.allocation_size() + self.pages.len() * PAGE_ROWS * size_of::<Series>()
    }
}
