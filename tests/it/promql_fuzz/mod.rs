//! Random queries to Chronolith and to Prometheus over the same data: equal values, errors and annotations, but for the
//! differences that `known.rs` lists with their reasons.
//!
//! `CHRONOLITH_FUZZ_QUERIES` and `CHRONOLITH_FUZZ_SEED` make it a long run, `CHRONOLITH_FUZZ_FEATURES` switches on features
//! in both programs; `CHRONOLITH_FUZZ_EXPRESSION` asks one expression and shows both answers.

mod compare;
mod data;
mod grammar;
mod histograms;
mod known;
mod operators;
mod planted;
mod selectors;
mod tree;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::harness::peers::with_peers;
use crate::harness::process::temp_dir;
use crate::harness::random::mix;
use crate::harness::{Chronolith, Random, Settings};
use compare::{Answer, Difference, Kind, Question, Times, difference};
use data::{SPAN_MS, START_MS};
use grammar::Generator;
use known::{Case, explanation};
use planted::{PLANTS, Planted};
use tree::{Expr, Type};
use words::vocabulary;

/// What Prometheus knows behind a switch, and Chronolith without one.
const SWITCHES: &str = "promql-duration-expr,native-histograms";

/// Names go when the result is shown.
const DELAYED_NAMES: &str = "promql-delayed-name-removal";

/// What Chronolith needs for the queries of the grammar.
const FUNCTIONS: &str = "promql-experimental-functions";

/// From so many queries on, every word of the grammar has to have been used.
const QUERIES_FOR_ALL_WORDS: u64 = 2000;

/// How many simpler questions are tried about one difference.
const SHRINKING_MAX: u32 = 400;

/// Differences that are shown with a shrunk query; more are only counted.
const SHOWN_MAX: usize = 300;

/// How often Prometheus is asked again, to see whether it answers the same. What it takes out of a map has another order
/// in one of eight answers where there are two elements, so that 25 times were too few once in a while.
const ASKED_AGAIN: u32 = 200;

/// One of so many queries is asked once more with a mistake in it.
const MISTAKES_EVERY: u64 = 20;

/// Queries are asked at once.
const THREADS: usize = 2;

fn from_env(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Queries that are asked for each kind of difference that is planted.
const QUERIES_PLANTED: u64 = 150;

/// Both programs, over the same data.
struct Fuzz {
    prometheus: SocketAddr,
    chronolith: SocketAddr,
    seed: u64,
    delayed_names: bool,
    /// What is put into the answers of Chronolith; then a difference is only counted.
    planted: Option<Planted>,
}

/// What a run has seen.
#[derive(Debug, Default)]
struct Report {
    questions: u64,
    differing: u64,
    with_data: u64,
    errors: u64,
    annotated: u64,
    used: BTreeSet<&'static str>,
    known: BTreeMap<&'static str, u64>,
    differences: Vec<String>,
    unexplained: u64,
}

#[test]
fn interop_promql_fuzz_answers_are_those_of_prometheus_but_for_what_is_listed() {
    let features = env::var("CHRONOLITH_FUZZ_FEATURES").unwrap_or_default();
    compare(&features, from_env("CHRONOLITH_FUZZ_QUERIES", 2000));
}

#[test]
fn interop_promql_fuzz_with_delayed_name_removal_answers_are_those_of_prometheus_too() {
    compare(DELAYED_NAMES, 500);
}

fn compare(features: &str, queries: u64) {
    with_peers(|peers| {
        let dir = temp_dir();
        let seed = from_env("CHRONOLITH_FUZZ_SEED", 1);
        let settings = Settings::default().with("enable_feature", format!("{FUNCTIONS},{features}"));
        let server = Chronolith::start_with(&dir.path().join("chronolith"), settings);
        let switches = format!("--enable-feature={SWITCHES},{features}");
        let prometheus = peers.prometheus_with(&dir.path().join("prometheus"), "", &[&switches]);
        let series = data::series(seed);
        for address in [prometheus.address, server.address] {
            data::send(address, &series);
        }
        let delayed_names = features.contains(DELAYED_NAMES);
        let fuzz =
            Fuzz { prometheus: prometheus.address, chronolith: server.address, seed, delayed_names, planted: None };
        if let Ok(expression) = env::var("CHRONOLITH_FUZZ_EXPRESSION") {
            expression.lines().for_each(|line| fuzz.show(line));
            return;
        }
        let began = Instant::now();
        let report = fuzz.run(queries);
        report.print(queries, seed);
        eprintln!("took {:?}", began.elapsed());
        report.check(queries);
    });
}

#[test]
fn promql_fuzz_with_planted_differences_reports_them() {
    let dir = temp_dir();
    let server = Chronolith::start(dir.path());
    data::send(server.address, &data::series(1));
    let run = |planted| {
        let (prometheus, chronolith) = (server.address, server.address);
        let fuzz = Fuzz { prometheus, chronolith, seed: 1, delayed_names: false, planted };
        let report = fuzz.run(QUERIES_PLANTED);
        let count = fuzz.planted.as_ref().map_or(0, Planted::count);
        assert_eq!(report.differing, count, "{report:?}");
        (count, report)
    };
    run(None);
    let mut missed = Vec::new();
    for &(plant, reported_percent) in PLANTS {
        let (count, report) = run(Some(Planted::new(plant)));
        eprintln!("{plant:?}: {} of {count} reported, not {:?}", report.unexplained, report.known);
        assert!(count > 5, "{plant:?} was put into {count} answers only");
        if 100 * report.unexplained < reported_percent * count {
            missed.push(plant);
        }
    }
    assert_eq!(missed, [], "these are taken for known differences too often");
}

impl Fuzz {
    fn run(&self, queries: u64) -> Report {
        let (next, report) = (AtomicU64::new(0), Mutex::new(Report::default()));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= queries {
                            return;
                        }
                        self.query(number, &report);
                    }
                });
            }
        });
        report.into_inner().unwrap()
    }

    /// Asks one query for a time, and for a range of times where its type allows that.
    fn query(&self, number: u64, report: &Mutex<Report>) {
        let mut generator = Generator::new(mix(mix(self.seed) ^ number));
        let expr = generator.query();
        let mut random = Random::new(mix(self.seed ^ mix(number)));
        let instant = Question {
            expression: expr.to_string(),
            times: Times::Instant(some_time(&mut random)),
            inexact: generator.inexact,
            lookback: (random.below(10) == 0).then_some("90s"),
        };
        report.lock().unwrap().used.append(&mut generator.used);
        self.question(number, &instant, Some(&expr), report);
        if number.is_multiple_of(MISTAKES_EVERY) {
            let expression = mistaken(&instant.expression, &mut random);
            self.question(number, &Question { expression, ..instant.clone() }, None, report);
        }
        if can_be_a_range(expr.ty) {
            let start_ms = some_time(&mut random);
            let steps_ms = [15_000, 30_000, 60_000, 60_000, 300_000, 7_300, 1_020_000, 1];
            let step_ms = steps_ms[random.below(steps_ms.len() as u64) as usize];
            let end_ms = start_ms + step_ms * random.below(30) as i64 + random.below(step_ms as u64) as i64;
            let range = Question { times: Times::Range(start_ms, end_ms, step_ms), ..instant };
            self.question(number, &range, Some(&expr), report);
        }
    }

    fn question(&self, number: u64, question: &Question, expr: Option<&Expr>, report: &Mutex<Report>) {
        let (expected, mut actual) = (question.ask(self.prometheus), question.ask(self.chronolith));
        if let Some(planted) = &self.planted {
            actual = planted.put(question, actual);
        }
        let found = difference(question, &expected, &actual);
        let mut seen = report.lock().unwrap();
        seen.questions += 1;
        seen.with_data += u64::from(expected.has_data());
        seen.errors += u64::from(expected.status != 200);
        seen.annotated += u64::from(!expected.annotations().is_empty());
        let Some(found) = found else { return };
        seen.differing += 1;
        let case = self.case(question, &expected, &actual, &found);
        if let Some(reasons) = explanation(&case) {
            for reason in reasons {
                *seen.known.entry(reason).or_default() += 1;
            }
            return;
        }
        if self.planted.is_some() {
            seen.unexplained += 1;
            return;
        }
        drop(seen);
        let is_chance = self.is_chance(question, &expected, found.kind);
        let mut seen = report.lock().unwrap();
        if is_chance {
            *seen.known.entry("Prometheus itself answers now so, now otherwise").or_default() += 1;
            return;
        }
        seen.unexplained += 1;
        if seen.differences.len() >= SHOWN_MAX {
            return;
        }
        drop(seen);
        let (shrunk, text) = match expr {
            Some(expr) => self.shrink(question, expr, found.kind, found.text),
            None => (question.clone(), found.text),
        };
        let seed = self.seed;
        let text = format!(
            "seed {seed}, query {number}: {}\n  shrunk to {}\n    {:?} lookback {:?}\n  {:?}: {text}",
            question.expression, shrunk.expression, shrunk.times, shrunk.lookback, found.kind
        );
        report.lock().unwrap().differences.push(text);
    }

    fn case<'a>(
        &self,
        question: &'a Question,
        expected: &'a Answer,
        actual: &'a Answer,
        difference: &'a Difference,
    ) -> Case<'a> {
        Case { question, expected, actual, difference, delayed_names: self.delayed_names }
    }

    /// Whether Prometheus' own answers to the same question differ as much.
    fn is_chance(&self, question: &Question, expected: &Answer, kind: Kind) -> bool {
        let again = || difference(question, expected, &question.ask(self.prometheus));
        (0..ASKED_AGAIN).any(|_| again().is_some_and(|found| found.kind <= kind))
    }

    /// The simplest question, among those tried, whose answers differ in the same way; and how.
    fn shrink(&self, question: &Question, expr: &Expr, kind: Kind, text: String) -> (Question, String) {
        let (mut best, mut best_expr, mut best_text, mut tries) = (question.clone(), expr.clone(), text, 0);
        let differs = |candidate: &Question| {
            let (expected, actual) = (candidate.ask(self.prometheus), candidate.ask(self.chronolith));
            let found = difference(candidate, &expected, &actual).filter(|found| found.kind == kind)?;
            let case = self.case(candidate, &expected, &actual, &found);
            let is_meant = explanation(&case).is_some() || self.is_chance(candidate, &expected, found.kind);
            (!is_meant).then_some(found.text)
        };
        loop {
            let is_range = best.is_range();
            let candidates = best_expr.simpler(|ty| !is_range || can_be_a_range(ty));
            let simpler = candidates.into_iter().find_map(|candidate| {
                tries += 1;
                if tries > SHRINKING_MAX {
                    return None;
                }
                let question = Question { expression: candidate.to_string(), ..best.clone() };
                differs(&question).map(|text| (question, candidate, text))
            });
            let Some(simpler) = simpler else { break };
            (best, best_expr, best_text) = simpler;
        }
        if let Times::Range(start_ms, end_ms, step_ms) = best.times {
            let times = (0..=(end_ms - start_ms) / step_ms).map(|step| start_ms + step * step_ms);
            for time_ms in times {
                for times in [Times::Instant(time_ms), Times::Range(time_ms, time_ms, step_ms)] {
                    let candidate = Question { times, ..best.clone() };
                    if let Some(text) = differs(&candidate) {
                        return (candidate, text);
                    }
                }
            }
        }
        (best, best_text)
    }

    /// Asks one expression, `TIME EXPRESSION` or `START END STEP EXPRESSION` in seconds, and shows what both say.
    fn show(&self, line: &str) {
        let ms = |text: &str| (text.parse::<f64>().unwrap() * 1000.0).round() as i64;
        let is_number = |word: &&str| word.parse::<f64>().is_ok();
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        // An expression may begin with a number too, but not with two.
        let (times, expression) = match words.iter().take(3).take_while(|word| is_number(word)).count() {
            3 => (Times::Range(ms(words[0]), ms(words[1]), ms(words[2])), words[3].to_owned()),
            1 | 2 => (Times::Instant(ms(words[0])), words[1..].join(" ")),
            _ => (Times::Instant(START_MS + SPAN_MS / 2), line.to_owned()),
        };
        let question = Question { expression, times, inexact: false, lookback: None };
        let (expected, actual) = (question.ask(self.prometheus), question.ask(self.chronolith));
        eprintln!("{question:?}\n  Prometheus {} {}", expected.status, expected.body);
        match difference(&question, &expected, &actual) {
            None => eprintln!("  Chronolith the same"),
            Some(found) => eprintln!("  Chronolith {} {}\n  {found:?}", actual.status, actual.body),
        }
    }
}

/// A time at which there is data, mostly.
fn some_time(random: &mut Random) -> i64 {
    let time_ms = START_MS - 300_000 + random.below(SPAN_MS as u64 + 600_000) as i64;
    if random.below(2) == 0 { time_ms } else { time_ms / 15_000 * 15_000 }
}

/// A text with one character left out, written twice, or in another place.
fn mistaken(text: &str, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let place = |random: &mut Random| random.below(text.chars().count() as u64) as usize;
    let character = characters[place(random)];
    let at = place(random);
    match random.below(3) {
        0 => drop(characters.remove(at)),
        1 => characters.insert(at, characters[at]),
        _ => characters.insert(at, character),
    }
    characters.into_iter().collect()
}

fn can_be_a_range(ty: Type) -> bool {
    matches!(ty, Type::Scalar | Type::Vector)
}

impl Report {
    fn print(&self, queries: u64, seed: u64) {
        let Report { questions, with_data, errors, annotated, .. } = self;
        let (used, all) = (self.used.len(), vocabulary().len());
        eprintln!(
            "seed {seed}: {queries} queries, {questions} answers: {with_data} with data, {errors} errors, {annotated} with \
             annotations; {used} of {all} functions, operators and modifiers used"
        );
        for (reason, count) in &self.known {
            eprintln!("  {count} differences as listed: {reason}");
        }
    }

    fn check(&self, queries: u64) {
        let shown = self.differences.join("\n\n");
        assert_eq!(self.unexplained, 0, "{} answers differ, and nothing explains it:\n\n{shown}", self.unexplained);
        assert!(2 * self.with_data > self.questions, "less than half of the answers hold anything");
        let unused: Vec<_> = vocabulary().difference(&self.used).copied().collect();
        assert!(queries < QUERIES_FOR_ALL_WORDS || unused.is_empty(), "never used: {unused:?}");
    }
}
