//! Programs of package registries that tests hold ours against. They come once, in the versions that the tests name, into a
//! directory that stays for later runs.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::process::run_well;

/// One installation at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A directory with what `install` puts there; it stays until `wanted` changes.
pub fn installed(name: &str, wanted: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mark = dir.join("installed.txt");
    if std::fs::read_to_string(&mark).ok().as_deref() != Some(wanted) {
        if dir.exists() {
            std::fs::remove_dir_all(&dir).unwrap();
        }
        std::fs::create_dir_all(&dir).unwrap();
        install(&dir);
        std::fs::write(mark, wanted).unwrap();
    }
    dir
}

/// A directory for `PYTHONPATH` with packages, one in a line with its version, and those that they need: no other comes.
pub fn of_python(name: &str, requirements: &str) -> PathBuf {
    installed(name, requirements, |dir| {
        let list = dir.join("requirements.txt");
        std::fs::write(&list, requirements).unwrap();
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"];
        let into = ["--no-deps", "--requirement", list.to_str().unwrap(), "--target", dir.to_str().unwrap()];
        run_well("python3", &[&install[..], &into].concat());
    })
}
