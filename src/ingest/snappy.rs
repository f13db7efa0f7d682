//! Snappy blocks within a bound: the length that a block declares is checked before a byte is allocated for it.
//!
//! Remote write bodies are snappy blocks, not framed streams. A block begins with its decompressed length as a varint,
//! so a hundred bytes can claim gigabytes; and a block cannot expand by more than 22 times (a copy element of three
//! bytes yields at most 64), so a claim beyond that is a lie that is refused without trying.
//!
//! Source: `google/snappy/format_description.txt`.

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnappyError {
    /// The declared length is more than a body may have.
    #[error("decompressed length of {declared} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// What the block declares.
        declared: u64,
        /// The bound.
        limit: u64,
    },
    /// The declared length cannot come out of so few bytes.
    #[error("decompressed length of {declared} bytes cannot come from a body of {compressed} bytes")]
    Implausible {
        /// What the block declares.
        declared: u64,
        /// Bytes of the block.
        compressed: usize,
    },
    /// The bytes are not a snappy block.
    #[error("body is not a valid snappy block: {0}")]
    Malformed(#[from] snap::Error),
}

/// The most bytes that one compressed byte can stand for, rounded up: a copy element has at least three bytes for 64,
/// or two for 11.
const EXPANSION_MAX: u64 = 22;

/// Decompresses `block` into the front of `buffer`, and gives that part of it. The buffer grows when it must and is
/// never cut, so that one that is used again is not cleared again.
pub fn decompress<'b>(block: &[u8], limit: u64, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], SnappyError> {
    let declared = match snap::raw::decompress_len(block) {
        Ok(declared) => declared as u64,
        // The crate's own bound is the format's: a length of 32 bits.
        Err(snap::Error::TooBig { given, .. }) => return Err(SnappyError::TooLarge { declared: given, limit }),
        Err(other) => return Err(other.into()),
    };
    if declared > limit {
        return Err(SnappyError::TooLarge { declared, limit });
    }
    if declared > (block.len() as u64).saturating_mul(EXPANSION_MAX) {
        return Err(SnappyError::Implausible { declared, compressed: block.len() });
    }
    let length = declared as usize;
    if buffer.len() < length {
        // Nothing of the old content is wanted, so it is not copied to where the larger buffer will be.
        buffer.clear();
        buffer.resize(length, 0);
    }
    let target = &mut buffer[..length];
    snap::raw::Decoder::new().decompress(block, target)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 32 << 20;

    fn compress(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    #[test]
    fn block_decompresses_into_a_used_buffer() {
        let mut buffer = vec![7; 10_000];
        let bytes: Vec<u8> = (0..5000u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(decompress(&compress(&bytes), LIMIT, &mut buffer), Ok(bytes.as_slice()));
        assert_eq!(buffer.len(), 10_000);
    }

    #[test]
    fn claim_of_three_gigabytes_in_a_hundred_bytes_is_refused_before_allocating() {
        let mut block = vec![0x80, 0x80, 0x80, 0x80, 0x0c];
        block.resize(100, 0);
        let mut buffer = Vec::new();
        let error = decompress(&block, LIMIT, &mut buffer).unwrap_err();
        assert_eq!(error, SnappyError::TooLarge { declared: 3 << 30, limit: LIMIT });
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn claim_within_the_limit_that_the_body_cannot_hold_is_refused_before_allocating() {
        let mut block = vec![0x80, 0x80, 0x80, 0x0f];
        block.resize(100, 0);
        let mut buffer = Vec::new();
        assert!(matches!(decompress(&block, LIMIT, &mut buffer), Err(SnappyError::Implausible { .. })));
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn most_compressible_body_passes_the_plausibility_check() {
        let zeros = vec![0; 8 << 20];
        let mut buffer = Vec::new();
        assert_eq!(decompress(&compress(&zeros), LIMIT, &mut buffer).map(<[u8]>::len), Ok(zeros.len()));
    }

    #[test]
    fn truncated_block_is_an_error_at_every_length() {
        let block = compress(b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789");
        let mut buffer = Vec::new();
        for end in 0..block.len() {
            assert!(decompress(&block[..end], LIMIT, &mut buffer).is_err(), "cut at {end}");
        }
    }
}
