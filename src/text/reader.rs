//! A stream of lines.

use std::io::{self, BufRead, Read as _};

use super::line::{Line, LineError, TextFormat, parse_line};

/// Longest line that is read. Longer ones are no metrics.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Why a text could not be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The stream failed.
    #[error("line {line}: {source}")]
    Read {
        /// Where, counted from 1.
        line: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// A line has a fault.
    #[error("line {line}, {fault}")]
    Line {
        /// Which, counted from 1.
        line: u64,
        /// What is wrong with it.
        fault: LineError,
    },
    /// A line is not UTF-8.
    #[error("line {line} is not UTF-8")]
    NotUtf8 {
        /// Which, counted from 1.
        line: u64,
    },
    /// A line is longer than any line of metrics.
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes")]
    LongLine {
        /// Which, counted from 1.
        line: u64,
    },
    /// An OpenMetrics text has no end.
    #[error("the text does not end with `# EOF`: it was cut off, or it is not OpenMetrics")]
    CutOff,
    /// An OpenMetrics text goes on behind its end.
    #[error("line {line}: the text goes on behind `# EOF`")]
    BehindEnd {
        /// Where, counted from 1.
        line: u64,
    },
}

/// Reads a text line by line.
#[derive(Debug)]
pub struct TextReader<R> {
    source: R,
    format: TextFormat,
    buffer: Vec<u8>,
    line: u64,
    bytes: u64,
    has_ended: bool,
}

impl<R: BufRead> TextReader<R> {
    /// Reads from the beginning of `source`.
    pub fn new(source: R, format: TextFormat) -> Self {
        TextReader { source, format, buffer: Vec::new(), line: 0, bytes: 0, has_ended: false }
    }

    /// Reads from the middle of a text, behind `lines` lines and `bytes` bytes that were read before.
    pub fn resumed(source: R, format: TextFormat, lines: u64, bytes: u64) -> Self {
        TextReader { line: lines, bytes, ..TextReader::new(source, format) }
    }

    /// What is read from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.line
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line that says something, or `None` at the end of the text.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, TextError> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let line = self.line;
            let read = (&mut self.source).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|source| TextError::Read { line, source })?;
            if read == 0 {
                self.line -= 1;
                let is_whole = self.has_ended || self.format == TextFormat::Prometheus;
                return if is_whole { Ok(None) } else { Err(TextError::CutOff) };
            }
            self.bytes += read as u64;
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
                self.buffer.pop_if(|byte| *byte == b'\r');
            } else if self.buffer.len() as u64 > LINE_BYTES_MAX {
                return Err(TextError::LongLine { line });
            }
            if self.has_ended {
                return Err(TextError::BehindEnd { line });
            }
            let text = std::str::from_utf8(&self.buffer).map_err(|_| TextError::NotUtf8 { line })?;
            // A sample is parsed once, behind the loop, since the borrow would outlast it.
            if !matches!(text.trim_start_matches([' ', '\t']).bytes().next(), None | Some(b'#')) {
                break;
            }
            match parse_line(text, self.format).map_err(|fault| TextError::Line { line, fault })? {
                Line::Nothing => {}
                Line::End => self.has_ended = true,
                Line::Metadata(..) | Line::Sample(_) => break,
            }
        }
        let text = std::str::from_utf8(&self.buffer).map_err(|_| TextError::NotUtf8 { line: self.line })?;
        parse_line(text, self.format).map(Some).map_err(|fault| TextError::Line { line: self.line, fault })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &[u8], format: TextFormat) -> Result<Vec<f64>, TextError> {
        let mut reader = TextReader::new(text, format);
        let mut values = Vec::new();
        while let Some(line) = reader.next_line()? {
            if let Line::Sample(sample) = line {
                values.push(sample.value);
            }
        }
        assert_eq!(reader.bytes(), text.len() as u64);
        Ok(values)
    }

    #[test]
    fn text_with_any_line_ends_gives_its_samples() {
        let text = b"# HELP a x\na 1\r\n\n a 2 \n# c\na 3";
        assert_eq!(values(text, TextFormat::Prometheus).unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(values(b"a 1\n# EOF\n", TextFormat::OpenMetrics).unwrap(), [1.0]);
        assert_eq!(values(b"a 1\n# EOF", TextFormat::OpenMetrics).unwrap(), [1.0]);
        assert_eq!(values(b"", TextFormat::Prometheus).unwrap(), [0.0; 0]);
    }

    #[test]
    fn text_with_a_fault_names_the_line() {
        let open = |text: &[u8]| values(text, TextFormat::OpenMetrics).unwrap_err().to_string();
        assert_eq!(open(b"a 1\na x\n"), "line 2, column 3: the value is not a number");
        assert_eq!(open(b"a 1\n\xff 1\n"), "line 2 is not UTF-8");
        assert!(open(b"a 1\n").contains("# EOF"));
        assert_eq!(open(b"# EOF\na 1\n"), "line 2: the text goes on behind `# EOF`");
        let long = vec![b'a'; LINE_BYTES_MAX as usize + 2];
        assert!(open(&long).starts_with("line 1 is longer"));
    }
}
