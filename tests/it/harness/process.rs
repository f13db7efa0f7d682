//! Child processes that never outlive their test, and waiting that is bounded.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::http;

/// Between two looks at something that another process does.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `done` gives a value. Panics with `what` and the last complaint once `limit` has passed.
pub fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match done() {
            Ok(value) => return value,
            Err(complaint) if start.elapsed() > limit => panic!("{what}: not within {limit:?}: {complaint}"),
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// A running program; killed when dropped, and its log shown if the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with both its outputs in a file of `log_dir`.
    pub fn start(name: &str, mut command: Command, log_dir: &Path) -> Self {
        let log = unused_path(log_dir, name);
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Process { name: name.to_owned(), child, log }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        // It may have ended meanwhile.
        let _ = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).stderr(Stdio::null()).status();
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        wait_for(&format!("end of {name}"), limit, || self.ended().ok_or_else(|| "still running".to_owned()))
    }

    /// Asks it to end by SIGTERM and waits for that.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(limit)
    }

    /// Waits until `path` answers 200.
    pub fn wait_ready(&mut self, address: SocketAddr, path: &str, limit: Duration) {
        let name = self.name.clone();
        wait_for(&format!("{name} ready"), limit, || {
            if let Some(status) = self.ended() {
                panic!("{name} ended with {status} before it was ready:\n{}", self.log());
            }
            match http::get(address, path) {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(format!("{} {}", response.status, response.text())),
                Err(error) => Err(error.to_string()),
            }
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- last lines of {}:", self.name);
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Runs a program to its end; gives its status and both outputs.
pub fn run(mut command: Command) -> (Option<i32>, String, String) {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Runs a program that has to succeed; gives its standard output.
pub fn run_well(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    let mut command = Command::new(&program);
    command.args(arguments);
    let (status, stdout, stderr) = run(command);
    assert_eq!(status, Some(0), "{} {arguments:?}\n{stdout}\n{stderr}", program.as_ref().display());
    stdout
}

/// An address of this machine that nothing listens on.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A directory that goes with its handle, unless `CHRONOLITH_KEEP` is set: then it stays, and is named, for a person to
/// look at.
pub fn temp_dir() -> TempDir {
    let mut dir = tempfile::tempdir().unwrap();
    if std::env::var_os("CHRONOLITH_KEEP").is_some() {
        dir.disable_cleanup(true);
        eprintln!("kept: {}", dir.path().display());
    }
    dir
}

/// Copies a directory with all that is in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn unused_path(dir: &Path, name: &str) -> PathBuf {
    (0..).map(|number| dir.join(format!("{name}.{number}.log"))).find(|path| !path.exists()).unwrap()
}
