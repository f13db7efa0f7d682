//! Decompresses bodies within a bound: what comes out is counted while it comes, and no byte past the bound is kept.
//!
//! Neither gzip nor zstd say reliably how much they hold, so a bomb shows only by going off. A zstd frame also says how
//! much of the past its decoder must remember, and that is bounded like the body.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Encoding {
    /// Every encoding, as a list in a header.
    pub const ACCEPTED: &'static str = "identity,gzip,zstd";

    /// The encoding of this name, as headers have it.
    pub fn from_name(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if name.is_empty() || is("identity") {
            Some(Encoding::Identity)
        } else if is("gzip") || is("x-gzip") {
            Some(Encoding::Gzip)
        } else if is("zstd") {
            Some(Encoding::Zstd)
        } else {
            None
        }
    }

    /// The encoding's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// More comes out than a body may have.
    #[error("body exceeds the limit of {limit} bytes after decompression")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// The bytes are not what the encoding says, or end early.
    #[error("body is not valid {encoding}: {message}")]
    Malformed {
        /// The encoding's name.
        encoding: &'static str,
        /// What the decoder says.
        message: String,
    },
}

/// Bits of the window that a zstd frame may ask for, whatever the bound: a frame of a few bytes may ask for 8 MiB, as
/// RFC 9659 allows for HTTP.
const ZSTD_WINDOW_BITS_MIN: u32 = 23;
/// The most that zstd itself allows where nothing is said.
const ZSTD_WINDOW_BITS_MAX: u32 = 27;

/// Reads what `source` holds, decompressed. `limit` bounds the memory of the decoder, not what is read.
pub fn reader<'a>(encoding: Encoding, source: impl BufRead + 'a, limit: u64) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match encoding {
        Encoding::Identity => Box::new(source),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(source)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            let bits = u64::BITS - limit.saturating_sub(1).leading_zeros();
            decoder.window_log_max(bits.clamp(ZSTD_WINDOW_BITS_MIN, ZSTD_WINDOW_BITS_MAX))?;
            Box::new(decoder)
        }
    })
}

/// Decompresses `body` into `buffer`, which is cleared first.
pub fn decompress<'b>(
    encoding: Encoding,
    body: &[u8],
    limit: u64,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], DecompressError> {
    buffer.clear();
    let malformed =
        |error: io::Error| DecompressError::Malformed { encoding: encoding.as_str(), message: error.to_string() };
    let mut reader = reader(encoding, body, limit).map_err(malformed)?.take(limit.saturating_add(1));
    reader.read_to_end(buffer).map_err(malformed)?;
    if buffer.len() as u64 > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LIMIT: u64 = 1 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    fn compressed(bytes: &[u8]) -> [(Encoding, Vec<u8>); 3] {
        [(Encoding::Identity, bytes.to_vec()), (Encoding::Gzip, gzip(bytes)), (Encoding::Zstd, zstd(bytes))]
    }

    #[test]
    fn body_of_each_encoding_decompresses_up_to_the_limit_and_not_past_it() {
        let bytes: Vec<u8> = (0..LIMIT as usize).map(|i| (i * i % 251) as u8).collect();
        for (encoding, body) in compressed(&bytes) {
            let mut buffer = vec![7; 10];
            assert_eq!(decompress(encoding, &body, LIMIT, &mut buffer), Ok(bytes.as_slice()), "{encoding:?}");
            let error = decompress(encoding, &body, LIMIT - 1, &mut buffer).unwrap_err();
            assert_eq!(error, DecompressError::TooLarge { limit: LIMIT - 1 }, "{encoding:?}");
        }
    }

    #[test]
    fn bomb_is_refused_with_no_more_memory_than_the_limit_and_its_rounding() {
        let zeros = vec![0; 256 << 20];
        for (encoding, body) in [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd(&zeros))] {
            assert!(body.len() < LIMIT as usize, "{}", body.len());
            let mut buffer = Vec::new();
            let error = decompress(encoding, &body, LIMIT, &mut buffer).unwrap_err();
            assert_eq!(error, DecompressError::TooLarge { limit: LIMIT });
            assert!(buffer.capacity() as u64 <= 2 * LIMIT + 64, "{} bytes", buffer.capacity());
        }
    }

    #[test]
    fn truncated_or_foreign_body_is_an_error_at_every_length() {
        let mut buffer = Vec::new();
        for (encoding, body) in compressed(b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz") {
            if encoding == Encoding::Identity {
                continue;
            }
            for end in 1..body.len() {
                let cut = decompress(encoding, &body[..end], LIMIT, &mut buffer);
                assert!(matches!(cut, Err(DecompressError::Malformed { .. })), "{encoding:?} cut at {end}: {cut:?}");
            }
            assert!(decompress(encoding, b"not compressed", LIMIT, &mut buffer).is_err());
        }
    }

    #[test]
    fn frame_that_wants_a_window_beyond_the_limit_is_refused_before_it_gets_one() {
        // Magic number, then a frame header without content size whose window descriptor asks for 2 GiB.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        let mut buffer = Vec::new();
        let error = decompress(Encoding::Zstd, &frame, LIMIT, &mut buffer).unwrap_err();
        let DecompressError::Malformed { message, .. } = error else { panic!("{error}") };
        assert!(message.contains("too much memory"), "{message}");
        // The same frame with a window of 1 KiB is an empty body.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0, 0x01, 0x00, 0x00];
        assert_eq!(decompress(Encoding::Zstd, &frame, LIMIT, &mut buffer), Ok(&[][..]));
    }

    #[test]
    fn names_of_encodings_are_read_without_case() {
        assert_eq!(Encoding::from_name("GZip"), Some(Encoding::Gzip));
        assert_eq!(Encoding::from_name(""), Some(Encoding::Identity));
        assert_eq!(Encoding::from_name("snappy"), None);
        for name in Encoding::ACCEPTED.split(',') {
            assert_eq!(Encoding::from_name(name).map(Encoding::as_str), Some(name));
        }
    }
}
