//! Writes JSON straight into a sink, piece by piece, so that a large answer never stands in memory as a tree.

use std::io::{self, Write};

use crate::model::LabelSet;

/// Bytes that are collected before they are handed on.
const FLUSH_BYTES: usize = 32 << 10;

/// A JSON text under construction. Commas are set by itself; the caller opens and closes.
pub struct JsonWriter<'a> {
    buffer: Vec<u8>,
    sink: &'a mut dyn Write,
    /// Whether the next value or key of the innermost open list or object is the first.
    first: bool,
}

impl<'a> JsonWriter<'a> {
    /// An empty text that goes to `sink`.
    pub fn new(sink: &'a mut dyn Write) -> Self {
        JsonWriter { buffer: Vec::with_capacity(1024), sink, first: true }
    }

    /// Hands on what is left.
    pub fn finish(self) -> io::Result<()> {
        self.sink.write_all(&self.buffer)
    }

    /// Opens an object; its keys follow.
    pub fn begin_object(&mut self) -> &mut Self {
        self.open(b'{')
    }

    /// Closes the innermost object.
    pub fn end_object(&mut self) -> &mut Self {
        self.close(b'}')
    }

    /// Opens a list; its values follow.
    pub fn begin_list(&mut self) -> &mut Self {
        self.open(b'[')
    }

    /// Closes the innermost list.
    pub fn end_list(&mut self) -> &mut Self {
        self.close(b']')
    }

    /// Writes a key; its value follows.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.comma();
        write_string(&mut self.buffer, key);
        self.buffer.push(b':');
        self.first = true;
        self
    }

    /// Writes a text.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.comma();
        write_string(&mut self.buffer, text);
        self
    }

    /// Writes a whole number.
    pub fn int(&mut self, number: i64) -> &mut Self {
        self.raw_with(|out| out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()))
    }

    /// Writes a whole number that is not negative.
    pub fn uint(&mut self, number: u64) -> &mut Self {
        self.raw_with(|out| out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()))
    }

    /// Writes a number; one that JSON cannot hold is written as `null`.
    pub fn float(&mut self, number: f64) -> &mut Self {
        self.raw_with(|out| {
            if number.is_finite() { super::number::write_value(out, number) } else { out.extend_from_slice(b"null") }
        })
    }

    /// Writes `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.raw_with(|out| out.extend_from_slice(if value { b"true" } else { b"false" }))
    }

    /// Writes `null`.
    pub fn null(&mut self) -> &mut Self {
        self.raw_with(|out| out.extend_from_slice(b"null"))
    }

    /// Writes a value that is already JSON.
    pub fn raw(&mut self, json: &[u8]) -> &mut Self {
        self.raw_with(|out| out.extend_from_slice(json))
    }

    /// Writes a value through a function that appends JSON.
    pub fn raw_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.comma();
        write(&mut self.buffer);
        self
    }

    /// Writes a list of texts.
    pub fn strings<T: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = T>) -> &mut Self {
        self.begin_list();
        for text in texts {
            self.string(text.as_ref());
        }
        self.end_list()
    }

    /// Writes a label set as an object.
    pub fn labels(&mut self, labels: &LabelSet) -> &mut Self {
        self.begin_object();
        for label in labels.iter() {
            self.key(label.name).string(label.value);
        }
        self.end_object()
    }

    /// Hands on what is collected, if it is much. Call it between the items of a long list.
    pub fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= FLUSH_BYTES {
            self.sink.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn open(&mut self, bracket: u8) -> &mut Self {
        self.comma();
        self.buffer.push(bracket);
        self.first = true;
        self
    }

    fn close(&mut self, bracket: u8) -> &mut Self {
        self.buffer.push(bracket);
        self.first = false;
        self
    }

    /// Sets the comma before a value or key that is not the first. Afterwards nothing is.
    fn comma(&mut self) {
        if !self.first {
            self.buffer.push(b',');
        }
        self.first = false;
    }
}

impl std::fmt::Debug for JsonWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JsonWriter({} bytes waiting)", self.buffer.len())
    }
}

/// Appends a text as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut start = 0;
    let bytes = text.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..index]);
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        start = index + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut JsonWriter<'_>)) -> String {
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out);
        write(&mut json);
        json.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_sets_commas_between_values_and_keys_only() {
        let written = text(|json| {
            json.begin_object().key("a").begin_list().end_list();
            json.key("b").begin_list().int(-1).begin_object().end_object().string("x").bool(true).end_list();
            json.key("c").float(1.5).key("d").float(f64::NAN).key("e").null().end_object();
        });
        assert_eq!(written, r#"{"a":[],"b":[-1,{},"x",true],"c":1.5,"d":null,"e":null}"#);
    }

    #[test]
    fn json_strings_of_any_text_read_back() {
        let all: String = (0..=0x2ff).filter_map(char::from_u32).chain(['\u{2028}', '\u{10ffff}', '"', '\\']).collect();
        let read: String = serde_json::from_str(&text(|json| {
            json.string(&all);
        }))
        .unwrap();
        assert_eq!(read, all);
    }

    #[test]
    fn json_label_set_is_an_object_with_sorted_keys() {
        let labels = LabelSet::from_pairs([("b", "2"), ("a", "quote\"")]);
        assert_eq!(
            text(|json| {
                json.labels(&labels);
            }),
            r#"{"a":"quote\"","b":"2"}"#
        );
        assert_eq!(
            text(|json| {
                json.labels(&LabelSet::empty());
            }),
            "{}"
        );
    }
}
