//! At start: the chunks that the head chunk files hold, so that replay need not build them again.
//!
//! Chunks are read up to the first place that is not good. All of a series' chunks before that place are complete up to
//! the newest of them, so replay passes over samples up to there and takes the rest from the log. What lies behind is
//! moved out of the way, so that Prometheus can open the directory too: a torn tail, which every crash may leave, is
//! cut, as all of it is in the log; damage goes to quarantine, with the files behind it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::flush::FileContent;
use super::series::{ChunkPlace, FullChunk};
use super::watermark::{Noted, Watermark};
use super::{Head, HeadOptions, Shared};
use crate::chunk::head_file::{self, ScanReport};
use crate::chunk::{self, ChunkRef, HeadChunkEntry, HeadChunkFileReader, OUT_OF_ORDER};
use crate::fs::Fs;
use crate::fs::names::{head_chunk_file, parse_head_chunk_file};
use crate::model::{ChunkEncoding, TimestampMs};

/// The chunks of one series that were found in files. Out-of-order ones are not among them: the files do not tell which
/// of them blocks hold meanwhile, and the log has their samples.
#[derive(Debug, Default)]
pub(super) struct LoadedChunks {
    /// In-order ones, in time order.
    pub(super) full: Vec<FullChunk>,
    /// Samples in those.
    pub(super) samples: u64,
}

/// Chunks by the series' reference in the log.
pub(super) type Loaded = HashMap<u64, LoadedChunks>;

/// What was found in the head chunk files, and what was done about damage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Good chunks.
    pub chunks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Good chunks among them that hold out-of-order samples.
    pub chunks_out_of_order: u64,
    /// Chunks of a kind that is not read here; their samples come from the log, as far as it holds them.
    pub chunks_skipped: u64,
    /// What was damaged, where; `None` where nothing was, but perhaps a torn tail.
    pub damage: Option<String>,
    /// Files in quarantine that hold the damaged bytes and all behind them.
    pub quarantined: Vec<PathBuf>,
    /// Bytes of a torn tail that were cut.
    pub torn_bytes: u64,
    /// Chunks of a known kind that don't fit those before them; their samples come from the log.
    pub chunks_refused: u64,
    /// Up to where the log need not be read, as the chunks hold what it holds.
    pub watermark: Option<Watermark>,
    /// Whether chunks are missing in the midst of the files, so that they are better set aside ([`Head::set_chunks_aside`]).
    pub lacks_chunks: bool,
    /// Why damage could not be moved out of the way. It is passed over, and the next start tries again.
    pub repair_failure: Option<String>,
}

impl Head {
    /// Opens the head of a data directory with the chunks of its files. Their series get names by
    /// [`replay`](Head::replay) of the log.
    pub fn open(
        options: HeadOptions,
        fs: Arc<dyn Fs>,
        chunks_dir: &Path,
        quarantine_dir: &Path,
    ) -> io::Result<(Self, LoadReport)> {
        let mut loaded = Loaded::new();
        let mut report = LoadReport::default();
        let mut contents: BTreeMap<u32, FileContent> = BTreeMap::new();
        let scan = head_file::scan(&*fs, chunks_dir, |chunk, entry| {
            let content = contents.entry(chunk.file()).or_insert(FileContent::NOTHING);
            if entry.encoding & OUT_OF_ORDER == 0 {
                content.newest_ms = content.newest_ms.max(Some(entry.max_time_ms));
            }
            load(&mut loaded, &mut report, chunk, entry);
        })?;
        match Watermark::read(&*fs, chunks_dir, &scan) {
            Noted::Holds(watermark) => report.watermark = Some(watermark).filter(|_| report.chunks_refused == 0),
            Noted::OfLongerFiles => report.lacks_chunks = true,
            Noted::Nothing => {}
        }
        for &file in &scan.files {
            contents.entry(file).or_insert(FileContent::NOTHING);
        }
        let mut last_file = scan.files.last().copied().unwrap_or(0);
        if let Err(error) = repair(&*fs, chunks_dir, quarantine_dir, &scan, &mut report) {
            tracing::warn!(%error, "damaged head chunk files not moved to quarantine");
            report.repair_failure = Some(error.to_string());
            let entries = fs.list(chunks_dir)?;
            let files = entries.iter().filter_map(|entry| parse_head_chunk_file(&entry.name));
            // Damaged files are for the next start to move, so they stay, and those behind them.
            let damaged = files.filter(|file| scan.stop.as_ref().is_some_and(|stop| *file >= stop.file));
            contents.extend(
                damaged.map(|file| (file, FileContent { newest_ms: Some(TimestampMs::MAX), ..FileContent::NOTHING })),
            );
            last_file = contents.keys().max().copied().unwrap_or(last_file);
        }
        if let Err(error) = cut_zero_ends(&*fs, chunks_dir, &scan) {
            tracing::warn!(%error, "head chunk files that end in zeros not cut; the next start tries again");
        }
        if let Err(error) = make_durable(&*fs, chunks_dir) {
            tracing::warn!(%error, "head chunk files not synced; the head is better made from the log alone");
            report.lacks_chunks = true;
        }
        let newest_ref = loaded.keys().max().copied().unwrap_or(0);
        let mut head = Self::with_files(options, fs, chunks_dir, last_file, contents)?;
        head.shared.skip_refs_to(newest_ref);
        head.loaded = Mutex::new(loaded);
        Ok((head, report))
    }

    /// Opens the head of a data directory that is only looked at: chunks are read from its files, and none is written.
    /// Damage stays where it is.
    pub fn open_read_only(options: HeadOptions, fs: Arc<dyn Fs>, chunks_dir: &Path) -> io::Result<(Self, LoadReport)> {
        let mut loaded = Loaded::new();
        let mut report = LoadReport::default();
        let scan = head_file::scan(&*fs, chunks_dir, |chunk, entry| load(&mut loaded, &mut report, chunk, entry))?;
        report.lacks_chunks = Watermark::read(&*fs, chunks_dir, &scan) == Noted::OfLongerFiles;
        if let Some(stop) = scan.stop.filter(|stop| !stop.is_torn_tail) {
            let path = head_chunk_file(chunks_dir, stop.file);
            report.damage = Some(format!("{} in {} at byte {}", stop.what, path.display(), stop.offset));
        }
        let newest_ref = loaded.keys().max().copied().unwrap_or(0);
        let reader = HeadChunkFileReader::new(fs, chunks_dir.to_owned());
        let shared = Arc::new(Shared::new(options, Some(reader)));
        shared.skip_refs_to(newest_ref);
        Ok((Head { shared, flusher: None, loaded: Mutex::new(loaded) }, report))
    }
}

impl Head {
    /// Moves all head chunk files to quarantine: for a head that is to be made from the log alone. Says where they are.
    pub fn set_chunks_aside(fs: &dyn Fs, chunks_dir: &Path, quarantine_dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs.create_dir_all(quarantine_dir)?;
        let mut moved = Vec::new();
        // The newest first, so that there is no gap in what a crash leaves.
        for entry in fs.list(chunks_dir)?.iter().rev() {
            let Some(file) = parse_head_chunk_file(&entry.name) else { continue };
            let target = free_name(fs, quarantine_dir, &format!("chunks_head-{file:06}"));
            fs.rename(&chunks_dir.join(&entry.name), &target)?;
            moved.push(target);
        }
        fs.sync_dir(quarantine_dir)?;
        fs.sync_dir(chunks_dir)?;
        Ok(moved)
    }
}

fn load(loaded: &mut Loaded, report: &mut LoadReport, place: ChunkRef, entry: &HeadChunkEntry<'_>) {
    if entry.encoding & OUT_OF_ORDER != 0 {
        report.chunks_out_of_order += 1;
        return;
    }
    let chunks = loaded.entry(entry.series_ref).or_default();
    let count = ChunkEncoding::from_number(entry.encoding).map(|encoding| chunk::sample_count(encoding, entry.data));
    let samples = if let Some(Ok(count)) = count { u64::from(count) } else { 0 };
    let follows = chunks.full.last().is_none_or(|last| last.max_time_ms < entry.min_time_ms);
    if samples == 0 || entry.min_time_ms > entry.max_time_ms || !follows {
        report.chunks_skipped += 1;
        report.chunks_refused += u64::from(count.is_some());
        return;
    }
    chunks.full.reserve_exact(1);
    chunks.full.push(FullChunk {
        min_time_ms: entry.min_time_ms,
        max_time_ms: entry.max_time_ms,
        place: ChunkPlace::File(place),
    });
    chunks.samples += samples;
    report.chunks += 1;
    report.samples += samples;
}

/// Makes the files that were found durable. The process before this one may not have done so, and a later file that
/// outlives a power loss, while the end of an earlier one does not, would have replay pass over what is missing.
fn make_durable(fs: &dyn Fs, chunks_dir: &Path) -> io::Result<()> {
    if !fs.exists(chunks_dir) {
        return Ok(());
    }
    let mut any = false;
    for entry in fs.list(chunks_dir)? {
        if parse_head_chunk_file(&entry.name).is_some() {
            fs.append(&chunks_dir.join(&entry.name))?.sync_data()?;
            any = true;
        }
    }
    if any { fs.sync_dir(chunks_dir) } else { Ok(()) }
}

/// Cuts the zeros that Prometheus left in files behind which others stand.
fn cut_zero_ends(fs: &dyn Fs, chunks_dir: &Path, scan: &ScanReport) -> io::Result<()> {
    scan.zero_ends.iter().try_for_each(|&(file, end)| fs.append(&head_chunk_file(chunks_dir, file))?.truncate(end))
}

/// Moves what the scan did not accept out of the way.
fn repair(
    fs: &dyn Fs,
    chunks_dir: &Path,
    quarantine_dir: &Path,
    scan: &ScanReport,
    report: &mut LoadReport,
) -> io::Result<()> {
    let Some(stop) = &scan.stop else { return Ok(()) };
    let path = head_chunk_file(chunks_dir, stop.file);
    if stop.is_torn_tail {
        report.torn_bytes = fs.open(&path)?.len()?.saturating_sub(stop.offset);
        if stop.offset == 0 {
            fs.remove_file(&path)?;
            return fs.sync_dir(chunks_dir);
        }
        return fs.append(&path)?.truncate(stop.offset);
    }
    let damage = format!("{} in {} at byte {}", stop.what, path.display(), stop.offset);
    tracing::warn!(
        damage,
        files_behind = scan.unread.len(),
        "head chunk files damaged, samples are rebuilt from the log"
    );
    report.damage = Some(damage);
    fs.create_dir_all(quarantine_dir)?;
    if stop.offset > 0 {
        let bytes = fs.read(&path)?;
        let tail = bytes.get(usize::try_from(stop.offset).unwrap_or(usize::MAX)..).unwrap_or(&[]);
        let target = free_name(fs, quarantine_dir, &format!("chunks_head-{:06}-{}", stop.file, stop.offset));
        let mut copy = fs.create(&target)?;
        copy.write_all(tail)?;
        copy.sync_data()?;
        report.quarantined.push(target);
        fs.sync_dir(quarantine_dir)?;
        fs.append(&path)?.truncate(stop.offset)?;
    }
    for &file in &scan.unread {
        let target = free_name(fs, quarantine_dir, &format!("chunks_head-{file:06}"));
        fs.rename(&head_chunk_file(chunks_dir, file), &target)?;
        report.quarantined.push(target);
    }
    fs.sync_dir(chunks_dir)?;
    fs.sync_dir(quarantine_dir)
}

/// A path in `dir` that does not exist yet.
fn free_name(fs: &dyn Fs, dir: &Path, name: &str) -> PathBuf {
    let first = dir.join(name);
    if !fs.exists(&first) {
        return first;
    }
    let next = (1u32..).map(|number| dir.join(format!("{name}.{number}"))).find(|path| !fs.exists(path));
    next.unwrap_or(first)
}
