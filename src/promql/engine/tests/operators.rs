//! Binary operators and matching.

use super::*;

fn sides() -> MemoryStorage {
    storage(&[
        (&[("__name__", "l"), ("code", "a"), ("path", "1")], &[1.0, 2.0]),
        (&[("__name__", "l"), ("code", "b"), ("path", "1")], &[3.0, 4.0]),
        (&[("__name__", "r"), ("path", "1"), ("team", "t")], &[10.0, f64::NAN]),
        (&[("__name__", "r"), ("path", "2"), ("team", "u")], &[20.0, 30.0]),
    ])
}

#[test]
fn scalars_are_joined_and_compared() {
    let storage = MemoryStorage::new();
    let number = |query: &str| match instant(&storage, query, 0).unwrap().value {
        QueryValue::Scalar { value, .. } => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(number("1 + 2 * 3 ^ 2"), 19.0);
    assert_eq!(number("-7 % 4"), -3.0);
    assert_eq!(number("2 > bool 1"), 1.0);
    assert_eq!(number("1 atan2 1"), std::f64::consts::FRAC_PI_4);
}

#[test]
fn vector_and_scalar_comparison_keeps_the_vector_value_on_either_side() {
    let storage = sides();
    assert_eq!(vector(&storage, "l > 2", 0), [r#"{__name__="l", code="b", path="1"} 3"#]);
    assert_eq!(vector(&storage, "2 < l", 0), [r#"{__name__="l", code="b", path="1"} 3"#]);
    assert_eq!(vector(&storage, "2 < bool l", 0), [r#"{code="a", path="1"} 0"#, r#"{code="b", path="1"} 1"#]);
    assert_eq!(vector(&storage, "10 / l{code=\"a\"}", 10 * SECOND), [r#"{code="a", path="1"} 5"#]);
}

#[test]
fn many_series_meet_one_with_group_left() {
    let storage = sides();
    assert_eq!(
        vector(&storage, "l * on (path) group_left (team) r", 0),
        [r#"{code="a", path="1", team="t"} 10"#, r#"{code="b", path="1", team="t"} 30"#]
    );
    assert_eq!(
        vector(&storage, "r - on (path) group_right l", 0),
        [r#"{code="a", path="1"} 9"#, r#"{code="b", path="1"} 7"#]
    );
}

#[test]
fn matching_that_is_not_unique_fails_with_the_side_and_the_series() {
    let storage = sides();
    assert_eq!(
        failure(&storage, "r * on (path) l", 0),
        "found duplicate series for the match group {path=\"1\"} on the right hand-side of the operation: \
         [{__name__=\"l\", code=\"a\", path=\"1\"}, {__name__=\"l\", code=\"b\", path=\"1\"}];many-to-many matching \
         not allowed: matching labels must be unique on one side"
    );
    assert_eq!(
        failure(&storage, "l * on (path) r", 0),
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    );
    assert_eq!(
        failure(&storage, "l * on (path) group_left (code) r", 0),
        "multiple matches for labels: grouping labels must ensure unique matches"
    );
}

#[test]
fn series_that_take_turns_on_one_side_are_joined_step_by_step() {
    let storage = storage(&[
        (&[("__name__", "l")], &[1.0, 2.0]),
        (&[("__name__", "r"), ("v", "old")], &[10.0]),
        (&[("__name__", "r"), ("v", "new")], &[f64::NAN, 20.0]),
    ]);
    let query = "last_over_time(l[5s]) + on () last_over_time(r[5s])";
    assert_eq!(matrix(&storage, query, 0, 10 * SECOND, 10 * SECOND), ["{} 11@0 22@10"]);
}

#[test]
fn set_operators_look_at_each_step() {
    let storage = storage(&[
        (&[("__name__", "l"), ("x", "1")], &[1.0, 2.0, 3.0]),
        (&[("__name__", "r"), ("x", "1")], &[5.0, f64::NAN, 5.0]),
        (&[("__name__", "r"), ("x", "2")], &[6.0, 6.0, 6.0]),
    ]);
    let ask = |op: &str| {
        let query = format!("last_over_time(l[5s]) {op} last_over_time(r[5s])");
        matrix(&storage, &query, 0, 20 * SECOND, 10 * SECOND)
    };
    assert_eq!(ask("and"), [r#"{__name__="l", x="1"} 1@0 3@20"#]);
    assert_eq!(ask("unless"), [r#"{__name__="l", x="1"} 2@10"#]);
    assert_eq!(ask("or"), [r#"{__name__="l", x="1"} 1@0 2@10 3@20"#, r#"{__name__="r", x="2"} 6@0 6@10 6@20"#]);
}

#[test]
fn fill_takes_the_place_of_a_missing_series() {
    let storage = sides();
    assert_eq!(
        vector(&storage, "sum by (path) (l) + on (path) fill (0) r", 0),
        [r#"{path="1"} 14"#, r#"{path="2"} 20"#]
    );
}
