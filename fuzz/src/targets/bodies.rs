//! Compressed bodies. What comes out does not depend on how the body was cut, and no more comes out at a time than was
//! asked for.

use bytes::Bytes;
use chronolith::ingest::decompress::{Decompressor, Encoding, Progress};
use chronolith::ingest::snappy;

use super::{Target, no_repair};

/// The most that is unpacked of one body.
const OUT_BYTES_MAX: usize = 1 << 20;

pub(super) const SNAPPY: Target = Target {
    name: "snappy",
    seeds: || plain().iter().map(|plain| snap::raw::Encoder::new().compress_vec(plain).unwrap()).collect(),
    words: &[b"\xff\xff\xff\xff\x0f", b"\x80\x80\x04", b"\xfe\x01\x00", b"\xf4\xff\xff"],
    repair: no_repair,
    run: run_snappy,
    bytes_fixed: 64 << 10,
    // 22 out of each byte, three times: unpacked, packed and unpacked again.
    bytes_each: 100,
};

pub(super) const GZIP: Target = Target {
    name: "gzip",
    seeds: || plain().iter().map(|plain| gzip(plain)).collect(),
    words: &[b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x1f"],
    repair: no_repair,
    run: |input| run_stream(Encoding::Gzip, input),
    bytes_fixed: 3 * OUT_BYTES_MAX + (1 << 20),
    bytes_each: 4,
};

pub(super) const ZSTD: Target = Target {
    name: "zstd",
    seeds: || plain().iter().map(|plain| zstd::encode_all(&**plain, 1).unwrap()).collect(),
    words: &[b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"],
    repair: no_repair,
    run: |input| run_stream(Encoding::Zstd, input),
    // Its own memory, the window of 8 MiB, is not the counted allocator's.
    bytes_fixed: 3 * OUT_BYTES_MAX + (1 << 20),
    bytes_each: 4,
};

fn plain() -> Vec<Vec<u8>> {
    let text = b"a_total{b=\"c\"} 1 1700000000000\n".repeat(40);
    let numbers = (0..3000u32).flat_map(|i| (i * i % 977).to_le_bytes()).collect();
    vec![Vec::new(), b"x".to_vec(), text, numbers, vec![0; 100_000]]
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn run_snappy(input: &[u8]) -> bool {
    let mut buffer = Vec::new();
    let Ok(plain) = snappy::decompress(input, OUT_BYTES_MAX as u64, &mut buffer).map(<[u8]>::to_vec) else {
        return false;
    };
    assert!(plain.len() <= OUT_BYTES_MAX);
    let again = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    // A used buffer is not cleared.
    buffer.fill(0x55);
    assert_eq!(snappy::decompress(&again, OUT_BYTES_MAX as u64, &mut buffer), Ok(&*plain));
    true
}

/// What a body unpacks to, and how that ended: well, at the bound, or with an error.
fn unpack(encoding: Encoding, input: &[u8], part: usize, step: usize) -> (Vec<u8>, Option<Progress>) {
    let mut decompressor = Decompressor::new(encoding).unwrap();
    let mut parts = input.chunks(part.max(1));
    let mut out = Vec::new();
    loop {
        let bound = (out.len() + step).min(OUT_BYTES_MAX);
        let Ok(progress) = decompressor.read(&mut out, bound) else { return (out, None) };
        assert!(out.len() <= bound);
        match progress {
            Progress::Full if out.len() == OUT_BYTES_MAX => return (out, Some(progress)),
            Progress::Full => {}
            Progress::Ended => return (out, Some(progress)),
            Progress::Starved => match parts.next() {
                Some(part) => decompressor.push(Bytes::copy_from_slice(part)),
                None => decompressor.end(),
            },
        }
    }
}

fn run_stream(encoding: Encoding, input: &[u8]) -> bool {
    let (whole, end) = unpack(encoding, input, input.len(), OUT_BYTES_MAX);
    let (parts, end_of_parts) = unpack(encoding, input, input.len() % 13 + 1, 5000);
    assert_eq!(end, end_of_parts, "whole and in parts");
    // An error may come before or after the last bytes that precede it.
    assert!(end.is_none() || whole == parts, "whole {}, in parts {}", whole.len(), parts.len());
    end.is_some()
}
