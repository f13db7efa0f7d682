//! Tests of the parser as a whole.

use super::*;

#[test]
fn query_simple_parses() {
    for text in ["1", "up", "sum by (job) (rate(x{a=\"b\"}[5m] offset 1m))", "-1^2", "foo offset -2^2"] {
        parse_expr(text).unwrap();
    }
}
