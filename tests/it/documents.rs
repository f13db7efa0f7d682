//! What the documents tell people to do works: commands are run where their states can be had here, snippets go to the
//! programs that read them. The runbook has a test of its own ([`crate::runbook`]).

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::deploy::text;
use crate::harness::chronolith::run;
use crate::harness::peers::{Peers, with_peers};
use crate::harness::process::{self, run_well};
use crate::harness::{Process, packages, wait_for};
use crate::runbook::{Machine, Step, assert_step, sections};

/// Commands that are not run by these tests: builds, container engines, and programs that go on until they are stopped.
const NOT_RUN: &[&str] =
    &["cargo ", "export ", "docker ", "kubectl ", "prometheus ", "vmagent ", "systemctl stop prom"];

/// The fenced blocks of a language, of a document.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    document.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Runs the commands of a section that can be run here; `chronolith serve` has its flags looked at.
fn run_steps(document: &str, section: &str, steps: &[Step], machine: &Machine) {
    for step in steps {
        if let Some(arguments) = step.command.strip_prefix("chronolith serve") {
            let words: Vec<&str> =
                ["serve"].into_iter().chain(arguments.split_whitespace()).chain(["--help"]).collect();
            assert_eq!(run(&words).0, Some(0), "{document}: {}", step.command);
        } else if !NOT_RUN.iter().any(|words| step.command.starts_with(words)) {
            assert_step(&format!("{document}, {section}"), step, machine);
        }
    }
}

fn run_document(document: &str, heading: &str, machine: &Machine) {
    for (section, steps) in sections(&text(document), heading) {
        run_steps(document, &section, &steps, machine);
    }
}

/// Runs sections of a document about first steps, in this order; `config` is that of the Prometheus that it starts.
fn first_steps(peers: &Peers, document: &str, config: Option<&str>, order: &[&str]) {
    let machine = Machine::started_at("data");
    let sections = sections(&text(document), "## ");
    let mut prometheus = config.map(|config| its_prometheus(peers, &machine, config));
    for section in order {
        for step in &sections[*section] {
            if step.command.starts_with("prometheus ") && prometheus.is_none() {
                let config = std::fs::read_to_string(machine.dir().join("prometheus.yml")).unwrap();
                prometheus = Some(its_prometheus(peers, &machine, &config));
            } else if step.command.contains("rate(prometheus_http_requests_total") {
                wait_for("samples of Prometheus", Duration::from_secs(60), || {
                    let said = machine.run_well(&step.command);
                    if said.contains("/-/ready") { Ok(()) } else { Err(said) }
                });
            } else {
                run_steps(document, section, std::slice::from_ref(step), &machine);
            }
        }
    }
    assert!(prometheus.is_some());
}

#[test]
fn faults_documents_first_steps_work_as_they_stand() {
    with_peers(|peers| {
        let quick_start = "docs/quick-start.md";
        let config = &blocks(&text(quick_start), "yaml")[0];
        first_steps(peers, quick_start, Some(config), &["Run it", "Send something", "See that it is all there"]);
        first_steps(peers, "README.md", None, &["Quick start"]);
    });
}

/// The Prometheus of a document, with its own address in place of that of the document.
fn its_prometheus(peers: &Peers, machine: &Machine, config: &str) -> crate::harness::peers::Prometheus {
    let address = process::free_address();
    let config = config.replace("localhost:9090", &address.to_string()).replace("5s", "1s");
    let config = config.replace("127.0.0.1:9095", &machine.address.to_string());
    peers.prometheus_at(address, &machine.dir().join("prometheus-data"), &config)
}

#[test]
fn faults_documents_ways_in_work_as_they_stand() {
    with_peers(|peers| {
        let grpc = process::free_address();
        let machine = Machine::started_with("chronolith", &[("OTLP_GRPC_LISTEN", grpc.to_string())]);
        let document = text("docs/ingest.md");
        let python = packages::of_python("otlp-python", include_str!("interop/otlp/requirements.txt"));
        let script = machine.dir().join("send.py");
        std::fs::write(&script, &blocks(&document, "python")[0]).unwrap();
        let mut sdk = Command::new("python3");
        sdk.arg(script).env("PYTHONPATH", python);
        for line in blocks(&document, "sh")[0].lines() {
            let (name, value) = line.split_once('=').unwrap();
            sdk.env(name, value.replace("127.0.0.1:4317", &grpc.to_string()));
        }
        let (status, said, error) = process::run(sdk);
        assert_eq!(status, Some(0), "{said}\n{error}");
        run_document("docs/ingest.md", "## ", &machine);

        // vmagent, with the scrape configuration of the section on Prometheus.
        let config = "scrape_configs:\n  - job_name: agent\n    scrape_interval: 1s\n    static_configs: [{targets: ['ADDRESS']}]\n";
        std::fs::write(machine.dir().join("prometheus.yml"), config.replace("ADDRESS", &machine.address.to_string()))
            .unwrap();
        let line = &sections(&document, "## ")["vmagent"][0].command;
        let mut words = line.split_whitespace();
        let mut vmagent = Command::new(peers.program(words.next().unwrap()));
        vmagent.args(words.map(|word| word.replace("127.0.0.1:9095", &machine.address.to_string())));
        vmagent.arg(format!("-httpListenAddr={}", process::free_address()));
        vmagent.current_dir(machine.dir());
        vmagent.arg(format!("-remoteWrite.tmpDataPath={}", machine.dir().join("vmagent").display()));
        let _vmagent = Process::start("vmagent", vmagent, machine.dir());
        wait_for("samples of vmagent", Duration::from_secs(60), || {
            let said = machine.run_well("chronolith query 'up{job=\"agent\"}'");
            if said.contains("job=\"agent\"") { Ok(()) } else { Err(said) }
        });
    });
}

#[test]
fn faults_documents_backup_and_capacity_work_as_they_stand() {
    with_peers(|_| {
        let mut machine = Machine::started_at("chronolith");
        let sections = sections(&text("docs/moving-data.md"), "### ");
        for step in &sections["Backup and restore"] {
            run_steps("docs/moving-data.md", "Backup and restore", std::slice::from_ref(step), &machine);
            if step.command.contains("db snapshot") {
                machine.name_snapshot();
            }
        }
        for step in &crate::runbook::sections(&text("docs/capacity.md"), "## ")["On your own data"] {
            run_steps("docs/capacity.md", "On your own data", std::slice::from_ref(step), &machine);
            if step.command.contains("db snapshot") {
                machine.name_snapshot();
            }
        }
    });
}

#[test]
fn faults_documents_directory_of_prometheus_is_taken_over_as_they_say() {
    with_peers(|peers| {
        let machine = Machine::started_at("chronolith");
        let config = "scrape_configs:\n  - job_name: prometheus\n    scrape_interval: 1s\n    static_configs: [{targets: ['localhost:9090']}]\n";
        let mut prometheus = its_prometheus(peers, &machine, config);
        wait_for("samples of its own", Duration::from_secs(60), || {
            let up = crate::harness::http::get(prometheus.address, "/api/v1/query?query=up").unwrap().text();
            if up.contains("\"1\"") { Ok(()) } else { Err(up) }
        });
        prometheus.process.terminate(Duration::from_secs(60));
        std::fs::rename(machine.dir().join("prometheus-data"), machine.dir().join("prometheus")).unwrap();
        run_document("docs/prometheus.md", "## ", &machine);
    });
}

#[test]
fn interop_documents_configurations_of_prometheus_pass_promtool() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("prometheus.yml");
        let mut checked = 0;
        for document in
            ["README.md", "docs/quick-start.md", "docs/ingest.md", "docs/remote-write.md", "docs/security.md"]
        {
            for block in blocks(&text(document), "yaml") {
                let begins = |word: &str| block.lines().any(|line| line.starts_with(word));
                if begins("scrape_configs:") || begins("remote_write:") || begins("remote_read:") {
                    std::fs::write(&file, &block).unwrap();
                    run_well(peers.program("promtool"), &["check", "config", "--syntax-only", file.to_str().unwrap()]);
                    checked += 1;
                }
            }
        }
        assert!(checked >= 5, "{checked}");
    });
}

#[test]
fn documents_configurations_of_collectors_name_parts_that_they_define() {
    let mut checked = 0;
    for document in ["docs/ingest.md", "docs/security.md"] {
        for block in blocks(&text(document), "yaml").iter().filter(|block| block.contains("exporters:")) {
            let config: Value = serde_saphyr::from_str(block).unwrap();
            let used = |list: &Value| list.as_array().cloned().unwrap_or_default();
            for name in used(&config["service"]["extensions"]) {
                assert!(config["extensions"].get(name.as_str().unwrap()).is_some(), "{document}: {name}");
            }
            let pipeline = &config["service"]["pipelines"]["metrics"];
            for part in ["receivers", "processors", "exporters"] {
                for name in used(&pipeline[part]) {
                    assert!(config[part].get(name.as_str().unwrap()).is_some(), "{document}: {name} of {part}");
                }
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 2);
}
