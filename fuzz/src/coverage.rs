//! What code an input reached, where the program was built to tell (`docs/testing.md` says how): inputs that reach
//! something new are worth mutating further. In a build that does not tell, every input counts as known.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

/// The counters of the parts of the program.
static PARTS: Mutex<Vec<&'static [AtomicU8]>> = Mutex::new(Vec::new());

/// Called by each part of an instrumented program before `main`, with its counters.
///
/// # Safety
///
/// LLVM's contract: `start..stop` are bytes of this program that live as long as it does and are only counted up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *const AtomicU8, stop: *const AtomicU8) {
    let length = (stop.addr()).saturating_sub(start.addr());
    // SAFETY: by the contract above; the compiler's own increments race with nothing, as one thread runs at a time.
    let counters = unsafe { std::slice::from_raw_parts(start, length) };
    // Each module of the program tells of the counters of all.
    if let Ok(mut parts) = PARTS.lock()
        && !parts.iter().any(|known| known.as_ptr() == start)
    {
        parts.push(counters);
    }
}

/// What was reached so far.
#[derive(Debug, Default)]
pub struct Coverage {
    seen: Vec<u8>,
}

impl Coverage {
    /// Forgets what the counters say.
    pub fn clear(&self) {
        let Ok(parts) = PARTS.lock() else { return };
        parts.iter().flat_map(|part| part.iter()).for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    /// Whether the counters say something new since they were cleared: a place, or a place reached much more often.
    pub fn is_new(&mut self) -> bool {
        let Ok(parts) = PARTS.lock() else { return false };
        let mut is_new = false;
        for (index, counter) in parts.iter().flat_map(|part| part.iter()).enumerate() {
            if self.seen.len() <= index {
                self.seen.push(0);
            }
            let bucket = match counter.load(Ordering::Relaxed) {
                0 => 0,
                count @ 1..=3 => 1 << (count - 1),
                4..=7 => 1 << 3,
                8..=15 => 1 << 4,
                16..=31 => 1 << 5,
                32..=127 => 1 << 6,
                128.. => 1 << 7,
            };
            if let Some(seen) = self.seen.get_mut(index) {
                is_new |= *seen & bucket != bucket;
                *seen |= bucket;
            }
        }
        is_new
    }

    /// Places that were reached.
    pub fn places(&self) -> usize {
        self.seen.iter().filter(|seen| **seen != 0).count()
    }
}
