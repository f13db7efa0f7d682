//! Scripts with one wrong expectation each. The runner has to fail every one, and to pass the same script without the
//! fault.

use super::tests::run;

/// Floats, a counter, exponential and custom histograms, a series of both kinds, and start timestamps.
const LOAD: &str = "load 1m\n  \
    m{a=\"1\"} 0+1x10\n  \
    m{a=\"2\"} 0+2x10\n  \
    reqs 0+60x10\n  \
    h {{schema:1 count:10 sum:20 z_bucket:1 z_bucket_w:0.01 buckets:[1 2 3] offset:-1 n_buckets:[3] n_offset:2}}x10\n  \
    c {{schema:-53 count:6 sum:9 custom_values:[1 2] buckets:[1 2 3]}}x10\n  \
    mix 1 {{count:1 sum:1 buckets:[1]}} 2x8\n  \
    s@st _ -30s _\n  \
    s 1 2 3\n";

/// Judges `eval`, and says what is wrong with it.
fn judge(eval: &str) -> Result<(), String> {
    let report = run(&format!("{LOAD}\n{eval}\n"));
    match (report.passed, report.failures.as_slice()) {
        (1, []) => Ok(()),
        (0, [failure]) => Err(failure.reason.clone()),
        _ => panic!("{eval}: {report:?}"),
    }
}

/// `right` has to pass; with each `(what, wrong, reason)` put in the place of `what` it has to fail for that reason.
#[track_caller]
fn check(right: &str, faults: &[(&str, &str, &str)]) {
    assert_eq!(judge(right), Ok(()), "{right}");
    for (what, wrong, reason) in faults {
        assert!(right.contains(what), "{what:?} is not in {right}");
        let eval = right.replacen(what, wrong, 1);
        match judge(&eval) {
            Ok(()) => panic!("passes, but is wrong: {eval}"),
            Err(found) => assert!(found.contains(reason), "{reason:?} is not in {found:?} of {eval}"),
        }
    }
}

#[test]
fn float_that_is_wrong_fails() {
    check(
        "eval instant at 5m m\n  m{a=\"1\"} 5\n  m{a=\"2\"} 10",
        &[
            ("10", "11", "expected 11"),
            ("10", "10.0001", "expected 10.0001"),
            ("10", "NaN", "expected NaN"),
            ("10", "-10", "expected -10"),
            ("10", "stale", "expected NaN"),
            ("10", "{{count:10}}", "but got 10"),
            ("a=\"2\"", "a=\"3\"", "unexpected metric"),
            ("m{a=\"2\"}", "n{a=\"2\"}", "unexpected metric"),
            ("m{a=\"2\"}", "{a=\"2\"}", "unexpected metric"),
            ("a=\"2\"", "a=\"2\", b=\"1\"", "unexpected metric"),
            ("\n  m{a=\"2\"} 10", "", "unexpected metric"),
            ("m{a=\"2\"} 10", "m{a=\"2\"} 10\n  m{a=\"3\"} 10", "not found"),
            ("at 5m", "at 6m", "expected 5"),
        ],
    );
    check("eval instant at 5m 1 + 1\n  2", &[("  2", "  3", "expected scalar 3"), ("  2", "  {} 2", "got scalar")]);
    check("eval instant at 0 \"a\"\n  expect string \"a\"", &[("g \"a\"", "g \"b\"", "expected string \"b\"")]);
}

#[test]
fn order_that_is_wrong_fails() {
    check(
        "eval instant at 5m sort_desc(m)\n  expect ordered\n  m{a=\"2\"} 10\n  m{a=\"1\"} 5",
        &[("sort_desc", "sort", "at position 2 but was at 1")],
    );
}

#[test]
fn histogram_that_is_wrong_fails() {
    check(
        "eval instant at 5m h\n  h {{schema:1 count:10 sum:20 z_bucket:1 z_bucket_w:0.01 buckets:[1 2 3] offset:-1 \
         n_buckets:[3] n_offset:2 counter_reset_hint:not_reset}}",
        &[
            ("schema:1", "schema:0", "expected FloatHistogram"),
            ("count:10", "count:11", "expected FloatHistogram"),
            ("sum:20", "sum:20.001", "expected FloatHistogram"),
            ("z_bucket:1", "z_bucket:2", "expected FloatHistogram"),
            ("z_bucket_w:0.01", "z_bucket_w:0.011", "expected FloatHistogram"),
            (" buckets:[1 2 3]", " buckets:[1 2 4]", "expected FloatHistogram"),
            (" buckets:[1 2 3]", " buckets:[1 2]", "expected FloatHistogram"),
            (" buckets:[1 2 3]", " buckets:[1 2 3 1]", "expected FloatHistogram"),
            (" buckets:[1 2 3]", " buckets:[1 0 2 3]", "expected FloatHistogram"),
            (" offset:-1", " offset:0", "expected FloatHistogram"),
            ("n_buckets:[3]", "n_buckets:[4]", "expected FloatHistogram"),
            ("n_buckets:[3]", "", "expected FloatHistogram"),
            ("n_offset:2", "n_offset:1", "expected FloatHistogram"),
            ("hint:not_reset", "hint:unknown", "expected FloatHistogram"),
            ("hint:not_reset", "hint:reset", "expected FloatHistogram"),
            ("hint:not_reset", "hint:gauge", "expected FloatHistogram"),
            ("h {{", "i {{", "unexpected metric"),
            ("h {{", "h 20\n  i {{", "expected 20"),
        ],
    );
    check(
        "eval instant at 5m c\n  c {{schema:-53 count:6 sum:9 custom_values:[1 2] buckets:[1 2 3]}}",
        &[
            ("custom_values:[1 2]", "custom_values:[1 3]", "expected FloatHistogram"),
            ("custom_values:[1 2]", "custom_values:[1 2 3]", "expected FloatHistogram"),
            ("schema:-53", "schema:0", "expected FloatHistogram"),
        ],
    );
}

#[test]
fn histogram_that_is_written_in_another_way_passes() {
    let split = "buckets:[0 1 2 3 0] offset:-2 n_buckets:[0 3] n_offset:1";
    let zeros =
        format!("eval instant at 5m h\n  h {{{{schema:1 count:10 sum:20 z_bucket:1 z_bucket_w:0.01 {split}}}}}");
    assert_eq!(judge(&zeros), Ok(()));
}

#[test]
fn range_result_that_is_wrong_fails() {
    let h = "{{schema:1 count:10 sum:20 z_bucket:1 z_bucket_w:0.01 buckets:[1 2 3] offset:-1 n_buckets:[3] n_offset:2";
    check(
        &format!("eval range from 0 to 2m step 1m h\n  h {h} counter_reset_hint:unknown}}}} {h}}}}} {h}}}}}"),
        &[
            ("hint:unknown", "hint:not_reset", "at 0 ms"),
            ("sum:20", "sum:21", "at 0 ms"),
            ("  h {{", "  h _ {{", "the time range cannot have this many"),
            ("  h {{", "  h 20 {{", "the time range cannot have this many"),
        ],
    );
    check(
        "eval range from 0 to 2m step 1m mix\n  mix 1 {{count:1 sum:1 buckets:[1]}} 2",
        &[
            ("{{count:1 sum:1 buckets:[1]}}", "1", "expected 1 at 60000 ms"),
            ("mix 1", "mix {{sum:1}}", "at 0 ms"),
            ("}} 2", "}} _", "expected 2 points"),
            ("}} 2", "}} 3", "expected 3 at 120000 ms"),
            ("buckets:[1]", "buckets:[2]", "at 60000 ms"),
        ],
    );
    check(
        "eval range from 1m to 3m step 1m m{a=\"1\"}\n  m{a=\"1\"} 1 2 3",
        &[
            ("1 2 3", "1 2 4", "expected 4 at 180000 ms"),
            ("1 2 3", "1 2", "expected 2 points"),
            ("1 2 3", "1 _ 3", "expected 2 points"),
            ("1 2 3", "1 2 3 4", "the time range cannot have this many"),
            ("step 1m", "step 30s", "expected 3 points"),
            ("from 1m", "from 0", "expected 3 points"),
            ("to 3m", "to 4m", "expected 3 points"),
            ("  m{a=\"1\"} 1 2 3", "", "unexpected metric"),
            ("  m{a=\"1\"}", "  m{a=\"9\"} 1\n  m{a=\"1\"}", "not found"),
        ],
    );
    check(
        "eval instant at 3m m{a=\"1\"}[2m]\n  expect range vector from 2m to 3m step 1m\n  m{a=\"1\"} 2 3",
        &[
            ("step 1m", "step 59s", "at 179000 ms"),
            ("from 2m", "from 1m59s", "at 119000 ms"),
            ("2 3", "2 4", "expected 4"),
            ("[2m]", "[3m]", "expected 2 points"),
        ],
    );
}

#[test]
fn annotation_that_is_wrong_fails() {
    let warning = "PromQL warning: quantile value should be between 0 and 1, got 2";
    check(
        &format!(
            "eval instant at 5m quantile(2, m)\n  expect warn msg: {warning} (1:10)\n  expect no_info\n  {{}} +Inf"
        ),
        &[
            ("(1:10)", "(1:11)", "expected warn annotation matching message"),
            ("got 2", "got 3", "expected warn annotation matching message"),
            ("msg: ", "regex: (1:11)", "expected warn annotation matching pattern"),
            (&format!("expect warn msg: {warning} (1:10)"), "expect no_warn", "unexpected warn annotations"),
            ("no_info", "info", "expected info annotations but none were found"),
            ("quantile(2,", "quantile(0.5,", "expected warn annotations but none were found"),
        ],
    );
    let info = "PromQL info: incompatible sample types encountered for binary operator \"+\": histogram + float (1:1)";
    check(
        &format!("eval instant at 5m h + on () reqs\n  expect info msg: {info}\n  expect no_warn"),
        &[
            ("histogram + float (", "float + histogram (", "expected info annotation matching message"),
            (&format!("expect info msg: {info}"), "expect no_info", "unexpected info annotations"),
            ("no_warn", "warn", "expected warn annotations but none were found"),
            ("no_warn", "info regex: nonsense", "matching pattern \"nonsense\""),
        ],
    );
}

#[test]
fn failure_that_is_wrong_fails() {
    check(
        "eval instant at 5m count_values(\"\", m)\n  expect fail msg: invalid label name \"\"",
        &[
            ("name \"\"", "name", "expected error matching message"),
            ("msg: ", "regex: not ", "expected error matching pattern"),
            ("(\"\"", "(\"v\"", "expected error but got none"),
            ("expect fail msg: invalid label name \"\"", "expect no_warn", "error evaluating query"),
        ],
    );
}

#[test]
fn load_that_a_database_would_refuse_fails() {
    for (load, reason) in [
        ("load 1m\n  x 1 2\n\nload 1m\n  x _ 3", "duplicate sample for timestamp 60000"),
        ("load 1m\n  x 1 2 3\n\nload 30s\n  x _ 2", "out of order sample"),
        ("load 1m\n  x {{count:1 buckets:[-1]}}", "negative count"),
        ("load 1m\n  x@st -1m\n  y 1", "@st metric does not match"),
        ("load 1m\n  x@st -1m -1m\n  x 1", "@st line has 2 values but sample line has 1"),
        ("load 1m\n  x@st -1m", "@st line has no following sample line"),
        ("load 1m\n  x@st -1m\n  x@st -1m\n  x 1", "@st line has no following sample line"),
        ("load_with_nhcb 1m\n  x_bucket{le=\"1\"} 2\n  x_bucket{le=\"2\"} 1", "count is not cumulative"),
        ("load_with_nhcb 1m\n  x_bucket{le=\"1\"} 2\n  x_count 1", "count is not cumulative"),
        ("load_with_nhcb 1m\n  x_bucket{le=\"+Inf\"} 2\n  x_count 1", "count mismatch"),
    ] {
        let report = run(&format!("{load}\n\neval instant at 0 1\n  1\n"));
        assert_eq!((report.passed, report.failed), (1, 1), "{load}: {report:?}");
        assert!(report.failures[0].reason.contains(reason), "{:?}: {load}", report.failures[0].reason);
    }
    let again = run("load 1m\n  x 1 NaN\n\nload 1m\n  x _ NaN\n\neval instant at 0 x\n  x 1\n");
    assert_eq!((again.passed, again.failures), (1, vec![]));
}

#[test]
fn histograms_that_were_loaded_have_the_hints_that_chunks_give() {
    let report = run(concat!(
        "load 1m\n",
        "  x {{count:2 buckets:[2]}} {{count:3 buckets:[3]}} {{count:1 buckets:[1]}} {{count:2 buckets:[2]}} stale ",
        "{{count:3 buckets:[3]}} 1 {{count:4 buckets:[4]}} {{count:5 buckets:[5] counter_reset_hint:gauge}}\n\n",
        "eval range from 0 to 8m step 1m x\n",
        "  x {{count:2 buckets:[2] counter_reset_hint:unknown}} {{count:3 buckets:[3] counter_reset_hint:not_reset}} ",
        "{{count:1 buckets:[1] counter_reset_hint:unknown}} {{count:2 buckets:[2] counter_reset_hint:not_reset}} _ ",
        "{{count:3 buckets:[3] counter_reset_hint:unknown}} 1 {{count:4 buckets:[4] counter_reset_hint:unknown}} ",
        "{{count:5 buckets:[5] counter_reset_hint:gauge}}\n",
    ));
    assert_eq!((report.passed, report.failures), (1, vec![]));
}

#[test]
fn start_timestamps_that_were_loaded_reach_functions() {
    check(
        "eval range from 0 to 2m step 1m start_timestamp(s)\n  {} 0 30 0",
        &[("30", "31", "expected 31"), ("start_timestamp(s)", "start_timestamp(s * 1)", "not found")],
    );
}
