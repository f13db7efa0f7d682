//! `label_replace` and `label_join`: new labels from old ones.

use super::columns::{Args, merge_same_labels};
use super::{CallContext, FunctionError};
use crate::model::pattern::PatternError;
use crate::model::{METRIC_NAME, ReplacePattern};
use crate::promql::value::{SeriesSteps, StepsValue};

type Result = std::result::Result<StepsValue, FunctionError>;

/// `label_replace(v, dst, replacement, src, regex)`: where the whole of `src` matches, `dst` becomes the replacement.
pub(super) fn label_replace(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let mut vector = args.vector()?;
    let (dst, replacement, src, regex) = (args.string()?, args.string()?, args.string()?, args.string()?);
    let pattern = ReplacePattern::new(&regex).map_err(|error| match error {
        PatternError::Syntax(_) => FunctionError(format!("invalid regular expression in label_replace(): {regex}")),
        bound => FunctionError(format!("{bound} in label_replace()")),
    })?;
    check_label_name(&dst, "destination", "label_replace")?;
    let mut budget = Budget::new("label_replace");
    for series in &mut vector {
        let value = series.labels.get(&src).unwrap_or_default();
        let replaced = pattern.replace(value, &replacement, VALUE_BYTES_MAX).map_err(|_| too_long("label_replace"))?;
        let Some(replaced) = replaced else {
            continue;
        };
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
        // Counted before it is made: there can be many sources.
        let separators = separator.len().saturating_mul(values.len().saturating_sub(1));
        budget.spend(values.iter().map(|value| value.len()).fold(separators, usize::saturating_add))?;
        let joined = values.join(&separator);
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
            return Err(too_long(function));
        }
        let Some(left) = self.left.checked_sub(bytes) else {
            let text = format!("label values of more than {CALL_BYTES_MAX} bytes in {function}()");
            return Err(FunctionError(text));
        };
        self.left = left;
        Ok(())
    }
}

fn too_long(function: &str) -> FunctionError {
    FunctionError(format!("label value of more than {VALUE_BYTES_MAX} bytes in {function}()"))
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
