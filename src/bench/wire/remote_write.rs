//! Messages of remote write.
//!
//! Source: `prometheus/prompb/types.proto`; `prompb/io/prometheus/write/v2/types.proto`.

use std::collections::HashMap;
use std::ops::Range;

use super::super::workload::{PreparedSeries, Workload};
use super::{push_field, varint_bytes};
use crate::encoding::put;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label};

/// A request of remote write 1.0, but for its samples.
#[derive(Debug)]
pub struct PreparedV1(PreparedSeries);

impl PreparedV1 {
    /// The request that carries these series.
    pub fn new(workload: &Workload, series: Range<u64>) -> Self {
        PreparedV1(PreparedSeries::new(workload, series.start, series.end))
    }

    /// Appends the message of a scrape, and gives the digest of its samples.
    pub fn encode(&self, workload: &Workload, scrape: u64, message: &mut Vec<u8>) -> Digest {
        self.0.write_request(workload, scrape, 0..self.0.len(), message)
    }
}

/// A request of remote write 2.0, but for its samples: its symbols, and each series' references to them.
#[derive(Debug)]
pub struct PreparedV2 {
    series: Range<u64>,
    /// `Request.symbols`.
    symbols: Vec<u8>,
    /// `TimeSeries.labels_refs` of all series.
    refs: Vec<u8>,
    ends: Vec<usize>,
    digests: Vec<Digest>,
}

/// `TimeSeries.metadata` of a counter and of a gauge.
const METADATA: [[u8; 4]; 2] = [[0x2a, 2, 0x08, 2], [0x2a, 2, 0x08, 1]];

/// The symbols of a request, each once.
#[derive(Default)]
struct Symbols {
    numbers: HashMap<String, u64>,
    encoded: Vec<u8>,
}

impl Symbols {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.numbers.len() as u64;
        self.numbers.insert(text.to_owned(), number);
        push_field(&mut self.encoded, 4, text.as_bytes());
        number
    }
}

impl PreparedV2 {
    /// The request that carries these series.
    pub fn new(workload: &Workload, series: Range<u64>) -> Self {
        let mut symbols = Symbols::default();
        // The first has to be the empty one.
        symbols.number("");
        let mut prepared = PreparedV2 {
            series: series.clone(),
            symbols: Vec::new(),
            refs: Vec::new(),
            ends: Vec::new(),
            digests: Vec::new(),
        };
        let (mut canonical, mut refs) = (Vec::new(), Vec::new());
        for number in series {
            canonical.clear();
            refs.clear();
            workload.with_labels(number, |labels: &[Label<'_>]| {
                encode_canonical(labels.iter().copied(), &mut canonical);
                for label in labels {
                    put::uvarint(&mut refs, symbols.number(label.name));
                    put::uvarint(&mut refs, symbols.number(label.value));
                }
            });
            push_field(&mut prepared.refs, 1, &refs);
            prepared.ends.push(prepared.refs.len());
            prepared.digests.push(Digest::of_canonical_labels(&canonical));
        }
        prepared.symbols = symbols.encoded;
        prepared
    }

    /// Appends the message of a scrape, and gives the digest of its samples.
    pub fn encode(&self, workload: &Workload, scrape: u64, message: &mut Vec<u8>) -> Digest {
        message.extend_from_slice(&self.symbols);
        let (mut digest, mut start) = (Digest::ZERO, 0);
        for ((series, &end), labels_digest) in self.series.clone().zip(&self.ends).zip(&self.digests) {
            let refs = self.refs.get(start..end).unwrap_or_default();
            start = end;
            let sample = workload.sample(series, scrape);
            digest += labels_digest.of_sample(sample.timestamp_ms, sample.value);
            let timestamp = sample.timestamp_ms as u64;
            let sample_bytes = 1 + 8 + 1 + varint_bytes(timestamp);
            let metadata = METADATA[usize::from(workload.is_counter(series))];
            message.push(5 << 3 | 2);
            put::uvarint(message, (refs.len() + 2 + sample_bytes + metadata.len()) as u64);
            message.extend_from_slice(refs);
            message.extend_from_slice(&[0x12, sample_bytes as u8, 0x09]);
            message.extend_from_slice(&sample.value.to_le_bytes());
            message.push(0x10);
            put::uvarint(message, timestamp);
            message.extend_from_slice(&metadata);
        }
        digest
    }
}
