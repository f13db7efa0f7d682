//! Queries: what is printed, in a line or over several, parses to the same.

use chronolith::promql::parser::{LanguageOptions, format, parse_expr_with, to_json};

use super::{Target, no_repair};

pub(super) const EXPRESSION: Target = Target {
    name: "promql",
    seeds,
    words: &[
        b"sum",
        b" by (",
        b"rate(",
        b"[5m]",
        b"[5m:1m]",
        b" offset ",
        b"@ start()",
        b"{",
        b"}",
        b"=~\"",
        b"!=\"",
        b"(",
        b")",
        b"on(",
        b"ignoring(",
        b"group_left",
        b"bool ",
        b"unless",
        b"atan2",
        b"^",
        b"-",
        b"1e",
        b"0x",
        b"NaN",
        b"Inf",
        b"topk(",
        b"count_values(\"",
        b"histogram_quantile(",
        b"label_replace(",
        b"\"",
        b"'",
        b"`",
        b"\\x",
        b"\\u",
        b"# c\n",
        b"{\"a b\"}",
        b"anchored",
        b"smoothed",
        b"1h30m",
        b"step()",
        b"info(",
    ],
    repair: no_repair,
    run,
    bytes_fixed: 1 << 20,
    // A tree's node for a byte, printed several times, with the indentation of its depth.
    bytes_each: 20_000,
};

fn seeds() -> Vec<Vec<u8>> {
    [
        "up",
        "sum by (job, \"a b\") (rate(http_requests_total{code=~\"5..\",job!=\"x\"}[5m] offset -1w @ 1700000000.5)) > bool 0.1",
        "a + on(x) group_left(y, z) b * -2 ^ c unless ignoring(q) d or e and f",
        "histogram_quantile(0.9, sum without(instance) (rate(b_bucket[1h30m:5m] @ end())))",
        "topk(5, {__name__=~\"a.+\",\"utf 8\"=\"\\u00fc\\x41\\n\"}) % 0x1F - Inf + NaN",
        "label_replace(up, 'dst', \"$1-${name}\", `src`, \"(?P<name>.*)\")",
        "count_values(\"v\", (((1e-3)))) atan2 sgn(-(-(a)))",
        "max_over_time(({\"quoted.name\"}[1d:])[5m])",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn run(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let options = LanguageOptions::ALL;
    let Ok(expression) = parse_expr_with(text, &options) else { return false };
    let printed = expression.to_string();
    let again = parse_expr_with(&printed, &options).unwrap_or_else(|error| panic!("{printed:?}: {error}"));
    assert_eq!(again.to_string(), printed);
    let pretty = format(&expression);
    let again = parse_expr_with(&pretty, &options).unwrap_or_else(|error| panic!("{pretty:?}: {error}"));
    assert_eq!(again.to_string(), printed, "{pretty:?}");
    let _ = to_json(&expression);
    true
}
