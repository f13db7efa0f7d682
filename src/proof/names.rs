//! The label sets of a few series of the log: a replay keeps only their digests, because there may be millions.

use std::collections::HashMap;

use crate::model::{Digest, LabelSet};
use crate::wal::record::{series, split};
use crate::wal::{RecordPosition, RecordType, ReplaySink, WalError};

/// Finds the label sets of some series; hand it to [`scan`](crate::wal::scan()).
#[derive(Debug, Default)]
pub struct SeriesNames {
    wanted: HashMap<Digest, Option<LabelSet>>,
}

impl SeriesNames {
    /// Looks for the series whose labels have these digests.
    pub fn of(series: impl Iterator<Item = Digest>) -> Self {
        SeriesNames { wanted: series.map(|labels| (labels, None)).collect() }
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The labels, where they were found.
    pub fn get(&self, labels: Digest) -> Option<&LabelSet> {
        self.wanted.get(&labels)?.as_ref()
    }

    /// The series in words: its labels, or their digest where the log does not hold them.
    pub fn describe(&self, labels: Digest) -> String {
        match self.get(labels) {
            Some(set) => set.to_string(),
            None => format!("series with the labels digest {labels}"),
        }
    }
}

impl ReplaySink for SeriesNames {
    fn record(&mut self, _position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let (Some(RecordType::Series), body) = split(&record) else {
            return Ok(());
        };
        let mut labels = Vec::with_capacity(32);
        let mut decoder = series(body);
        // What cannot be read is a finding of the replay.
        while let Ok(Some(_series_ref)) = decoder.next_into(&mut labels) {
            labels.sort_unstable();
            let set = LabelSet::from_sorted(labels.iter().copied());
            if let Some(name) = self.wanted.get_mut(&Digest::of_labels(&set)) {
                *name = Some(set);
            }
        }
        Ok(())
    }
}
