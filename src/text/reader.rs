//! A stream of lines.

use std::io::{self, BufRead, Read as _};

use super::line::{Dialect, Line, LineError, TextFormat, parse_line};

/// Longest line that is read. Longer ones are no metrics.
pub const LINE_BYTES_MAX: usize = 1 << 20;

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

/// Reads lines that somebody else cuts: counts them, and knows where the text ends.
#[derive(Debug, Clone)]
pub struct LineReader {
    dialect: Dialect,
    line: u64,
    has_ended: bool,
}

impl LineReader {
    /// Reads from the beginning of a text.
    pub fn new(dialect: Dialect) -> Self {
        LineReader { dialect, line: 0, has_ended: false }
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.line
    }

    /// Counts a line, given without its line feed, and checks what does not depend on what it says.
    pub fn check<'a>(&mut self, line: &'a [u8]) -> Result<&'a str, TextError> {
        self.line += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_BYTES_MAX {
            return Err(TextError::LongLine { line: self.line });
        }
        if self.has_ended {
            return Err(TextError::BehindEnd { line: self.line });
        }
        std::str::from_utf8(line).map_err(|_| TextError::NotUtf8 { line: self.line })
    }

    /// Reads a line that was checked last.
    pub fn parse<'a>(&mut self, line: &'a str) -> Result<Line<'a>, TextError> {
        let parsed = parse_line(line, self.dialect).map_err(|fault| TextError::Line { line: self.line, fault })?;
        self.has_ended |= parsed == Line::End;
        Ok(parsed)
    }

    /// Whether the text may end here.
    pub fn finish(&self) -> Result<(), TextError> {
        let is_whole = self.has_ended || self.dialect != Dialect::OpenMetrics;
        if is_whole { Ok(()) } else { Err(TextError::CutOff) }
    }
}

/// Reads a text line by line.
#[derive(Debug)]
pub struct TextReader<R> {
    source: R,
    lines: LineReader,
    buffer: Vec<u8>,
    bytes: u64,
}

impl<R: BufRead> TextReader<R> {
    /// Reads from the beginning of `source`.
    pub fn new(source: R, format: TextFormat) -> Self {
        TextReader { source, lines: LineReader::new(format.into()), buffer: Vec::new(), bytes: 0 }
    }

    /// Reads from the middle of a text, behind `lines` lines and `bytes` bytes that were read before.
    pub fn resumed(source: R, format: TextFormat, lines: u64, bytes: u64) -> Self {
        let lines = LineReader { line: lines, ..LineReader::new(format.into()) };
        TextReader { lines, bytes, ..TextReader::new(source, format) }
    }

    /// What is read from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.lines.lines()
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line that says something, or `None` at the end of the text.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, TextError> {
        loop {
            self.buffer.clear();
            // A line's end may be two bytes.
            let read = (&mut self.source).take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|source| TextError::Read { line: self.lines.lines() + 1, source })?;
            if read == 0 {
                return self.lines.finish().map(|()| None);
            }
            self.bytes += read as u64;
            self.buffer.pop_if(|byte| *byte == b'\n');
            let text = self.lines.check(&self.buffer)?;
            // A sample is parsed once, behind the loop, since the borrow would outlast it.
            if !matches!(text.trim_start_matches([' ', '\t']).bytes().next(), None | Some(b'#')) {
                break;
            }
            match self.lines.parse(text)? {
                Line::Nothing | Line::End => {}
                Line::Metadata { .. } | Line::Sample(_) => break,
            }
        }
        self.buffer.pop_if(|byte| *byte == b'\r');
        let line = self.lines.lines();
        let text = std::str::from_utf8(&self.buffer).map_err(|_| TextError::NotUtf8 { line })?;
        self.lines.parse(text).map(Some)
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
        let long = vec![b'a'; LINE_BYTES_MAX + 2];
        assert!(open(&long).starts_with("line 1 is longer"));
    }
}
