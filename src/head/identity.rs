//! How the write path knows a series: by a keyed 128-bit hash of the request's own label bytes.
//!
//! Every stored series has one canonical encoding of its labels ([`raw_labels`](crate::model::raw_labels)), and is
//! stored under HighwayHash-128 of exactly these bytes. A request's bytes are hashed as they are:
//!
//! - The hash is found. Then the bytes are the canonical bytes of that series, unless two different byte strings have
//!   the same hash.
//! - It is not found. Then the labels are decoded, validated and sorted; if their canonical bytes differ from those of
//!   the request, these are looked up once more. Nothing is remembered of the other encoding, so that a sender cannot
//!   fill memory with spellings of one series; a sender that doesn't sort pays for it with each request.
//!
//! Why a false match need not be feared: HighwayHash is a keyed pseudo-random function, the key is 256 bits derived from
//! the system's random source once per process, and it leaves the process in no form. So a sender can do no better than
//! to try label sets, and sees only whether samples are accepted. With n stored series and q look-ups of sets that are
//! not stored, the chance of one false match is about n * q / 2^128: for ten million series and 10^15 such look-ups
//! 3 * 10^-17, far below that of memory that flips a bit unseen. The hash is never stored, so a restart draws a new key.

use std::hash::{BuildHasher, Hasher, RandomState};

use highway::{HighwayHash, HighwayHasher, Key};

use super::series::SeriesHash;

/// Hashes label bytes under this process' key.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    keyed: HighwayHasher,
}

impl Identity {
    /// An identity under the given key, or a random one.
    pub(super) fn new(key: Option<[u64; 4]>) -> Self {
        let key = key.unwrap_or_else(|| {
            // The standard library's hasher is keyed by the system's random source.
            let random = RandomState::new();
            [0u64, 1, 2, 3].map(|part| {
                let mut hasher = random.build_hasher();
                hasher.write_u64(part);
                hasher.finish()
            })
        });
        Identity { keyed: HighwayHasher::new(Key(key)) }
    }

    /// The hash of a series' label bytes.
    #[inline]
    pub(super) fn hash(&self, labels: &[u8]) -> SeriesHash {
        SeriesHash(self.keyed.clone().hash128(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_depends_on_bytes_and_key() {
        let identity = Identity::new(Some([1, 2, 3, 4]));
        assert_eq!(identity.hash(b"abc"), identity.hash(b"abc"));
        assert_ne!(identity.hash(b"abc"), identity.hash(b"abd"));
        assert_ne!(identity.hash(b"abc"), Identity::new(Some([1, 2, 3, 5])).hash(b"abc"));
        assert_ne!(Identity::new(None).hash(b"abc"), Identity::new(None).hash(b"abc"));
    }
}
