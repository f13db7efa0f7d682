//! Random numbers that a printed seed repeats (SplitMix64).

use std::env;

/// A generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Seeded by the variable `name`, or by the clock; says on standard error how to repeat the run.
    pub fn from_env(name: &str) -> Self {
        let seed = env::var(name).ok().map_or_else(
            || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
            |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        );
        eprintln!("seed: {name}={seed}");
        Random(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// SplitMix64's finalizer: spreads the bits of a number.
pub fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
