//! Files of the head's chunks: an entry that is read and written again has the same bytes.

use std::path::Path;

use chronolith::chunk::head_file::scan;
use chronolith::chunk::{ChunkBuilder, HeadChunkEntry};
use chronolith::encoding::crc32c;
use chronolith::fs::sim::SimFs;
use chronolith::model::SampleValue;

use super::Target;

const DIR: &str = "/chunks_head";
/// Magic, version and padding.
const HEADER: [u8; 8] = [0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0];
/// Reference, two times, encoding.
const ENTRY_FIXED_BYTES: usize = 25;

pub(super) const FILE: Target = Target {
    name: "head-chunks",
    seeds,
    words: &[&HEADER, b"\xff\xff\xff\xff\x0f", b"\x80\x80\x04"],
    repair,
    run,
    bytes_fixed: 1 << 20,
    bytes_each: 100,
};

fn seeds() -> Vec<Vec<u8>> {
    let mut file = HEADER.to_vec();
    for series_ref in 1..5u64 {
        let mut builder = ChunkBuilder::new();
        for step in 0..30i64 {
            let _full = builder.push(step * 1000, &SampleValue::Float((step * step) as f64));
        }
        let Some(chunk) = builder.finish() else { continue };
        let (min_time_ms, max_time_ms) = (chunk.range.start_ms, chunk.range.end_ms);
        let encoding = if series_ref == 4 { 0x81 } else { 1 };
        HeadChunkEntry { series_ref, min_time_ms, max_time_ms, encoding, data: &chunk.bytes }.encode(&mut file);
    }
    vec![HEADER.to_vec(), [&*file, &[0; 300]].concat(), file]
}

/// Makes the checksums of entries right whose length takes one or two bytes.
fn repair(file: &mut [u8]) {
    let mut at = HEADER.len();
    while let Some(&[first, second]) = file.get(at + ENTRY_FIXED_BYTES..).and_then(|rest| rest.first_chunk()) {
        let (length, head) = match first {
            ..0x80 => (usize::from(first), 1),
            _ => (usize::from(first & 0x7f) | usize::from(second) << 7, 2),
        };
        let end = at + ENTRY_FIXED_BYTES + head + length;
        let Some(entry) = file.get(at..end) else { return };
        let checksum = crc32c(entry);
        let Some(place) = file.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&checksum.to_be_bytes());
        at = end + 4;
    }
}

fn run(input: &[u8]) -> bool {
    let fs = SimFs::with_dir(1, Path::new(DIR));
    fs.set_content(&Path::new(DIR).join("000001"), input.to_vec());
    let mut written = 0;
    let report = scan(&fs, Path::new(DIR), |place, entry| {
        let mut again = Vec::new();
        entry.encode(&mut again);
        let start = place.offset() as usize;
        // A length may have been written in more bytes than it needs.
        let is_there = input.get(start..start + again.len()) == Some(&*again);
        assert!(is_there || again.len() < input.len() - start, "at {start}");
        written += again.len();
    });
    let report = report.expect("a simulated disk can be read");
    assert!(written <= input.len());
    report.entries > 0
}
