//! A shard: a part of the series under one lock, with the log records of what was accepted since the last group.

use hashbrown::HashTable;

use super::flush::PendingChunk;
use super::out_of_order::OutOfOrderChunk;
use super::records::{RecordBuffers, SampleRecords};
use super::series::{ChunkPlace, Series, SeriesHash};
use super::value::ValueRef;
use crate::chunk::HistogramRef;
use crate::index::{FreeList, Slot};
use crate::model::{Label, TimestampMs};
use crate::storage::WriterNumber;
use crate::wal::record::{self, SeriesEncoder, Tombstone};

/// Number of shards. A series' shard is fixed by its hash; its slot says it again.
pub(super) const SHARDS: usize = 16;

/// Rows of one page. Pages never move, so that growth copies nothing.
const PAGE_ROWS: usize = 256;

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

/// Part of the series.
#[derive(Debug)]
pub(super) struct Shard {
    number: usize,
    table: HashTable<u32>,
    pages: Vec<Vec<Series>>,
    /// Who created each row's series. Beside the rows, whose every byte an append reads.
    creators: Vec<WriterNumber>,
    /// Rows without a series that may have a new one.
    free: FreeList,
    pub(super) series_records: RecordBuffers,
    pub(super) samples_records: SampleRecords,
    /// Of out-of-order samples.
    pub(super) out_of_order_records: SampleRecords,
    /// Of deletions.
    pub(super) tombstone_records: RecordBuffers,
    /// The rows with out-of-order samples, so that they are found among millions.
    pub(super) out_of_order_rows: Vec<u32>,
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
            creators: Vec::new(),
            free: FreeList::default(),
            series_records: RecordBuffers::default(),
            samples_records: SampleRecords::new(false),
            out_of_order_records: SampleRecords::new(true),
            tombstone_records: RecordBuffers::default(),
            out_of_order_rows: Vec::new(),
            pending: Vec::new(),
            keeps_pending,
        }
    }

    /// The shard's number.
    pub(super) fn number(&self) -> usize {
        self.number
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

    /// The row, if there is one with this number.
    pub(super) fn get_mut(&mut self, row: u32) -> Option<&mut Series> {
        self.pages.get_mut(row as usize / PAGE_ROWS)?.get_mut(row as usize % PAGE_ROWS)
    }

    /// How many rows there are, vacant ones included.
    pub(super) fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE_ROWS + last.len())
    }

    /// All series.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Series> {
        self.slots().map(|(_, series)| series)
    }

    /// All series with their slots, in the order of their rows.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &Series)> {
        let rows = self.pages.iter().flatten().zip(0..).filter(|(series, _)| !series.is_vacant());
        rows.map(|(series, row)| (self.slot(row), series))
    }

    /// The slot of a row.
    #[inline]
    pub(super) fn slot(&self, row: u32) -> Slot {
        row * SHARDS as u32 + self.number as u32
    }

    /// Who created the series of each row; what it says of a vacant row means nothing.
    pub(super) fn creators(&self) -> &[WriterNumber] {
        &self.creators
    }

    /// Adds a series that is not there yet.
    pub(super) fn insert(&mut self, series: Series, creator: WriterNumber) -> u32 {
        let hash = series.hash;
        let row = match self.free.take() {
            Some(row) => {
                *self.row_mut(row) = series;
                row
            }
            None => self.push_row(series),
        };
        match self.creators.get_mut(row as usize) {
            Some(known) => *known = creator,
            None => self.creators.push(creator),
        }
        let pages = &self.pages;
        self.table.insert_unique(hash.0[0], row, |&other| {
            pages[other as usize / PAGE_ROWS][other as usize % PAGE_ROWS].hash.0[0]
        });
        row
    }

    fn push_row(&mut self, series: Series) -> u32 {
        let row = self.len() as u32;
        if self.pages.last().is_none_or(|page| page.len() == PAGE_ROWS) {
            self.pages.push(Vec::with_capacity(PAGE_ROWS));
        }
        if let Some(page) = self.pages.last_mut() {
            page.push(series);
        }
        row
    }

    /// Takes a series out of its row, so that it is not found any more. The row stays vacant until it is freed.
    pub(super) fn remove(&mut self, row: u32) -> Series {
        let series = std::mem::replace(self.row_mut(row), Series::vacant());
        if let Ok(entry) = self.table.find_entry(series.hash.0[0], |&other| other == row) {
            entry.remove();
        }
        series
    }

    /// Lets vacant rows have new series: nobody knows them any more.
    pub(super) fn free(&mut self, rows: impl Iterator<Item = u32>) {
        rows.for_each(|row| self.free.give(row));
    }

    /// Gives back memory that a former, greater number of series needed.
    pub(super) fn shrink(&mut self) {
        let kept = self.free.trim(self.len());
        self.pages.truncate(kept.div_ceil(PAGE_ROWS));
        self.creators.truncate(kept);
        self.creators.shrink_to(kept + kept / 8);
        let kept_of_last = kept - self.pages.len().saturating_sub(1) * PAGE_ROWS;
        if let Some(last) = self.pages.last_mut() {
            last.truncate(kept_of_last);
        }
        let Shard { table, pages, .. } = self;
        if table.capacity() > 4 * table.len() + 1024 {
            table.shrink_to(table.len() + table.len() / 8, |&row| {
                pages[row as usize / PAGE_ROWS][row as usize % PAGE_ROWS].hash.0[0]
            });
        }
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

    /// Makes a series' open chunk a full one, if it has one.
    pub(super) fn end_open_chunk(&mut self, row: u32) {
        if self.row_mut(row).cut() && self.keeps_pending {
            self.note_full_chunk(row);
        }
    }

    /// Adds a sample that is newer than all of its series, and writes its log record.
    #[inline]
    pub(super) fn accept(&mut self, row: u32, timestamp_ms: TimestampMs, value: ValueRef<'_>, chunk_range_ms: i64) {
        let series = self.row(row);
        let series_ref = series.series_ref;
        match value {
            ValueRef::Float(value) => {
                if self.samples_records.has_histograms() && series.changes_to(false) {
                    self.samples_records.close_other(false);
                }
                self.push(row, timestamp_ms, value.to_bits(), chunk_range_ms);
                self.samples_records.push(series_ref, timestamp_ms, value);
            }
            ValueRef::Histogram(value) | ValueRef::Marker(value) => {
                if series.changes_to(true) {
                    self.samples_records.close_other(true);
                }
                if let Some(histogram) = HistogramRef::of(value) {
                    self.push_histogram(row, timestamp_ms, histogram, chunk_range_ms);
                    self.samples_records.push_histogram(series_ref, timestamp_ms, value);
                }
            }
        }
    }

    /// Cuts the open chunks that begin before this time; says how many.
    pub(super) fn cut_open_chunks(&mut self, begun_before_ms: TimestampMs) -> usize {
        let begun = |(slot, series): (Slot, &Series)| {
            series.open_range().filter(|range| range.start_ms < begun_before_ms).map(|_| split_slot(slot).1)
        };
        let rows: Vec<u32> = self.slots().filter_map(begun).collect();
        rows.iter().for_each(|&row| self.end_open_chunk(row));
        rows.len()
    }

    /// Writes the log record of an out-of-order sample.
    pub(super) fn log_out_of_order(&mut self, series_ref: u64, timestamp_ms: TimestampMs, value: ValueRef<'_>) {
        match value {
            ValueRef::Float(value) => self.out_of_order_records.push(series_ref, timestamp_ms, value),
            ValueRef::Histogram(value) | ValueRef::Marker(value) => {
                self.out_of_order_records.push_histogram(series_ref, timestamp_ms, value);
            }
        }
    }

    /// Writes the log record of a deletion.
    pub(super) fn log_tombstone(&mut self, tombstone: Tombstone) {
        record::push_tombstone(&mut self.tombstone_records.current, tombstone);
        self.tombstone_records.close_if_long();
    }

    /// Keeps a chunk of out-of-order samples for the flusher.
    pub(super) fn note_out_of_order_chunk(&mut self, slot: Slot, series_ref: u64, chunk: &OutOfOrderChunk) {
        if let ChunkPlace::Memory(encoded) = &chunk.place
            && self.keeps_pending
        {
            let (range, encoded, out_of_order) = (chunk.range, encoded.clone(), Some(chunk.number));
            self.pending.push(PendingChunk { slot, series_ref, range, encoded, out_of_order });
        }
    }

    #[cold]
    fn note_full_chunk(&mut self, row: u32) {
        let slot = self.slot(row);
        let series = self.row(row);
        if let Some(chunk) = series.full.last()
            && let ChunkPlace::Memory(encoded) = &chunk.place
        {
            let (series_ref, range, encoded) = (series.series_ref, chunk.range(), encoded.clone());
            self.pending.push(PendingChunk { slot, series_ref, range, encoded, out_of_order: None });
        }
    }

    /// Bytes of the table and the pages.
    pub(super) fn table_bytes(&self) -> usize {
        let creator_bytes = self.creators.capacity() * size_of::<WriterNumber>();
        self.table.allocation_size() + self.pages.len() * PAGE_ROWS * size_of::<Series>() + creator_bytes
    }
}
