//! Compressed bodies as they come: unpacked piece by piece, so that neither a body of gigabytes nor a bomb takes more
//! memory than its reader asks for.
//!
//! The decoders read from a queue that the parts of a body are put into, and stop where it is empty: what they have
//! unpacked until then is there, and they go on when there is more. Members of gzip and frames of zstd may follow each
//! other.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use bytes::{Buf as _, Bytes};
use flate2::bufread::MultiGzDecoder;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};

use super::answer::{Refusal, shorten};

/// A zstd frame may refer back over 2 to the power of this many bytes, which a decoder has to keep: 8 MiB, as much as every
/// decoder has to support.
///
/// Source: RFC 8878, 3.1.1.1.2.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// As gzip.
    Gzip,
    /// As zstd.
    Zstd,
}

impl Encoding {
    /// What the header `Content-Encoding` says.
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
        Self::from_name(value.as_bytes()).ok_or_else(|| {
            let unknown = String::from_utf8_lossy(value.as_bytes());
            let message = format!(
                "{} encoding (compression) is not accepted here; gzip, zstd and identity are",
                shorten(&unknown)
            );
            Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
        })
    }

    /// The encoding that is called so in a header.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Some(Encoding::Identity),
            b"gzip" | b"x-gzip" => Some(Encoding::Gzip),
            b"zstd" => Some(Encoding::Zstd),
            _ => None,
        }
    }
}

/// Why a whole body could not be decompressed.
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
    #[error("body is not what its encoding says: {0}")]
    Malformed(String),
}

/// Decompresses a body that is there as a whole into `buffer`, which is cleared first, up to a bound.
pub fn decompress(encoding: Encoding, body: Bytes, limit: u64, buffer: &mut Vec<u8>) -> Result<&[u8], DecompressError> {
    buffer.clear();
    let room = usize::try_from(limit).unwrap_or(usize::MAX);
    if encoding == Encoding::Identity {
        if body.len() > room {
            return Err(DecompressError::TooLarge { limit });
        }
        buffer.extend_from_slice(&body);
        return Ok(buffer);
    }
    let malformed = |error: io::Error| DecompressError::Malformed(error.to_string());
    let mut decompressor = Decompressor::new(encoding).map_err(malformed)?;
    decompressor.push(body);
    decompressor.end();
    // One byte past the bound tells a body that ends there from one that goes on.
    decompressor.read(buffer, room.saturating_add(1)).map_err(malformed)?;
    if buffer.len() > room { Err(DecompressError::TooLarge { limit }) } else { Ok(buffer) }
}

/// Why a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is no more room.
    Full,
    /// There is nothing left of what was put in.
    Starved,
    /// The body is over.
    Ended,
}

/// Unpacks one body.
pub struct Decompressor(Decoder);

enum Decoder {
    Identity(Queue),
    Gzip(Box<MultiGzDecoder<Queue>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Queue>>),
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// Begins a body.
    pub fn new(encoding: Encoding) -> io::Result<Self> {
        let queue = Queue::default();
        Ok(Decompressor(match encoding {
            Encoding::Identity => Decoder::Identity(queue),
            Encoding::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(queue))),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(queue)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Decoder::Zstd(Box::new(decoder))
            }
        }))
    }

    /// Takes the next part of the body.
    pub fn push(&mut self, part: Bytes) {
        self.queue().parts.push_back(part);
    }

    /// Takes note that nothing follows.
    pub fn end(&mut self) {
        self.queue().has_ended = true;
    }

    fn queue(&mut self) -> &mut Queue {
        match &mut self.0 {
            Decoder::Identity(queue) => queue,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// Unpacks into `out` until it has `bytes_max` bytes. What was unpacked before an error is there.
    pub fn read(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> io::Result<Progress> {
        let room = bytes_max.saturating_sub(out.len()) as u64;
        let read = match &mut self.0 {
            Decoder::Identity(queue) => queue.take(room).read_to_end(out),
            Decoder::Gzip(decoder) => decoder.take(room).read_to_end(out),
            Decoder::Zstd(decoder) => decoder.take(room).read_to_end(out),
        };
        match read {
            Ok(count) if (count as u64) < room => Ok(Progress::Ended),
            Ok(_) => Ok(Progress::Full),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Progress::Starved),
            Err(error) => Err(error),
        }
    }
}

/// The parts of a body that came and were not read yet.
#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Bytes>,
    has_ended: bool,
}

impl BufRead for Queue {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.parts.front().is_some_and(Bytes::is_empty) {
            self.parts.pop_front();
        }
        match self.parts.front() {
            Some(part) => Ok(part),
            None if self.has_ended => Ok(&[]),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn consume(&mut self, count: usize) {
        if let Some(part) = self.parts.front_mut() {
            part.advance(count.min(part.len()));
        }
    }
}

impl Read for Queue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.fill_buf()?;
        let count = part.len().min(buffer.len());
        buffer.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const ALL: [Encoding; 3] = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd];

    fn pack(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => bytes.to_vec(),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        }
    }

    /// Puts a body in by parts and takes it out by steps of `step` bytes.
    fn unpack(encoding: Encoding, packed: &[u8], part: usize, step: usize) -> io::Result<Vec<u8>> {
        let mut decompressor = Decompressor::new(encoding)?;
        let mut all = Vec::new();
        let mut parts = packed.chunks(part);
        loop {
            let mut out = Vec::new();
            let progress = decompressor.read(&mut out, step)?;
            assert!(out.len() <= step);
            all.extend(out);
            match progress {
                Progress::Full => {}
                Progress::Ended => return Ok(all),
                Progress::Starved => match parts.next() {
                    Some(part) => decompressor.push(Bytes::copy_from_slice(part)),
                    None => decompressor.end(),
                },
            }
        }
    }

    #[test]
    fn body_comes_out_as_it_was_whatever_its_parts() {
        let bytes: Vec<u8> = (0..20_000u32).flat_map(|i| (i * i % 977).to_le_bytes()).collect();
        for encoding in ALL {
            let packed = pack(encoding, &bytes);
            for (part, step) in [(1, 7000), (3, 1), (1000, 999), (packed.len(), usize::MAX)] {
                assert!(unpack(encoding, &packed, part, step).unwrap() == bytes, "{encoding:?} {part} {step}");
            }
            let twice = [packed.clone(), packed].concat();
            assert!(unpack(encoding, &twice, 100, 5000).unwrap() == [&*bytes, &bytes].concat(), "{encoding:?}");
        }
        assert!(unpack(Encoding::Identity, b"", 1, 10).unwrap().is_empty());
    }

    #[test]
    fn body_that_is_cut_off_or_damaged_is_an_error() {
        let bytes: Vec<u8> = (0..3000u32).map(|i| (i * i % 251) as u8).collect();
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let packed = pack(encoding, &bytes);
            for end in 1..packed.len() {
                let cut = unpack(encoding, &packed[..end], 64, 1000);
                assert!(cut.is_err(), "{encoding:?} cut at {end} of {}", packed.len());
            }
            assert!(unpack(encoding, b"no such thing", 5, 100).is_err());
        }
    }

    #[test]
    fn bomb_gives_no_more_than_is_asked_for() {
        let zeros = vec![0; 8 << 20];
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let mut decompressor = Decompressor::new(encoding).unwrap();
            decompressor.push(pack(encoding, &zeros).into());
            let mut out = Vec::new();
            assert_eq!(decompressor.read(&mut out, 1000).unwrap(), Progress::Full);
            assert!(out.len() == 1000 && out.capacity() <= 4096, "{}", out.capacity());
        }
    }

    #[test]
    fn whole_body_decompresses_up_to_the_limit_and_not_past_it() {
        const LIMIT: u64 = 1 << 20;
        let bytes: Vec<u8> = (0..LIMIT as usize).map(|i| (i * i % 251) as u8).collect();
        for encoding in ALL {
            let body = Bytes::from(pack(encoding, &bytes));
            let mut buffer = vec![7; 10];
            assert_eq!(decompress(encoding, body.clone(), LIMIT, &mut buffer), Ok(bytes.as_slice()), "{encoding:?}");
            let error = decompress(encoding, body, LIMIT - 1, &mut buffer).unwrap_err();
            assert_eq!(error, DecompressError::TooLarge { limit: LIMIT - 1 }, "{encoding:?}");
        }
    }

    #[test]
    fn bomb_takes_no_more_memory_than_the_limit_and_its_rounding() {
        const LIMIT: u64 = 1 << 20;
        let zeros = vec![0; 64 << 20];
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let body = Bytes::from(pack(encoding, &zeros));
            let mut buffer = Vec::new();
            let error = decompress(encoding, body, LIMIT, &mut buffer).unwrap_err();
            assert_eq!(error, DecompressError::TooLarge { limit: LIMIT });
            assert!(buffer.capacity() as u64 <= 2 * LIMIT + 64, "{} bytes", buffer.capacity());
            assert!(matches!(
                decompress(encoding, Bytes::from_static(b"no such thing"), LIMIT, &mut buffer),
                Err(DecompressError::Malformed(_))
            ));
        }
    }

    #[test]
    fn zstd_window_beyond_what_decoders_have_to_support_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&[1; 1000]).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(unpack(Encoding::Zstd, &packed, 100, 100).is_err());
    }

    #[test]
    fn encoding_header_is_read_whatever_its_case() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, value.parse().unwrap());
            Encoding::of(&headers)
        };
        assert_eq!(Encoding::of(&HeaderMap::new()), Ok(Encoding::Identity));
        assert_eq!(of(" GZip"), Ok(Encoding::Gzip));
        assert_eq!(of("zstd"), Ok(Encoding::Zstd));
        assert_eq!(of("br").unwrap_err().status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(of("gzip, zstd").unwrap_err().status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
