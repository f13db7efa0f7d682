//! Well-typed queries drawn from a seed. They ask for what exists, and what meets in an operator mostly has the same labels:
//! most queries have an answer.

use std::collections::BTreeSet;

use super::data::{Kind, METRICS, Metric};
use super::tree::{Expr, Type};
use super::words::{
    AGGREGATORS, COMPARISONS, DATES, OF_HISTOGRAMS, OVER_HISTOGRAMS, OVER_RANGE, PLAIN, TRANSCENDENT, WITH_PARAMETER,
};
use crate::harness::Random;

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// How many levels may still follow.
    pub depth: u32,
    /// Whether something above makes a difference of the last bits a larger one.
    pub exact: bool,
}

impl Place {
    pub(super) fn below(self) -> Self {
        Place { depth: self.depth.saturating_sub(1), ..self }
    }

    pub(super) fn exactly(self) -> Self {
        Place { exact: true, ..self.below() }
    }
}

/// Draws queries, and remembers what they use.
#[derive(Debug)]
pub struct Generator {
    pub(super) random: Random,
    /// What the queries use of the vocabulary.
    pub used: BTreeSet<&'static str>,
    /// Whether a result depends on the mathematical library.
    pub inexact: bool,
    pub(super) subqueries: u32,
}

impl Generator {
    /// The generator of one query.
    pub fn new(seed: u64) -> Self {
        Generator { random: Random::new(seed), used: BTreeSet::new(), inexact: false, subqueries: 0 }
    }

    /// A query of any type.
    pub fn query(&mut self) -> Expr {
        let place = Place { depth: 1 + self.random.below(4) as u32, exact: false };
        match self.random.below(100) {
            0..6 => self.scalar(place),
            6..12 => self.matrix(place.below(), None),
            12 => Expr::new(Type::Text).text(self.string()),
            _ => self.vector(place),
        }
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.random.below(list.len() as u64) as usize]
    }

    pub(super) fn uses(&mut self, word: &'static str) -> &'static str {
        self.used.insert(word);
        word
    }

    pub(super) fn pick_used(&mut self, list: &[&'static str]) -> &'static str {
        let word = self.pick(list);
        self.uses(word)
    }

    pub(super) fn metric(&mut self) -> &'static Metric {
        &METRICS[self.random.below(METRICS.len() as u64) as usize]
    }

    /// An instant vector.
    pub(super) fn vector(&mut self, place: Place) -> Expr {
        let metric = self.metric();
        if place.depth == 0 {
            return self.selector(metric);
        }
        match self.random.below(100) {
            0..40 => self.series_of(metric, place),
            40..60 => self.aggregation(place),
            60..82 => self.operation(place),
            82..86 => self.label_function(place),
            86..89 => self.info(place),
            89..92 => self.absence(place),
            92..94 => {
                let name = self.pick_used(&["sort_by_label", "sort_by_label_desc"]);
                let inner = self.vector(place.below());
                let labels = self.label_list(&inner.labels).map(|label| format!(", \"{label}\""));
                let labels = labels.collect::<String>();
                inner_call(name, inner, &labels)
            }
            94..96 => {
                let scalar = self.scalar(place.below());
                Expr::new(Type::Vector).text(self.uses("vector")).text("(").child(scalar).text(")")
            }
            96 => Expr::new(Type::Vector).text(self.pick_used(DATES)).text("()"),
            97 => {
                let inner = self.vector(place.below());
                inner_call(self.pick_used(OF_HISTOGRAMS), inner, "")
            }
            98 if !place.exact => self.histogram(place),
            _ => {
                let inner = self.vector(place.below());
                Expr::new(Type::Vector).labelled(&inner.labels).text("(").child(inner).text(")")
            }
        }
    }

    /// An instant vector of series that have the labels of a metric, but for the name.
    pub(super) fn series_of(&mut self, metric: &'static Metric, place: Place) -> Expr {
        if place.depth == 0 {
            return self.selector(metric);
        }
        if matches!(metric.kind, Kind::Buckets | Kind::BrokenBuckets) && self.chance(40) {
            return self.quantile_of_buckets(metric, place);
        }
        if metric.kind.is_native() && self.chance(70) {
            return self.of_native(metric, place);
        }
        match self.random.below(100) {
            0..15 => self.selector(metric),
            15..60 => self.over_range(metric, place),
            60..78 => {
                let inner = self.series_of(metric, place.exactly());
                inner_call(self.pick_used(PLAIN), inner, "")
            }
            78..84 if !place.exact => {
                self.inexact = true;
                let inner = self.series_of(metric, place.exactly());
                inner_call(self.pick_used(TRANSCENDENT), inner, "")
            }
            78..88 => self.clamp(metric, place),
            88..92 => {
                let sign = if self.chance(80) { "-" } else { "+" };
                self.uses("unary");
                let inner = self.series_of(metric, place.below());
                Expr::new(Type::Vector).labelled(&inner.labels).text(sign).child(inner)
            }
            _ => self.with_scalar(metric, place),
        }
    }

    fn clamp(&mut self, metric: &'static Metric, place: Place) -> Expr {
        let name = self.pick_used(&["clamp", "clamp_max", "clamp_min", "round"]);
        let inner = self.series_of(metric, place.exactly());
        let mut call = Expr::new(Type::Vector).labelled(&inner.labels).text(name).text("(").child(inner);
        let count = match name {
            "clamp" => 2,
            "round" => self.random.below(2),
            _ => 1,
        };
        for _ in 0..count {
            call = call.text(", ").child(self.scalar(place.exactly()));
        }
        call.text(")")
    }

    fn over_range(&mut self, metric: &'static Metric, place: Place) -> Expr {
        let place = place.exactly();
        let call = |name: &str| Expr::new(Type::Vector).text(name).text("(");
        let call = match self.random.below(10) {
            0 => {
                let parameter = self.quantile(place);
                let range = self.matrix(place, Some(metric));
                call(self.uses("quantile_over_time")).child(parameter).text(", ").child(range)
            }
            1 => {
                let range = self.matrix(place, Some(metric));
                let ahead = self.scalar(place);
                call(self.uses("predict_linear")).child(range).text(", ").child(ahead)
            }
            2 => {
                let range = self.matrix(place, Some(metric));
                let all = [", 0.5, 0.3", ", 0.1, 0.9", ", 0.999, 0.001", ", 1, 0.5", ", 0.5, 1.5"];
                // Factors that are wrong are not found where there are only histograms.
                let factors = self.pick(if metric.kind.is_native() { &all[..3] } else { &all });
                call(self.uses("double_exponential_smoothing")).child(range).text(factors)
            }
            _ => {
                let range = self.matrix(place, Some(metric));
                let takes = if metric.kind.is_native() && self.chance(80) { OVER_HISTOGRAMS } else { OVER_RANGE };
                call(self.pick_used(takes)).child(range)
            }
        };
        call.text(")").labelled(&names(metric))
    }

    /// A quantile: mostly one that is.
    fn quantile(&mut self, place: Place) -> Expr {
        if self.chance(10) {
            return self.scalar(place);
        }
        Expr::scalar(self.pick(&["0", "0.1", "0.5", "0.9", "0.99", "1", "-0.5", "1.5", "NaN"]))
    }

    fn histogram(&mut self, place: Place) -> Expr {
        let metrics: Vec<&'static Metric> = METRICS
            .iter()
            .filter(|metric| matches!(metric.kind, Kind::Buckets | Kind::BrokenBuckets) || metric.kind.is_native())
            .collect();
        let metric = self.pick(&metrics);
        self.inexact |= metric.kind.is_native();
        self.quantile_of_buckets(metric, place)
    }

    /// What there is to know about native histograms, or other ones made of them.
    fn of_native(&mut self, metric: &'static Metric, place: Place) -> Expr {
        let choice = self.random.below(if place.exact { 60 } else { 100 });
        match choice {
            0..35 => self.over_range(metric, place),
            35..60 => {
                let inner = self.series_of(metric, place.exactly());
                inner_call(self.pick_used(&["histogram_avg", "histogram_count", "histogram_sum"]), inner, "")
            }
            60..70 => {
                self.inexact = true;
                let inner = self.series_of(metric, place.exactly());
                inner_call(self.pick_used(&["histogram_stddev", "histogram_stdvar"]), inner, "")
            }
            _ => {
                self.inexact = true;
                self.quantile_of_buckets(metric, place)
            }
        }
    }

    fn quantile_of_buckets(&mut self, metric: &'static Metric, place: Place) -> Expr {
        let name = self.pick_used(&["histogram_quantile", "histogram_fraction"]);
        let mut call = Expr::new(Type::Vector).text(name).text("(");
        if name == "histogram_quantile" {
            call = call.child(self.quantile(place.exactly()));
        } else {
            let bounds = self.pick(&["0, 1", "0.1, 0.5", "-Inf, 0.7", "0.3, Inf", "1, 0", "2, 2", "NaN, 1"]);
            call = call.text(bounds);
        }
        let buckets = match self.random.below(3) {
            0 => self.selector(metric),
            1 => self.over_range(metric, place.below()),
            _ => {
                let inner = self.over_range(metric, place.below());
                self.uses("by");
                let by = self.pick(&["le", "job, le", "le, instance", "job"]);
                Expr::new(Type::Vector).text(self.uses("sum")).text(format!(" by ({by}) (")).child(inner).text(")")
            }
        };
        call.text(", ").child(buckets).text(")").labelled(&["job", "instance"])
    }

    fn aggregation(&mut self, place: Place) -> Expr {
        let exact = Place { exact: true, ..place.below() };
        let inner = self.vector(exact);
        self.aggregate(inner, None, place)
    }

    /// An aggregation by some labels, or by any.
    pub(super) fn aggregate(&mut self, inner: Expr, by: Option<&[&'static str]>, place: Place) -> Expr {
        let name =
            if by.is_none() && self.chance(35) { self.pick_used(WITH_PARAMETER) } else { self.pick_used(AGGREGATORS) };
        let (clause, grouped) = match by {
            Some(labels) => (format!(" {} ({})", self.uses("by"), labels.join(", ")), labels.to_vec()),
            None => self.grouping(&inner.labels),
        };
        let labels =
            if matches!(name, "topk" | "bottomk" | "limitk" | "limit_ratio") { inner.labels.clone() } else { grouped };
        let in_front = by.is_some() || self.chance(60);
        let mut call = Expr::new(Type::Vector).labelled(&labels).text(name);
        if in_front {
            call = call.optional(&*clause);
        }
        call = call.text("(");
        match name {
            "topk" | "bottomk" | "limitk" => {
                let count = if self.chance(10) {
                    self.scalar(place.exactly())
                } else {
                    Expr::scalar(self.pick(&["1", "2", "3", "5", "0", "-1", "1.9"]))
                };
                call = call.child(count).text(", ");
            }
            "limit_ratio" => {
                let ratio = self.pick(&["0.5", "-0.5", "0.1", "0.9", "1", "-1", "0", "1.1", "-2"]);
                call = call.child(Expr::scalar(ratio)).text(", ");
            }
            "quantile" => call = call.child(self.quantile(place.exactly())).text(", "),
            "count_values" => {
                let label = self.pick(&["value", "job", "instance", "__name__", "with space"]);
                call = call.text(format!("\"{label}\", "));
            }
            _ => {}
        }
        call = call.child(inner).text(")");
        if in_front { call } else { call.optional(clause) }
    }

    /// `by` or `without`, and the labels that stay.
    fn grouping(&mut self, labels: &[&'static str]) -> (String, Vec<&'static str>) {
        if self.chance(25) {
            return (String::new(), Vec::new());
        }
        let listed: Vec<&'static str> = self.label_list(labels).collect();
        let text = if self.chance(5) {
            self.uses("name in quotes");
            listed.iter().map(|label| format!("\"{label}\"")).collect::<Vec<_>>().join(", ")
        } else {
            listed.join(", ")
        };
        if self.chance(65) {
            (format!(" {} ({text}) ", self.uses("by")), listed)
        } else {
            let kept = labels.iter().copied().filter(|label| !listed.contains(label)).collect();
            (format!(" {} ({text}) ", self.uses("without")), kept)
        }
    }

    /// Some of the labels, rarely another.
    pub(super) fn label_list(&mut self, labels: &[&'static str]) -> std::vec::IntoIter<&'static str> {
        let mut listed: Vec<&'static str> = labels.iter().copied().filter(|_| self.chance(45)).collect();
        if self.chance(8) {
            listed.push(self.pick(&["absent", "__name__", "job"]));
        }
        listed.into_iter()
    }

    fn label_function(&mut self, place: Place) -> Expr {
        let inner = self.vector(place.below());
        let source = *inner.labels.first().unwrap_or(&"job");
        let source = if self.chance(70) { source } else { self.pick(&["instance", "job", "absent", "__name__"]) };
        let target = self.pick(&["new", "new", "new", "job", "instance", "__name__", "le", "with space"]);
        if self.chance(40) {
            self.uses("label_join");
            let separator = self.pick(&["-", "", "/", "\\n"]);
            let sources: String = self.label_list(&inner.labels).map(|label| format!(", \"{label}\"")).collect();
            return inner_call("label_join", inner, &format!(", \"{target}\", \"{separator}\"{sources}"));
        }
        self.uses("label_replace");
        let replacement = self.pick(&["$1", "x-$1", "${1}_y", "$2", "", "all", "$name", "$$", "${name}$1"]);
        let pattern = self.pick(&[
            "(.*):(.*)",
            "(.*)",
            "(a|w|h).*",
            "host(\\\\d)(?::.*)?",
            "",
            ".*",
            "(?P<name>[a-z]+)(\\\\d?).*",
            "(?i)(HOST|API).*",
            "([[:alpha:]]+).*",
            "\\\\Qhost1\\\\E(.*)",
        ]);
        inner_call("label_replace", inner, &format!(", \"{target}\", \"{replacement}\", \"{source}\", \"{pattern}\""))
    }

    fn info(&mut self, place: Place) -> Expr {
        self.uses("info");
        let described: Vec<&'static Metric> =
            METRICS.iter().filter(|metric| names(metric).starts_with(&["job", "instance"])).collect();
        let metric = self.pick(&described);
        let inner = self.series_of(metric, place.below());
        let selected = self.pick(&[
            "",
            "",
            ", {version=~\".+\"}",
            ", {version=\"1.0\"}",
            ", {version!=\"1.0\"}",
            ", {__name__=\"build_info\"}",
            ", {__name__=~\".+_info\"}",
            ", {__name__=~\".+_info\", branch=~\"m.*\"}",
            ", {absent=\"\"}",
            ", build_info",
        ]);
        let mut call = inner_call("info", inner, selected);
        call.labels.push("version");
        call
    }

    fn absence(&mut self, place: Place) -> Expr {
        let metric = self.metric();
        if self.chance(50) {
            let matchers =
                self.pick(&["{job=\"none\"}", "{job=\"none\", instance=\"a\", instance=\"b\"}", "{job=~\"none\"}"]);
            let text = format!("{}{matchers}", metric.name);
            let (name, text) = if self.chance(50) { ("absent", text) } else { ("absent_over_time", text + "[5m]") };
            return Expr::new(Type::Vector).labelled(&["job"]).text(self.uses(name)).text(format!("({text})"));
        }
        if self.chance(50) {
            let inner = self.vector(place.below());
            return Expr::new(Type::Vector).text(self.uses("absent")).text("(").child(inner).text(")");
        }
        let inner = self.matrix(place.below(), Some(metric));
        Expr::new(Type::Vector).text(self.uses("absent_over_time")).text("(").child(inner).text(")")
    }

    /// A scalar.
    pub(super) fn scalar(&mut self, place: Place) -> Expr {
        let place = place.exactly();
        let choice = if place.depth == 0 { self.random.below(70) } else { self.random.below(100) };
        match choice {
            0..55 => Expr::scalar(self.number()),
            55..65 => Expr::scalar(format!("{}()", self.uses("time"))),
            65..70 => Expr::scalar(format!("{}()", self.uses("pi"))),
            70..85 => {
                let inner = if self.chance(50) {
                    let inner = self.vector(place);
                    self.aggregate(inner, Some(&[]), place)
                } else {
                    self.vector(place)
                };
                Expr::new(Type::Scalar).text(self.uses("scalar")).text("(").child(inner).text(")")
            }
            85..95 => {
                let operator = if self.chance(70) {
                    // A library's last bits would become the argument of something else.
                    self.pick_used(&["+", "-", "*", "/", "%"])
                } else {
                    self.uses("bool");
                    self.pick_used(COMPARISONS)
                };
                let operator = if COMPARISONS.contains(&operator) {
                    format!(" {operator} bool ")
                } else {
                    format!(" {operator} ")
                };
                let (left, right) = (self.scalar(place), self.scalar(place));
                Expr::new(Type::Scalar).text("(").child(left).text(operator).child(right).text(")")
            }
            _ => {
                self.uses("unary");
                Expr::new(Type::Scalar).text("-").child(self.scalar(place))
            }
        }
    }

    fn number(&mut self) -> String {
        match self.random.below(12) {
            0..6 => self.pick(&["0", "1", "2", "3", "10", "100"]).to_owned(),
            6 => self.pick(&["0.5", ".25", "1.", "1e3", "1_000", "2.5E-3", "1e308"]).to_owned(),
            7 => self.pick(&["0x1F", "017", "0b101", "1e-300"]).to_owned(),
            8 => self.pick(&["Inf", "+Inf", "-Inf", "NaN", "inf", "nan"]).to_owned(),
            9 => {
                self.uses("duration as number");
                self.pick(&["1m", "5m30s", "1h", "100ms", "1d"]).to_owned()
            }
            _ => format!("{}", self.random.below(40_000) as f64 / 64.0 - 100.0),
        }
    }

    fn string(&mut self) -> &'static str {
        self.pick(&["\"text\"", "'a\"b'", "`raw\\n`", "\"\\u00e9\\n\"", "\"\""])
    }
}

/// The names of a metric's labels.
pub(super) fn names(metric: &Metric) -> Vec<&'static str> {
    metric.labels.iter().map(|(name, _)| *name).collect()
}

fn inner_call(name: &str, inner: Expr, more: &str) -> Expr {
    Expr::new(Type::Vector).labelled(&inner.labels).text(name).text("(").child(inner).text(more).text(")")
}
