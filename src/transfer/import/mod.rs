//! Import: text of any age, size and order becomes blocks.
//!
//! The text is read once. Its samples are collected up to a bound, sorted, and written as *runs*; at the end the runs
//! of each block range are merged, series by series, into a block, which is read back and proven before it gets its name
//! in the data directory. A server that runs on the directory takes the new blocks up by itself. Where it was sent
//! another value for a series and time, that one stays, unless it came late.
//!
//! Memory holds one run and the labels of all series. An interrupted import goes on where its last run ended, if it is
//! started again over the same source; nothing is imported twice, since the names of the blocks are made of the text
//! alone. A name that the ledger saw go is not used again: a start removes what a crash left of a block that is gone. Nor
//! is that of a block from which samples were deleted.

mod blocks;
mod run;
mod series;
mod state;

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::block::BlockError;
use crate::clock::Clock;
use crate::encoding::crc32c_more;
use crate::fs::{Fs, ReadFile};
use crate::ledger::LedgerError;
use crate::model::{Label, LabelSet, TimestampMs};
use crate::text::{Line, TextError, TextFormat, TextReader};
use run::Pending;
use series::SeriesTable;
use state::{SPECIMEN_BYTES, Source, State, WorkDir};

/// Range of time by which samples are sorted; blocks hold one or several.
const RANGE_MS: i64 = 2 * 60 * 60 * 1000;
/// How many conflicts are told in words.
const CONFLICTS_KEPT: usize = 10;
/// How much of a file has to be read to know its format.
const TAIL_BYTES: u64 = 64;

/// What to import, and how.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The data directory that gets the blocks. It is created where it is missing.
    pub data_dir: PathBuf,
    /// The file with the text, or what a stream is called in messages.
    pub source: PathBuf,
    /// Its format; where it is `None`, a file's is found out from its end. A stream has to have one.
    pub format: Option<TextFormat>,
    /// Range of time of a block, a multiple of two hours; chosen by the time that the text covers where it is `None`.
    pub block_range_ms: Option<i64>,
    /// Samples that are held in memory, at most [`SAMPLE_BYTES`](Self::SAMPLE_BYTES) each.
    pub samples_in_memory: usize,
}

impl ImportOptions {
    /// What a sample takes in memory at most: itself, its part of what sorting needs, and its entry in the run's index.
    pub const SAMPLE_BYTES: u64 = 64;
}

/// Why an import did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The text has a fault.
    #[error("{}: {fault}; nothing of it was imported; a line has to be like {}", path.display(), example(*format))]
    Text {
        /// The source.
        path: PathBuf,
        /// The format that it was read in.
        format: TextFormat,
        /// The fault and its place.
        fault: TextError,
    },
    /// A stream whose format nobody told.
    #[error("the format of {} cannot be found out, since it cannot be read from its end: say which it is", path.display())]
    UnknownFormat {
        /// The source.
        path: PathBuf,
    },
    /// A stream is not the one that an interrupted import began with.
    #[error(
        "{} is not the text that an interrupted import began with, although it begins like it; what that one left was \
         removed: import it again", path.display()
    )]
    OtherText {
        /// The source.
        path: PathBuf,
    },
    /// A sample has no time.
    #[error("{}: line {line}: the sample has no timestamp, so its place in the past is unknown: {series}; nothing of it was imported; a line has to be like {}", path.display(), example(*format))]
    NoTimestamp {
        /// The source.
        path: PathBuf,
        /// The format that it was read in.
        format: TextFormat,
        /// Where.
        line: u64,
        /// Its series.
        series: String,
    },
    /// A block could not be written.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The ledger, which tells the names of blocks that are gone, could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The block of an earlier import of the text is damaged.
    #[error(
        "block {ulid} of an earlier import of this text is damaged: {finding}; move it out of the data directory, and import \
         the text again"
    )]
    Damaged {
        /// Its name.
        ulid: String,
        /// What is wrong with it.
        finding: String,
    },
    /// A block does not hold what was given to it.
    #[error("block {ulid} was refused: {reason}; it was set aside as {}", aside.display())]
    Refused {
        /// Its name.
        ulid: String,
        /// What was found when it was read back.
        reason: String,
        /// Where it is now.
        aside: PathBuf,
    },
}

fn example(format: TextFormat) -> &'static str {
    match format {
        TextFormat::Prometheus => "`name{label=\"value\"} 1.5 1767225600000`, the time in milliseconds",
        TextFormat::OpenMetrics => {
            "`name{label=\"value\"} 1.5 1767225600.000`, the time in seconds, and the last one `# EOF`"
        }
    }
}

impl ImportError {
    /// Whether the text itself is at fault, so that it is no use to take the import up again.
    fn is_of_text(&self) -> bool {
        match self {
            ImportError::Text { fault, .. } => !matches!(fault, TextError::Read { .. }),
            ImportError::NoTimestamp { .. } | ImportError::OtherText { .. } => true,
            _ => false,
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
        let path = path.to_owned();
        move |source| ImportError::Io { action, path, source }
    }
}

/// A block that an import made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ImportedBlock {
    /// Its name.
    pub ulid: String,
    /// Time of its first sample.
    pub min_time_ms: TimestampMs,
    /// Time of its last sample.
    pub max_time_ms: TimestampMs,
    /// Its series.
    pub series: u64,
    /// Its samples.
    pub samples: u64,
    /// Their digest.
    pub digest: crate::model::Digest,
    /// The directory had it already, from an earlier import of the same text.
    pub was_there: bool,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Lines of the text.
    pub lines: u64,
    /// Bytes of the text.
    pub bytes: u64,
    /// Samples in the text.
    pub samples: u64,
    /// Series in the text.
    pub series: u64,
    /// Samples that stood in the text before, with the same value.
    pub duplicates: u64,
    /// Samples that were left out, since another value for the same series and time stood in the text before.
    pub conflicts: u64,
    /// The first of them, in words.
    pub conflicts_named: Vec<String>,
    /// Exemplars, which blocks cannot hold.
    pub exemplars_skipped: u64,
    /// Samples that an interrupted import of the same text had read already.
    pub resumed_samples: u64,
    /// Blocks that begin later than now: nothing is lost by that, but it is rarely meant.
    pub future_blocks: u64,
    /// The blocks, by time.
    pub blocks: Vec<ImportedBlock>,
}

/// Who is told how far an import is: bytes read of all, then blocks written of all.
pub trait ImportProgress {
    /// Bytes of the text that were read, and all of them.
    fn reading(&mut self, bytes: u64, total: u64);
    /// Blocks that were written, and all of them.
    fn writing(&mut self, blocks: u64, total: u64);
}

/// Imports a text: the file that the options name, or a stream that it is the name of.
pub fn import(
    fs: &Arc<dyn Fs>,
    clock: &dyn Clock,
    options: &ImportOptions,
    stream: Option<&mut dyn Read>,
    progress: &mut dyn ImportProgress,
) -> Result<ImportReport, ImportError> {
    let path = &options.source;
    let (source, format, text) = match stream {
        None => {
            let file = fs.open(path).map_err(ImportError::io("open", path))?;
            let detect = || detect_format(&*file).map_err(ImportError::io("read", path));
            let format = options.format.map_or_else(detect, Ok)?;
            let source = Source::of(&*file, format).map_err(ImportError::io("read", path))?;
            (source, format, Text::File(file))
        }
        Some(stream) => {
            let format = options.format.ok_or_else(|| ImportError::UnknownFormat { path: path.clone() })?;
            let mut beginning = Vec::new();
            let read = Read::take(&mut *stream, SPECIMEN_BYTES).read_to_end(&mut beginning);
            read.map_err(ImportError::io("read", path))?;
            (Source::of_stream(&beginning, format), format, Text::Stream(io::Cursor::new(beginning).chain(stream)))
        }
    };
    fs.create_dir_durably(&options.data_dir).map_err(ImportError::io("create", &options.data_dir))?;
    let work = WorkDir::open(fs.clone(), &options.data_dir, &source)?;
    let mut import = Import::resume(work, source, format)?;
    if let Err(error) = import.read_all(options, text, progress) {
        if error.is_of_text() {
            import.work.remove()?;
        }
        return Err(error);
    }
    import.write_blocks(options, progress)?;
    let report = import.report(clock);
    import.work.remove()?;
    Ok(report)
}

/// What is read.
enum Text<'a> {
    File(Box<dyn ReadFile>),
    Stream(io::Chain<io::Cursor<Vec<u8>>, &'a mut dyn Read>),
}

/// OpenMetrics if it ends as such a text has to end.
fn detect_format(file: &dyn ReadFile) -> io::Result<TextFormat> {
    let length = file.len()?;
    let mut tail = vec![0; TAIL_BYTES.min(length) as usize];
    let mut reader = FileReader { file, at: length - tail.len() as u64 };
    reader.read_exact(&mut tail)?;
    let is_open = String::from_utf8_lossy(&tail).trim_end().ends_with("# EOF");
    Ok(if is_open { TextFormat::OpenMetrics } else { TextFormat::Prometheus })
}

/// An import under way.
struct Import {
    work: WorkDir,
    format: TextFormat,
    state: State,
    series: SeriesTable,
    pending: Vec<Pending>,
}

impl Import {
    /// Takes up what an interrupted import left, or begins anew.
    fn resume(work: WorkDir, source: Source, format: TextFormat) -> Result<Self, ImportError> {
        let mut series = SeriesTable::default();
        let state = match work.load()? {
            Some((mut state, saved)) if series.load(&saved).is_ok() => {
                state.resumed_samples = state.samples;
                state
            }
            _ => {
                series = SeriesTable::default();
                work.clear()?;
                State::new(source)
            }
        };
        Ok(Import { work, format, state, series, pending: Vec::new() })
    }

    /// Reads what was not read yet.
    fn read_all(
        &mut self,
        options: &ImportOptions,
        text: Text<'_>,
        progress: &mut dyn ImportProgress,
    ) -> Result<(), ImportError> {
        match text {
            Text::File(file) => self.go_on(options, FileReader { file: &*file, at: 0 }, progress),
            Text::Stream(stream) => self.go_on(options, stream, progress),
        }
    }

    /// Reads what was not read yet of a text that has to begin with what was.
    fn go_on(
        &mut self,
        options: &ImportOptions,
        mut text: impl Read,
        progress: &mut dyn ImportProgress,
    ) -> Result<(), ImportError> {
        let path = &options.source;
        let passed = pass_over(&mut text, self.state.bytes).map_err(ImportError::io("read", path))?;
        let mut is_known = passed == Some(self.state.text_crc);
        if is_known && self.state.is_read {
            is_known = text.read(&mut [0]).map_err(ImportError::io("read", path))? == 0;
        }
        match is_known {
            false => Err(ImportError::OtherText { path: path.clone() }),
            true if self.state.is_read => Ok(()),
            true => self.read(options, text, progress),
        }
    }

    /// Reads the text into runs.
    fn read(
        &mut self,
        options: &ImportOptions,
        text: impl Read,
        progress: &mut dyn ImportProgress,
    ) -> Result<(), ImportError> {
        let total = self.state.source.bytes;
        let source = Hashing { text: BufReader::with_capacity(1 << 20, text), crc: self.state.text_crc };
        let mut reader = TextReader::resumed(source, self.format, self.state.lines, self.state.bytes);
        loop {
            let is_more = self.read_line(options, &mut reader)?;
            if !is_more || self.pending.len() >= options.samples_in_memory {
                (self.state.lines, self.state.bytes) = (reader.lines(), reader.bytes());
                self.state.text_crc = reader.source().crc;
                self.state.is_read = !is_more;
                self.work.save_run(&mut self.state, &mut self.series, &mut self.pending)?;
            }
            if !is_more {
                return Ok(());
            }
            if reader.lines().is_multiple_of(4096) {
                progress.reading(reader.bytes(), total);
            }
        }
    }

    /// Reads one line; `false` at the end.
    fn read_line(
        &mut self,
        options: &ImportOptions,
        reader: &mut TextReader<impl BufRead>,
    ) -> Result<bool, ImportError> {
        let path = || options.source.clone();
        let format = self.format;
        let line = reader.next_line().map_err(|fault| ImportError::Text { path: path(), format, fault })?;
        let mut sample = match line {
            None => return Ok(false),
            Some(Line::Sample(sample)) => sample,
            Some(_) => return Ok(true),
        };
        let Some(timestamp_ms) = sample.timestamp_ms else {
            let series = sample.label_set().to_string();
            return Err(ImportError::NoTimestamp { path: path(), format, line: reader.lines(), series });
        };
        self.state.exemplars_skipped += u64::from(sample.exemplar.is_some());
        sample.labels.retain(|(_, value)| !value.is_empty());
        sample.labels.sort_unstable();
        let labels = sample.labels.iter().map(|(name, value)| Label { name, value });
        let series = self.series.number(labels);
        self.pending.push(Pending { series, timestamp_ms, bits: sample.value.to_bits() });
        self.state.samples += 1;
        Ok(true)
    }

    fn report(&self, clock: &dyn Clock) -> ImportReport {
        let state = &self.state;
        let mut blocks = state.blocks.clone();
        blocks.sort_by_key(|block| block.min_time_ms);
        ImportReport {
            lines: state.lines,
            bytes: state.bytes,
            samples: state.samples,
            series: self.series.len() as u64,
            duplicates: state.duplicates,
            conflicts: state.conflicts,
            conflicts_named: state.conflicts_named.clone(),
            exemplars_skipped: state.exemplars_skipped,
            resumed_samples: state.resumed_samples,
            future_blocks: blocks.iter().filter(|block| block.min_time_ms > clock.now_ms()).count() as u64,
            blocks,
        }
    }

    /// Counts a sample that is left out, and names it if there is room.
    fn conflict(&mut self, labels: &LabelSet, timestamp_ms: TimestampMs, kept: u64, other: u64) {
        self.state.conflicts += 1;
        if self.state.conflicts_named.len() < CONFLICTS_KEPT {
            let (kept, other) = (f64::from_bits(kept), f64::from_bits(other));
            self.state.conflicts_named.push(format!("{labels} at {timestamp_ms} ms: {kept} is kept, {other} left out"));
        }
    }
}

/// Reads and forgets the first bytes of a text; gives their checksum, or `None` where it is shorter.
fn pass_over(stream: &mut impl Read, bytes: u64) -> io::Result<Option<u32>> {
    let mut buffer = vec![0; 1 << 16];
    let (mut left, mut crc) = (bytes, 0);
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = stream.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Ok(None);
        }
        crc = crc32c_more(crc, buffer.get(..count).unwrap_or_default());
        left -= count as u64;
    }
    Ok(Some(crc))
}

/// Adds up the checksum of what is consumed.
struct Hashing<R> {
    text: BufReader<R>,
    crc: u32,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.text.read(buffer)?;
        self.crc = crc32c_more(self.crc, buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<R: Read> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.text.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.crc = crc32c_more(self.crc, self.text.buffer().get(..count).unwrap_or_default());
        self.text.consume(count);
    }
}

/// A file as a stream.
struct FileReader<'a> {
    file: &'a dyn ReadFile,
    at: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
