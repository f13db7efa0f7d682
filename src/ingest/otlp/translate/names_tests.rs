//! Names of metrics by each strategy. The expectations follow the reading of prometheus/otlptranslator v1.0.0.

use super::Kind::{Counter, Gauge, Other};
use super::*;

/// Name, unit, kind; then the name by each strategy in the order of [`TranslationStrategy::ALL`].
const CASES: &[(&str, &str, Kind, [&str; 4])] = &[
    ("up", "", Gauge, ["up", "up", "up", "up"]),
    (
        "http.server.duration",
        "ms",
        Other,
        [
            "http_server_duration_milliseconds",
            "http.server.duration_milliseconds",
            "http_server_duration",
            "http.server.duration",
        ],
    ),
    ("requests", "", Counter, ["requests_total", "requests_total", "requests", "requests"]),
    ("requests", "1", Counter, ["requests_total", "requests_total", "requests", "requests"]),
    ("requests_total", "", Counter, ["requests_total", "requests_total", "requests_total", "requests_total"]),
    ("total.requests", "", Counter, ["requests_total", "total.requests_total", "total_requests", "total.requests"]),
    ("cpu.usage", "1", Gauge, ["cpu_usage_ratio", "cpu.usage_ratio", "cpu_usage", "cpu.usage"]),
    ("cpu_usage_ratio", "1", Gauge, ["cpu_usage_ratio", "cpu_usage_ratio", "cpu_usage_ratio", "cpu_usage_ratio"]),
    ("ratio.of.hits", "1", Gauge, ["of_hits_ratio", "ratio.of.hits_ratio", "ratio_of_hits", "ratio.of.hits"]),
    ("hits", "1", Other, ["hits", "hits", "hits", "hits"]),
    ("memory", "By", Gauge, ["memory_bytes", "memory_bytes", "memory", "memory"]),
    ("memory_bytes", "By", Gauge, ["memory_bytes", "memory_bytes", "memory_bytes", "memory_bytes"]),
    ("bytes.read", "By", Counter, ["bytes_read_total", "bytes.read_bytes_total", "bytes_read", "bytes.read"]),
    ("rate", "By/s", Gauge, ["rate_bytes_per_second", "rate_bytes_per_second", "rate", "rate"]),
    ("requests", "1/s", Counter, ["requests_per_second_total", "requests_per_second_total", "requests", "requests"]),
    ("x_per_second", "{req}/s", Gauge, ["x_per_second_per_second", "x_per_second", "x_per_second", "x_per_second"]),
    (
        "cpu_seconds_total",
        "s",
        Counter,
        ["cpu_seconds_total", "cpu_seconds_total", "cpu_seconds_total", "cpu_seconds_total"],
    ),
    ("custom", "{thing}", Gauge, ["custom", "custom", "custom", "custom"]),
    ("custom", "own_unit", Gauge, ["custom_own_unit", "custom_own_unit", "custom", "custom"]),
    ("speed", "km/h", Gauge, ["speed_km_per_hour", "speed_km_per_hour", "speed", "speed"]),
    ("a__b", "u__v", Gauge, ["a_b_u_v", "a__b_u__v", "a__b", "a__b"]),
    ("_private_", "", Gauge, ["private", "_private_", "_private_", "_private_"]),
    ("1st.try", "", Gauge, ["_1st_try", "1st.try", "_1st_try", "1st.try"]),
    ("level:job", "", Gauge, ["level:job", "level:job", "level:job", "level:job"]),
    ("größe", "", Gauge, ["gr_e", "größe", "gr_e", "größe"]),
    ("métric", "ms", Counter, ["m_tric_milliseconds_total", "métric_milliseconds_total", "m_tric", "métric"]),
    ("metric@@##name", "", Gauge, ["metric_name", "metric@@##name", "metric_name", "metric@@##name"]),
    ("seconds", "s", Counter, ["seconds_total", "seconds_total", "seconds", "seconds"]),
    ("total", "", Counter, ["total", "total_total", "total", "total"]),
];

#[test]
fn metric_is_named_as_each_strategy_says() {
    for (name, unit, kind, expected) in CASES {
        for (strategy, expected) in TranslationStrategy::ALL.into_iter().zip(expected) {
            let built = metric_name(strategy, name, unit, *kind);
            assert_eq!(built.as_deref(), Ok(*expected), "{name:?} in {unit:?}, {strategy:?}");
        }
    }
}

#[test]
fn metric_without_a_character_that_can_stay_has_no_name() {
    let [with, kept, without, as_is] = TranslationStrategy::ALL;
    for strategy in [with, without] {
        assert!(metric_name(strategy, "@#$%", "", Gauge).is_err());
        assert!(metric_name(strategy, "", "", Gauge).is_err());
    }
    assert!(metric_name(without, "@_#_$_%", "", Gauge).is_err());
    assert!(metric_name(as_is, "", "", Gauge).is_err());
    assert_eq!(metric_name(without, "___", "", Gauge).as_deref(), Ok("___"));
    assert_eq!(metric_name(kept, "@#$%", "", Counter).as_deref(), Ok("@#$%_total"));
}

#[test]
fn delimiter_of_several_bytes_is_taken_off_as_a_whole() {
    let built = metric_name(TranslationStrategy::NoUtf8EscapingWithSuffixes, "xß→total", "", Counter);
    assert_eq!(built.as_deref(), Ok("xß_total"));
}
