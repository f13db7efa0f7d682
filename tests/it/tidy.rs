//! Rules about the source that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors; a module imports only from floors below its own (`docs/architecture.md`).
const FLOORS: &[(&str, u32)] = &[
    ("cli", 9),
    ("config", 8),
    ("server", 8),
    ("api", 7),
    ("bench", 7),
    ("ingest", 7),
    ("inspect", 7),
    ("transfer", 7),
    ("verify", 7),
    ("db", 6),
    ("promql", 6),
    ("compaction", 5),
    ("block", 4),
    ("head", 4),
    ("proof", 4),
    ("chunk", 3),
    ("exemplars", 3),
    ("index", 3),
    ("ledger", 3),
    ("text", 3),
    ("tombstones", 3),
    ("wal", 3),
    ("writers", 3),
    ("storage", 2),
    ("clock", 1),
    ("net", 1),
    ("fs", 1),
    ("telemetry", 1),
    ("encoding", 0),
    ("model", 0),
    ("planted", 0),
];

/// Imports between neighbours that are meant: a label set's canonical bytes belong to the model.
const NEIGHBOURS: &[(&str, &str)] = &[("model", "encoding")];

/// No file is longer.
const MOST_LINES: usize = 900;

/// Files longer than 600 lines. Only ever lower this.
const MOST_LONG_FILES: usize = 12;

#[derive(Debug, Clone)]
struct Source {
    /// Relative to the repository.
    path: String,
    text: String,
}

impl Source {
    /// The module of `src` that the file belongs to; `None` for `main.rs` and `lib.rs`.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next()?.trim_end_matches(".rs");
        (!matches!(module, "main" | "lib")).then_some(module)
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/") || self.path.starts_with("tests/")
    }

    /// The code without comments and without the items that only tests have.
    fn code(&self) -> String {
        let mut code = String::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("#[cfg(test)]") {
                // The item ends with its first line, or with the brace that closes it.
                let item = lines.by_ref().find(|line| !line.starts_with("#["));
                if !item.is_some_and(|line| line.ends_with([';', '}'])) {
                    lines.by_ref().find(|line| line.starts_with('}'));
                }
                continue;
            }
            code.push_str(line.split("//").next().unwrap_or_default());
            code.push('\n');
        }
        code
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path: relative, text: fs::read_to_string(path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust_files() -> Vec<Source> {
    ["src", "tests", "benches"].into_iter().flat_map(|dir| files(dir, "rs")).collect()
}

fn assert_none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}\n{}", offenders.join("\n"));
}

/// The modules that `crate::` paths name, groups over several lines included.
fn imported_modules(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut name_may_start, mut name) = (1, true, String::new());
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 1 => break,
                    '}' => depth -= 1,
                    ',' if depth == 1 => name_may_start = true,
                    ':' => name_may_start = false,
                    letter if depth == 1 && name_may_start && (letter.is_alphanumeric() || letter == '_') => {
                        name.push(letter);
                        continue;
                    }
                    _ => {}
                }
                if !name.is_empty() {
                    modules.push(std::mem::take(&mut name));
                }
            }
            modules.extend((!name.is_empty()).then_some(name));
        } else {
            modules.push(rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect());
        }
    }
    modules
}

#[test]
fn tidy_imports_are_found_in_groups() {
    let code = "use crate::{fs, model::{Sample, label::Label},\n  wal::Writer};\nlet x = crate::head::Head::new();";
    assert_eq!(imported_modules(code), ["fs", "model", "wal", "head"]);
}

#[test]
fn tidy_code_behind_the_declaration_of_a_test_module_is_read() {
    let text = "a // b\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nc\n#[cfg(test)]\nmod more {\n    d\n}\ne\n";
    assert_eq!(Source { path: String::new(), text: text.to_owned() }.code(), "a \nc\ne\n");
}

#[test]
fn tidy_floors_are_those_that_the_library_names() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut named = BTreeMap::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((floor, modules)) = row.split_once(" | ") else { continue };
        let Ok(floor) = floor.parse::<u32>() else { continue };
        for module in modules.split('`').skip(1).step_by(2) {
            named.insert(module.trim_start_matches("mod@").to_owned(), floor);
        }
    }
    let declared: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let expected: BTreeMap<String, u32> = FLOORS
        .iter()
        .filter(|(module, _)| declared.contains(module))
        .map(|(module, floor)| ((*module).to_owned(), *floor))
        .collect();
    assert_eq!(named, expected);
    assert_eq!(named.len(), declared.len());
}

#[test]
fn tidy_modules_import_only_from_floors_below() {
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut offenders = Vec::new();
    for source in rust_files().iter().filter(|source| !source.is_test()) {
        let Some(module) = source.module() else { continue };
        let Some(&floor) = floors.get(module) else {
            offenders.push(format!("{}: module {module} stands on no floor", source.path));
            continue;
        };
        for imported in imported_modules(&source.code()) {
            let meant = imported == module || NEIGHBOURS.contains(&(module, &imported));
            if !meant && floors.get(imported.as_str()).is_some_and(|&below| below >= floor) {
                offenders.push(format!("{}: {module} (floor {floor}) imports {imported}", source.path));
            }
        }
    }
    assert_none("a module imports only from floors below its own", &offenders);
}

#[test]
fn tidy_doors_to_the_outside_are_few() {
    // What may be named where: files in `fs`, time in `clock`, standard output in the command line.
    let rules: &[(&str, &[&str], &[&str])] = &[
        ("only fs touches files", &["std::fs", "File::open(", "File::create("], &["fs", "cli", "bench", "config"]),
        ("only clock reads time", &["SystemTime::now", "Instant::now"], &["clock", "cli", "bench"]),
        ("only cli prints", &["println!", "print!("], &["cli"]),
        (
            "floors below the faces are synchronous",
            &["tokio::"],
            &["api", "bench", "cli", "ingest", "net", "server", "verify"],
        ),
    ];
    let mut offenders = Vec::new();
    for source in files("src", "rs").iter().filter(|source| !source.is_test()) {
        let Some(module) = source.module() else { continue };
        let code = source.code();
        for (rule, words, allowed) in rules {
            if let Some(word) = words.iter().find(|word| code.contains(**word) && !allowed.contains(&module)) {
                offenders.push(format!("{}: {word}: {rule}", source.path));
            }
        }
    }
    assert_none("doors to the outside", &offenders);
}

#[test]
fn tidy_every_file_says_what_it_is() {
    let bare = |source: &&Source| !source.text.starts_with("//! ") && !source.text.starts_with("#![doc = include_str!");
    let offenders: Vec<String> = rust_files().iter().filter(bare).map(|source| source.path.clone()).collect();
    assert_none("every file opens with `//!`", &offenders);
}

#[test]
fn tidy_files_stay_short() {
    let lengths: Vec<(usize, String)> =
        rust_files().into_iter().map(|source| (source.text.lines().count(), source.path)).collect();
    let name = |(lines, path): &(usize, String)| format!("{lines} {path}");
    let too_long: Vec<String> = lengths.iter().filter(|(lines, _)| *lines > MOST_LINES).map(name).collect();
    assert_none(&format!("no file has more than {MOST_LINES} lines"), &too_long);
    let long: Vec<String> = lengths.iter().filter(|(lines, _)| *lines > 600).map(name).collect();
    assert!(
        long.len() <= MOST_LONG_FILES,
        "at most {MOST_LONG_FILES} files have more than 600 lines\n{}",
        long.join("\n")
    );
}

#[test]
fn tidy_nothing_is_left_unfinished() {
    // Put together here, so that this file does not name them.
    let words = [["to", "do!("], ["unimple", "mented!("], ["#[ig", "nore"], ["FIX", "ME"]].map(|parts| parts.concat());
    let mut offenders = Vec::new();
    for source in rust_files() {
        for (number, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                offenders.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none("nothing is left unfinished", &offenders);
}

#[test]
fn tidy_test_names_say_what_is_expected() {
    let mut offenders = Vec::new();
    for source in rust_files() {
        for (at, _) in source.text.match_indices("#[test]\n") {
            let rest = &source.text[at..];
            let Some(start) = rest.find("fn ") else { continue };
            let name: String = rest[start + 3..].chars().take_while(|letter| *letter != '(').collect();
            // Inside `proptest!` the attribute stands over the same kind of name.
            if name.starts_with("test_") || !name.contains('_') {
                offenders.push(format!("{}: {name}", source.path));
            }
        }
    }
    assert_none("tests are named subject_condition_outcome", &offenders);
}

#[test]
fn tidy_format_documents_are_part_of_the_code() {
    let sources = rust_files();
    let documents = files("docs/format", "md");
    let unread = |document: &&Source| {
        let name = document.path.rsplit('/').next().unwrap();
        let included = format!("docs/format/{name}\")");
        name != "README.md" && !sources.iter().any(|source| source.text.contains(&included))
    };
    let offenders: Vec<String> = documents.iter().filter(unread).map(|document| document.path.clone()).collect();
    assert_none("each format document is included by the code it describes (`include_str!`)", &offenders);
}

/// The anchors of a Markdown document's headings, as GitHub makes them.
pub fn anchors(document: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut is_code = false;
    for line in document.lines() {
        is_code ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if is_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect();
        // A heading that stands there twice gets a number.
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

#[test]
fn tidy_anchors_of_headings_are_those_of_github() {
    let document = "# A `b.c`: d\n## Is it well?\n```sh\n# no heading\n```\n## Is it well?\n#no\n";
    assert_eq!(Vec::from_iter(anchors(document)), ["a-bc-d", "is-it-well", "is-it-well-1"]);
}

#[test]
fn tidy_links_in_documents_lead_somewhere() {
    let mut documents = [files("docs", "md"), files("deploy", "md"), files("web", "md")].concat();
    documents.retain(|document| !document.path.contains("node_modules"));
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    documents.push(Source { path: "README.md".to_owned(), text: readme });
    let mut offenders = Vec::new();
    for document in &documents {
        let dir = root().join(&document.path).parent().unwrap().to_owned();
        for (at, _) in document.text.match_indices("](") {
            let target: String = document.text[at + 2..].chars().take_while(|letter| *letter != ')').collect();
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() { root().join(&document.path) } else { dir.join(file) };
            let leads = path.exists()
                && (anchor.is_empty() || fs::read_to_string(&path).is_ok_and(|text| anchors(&text).contains(anchor)));
            if !leads {
                offenders.push(format!("{}: {target}", document.path));
            }
        }
    }
    assert_none("links lead to files and headings that exist", &offenders);
}
