//! An index of version 1, as the first releases of Prometheus 2 wrote it: series are not aligned and known by their
//! offsets, as symbols are, and the postings offset table is in no order.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::encoding::{crc32c, put};
use crate::model::Label;
use crate::storage::{Column, Queryable as _, SelectHints};

fn put_section(out: &mut Vec<u8>, content: &[u8]) {
    put::u32_be(out, content.len() as u32);
    out.extend_from_slice(content);
    put::u32_be(out, crc32c(content));
}

/// The index of a block, written again as version 1.
fn as_version_1(block: &Block) -> Vec<u8> {
    let refs: Vec<SeriesRef> = block.shared.index.walk().map(Result::unwrap).collect();
    let entries: Vec<SeriesEntry> = refs.iter().map(|&series| block.series_entry(series).unwrap()).collect();
    let mut out = vec![0xba, 0xaa, 0xd7, 0x00, 1];
    let mut toc = vec![out.len()];
    let texts: BTreeSet<&str> =
        entries.iter().flat_map(|entry| entry.labels.iter().flat_map(|Label { name, value }| [name, value])).collect();
    let mut content = (texts.len() as u32).to_be_bytes().to_vec();
    let mut symbols = BTreeMap::new();
    for text in texts {
        symbols.insert(text, out.len() + 4 + content.len());
        put::uvarint_slice(&mut content, text.as_bytes());
    }
    put_section(&mut out, &content);
    toc.push(out.len());
    let mut postings: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    for entry in &entries {
        let series = out.len() as u32;
        postings.entry(("", "")).or_default().push(series);
        let mut content = Vec::new();
        put::uvarint(&mut content, entry.labels.len() as u64);
        for label in entry.labels.iter() {
            postings.entry((label.name, label.value)).or_default().push(series);
            put::uvarint(&mut content, symbols[label.name] as u64);
            put::uvarint(&mut content, symbols[label.value] as u64);
        }
        put::uvarint(&mut content, entry.chunks.len() as u64);
        let (mut end_ms, mut place) = (0, 0);
        for (number, (range, chunk)) in entry.chunks.iter().enumerate() {
            match number {
                0 => put::varint(&mut content, range.start_ms),
                _ => put::uvarint(&mut content, (range.start_ms - end_ms) as u64),
            }
            put::uvarint(&mut content, (range.end_ms - range.start_ms) as u64);
            match number {
                0 => put::uvarint(&mut content, chunk.0),
                _ => put::varint(&mut content, (chunk.0 - place) as i64),
            }
            (end_ms, place) = (range.end_ms, chunk.0);
        }
        put::uvarint(&mut out, content.len() as u64);
        out.extend_from_slice(&content);
        put::u32_be(&mut out, crc32c(&content));
    }
    toc.extend([out.len(), 0, out.len()]);
    let mut table = (postings.len() as u32).to_be_bytes().to_vec();
    // Against the order of values.
    for ((name, value), series) in postings.iter().rev() {
        put::uvarint(&mut table, 2);
        put::uvarint_slice(&mut table, name.as_bytes());
        put::uvarint_slice(&mut table, value.as_bytes());
        put::uvarint(&mut table, out.len() as u64);
        let mut content = (series.len() as u32).to_be_bytes().to_vec();
        content.extend(series.iter().flat_map(|series| series.to_be_bytes()));
        put_section(&mut out, &content);
    }
    toc.push(out.len());
    put_section(&mut out, &table);
    let toc: Vec<u8> = toc.into_iter().flat_map(|offset| (offset as u64).to_be_bytes()).collect();
    out.extend_from_slice(&toc);
    put::u32_be(&mut out, crc32c(&toc));
    out
}

#[test]
fn index_of_version_1_answers_as_one_of_version_2() {
    let dir = tempfile::tempdir().unwrap();
    let series = specimen(200, 20);
    let block = write_block(Arc::new(SystemFs), dir.path(), ulid(1), WriterOptions::default(), &series);
    let block = block.unwrap().unwrap().publish().unwrap();
    let answers = |block: &Block| {
        let checked = check(block, &mut |_| {});
        assert!(checked.is_good(), "{:?}", checked.findings);
        let querier = block.querier(TimeRange::ALL).unwrap();
        let mut answers = vec![format!("{:?}", checked.stored), format!("{:?}", querier.label_names(&[], 0))];
        for (op, text) in [
            (crate::model::MatchOp::Equal, "host-017"),
            (crate::model::MatchOp::NotEqual, "host-017"),
            (crate::model::MatchOp::Regex, "host-0[12].*"),
            (crate::model::MatchOp::Regex, "host-003|host-049|nobody"),
            (crate::model::MatchOp::NotRegex, ".*7"),
        ] {
            let matcher = [Matcher::new("instance", op, text).unwrap()];
            for series in querier.select(&matcher, &SelectHints::default()).unwrap() {
                let mut column = Column::default();
                series.samples.read(TimeRange::ALL, &mut column).unwrap();
                answers.push(format!("{:?} {:?}", series.labels, column.timestamps_ms));
            }
            answers.push(format!("{:?}", querier.label_values("instance", &matcher, 0)));
        }
        assert_eq!((querier.warnings(), block.damages()), (vec![], vec![]));
        answers
    };
    let expected = answers(&block);
    assert!(expected.len() > 300);
    let index = as_version_1(&block);
    std::fs::write(block.dir().join("index.1"), index).unwrap();
    std::fs::rename(block.dir().join("index.1"), block.dir().join("index")).unwrap();
    assert_eq!(answers(&Block::open(Arc::new(SystemFs), block.dir()).unwrap()), expected);
}
