//! Log records that wait for the next group.

use crate::model::{SampleValue, TimestampMs};
use crate::wal::record::{HistogramsEncoder, RecordType, SamplesEncoder};

/// A record is closed once it is this long.
const RECORD_BYTES: usize = 512 << 10;

/// Records of one type.
#[derive(Debug, Default)]
pub(super) struct RecordBuffers {
    /// Closed records.
    closed: Vec<Vec<u8>>,
    /// The record that is being written; empty where there is none.
    pub(super) current: Vec<u8>,
}

impl RecordBuffers {
    pub(super) fn close_if_long(&mut self) {
        if self.current.len() >= RECORD_BYTES {
            self.close();
        }
    }

    #[cold]
    fn close(&mut self) {
        if !self.current.is_empty() {
            self.closed.push(std::mem::take(&mut self.current));
        }
    }

    /// Moves all records to `out`; `spare` is an empty buffer to go on with.
    pub(super) fn take_into(&mut self, out: &mut Vec<Vec<u8>>, spare: impl FnOnce() -> Vec<u8>) {
        out.append(&mut self.closed);
        if !self.current.is_empty() {
            out.push(std::mem::replace(&mut self.current, spare()));
        }
    }
}

/// Records of samples: of floats, and of histograms. Two are being written at a time, so that a request with both kinds
/// does not make a record of each sample. Where a series goes over to the other kind, the record that may hold its older
/// samples has to be closed before ([`SampleRecords::close_other`]): then the log has the samples of each series in the
/// order of their acceptance.
#[derive(Debug)]
pub(super) struct SampleRecords {
    /// Closed records of both kinds, and the current one of floats.
    floats: RecordBuffers,
    float_encoder: SamplesEncoder,
    /// The current record of histograms.
    histograms: Vec<u8>,
    histogram_encoder: HistogramsEncoder,
    /// What that record holds.
    histogram_type: Option<RecordType>,
    is_out_of_order: bool,
}

impl SampleRecords {
    /// Of samples that are newer than all of their series, or of the others.
    pub(super) fn new(is_out_of_order: bool) -> Self {
        SampleRecords {
            floats: RecordBuffers::default(),
            float_encoder: SamplesEncoder::new(),
            histograms: Vec::new(),
            histogram_encoder: HistogramsEncoder::new(),
            histogram_type: None,
            is_out_of_order,
        }
    }

    /// Whether a record of histograms is being written.
    #[inline]
    pub(super) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Writes a float.
    #[inline]
    pub(super) fn push(&mut self, series_ref: u64, timestamp_ms: TimestampMs, value: f64) {
        let out = &mut self.floats.current;
        if out.is_empty() {
            let is_late = self.is_out_of_order;
            self.float_encoder = if is_late { SamplesEncoder::out_of_order() } else { SamplesEncoder::new() };
        }
        self.float_encoder.push(out, series_ref, timestamp_ms, value);
        self.floats.close_if_long();
    }

    /// Writes a histogram.
    pub(super) fn push_histogram(&mut self, series_ref: u64, timestamp_ms: TimestampMs, value: &SampleValue) {
        let kind = HistogramsEncoder::record_type(value);
        if self.histogram_type != kind {
            self.close_histograms();
        }
        if self.histograms.is_empty() {
            let is_late = self.is_out_of_order;
            self.histogram_encoder = if is_late { HistogramsEncoder::out_of_order() } else { HistogramsEncoder::new() };
            self.histogram_type = kind;
        }
        self.histogram_encoder.push(&mut self.histograms, series_ref, timestamp_ms, value);
        if self.histograms.len() >= RECORD_BYTES {
            self.close_histograms();
        }
    }

    /// Closes the record of floats where a histogram follows, and that of histograms where a float does.
    pub(super) fn close_other(&mut self, is_histogram: bool) {
        if is_histogram { self.floats.close() } else { self.close_histograms() }
    }

    fn close_histograms(&mut self) {
        if !self.histograms.is_empty() {
            self.floats.closed.push(std::mem::take(&mut self.histograms));
        }
    }

    /// Moves all records to `out`; `spare` gives empty buffers to go on with.
    pub(super) fn take_into(&mut self, out: &mut Vec<Vec<u8>>, mut spare: impl FnMut() -> Vec<u8>) {
        self.floats.take_into(out, &mut spare);
        if !self.histograms.is_empty() {
            out.push(std::mem::replace(&mut self.histograms, spare()));
        }
    }
}
