//! The programs that Chronolith is tested against: Prometheus, promtool, node_exporter, VictoriaMetrics and vmagent, from
//! the directory that `CHRONOLITH_PEERS` names. Where the variable is not set, the tests that need them are left out; where it is set,
//! whatever is missing is a failure.

use std::env;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Process, free_address};

/// The variable that makes these tests mandatory.
pub const VARIABLE: &str = "CHRONOLITH_PEERS";

/// The programs.
#[derive(Debug, Clone)]
pub struct Peers {
    dir: PathBuf,
}

impl Peers {
    /// The peers, or `None` if the tests that need them are left out of this run.
    pub fn find() -> Option<Self> {
        let dir = PathBuf::from(env::var_os(VARIABLE)?);
        for program in ["prometheus", "promtool", "prometheus-node-exporter", "victoria-metrics", "vmagent"] {
            assert!(dir.join(program).is_file(), "{VARIABLE}={} holds no {program}", dir.display());
        }
        Some(Peers { dir })
    }

    /// The path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts a node_exporter.
    pub fn node_exporter(&self, dir: &Path) -> (Process, SocketAddr) {
        let address = free_address();
        let mut command = Command::new(self.program("prometheus-node-exporter"));
        command.arg(format!("--web.listen-address={address}"));
        let mut process = Process::start("node_exporter", command, dir);
        process.wait_ready(address, "/metrics", Duration::from_secs(30));
        (process, address)
    }

    /// Starts a VictoriaMetrics with its data in `dir`.
    pub fn victoria_metrics(&self, dir: &Path) -> (Process, SocketAddr) {
        self.victoria_metrics_with(dir, &[])
    }

    /// The same with further arguments.
    pub fn victoria_metrics_with(&self, dir: &Path, arguments: &[&str]) -> (Process, SocketAddr) {
        let address = free_address();
        let mut command = Command::new(self.program("victoria-metrics"));
        command
            .arg(format!("-httpListenAddr={address}"))
            .arg(format!("-storageDataPath={}", dir.join("victoria-metrics").display()))
            .arg("-retentionPeriod=100y")
            .args(arguments);
        let mut process = Process::start("victoria-metrics", command, dir);
        process.wait_ready(address, "/-/ready", Duration::from_secs(30));
        (process, address)
    }

    /// Starts a Prometheus on `data_dir` with a configuration, and waits until it is ready.
    pub fn prometheus(&self, data_dir: &Path, config: &str) -> Prometheus {
        self.prometheus_with(data_dir, config, &[])
    }

    /// The same with further arguments.
    pub fn prometheus_with(&self, data_dir: &Path, config: &str, arguments: &[&str]) -> Prometheus {
        self.start(free_address(), data_dir, config, arguments)
    }

    /// The same with an address that was chosen before, since the configuration speaks of it.
    pub fn prometheus_at(&self, address: SocketAddr, data_dir: &Path, config: &str) -> Prometheus {
        self.start(address, data_dir, config, &[])
    }

    /// The same with both.
    pub fn prometheus_with_at(
        &self,
        address: SocketAddr,
        data_dir: &Path,
        config: &str,
        arguments: &[&str],
    ) -> Prometheus {
        self.start(address, data_dir, config, arguments)
    }

    fn start(&self, address: SocketAddr, data_dir: &Path, config: &str, arguments: &[&str]) -> Prometheus {
        let dir = data_dir.parent().unwrap();
        let config_file = dir.join(format!("prometheus-{}.yml", address.port()));
        std::fs::write(&config_file, config).unwrap();
        let mut command = Command::new(self.program("prometheus"));
        command
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.tsdb.path={}", data_dir.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            // Functions behind this flag are part of the language that Chronolith speaks.
            .arg("--enable-feature=promql-experimental-functions")
            .args(arguments);
        let mut process = Process::start("prometheus", command, dir);
        process.wait_ready(address, "/-/ready", Duration::from_secs(60));
        Prometheus { process, address }
    }
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Runs `test` with the peers; where they are left out, it says nothing: [`say_what_is_left_out`] does.
pub fn with_peers(test: impl FnOnce(&Peers)) {
    if let Some(peers) = Peers::find() {
        test(&peers);
    }
}

/// One line for people about the tests that this run leaves out, past the test runner's capture.
pub fn say_what_is_left_out() {
    if env::var_os(VARIABLE).is_none() {
        let line = format!(
            "\nleft out: interop_* and faults_*, which run against Prometheus, promtool, node_exporter, vmagent and strace's fault \
             injection; to run them as root: {VARIABLE}=DIRECTORY_OF_THESE_PROGRAMS cargo test\n"
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
