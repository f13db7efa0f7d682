//! Builds the console from `web/` and hands it to the library as a table of compressed files.
//!
//! The work is done in a copy under `OUT_DIR`; nothing is written into the source tree. Without npm, or where a step of
//! it fails, the library is built without a console and a warning says why. `CHRONOLITH_CONSOLE` changes that:
//! `require` makes it an error, `off` leaves the console out.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

/// What `web/` holds beside its sources.
const NOT_SOURCES: &[&str] = &["node_modules", "dist"];
/// The dependencies of the build, as the lock file has them, from the cache where they are there. None of them gets to
/// run a program while it is installed.
const INSTALL: &[&str] =
    &["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"];
/// Lines of a failed program that are shown.
const SHOWN_LINES: usize = 15;

/// A file of the console that is to be embedded.
struct Asset {
    /// Its path below the console, with slashes.
    path: String,
    file: PathBuf,
    media_type: &'static str,
    /// A hash of the file.
    tag: u64,
}

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CHRONOLITH_CONSOLE");
    let path = |name: &str| env::var_os(name).map(PathBuf::from).unwrap_or_default();
    let (web, out) = (path("CARGO_MANIFEST_DIR").join("web"), path("OUT_DIR"));
    let wanted = env::var("CHRONOLITH_CONSOLE").unwrap_or_default();
    let assets = match wanted.as_str() {
        "off" => Ok(Vec::new()),
        "" | "require" => build(&web, &out.join("console")),
        other => {
            println!("cargo::error=CHRONOLITH_CONSOLE = {other:?} is not allowed: it takes require or off");
            return ExitCode::FAILURE;
        }
    };
    let assets = assets.unwrap_or_else(|fault| {
        let level = if wanted == "require" { "cargo::error" } else { "cargo:warning" };
        for line in format!("the console is not built in: {fault}").lines() {
            println!("{level}={line}");
        }
        Vec::new()
    });
    if let Err(error) = fs::write(out.join("console_assets.rs"), table(&assets)) {
        println!("cargo::error=write the table of the console: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Builds the console in `site` and gives its files.
fn build(web: &Path, site: &Path) -> Result<Vec<Asset>, String> {
    let sources = sources(web).map_err(|error| format!("read {}: {error}", web.display()))?;
    if !sources.iter().any(|(path, _)| path == Path::new("package.json")) {
        println!("cargo:rerun-if-changed={}", web.display());
        return Err("there is no web/package.json".to_owned());
    }
    let node = run(site, "node", &["--version"]).map_err(|fault| format!("{fault}; Node.js with npm builds it"))?;
    let (dist, built) = (site.join("dist"), site.join("built.stamp"));
    let stamp = format!("{:x}", hash(&(&sources, &node)));
    if fs::read_to_string(&built).ok().as_ref() != Some(&stamp) {
        // Gone first: a build that ends halfway has not been made.
        let _ = fs::remove_file(&built);
        copy(&sources, site).map_err(|error| format!("copy web/ to {}: {error}", site.display()))?;
        install(&sources, &node, site)?;
        run(site, "npm", &["run", "bundle"])?;
        run(site, "node", &["scripts/precompress.mjs", "dist"])?;
        fs::write(&built, stamp).map_err(|error| format!("write {}: {error}", built.display()))?;
    }
    assets(&dist).map_err(|error| format!("read {}: {error}", dist.display()))
}

/// The sources of the console, path and content, in order. Cargo is told to look at each of them again.
fn sources(web: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    if !web.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(web)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if !NOT_SOURCES.iter().any(|skipped| name == OsStr::new(skipped)) {
            println!("cargo:rerun-if-changed={}", path.display());
            files(&path, &mut found)?;
        }
    }
    found.sort();
    let mut sources = Vec::new();
    for path in found {
        let content = fs::read(&path)?;
        sources.push((path.strip_prefix(web).unwrap_or(&path).to_owned(), content));
    }
    Ok(sources)
}

/// Adds the files below a path, or the path itself.
fn files(path: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        files(&entry?.path(), found)?;
    }
    Ok(())
}

/// Makes `site` hold the sources, and of what it held before only what was installed.
fn copy(sources: &[(PathBuf, Vec<u8>)], site: &Path) -> io::Result<()> {
    fs::create_dir_all(site)?;
    for entry in fs::read_dir(site)? {
        let path = entry?.path();
        match path.file_name().and_then(OsStr::to_str) {
            Some("node_modules" | "installed.stamp") => {}
            _ if path.is_dir() => fs::remove_dir_all(path)?,
            _ => fs::remove_file(path)?,
        }
    }
    for (path, content) in sources {
        let target = site.join(path);
        fs::create_dir_all(target.parent().unwrap_or(site))?;
        fs::write(target, content)?;
    }
    Ok(())
}

/// Installs the dependencies, unless those of the same lock file are there.
fn install(sources: &[(PathBuf, Vec<u8>)], node: &str, site: &Path) -> Result<(), String> {
    let lock = sources.iter().find(|(path, _)| path == Path::new("package-lock.json"));
    let lock = lock.ok_or("there is no web/package-lock.json")?;
    let (file, stamp) = (site.join("installed.stamp"), format!("{:x}", hash(&(&lock.1, node))));
    if fs::read_to_string(&file).ok().as_ref() == Some(&stamp) {
        return Ok(());
    }
    let _ = fs::remove_file(&file);
    run(site, "npm", INSTALL)?;
    fs::write(&file, stamp).map_err(|error| format!("write {}: {error}", file.display()))
}

/// Runs a program to its end; gives what it wrote, or the last lines of it as an error.
fn run(dir: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    let line = format!("{program} {}", arguments.join(" "));
    fs::create_dir_all(dir).map_err(|error| format!("create {}: {error}", dir.display()))?;
    let output = Command::new(program).args(arguments).current_dir(dir).output();
    let output = output.map_err(|error| format!("{line}: {error}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
    Err(format!("{line}: {}\n{shown}", output.status))
}

/// The files of the built console, each of which has to be there in both encodings.
fn assets(dist: &Path) -> io::Result<Vec<Asset>> {
    let mut found = Vec::new();
    files(dist, &mut found)?;
    found.sort();
    let mut assets = Vec::new();
    for file in found {
        let path = file.strip_prefix(dist).unwrap_or(&file).to_string_lossy().into_owned();
        let extension = file.extension().and_then(OsStr::to_str).unwrap_or_default();
        if matches!(extension, "br" | "gz") {
            continue;
        }
        let Some(media_type) = media_type(extension) else {
            return Err(io::Error::other(format!("{path} is of no media type that is known")));
        };
        let tag = hash(&fs::read(&file)?);
        assets.push(Asset { path, file, media_type, tag });
    }
    if assets.iter().any(|asset| asset.path == "index.html") {
        Ok(assets)
    } else {
        Err(io::Error::other("it has no index.html"))
    }
}

fn media_type(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

/// The table as Rust.
fn table(assets: &[Asset]) -> String {
    let mut out = String::from("static ASSETS: &[Asset] = &[\n");
    for Asset { path, file, media_type, tag } in assets {
        let bytes = |encoding: &str| format!("include_bytes!({:?})", format!("{}.{encoding}", file.display()));
        let _ = writeln!(
            out,
            "    Asset {{ path: {path:?}, media_type: {media_type:?}, tag: \"{tag:016x}\", br: {}, gzip: {} }},",
            bytes("br"),
            bytes("gz"),
        );
    }
    out.push_str("];\n");
    out
}

/// The same for the same content, also in another process: the hasher has no random key.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
