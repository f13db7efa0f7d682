//! Lines of Prometheus' text format, with timestamps.

use std::io::Write as _;
use std::ops::Range;

use super::super::workload::Workload;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, METRIC_NAME};

/// A request, but for values and times: the beginning of each line.
#[derive(Debug)]
pub struct PreparedText {
    series: Range<u64>,
    heads: Vec<u8>,
    ends: Vec<usize>,
    digests: Vec<Digest>,
}

impl PreparedText {
    /// The request that carries these series.
    pub fn new(workload: &Workload, series: Range<u64>) -> Self {
        let mut prepared =
            PreparedText { series: series.clone(), heads: Vec::new(), ends: Vec::new(), digests: Vec::new() };
        let mut canonical = Vec::new();
        for number in series {
            canonical.clear();
            workload.with_labels(number, |labels| {
                encode_canonical(labels.iter().copied(), &mut canonical);
                let name = labels.iter().find(|label| label.name == METRIC_NAME);
                prepared.heads.extend_from_slice(name.map_or("", |label| label.value).as_bytes());
                let mut separator = b'{';
                for label in labels.iter().filter(|label| label.name != METRIC_NAME) {
                    prepared.heads.push(separator);
                    separator = b',';
                    // No value of the load has a character that is escaped.
                    prepared.heads.extend_from_slice(label.name.as_bytes());
                    prepared.heads.extend_from_slice(b"=\"");
                    prepared.heads.extend_from_slice(label.value.as_bytes());
                    prepared.heads.push(b'"');
                }
                prepared.heads.extend_from_slice(b"} ");
            });
            prepared.ends.push(prepared.heads.len());
            prepared.digests.push(Digest::of_canonical_labels(&canonical));
        }
        prepared
    }

    /// Appends the message of a scrape, and gives the digest of its samples.
    pub fn encode(&self, workload: &Workload, scrape: u64, message: &mut Vec<u8>) -> Digest {
        let (mut digest, mut start) = (Digest::ZERO, 0);
        for ((series, &end), labels_digest) in self.series.clone().zip(&self.ends).zip(&self.digests) {
            message.extend_from_slice(self.heads.get(start..end).unwrap_or_default());
            start = end;
            let sample = workload.sample(series, scrape);
            digest += labels_digest.of_sample(sample.timestamp_ms, sample.value);
            // Writing to a vector cannot fail.
            let _ = writeln!(message, "{} {}", sample.value, sample.timestamp_ms);
        }
        digest
    }
}
