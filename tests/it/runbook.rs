//! The storage runbook: each command of `docs/operating.md` runs, on a server and a directory in the state that its
//! section is about, does what the text says, and prints what is shown there.
//!
//! Commands are taken as they stand. Only places are put in: the data directory, the backup, the address, and names that
//! the text has in capitals. `systemctl` and `journalctl` are stand-ins for a machine that runs systemd.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::deploy::text;
use crate::harness::chronolith::binary;
use crate::harness::faults::SmallDisk;
use crate::harness::peers::with_peers;
use crate::harness::process::{copy_dir, free_address, temp_dir};
use crate::harness::remote_write::{self, Series};
use crate::harness::{http, wait_for};

/// A command of the document, and what is shown behind it.
#[derive(Debug, Clone)]
pub struct Step {
    pub command: String,
    status: i32,
    shown: Vec<String>,
}

/// The commands of the sections of a document that begin with `heading`, by section.
pub fn sections(document: &str, heading: &str) -> BTreeMap<String, Vec<Step>> {
    let mut sections: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    let (mut section, mut is_console) = (String::new(), false);
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if let Some(title) = line.strip_prefix(heading).filter(|_| !is_console) {
            section = title.to_owned();
            sections.entry(section.clone()).or_default();
        } else if line.starts_with("## ") {
            section.clear();
        } else if is_console && !section.is_empty() {
            let steps = sections.get_mut(&section).unwrap();
            match line.strip_prefix("$ ") {
                Some(command) => {
                    let mut command = command.to_owned();
                    while command.ends_with('\\') {
                        command.pop();
                        command.push_str(lines.next().unwrap().trim());
                    }
                    if command.ends_with("<<'END'") {
                        for line in lines.by_ref() {
                            command = format!("{command}\n{line}");
                            if line == "END" {
                                break;
                            }
                        }
                    }
                    let status = i32::from(command.ends_with("# ends with 1"));
                    steps.push(Step { command, status, shown: Vec::new() });
                }
                None => steps.last_mut().unwrap().shown.push(line.to_owned()),
            }
        }
    }
    sections
}

/// Whether `said` has what a line of the document shows, `...` standing for anything.
fn shows(said: &str, shown: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = plain(said);
    let mut rest = said.as_str();
    plain(shown).split("...").all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// A machine: a server that `systemctl` starts and stops, its data directory and a place for backups.
pub struct Machine {
    dir: TempDir,
    pub address: SocketAddr,
    data: PathBuf,
    names: Vec<(&'static str, String)>,
    settings: Vec<(&'static str, String)>,
}

impl Machine {
    fn new(data: &str, settings: &[(&'static str, String)]) -> Self {
        let dir = temp_dir();
        let data = dir.path().join(data);
        let machine = Machine { data, address: free_address(), dir, names: Vec::new(), settings: settings.to_vec() };
        let bin = machine.dir.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(machine.dir.path().join("backup")).unwrap();
        fs::write(machine.dir.path().join("chronolith.toml"), text("deploy/systemd/chronolith.toml")).unwrap();
        let url = format!("http://{}", machine.address);
        let chronolith = format!(
            "case \"$1 $*\" in\n  health\\ *--url*|query\\ *--url*) ;;\n  health\\ *|query\\ *) set -- \"$@\" --url {url} ;;\nesac\nexec {} \"$@\"\n",
            binary()
        );
        machine.program("chronolith", &chronolith);
        let run = machine.dir.path().display().to_string();
        machine.program("systemctl", &SYSTEMCTL.replace("RUN", &run).replace("URL", &url));
        machine.program("journalctl", &format!("tail -n 20 {run}/log\n"));
        machine
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.dir.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Started, with five hundred samples of ten series, and its data in this directory.
    pub fn started_at(data: &str) -> Self {
        Self::started_with(data, &[])
    }

    /// The same with further configuration: keys as variables have them, without their prefix.
    pub fn started_with(data: &str, settings: &[(&'static str, String)]) -> Self {
        let machine = Machine::new(data, settings);
        machine.run_well("systemctl start chronolith");
        machine.fill(0);
        machine
    }

    /// Where everything of it is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Lets NAME be the newest snapshot.
    pub fn name_snapshot(&mut self) {
        let snapshots = fs::read_dir(self.data.join("snapshots")).unwrap();
        let newest = snapshots.map(|entry| entry.unwrap().file_name().into_string().unwrap()).max().unwrap();
        self.names = vec![("NAME", newest)];
    }

    /// Adds samples of fifty minutes to ten series.
    fn fill(&self, round: i64) {
        let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        let from_ms = now_ms - 50 * 60_000 + round * 10;
        let samples: Vec<(i64, f64)> = (0..50).map(|at| (from_ms + at * 60_000, at as f64)).collect();
        for number in 0..10 {
            let number = format!("{number}");
            let one = Series::new(&[("__name__", "runbook"), ("number", &number)], &samples);
            let answer = remote_write::send(self.address, &[one]).unwrap();
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    }

    fn post(&self, path: &str) -> serde_json::Value {
        let answer = http::request(self.address, "POST", path, &[], &[]).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Its first block, after a flush.
    fn block(&self) -> String {
        let flushed = self.post("/api/v1/admin/storage/flush");
        flushed["data"]["flushed"][0]["blocks"][0].as_str().unwrap().to_owned()
    }

    /// Runs a line of bash; gives its status and what it printed.
    fn run(&self, line: &str) -> (Option<i32>, String, String) {
        let dir = self.dir.path().display().to_string();
        let mut line = line.replace("/var/lib/chronolith", &self.data.display().to_string());
        let places = [("/backup", "/backup"), ("/etc/chronolith", ""), ("/var/lib/prometheus", "/prometheus")];
        for (place, there) in places.map(|(place, there)| (place, format!("{dir}{there}"))) {
            line = line.replace(place, &there);
        }
        for address in ["127.0.0.1:9095", "localhost:9095"] {
            line = line.replace(address, &self.address.to_string());
        }
        for (name, value) in &self.names {
            line = line.replace(name, value);
        }
        let mut bash = Command::new("bash");
        bash.args(["-o", "pipefail", "-c", &line]).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHRONOLITH_")) {
            bash.env_remove(name);
        }
        let settings = [
            ("DATA_DIR", self.data.display().to_string()),
            ("LISTEN", self.address.to_string()),
            ("OTLP_GRPC_LISTEN", String::new()),
            ("OTLP_HTTP_LISTEN", String::new()),
            ("WEB_ENABLE_ADMIN_API", "true".to_owned()),
            ("STORAGE_RESERVE", "1MiB".to_owned()),
        ];
        for (key, value) in settings.iter().chain(&self.settings) {
            bash.env(format!("CHRONOLITH_{key}"), value);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        bash.env("PATH", format!("{dir}/bin:{path}"));
        crate::harness::process::run(bash)
    }

    pub fn run_well(&self, line: &str) -> String {
        let (status, said, error) = self.run(line);
        assert_eq!(status, Some(0), "{line}\n{said}\n{error}");
        said
    }

    /// Flips a byte in the middle of the newest segment of the log.
    fn damage_log(&self) {
        let segments = fs::read_dir(self.data.join("wal")).unwrap().map(|entry| entry.unwrap().path());
        let segment = segments.filter(|path| path.extension().is_none() && path.is_file()).max().unwrap();
        let mut bytes = fs::read(&segment).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[written / 2] ^= 0x10;
        fs::write(segment, bytes).unwrap();
    }

    fn health(&self) -> String {
        http::get(self.address, "/health").unwrap().json()["status"].as_str().unwrap().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
        if let Ok(pid) = fs::read_to_string(self.dir.path().join("pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).stderr(Stdio::null()).status();
        }
    }
}

/// Starts and stops the server as the unit does, and waits for both.
const SYSTEMCTL: &str = "\
case $1 in
  status) exec chronolith health ;;
  stop|restart)
    pid=$(cat RUN/pid)
    kill -TERM $pid
    while [ -d /proc/$pid ] && ! grep -q '^State:.Z' /proc/$pid/status; do sleep 0.05; done ;;
esac
case $1 in
  start|restart)
    chronolith serve >> RUN/log 2>&1 < /dev/null &
    echo $! > RUN/pid
    for _ in $(seq 600); do
      curl -sf -o /dev/null URL/-/ready && exit 0
      sleep 0.1
    done
    exit 1 ;;
esac
";

/// The machine that a section is about.
fn scene(section: &str) -> Machine {
    let mut machine = Machine::started_at("chronolith");
    match section {
        "A block is damaged" => {
            let ulid = machine.block();
            copy_dir(&machine.data.join(&ulid), &machine.dir.path().join("backup").join(&ulid));
            fs::write(machine.data.join(&ulid).join("index"), b"no index").unwrap();
            machine.names.push(("ULID", ulid));
            machine.run_well("systemctl restart chronolith");
        }
        "The log is damaged while the server runs" => machine.damage_log(),
        "A start names damage" => {
            let load =
                "chronolith bench write --url http://127.0.0.1:9095 --series 50 --scrapes 20 --receipts receipts.jsonl";
            machine.run_well(load);
            machine.run_well("kill -KILL $(cat pid)");
            machine.damage_log();
            machine.run_well("sleep 0.2; systemctl start chronolith");
        }
        "Restore a snapshot" => {
            let name = machine.post("/api/v1/admin/tsdb/snapshot")["data"]["name"].as_str().unwrap().to_owned();
            machine.run_well(&format!("cp -a /var/lib/chronolith/snapshots/{name} /backup/"));
            machine.names.push(("NAME", name));
        }
        "A sender gets 400" => {
            let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
            for (value, status) in [(1.0, 204), (2.0, 400)] {
                let one = Series::new(&[("__name__", "twice")], &[(now_ms, value)]);
                assert_eq!(remote_write::send(machine.address, &[one]).unwrap().status, status);
            }
        }
        _ => {}
    }
    machine
}

/// Runs the commands of a section; `machine` is in the state that it is about.
fn run_section(section: &str, machine: &Machine) {
    let sections = sections(&text("docs/operating.md"), "### ");
    for step in &sections[section] {
        assert_step(section, step, machine);
    }
}

/// Runs a command; it has to end as the document says, and to print what is shown there.
pub fn assert_step(section: &str, step: &Step, machine: &Machine) {
    let (status, said, error) = machine.run(&step.command);
    assert_eq!(status, Some(step.status), "{section}: {}\n{said}\n{error}", step.command);
    for shown in &step.shown {
        let shown = machine.names.iter().fold(shown.clone(), |shown, (name, value)| shown.replace(name, value));
        assert!(shows(&said, &shown), "{section}: {}\nis to show {shown}\nand says {said}\n{error}", step.command);
    }
}

/// The names of fields in a line of JSON.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.match_indices("\":").map(|(at, _)| &line[..at]);
    ends.filter_map(|before| before.rsplit('"').next())
}

/// Sections with examples of answers, which have other values than those of a test, and the same fields.
const EXAMPLES: &[&str] = &["A noisy writer", "The runbook over HTTP"];
/// Labels of series in them.
const LABELS: &[&str] = &["__name__", "http_url", "job", "le"];

#[test]
fn faults_runbook_examples_of_answers_have_the_fields_of_answers() {
    with_peers(|_| {
        let machine = Machine::started_with("chronolith", &[("HEAD_OUT_OF_ORDER_TIME_WINDOW", "0".to_owned())]);
        let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        for (at_ms, status) in [(now_ms, 204), (now_ms - 60_000, 400)] {
            let one = Series::new(&[("__name__", "late")], &[(at_ms, 1.0)]);
            assert_eq!(remote_write::send(machine.address, &[one]).unwrap().status, status);
        }
        let sections = sections(&text("docs/operating.md"), "## ");
        for section in EXAMPLES {
            for step in &sections[*section] {
                let (status, said, error) = machine.run(&step.command.replace("10.0.7.12", "127.0.0.1"));
                assert_eq!(status, Some(0), "{section}: {}\n{error}", step.command);
                for field in step.shown.iter().flat_map(|line| fields(line)).filter(|field| !LABELS.contains(field)) {
                    assert!(
                        said.contains(&format!("\"{field}\":")),
                        "{section}: {}: no {field} in {said}",
                        step.command
                    );
                }
            }
        }
    });
}

/// Sections whose state takes more than a server with samples; each has a test of its own.
const OF_THEIR_OWN: &[&str] = &["Writes get 503", "The disk is full", "Emptying the log by force"];

#[test]
fn runbook_commands_and_what_is_shown_are_found_in_the_document() {
    let document =
        "## X\n### A\n```console\n$ a \\\n    b\nshown ...\n$ c   # ends with 1\n```\n## Y\n```console\n$ d\n```\n";
    let found = sections(document, "### ");
    assert_eq!(found.len(), 1);
    assert_eq!(found["A"][0].command, "a b");
    assert_eq!((found["A"][0].shown.as_slice(), found["A"][1].status), (&["shown ...".to_owned()][..], 1));
    assert!(shows("{\"a\":1,\"b\":[2]}", "{\"a\":...,\"b\":[2]}") && !shows("{\"a\":1}", "{\"b\":...}"));
}

#[test]
fn faults_runbook_commands_run_in_the_state_that_they_are_for() {
    with_peers(|_| {
        let sections = sections(&text("docs/operating.md"), "### ");
        assert!(sections.len() > 15, "{}", sections.len());
        for (section, steps) in &sections {
            if !steps.is_empty() && !OF_THEIR_OWN.contains(&section.as_str()) {
                let machine = scene(section);
                run_section(section, &machine);
                assert_eq!(machine.health(), "ok", "after {section}");
            }
        }
    });
}

#[test]
fn faults_runbook_of_a_full_disk_leads_to_writes_that_go_on() {
    with_peers(|_| {
        let mut machine = Machine::new("chronolith", &[]);
        let mount = machine.dir.path().join("volume");
        let _disk = SmallDisk::mount(&mount, 48 << 20);
        machine.data = mount.join("chronolith");
        machine.run_well("systemctl start chronolith");
        machine.fill(0);
        // A snapshot that somebody forgot, and on top what takes the rest.
        let snapshot = machine.data.join("snapshots/20260101T000000Z-0000000000000000");
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(snapshot.join("chunks"), vec![0; 8 << 20]).unwrap();
        let _full = fs::write(mount.join("other"), vec![0; 64 << 20]);
        let mut round = 0;
        wait_for("the first write that is refused", Duration::from_secs(60), || {
            round += 1;
            let samples: Vec<(i64, f64)> = (0..10_000).map(|at| (round * 10_000_000 + at, at as f64)).collect();
            let one = Series::new(&[("__name__", "full"), ("round", &round.to_string())], &samples);
            match remote_write::send(machine.address, &[one]).unwrap().status {
                503 => Ok(()),
                status => Err(status.to_string()),
            }
        });
        run_section("Writes get 503", &machine);
        run_section("The disk is full", &machine);
        machine.fill(1);
        machine.run_well("chronolith verify --data-dir /var/lib/chronolith --server http://127.0.0.1:9095");
    });
}

/// So that nobody adds a section whose commands no test runs.
#[test]
fn runbook_sections_with_a_state_of_their_own_exist() {
    let sections = sections(&text("docs/operating.md"), "### ");
    for section in OF_THEIR_OWN.iter().chain(&["A block is damaged", "A start names damage", "Restore a snapshot"]) {
        assert!(sections.get(*section).is_some_and(|steps| !steps.is_empty()), "{section}");
    }
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md").is_file());
}
