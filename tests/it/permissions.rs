//! A start where the data directory belongs to somebody else: it ends with 2 and says path, owner, mode, who asks, and what
//! to do. Root may do everything, so the server runs as another user; that takes root, as all of `faults_`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::peers::with_peers;
use crate::harness::process::run_well;
use crate::harness::{Chronolith, Settings, http};

/// A user that owns nothing.
const USER: u32 = 64_321;
const AS_USER: &[&str] = &["setpriv", "--reuid=64321", "--regid=64321", "--clear-groups"];

/// A directory below which the other user may pass, and the program where that user may run it.
struct Place {
    dir: TempDir,
    wrapper: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        // The build directory may lie where only its owner gets.
        let binary = dir.path().join("chronolith");
        fs::copy(crate::harness::chronolith::binary(), &binary).unwrap();
        set_mode(&binary, 0o755);
        let run = format!("shift; exec {} \"$@\"", binary.display());
        let wrapper = AS_USER.iter().copied().chain(["sh", "-c", &run, "sh"]).map(str::to_owned).collect();
        Place { dir, wrapper }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn settings(&self) -> Settings {
        Settings { wrapper: self.wrapper.clone(), ..Settings::default() }
    }

    /// What a server says that ends at its start.
    fn refusal(&self, data: &Path) -> String {
        let settings = Settings { log_dir: Some(self.dir.path().to_owned()), ..self.settings() };
        let mut server = Chronolith::spawn(data, settings);
        let status = server.process.wait(Duration::from_secs(60));
        let log = server.process.log();
        assert_eq!(status.code(), Some(2), "{log}");
        log.lines().last().unwrap_or_default().to_owned()
    }

    /// A data directory with a sample, a full log and a block, which the other user owns.
    fn filled(&self) -> PathBuf {
        let data = self.data();
        fs::create_dir(&data).unwrap();
        chown(&data, Some(USER), Some(USER)).unwrap();
        let mut server = Chronolith::start_with(&data, self.settings().with("web.enable_admin_api", "true"));
        let written = http::request(server.address, "POST", "/api/v1/import/prometheus", &[], b"up 1\n").unwrap();
        assert_eq!(written.status, 204, "{}", written.text());
        let flushed = http::request(server.address, "POST", "/api/v1/admin/storage/flush", &[], &[]).unwrap();
        assert_eq!(flushed.status, 200, "{}", flushed.text());
        server.process.terminate(Duration::from_secs(30));
        data
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn give(path: &Path, user: u32, mode: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    set_mode(path, mode);
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[test]
fn faults_data_dir_of_another_user_is_refused_with_owner_mode_and_advice() {
    with_peers(|_| {
        let place = Place::new();
        let data = place.data();
        fs::create_dir(&data).unwrap();
        set_mode(&data, 0o750);
        let path = data.display().to_string();
        let chown_it = format!("chown -R 64321:64321 {path}");
        let who = ["belongs to 0:0 with mode 0750", "runs as 64321:64321", &chown_it, "fsGroup"];
        assert_says(&place.refusal(&data), &[&[path.as_str(), "listed and written"], &who[..]].concat());

        // One that may be read and not written, as a volume without `fsGroup` is.
        set_mode(&data, 0o755);
        assert_says(&place.refusal(&data), &[&path, "mode 0755", "listed and written"]);

        // One that is not there, and cannot be made.
        let error = place.refusal(&data.join("deep/er"));
        assert_says(&error, &[&path, "written, to make the data directory in it"]);

        // One behind a directory that may not be entered.
        set_mode(&data, 0o700);
        assert_says(&place.refusal(&data.join("deep/er")), &[&format!("{path} may not be entered"), "mode 0700"]);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "nothing was made");
    });
}

#[test]
fn faults_file_of_another_user_in_the_data_dir_is_refused_by_name() {
    with_peers(|_| {
        let place = Place::new();
        let data = place.filled();
        let segment = fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path());
        let segment = segment.filter(|path| path.is_file()).max().unwrap();
        for (path, mode, needs) in [
            (data.join("lock"), 0o644, "read and written"),
            (data.join("wal"), 0o755, "listed and written"),
            (segment, 0o600, "read and written"),
            (data.join("chunks_head"), 0o700, "listed and written"),
            (data.join("ledger"), 0o500, "listed and written"),
            (data.join("ledger/entries"), 0o644, "read and written"),
        ] {
            let before = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            give(&path, 0, mode);
            let mode = format!("belongs to 0:0 with mode {mode:04o}");
            assert_says(&place.refusal(&data), &[&format!("{} may not be {needs}", path.display()), &mode]);
            give(&path, USER, before);
        }
        let server = Chronolith::start_with(&data, place.settings());
        assert_eq!(server.query("last_over_time(up[1h])", now())["result"][0]["value"][1], "1");
    });
}

#[test]
fn faults_block_of_another_user_is_named_and_the_rest_is_served() {
    with_peers(|_| {
        let place = Place::new();
        let data = place.filled();
        let is_block = |path: &PathBuf| path.join("meta.json").exists();
        let block = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).find(is_block).unwrap();
        give(&block.join("index"), 0, 0o600);
        let snapshots = data.join("snapshots");
        fs::create_dir(&snapshots).unwrap();
        let mut server = Chronolith::start_with(&data, place.settings());
        let unreadable = format!("{} may not be read", block.join("index").display());
        let unwritable = format!("{} may not be listed and written", snapshots.display());
        assert_says(&server.process.log(), &[&unreadable, &unwritable]);
        let health = server.get("/health").json();
        assert_eq!(health["status"], "warning", "{health}");
        assert!(block.exists(), "it stays where it was, for it is not damaged");

        give(&block.join("index"), USER, 0o644);
        server.kill_and_restart();
        assert_eq!(server.query("last_over_time(up[1h])", now())["result"][0]["value"][1], "1");
    });
}

#[test]
fn faults_data_dir_on_a_read_only_file_system_is_refused_by_that_word() {
    with_peers(|_| {
        let place = Place::new();
        let mount = place.dir.path().join("volume");
        let disk = crate::harness::faults::SmallDisk::mount(&mount, 8 << 20);
        let there = mount.join("data");
        fs::create_dir(&there).unwrap();
        give(&there, USER, 0o755);
        run_well("mount", &["-o", "remount,ro", mount.to_str().unwrap()]);
        for data in [there, mount.join("new")] {
            assert_says(&place.refusal(&data), &["lies on a read-only file system", "mount it writable"]);
        }
        drop(disk);
    });
}

#[test]
fn data_dir_that_is_a_file_is_refused_by_that_word() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data");
    fs::write(&file, "").unwrap();
    for (data, named) in [(file.clone(), &file), (file.join("below"), &file)] {
        let settings = Settings { log_dir: Some(dir.path().to_owned()), ..Settings::default() };
        let mut server = Chronolith::spawn(&data, settings);
        assert_eq!(server.process.wait(Duration::from_secs(60)).code(), Some(2));
        assert_says(&server.process.log(), &[&format!("{} is a file and has to be a directory", named.display())]);
    }
}

fn now() -> f64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}
