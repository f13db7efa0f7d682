//! The log of out-of-order samples that Prometheus wrote.
//!
//! What this program writes to `wbl/` is a copy of records that stand in `wal/`, so that Prometheus finds them; its
//! segments begin with a mark, and are passed over here.

use std::fmt;
use std::path::Path;

use crate::fs::Fs;
use crate::wal::record::split;
use crate::wal::{LogFiles, RecordType, SegmentEvent, SegmentReader, WalError};

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub struct WblPlace {
    segment: u32,
    offset: u64,
}

impl fmt::Display for WblPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of wbl segment {:08}", self.offset, self.segment)
    }
}

/// Gives the records of the segments that Prometheus wrote, and what was found where one could not be read.
pub fn foreign_wbl_records(
    fs: &dyn Fs,
    dir: &Path,
    on: &mut dyn FnMut(WblPlace, Result<Vec<u8>, String>),
) -> Result<(), WalError> {
    for file in LogFiles::list(fs, dir)?.files {
        let mut reader = match SegmentReader::open(fs, &file.path) {
            // Removed since it was listed: by the server, beside which this reads.
            Err(WalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut is_first = true;
        loop {
            let place = |offset| WblPlace { segment: file.number, offset };
            match reader.next_event() {
                SegmentEvent::Record { bytes, .. } if is_first && split(&bytes).0 == Some(RecordType::Seal) => break,
                SegmentEvent::Record { offset, bytes, .. } => on(place(offset), Ok(bytes)),
                SegmentEvent::Damage { offset, end, what, .. } => {
                    // The end of the newest file: a write that a crash interrupted, or one under way.
                    on(place(offset), Err(format!("{what} ({} bytes)", end - offset)));
                }
                SegmentEvent::End { .. } => break,
            }
            is_first = false;
        }
    }
    Ok(())
}
