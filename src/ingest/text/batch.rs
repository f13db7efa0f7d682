//! From whole lines to a batch.
//!
//! A line that is at fault costs itself alone: it is counted and named with its number, and the next one is read. A
//! comment is at fault for nobody: what it tells is advice.

use std::ops::Range;

use memchr::memchr;

use super::request::ImportRequest;
use crate::ingest::accept::{Decoded, Metadata};
use crate::ingest::answer::shorten;
use crate::ingest::pool::Scratch;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Label, MetricType, RawLabels, Sample};
use crate::storage::{BatchOutcome, ExemplarSample, RejectReason, SeriesEntry, WriteBatch};
use crate::text::{Dialect, Fact, LabelPairs, Line, LineReader, SampleLine, TextError};

/// Reads the lines of one import, part by part.
#[derive(Debug)]
pub(super) struct LineDecoder {
    request: ImportRequest,
    lines: LineReader,
    /// What is known about the family that was spoken of last: its comments may be in two parts.
    family: Option<Family>,
    /// The line of each entry of the last batch.
    entry_lines: Vec<u64>,
}

/// What comments told about a metric family.
#[derive(Debug, Clone, Default)]
struct Family {
    name: String,
    metric_type: MetricType,
    help: String,
    unit: String,
}

impl Family {
    fn learn(&mut self, fact: Fact<'_>) {
        match fact {
            Fact::Type(metric_type) => self.metric_type = metric_type,
            Fact::Help(help) => self.help = help.into_owned(),
            Fact::Unit(unit) => unit.clone_into(&mut self.unit),
        }
    }
}

impl LineDecoder {
    /// Begins a text.
    pub(super) fn new(request: ImportRequest) -> Self {
        let lines = LineReader::new(request.dialect);
        LineDecoder { request, lines, family: None, entry_lines: Vec::new() }
    }

    /// Lines so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines.lines()
    }

    /// Whether the text may end here.
    pub(super) fn finish(&self) -> Result<(), TextError> {
        self.lines.finish()
    }

    /// The line that an entry of the last batch came from.
    pub(super) fn line_of(&self, entry: usize) -> Option<u64> {
        self.entry_lines.get(entry).copied()
    }

    /// Whether a last line that no line feed ends may be one that was cut off. Prometheus' format leaves the line feed to
    /// the writer's taste; in OpenMetrics only the end itself may lack it.
    pub(super) fn is_cut_off(&self, line: &[u8]) -> bool {
        self.request.dialect == Dialect::OpenMetrics && line.trim_ascii() != b"# EOF"
    }

    /// Counts a line that is not read, and refuses it if it may have held a sample.
    pub(super) fn refuse_unread(&mut self, line: &[u8], what: &str, refused: &mut BatchOutcome) {
        // Its number is all that is wanted.
        let _unread = self.lines.check(line);
        refuse(line, refused, || format!("line {}: {what}", self.lines.lines()));
    }

    /// Reads `lines`, which end in a line feed or with the text, into `batch`, which is empty.
    pub(super) fn decode<'a>(
        &mut self,
        lines: &[u8],
        scratch: &'a mut Scratch,
        batch: &mut WriteBatch<'a>,
    ) -> Decoded<'a> {
        let Scratch { body, gathered } = scratch;
        body.clear();
        gathered.clear();
        self.entry_lines.clear();
        let mut part = Part::default();
        let mut refused = BatchOutcome::default();
        let mut families = Vec::new();
        let mut rest = lines;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..end).unwrap_or_default();
            rest = rest.get(end + 1..).unwrap_or_default();
            match self.lines.check(line).and_then(|line| self.lines.parse(line)) {
                Ok(Line::Nothing | Line::End) => {}
                Ok(Line::Metadata { family, fact }) => {
                    let known = self.family.get_or_insert_default();
                    if known.name != family {
                        let name = family.into_owned();
                        let before = std::mem::replace(known, Family { name, ..Family::default() });
                        families.push(before);
                    }
                    known.learn(fact);
                }
                Ok(Line::Sample(sample)) => {
                    self.entry_lines.push(self.lines.lines());
                    part.add(sample, &self.request, gathered, batch);
                }
                Err(fault) => refuse(line, &mut refused, || match &fault {
                    TextError::Line { .. } => format!("{fault}: {}", shorten(&String::from_utf8_lossy(line))),
                    _ => fault.to_string(),
                }),
            }
        }
        let told: Vec<_> = families.iter().chain(&self.family).filter(|family| !family.name.is_empty()).collect();
        let mut spans = Vec::with_capacity(told.len());
        for family in &told {
            spans.push([&family.name, &family.help, &family.unit].map(|text| append(body, text)));
        }
        // Only now that nothing is added any more can the batch borrow.
        let (body, gathered): (&'a [u8], &'a [u8]) = (body, gathered);
        part.lend(gathered, batch);
        let text = |span: &Range<usize>| {
            let bytes = body.get(span.clone()).unwrap_or_default();
            std::str::from_utf8(bytes).unwrap_or_default()
        };
        let metadata = told.iter().zip(&spans).map(|(family, [name, help, unit])| Metadata {
            metric_type: family.metric_type,
            family: text(name),
            help: text(help),
            unit: text(unit),
        });
        Decoded { metadata: metadata.collect(), refused, ..Decoded::default() }
    }
}

/// Refuses a line, unless it is a comment or empty.
fn refuse(line: &[u8], refused: &mut BatchOutcome, detail: impl FnOnce() -> String) {
    if !matches!(line.trim_ascii_start().first(), None | Some(b'#')) {
        refused.reject(RejectReason::MalformedLine, BatchOutcome::NO_ENTRY, 1, detail);
    }
}

fn append(to: &mut Vec<u8>, text: &str) -> Range<usize> {
    let start = to.len();
    to.extend_from_slice(text.as_bytes());
    start..to.len()
}

/// Where the labels of a batch are, until it can borrow them.
#[derive(Default)]
struct Part {
    entries: Vec<Range<usize>>,
    exemplars: Vec<Range<usize>>,
}

impl Part {
    /// Adds a sample, with its exemplar, as an entry of its own.
    fn add(
        &mut self,
        sample: SampleLine<'_>,
        request: &ImportRequest,
        gathered: &mut Vec<u8>,
        batch: &mut WriteBatch<'_>,
    ) {
        let SampleLine { mut labels, value, timestamp_ms, exemplar } = sample;
        if !request.labels.is_empty() {
            labels.retain(|(name, _)| request.labels.iter().all(|(own, _)| name != own));
            let own = request.labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
            labels.extend(own);
        }
        let timestamp_ms = timestamp_ms.unwrap_or(request.timestamp_ms);
        let entry = batch.series.len() as u32;
        self.entries.push(encode(labels, gathered));
        let first = batch.samples.len() as u32;
        batch.samples.push(Sample { timestamp_ms, value });
        batch.series.push(SeriesEntry { labels: RawLabels(&[]), samples: first..first + 1 });
        if let Some(exemplar) = exemplar {
            self.exemplars.push(encode(exemplar.labels, gathered));
            batch.exemplars.push(ExemplarSample {
                entry,
                labels: RawLabels(&[]),
                timestamp_ms: exemplar.timestamp_ms.unwrap_or(timestamp_ms),
                value: exemplar.value,
            });
        }
    }

    /// Gives the entries and exemplars their labels.
    fn lend<'a>(self, gathered: &'a [u8], batch: &mut WriteBatch<'a>) {
        let bytes = |range: Range<usize>| RawLabels(gathered.get(range).unwrap_or_default());
        for (entry, range) in batch.series.iter_mut().zip(self.entries) {
            entry.labels = bytes(range);
        }
        for (exemplar, range) in batch.exemplars.iter_mut().zip(self.exemplars) {
            exemplar.labels = bytes(range);
        }
    }
}

/// Appends labels in their canonical form, in which a series is found at once.
fn encode(mut labels: LabelPairs<'_>, to: &mut Vec<u8>) -> Range<usize> {
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort_unstable();
    let start = to.len();
    encode_canonical(labels.iter().map(|(name, value)| Label { name, value }), to);
    start..to.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(dialect: Dialect, labels: &[(&str, &str)]) -> LineDecoder {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        LineDecoder::new(ImportRequest { dialect, labels, timestamp_ms: 7 })
    }

    /// Entries and exemplars as text, metadata as text, refusals as text.
    fn read(decoder: &mut LineDecoder, lines: &[u8]) -> [Vec<String>; 3] {
        let mut scratch = Scratch::default();
        let mut batch = WriteBatch::default();
        let decoded = decoder.decode(lines, &mut scratch, &mut batch);
        let mut entries = Vec::new();
        for (index, entry) in batch.series.iter().enumerate() {
            let Sample { timestamp_ms, value } = batch.samples_of(index)[0];
            let labels = entry.labels.to_label_set().unwrap();
            let mut text = format!("{}: {labels} {value} {timestamp_ms}", decoder.line_of(index).unwrap());
            for exemplar in batch.exemplars.iter().filter(|exemplar| exemplar.entry as usize == index) {
                let labels = exemplar.labels.decode().unwrap().len();
                text.push_str(&format!(" # {labels} {} {}", exemplar.value, exemplar.timestamp_ms));
            }
            entries.push(text);
        }
        let metadata = decoded.metadata.iter();
        let metadata = metadata.map(|it| format!("{} {} {} {}", it.family, it.metric_type.as_str(), it.help, it.unit));
        let refused = decoded.refused.rejects.iter().map(|reject| reject.detail.clone()).collect();
        assert_eq!(decoded.refused.rejected_total(), decoded.refused.rejects.len() as u64);
        [entries, metadata.collect(), refused]
    }

    #[test]
    fn lines_with_faults_cost_themselves_and_are_named() {
        let text = b"# TYPE a gauge\na 1\na{b=} 2\n\xff 3\n# \xff\na{b=\"c\"} 4 5\n\n1 2\n";
        let [entries, metadata, refused] = read(&mut decoder(Dialect::Prometheus, &[]), text);
        assert_eq!(entries, [r#"2: {__name__="a"} 1 7"#, r#"6: {__name__="a", b="c"} 4 5"#]);
        assert_eq!(metadata, ["a gauge  "]);
        assert_eq!(
            refused,
            [
                "line 3, column 5: a label's value is not in quotes: a{b=} 2",
                "line 4 is not UTF-8",
                "line 8, column 1: a name cannot begin with this character: 1 2"
            ]
        );
    }

    #[test]
    fn labels_of_the_request_stand_in_place_of_those_of_a_line() {
        let text = b"a{job=\"x\",b=\"c\"} 1\na 2\n";
        let [entries, ..] = read(&mut decoder(Dialect::Undeclared, &[("job", "y"), ("z", ""), ("b", "")]), text);
        assert_eq!(entries, [r#"1: {__name__="a", job="y"} 1 7"#, r#"2: {__name__="a", job="y"} 2 7"#]);
    }

    #[test]
    fn exemplar_without_a_time_has_that_of_its_sample() {
        let text = b"a_total 1 2 # {t=\"x\"} 3 4\na_total 1 # {} 5\na_total 1 3 # {} 6\n# EOF\n";
        let [entries, _, refused] = read(&mut decoder(Dialect::OpenMetrics, &[]), text);
        let of = |line: u64, rest: &str| format!(r#"{line}: {{__name__="a_total"}} {rest}"#);
        assert_eq!(entries, [of(1, "1 2000 # 1 3 4000"), of(2, "1 7 # 0 5 7"), of(3, "1 3000 # 0 6 3000")]);
        assert!(refused.is_empty());
    }

    #[test]
    fn metadata_in_two_parts_is_whole_in_the_second() {
        let mut decoder = decoder(Dialect::OpenMetrics, &[]);
        let [_, first, _] =
            read(&mut decoder, b"# HELP a Some \\\"text\\\".\n# TYPE b_seconds info\n# HELP b_seconds B\n");
        assert_eq!(first, ["a unknown Some \"text\". ", "b_seconds info B "]);
        let [_, second, _] = read(&mut decoder, b"# UNIT b_seconds seconds\nb_seconds 1\n");
        assert_eq!(second, ["b_seconds info B seconds"]);
    }

    #[test]
    fn lines_behind_the_end_are_refused_but_for_empty_ones() {
        let mut decoder = decoder(Dialect::OpenMetrics, &[]);
        let [entries, _, refused] = read(&mut decoder, b"a 1\n# EOF\n\na 2\n# EOF\n");
        assert_eq!((entries.len(), refused), (1, vec!["line 4: the text goes on behind `# EOF`".to_owned()]));
        assert!(decoder.finish().is_ok());
    }
}
