//! Selectors, ranges, modifiers and subqueries.

use super::*;
use crate::model::{FloatHistogram, TimeRange, stale_nan};

#[test]
fn instant_selector_takes_the_newest_sample_of_the_open_lookback_window() {
    let storage = storage(&[(&[("__name__", "up")], &[1.0, 2.0])]);
    assert_eq!(vector(&storage, "up", 10 * SECOND), [r#"{__name__="up"} 2"#]);
    assert_eq!(vector(&storage, "up", 9_999), [r#"{__name__="up"} 1"#]);
    assert_eq!(vector(&storage, "up", 10 * SECOND + 5 * MINUTE - 1), [r#"{__name__="up"} 2"#]);
    assert!(vector(&storage, "up", 10 * SECOND + 5 * MINUTE).is_empty());
}

#[test]
fn instant_selector_behind_a_staleness_marker_finds_nothing() {
    let mut storage = storage(&[(&[("__name__", "up")], &[1.0])]);
    storage.append(&labels(&[("__name__", "up")]), 10 * SECOND, stale_nan());
    assert_eq!(matrix(&storage, "up", 0, 20 * SECOND, 5 * SECOND), [r#"{__name__="up"} 1@0 1@5"#]);
}

#[test]
fn range_selector_leaves_out_its_open_end_and_staleness_markers() {
    let mut storage = storage(&[(&[("__name__", "up")], &[1.0, 2.0, 3.0])]);
    storage.append(&labels(&[("__name__", "up")]), 25 * SECOND, stale_nan());
    storage.append(&labels(&[("__name__", "up")]), 30 * SECOND, 4.0);
    let value = instant(&storage, "up[30s]", 30 * SECOND).unwrap().value;
    assert_eq!(matrix_text(&value), [r#"{__name__="up"} 2@10 3@20 4@30"#]);
}

#[test]
fn offset_and_at_move_the_time_of_a_selector() {
    let storage = storage(&[(&[("__name__", "up")], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])]);
    assert_eq!(vector(&storage, "up offset 20s", 50 * SECOND), [r#"{__name__="up"} 3"#]);
    assert_eq!(vector(&storage, "up offset -20s", 10 * SECOND), [r#"{__name__="up"} 3"#]);
    assert_eq!(vector(&storage, "up @ 40 offset 10s", 0), [r#"{__name__="up"} 3"#]);
    assert_eq!(
        matrix(&storage, "up @ end() - up @ start()", 10 * SECOND, 30 * SECOND, 10 * SECOND),
        ["{} 2@10 2@20 2@30"]
    );
}

#[test]
fn timestamp_of_a_selector_is_the_time_of_the_sample() {
    let storage = storage(&[(&[("__name__", "up")], &[1.0, 1.0])]);
    assert_eq!(vector(&storage, "timestamp(up)", 17 * SECOND), ["{} 10"]);
    assert_eq!(vector(&storage, "timestamp(abs(up))", 17 * SECOND), ["{} 17"]);
}

#[test]
fn rate_slides_over_the_samples_of_each_window() {
    let values: Vec<f64> = (0..13).map(|index| f64::from(index) * 10.0).collect();
    let storage = storage(&[(&[("__name__", "requests_total"), ("job", "a")], &values)]);
    assert_eq!(
        matrix(&storage, "rate(requests_total[1m])", MINUTE, 2 * MINUTE, 30 * SECOND),
        [r#"{job="a"} 1@60 1@90 1@120"#]
    );
}

#[test]
fn subquery_steps_are_multiples_of_its_resolution() {
    let storage = storage(&[(&[("__name__", "up")], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]);
    let value = instant(&storage, "up[30s:10s]", 45 * SECOND).unwrap().value;
    assert_eq!(matrix_text(&value), [r#"{__name__="up"} 2@20 3@30 4@40"#]);
    assert_eq!(vector(&storage, "sum_over_time(up[30s:10s])", 45 * SECOND), ["{} 9"]);
    assert_eq!(vector(&storage, "max_over_time(sum(up)[30s:10s] offset 10s)", 45 * SECOND), ["{} 3"]);
    assert_eq!(
        matrix(&storage, "sum_over_time((up @ 10)[20s:10s])", 20 * SECOND, 40 * SECOND, 20 * SECOND),
        ["{} 2@20 2@40"]
    );
}

#[test]
fn absent_over_time_is_one_where_no_series_has_a_sample() {
    let storage = storage(&[(&[("__name__", "up"), ("job", "a")], &[1.0, f64::NAN, f64::NAN, 1.0])]);
    assert_eq!(
        matrix(&storage, r#"absent_over_time(up{job="a"}[10s])"#, 0, 40 * SECOND, 10 * SECOND),
        [r#"{job="a"} 1@10 1@20 1@40"#]
    );
}

#[test]
fn duration_expressions_know_the_step_and_the_range_of_the_query() {
    let storage = storage(&[(&[("__name__", "up")], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])]);
    assert_eq!(
        matrix(&storage, "count_over_time(up[step() * 2])", 20 * SECOND, 40 * SECOND, 20 * SECOND),
        ["{} 3@20 4@40"]
    );
}

#[test]
fn explanation_names_what_each_selector_reads_and_how_series_are_evaluated() {
    let storage = storage(&[(&[("__name__", "n_total"), ("a", "1")], &[1.0]), (&[("__name__", "n_total")], &[1.0])]);
    let expr = parse_expr("sum by (a) (rate(n_total[1m] offset 10s)) / scalar(n_total @ 30)").unwrap();
    let engine = engine(EngineOptions::default());
    let plan = engine.explain(Some(&storage), &expr, 0, 2 * MINUTE, MINUTE, &QueryOptions::default()).unwrap();
    assert_eq!(plan.steps.count, 3);
    let lines: Vec<String> = plan.nodes.iter().map(|node| format!("{}{}", " ".repeat(node.depth), node.text)).collect();
    assert_eq!(
        lines,
        [
            "binary operator /",
            " aggregation sum, folding each series as it comes",
            "  function rate, series by series",
            "   range selector n_total[1m] offset 10s: 2 series",
            " once, since it is the same at every step",
            "  function scalar",
            "   instant selector n_total @ 30.000: 2 series",
        ]
    );
    assert_eq!(plan.selectors[0].series, Some(2));
    assert_eq!(plan.selectors[0].read, TimeRange::new(-70 * SECOND + 1, 2 * MINUTE - 10 * SECOND));
    assert_eq!(plan.read, TimeRange::new(30 * SECOND - 5 * MINUTE + 1, 2 * MINUTE - 10 * SECOND));
}

#[test]
fn names_that_go_at_once_or_in_the_end_leave_no_two_series_of_the_same_labels() {
    let storage = storage(&[(&[("__name__", "a")], &[1.0]), (&[("__name__", "b")], &[2.0])]);
    let query = r#"rate({__name__=~"a|b"}[1m])"#;
    assert_eq!(failure(&storage, r#"-{__name__=~"a|b"}"#, 0), "vector cannot contain metrics with the same labelset");
    assert_eq!(
        failure(&storage, r#"sum(last_over_time({__name__=~"a|b"}[1m])) + sum(abs({__name__=~"a|b"}))"#, 0),
        "vector cannot contain metrics with the same labelset"
    );
    assert!(vector(&storage, query, 0).is_empty());

    let delayed = engine(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() });
    let ask = |query: &str| delayed.instant(&storage, &parse_expr(query).unwrap(), 0, &QueryOptions::default());
    assert!(ask(r#"abs({__name__=~"a|b"})"#).is_err());
    let by_name = ask(r#"sum by (__name__) (abs({__name__=~"a|b"}))"#);
    assert_eq!(by_name.unwrap_err().to_string(), "vector cannot contain metrics with the same labelset");
    let kept = ask(r#"label_replace(abs({__name__=~"a|b"}), "name", "$1", "__name__", "(.*)")"#).unwrap();
    let QueryValue::Vector(samples) = kept.value else { panic!("no vector") };
    assert_eq!(
        samples.iter().map(|one| one.labels.to_string()).collect::<Vec<_>>(),
        [r#"{name="a"}"#, r#"{name="b"}"#]
    );
}

#[test]
fn smoothed_selector_draws_a_line_between_samples_and_anchored_takes_one_from_before_the_range() {
    let storage = storage(&[(&[("__name__", "up")], &[0.0, f64::NAN, 4.0, f64::NAN, 8.0])]);
    assert_eq!(vector(&storage, "up smoothed", 25 * SECOND), [r#"{__name__="up"} 5"#]);
    assert_eq!(vector(&storage, "increase(up[20s] anchored)", 35 * SECOND), ["{} 4"]);
    assert_eq!(vector(&storage, "increase(up[20s] smoothed)", 35 * SECOND), ["{} 4"]);
    assert_eq!(
        failure(&storage, "sum_over_time(up[20s] anchored)", 0),
        "anchored modifier can only be used with: changes, delta, increase, rate, resets - not with sum_over_time"
    );
}

#[test]
fn histograms_are_carried_through_selectors_and_set_operators_untouched() {
    let mut storage = storage(&[(&[("__name__", "n"), ("a", "1")], &[1.0])]);
    let histogram = FloatHistogram { count: 3.0, sum: 7.0, ..FloatHistogram::default() };
    storage.append_histogram(&labels(&[("__name__", "n"), ("a", "2")]), 0, histogram.clone());
    for query in ["n", "n or nothing", "n and n", "topk(0, n) or n", "sort_by_label(limitk(2, n), \"a\")"] {
        let QueryValue::Vector(samples) = instant(&storage, query, 0).unwrap().value else { panic!("no vector") };
        assert_eq!(samples.len(), 2, "{query}");
        assert_eq!(samples[0].histogram, None, "{query}");
        assert_eq!(samples[1].histogram.as_deref(), Some(&histogram), "{query}");
    }
    assert_eq!(vector(&storage, "count(n)", 0), ["{} 2"]);
    let least = instant(&storage, "min(n)", 0).unwrap();
    assert_eq!(
        least.annotations.iter().map(|one| one.text()).collect::<Vec<_>>(),
        ["PromQL info: ignored histogram in min aggregation"]
    );
}

#[test]
fn info_adds_the_labels_of_the_newest_info_series_at_each_step() {
    let none = f64::NAN;
    let storage = storage(&[
        (&[("__name__", "up"), ("instance", "i"), ("job", "j")], &[1.0, 2.0]),
        (&[("__name__", "target_info"), ("instance", "i"), ("job", "j"), ("version", "1")], &[1.0]),
        (&[("__name__", "target_info"), ("instance", "i"), ("job", "j"), ("version", "2"), ("os", "x")], &[none, 1.0]),
    ]);
    assert_eq!(
        matrix(&storage, "info(up)", 0, 10 * SECOND, 10 * SECOND),
        [
            r#"{__name__="up", instance="i", job="j", os="x", version="2"} 2@10"#,
            r#"{__name__="up", instance="i", job="j", version="1"} 1@0"#
        ]
    );
    assert_eq!(
        vector(&storage, r#"info(up, {version=~".+"})"#, 10 * SECOND),
        [r#"{__name__="up", instance="i", job="j", version="2"} 2"#]
    );
    assert!(vector(&storage, r#"info(up, {version="3"})"#, 10 * SECOND).is_empty());
}
