//! Start timestamps between the samples of a chunk.
//!
//! Source: Prometheus `tsdb/chunkenc/st.go`. Format: `docs/format/chunk.md`.

use super::{read_varint, varbit};
use crate::encoding::Corruption;
use crate::encoding::bits::BitReader;

/// Reads start timestamps: what the header says about them, and the last one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StartTimes {
    /// The first sample has one.
    first_is_known: bool,
    /// Each sample from this one on has one of its own; 0 where none has.
    first_change: u8,
    start_ms: i64,
    /// The time of the sample before, less `start_ms`.
    distance: i64,
}

impl StartTimes {
    pub(super) fn from_header(byte: u8) -> Self {
        StartTimes { first_is_known: byte & 0x80 != 0, first_change: byte & 0x7f, ..StartTimes::default() }
    }

    /// Reads what stands behind the sample with this index, which was taken at `at_ms`, the one before it at `before_ms`.
    pub(super) fn read(
        &mut self,
        reader: &mut BitReader<'_>,
        index: u16,
        at_ms: i64,
        before_ms: i64,
    ) -> Result<(), Corruption> {
        if index == 0 {
            if self.first_is_known {
                self.start_ms = at_ms.wrapping_sub(read_varint(reader)?);
            }
        } else if self.first_change > 0 && index >= u16::from(self.first_change) {
            let change = varbit::read_int(reader)?;
            let is_first = index == u16::from(self.first_change);
            self.distance = if is_first { change } else { self.distance.wrapping_add(change) };
            self.start_ms = before_ms.wrapping_sub(self.distance);
        }
        Ok(())
    }

    /// Since when the sample counts that was read last; 0 where that is not known.
    pub(super) fn start_ms(&self) -> i64 {
        self.start_ms
    }
}
