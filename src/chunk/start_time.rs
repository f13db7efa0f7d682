//! Start timestamps between the samples of a chunk. They are passed over: what stands behind them is what is wanted.
//!
//! Source: Prometheus `tsdb/chunkenc/st.go`. Format: `docs/format/chunk.md`.

use super::{read_varint, varbit};
use crate::encoding::Corruption;
use crate::encoding::bits::BitReader;

/// What the header says about start timestamps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StartTimes {
    /// The first sample has one.
    first_is_known: bool,
    /// Each sample from this one on has one; 0 where none has.
    first_change: u8,
}

impl StartTimes {
    pub(super) fn from_header(byte: u8) -> Self {
        StartTimes { first_is_known: byte & 0x80 != 0, first_change: byte & 0x7f }
    }

    /// Passes over the start timestamp of the sample with this index, if it has one.
    pub(super) fn skip(self, reader: &mut BitReader<'_>, index: u16) -> Result<(), Corruption> {
        if index == 0 {
            if self.first_is_known {
                read_varint(reader)?;
            }
        } else if self.first_change > 0 && index >= u16::from(self.first_change) {
            varbit::read_int(reader)?;
        }
        Ok(())
    }
}
