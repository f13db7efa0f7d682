//! `label_replace` and `label_join`: new labels from old ones.

use super::columns::{Args, merge_same_labels};
use super::{CallContext, FunctionError};
use crate::model::{METRIC_NAME, Pattern};
use crate::promql::value::{SeriesSteps, StepsValue};

type Result = std::result::Result<StepsValue, FunctionError>;

/// `label_replace(v, dst, replacement, src, regex)`: where the whole of `src` matches, `dst` becomes the replacement.
pub(super) fn label_replace(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let mut vector = args.vector()?;
    let (dst, replacement, src, regex) = (args.string()?, args.string()?, args.string()?, args.string()?);
    let pattern = Pattern::new(&regex)
        .map_err(|_| FunctionError(format!("invalid regular expression in label_replace(): {regex}")))?;
    check_label_name(&dst, "destination", "label_replace")?;
    let mut budget = Budget::new("label_replace");
    for series in &mut vector {
        let value = series.labels.get(&src).unwrap_or_default();
        let Some(captures) = pattern.regex().captures(value) else {
            continue;
        };
        let mut replaced = String::new();
        expand(&replacement, &captures, &mut replaced);
        budget.spend(replaced.len())?;
        set_label(series, &dst, &replaced);
    }
    merge_same_labels(vector).map(StepsValue::Vector)
}

/// `label_join(v, dst, separator, src...)`: `dst` becomes the values of all `src`, joined.
pub(super) fn label_join(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let mut vector = args.vector()?;
    let (dst, separator) = (args.string()?, args.string()?);
    let mut sources = Vec::new();
    while !args.is_empty() {
        let source = args.string()?;
        check_label_name(&source, "source", "label_join")?;
        sources.push(source);
    }
    check_label_name(&dst, "destination", "label_join")?;
    let mut budget = Budget::new("label_join");
    for series in &mut vector {
        let values: Vec<&str> = sources.iter().map(|name| series.labels.get(name).unwrap_or_default()).collect();
        let joined = values.join(&separator);
        budget.spend(joined.len())?;
        set_label(series, &dst, &joined);
    }
    merge_same_labels(vector).map(StepsValue::Vector)
}

/// Longest label value that a function makes.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// All the label values that one call makes, taken together.
const CALL_BYTES_MAX: usize = 256 << 20;

/// What a call may still make of label values. Without a bound, nested calls that double a value would fill the memory.
struct Budget {
    function: &'static str,
    left: usize,
}

impl Budget {
    fn new(function: &'static str) -> Self {
        Budget { function, left: CALL_BYTES_MAX }
    }

    fn spend(&mut self, bytes: usize) -> std::result::Result<(), FunctionError> {
        let function = self.function;
        if bytes > VALUE_BYTES_MAX {
            let text = format!("label value of {bytes} bytes in {function}(), at most {VALUE_BYTES_MAX} are allowed");
            return Err(FunctionError(text));
        }
        let Some(left) = self.left.checked_sub(bytes) else {
            let text = format!("label values of more than {CALL_BYTES_MAX} bytes in {function}()");
            return Err(FunctionError(text));
        };
        self.left = left;
        Ok(())
    }
}

fn check_label_name(name: &str, role: &str, function: &str) -> std::result::Result<(), FunctionError> {
    // Any text may name a label, but not an empty one, nor bytes that are no text: the parser shows these by U+FFFD.
    if name.is_empty() || name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(FunctionError(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}

/// A new metric name is there to stay, even if the old one was to go.
fn set_label(series: &mut SeriesSteps, name: &str, value: &str) {
    let mut builder = series.labels.to_builder();
    builder.set(name, value);
    series.labels = builder.build();
    if name == METRIC_NAME {
        series.drop_name = false;
    }
}

/// Puts groups into a template by Go's rules: `$1`, `$name`, `${name}`, `$$`. A name reaches as far as letters, digits
/// and underscores do, a group that is not there is empty, and a dollar sign that begins nothing stands for itself.
fn expand(template: &str, captures: &regex::Captures<'_>, into: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        into.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            into.push('$');
            rest = after;
            continue;
        }
        let Some((name, after)) = group_name(after) else {
            into.push('$');
            rest = after;
            continue;
        };
        let group = match group_number(name) {
            Some(number) => captures.get(number),
            None => captures.name(name),
        };
        into.push_str(group.map_or("", |found| found.as_str()));
        rest = after;
    }
    into.push_str(rest);
}

/// The name at the start of `text`, in braces or not, and what follows.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (inner, in_braces) = text.strip_prefix('{').map_or((text, false), |inner| (inner, true));
    let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
    let (name, after) = inner.split_at(end);
    if name.is_empty() {
        return None;
    }
    if in_braces { after.strip_prefix('}').map(|after| (name, after)) } else { Some((name, after)) }
}

/// The number that a name is, if it is one: no leading zero, less than a billion.
fn group_number(name: &str) -> Option<usize> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    if is_number && name.len() <= 9 { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(regex: &str, text: &str, template: &str) -> String {
        let pattern = Pattern::new(regex).expect("a valid pattern");
        let captures = pattern.regex().captures(text).expect("a match");
        let mut into = String::new();
        expand(template, &captures, &mut into);
        into
    }

    #[test]
    fn expand_follows_the_rules_of_go_templates() {
        assert_eq!(expanded("(.*)-(.*)", "a-b", "$2/$1"), "b/a");
        assert_eq!(expanded("(.*)-(?P<word>.*)", "a-b", "${word}x$word"), "bxb");
        assert_eq!(expanded("(.*)", "a", "$1x"), "");
        assert_eq!(expanded("(.*)", "a", "${1}x$$1"), "ax$1");
        assert_eq!(expanded("(.*)", "a", "5$ and ${ and ${1 and $-"), "5$ and ${ and ${1 and $-");
        assert_eq!(expanded("(.*)", "a", "$01$9"), "");
        assert_eq!(expanded("(.*)", "a", "$0"), "a");
    }
}
