//! The files of `deploy/` before the programs that read them: promtool, a real Prometheus with the rules and the
//! configuration of the compose file, systemd's own checks, and the schemas of Kubernetes and compose.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::deploy::text;
use crate::harness::packages;
use crate::harness::peers::with_peers;
use crate::harness::process::{self, free_address, run_well};
use crate::harness::{Chronolith, Settings, wait_for};

const CHECKERS: &str = include_str!("deploy-requirements.txt");

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

#[test]
fn interop_deploy_rules_and_configuration_pass_promtool_with_their_tests() {
    with_peers(|peers| {
        let promtool = peers.program("promtool");
        let file = |name: &str| path(name).display().to_string();
        run_well(&promtool, &["check", "rules", "--lint=all", "--lint-fatal", &file("prometheus/alerts.yaml")]);
        run_well(&promtool, &["check", "config", &file("prometheus/prometheus.yaml")]);
        run_well(&promtool, &["test", "rules", &file("prometheus/alerts_test.yaml")]);

        // Each alert fires in one of the tests, and is silent in another.
        let (rules, tests) = (text("deploy/prometheus/alerts.yaml"), text("deploy/prometheus/alerts_test.yaml"));
        for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            for outcome in ["fires", "is silent"] {
                assert!(tests.contains(&format!("name: {name} {outcome}")), "{name} {outcome}");
            }
        }
    });
}

#[test]
fn interop_deploy_prometheus_of_the_compose_file_sends_here_and_its_rules_are_well() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let server = Chronolith::start(&dir.path().join("data"));
        let address = free_address();
        let config = text("deploy/prometheus/prometheus.yaml")
            .replace("chronolith:9095", &server.address.to_string())
            .replace("localhost:9090", &address.to_string())
            .replace("15s", "1s")
            .replace("- alerts.yaml", &format!("- {}", path("prometheus/alerts.yaml").display()));
        let feature = ["--enable-feature=metadata-wal-records"];
        let prometheus = peers.prometheus_with_at(address, &dir.path().join("prometheus"), &config, &feature);
        wait_for("samples of both jobs by remote write 2.0", Duration::from_secs(90), || {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
            let jobs = server.query("count by (job) (up == 1)", now);
            let metadata = server.get("/api/v1/metadata?metric=chronolith_wal_segments").json();
            let by_2 = server.get("/metrics").text();
            let by_2 = by_2.lines().any(|line| {
                line.starts_with("chronolith_ingest_samples_total{protocol=\"remote-write-2\",outcome=\"added\"}")
                    && !line.ends_with(" 0")
            });
            let is_done = jobs["result"].as_array().is_some_and(|jobs| jobs.len() == 2)
                && metadata["data"]["chronolith_wal_segments"][0]["type"] == "gauge"
                && by_2;
            if is_done { Ok(()) } else { Err(format!("{jobs} {metadata} {by_2}")) }
        });
        wait_for("every rule evaluated", Duration::from_secs(60), || {
            let rules = crate::harness::http::get(prometheus.address, "/api/v1/rules").unwrap().json();
            let rules = rules["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
            let bad: Vec<String> = rules
                .iter()
                .filter(|rule| rule["health"] != "ok" || rule["state"] == "firing")
                .map(|rule| format!("{} {} {} {}", rule["name"], rule["health"], rule["state"], rule["lastError"]))
                .collect();
            if rules.len() >= 20 && bad.is_empty() { Ok(()) } else { Err(format!("{} {bad:?}", rules.len())) }
        });
    });
}

#[test]
fn interop_deploy_unit_passes_systemd_and_is_exposed_little() {
    with_peers(|_| {
        // `verify` wants the program to be where the unit has it.
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("chronolith.service");
        let program = crate::harness::chronolith::binary();
        std::fs::write(&unit, text("deploy/systemd/chronolith.service").replace("/usr/local/bin/chronolith", &program))
            .unwrap();
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&unit);
        let (status, said, error) = process::run(verify);
        assert_eq!((status, said.as_str(), error.as_str()), (Some(0), "", ""));
        // 12 is 1.2 of 10.
        run_well("systemd-analyze", &["security", "--offline=true", "--threshold=12", unit.to_str().unwrap()]);
        let mut users = Command::new("systemd-sysusers");
        users.args(["--dry-run"]).arg(path("systemd/chronolith.sysusers"));
        let (status, _, error) = process::run(users);
        assert_eq!(status, Some(0), "{error}");
    });
}

/// Names of system calls of one of systemd's groups.
fn system_calls(group: &str) -> BTreeSet<String> {
    let listed = run_well("systemd-analyze", &["syscall-filter", group]);
    let mut calls = BTreeSet::new();
    for line in listed.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('@') { calls.extend(system_calls(line)) } else { calls.extend([line.to_owned()]) }
    }
    calls
}

#[test]
fn faults_system_calls_of_a_server_are_those_that_the_unit_allows() {
    with_peers(|_| {
        let unit = text("deploy/systemd/chronolith.service");
        let mut allowed = BTreeSet::new();
        for filter in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
            match filter.strip_prefix('~') {
                Some(denied) => {
                    let denied: BTreeSet<String> = denied.split(' ').flat_map(system_calls).collect();
                    allowed.retain(|call| !denied.contains(call));
                }
                None => allowed.extend(filter.split(' ').flat_map(system_calls)),
            }
        }
        assert!(allowed.contains("fdatasync") && !allowed.contains("mount") && !allowed.contains("setuid"));
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace");
        let strace = ["strace", "-f", "-qq", "--signal=none", "-o", trace.to_str().unwrap()];
        let settings =
            Settings::default().wrapped(&strace).with("web.enable_admin_api", "true").with("storage.reserve", "1MiB");
        let mut server = Chronolith::start_with(&dir.path().join("data"), settings);
        let post =
            |path: &str, body: &[u8]| crate::harness::http::request(server.address, "POST", path, &[], body).unwrap();
        assert_eq!(post("/api/v1/import/prometheus", b"up 1\n").status, 204);
        for path in ["/api/v1/admin/storage/flush", "/api/v1/admin/storage/verify", "/api/v1/admin/tsdb/snapshot"] {
            assert_eq!(post(path, b"").status, 200, "{path}");
        }
        assert_eq!(server.get("/metrics").status, 200);
        let child = run_well("pgrep", &["-P", &server.process.pid().to_string()]);
        run_well("kill", &["-TERM", child.trim()]);
        server.process.wait(Duration::from_secs(60));
        let used: BTreeSet<String> = std::fs::read_to_string(trace)
            .unwrap()
            .lines()
            .filter_map(|line| {
                let call = line.split_once(' ')?.1.trim_start().split('(').next()?;
                (!call.is_empty() && call.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
                    .then(|| call.to_owned())
            })
            .collect();
        assert!(used.contains("fdatasync") && used.len() > 30, "{used:?}");
        let denied: Vec<&String> = used.difference(&allowed).collect();
        assert!(denied.is_empty(), "{denied:?}");
    });
}

#[test]
fn faults_server_with_a_read_only_root_writes_to_its_data_directory_alone() {
    with_peers(|_| {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let make = format!(
            "mount --bind {0} {0} && mount -o remount,bind,ro / && ! touch {1}/probe 2>/dev/null && exec \"$@\"",
            data.display(),
            dir.path().display()
        );
        let settings = Settings::default().wrapped(&["unshare", "--mount", "sh", "-c", &make, "sh"]);
        let settings = settings.with("web.enable_admin_api", "true").with("storage.reserve", "1MiB");
        let server = Chronolith::start_with(&data, settings);
        let post =
            |path: &str, body: &[u8]| crate::harness::http::request(server.address, "POST", path, &[], body).unwrap();
        assert_eq!(post("/api/v1/import/prometheus", b"up 1\n").status, 204);
        for path in ["flush", "compact", "checkpoint", "verify"] {
            assert_eq!(post(&format!("/api/v1/admin/storage/{path}"), b"").status, 200, "{path}");
        }
        assert_eq!(server.get("/health").json()["status"], "ok");
    });
}

#[test]
fn interop_deploy_files_fit_the_schemas_of_kubernetes_and_compose_and_pass_hadolint() {
    with_peers(|_| {
        let packages = packages::of_python("deploy-checkers", CHECKERS);
        let module = |module: &str, arguments: &[&str]| {
            let mut python = Command::new("python3");
            python.args(["-m", module]).args(arguments).env("PYTHONPATH", &packages);
            let (status, said, error) = process::run(python);
            assert_eq!(status, Some(0), "{module} {arguments:?}\n{said}\n{error}");
        };
        let file = |name: &str| path(name).display().to_string();
        for manifest in ["kubernetes/statefulset.yaml", "kubernetes/services.yaml"] {
            module("kubernetes_validate", &["--strict", &file(manifest)]);
        }
        module("check_jsonschema", &["--builtin-schema", "vendor.compose-spec", &file("compose.yaml")]);
        let image = path("../Dockerfile").display().to_string();
        run_well(packages.join("bin/hadolint"), &[&image]);
    });
}
