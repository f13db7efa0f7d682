//! Tests of the parser as a whole: the cases of `testdata/promql/parse.txt`, printing, and hostile queries.

use proptest::prelude::*;
use serde_json::json;

use super::ast::{BinaryExpr, MatchCardinality};
use super::*;
use crate::encoding::quote;

const CASES: &str = include_str!("../../../testdata/promql/parse.txt");

/// The expressions of the case file, each with the line that says what becomes of it.
fn cases() -> Vec<(&'static str, &'static str)> {
    let mut cases = Vec::new();
    let mut lines = CASES.lines();
    let mut is_after_empty = true;
    while let Some(line) = lines.next() {
        if line.is_empty() {
            is_after_empty = true;
        } else if is_after_empty && line.starts_with("# ") {
            // A comment, maybe of several lines.
        } else {
            is_after_empty = false;
            cases.push((line, lines.next().unwrap().trim()));
        }
    }
    cases
}

fn binary(text: &str) -> BinaryExpr {
    match parse_expr(text).unwrap().kind {
        ExprKind::Binary(binary) => *binary,
        other => panic!("{text} is {other:?}"),
    }
}

/// Prints, formats and walks the expression in each way there is.
fn walk(expr: &Expr) {
    let printed = expr.to_string();
    let again = parse_expr(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
    assert_eq!(again.to_string(), printed);
    let formatted = format(expr);
    let again = parse_expr(&formatted).unwrap_or_else(|error| panic!("{formatted}: {error}"));
    assert_eq!(again.to_string(), printed);
    assert!(to_json(expr).is_object());
    assert!(tree_text(expr).ends_with('\n'));
    drop(expr.clone());
}

#[test]
fn expression_of_the_case_file_prints_or_fails_as_it_says() {
    let cases = cases();
    assert!(cases.len() > 300, "only {} cases were found", cases.len());
    for (text, expected) in cases {
        let got = match parse_expr(text) {
            Ok(expr) => expr.to_string(),
            Err(error) => format!("! {error}"),
        };
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn expression_that_is_printed_parses_to_what_prints_the_same() {
    for (text, _) in cases() {
        if let Ok(expr) = parse_expr(text) {
            walk(&expr);
        }
    }
}

#[test]
fn expression_over_lines_gives_the_line_and_column_of_its_error() {
    let error = parse_expr("sum(\n  rate(a[5m])\n  b)").unwrap_err();
    assert_eq!(error.to_string(), "3:3: parse error: unexpected identifier \"b\" in aggregation");
    assert_eq!(error.span, Span { start: 21, end: 22 });
    assert_eq!(parse_expr("").unwrap_err().to_string(), "unknown position: parse error: no expression found in input");
    assert_eq!(parse_expr(" ").unwrap_err().to_string(), "1:1: parse error: no expression found in input");
}

/// Each as Prometheus 3.5 answers it.
#[test]
fn group_modifier_before_what_begins_no_operand_lacks_its_labels() {
    for (query, error) in [
        ("a + on (b) group_left", "1:22: parse error: unexpected end of input in grouping opts, expected \"(\""),
        ("a + on (b) group_left * c", "1:23: parse error: unexpected <op:*> in grouping opts, expected \"(\""),
        ("a + on (b) group_right , c", "1:24: parse error: unexpected \",\" in grouping opts, expected \"(\""),
        ("a + on (b) group_right \"x\" = c", "1:28: parse error: unexpected \"=\""),
    ] {
        assert_eq!(parse_expr(query).unwrap_err().to_string(), error);
    }
    for query in ["a + on (b) group_left -c", "a + on (b) group_right offset", "a + on (b) group_left () c"] {
        assert!(parse_expr(query).is_ok(), "{query}");
    }
}

#[test]
fn pattern_that_does_not_compile_is_an_error_at_its_matcher() {
    let error = parse_expr("a + b{c=\"d\",e=~\"(\"}").unwrap_err();
    assert_eq!(error.position, Some((1, 13)));
    assert!(error.message.starts_with("error parsing regexp: "), "{}", error.message);
}

/// The expression with each operation in brackets.
fn shape(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Paren(inner) => shape(inner),
        ExprKind::Unary { negative, expr } => format!("[{}{}]", printer::sign(*negative), shape(expr)),
        ExprKind::Binary(binary) => {
            format!("[{} {} {}]", shape(&binary.left), binary.op.as_str(), shape(&binary.right))
        }
        ExprKind::Subquery(subquery) => format!("[{}:]", shape(&subquery.expr)),
        _ => expr.to_string(),
    }
}

#[test]
fn operator_binds_as_its_precedence_says() {
    for (text, expected) in [
        ("a + b - c", "[[a + b] - c]"),
        ("a + b * c", "[a + [b * c]]"),
        ("a * b + c", "[[a * b] + c]"),
        ("a / b * c % d atan2 e", "[[[[a / b] * c] % d] atan2 e]"),
        ("a ^ b ^ c", "[a ^ [b ^ c]]"),
        ("a * b ^ c * d", "[[a * [b ^ c]] * d]"),
        ("-a ^ b", "[-[a ^ b]]"),
        ("-1 ^ 2", "[-[1 ^ 2]]"),
        ("-a * b", "[[-a] * b]"),
        ("a ^ -b ^ c * d", "[[a ^ [-[b ^ c]]] * d]"),
        ("a - -1", "[a - -1]"),
        ("a or b and c or d", "[[a or [b and c]] or d]"),
        ("a unless b and c", "[[a unless b] and c]"),
        ("a and b == c", "[a and [b == c]]"),
        ("a == b + c < d", "[[a == [b + c]] < d]"),
        ("a </ b >/ c >= d", "[[[a </ b] >/ c] >= d]"),
        ("(a + b) * c", "[[a + b] * c]"),
        ("-a[5m:]", "[-[a:]]"),
        ("a * b offset 5m ^ c", "[a * [b offset 5m ^ c]]"),
        ("a + on (x) group_left (y) b * c", "[a + [b * c]]"),
    ] {
        let expr = Parser::new(text).whole_expression().unwrap();
        assert_eq!(shape(&expr), expected, "{text}");
    }
}

#[test]
fn span_covers_the_expression_and_what_is_attached_to_it() {
    for (text, spans) in [
        ("a + b offset 5m", [(0, 1), (4, 15)]),
        ("sum by (x) (a)  +  -b", [(0, 14), (19, 21)]),
        ("(a) - rate(b[5m] @ start())", [(0, 3), (6, 27)]),
        ("sum(a) by (x) + a{b=\"c\"} @ -5", [(0, 13), (16, 29)]),
        ("a[5m:1m] offset step() ^ +1", [(0, 22), (25, 27)]),
        ("a offset ((5m)) == 2", [(0, 15), (19, 20)]),
    ] {
        // Types don't matter here, so some of these would not pass the check.
        let expr = Parser::new(text).whole_expression().unwrap();
        assert_eq!(expr.span, Span { start: 0, end: text.len() }, "{text}");
        let ExprKind::Binary(binary) = expr.kind else { panic!("{text}") };
        let got = [binary.left.span, binary.right.span].map(|span| (span.start, span.end));
        assert_eq!(got, spans, "{text}");
    }
}

#[test]
fn matching_of_two_vectors_is_kept_and_of_others_is_not() {
    assert_eq!(binary("a + 1").matching, None);
    assert_eq!(binary("1 + bool_metric").matching, None);
    let cardinality = |text| binary(text).matching.map(|matching| matching.cardinality);
    assert_eq!(cardinality("a + b"), Some(MatchCardinality::OneToOne));
    assert_eq!(cardinality("a and b"), Some(MatchCardinality::ManyToMany));
    assert_eq!(cardinality("a * on (x) group_left b"), Some(MatchCardinality::ManyToOne));
    assert_eq!(cardinality("a * on (x) group_right b"), Some(MatchCardinality::OneToMany));
    let matching = binary("a + fill_right (2) b").matching.unwrap();
    assert_eq!((matching.fill_left, matching.fill_right), (None, Some(2.0)));
}

#[test]
fn selector_alone_gives_its_matchers() {
    let shown =
        |text| -> Vec<String> { parse_selector(text).unwrap().iter().map(|matcher| matcher.to_string()).collect() };
    assert_eq!(shown("up{job=~\"a|b\"}"), ["job=~\"a|b\"", "__name__=\"up\""]);
    assert_eq!(shown("{\"up\"}"), ["__name__=\"up\""]);
    assert_eq!(shown("{}"), [""; 0]);
    for text in ["up offset 5m", "up[5m]", "rate(up[5m])", "1", "up +", ""] {
        parse_selector(text).unwrap_err();
    }
}

#[test]
fn metric_gives_its_labels() {
    assert_eq!(parse_metric("up{b=\"c\",\"a.a\"=\"d\"}").unwrap().to_string(), r#"{__name__="up", "a.a"="d", b="c"}"#);
    assert_eq!(parse_metric("{\"a b\"}").unwrap().metric_name(), Some("a b"));
    let error = parse_metric("up{a!=\"b\"}").unwrap_err();
    assert_eq!(error.to_string(), "1:5: parse error: unexpected <op:!=> in label set, expected \"=\"");
}

#[test]
fn json_of_a_tree_has_the_fields_of_prometheus() {
    let expr = parse_expr("topk by (x) (2, a{b!=\"c\"} offset 1m) > bool on (x) group_left (y) b").unwrap();
    let selector = json!({
        "type": "vectorSelector", "name": "a", "offset": 60_000, "offsetExpr": null,
        "matchers": [
            {"name": "b", "value": "c", "type": "!="},
            {"name": "__name__", "value": "a", "type": "="},
        ],
        "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
    });
    let json = to_json(&expr);
    assert_eq!(json["type"], "binaryExpr");
    assert_eq!(json["op"], ">");
    assert_eq!(json["bool"], true);
    assert_eq!(
        json["matching"],
        json!({
            "card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"],
            "fillValues": {"lhs": null, "rhs": null},
        })
    );
    assert_eq!(
        json["lhs"],
        json!({
            "type": "aggregation", "op": "topk", "grouping": ["x"], "without": false,
            "param": {"type": "numberLiteral", "val": "2"}, "expr": selector,
        })
    );
}

#[test]
fn json_of_ranges_and_calls_has_the_fields_of_prometheus() {
    let call = to_json(&parse_expr("round(-Inf * sum_over_time(a[5m:] @ 1.5))").unwrap());
    assert_eq!(
        call["func"],
        json!({"name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector"})
    );
    assert_eq!(call["args"][0]["lhs"], json!({"type": "numberLiteral", "val": "-Inf"}));
    let subquery = &call["args"][0]["rhs"]["args"][0];
    assert_eq!(subquery["type"], "subquery");
    assert_eq!(
        (&subquery["range"], &subquery["step"], &subquery["timestamp"]),
        (&json!(300_000), &json!(0), &json!(1500))
    );

    let range = to_json(&parse_expr("a[(5m) - step()] @ end() smoothed").unwrap());
    assert_eq!(range["type"], "matrixSelector");
    assert_eq!(range["range"], 0);
    assert_eq!(
        range["rangeExpr"],
        json!({
            "type": "durationExpr", "op": "-", "wrapped": false,
            "lhs": {
                "type": "durationExpr", "op": "+", "lhs": null, "wrapped": true,
                "rhs": {"type": "numberLiteral", "val": "300", "duration": true},
            },
            "rhs": {"type": "durationExpr", "op": "step", "lhs": null, "rhs": null, "wrapped": false},
        })
    );
    assert_eq!((&range["startOrEnd"], &range["smoothed"]), (&json!("end"), &json!(true)));
}

#[test]
fn tree_text_has_a_line_for_each_node() {
    let expr = parse_expr("sum by (x) (-rate(a{b=\"c\"}[5m] offset 1m)) / 2").unwrap();
    let expected = "\
operator /  [0..46] vector
  left: aggregation sum by (x)  [0..42] vector
    sign -  [12..41] vector
      function rate  [13..41] vector
        range selector b=\"c\" __name__=\"a\" offset=1m range=5m  [18..40] matrix
  right: number 2  [45..46] scalar
";
    assert_eq!(tree_text(&expr), expected);
}

#[test]
fn text_that_is_too_long_is_refused_before_it_is_read() {
    let error = parse_expr(&"a".repeat(TEXT_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(error.message, "query is too long: 1048577 bytes, at most 1048576 are allowed");
    parse_expr(&"a".repeat(TEXT_BYTES_MAX)).unwrap();
}

#[test]
fn text_of_too_many_tokens_is_refused() {
    let query = |args: usize| format!("label_join(a, \"\", \"\"{})", ",\"\"".repeat(args));
    walk(&parse_expr(&query(49_000)).unwrap());
    assert_eq!(
        parse_expr(&query(50_000)).unwrap_err().message,
        "query is too large: at most 100000 tokens are allowed"
    );
}

#[test]
fn patterns_that_are_large_together_are_refused() {
    let query = |times: usize| format!("a{}", "{b=~\"(.{990}|c)d\"} or a".repeat(times));
    parse_expr(&query(20)).unwrap();
    let error = parse_expr(&query(990)).unwrap_err();
    assert_eq!(error.message, "regular expressions are too large: at most 67108864 bytes are allowed");
    // So are those of the selectors of one request.
    let selectors = |times: usize| parse_selectors(std::iter::repeat_n("{b=~\"(.{990}|c)d\"}", times));
    assert_eq!(selectors(20).unwrap().len(), 20);
    assert_eq!(selectors(990).unwrap_err().message, error.message);
}

/// Ways to nest: a text that is repeated before the core, the core, and a text that is repeated behind it.
const NESTINGS: [(&str, &str, &str); 12] = [
    ("(", "a", ")"),
    ("-", "a", ""),
    ("abs(", "a", ")"),
    ("sum(", "a", ")"),
    ("topk(1,", "a", ")"),
    ("", "a", "^a"),
    ("", "a", "+a"),
    ("", "a", " or on(x) a"),
    ("max_over_time(", "a", "[5m:])"),
    ("a + (", "a", ")"),
    ("(", "a", "+ a)"),
    ("abs(-", "a", ")"),
];

/// The same in brackets.
const DURATION_NESTINGS: [(&str, &str, &str); 6] =
    [("(", "1", ")"), ("-", "1", ""), ("-(", "1", ")"), ("min_of(1,", "1", ")"), ("", "1", "+1"), ("", "1", "^1")];

fn nested((before, core, behind): (&str, &str, &str), times: usize) -> String {
    format!("{}{core}{}", before.repeat(times), behind.repeat(times))
}

/// Runs the test on a stack that is half of what threads of servers have.
fn on_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn expression_as_high_as_allowed_is_walked_on_a_small_stack() {
    on_small_stack(|| {
        for nesting in NESTINGS {
            let highest = (1..=DEPTH_MAX).rev().find_map(|times| parse_expr(&nested(nesting, times)).ok());
            walk(&highest.unwrap());
        }
        for nesting in DURATION_NESTINGS {
            let query = |times| format!("a[5m + {}]", nested(nesting, times));
            let highest = (1..=DEPTH_MAX).rev().find_map(|times| parse_expr(&query(times)).ok());
            walk(&highest.unwrap());
        }
    });
}

#[test]
fn expression_too_high_is_refused_on_a_small_stack() {
    on_small_stack(|| {
        for times in [DEPTH_MAX + 1, 10_000, 100_000] {
            for nesting in NESTINGS {
                let error = parse_expr(&nested(nesting, times)).unwrap_err();
                let expected =
                    ["expression is nested too deeply: at most 1000 levels are allowed", "query is too long"];
                assert!(expected.iter().any(|text| error.message.starts_with(text)), "{nesting:?}: {error}");
            }
            for nesting in DURATION_NESTINGS {
                // A sign in front of a number becomes part of it, so that no tree is left; the parser is deep anyway.
                parse_expr(&format!("a[5m + {}]", nested(nesting, times))).unwrap_err();
            }
            for unfinished in ["(", "-", "abs(", "sum(", "{", "a[", "a[(", "a offset -", "[", "a+", "a[5m:", "sum by ("]
            {
                parse_expr(&unfinished.repeat(times)).unwrap_err();
            }
        }
    });
}

#[test]
fn expression_cut_anywhere_does_not_panic() {
    for (text, _) in cases() {
        for (end, _) in text.char_indices() {
            _ = parse_expr(&text[..end]);
            _ = parse_expr(&text[end..]);
            _ = parse_series_description(&text[..end]);
        }
    }
}

/// Expressions of vectors, mostly valid ones.
fn vector_text() -> impl Strategy<Value = String> {
    let selector = prop_oneof![
        Just("a".to_owned()),
        Just("sum{x=\"y\"}".to_owned()),
        Just("{__name__=~\"a.+\",b!=\"\"} offset -1h".to_owned()),
        Just("b:c @ end() anchored".to_owned()),
        Just("rate(c[5m] @ 1.5)".to_owned()),
        Just("max_over_time(d[step()*2:] offset (5m))".to_owned()),
    ];
    selector.prop_recursive(6, 40, 3, |inner| {
        let operator = prop_oneof![
            Just("+"),
            Just("^"),
            Just("* on (x) group_left (y)"),
            Just("> bool"),
            Just("</"),
            Just("or"),
            Just("unless ignoring (z)"),
            Just("atan2 fill (0)"),
        ];
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("-{inner}")),
            inner.clone().prop_map(|inner| format!("2 ^ {inner}")),
            inner.clone().prop_map(|inner| format!("Inf ^ -1e3 ^ {inner}")),
            inner.clone().prop_map(|inner| format!("sum by (x, \"y z\") ({inner})")),
            inner.clone().prop_map(|inner| format!("topk(scalar({inner}), {inner})")),
            inner.prop_map(|inner| format!("label_replace({inner}, \"a\\n\", 'b\"', `c\\d`, \"ü\\x00\")")),
        ]
    })
}

/// Pieces of the language in any order.
fn soup() -> impl Strategy<Value = String> {
    const PIECES: [&str; 48] = [
        "a",
        "sum",
        "by",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "5m",
        "1",
        "-",
        "+",
        "*",
        "^",
        "and",
        "offset",
        "@",
        "start",
        "step",
        "min_of",
        "\"x\"",
        "'",
        "`",
        "=",
        "=~",
        "!",
        "<",
        ">/",
        "bool",
        "on",
        "group_left",
        "fill",
        "anchored",
        "rate",
        "info",
        "#",
        "\n",
        "ü",
        "\\",
        "0x",
        "_",
        "{{",
        "}}",
        "x3",
        "stale",
    ];
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..24).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expression_of_the_language_prints_to_a_fixpoint(text in vector_text()) {
        let expr = parse_expr(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        walk(&expr);
    }

    #[test]
    fn expression_of_random_pieces_does_not_panic(text in soup()) {
        for text in [text.clone(), text.replace(' ', "")] {
            if let Ok(expr) = parse_expr(&text) {
                walk(&expr);
            }
            _ = parse_selector(&text);
            _ = parse_metric(&text);
            _ = parse_series_description(&text);
            _ = series_description::parse_start_timestamps(&text);
            _ = crate::model::duration::parse_duration_ms(&text);
        }
    }

    #[test]
    fn expression_of_random_text_does_not_panic(text in any::<String>()) {
        _ = parse_expr(&text);
        _ = parse_series_description(&text);
        _ = parse_expr(&quote(&text)).unwrap();
    }
}
