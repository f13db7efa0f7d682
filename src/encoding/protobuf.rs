//! What every protobuf message has in common: tags, wire types, and how an unknown field is passed over.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use super::{Corruption, Cursor, put};

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

/// Appends the tag of a field.
fn put_tag(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    put::uvarint(out, field << 3 | wire_type);
}

/// Appends a field of bytes: a text, a message or packed numbers. One that is empty is left out.
pub fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_message(out, field, bytes);
    }
}

/// Appends a field that holds a message, also where that has no field itself.
pub fn put_message(out: &mut Vec<u8>, field: u64, message: &[u8]) {
    put_tag(out, field, WIRE_LENGTH);
    put::uvarint_slice(out, message);
}

/// Appends a field of a whole number, which is left out where it is 0. Negative numbers of type `int64` are passed as
/// their bits.
pub fn put_uint(out: &mut Vec<u8>, field: u64, number: u64) {
    if number != 0 {
        put_tag(out, field, WIRE_VARINT);
        put::uvarint(out, number);
    }
}

/// Appends a field of a whole number of type `sint32` or `sint64`, which is left out where it is 0.
pub fn put_sint(out: &mut Vec<u8>, field: u64, number: i64) {
    if number != 0 {
        put_tag(out, field, WIRE_VARINT);
        put::varint(out, number);
    }
}

/// Appends a field of a float, which is left out where all its bits are 0.
pub fn put_double(out: &mut Vec<u8>, field: u64, number: f64) {
    if number.to_bits() != 0 {
        put_present_double(out, field, number);
    }
}

/// Appends a field of a float whatever it is: that it is there says something.
pub fn put_present_double(out: &mut Vec<u8>, field: u64, number: f64) {
    put_tag(out, field, WIRE_64_BIT);
    out.extend_from_slice(&number.to_le_bytes());
}

/// Appends a field of a whole number whatever it is: that it is there says something.
pub fn put_present_uint(out: &mut Vec<u8>, field: u64, number: u64) {
    put_tag(out, field, WIRE_VARINT);
    put::uvarint(out, number);
}

/// Appends a field of packed numbers of type `sint64`.
pub fn put_packed_sints(out: &mut Vec<u8>, field: u64, numbers: &[i64]) {
    let mut packed = Vec::with_capacity(numbers.len());
    numbers.iter().for_each(|number| put::varint(&mut packed, *number));
    put_bytes(out, field, &packed);
}

/// Appends a field of packed floats.
pub fn put_packed_doubles(out: &mut Vec<u8>, field: u64, numbers: &[f64]) {
    let packed: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    put_bytes(out, field, &packed);
}

/// Appends a field of a whole number of type `sint32` or `sint64` whatever it is.
pub fn put_present_sint(out: &mut Vec<u8>, field: u64, number: i64) {
    put_tag(out, field, WIRE_VARINT);
    put::varint(out, number);
}

/// Appends a field of floats that are not packed, as messages of version 2 have them.
pub fn put_tagged_doubles(out: &mut Vec<u8>, field: u64, numbers: &[f64]) {
    numbers.iter().for_each(|number| put_present_double(out, field, *number));
}
