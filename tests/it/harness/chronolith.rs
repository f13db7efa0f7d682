//! The program under test: `chronolith serve` as a process, its commands, and its answers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::{self, Response};
use super::process::{self, Process, free_address};

/// How long a start may take.
const START: Duration = Duration::from_secs(60);

/// The binary that cargo built for this test run, or another one that `CHRONOLITH_BINARY` names.
pub fn binary() -> String {
    std::env::var("CHRONOLITH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_chronolith").to_owned())
}

/// The binary's command line, without this run's own variables in its environment.
pub fn command(arguments: &[&str]) -> Command {
    clean(Command::new(binary()), arguments)
}

fn clean(mut command: Command, arguments: &[&str]) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CHRONOLITH_")) {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Configuration keys and values, handed over as environment variables.
    pub values: Vec<(&'static str, String)>,
    /// Where the process' output goes, if not beside the data directory.
    pub log_dir: Option<PathBuf>,
    /// A program, with its arguments, that runs the server's command line: `prlimit`, `strace`.
    pub wrapper: Vec<String>,
}

impl Settings {
    /// Adds a configuration value by its key.
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.values.push((key, value.into()));
        self
    }

    /// Puts a program in front of the server's command line.
    pub fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }
}

/// A running server.
#[derive(Debug)]
pub struct Chronolith {
    /// The process; the wrapper's, where there is one.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    data_dir: PathBuf,
    settings: Settings,
}

impl Chronolith {
    /// Starts a server on `data_dir` and waits until it is ready.
    pub fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, Settings::default())
    }

    /// Starts a server with settings and waits until it is ready.
    pub fn start_with(data_dir: &Path, settings: Settings) -> Self {
        let mut server = Self::spawn(data_dir, settings);
        server.wait_ready();
        server
    }

    /// Starts a server and doesn't wait.
    pub fn spawn(data_dir: &Path, settings: Settings) -> Self {
        Self::respawn(data_dir, free_address(), settings)
    }

    /// Starts a server at an address that one had before, and doesn't wait.
    pub fn respawn(data_dir: &Path, address: SocketAddr, settings: Settings) -> Self {
        let process = spawn_process(data_dir, address, &settings);
        Chronolith { process, address, data_dir: data_dir.to_owned(), settings }
    }

    /// Waits until the server takes requests.
    pub fn wait_ready(&mut self) {
        self.process.wait_ready(self.address, "/-/ready", START);
    }

    /// Kills the server with SIGKILL and starts it again on the same directory and port.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = spawn_process(&self.data_dir, self.address, &self.settings);
        self.wait_ready();
    }

    /// Sends a GET that has to get an answer.
    pub fn get(&self, path: &str) -> Response {
        http::get(self.address, path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// An instant query's `data`, at a time in seconds.
    pub fn query(&self, expression: &str, time: f64) -> Value {
        let time = format!("{time:.3}");
        let response = http::post_form(self.address, "/api/v1/query", &[("query", expression), ("time", &time)])
            .unwrap_or_else(|error| panic!("query {expression}: {error}"));
        assert_eq!(response.status, 200, "query {expression}: {}", response.text());
        response.json()["data"].clone()
    }

    /// The sum of all samples of a metric in the server's own `/metrics`; `None` if there are none.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").text();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.strip_prefix(' ').or_else(|| Some(rest.strip_prefix('{')?.rsplit_once("} ")?.1))?;
            value.split(' ').next()?.parse::<f64>().ok()
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }
}

/// A server in a directory of its own, which goes with the first part.
pub fn start() -> (TempDir, Chronolith) {
    start_with(Settings::default())
}

/// The same with settings.
pub fn start_with(settings: Settings) -> (TempDir, Chronolith) {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start_with(&dir.path().join("data"), settings);
    (dir, server)
}

fn spawn_process(data_dir: &Path, address: SocketAddr, settings: &Settings) -> Process {
    let log_dir = settings.log_dir.as_deref().unwrap_or_else(|| data_dir.parent().unwrap());
    let binary = binary();
    let line: Vec<&str> = settings.wrapper.iter().map(String::as_str).chain([binary.as_str(), "serve"]).collect();
    let mut command = clean(Command::new(line[0]), &line[1..]);
    command.env("CHRONOLITH_DATA_DIR", data_dir).env("CHRONOLITH_LISTEN", address.to_string());
    // Servers of several tests run at once, and OTLP's own ports are always the same.
    command.env("CHRONOLITH_OTLP_GRPC_LISTEN", "").env("CHRONOLITH_OTLP_HTTP_LISTEN", "");
    // As the Prometheus that it is compared with.
    command.env("CHRONOLITH_ENABLE_FEATURE", "promql-experimental-functions");
    for (key, value) in &settings.values {
        command.env(format!("CHRONOLITH_{}", key.replace('.', "_").to_uppercase()), value);
    }
    Process::start("chronolith", command, log_dir)
}

/// Runs one of the binary's commands to its end; gives its status and both outputs.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    process::run(command(arguments))
}

/// Proves a directory with `chronolith verify`; panics with its report unless it is proven.
pub fn verify(data_dir: &Path, receipts: Option<&Path>) -> String {
    let mut arguments = vec!["verify", "--data-dir", data_dir.to_str().unwrap()];
    if let Some(receipts) = receipts {
        arguments.extend(["--receipts", receipts.to_str().unwrap()]);
    }
    let (status, stdout, stderr) = run(&arguments);
    assert_eq!(status, Some(0), "chronolith {}\n{stdout}\n{stderr}", arguments.join(" "));
    stdout
}
