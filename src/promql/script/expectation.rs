//! What a query must give: a failure or a result, and which annotations beside it.

use regex::Regex;

use super::command::Range;
use crate::model::LabelSet;
use crate::promql::annotations::{Annotations, Level};
use crate::promql::parser::series_description::SequenceValue;

/// What a text must be.
#[derive(Debug)]
pub(super) enum TextMatch {
    /// Anything.
    Any,
    /// Exactly this.
    Exact(String),
    /// Something in which this is found.
    Pattern(Regex),
}

impl TextMatch {
    pub(super) fn pattern(text: &str) -> Result<Self, String> {
        Regex::new(text).map(TextMatch::Pattern).map_err(|_| format!("invalid regex {text}"))
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            TextMatch::Any => true,
            TextMatch::Exact(wanted) => wanted == text,
            TextMatch::Pattern(pattern) => pattern.is_match(text),
        }
    }

    fn describe(&self) -> String {
        match self {
            TextMatch::Any => "anything".to_owned(),
            TextMatch::Exact(wanted) => format!("message {wanted:?}"),
            TextMatch::Pattern(pattern) => format!("pattern {:?}", pattern.as_str()),
        }
    }
}

/// The expected value.
#[derive(Debug, Default)]
pub(super) enum Judgement {
    /// No series at all.
    #[default]
    Nothing,
    /// One number.
    Scalar(f64),
    /// These series, and no others.
    Series(Vec<ExpectedSeries>),
}

/// A series of the expected result.
#[derive(Debug)]
pub(super) struct ExpectedSeries {
    pub(super) labels: LabelSet,
    pub(super) values: Vec<SequenceValue>,
}

/// Which annotations of one level must come, or must not.
#[derive(Debug, Default)]
struct AnnotationRules {
    /// Each must be found, and each that is found must be one of these.
    wanted: Vec<TextMatch>,
    /// At least one must be found.
    any: bool,
    /// None may be found.
    none: bool,
}

/// All that is expected of one query.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    pub(super) fail: Option<TextMatch>,
    pub(super) ordered: bool,
    pub(super) range_vector: Option<Range>,
    pub(super) text: Option<String>,
    pub(super) result: Judgement,
    warnings: AnnotationRules,
    infos: AnnotationRules,
}

impl Expectations {
    /// Takes over the mode that `eval` itself carries, as older scripts have it.
    pub(super) fn set_mode(&mut self, mode: &str) {
        match mode {
            "fail" => self.fail = Some(TextMatch::Any),
            "ordered" => self.ordered = true,
            "warn" => self.warnings.any = true,
            "info" => self.infos.any = true,
            _ => {}
        }
    }

    pub(super) fn is_fail(&self) -> bool {
        self.fail.is_some()
    }

    /// Takes over one `expect` line.
    pub(super) fn add(&mut self, kind: &str, wanted: TextMatch) -> Result<(), String> {
        match kind {
            "ordered" => self.ordered = true,
            "fail" if matches!(self.fail, Some(TextMatch::Exact(_) | TextMatch::Pattern(_))) => {
                return Err("invalid expect lines, multiple expect fail lines are not allowed".to_owned());
            }
            "fail" => self.fail = Some(wanted),
            "warn" => self.warnings.wanted.push(wanted),
            "no_warn" => self.warnings.none = true,
            "info" => self.infos.wanted.push(wanted),
            "no_info" => self.infos.none = true,
            _ => return Err(format!("invalid expected error/annotation type {kind}")),
        }
        for (level, rules) in [("warn", &self.warnings), ("info", &self.infos)] {
            if rules.none && !rules.wanted.is_empty() {
                return Err(format!("invalid expect lines, {level} and no_{level} cannot be used together"));
            }
        }
        Ok(())
    }

    pub(super) fn add_series(&mut self, labels: LabelSet, values: Vec<SequenceValue>) {
        if !matches!(self.result, Judgement::Series(_)) {
            self.result = Judgement::Series(Vec::new());
        }
        if let Judgement::Series(series) = &mut self.result {
            series.retain(|known| known.labels != labels);
            series.push(ExpectedSeries { labels, values });
        }
    }

    /// Judges the text of the error that a query ended with.
    pub(super) fn judge_error(&self, error: &str) -> Result<(), String> {
        match &self.fail {
            None => Err(format!("error evaluating query: {error}")),
            Some(wanted) if wanted.fits(error) => Ok(()),
            Some(wanted) => Err(format!("expected error matching {}, but got: {error}", wanted.describe())),
        }
    }

    /// Judges the annotations of a query that gave a result.
    pub(super) fn judge_annotations(&self, query: &str, annotations: &Annotations) -> Result<(), String> {
        let levels = [("warn", Level::Warning, &self.warnings), ("info", Level::Info, &self.infos)];
        for (name, level, rules) in levels {
            rules.judge(name, &annotations.render(level, query))?;
        }
        Ok(())
    }
}

impl AnnotationRules {
    fn judge(&self, level: &str, found: &[String]) -> Result<(), String> {
        if found.is_empty() && (self.any || !self.wanted.is_empty()) {
            return Err(format!("expected {level} annotations but none were found"));
        }
        if self.none && !found.is_empty() {
            return Err(format!("unexpected {level} annotations: {found:?}"));
        }
        if let Some(missing) = self.wanted.iter().find(|wanted| !found.iter().any(|text| wanted.fits(text))) {
            let missing = missing.describe();
            return Err(format!("expected {level} annotation matching {missing} but found only {found:?}"));
        }
        let unexpected = |text: &&String| !self.wanted.iter().any(|wanted| wanted.fits(text));
        match found.iter().find(unexpected) {
            Some(text) if !self.wanted.is_empty() => Err(format!("unexpected {level} annotation {text:?}")),
            _ => Ok(()),
        }
    }
}
