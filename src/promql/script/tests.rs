//! Tests of the runner itself: that it passes what is right, and above all that it fails what is wrong. And the
//! scripts of this repository.

use std::sync::Arc;

use super::{ScriptOptions, ScriptReport, run_script};
use crate::clock::ManualClock;

pub(super) fn run(script: &str) -> ScriptReport {
    run_script(script, &ScriptOptions::new(Arc::new(ManualClock::default())))
}

/// Two series of floats and one of histograms, and then `eval` with what follows it.
fn run_on_data(eval: &str) -> ScriptReport {
    let load = "load 1m\n  m{a=\"1\"} 0+1x10\n  m{a=\"2\"} 0+2x10\n  reqs{a=\"1\"} 0+60x10\n  h {{count:3 sum:5}}x10\n";
    run(&format!("{load}\n{eval}\n"))
}

#[track_caller]
fn passes(eval: &str) {
    let report = run_on_data(eval);
    assert_eq!((report.passed, report.failures.as_slice()), (1, [].as_slice()), "{eval}");
}

#[track_caller]
fn fails(eval: &str, reason: &str) {
    let report = run_on_data(eval);
    assert_eq!((report.passed, report.failed), (0, 1), "{eval}");
    let failure = &report.failures[0];
    assert_eq!(failure.line, 7, "{eval}");
    assert!(failure.reason.contains(reason), "{:?} is not in {:?} of {eval}", reason, failure.reason);
}

const BOTH: &str = "\n  m{a=\"1\"} 5\n  m{a=\"2\"} 10";

#[test]
fn instant_eval_with_the_right_series_passes() {
    passes(&format!("eval instant at 5m m{BOTH}"));
    passes("eval instant at 5m m == 5\n  expect no_warn\n  expect no_info\n  m{a=\"1\"} 5.000001");
    passes("eval instant at 5m missing");
    passes("eval instant at 5m 1 + 1\n  2");
    passes("eval instant at 5m 1 / 0\n  +Inf");
    passes("eval instant at 5m NaN\n  NaN");
}

#[test]
fn instant_eval_with_a_wrong_value_fails() {
    fails("eval instant at 5m m{a=\"1\"}\n  m{a=\"1\"} 6", "expected 6 for {__name__=\"m\", a=\"1\"} but got 5");
    fails("eval instant at 5m m{a=\"1\"}\n  m{a=\"1\"} 5.0001", "expected 5.0001");
    fails("eval instant at 5m m{a=\"1\"}\n  m{a=\"1\"} NaN", "expected NaN");
    fails("eval instant at 5m m{a=\"1\"}\n  m{a=\"1\"} {{count:1}}", "expected FloatHistogram");
    fails("eval instant at 5m 1 + 1\n  3", "expected scalar 3 but got 2");
    fails("eval instant at 5m h\n  h {{count:4 sum:5}}", "expected FloatHistogram");
    fails("eval instant at 5m h\n  h 0", "expected 0");
}

#[test]
fn instant_eval_with_missing_or_extra_series_fails() {
    fails("eval instant at 5m m\n  m{a=\"1\"} 5", "unexpected metric {__name__=\"m\", a=\"2\"}");
    fails("eval instant at 5m m{a=\"1\"}", "unexpected metric");
    fails(&format!("eval instant at 5m m{{a=\"1\"}}{BOTH}"), "expected metric {__name__=\"m\", a=\"2\"} not found");
    fails("eval instant at 5m m{a=\"1\"}\n  n{a=\"1\"} 5", "unexpected metric");
}

#[test]
fn instant_eval_with_another_type_of_result_fails() {
    fails("eval instant at 5m 1", "expected vector or matrix result, but got scalar");
    fails("eval instant at 5m m\n  5", "expected scalar result, but got vector");
    fails("eval instant at 5m m[1m]\n  5", "expected scalar result, but got matrix");
    fails("eval range from 0 to 2m step 1m m\n  5", "expected scalar result, but got matrix");
}

#[test]
fn ordered_eval_checks_the_order() {
    let rising = "\n  m{a=\"1\"} 5\n  m{a=\"2\"} 10";
    let falling = "\n  m{a=\"2\"} 10\n  m{a=\"1\"} 5";
    passes(&format!("eval instant at 5m sort(m)\n  expect ordered{rising}"));
    passes(&format!("eval_ordered instant at 5m sort_desc(m){falling}"));
    passes(&format!("eval instant at 5m sort(m){falling}"));
    fails(&format!("eval instant at 5m sort(m)\n  expect ordered{falling}"), "at position 2 but was at 1");
    fails(&format!("eval_ordered instant at 5m sort_desc(m){rising}"), "at position 2 but was at 1");
    fails("eval range from 0 to 1m step 1m m{a=\"1\"}\n  expect ordered\n  m{a=\"1\"} 0 1", "returned a matrix");
}

#[test]
fn range_eval_checks_every_point() {
    let eval = "eval range from 1m to 3m step 1m m{a=\"1\"} > 1\n  expect no_warn\n  m{a=\"1\"}";
    passes(&format!("{eval} _ 2 3"));
    fails(&format!("{eval} _ 2 4"), "expected 4 at 180000 ms");
    fails(&format!("{eval} _ 2"), "expected 1 points");
    fails(&format!("{eval} 2 3"), "expected 2 at 60000 ms");
    fails(&format!("{eval} 2 _ 3"), "expected 2 at 60000 ms");
    fails(&format!("{eval} _ 2 3 4"), "the time range cannot have this many");
    fails("eval range from 1m to 3m step 1m m{a=\"1\"}", "unexpected metric");
    fails("eval range from 1m to 3m step 1m missing\n  m 1 2 3", "expected metric {__name__=\"m\"} not found");
}

#[test]
fn range_vector_eval_checks_times_and_values() {
    let eval = "eval instant at 3m m{a=\"1\"}[2m]\n  expect range vector from";
    passes(&format!("{eval} 2m to 3m step 1m\n  m{{a=\"1\"}} 2 3"));
    fails(&format!("{eval} 2m to 3m step 1m\n  m{{a=\"1\"}} 2 4"), "expected 4");
    fails(&format!("{eval} 2m30s to 3m step 30s\n  m{{a=\"1\"}} 2 3"), "expected 2 at 150000 ms");
    fails("eval instant at 3m m{a=\"1\"}[2m]\n  m{a=\"1\"} 2 3", "expecting multiple values");
}

#[test]
fn string_eval_compares_the_text() {
    passes("eval instant at 0 \"a\\tb\"\n  expect string \"a\\tb\"");
    passes("eval instant at 0 (\"\")\n  expect string ``");
    fails("eval instant at 0 \"a\"\n  expect string \"b\"", "expected string \"b\" but got \"a\"");
    fails("eval instant at 0 \"a\"\n  expect string b", "check that the string is correctly quoted");
}

#[test]
fn failing_eval_compares_the_error() {
    let eval = "eval instant at 5m label_replace(m, \"a\", \"\", \"a\", \".*\")\n  expect fail";
    passes(eval);
    passes(&format!("{eval} msg: vector cannot contain metrics with the same labelset"));
    passes(&format!("{eval} regex: same .*set"));
    passes(&eval.replace("eval ", "eval_fail ").replace("\n  expect fail", ""));
    fails(&format!("{eval} msg: vector cannot"), "expected error matching message \"vector cannot\", but got");
    fails(&format!("{eval} regex: other"), "expected error matching pattern \"other\", but got");
    fails(&eval.replace("\n  expect fail", ""), "error evaluating query: vector cannot");
    fails("eval instant at 5m m\n  expect fail", "expected error but got none");
    fails("eval_fail instant at 5m m", "expected error but got none");
    fails("eval range from 0 to 1m step 1m m\n  expect fail", "expected error but got none");
    let old = "eval_fail instant at 5m label_replace(m, \"a\", \"\", \"a\", \".*\")\n  expected_fail_";
    passes(&format!("{old}message vector cannot contain metrics with the same labelset"));
    fails(&format!("{old}message other"), "expected error matching message \"other\"");
    fails(&format!("{old}regexp other"), "expected error matching pattern \"other\"");
}

#[test]
fn warnings_must_be_those_expected() {
    let eval = "eval instant at 5m quantile_over_time(2, m{a=\"1\"}[5m])\n  {a=\"1\"} +Inf";
    let text = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)";
    passes(eval);
    passes(&format!("{eval}\n  expect warn"));
    passes(&format!("{eval}\n  expect warn msg: {text}\n  expect no_info"));
    passes(&format!("{eval}\n  expect warn regex: got 2"));
    passes(&eval.replace("eval ", "eval_warn "));
    fails(&format!("{eval}\n  expect no_warn"), "unexpected warn annotations");
    fails(&format!("{eval}\n  expect warn msg: {}", &text[..20]), "expected warn annotation matching message");
    fails(&format!("{eval}\n  expect warn regex: got 3"), "expected warn annotation matching pattern");
    fails(&format!("{eval}\n  expect warn\n  expect warn regex: got 3"), "matching pattern \"got 3\"");
    fails(&format!("{eval}\n  expect info"), "expected info annotations but none were found");
    fails("eval instant at 5m missing\n  expect warn", "expected warn annotations but none were found");
    fails("eval_warn instant at 5m missing", "expected warn annotations but none were found");
    fails("eval_info instant at 5m missing", "expected info annotations but none were found");
    fails("eval instant at 5m m\n  expect warn\n  expect no_warn", "cannot be used together");
}

#[test]
fn an_unexpected_annotation_beside_an_expected_one_fails() {
    let eval = "eval instant at 5m quantile_over_time(2, m{a=\"1\"}[5m]) + quantile_over_time(3, m{a=\"1\"}[5m])";
    let expected = "{a=\"1\"} +Inf\n  expect warn regex: got 2";
    passes(&format!("{eval}\n  {expected}\n  expect warn regex: got 3"));
    fails(&format!("{eval}\n  {expected}"), "unexpected warn annotation");
}

#[test]
fn infos_must_be_those_expected() {
    let eval = "eval instant at 5m rate(reqs[5m])\n  {a=\"1\"} 1";
    passes(&format!("{eval}\n  expect info regex: might not be a counter.*\"reqs\" \\(1:6\\)"));
    passes(&format!("{eval}\n  expect no_warn"));
    fails(&format!("{eval}\n  expect no_info"), "unexpected info annotations");
    fails(&format!("{eval}\n  expect warn"), "expected warn annotations but none were found");
    fails(&format!("{eval}\n  expect info msg: other"), "expected info annotation matching message");
}

#[test]
fn commands_that_cannot_be_read_fail_and_the_script_goes_on() {
    let report =
        run("load\n\nnonsense\n\neval instant at x m\n\neval instant at 0 m{\n  m 1\n\neval instant at 0 1\n  1\n");
    assert_eq!((report.passed, report.failed, report.unparsed), (1, 4, 2));
    let lines: Vec<usize> = report.failures.iter().map(|failure| failure.line).collect();
    assert_eq!(lines, [1, 3, 5, 7]);
    fails("eval range from 2m to 1m step 1m m", "is before start timestamp");
    fails("eval instant at 0 m\n  expect nothing", "invalid expect statement");
    fails("eval instant at 0 m\n  expect fail regex: (", "invalid regex");
    fails("eval instant at 0 m\n  m{ 1", "parse error");
}

#[test]
fn a_comment_ends_a_command() {
    let report = run_on_data("eval instant at 5m missing\n# comment\n  m 1");
    assert_eq!((report.passed, report.failed), (1, 1));
    assert_eq!(report.failures[0].reason, "invalid command \"m 1\"");
}

#[test]
fn clear_removes_what_was_loaded() {
    let report =
        run("load 1m\n  m 1\n\nclear\n\neval instant at 0 m\n\nload 1m\n  m 2\n\neval instant at 0 m\n  m 2\n");
    assert_eq!((report.passed, report.failures), (2, vec![]));
}

#[test]
fn load_of_classic_histograms_makes_native_ones_beside_them() {
    let report = run(concat!(
        "load_with_nhcb 1m\n  d_bucket{le=\"1\"} 2\n  d_bucket{le=\"+Inf\"} 5\n  d_count 5\n  d_sum 7\n\n",
        "eval instant at 0 d\n  d {{schema:-53 count:5 sum:7 custom_values:[1] buckets:[2 3]}}\n\n",
        "eval instant at 0 d_count\n  d_count 5\n",
    ));
    assert_eq!((report.passed, report.failures), (2, vec![]));
}

#[test]
fn results_that_change_with_the_evaluation_time_are_caught() {
    // `vector(time())` cannot be pinned, so it is left alone; a selector can, and is the same at all times then.
    passes("eval instant at 5m vector(time())\n  {} 300");
    passes("eval instant at 5m timestamp(m{a=\"1\"})\n  {a=\"1\"} 300");
    passes("eval instant at 5m sum_over_time((m{a=\"1\"} * time())[1m:1m])\n  {a=\"1\"} 1500");
}

macro_rules! scripts {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../testdata/promql/", $name, ".test")))),*]
    };
}

#[test]
fn scripts_of_this_repository_pass() {
    let scripts = scripts![
        "absence",
        "classic_histograms",
        "counters",
        "labels",
        "extended",
        "math",
        "mixed",
        "native_operators",
        "native_functions",
        "over_time",
        "regression",
        "scalars",
        "selectors",
        "sorting",
        "start_timestamps",
        "time",
    ];
    for (name, script) in scripts {
        let report = run(script);
        assert_eq!(report.failures, [], "{name}");
        assert!(report.passed >= 5, "{name} has only {} queries", report.passed);
    }
}
