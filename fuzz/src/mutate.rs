//! Makes new inputs out of known ones, the same ones for the same seed.

/// Inputs do not grow beyond this.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// Numbers at which lengths, counts and times break.
const NUMBERS: [u64; 16] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    i64::MIN as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// A generator of random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator with a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// A number below `bound`, mostly a small one.
    fn small(&mut self, bound: usize) -> usize {
        let bits = self.below(usize::BITS as usize - bound.leading_zeros() as usize + 1);
        self.below(bound.min(1 << bits))
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// Changes an input in one to a few places. `other` is one to take parts from, `words` are ones that the format knows.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    for _ in 0..=random.small(8) {
        mutate_once(random, input, other, words);
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn mutate_once(random: &mut Random, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let at = random.below(input.len() + 1);
    let end = at + random.small(input.len() - at + 1).min(input.len() - at);
    match random.below(12) {
        0 => {
            let bit = random.below(input.len() * 8);
            flip(input, bit);
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        2 => drop(input.drain(at..end)),
        3 => {
            let part = input[at..end].to_vec();
            let to = random.below(input.len() + 1);
            insert(input, to, &part);
        }
        4 => {
            let from = random.below(other.len() + 1);
            let length = random.small(other.len() - from + 1).min(other.len() - from);
            insert(input, at, &other[from..from + length]);
        }
        5 => {
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        6 | 7 => {
            if let Some(word) = random.pick(words) {
                insert(input, at, word);
            }
        }
        8 => {
            let number = NUMBERS[random.below(NUMBERS.len())];
            let bytes = match random.below(4) {
                0 => varint(number),
                1 => number.to_be_bytes()[8 - (1 << random.below(4))..].to_vec(),
                2 => number.to_le_bytes()[..1 << random.below(4)].to_vec(),
                _ => (number as i64).to_string().into_bytes(),
            };
            if random.below(2) == 0 {
                input.drain(at..(at + bytes.len()).min(input.len()));
            }
            insert(input, at, &bytes);
        }
        9 => {
            let byte = random.next() as u8;
            let length = 1 << random.below(13);
            insert(input, at, &vec![byte; length]);
        }
        10 => input.truncate(at),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add([1, 255, 2, 254, 16, 240][random.below(6)]);
            }
        }
    }
}

fn flip(input: &mut [u8], bit: usize) {
    if let Some(byte) = input.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let room = INPUT_BYTES_MAX.saturating_sub(input.len());
    input.splice(at..at, bytes.iter().take(room).copied());
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
