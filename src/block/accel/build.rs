//! Makes the accelerator of a block from its index and chunks.
//!
//! Everything is read once: the series with their chunks, which are decoded for the digests, and then the postings.
//! Memory holds four bytes for each series and the sections of one label at a time, the largest being that of the label
//! with the most values: their texts, and some eight bytes for each value and four for each series.

use super::{AccelError, AccelWriter};
use crate::block::Block;
use crate::block::chunks::{Segments, find_chunk};
use crate::block::index::IndexReader;
use crate::chunk;
use crate::encoding::Corruption;
use crate::fs::{Fs, names};
use crate::model::{Digest, Tally};

/// Ending of the file while it is being written.
const TMP_SUFFIX: &str = ".tmp";

/// Makes the block's accelerator, durably, and lets the block use it from now on. It is written under a temporary name
/// first; one that stands there already goes on being used meanwhile.
///
/// A block whose series or chunks cannot all be read gets none: its digests would be wrong.
pub fn build(fs: &dyn Fs, block: &Block) -> Result<(), AccelError> {
    let (dir, shared) = (block.dir(), &block.shared);
    let tmp = dir.join(format!("{}{TMP_SUFFIX}", names::BLOCK_ACCEL_FILE));
    if fs.exists(&tmp) {
        fs.remove_file(&tmp).map_err(|error| AccelError::io(&tmp, error))?;
    }
    let written = AccelWriter::create(fs, &tmp, shared.accel.identity())
        .and_then(|writer| write(writer, &shared.index, &shared.segments));
    if let Err(error) = written {
        // Half a file is of no use. Where it cannot be removed, the next build does it.
        let _ = fs.remove_file(&tmp);
        return Err(error);
    }
    fs.rename(&tmp, shared.accel.path()).map_err(|error| AccelError::io(&tmp, error))?;
    fs.sync_dir(dir).map_err(|error| AccelError::io(dir, error))?;
    shared.accel.reload(fs);
    Ok(())
}

fn write(mut writer: AccelWriter, index: &IndexReader, segments: &Segments) -> Result<(), AccelError> {
    let in_index = |fault: Corruption| AccelError::Source(format!("index: {fault}"));
    let mut series = index.series();
    for reference in index.all().map_err(in_index)?.iter() {
        series.read(reference).map_err(in_index)?;
        let labels = Digest::of_labels(&series.label_set());
        let mut tally = Tally::ZERO;
        for meta in series.chunks() {
            let place = meta.place;
            let source =
                |fault: String| AccelError::Source(format!("chunk {:06}:{}: {fault}", place.segment(), place.offset()));
            let segment = segments.get(place.segment()).map_err(|fault| source(fault.to_owned()))?;
            tally += tally_of(segment, place.offset(), labels).map_err(|fault| source(fault.to_string()))?;
        }
        writer.series(reference, tally)?;
    }
    let refs = writer.end_series()?;
    let mut ordinals = Vec::new();
    for name in index.names().map_err(in_index)? {
        let mut label = writer.label(name)?;
        for value in index.values(name, "").map_err(in_index)? {
            let (value, list) = value.map_err(in_index)?;
            let list = index.list(list).map_err(in_index)?;
            if !ordinals_of(&refs, list.iter(), &mut ordinals) {
                let what = format!("postings of {name}={value:?} name a series that is not in the index");
                return Err(AccelError::Source(what));
            }
            label.value(value, &ordinals)?;
        }
        label.end()?;
    }
    writer.finish()
}

/// The samples of the chunk at `offset` of a segment, of the series whose label set has the digest `labels`.
fn tally_of(segment: &[u8], offset: usize, labels: Digest) -> Result<Tally, Corruption> {
    let found = find_chunk(segment, offset)?;
    let mut tally = Tally::ZERO;
    for sample in chunk::samples(found.encoding, segment.get(found.data).unwrap_or_default())? {
        let (timestamp_ms, value) = sample?;
        tally.add_sample(labels.of_value(timestamp_ms, &value));
    }
    Ok(tally)
}

/// The places in `refs` of these rising references; false where one is not there. Looks near the last one first.
fn ordinals_of(refs: &[u32], wanted: impl Iterator<Item = u32>, ordinals: &mut Vec<u32>) -> bool {
    ordinals.clear();
    let mut rest = refs;
    for wanted in wanted {
        let mut bound = 1;
        while rest.get(bound).is_some_and(|&reference| reference < wanted) {
            bound *= 2;
        }
        let near = rest.get(..rest.len().min(bound + 1)).unwrap_or_default();
        rest = rest.get(near.partition_point(|&reference| reference < wanted)..).unwrap_or_default();
        if rest.first() != Some(&wanted) {
            return false;
        }
        // There are at most as many series as a u32 counts.
        ordinals.push((refs.len() - rest.len()) as u32);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_of_references_are_their_places() {
        let refs: Vec<u32> = (0..1000).map(|number| 5 + number * 3).collect();
        let mut ordinals = Vec::new();
        for step in [1, 2, 7, 100, 999] {
            let places: Vec<u32> = (0..1000).step_by(step).collect();
            assert!(ordinals_of(&refs, places.iter().map(|place| 5 + place * 3), &mut ordinals));
            assert_eq!(ordinals, places);
        }
        for wanted in [[0, 5], [5, 6], [5, 9000], [8, 5]] {
            assert!(!ordinals_of(&refs, wanted.into_iter(), &mut ordinals), "{wanted:?}");
        }
    }
}
