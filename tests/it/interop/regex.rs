//! Regular expressions beside Prometheus, whose engine is Go's: the table of the unit tests, and random ones.
//!
//! `CHRONOLITH_REGEX_PATTERNS` and `CHRONOLITH_REGEX_SEED` make the random ones a long run.

use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::peers::{Peers, Prometheus, with_peers};
use crate::harness::process::temp_dir;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Random, Settings, http};

#[derive(Deserialize)]
struct Table {
    matches: Vec<Match>,
    errors: Vec<Refusal>,
    replacements: Vec<Replacement>,
}

#[derive(Deserialize)]
struct Match {
    pattern: String,
    #[serde(default)]
    yes: Vec<String>,
    #[serde(default)]
    no: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    pattern: String,
    error: String,
}

#[derive(Deserialize)]
struct Replacement {
    pattern: String,
    value: String,
    template: String,
    expected: Option<String>,
}

/// Both servers, with a series for each of some texts.
struct Servers {
    server: Chronolith,
    prometheus: Prometheus,
    at: f64,
    _dir: tempfile::TempDir,
}

impl Servers {
    fn start(peers: &Peers, texts: &BTreeSet<String>) -> Self {
        let dir = temp_dir();
        let settings = Settings::default().with("web.enable_admin_api", "true");
        let server = Chronolith::start_with(&dir.path().join("chronolith"), settings);
        let prometheus = peers.prometheus(&dir.path().join("prometheus"), "");
        let at_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 - 60_000;
        let series: Vec<Series> =
            texts.iter().map(|text| Series::new(&[("__name__", "re"), ("text", text)], &[(at_ms, 1.0)])).collect();
        for address in [server.address, prometheus.address] {
            let answer = remote_write::send(address, &series).unwrap();
            assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
        }
        Servers { server, prometheus, at: at_ms as f64 / 1000.0, _dir: dir }
    }

    /// The answer of both, if it is the same.
    fn ask(&self, query: &str) -> Result<Answer, String> {
        let ours = ask(self.server.address, query, self.at);
        let theirs = ask(self.prometheus.address, query, self.at);
        if ours == theirs { Ok(theirs) } else { Err(format!("{query:?}:\n    {ours:?}\n    not {theirs:?}")) }
    }

    fn flush(&self) {
        let answer = http::request(self.server.address, "POST", "/api/v1/admin/storage/flush", &[], &[]).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// The texts of the series and what `label_replace` made of them, or the error.
type Answer = Result<BTreeSet<(String, Option<String>)>, String>;

fn ask(address: SocketAddr, query: &str, at: f64) -> Answer {
    let parameters = [("query", query), ("time", &format!("{at:.3}"))];
    let body = http::post_form(address, "/api/v1/query", &parameters).unwrap().json();
    if body["status"] != "success" {
        return Err(body["error"].as_str().unwrap().to_owned());
    }
    let label = |metric: &Value, name: &str| metric.get(name).map(|value| value.as_str().unwrap().to_owned());
    let result = body["data"]["result"].as_array().unwrap().iter().map(|one| &one["metric"]);
    Ok(result.map(|metric| (label(metric, "text").unwrap_or_default(), label(metric, "made"))).collect())
}

/// A string literal of PromQL.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|one| match one {
            '"' | '\\' => format!("\\{one}"),
            one if one.is_control() => format!("\\u{:04x}", u32::from(one)),
            one => one.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn replace(template: &str, pattern: &str) -> String {
    format!("label_replace(re, \"made\", {}, \"text\", {})", quoted(template), quoted(pattern))
}

#[test]
fn interop_regex_table_is_what_prometheus_does() {
    with_peers(|peers| {
        let table: Table = toml::from_str(include_str!("../../../testdata/regexp/go.toml")).unwrap();
        let of_matches = table.matches.iter().flat_map(|one| one.yes.iter().chain(&one.no));
        let texts = of_matches.chain(table.replacements.iter().map(|one| &one.value)).cloned().collect();
        let servers = Servers::start(peers, &texts);
        let mut faults = Vec::new();
        for flushed in [false, true] {
            if flushed {
                servers.flush();
            }
            for Match { pattern, yes, no } in &table.matches {
                for (op, yes, no) in [("=~", yes, no), ("!~", no, yes)] {
                    let answer = servers.ask(&format!("re{{text{op}{}}}", quoted(pattern)));
                    let matched =
                        |text: &String| matches!(&answer, Ok(Ok(found)) if found.contains(&(text.clone(), None)));
                    if !yes.iter().all(matched) || no.iter().any(matched) {
                        faults.push(format!("the table is wrong about {pattern}"));
                    }
                    faults.extend(answer.err());
                }
                faults.extend(servers.ask(&replace("<$0|$1|$2>", pattern)).err());
            }
        }
        for Refusal { pattern, error } in &table.errors {
            let answer = servers.ask(&format!("re{{text=~{}}}", quoted(pattern)));
            if !matches!(&answer, Ok(Err(text)) if text.ends_with(&format!("error parsing regexp: {error}"))) {
                faults.push(format!("{pattern}: {answer:?}"));
            }
            // `label_replace` has the names of Unicode's tables from Go itself, which takes them loosely since version 1.25;
            // matchers never do.
            if !pattern.contains("\\p{") && !pattern.contains("\\P{") {
                faults.extend(servers.ask(&replace("<$0|$1|$2>", pattern)).err());
            }
        }
        for Replacement { pattern, value, template, expected } in &table.replacements {
            let answer = servers.ask(&replace(template, pattern));
            let made = expected.clone().filter(|made| !made.is_empty());
            if !matches!(&answer, Ok(Ok(found)) if found.contains(&(value.clone(), made))) {
                faults.push(format!("{pattern} {template} on {value}: {answer:?}"));
            }
        }
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    });
}

/// What the random patterns and texts are made of.
const CHARS: [&str; 11] = ["a", "b", "A", "B", "é", "É", "1", "-", "\n", "_", " "];

const PIECES: [&str; 36] = [
    ".",
    ".*",
    ".+",
    "^",
    "$",
    "\\A",
    "\\z",
    "\\b",
    "\\B",
    "\\d",
    "\\D",
    "\\s",
    "\\S",
    "\\w",
    "\\W",
    "\\pL",
    "\\PN",
    "\\p{Lu}",
    "[ab]",
    "[^a]",
    "[a-b1]",
    "[[:alpha:]]",
    "[[:^upper:]_]",
    "[^\\w-]",
    "[\\s\\pN]",
    "(?i)",
    "(?-s)",
    "(?m)",
    "(?U)",
    "\\x61",
    "\\141",
    "\\x{e9}",
    "\\Qa-\\E",
    "\\n",
    "\\-",
    "ab",
];

const OPERATORS: [&str; 14] =
    ["*", "+", "?", "*?", "+?", "??", "{2}", "{0}", "{1,}", "{0,2}", "{2,}?", "{,2}", "{20}", "{2,1}"];

const GROUPS: [&str; 6] = ["(", "(?:", "(?i:", "(?P<n>", "(?<m>", "(?s-i:"];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

fn pattern(random: &mut Random, depth: u64) -> String {
    let mut pattern = String::new();
    for _ in 0..random.below(4) + 1 {
        let piece = match random.below(10) {
            0..=2 if depth > 0 => format!("{}{})", pick(random, &GROUPS), self::pattern(random, depth - 1)),
            3..=5 => pick(random, &PIECES).to_owned(),
            6 if depth > 0 => format!("{}|", self::pattern(random, depth - 1)),
            _ => pick(random, &CHARS).to_owned(),
        };
        pattern.push_str(&piece);
        if random.below(4) == 0 {
            pattern.push_str(pick(random, &OPERATORS));
        }
    }
    pattern
}

/// A random pattern; some lack a character.
fn random_pattern(random: &mut Random) -> String {
    let mut pattern = pattern(random, 3);
    if random.below(6) == 0 {
        let places: Vec<(usize, char)> = pattern.char_indices().collect();
        let (at, _) = places[random.below(places.len() as u64) as usize];
        pattern.remove(at);
    }
    pattern
}

#[test]
fn interop_regex_of_chance_is_what_prometheus_does() {
    with_peers(|peers| {
        let count = env::var("CHRONOLITH_REGEX_PATTERNS").map_or(300, |text| text.parse().unwrap());
        let mut random = Random::from_env("CHRONOLITH_REGEX_SEED");
        let texts: BTreeSet<String> =
            (0..150).map(|_| (0..random.below(5)).map(|_| pick(&mut random, &CHARS)).collect::<String>()).collect();
        let servers = Servers::start(peers, &texts);
        let (mut faults, mut refused) = (Vec::new(), 0);
        for number in 0..count {
            if number == count / 2 {
                servers.flush();
            }
            let pattern = random_pattern(&mut random);
            match servers.ask(&format!("re{{text=~{}}}", quoted(&pattern))) {
                Ok(answer) => refused += usize::from(answer.is_err()),
                Err(fault) => faults.push(fault),
            }
            faults.extend(servers.ask(&replace("<$0|$1|$2|$3|$n|$m>", &pattern)).err());
        }
        eprintln!("{count} patterns, {refused} of them refused by both");
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        assert!(refused * 2 < count, "{refused} of {count} patterns refused: they show too little");
    });
}
