//! The XOR2 encoding of float samples, read only: one code says of time and value together what changed.
//!
//! Source: Prometheus 3.14 `tsdb/chunkenc/xor2.go`. Format: `docs/format/chunk.md`.

use super::start_time::StartTimes;
use super::xor_value::XorValue;
use super::{read_uvarint, read_varint};
use crate::encoding::Corruption;
use crate::encoding::bits::BitReader;
use crate::model::STALE_NAN_BITS;

/// Bytes in front of the samples: their count, and what is said about start timestamps.
const HEADER_BYTES: usize = 3;

/// Reads the samples of a chunk in order.
#[derive(Debug, Clone)]
pub struct Xor2Iterator<'a> {
    reader: BitReader<'a>,
    start_times: StartTimes,
    count: u16,
    read: u16,
    timestamp_ms: i64,
    time_delta: u64,
    /// The last value that is no staleness marker: markers are not what the next value is coded against.
    value: XorValue,
}

impl<'a> Xor2Iterator<'a> {
    /// An iterator over the samples of `chunk`.
    pub fn new(chunk: &'a [u8]) -> Result<Self, Corruption> {
        let Some((&[high, low, start_times], data)) = chunk.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Corruption { what: "chunk has no header", offset: 0 });
        };
        Ok(Xor2Iterator {
            reader: BitReader::new(data),
            start_times: StartTimes::from_header(start_times),
            count: u16::from_be_bytes([high, low]),
            read: 0,
            timestamp_ms: 0,
            time_delta: 0,
            value: XorValue::first_read(0),
        })
    }

    /// How many samples are still to come.
    pub fn remaining(&self) -> usize {
        usize::from(self.count - self.read)
    }

    /// The next sample's time and value bits, or `None` behind the last.
    pub fn next_sample(&mut self) -> Result<Option<(i64, u64)>, Corruption> {
        if self.read >= self.count {
            return Ok(None);
        }
        let before_ms = self.timestamp_ms;
        let bits = match self.read {
            0 => {
                self.timestamp_ms = read_varint(&mut self.reader)?;
                let bits = self.reader.bits(64)?;
                if bits != STALE_NAN_BITS {
                    self.value.bits = bits;
                }
                bits
            }
            1 => {
                self.time_delta = read_uvarint(&mut self.reader)?;
                self.timestamp_ms = self.timestamp_ms.wrapping_add(self.time_delta as i64);
                self.read_value()?
            }
            _ => self.read_joint()?,
        };
        self.start_times.read(&mut self.reader, self.read, self.timestamp_ms, before_ms)?;
        self.read += 1;
        Ok(Some((self.timestamp_ms, bits)))
    }

    /// Since when the sample counts that was read last; 0 where that is not known.
    pub(super) fn start_ms(&self) -> i64 {
        self.start_times.start_ms()
    }

    /// The code of time and value of all samples behind the second.
    fn read_joint(&mut self) -> Result<u64, Corruption> {
        let mut ones = 0;
        while ones < 5 && self.reader.bit()? {
            ones += 1;
        }
        let width = match ones {
            2 => 13,
            3 => 20,
            4 => 64,
            _ => 0,
        };
        if width > 0 {
            let raw = self.reader.bits(width)?;
            // Two's complement: what is shifted out and back in is the sign.
            let change = (raw << (64 - width)) as i64 >> (64 - width);
            self.time_delta = self.time_delta.wrapping_add(change as u64);
        }
        self.timestamp_ms = self.timestamp_ms.wrapping_add(self.time_delta as i64);
        match ones {
            0 => Ok(self.value.bits),
            1 => {
                if self.reader.bit()? {
                    self.value.read_in_new_window(&mut self.reader)?;
                } else {
                    self.value.read_in_window(&mut self.reader)?;
                }
                Ok(self.value.bits)
            }
            5 => Ok(STALE_NAN_BITS),
            _ => self.read_value(),
        }
    }

    /// The value code where the time changed.
    fn read_value(&mut self) -> Result<u64, Corruption> {
        if self.reader.bit()? {
            if !self.reader.bit()? {
                self.value.read_in_window(&mut self.reader)?;
            } else if !self.reader.bit()? {
                self.value.read_in_new_window(&mut self.reader)?;
            } else {
                return Ok(STALE_NAN_BITS);
            }
        }
        Ok(self.value.bits)
    }
}
