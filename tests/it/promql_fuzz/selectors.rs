//! Selectors, ranges, subqueries, and what shifts them in time.

use super::data::{Metric, SPAN_MS, START_MS};
use super::grammar::{Generator, Place, names};
use super::tree::{Expr, Type};

/// Subqueries in subqueries cost the product of their steps.
const SUBQUERIES_MAX: u32 = 2;

impl Generator {
    /// An instant vector selector of a metric.
    pub(super) fn selector(&mut self, metric: &'static Metric) -> Expr {
        self.bare_selector(metric).optional_shift(self)
    }

    fn bare_selector(&mut self, metric: &'static Metric) -> Expr {
        let matchers = self.matchers(metric);
        let expr = Expr::new(Type::Vector).labelled(&names(metric));
        match self.random.below(20) {
            0 => {
                self.uses("name in quotes");
                expr.text(format!("{{\"{}\"", metric.name)).listed(matchers, ", ").text("}")
            }
            1 => expr.text(format!("{{__name__=\"{}\"", metric.name)).listed(matchers, ", ").text("}"),
            2 => {
                self.uses("matcher =~");
                let pattern = match self.random.below(3) {
                    0 => format!("{}.*", &metric.name[..metric.name.len() - 2]),
                    1 => format!("{}|none", metric.name),
                    _ => format!(".*{}", &metric.name[1..]),
                };
                expr.text(format!("{{__name__=~\"{pattern}\"")).listed(matchers, ", ").text("}")
            }
            _ if matchers.is_empty() => expr.text(metric.name),
            _ => expr.text(format!("{}{{", metric.name)).listed(matchers, "").text("}"),
        }
    }

    /// Matchers that most of the time leave some series.
    fn matchers(&mut self, metric: &'static Metric) -> Vec<String> {
        let mut matchers = Vec::new();
        for (name, values) in metric.labels {
            if !self.chance(22) {
                continue;
            }
            let value = self.pick(values);
            let quoted = value.replace('+', "\\\\+");
            let start = &value[..1].replace('+', "\\\\+");
            let (operator, value) = match self.random.below(10) {
                0..4 => ("=", value.to_owned()),
                4..6 => ("!=", value.to_owned()),
                6..9 => {
                    let pattern = match self.random.below(8) {
                        0 => format!("{quoted}|none"),
                        1 => ".+".to_owned(),
                        2 => ".*".to_owned(),
                        3 => format!("{start}.*"),
                        4 => format!("(?i){}", quoted.to_uppercase()),
                        5 => format!("[^{}].*", if *start == "h" { "x" } else { "h" }),
                        6 => format!("(?:{quoted}|{start}.)"),
                        _ => values.iter().take(2).copied().collect::<Vec<_>>().join("|").replace('+', "\\\\+"),
                    };
                    ("=~", pattern)
                }
                _ => ("!~", format!("{start}.*x|{quoted}")),
            };
            self.uses(match operator {
                "=" => "matcher =",
                "!=" => "matcher !=",
                "=~" => "matcher =~",
                _ => "matcher !~",
            });
            let quote = if self.chance(90) { '"' } else { '\'' };
            matchers.push(format!("{name}{operator}{quote}{value}{quote}"));
        }
        if self.chance(4) {
            matchers.push(self.pick(&["absent=\"\"", "absent!=\"x\"", "absent=~\".*\""]).to_owned());
        }
        matchers
    }

    /// A range vector, of a metric's series or of any.
    pub(super) fn matrix(&mut self, place: Place, metric: Option<&'static Metric>) -> Expr {
        if place.depth > 0 && self.subqueries < SUBQUERIES_MAX && self.chance(22) {
            return self.subquery(place, metric);
        }
        let metric = metric.unwrap_or_else(|| self.metric());
        self.uses("range");
        let range = self.duration(&["15s", "30s", "1m", "2m", "5m", "5m", "7m30s", "10m", "20m", "1h", "300", "61.5"]);
        let selector = self.bare_selector(metric);
        selector.typed(Type::Matrix).text(format!("[{range}]")).optional_shift(self)
    }

    fn subquery(&mut self, place: Place, metric: Option<&'static Metric>) -> Expr {
        self.subqueries += 1;
        self.uses("subquery");
        let place = place.exactly();
        let inner = match metric {
            Some(metric) => self.series_of(metric, place),
            None => self.vector(place),
        };
        let (range, step) = if self.chance(25) {
            self.uses("subquery of the default step");
            (self.duration(&["5m", "10m", "20m"]), String::new())
        } else {
            (self.duration(&["2m", "5m", "10m", "7m30s"]), self.duration(&["15s", "30s", "1m", "17s", "2m", "20"]))
        };
        let expr = Expr::new(Type::Matrix).labelled(&inner.labels).text("(").child(inner).text(")");
        expr.text(format!("[{range}:{step}]")).optional_shift(self)
    }

    /// A duration, now and then as an expression.
    fn duration(&mut self, list: &[&'static str]) -> String {
        let duration = self.pick(list);
        if duration.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            self.uses("number as duration");
        }
        if !self.chance(12) {
            return duration.to_owned();
        }
        self.uses("duration expression");
        match self.random.below(7) {
            0 => format!("{duration} + 15s"),
            1 => format!("{duration} * 2"),
            2 => format!("({duration})"),
            3 => format!("{duration} / 2"),
            4 => format!("2 * ({duration} - 5s)"),
            5 => format!("-(-{duration})"),
            _ => format!("{duration} % 1h + 2 ^ 3"),
        }
    }

    fn offset(&mut self) -> String {
        self.uses("offset");
        let duration = self.pick(&["15s", "1m", "5m", "10m", "1h", "37s", "90", "1ms"]);
        if self.chance(10) {
            self.uses("duration expression");
            return format!(" offset ({duration} + 1m)");
        }
        let sign = if self.chance(25) { "-" } else { "" };
        format!(" offset {sign}{duration}")
    }

    fn at(&mut self) -> String {
        match self.random.below(4) {
            0 => format!(" {}", self.uses("@ start()")),
            1 => format!(" {}", self.uses("@ end()")),
            _ => {
                self.uses("@");
                let time_ms = START_MS + self.random.below(SPAN_MS as u64) as i64;
                let (seconds, rest) = (time_ms / 1000, time_ms % 1000);
                if self.chance(50) { format!(" @ {seconds}") } else { format!(" @ {seconds}.{rest:03}") }
            }
        }
    }
}

impl Expr {
    /// Appends texts as a list, each of which may be left out.
    fn listed(self, texts: Vec<String>, before: &str) -> Self {
        let mut separator = before;
        texts.into_iter().fold(self, |expr, text| {
            let expr = expr.optional(format!("{separator}{text}"));
            separator = ", ";
            expr
        })
    }

    /// Appends `offset` or `@`, or both, now and then.
    fn optional_shift(self, generator: &mut Generator) -> Self {
        let offset = if generator.chance(10) { generator.offset() } else { String::new() };
        let at = if generator.chance(8) { generator.at() } else { String::new() };
        if generator.chance(50) { self.optional(offset).optional(at) } else { self.optional(at).optional(offset) }
    }
}
