//! Aggregations.

use super::*;

fn fruits() -> MemoryStorage {
    storage(&[
        (&[("__name__", "n"), ("group", "x"), ("item", "a")], &[1.0, 5.0]),
        (&[("__name__", "n"), ("group", "x"), ("item", "b")], &[2.0, f64::NAN]),
        (&[("__name__", "n"), ("group", "y"), ("item", "c")], &[4.0, 4.0]),
        (&[("__name__", "n"), ("group", "y"), ("item", "d")], &[8.0, 1.0]),
    ])
}

#[test]
fn aggregations_fold_series_into_their_groups() {
    let storage = fruits();
    assert_eq!(vector(&storage, "sum by (group) (n)", 0), [r#"{group="x"} 3"#, r#"{group="y"} 12"#]);
    assert_eq!(vector(&storage, "avg without (item) (n)", 0), [r#"{group="x"} 1.5"#, r#"{group="y"} 6"#]);
    assert_eq!(vector(&storage, "count(n)", 0), ["{} 4"]);
    assert_eq!(vector(&storage, "min(n)", 0), ["{} 1"]);
    assert_eq!(vector(&storage, "max(n)", 0), ["{} 8"]);
    assert_eq!(vector(&storage, "group(n)", 0), ["{} 1"]);
    assert_eq!(vector(&storage, "stdvar(n)", 0), ["{} 7.1875"]);
    assert_eq!(vector(&storage, "quantile(0.5, n)", 0), ["{} 3"]);
    assert_eq!(
        matrix(&storage, "sum by (group) (n) > 4", 0, 10 * SECOND, 10 * SECOND),
        [r#"{group="x"} 7@10"#, r#"{group="y"} 12@0 5@10"#]
    );
}

#[test]
fn sum_of_values_that_cancel_is_compensated() {
    let storage = storage(&[
        (&[("__name__", "n"), ("i", "1")], &[1e100]),
        (&[("__name__", "n"), ("i", "2")], &[1.0]),
        (&[("__name__", "n"), ("i", "3")], &[-1e100]),
    ]);
    assert_eq!(vector(&storage, "sum(n)", 0), ["{} 1"]);
}

#[test]
fn average_of_values_whose_sum_overflows_is_still_their_mean() {
    let storage = storage(&[
        (&[("__name__", "n"), ("i", "1")], &[1e308]),
        (&[("__name__", "n"), ("i", "2")], &[1e308]),
        (&[("__name__", "n"), ("i", "3")], &[1e308]),
    ]);
    assert_eq!(vector(&storage, "avg(n) / 1e308 > 0.999999999999 < 1.000000000001", 0).len(), 1);
    assert_eq!(vector(&storage, "sum(n)", 0), ["{} inf"]);
}

#[test]
fn topk_and_bottomk_show_the_best_first_in_an_instant_query() {
    let storage = fruits();
    assert_eq!(vector(&storage, "topk(2, n)", 0).join(" "), vector(&storage, "sort_desc(n > 3)", 0).join(" "));
    assert_eq!(
        vector(&storage, "bottomk by (group) (1, n)", 0),
        [r#"{__name__="n", group="x", item="a"} 1"#, r#"{__name__="n", group="y", item="c"} 4"#]
    );
    assert_eq!(
        matrix(&storage, "topk(1, n)", 0, 10 * SECOND, 10 * SECOND),
        [r#"{__name__="n", group="x", item="a"} 5@10"#, r#"{__name__="n", group="y", item="d"} 8@0"#]
    );
}

#[test]
fn topk_with_a_parameter_that_is_no_number_fails() {
    assert_eq!(failure(&fruits(), "topk(scalar(nothing), n)", 0), "Parameter value is NaN");
    assert_eq!(failure(&fruits(), "topk(1e20, n)", 0), "Scalar value 1e+20 overflows int64");
    assert!(vector(&fruits(), "topk(0, n)", 0).is_empty());
}

#[test]
fn limit_ratio_and_its_complement_are_all_series() {
    let storage = fruits();
    for ratio in ["0.1", "0.5", "0.9"] {
        let both = format!("count(limit_ratio({ratio}, n) or limit_ratio(-(1 - {ratio}), n))");
        assert_eq!(vector(&storage, &both, 0), ["{} 4"]);
    }
    assert_eq!(vector(&storage, "count(limitk(3, n))", 0), ["{} 3"]);
}

#[test]
fn count_values_makes_labels_of_values() {
    let storage = fruits();
    assert_eq!(
        matrix(&storage, r#"count_values("v", n > 1)"#, 0, 10 * SECOND, 10 * SECOND),
        [r#"{v="2"} 1@0 1@10"#, r#"{v="4"} 1@0 1@10"#, r#"{v="5"} 1@10"#, r#"{v="8"} 1@0"#]
    );
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let mut storage = MemoryStorage::new();
    for index in 0..3000u32 {
        let labels = labels(&[("__name__", "n_total"), ("i", &index.to_string())]);
        for sample in 0..30 {
            let value = f64::from(index).sqrt() * f64::from(sample) + 0.1;
            storage.append(&labels, i64::from(sample) * 10 * SECOND, value);
        }
    }
    let ask = |parallelism: usize| {
        let engine = engine(EngineOptions { parallelism, ..EngineOptions::default() });
        let expr = parse_expr("sum(rate(n_total[1m])) / avg(n_total)").unwrap();
        engine.range(&storage, &expr, 0, 5 * MINUTE, 15 * SECOND, &QueryOptions::default()).unwrap().value
    };
    let alone = ask(1);
    assert_eq!(matrix_text(&alone).len(), 1);
    assert_eq!(alone, ask(4));
    assert_eq!(alone, ask(7));
}

#[test]
fn quantile_when_its_parameter_changes_is_warned_of_with_the_worst_values_only() {
    let storage = storage(&[(&[("__name__", "n")], &[1.0; 10])]);
    let notes = |query| {
        let result = range(&storage, query, 0, MINUTE, 10 * SECOND).unwrap();
        let mut notes: Vec<_> = result.annotations.iter().map(|one| one.text().to_owned()).collect();
        notes.sort();
        notes
    };
    let warning = |got: &str| format!("PromQL warning: quantile value should be between 0 and 1, got {got}");
    assert_eq!(notes("quantile(2 + time(), n)"), [warning("62")]);
    assert_eq!(notes("quantile(-1 - time(), n)"), [warning("-61")]);
    assert_eq!(notes("quantile(time() - 10, n)"), [warning("-10"), warning("50")]);
    assert_eq!(notes("quantile(2 + time() * (time() / time()), n)"), [warning("NaN")]);
}
