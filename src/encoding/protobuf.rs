//! What every protobuf message has in common: tags, wire types, and how an unknown field is passed over.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use super::{Corruption, Cursor};

/// A field's value is a varint.
pub const WIRE_VARINT: u64 = 0;
/// A field's value is eight bytes.
pub const WIRE_64_BIT: u64 = 1;
/// A field's value is its length and as many bytes.
pub const WIRE_LENGTH: u64 = 2;
/// A field's value is four bytes.
pub const WIRE_32_BIT: u64 = 5;

/// Passes over the value of a field whose tag was just read.
pub fn skip_field(cursor: &mut Cursor<'_>, tag: u64) -> Result<(), Corruption> {
    if tag >> 3 == 0 {
        return Err(cursor.corrupt("protobuf field number is 0"));
    }
    match tag & 7 {
        WIRE_VARINT => cursor.uvarint().map(drop),
        WIRE_64_BIT => cursor.take(8).map(drop),
        WIRE_LENGTH => cursor.uvarint_slice().map(drop),
        WIRE_32_BIT => cursor.take(4).map(drop),
        _ => Err(cursor.corrupt("protobuf wire type is unknown")),
    }
}

/// The fault of a known field, of which the tag stands at `offset`, that is of another wire type than its message says.
#[cold]
pub fn wrong_wire_type(offset: usize) -> Corruption {
    Corruption { what: "field has the wrong wire type", offset }
}
