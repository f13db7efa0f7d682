//! What the patterns of one request may take together: a short text can ask for a large program, many times.

use super::Pattern;

/// Most bytes that the compiled patterns of a request take.
const BYTES_MAX: usize = 64 << 20;

/// What a pattern takes besides its program, roughly.
const BYTES_EACH: usize = 4 << 10;

/// The patterns of a request take more than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("regular expressions are too large: at most {BYTES_MAX} bytes are allowed")]
pub struct PatternsTooLarge;

/// What the patterns of a request have taken so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct PatternBudget {
    bytes: usize,
}

impl PatternBudget {
    /// Counts one more pattern.
    ///
    /// # Errors
    ///
    /// All so far take more than they may.
    pub fn spend(&mut self, pattern: &Pattern) -> Result<(), PatternsTooLarge> {
        self.bytes = self.bytes.saturating_add(pattern.compiled_bytes()).saturating_add(BYTES_EACH);
        if self.bytes > BYTES_MAX { Err(PatternsTooLarge) } else { Ok(()) }
    }
}
