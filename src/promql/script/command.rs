//! From the lines of a script to its commands.

use std::sync::LazyLock;

use regex::Regex;

use super::expectation::{Expectations, Judgement, TextMatch};
use crate::encoding::go_float;
use crate::model::duration::parse_duration_ms;
use crate::model::{LabelSet, TimestampMs};
use crate::promql::parser::ast::ExprKind;
use crate::promql::parser::series_description::{SequenceValue, parse_series_description, parse_start_timestamps};
use crate::promql::parser::{ParseError, parse_expr};

/// One command and the number of its first line, from 1.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) kind: CommandKind,
}

#[derive(Debug)]
pub(super) enum CommandKind {
    /// Forget all series.
    Clear,
    /// Add samples, one every `step_ms` from 0 on.
    Load { step_ms: i64, custom_buckets: bool, series: Vec<LoadedSeries> },
    /// Evaluate a query.
    Eval(Box<Eval>),
    /// A command that cannot be read; for a query, what it is.
    Invalid { query: Option<String>, reason: String },
}

/// A series to load.
#[derive(Debug)]
pub(super) struct LoadedSeries {
    pub(super) labels: LabelSet,
    pub(super) values: Vec<SequenceValue>,
    /// Start timestamps of the values, as offsets from their times; empty where none is given.
    pub(super) start_offsets_ms: Vec<Option<i64>>,
}

/// When a query is evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) enum EvalTimes {
    Instant(TimestampMs),
    Range(Range),
}

/// Times from `start_ms` to `end_ms`, `step_ms` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) start_ms: TimestampMs,
    pub(super) end_ms: TimestampMs,
    pub(super) step_ms: i64,
}

/// A query and what it must give.
#[derive(Debug)]
pub(super) struct Eval {
    pub(super) query: String,
    pub(super) times: EvalTimes,
    pub(super) expectations: Expectations,
}

/// Start timestamps stand on the line before the samples.
const NO_SAMPLE_LINE: &str = "@st line has no following sample line";

fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static LOAD: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"^load(?:_(with_nhcb))?\s+(.+?)$"));
static EVAL_INSTANT: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$"));
static EVAL_RANGE: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$"));
static EXPECT: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$"));
static EXPECT_RANGE: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$"));

/// The groups of a match, absent ones empty; `None` where the text does not match.
fn groups<'t, const N: usize>(pattern: &LazyLock<Option<Regex>>, text: &'t str) -> Option<[&'t str; N]> {
    let captures = LazyLock::force(pattern).as_ref()?.captures(text)?;
    Some(std::array::from_fn(|index| captures.get(index + 1).map_or("", |group| group.as_str())))
}

/// Reads a whole script.
pub(super) fn parse_script(text: &str) -> Vec<Command> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut reader = Reader { lines, next: 0 };
    let mut commands = Vec::new();
    while let Some(line) = reader.next_line() {
        if line.is_empty() {
            continue;
        }
        let number = reader.next;
        let word = line.split([' ', '\t']).next().unwrap_or_default().to_lowercase();
        let kind = if word == "clear" {
            Ok(CommandKind::Clear)
        } else if word.starts_with("load") {
            reader.load(line)
        } else if word.starts_with("eval") {
            reader.eval(line)
        } else {
            Err(Refused { query: None, reason: format!("invalid command {line:?}") })
        };
        let kind = kind.unwrap_or_else(|refused| {
            reader.skip_block();
            CommandKind::Invalid { query: refused.query, reason: refused.reason }
        });
        commands.push(Command { line: number, kind });
    }
    commands
}

struct Refused {
    query: Option<String>,
    reason: String,
}

impl Refused {
    fn of_load(reason: impl Into<String>) -> Self {
        Refused { query: None, reason: reason.into() }
    }
}

struct Reader<'t> {
    lines: Vec<&'t str>,
    next: usize,
}

impl<'t> Reader<'t> {
    fn next_line(&mut self) -> Option<&'t str> {
        let line = self.lines.get(self.next).copied()?;
        self.next += 1;
        Some(line)
    }

    /// The next line of the current command, which an empty line ends.
    fn next_in_block(&mut self) -> Option<&'t str> {
        let line = self.lines.get(self.next).copied().filter(|line| !line.is_empty())?;
        self.next += 1;
        Some(line)
    }

    /// Passes over what is left of a command that cannot be read.
    fn skip_block(&mut self) {
        while self.next_in_block().is_some() {}
    }

    fn load(&mut self, line: &str) -> Result<CommandKind, Refused> {
        let Some([variant, step]) = groups(&LOAD, line) else {
            return Err(Refused::of_load("invalid load command. (load[_with_nhcb] <step:duration>)"));
        };
        let step_ms = parse_duration_ms(step)
            .map_err(|error| Refused::of_load(format!("invalid step definition {step:?}: {error}")))?;
        let mut series: Vec<LoadedSeries> = Vec::new();
        let mut starts: Option<(LabelSet, Vec<Option<i64>>)> = None;
        while let Some(line) = self.next_in_block() {
            let refused = |error: ParseError| Refused::of_load(error.to_string());
            if let Some(of_next) = parse_start_timestamps(line).map_err(refused)? {
                if starts.replace(of_next).is_some() {
                    return Err(Refused::of_load(NO_SAMPLE_LINE));
                }
                continue;
            }
            let (labels, values) = parse_series_description(line).map_err(refused)?;
            let start_offsets_ms = match starts.take() {
                None => Vec::new(),
                Some((of_labels, _)) if of_labels != labels => {
                    return Err(Refused::of_load("@st metric does not match the following sample line metric"));
                }
                Some((_, offsets_ms)) if offsets_ms.len() != values.len() => {
                    let (got, want) = (offsets_ms.len(), values.len());
                    return Err(Refused::of_load(format!("@st line has {got} values but sample line has {want}")));
                }
                Some((_, offsets_ms)) => offsets_ms,
            };
            series.retain(|known| known.labels != labels);
            series.push(LoadedSeries { labels, values, start_offsets_ms });
        }
        if starts.is_some() {
            return Err(Refused::of_load(NO_SAMPLE_LINE));
        }
        Ok(CommandKind::Load { step_ms, custom_buckets: variant == "with_nhcb", series })
    }

    fn eval(&mut self, line: &str) -> Result<CommandKind, Refused> {
        let (mode, query, times) = if let Some([mode, at, query]) = groups(&EVAL_INSTANT, line) {
            (mode, query, [at, at, "1s"])
        } else if let Some([mode, from, to, step, query]) = groups(&EVAL_RANGE, line) {
            (mode, query, [from, to, step])
        } else {
            let reason = "invalid evaluation command. Must be either \
                          'eval[_fail|_warn|_ordered] instant [at <offset:duration>] <query>' or \
                          'eval[_fail|_warn] range from <from> to <to> step <step> <query>'";
            return Err(Refused { query: Some(line.to_owned()), reason: reason.to_owned() });
        };
        let refused = |reason: String| Refused { query: Some(query.to_owned()), reason };
        let range = parse_range(times).map_err(refused)?;
        let is_instant = groups::<3>(&EVAL_INSTANT, line).is_some();
        let mut eval = Eval {
            query: query.to_owned(),
            times: if is_instant { EvalTimes::Instant(range.start_ms) } else { EvalTimes::Range(range) },
            expectations: Expectations::default(),
        };
        eval.expectations.set_mode(mode);
        while let Some(line) = self.next_in_block() {
            match expectation(line, &mut eval) {
                Ok(More::Lines) => {}
                Ok(More::None) => break,
                Err(reason) => return Err(refused(reason)),
            }
        }
        Ok(CommandKind::Eval(Box::new(eval)))
    }
}

/// Whether a command may go on after a line.
enum More {
    Lines,
    None,
}

fn parse_range([from, to, step]: [&str; 3]) -> Result<Range, String> {
    let duration = |what: &str, text: &str| {
        parse_duration_ms(text).map_err(|error| format!("invalid {what} definition {text:?}: {error}"))
    };
    let start_ms = duration("start timestamp", from)?;
    let end_ms = duration("end timestamp", to)?;
    if end_ms < start_ms {
        return Err(format!("invalid test definition, end timestamp ({to}) is before start timestamp ({from})"));
    }
    Ok(Range { start_ms, end_ms, step_ms: duration("step", step)? })
}

/// Reads one line below an `eval`.
fn expectation(line: &str, eval: &mut Eval) -> Result<More, String> {
    let expectations = &mut eval.expectations;
    if expectations.is_fail() {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            expectations.fail = Some(TextMatch::Exact(text.trim().to_owned()));
            return Ok(More::None);
        }
        if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            expectations.fail = Some(TextMatch::pattern(text.trim())?);
            return Ok(More::None);
        }
    }
    if line.starts_with("expect range vector") {
        let times: [&str; 3] =
            groups(&EXPECT_RANGE, line).ok_or_else(|| format!("invalid range vector definition {line:?}"))?;
        expectations.range_vector = Some(parse_range(times)?);
        return Ok(More::Lines);
    }
    if let Some(rest) = line.strip_prefix("expect string") {
        let literal = parse_expr(rest.trim()).ok().map(|expr| expr.kind);
        let Some(ExprKind::String(text)) = literal else {
            return Err("expected string literal not valid - check that the string is correctly quoted".to_owned());
        };
        expectations.text = Some(text.to_string());
        return Ok(More::Lines);
    }
    if line.split(' ').next() == Some("expect") {
        let Some([kind, matching, text]) = groups::<3>(&EXPECT, line) else {
            let reason = "invalid expect statement, must match `expect <type> <match_type>: <string>` format";
            return Err(reason.to_owned());
        };
        let wanted = match matching {
            "msg" => TextMatch::Exact(text.trim().to_owned()),
            "regex" => TextMatch::pattern(text.trim())?,
            _ => TextMatch::Any,
        };
        expectations.add(kind, wanted)?;
        return Ok(More::Lines);
    }
    if let Some(value) = parse_number(line) {
        expectations.result = Judgement::Scalar(value);
        return Ok(More::None);
    }
    let (labels, values) = parse_series_description(line).map_err(|error| error.to_string())?;
    let is_instant = matches!(eval.times, EvalTimes::Instant(_));
    if values.len() > 1 && is_instant && expectations.range_vector.is_none() {
        return Err("expecting multiple values in instant evaluation not allowed. consider using 'expect range \
                    vector' directive to enable a range vector result for an instant query"
            .to_owned());
    }
    expectations.add_series(labels, values);
    Ok(More::Lines)
}

/// A line that is a number: an integer in decimal or hexadecimal, or a float.
fn parse_number(text: &str) -> Option<f64> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let integer = hexadecimal.and_then(|digits| i64::from_str_radix(digits, 16).ok());
    integer.map(|value| value as f64).or_else(|| go_float::parse(text))
}
