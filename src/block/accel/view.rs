//! Bitmaps in roaring's portable format, used where they lie in the mapped file.
//!
//! This is the one place of the accelerator that needs `unsafe`: croaring takes the bytes on trust. So the layout is
//! checked here first, container by container against the length of the slice, and croaring's own check of the
//! containers' content follows before anything is computed with them.
//!
//! Format: <https://github.com/RoaringBitmap/RoaringFormatSpec>.

use croaring::{BitmapView, Portable};

use crate::encoding::Corruption;

/// In the low half of the cookie: some containers are runs; the high half is their count less one.
const COOKIE_RUNS: u32 = 12347;
/// The cookie: no container is a run; their count follows.
const COOKIE_NO_RUNS: u32 = 12346;
/// With runs, offsets are stored from so many containers on.
const OFFSETS_FROM: usize = 4;
/// A container with more values than this is a bitset.
const ARRAY_MAX: usize = 4096;
/// Bytes of a bitset.
const BITSET_BYTES: usize = 8192;

/// The bitmap of `count` values that fills `bytes`, without a copy.
pub(super) fn view(bytes: &[u8], count: u64) -> Result<BitmapView<'_>, Corruption> {
    if cfg!(target_endian = "big") {
        return Err(Corruption { what: "bitmaps cannot be read in place on this processor", offset: 0 });
    }
    check_layout(bytes)?;
    #[expect(unsafe_code, reason = "reading in place is why the format was chosen")]
    // SAFETY: the function reads the header, which `check_layout` found to be whole, and points containers at the
    // bytes behind it. Each of them lies in `bytes`, at the offset that its header has, with the length that follows
    // from its cardinality or its number of runs. Their content is looked at only within these bounds until
    // `internal_validate` has found it sorted and as long as the header says. The view borrows `bytes`. Loads may be
    // unaligned, which the processors that this is built for allow.
    let view = unsafe { BitmapView::deserialize::<Portable>(bytes) };
    let fault = |what| Corruption { what, offset: 0 };
    view.internal_validate().map_err(fault)?;
    if view.cardinality() != count { Err(fault("bitmap has another number of values")) } else { Ok(view) }
}

/// Whether the header is whole, keys rise, and the containers fill the bytes exactly.
fn check_layout(bytes: &[u8]) -> Result<(), Corruption> {
    let fault = |what, offset| Corruption { what, offset };
    let short = |offset| fault("bitmap ends early", offset);
    let u16_at = |offset: usize| -> Result<usize, Corruption> {
        let word = bytes.get(offset..).and_then(|rest| rest.first_chunk()).ok_or(short(offset))?;
        Ok(usize::from(u16::from_le_bytes(*word)))
    };
    let u32_at = |offset: usize| -> Result<u32, Corruption> {
        let word = bytes.get(offset..).and_then(|rest| rest.first_chunk()).ok_or(short(offset))?;
        Ok(u32::from_le_bytes(*word))
    };
    let cookie = u32_at(0)?;
    let (containers, runs_at, keys_at) = if cookie == COOKIE_NO_RUNS {
        (u32_at(4)? as usize, None, 8)
    } else if cookie & 0xffff == COOKIE_RUNS {
        let containers = (cookie >> 16) as usize + 1;
        (containers, Some(4), 4 + containers.div_ceil(8))
    } else {
        return Err(fault("unknown kind of bitmap", 0));
    };
    if containers == 0 || containers > 1 << 16 {
        return Err(fault("impossible number of containers", 0));
    }
    let offsets_at = keys_at + containers * 4;
    let has_offsets = runs_at.is_none() || containers >= OFFSETS_FROM;
    let mut next = offsets_at + if has_offsets { containers * 4 } else { 0 };
    let mut last_key = None;
    for container in 0..containers {
        let key = u16_at(keys_at + container * 4)?;
        if last_key.is_some_and(|last| last >= key) {
            return Err(fault("keys are out of order", keys_at));
        }
        last_key = Some(key);
        let cardinality = u16_at(keys_at + container * 4 + 2)? + 1;
        if has_offsets && u32_at(offsets_at + container * 4)? as usize != next {
            return Err(fault("container is not where its offset says", next));
        }
        let flag = runs_at.map_or(0, |at| bytes.get(at + container / 8).copied().unwrap_or(0) >> (container % 8) & 1);
        next += match (flag, cardinality) {
            (1, _) => 2 + u16_at(next)? * 4,
            (_, 0..=ARRAY_MAX) => cardinality * 2,
            _ => BITSET_BYTES,
        };
        if next > bytes.len() {
            return Err(short(bytes.len()));
        }
    }
    if next == bytes.len() { Ok(()) } else { Err(fault("bytes behind the bitmap", next)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roaring::RoaringBitmap;

    use super::*;

    fn portable(bitmap: &mut RoaringBitmap) -> Vec<u8> {
        bitmap.optimize();
        let mut bytes = Vec::new();
        bitmap.serialize_into(&mut bytes).unwrap();
        bytes
    }

    /// Arrays, bitsets and runs, over one to six containers.
    fn bitmap() -> impl Strategy<Value = RoaringBitmap> {
        let part = (0u32..6, 0u32..60_000, 1u32..5_000, prop_oneof![Just(1u32), Just(2), Just(7)]);
        prop::collection::vec(part, 1..6).prop_map(|parts| {
            let mut bitmap = RoaringBitmap::new();
            for (container, start, length, step) in parts {
                bitmap.extend((start..start + length).step_by(step as usize).map(|low| (container << 16) + low));
            }
            bitmap
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn prop_view_shows_what_was_written(mut bitmap in bitmap()) {
            let bytes = portable(&mut bitmap);
            let view = view(&bytes, bitmap.len()).unwrap();
            prop_assert!(view.iter().eq(bitmap.iter()));
        }

        #[test]
        fn prop_view_of_any_change_is_refused_or_another_set(
            mut bitmap in bitmap(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        ) {
            let count = bitmap.len();
            let mut bytes = portable(&mut bitmap);
            for (at, bit) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            // Whatever is accepted can be computed with.
            if let Ok(view) = view(&bytes, count) {
                prop_assert_eq!(view.iter().count() as u64, count);
                prop_assert_eq!(view.and(&view).cardinality(), count);
            }
        }
    }

    #[test]
    fn view_of_a_cut_bitmap_is_refused() {
        let mut bitmap: RoaringBitmap = (0..70_000).step_by(3).chain(131_072..140_000).collect();
        let bytes = portable(&mut bitmap);
        assert!(view(&bytes, bitmap.len()).is_ok());
        assert!((0..bytes.len()).all(|cut| view(&bytes[..cut], bitmap.len()).is_err()));
        assert!(view(&bytes, bitmap.len() - 1).is_err());
        assert!(view(&[bytes, vec![0]].concat(), bitmap.len()).is_err());
    }
}
