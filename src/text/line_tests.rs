//! Tests of the grammar of a line.

use super::*;

fn sample(line: &str, dialect: Dialect) -> (String, f64, Option<i64>) {
    match parse_line(line, dialect) {
        Ok(Line::Sample(sample)) => (sample.label_set().to_string(), sample.value, sample.timestamp_ms),
        other => panic!("{line}: {other:?}"),
    }
}

fn fault(line: &str, dialect: Dialect) -> (usize, &'static str) {
    let error = parse_line(line, dialect).expect_err(line);
    (error.column, error.what)
}

#[test]
fn sample_line_gives_labels_value_and_time_in_milliseconds() {
    let text = Dialect::Prometheus;
    assert_eq!(sample("up 1", text), (r#"{__name__="up"}"#.into(), 1.0, None));
    assert_eq!(sample("a:b{x=\"1\", y=\"2\",}  -0.5\t17", text).2, Some(17));
    assert_eq!(sample("a{} 0x1p-2 -5", text), (r#"{__name__="a"}"#.into(), 0.25, Some(-5)));
    let open = Dialect::OpenMetrics;
    assert_eq!(sample("a 1 1700000000.123", open).2, Some(1_700_000_000_123));
    assert_eq!(sample("a 1 -1.5e3", open).2, Some(-1_500_000));
    assert_eq!(sample("a 1 1.0009999", open).2, Some(1000), "cut off");
    assert_eq!(sample("a +Inf", open).1, f64::INFINITY);
}

#[test]
fn sample_line_with_quoted_names_and_escapes_gives_what_they_stand_for() {
    let text = Dialect::Prometheus;
    let (labels, ..) = sample(r#"{"http.requests","a b"="c",d="\\ \" \n \q"} 1"#, text);
    assert_eq!(
        labels,
        LabelSet::from_pairs([("__name__", "http.requests"), ("a b", "c"), ("d", "\\ \" \n \\q")]).to_string()
    );
    assert_eq!(sample(r#"a{b="ü,}",c=""} 1"#, text).0, r#"{__name__="a", b="ü,}"}"#);
}

#[test]
fn sample_line_of_open_metrics_may_end_in_an_exemplar() {
    let open = Dialect::OpenMetrics;
    for line in [r##"a_bucket{le="1"} 3 # {trace_id="x"} 0.5"##, r##"a 3 9 # {} 0.5 8.25"##] {
        let Ok(Line::Sample(sample)) = parse_line(line, open) else { panic!("{line}") };
        assert!(sample.exemplar.is_some() && sample.value == 3.0);
    }
    let line = r##"a_total{b="c"} 3 9.5 # {trace_id="x", "span.id"="\"1\""} -0.5 8.25"##;
    let Ok(Line::Sample(sample)) = parse_line(line, open) else { panic!("{line}") };
    assert_eq!(sample.label_set().to_string(), r#"{__name__="a_total", b="c"}"#);
    let labels = vec![("trace_id".into(), "x".into()), ("span.id".into(), "\"1\"".into())];
    assert_eq!(sample.exemplar, Some(ExemplarLine { labels, value: -0.5, timestamp_ms: Some(8250) }));
    assert_eq!(fault(r##"a 3 # {"b"} 1"##, open).1, "a label has no value");
    assert_eq!(fault("a 3 # {}", open).1, "an exemplar has no value");
    assert_eq!(fault("a 3 # {} 1", Dialect::Prometheus).1, "text behind the sample");
}

#[test]
fn line_with_a_fault_names_its_column() {
    let text = Dialect::Prometheus;
    for (line, expected) in [
        ("1a 1", (1, "a name cannot begin with this character")),
        ("a", (2, "a value is missing")),
        ("a b", (3, "the value is not a number")),
        ("a 1 2.5", (5, "the time is not a whole number of milliseconds")),
        ("a 1 2 3", (7, "text behind the sample")),
        ("a{b} 1", (4, "a label has no value")),
        ("a{b=c} 1", (5, "a label's value is not in quotes")),
        ("a{b=\"c} 1", (5, "a quote is not closed")),
        ("a{b=\"c\\", (5, "a quote is not closed")),
        ("a{b=\"1\" c=\"2\"} 1", (9, "neither a comma nor a closing brace follows a label")),
        ("a{b=\"1\",b=\"2\"} 1", (9, "a label stands there twice")),
        ("a{\"b\"} 1", (3, "a label stands there twice")),
        ("{a=\"b\"} 1", (8, "the metric has no name")),
        ("{\"\"} 1", (4, "a name is empty")),
        ("# TYPE", (7, "a metric's name is missing")),
    ] {
        assert_eq!(fault(line, text), expected, "{line}");
    }
    let many = |count: usize| format!("a{{{}}} 1", (1..count).map(|n| format!("b{n}=\"\",")).collect::<String>());
    assert!(parse_line(&many(LABELS_MAX), Dialect::Prometheus).is_ok());
    assert_eq!(fault(&many(LABELS_MAX + 1), Dialect::Prometheus).1, "more labels than any series has");
    assert_eq!(fault("a 1 nan", Dialect::OpenMetrics), (5, "the time is out of range"));
    assert_eq!(fault("# EOF x", Dialect::OpenMetrics), (7, "text behind EOF"));
}

#[test]
fn comment_line_gives_metadata_or_nothing() {
    let (text, open) = (Dialect::Prometheus, Dialect::OpenMetrics);
    let metadata = |family: &'static str, fact| Ok(Line::Metadata { family: family.into(), fact });
    assert_eq!(parse_line("# UNIT a seconds", open), metadata("a", Fact::Unit("seconds")));
    assert_eq!(parse_line("# UNIT a seconds", text), Ok(Line::Nothing));
    assert_eq!(parse_line("# HELP \"a b\" Some  text ", open), metadata("a b", Fact::Help("Some  text ".into())));
    let escaped = r#"# HELP a \\ \n \" \x"#;
    assert_eq!(parse_line(escaped, text), metadata("a", Fact::Help("\\ \n \\\" \\x".into())));
    assert_eq!(parse_line(escaped, open), metadata("a", Fact::Help("\\ \n \" \\x".into())));
    assert_eq!(parse_line("# HELP a", text), metadata("a", Fact::Help("".into())));
    for (word, expected) in [
        ("counter", MetricType::Counter),
        ("gaugehistogram", MetricType::GaugeHistogram),
        ("untyped", MetricType::Unknown),
        ("unknown", MetricType::Unknown),
        ("stateset \t", MetricType::StateSet),
    ] {
        assert_eq!(parse_line(&format!("#TYPE a {word}"), text), metadata("a", Fact::Type(expected)), "{word}");
    }
    assert_eq!(parse_line("# TYPE a of_no_kind", open), Ok(Line::Nothing));
    assert_eq!(parse_line("# EOF", open), Ok(Line::End));
    assert_eq!(parse_line("# EOF", text), Ok(Line::Nothing));
    assert_eq!(parse_line("#", open), Ok(Line::Nothing));
    assert_eq!(parse_line("   ", open), Ok(Line::Nothing));
}

#[test]
fn values_keep_their_bits_and_no_text_is_a_staleness_marker() {
    let bits = |text: &str| sample(&format!("a {text}"), Dialect::Prometheus).1.to_bits();
    for text in ["+Inf", "Inf", "inf", "+inf", "INF", "Infinity", "+infinity"] {
        assert_eq!(bits(text), f64::INFINITY.to_bits(), "{text}");
    }
    for text in ["-Inf", "-inf", "-INFINITY"] {
        assert_eq!(bits(text), f64::NEG_INFINITY.to_bits(), "{text}");
    }
    for text in ["NaN", "nan", "NAN"] {
        assert_eq!(bits(text), NORMAL_NAN_BITS, "{text}");
    }
    assert_eq!(bits("-0"), (-0.0f64).to_bits());
    assert_eq!(bits("-0.0e5"), (-0.0f64).to_bits());
    assert_eq!(bits("4.9e-324"), 1);
    assert_eq!(bits("-2.2250738585072011e-308"), 0x800f_ffff_ffff_ffff);
    assert_eq!(bits("1.7976931348623157e308"), f64::MAX.to_bits());
    for text in ["StaleNaN", "stale", "NaN(0x2)", "+NaN", "1_000", "0x", "1e400", "١", "infinit", "--1", "1,5"] {
        assert_eq!(fault(&format!("a {text}"), Dialect::Prometheus).1, "the value is not a number", "{text}");
    }
}

#[test]
fn time_of_an_undeclared_text_is_seconds_where_milliseconds_would_be_of_1970() {
    let time = |text: &str| sample(&format!("a 1 {text}"), Dialect::Undeclared).2;
    assert_eq!(time("1700000000"), Some(1_700_000_000_000));
    assert_eq!(time("1700000000.5"), Some(1_700_000_000_500));
    assert_eq!(time("1.7e9"), Some(1_700_000_000_000));
    assert_eq!(time("1700000000000"), Some(1_700_000_000_000));
    assert_eq!(time("2147483648"), Some(2_147_483_648));
    assert_eq!(time("-5"), Some(-5000));
    assert_eq!(sample(r##"a 1 # {b="c"} 1"##, Dialect::Undeclared).2, None);
    assert_eq!(fault("a 1 x", Dialect::Undeclared), (5, "the time is not a number of seconds"));
}

proptest::proptest! {
    #[test]
    fn line_of_any_text_is_read_or_refused(line in "[ -~\u{e4}\t]{0,60}") {
        for dialect in [Dialect::Prometheus, Dialect::OpenMetrics, Dialect::Undeclared] {
            if let Err(error) = parse_line(&line, dialect) {
                assert!(error.column <= line.len() + 1);
            }
        }
    }

    #[test]
    fn line_written_from_labels_gives_them_back(value in "[ -~\n\u{e4}]{1,20}", number: f64) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let line = format!("{{\"m\",\"l.x\"=\"{escaped}\"}} {}", go_float::general(number, None));
        let (labels, read, _) = sample(&line, Dialect::Prometheus);
        assert_eq!(labels, LabelSet::from_pairs([("__name__", "m"), ("l.x", &value)]).to_string());
        assert!(read.to_bits() == number.to_bits() || read.is_nan() && number.is_nan());
    }
}
