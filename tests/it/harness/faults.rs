//! Faults of the system under a running process: failing system calls by strace, a file system that is full, and limits.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{Process, run_well};
use super::wait_for;

/// System calls that fail while this value lives.
#[derive(Debug)]
pub struct Injection {
    strace: Process,
}

impl Injection {
    /// Lets system calls of a process fail, such as `fdatasync:error=EIO`, where they concern files of `dir`.
    ///
    /// Only files count, so that sockets, pipes and the runtime's wake-ups go on. strace wants the names beforehand: they
    /// are the directory, the numbered segments that it may come to hold, and the temporary names of them.
    pub fn start(pid: u32, dir: &Path, inject: &[&str]) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string()]);
        let calls: Vec<&str> = inject.iter().map(|one| one.split(':').next().unwrap()).collect();
        command.arg(format!("--trace={}", calls.join(",")));
        for one in inject {
            command.arg(format!("--inject={one}"));
        }
        command.arg("-P").arg(dir);
        for number in 0..400 {
            command.arg("-P").arg(dir.join(format!("{number:08}")));
        }
        let strace = Process::start("strace", command, dir.parent().unwrap().parent().unwrap());
        let attached = format!("Process {pid} attached");
        wait_for("strace attached", Duration::from_secs(20), || {
            let log = strace.log();
            log.contains(&attached).then_some(()).ok_or(log)
        });
        Injection { strace }
    }

    /// How many calls have failed by it so far.
    pub fn count(&self) -> usize {
        self.strace.log().matches("(INJECTED)").count()
    }

    /// Waits until so many calls have failed.
    pub fn wait_for_count(&self, count: usize) {
        wait_for("injected faults", Duration::from_secs(20), || {
            let have = self.count();
            (have >= count).then_some(()).ok_or_else(|| format!("{have} of {count}: {}", self.strace.log()))
        });
    }

    /// Ends the fault: detaches. Gives how many calls failed.
    pub fn end(mut self) -> usize {
        self.strace.terminate(Duration::from_secs(20));
        self.count()
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // A strace that is killed takes nothing with it, but SIGTERM detaches in good order.
        self.strace.signal("TERM");
    }
}

/// A small file system in memory, mounted while this value lives.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `bytes`.
    pub fn mount(path: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        run_well("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "chronolith-test", path.to_str().unwrap()]);
        SmallDisk { path: path.to_owned() }
    }

    /// Gives it another size, not below what it holds.
    pub fn resize(&self, bytes: u64) {
        assert!(self.try_resize(bytes), "resize {} to {bytes}", self.path.display());
    }

    /// Takes away what is free but for `bytes`, while others may be writing to it.
    pub fn leave_free(&self, bytes: u64) {
        wait_for("a smaller disk", Duration::from_secs(10), || {
            self.try_resize(self.used() + bytes).then_some(()).ok_or_else(|| "it grew meanwhile".to_owned())
        });
    }

    fn try_resize(&self, bytes: u64) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={bytes}")]).arg(&self.path).stderr(Stdio::null());
        mount.status().unwrap().success()
    }

    fn used(&self) -> u64 {
        let text = run_well("df", &["--block-size=1", "--output=used", self.path.to_str().unwrap()]);
        text.lines().nth(1).unwrap().trim().parse().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open loses it with the mount.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).stderr(Stdio::null()).status();
    }
}

/// A control group with a memory limit, removed when dropped.
#[derive(Debug)]
pub struct MemoryLimit {
    dir: PathBuf,
}

impl MemoryLimit {
    /// Makes one, by either version of control groups. `None` where they cannot be written.
    pub fn new(name: &str, bytes: u64) -> Option<Self> {
        let unique = format!("chronolith-{name}-{}", std::process::id());
        let roots = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        roots.into_iter().find_map(|(root, file)| {
            let dir = Path::new(root).join(&unique);
            std::fs::create_dir(&dir).ok()?;
            let limit = MemoryLimit { dir };
            std::fs::write(limit.dir.join(file), bytes.to_string()).ok()?;
            Some(limit)
        })
    }

    /// A command line that runs what follows it in the group.
    pub fn wrapper(&self) -> Vec<String> {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.dir.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}
