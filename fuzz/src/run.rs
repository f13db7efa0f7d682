//! Runs a target on one input after the other.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::FileExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::coverage::Coverage;
use crate::memory::peak_of;
use crate::mutate::{Random, mutate};
use crate::options::Options;
use crate::targets::Target;

/// Builds without optimization take much of it for a query that is as deep as may be.
const STACK_BYTES: usize = 512 << 20;
/// How often a failing input is made smaller.
const CUTS_MAX: usize = 3000;
/// Of so many inputs one keeps the checksums that mutation left it.
const UNREPAIRED: usize = 8;

/// Where and why the last panic was.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs a target here; whether nothing was found. `current` is told each input before it is run.
pub fn run(target: &'static Target, options: &Options, current: &Path) -> bool {
    panic::set_hook(Box::new(|info| {
        let mut last = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        *last = info.to_string();
    }));
    let (options, current) = (options.clone(), current.to_owned());
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let file = File::create(&current).expect("the directory for temporary files can be written");
        Runner { target, file, number: 0, taken: 0, coverage: Coverage::default(), peak: 0 }.run(&options)
    });
    thread.is_ok_and(|thread| thread.join().unwrap_or(false))
}

struct Runner {
    target: &'static Target,
    file: File,
    number: u64,
    /// Inputs of which something was made.
    taken: u64,
    coverage: Coverage,
    /// The most memory that an input took.
    peak: usize,
}

impl Runner {
    fn run(mut self, options: &Options) -> bool {
        let began = Instant::now();
        if let Some(path) = &options.input {
            let input = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            return match self.fails(&input) {
                None => true,
                Some(what) => {
                    eprintln!("{}: {what}", self.target.name);
                    false
                }
            };
        }
        let mut corpus = kept(&options.kept.join(self.target.name));
        corpus.extend((self.target.seeds)());
        for input in &corpus {
            if let Some(what) = self.fails(input) {
                return self.found(options, input.clone(), what);
            }
        }
        if self.taken == 0 {
            eprintln!("{}: nothing was made of what it was given, so nothing can be found", self.target.name);
            return false;
        }
        let mut random = Random::new(options.seed);
        let seeds = corpus.len();
        for _ in 0..options.count {
            if options.limit.is_some_and(|limit| began.elapsed() > limit) {
                break;
            }
            let empty = Vec::new();
            let other = random.pick(&corpus).unwrap_or(&empty).clone();
            let mut input = random.pick(&corpus).unwrap_or(&empty).clone();
            mutate(&mut random, &mut input, &other, self.target.words);
            if random.below(UNREPAIRED) != 0 {
                (self.target.repair)(&mut input);
            }
            if let Some(what) = self.fails(&input) {
                return self.found(options, input, what);
            }
            if self.coverage.is_new() {
                corpus.push(input);
            }
        }
        let (name, inputs, taken) = (self.target.name, self.number, self.taken);
        let (new, places) = (corpus.len() - seeds, self.coverage.places());
        let covered =
            if places > 0 { format!(", {new} of them reached new code, {places} places") } else { String::new() };
        println!(
            "{name}: {inputs} inputs, something made of {taken}, {seeds} given{covered}; at most {} KiB allocated; {:.1} s",
            self.peak >> 10,
            began.elapsed().as_secs_f64()
        );
        true
    }

    /// Why an input fails, if it does.
    fn fails(&mut self, input: &[u8]) -> Option<String> {
        self.number += 1;
        let mut told = self.number.to_le_bytes().to_vec();
        told.extend((input.len() as u64).to_le_bytes());
        told.extend(input);
        self.file.write_all_at(&told, 0).expect("the file for the current input can be written");
        self.coverage.clear();
        let (result, peak) = peak_of(|| panic::catch_unwind(AssertUnwindSafe(|| (self.target.run)(input))));
        self.peak = self.peak.max(peak);
        let bound = self.target.bytes_fixed + self.target.bytes_each * input.len();
        match result {
            Err(_) => Some(PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            Ok(_) if peak > bound => Some(format!("{peak} bytes allocated for {}, at most {bound}", input.len())),
            Ok(taken) => {
                self.taken += u64::from(taken);
                None
            }
        }
    }

    /// Makes a failing input as small as it gets, and keeps it.
    fn found(&mut self, options: &Options, mut input: Vec<u8>, mut what: String) -> bool {
        let mut step = input.len().div_ceil(2);
        let mut cuts = 0;
        while step > 0 && cuts < CUTS_MAX {
            let mut at = 0;
            while at < input.len() && cuts < CUTS_MAX {
                cuts += 1;
                let mut shorter = input.clone();
                shorter.drain(at..(at + step).min(input.len()));
                match self.fails(&shorter) {
                    Some(still) => (input, what) = (shorter, still),
                    None => at += step,
                }
            }
            step /= 2;
        }
        keep(self.target, &options.kept, &input, &what);
        false
    }
}

/// Writes an input down that failed, and says so.
pub fn keep(target: &Target, kept: &Path, input: &[u8], what: &str) {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let dir = kept.join(target.name);
    let path = dir.join(format!("{:016x}", hasher.finish()));
    let written = fs::create_dir_all(&dir).and_then(|()| fs::write(&path, input));
    let place = written.map_or_else(|error| error.to_string(), |()| path.display().to_string());
    let start = String::from_utf8_lossy(input.get(..input.len().min(200)).unwrap_or_default()).into_owned();
    eprintln!("{}: {what}\n  input of {} bytes, kept as {place}: {start:?}", target.name, input.len());
}

/// Which input a target is at, and the input.
pub fn read_current(path: &Path) -> Option<(u64, Vec<u8>)> {
    let bytes = fs::read(path).ok()?;
    let (number, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let input = rest.get(..u64::from_le_bytes(*length) as usize)?;
    Some((u64::from_le_bytes(*number), input.to_vec()))
}

/// The files of a directory, by name; none where there is no directory.
fn kept(dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| fs::read(path).ok()).collect()
}
