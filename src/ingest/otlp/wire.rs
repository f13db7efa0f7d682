//! Reads the fields of one protobuf message: each knows the wire type that it must have, and errors name the place in
//! the body.

use super::limits::{Budget, DecodeError};
use crate::encoding::protobuf::{WIRE_64_BIT, WIRE_LENGTH, WIRE_VARINT, skip_field, wrong_wire_type};
use crate::encoding::{Corruption, Cursor};

/// A message that is being read. [`Message::next_field`] gives the number of a field; what reads its value must be called
/// before the next.
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    cursor: Cursor<'a>,
    /// Offset of the message in the body.
    base: usize,
    tag: u64,
    tag_at: usize,
}

type Read<T> = Result<T, Corruption>;

impl<'a> Message<'a> {
    /// The outermost message.
    pub(super) fn new(body: &'a [u8]) -> Self {
        Message { cursor: Cursor::new(body), base: 0, tag: 0, tag_at: 0 }
    }

    /// The number of the next field; `None` at the end.
    pub(super) fn next_field(&mut self) -> Read<Option<u64>> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        self.tag_at = self.cursor.position();
        self.tag = self.read(Cursor::uvarint)?;
        if self.tag > u64::from(u32::MAX) {
            return Err(Corruption { what: "protobuf tag has more than 32 bits", offset: self.base + self.tag_at });
        }
        Ok(Some(self.tag >> 3))
    }

    /// Passes over the value of a field that is not known.
    pub(super) fn skip(&mut self) -> Read<()> {
        let tag = self.tag;
        self.read(|cursor| skip_field(cursor, tag))
    }

    /// An integer or a truth value.
    pub(super) fn varint(&mut self) -> Read<u64> {
        self.expect(WIRE_VARINT)?;
        self.read(Cursor::uvarint)
    }

    /// A zigzag-coded integer of 32 bits; higher bits do not count.
    pub(super) fn zigzag32(&mut self) -> Read<i32> {
        let raw = self.varint()? as u32;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// An integer of eight bytes.
    pub(super) fn fixed64(&mut self) -> Read<u64> {
        self.expect(WIRE_64_BIT)?;
        self.read(fixed64)
    }

    /// A number.
    pub(super) fn double(&mut self) -> Read<f64> {
        self.fixed64().map(f64::from_bits)
    }

    /// Bytes.
    pub(super) fn bytes(&mut self) -> Read<&'a [u8]> {
        self.expect(WIRE_LENGTH)?;
        self.read(Cursor::uvarint_slice)
    }

    /// A text.
    pub(super) fn text(&mut self) -> Read<&'a str> {
        self.expect(WIRE_LENGTH)?;
        self.read(Cursor::uvarint_str)
    }

    /// A message inside this one.
    pub(super) fn message(&mut self) -> Read<Message<'a>> {
        let bytes = self.bytes()?;
        let base = self.base + self.cursor.position() - bytes.len();
        Ok(Message { base, ..Message::new(bytes) })
    }

    /// One or, packed, several integers of eight bytes.
    pub(super) fn repeated_fixed64(&mut self, out: &mut Vec<u64>, budget: &mut Budget) -> Result<(), DecodeError> {
        self.repeated(WIRE_64_BIT, out, budget, |packed| packed.len() / 8, fixed64)
    }

    /// One or, packed, several numbers.
    pub(super) fn repeated_double(&mut self, out: &mut Vec<f64>, budget: &mut Budget) -> Result<(), DecodeError> {
        let double = |cursor: &mut Cursor<'a>| fixed64(cursor).map(f64::from_bits);
        self.repeated(WIRE_64_BIT, out, budget, |packed| packed.len() / 8, double)
    }

    /// One or, packed, several integers of variable length.
    pub(super) fn repeated_varint(&mut self, out: &mut Vec<u64>, budget: &mut Budget) -> Result<(), DecodeError> {
        let ends = |packed: &[u8]| packed.iter().filter(|&&byte| byte < 0x80).count();
        self.repeated(WIRE_VARINT, out, budget, ends, Cursor::uvarint)
    }

    /// Reads elements of a wire type. `count` says how many a packed run has, so that room is made for them at once.
    fn repeated<T>(
        &mut self,
        wire: u64,
        out: &mut Vec<T>,
        budget: &mut Budget,
        count: impl Fn(&[u8]) -> usize,
        read: impl Fn(&mut Cursor<'a>) -> Read<T>,
    ) -> Result<(), DecodeError> {
        if self.tag & 7 == wire {
            budget.take::<T>(1)?;
            out.push(self.read(read)?);
            return Ok(());
        }
        let mut packed = self.message()?;
        let elements = count(packed.cursor.rest());
        budget.take::<T>(elements)?;
        if out.is_empty() {
            out.reserve_exact(elements);
        }
        while !packed.cursor.is_empty() {
            out.push(packed.read(&read)?);
        }
        Ok(())
    }

    /// Bytes that are left.
    #[cfg(test)]
    pub(super) fn remaining(&self) -> usize {
        self.cursor.remaining()
    }

    fn expect(&self, wire: u64) -> Read<()> {
        if self.tag & 7 == wire { Ok(()) } else { Err(wrong_wire_type(self.base + self.tag_at)) }
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Cursor<'a>) -> Read<T>) -> Read<T> {
        read(&mut self.cursor).map_err(|fault| Corruption { offset: fault.offset + self.base, ..fault })
    }
}

fn fixed64(cursor: &mut Cursor<'_>) -> Read<u64> {
    cursor.array().map(u64::from_le_bytes)
}
