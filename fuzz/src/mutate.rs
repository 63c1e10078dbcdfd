//! Broken files from good ones: a deterministic random generator and a handful of edits that find what readers trust.

/// Numbers that follow from a seed (Steele, Lea and Flood 2014, SplitMix64).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }
}

/// Numbers that readers stumble over.
const INTERESTING: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fff8,
    u64::MAX,
];

/// The longest file that mutation grows to.
pub const MAX_LEN: usize = 1 << 16;

/// Changes a file in one to eight ways; `corpus` lends pieces, `words` the format's own.
pub fn mutate(file: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]], rng: &mut Rng) {
    for _ in 0..1 + rng.below(8) {
        edit(file, corpus, words, rng);
    }
    file.truncate(MAX_LEN);
}

fn edit(file: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]], rng: &mut Rng) {
    let len = file.len();
    if len == 0 {
        file.push(rng.number() as u8);
        return;
    }
    let at = rng.below(len);
    let span = at..(at + 1 + rng.below(64)).min(len);
    match rng.below(12) {
        0 => file[at] ^= 1 << rng.below(8),
        1 => file[at] = rng.number() as u8,
        2 => file[at] = file[at].wrapping_add(if rng.below(2) == 0 { 1 } else { 0xff }),
        3 => file.truncate(at),
        4 => drop(file.drain(span)),
        5 => {
            let piece: Vec<u8> = file[span].to_vec();
            let copies = 1 + rng.below(4);
            file.splice(at..at, piece.repeat(copies));
        }
        // A length, an offset, a count, in either byte order.
        6 | 7 => {
            let value =
                INTERESTING[rng.below(INTERESTING.len())].wrapping_add(rng.below(3) as u64).wrapping_sub(1);
            let width = [1, 2, 4, 8][rng.below(4)];
            let bytes = if rng.below(4) == 0 {
                value.to_be_bytes()[8 - width..].to_vec()
            } else {
                value.to_le_bytes()[..width].to_vec()
            };
            let end = (at + width).min(len);
            file.splice(at..end, bytes);
        }
        8 if !words.is_empty() => {
            let word = words[rng.below(words.len())];
            let end = if rng.below(2) == 0 { at } else { (at + word.len()).min(len) };
            file.splice(at..end, word.iter().copied());
        }
        // A piece of another file.
        9 => {
            let other = &corpus[rng.below(corpus.len())];
            if !other.is_empty() {
                let from = rng.below(other.len());
                let to = (from + 1 + rng.below(256)).min(other.len());
                file.splice(at..at, other[from..to].iter().copied());
            }
        }
        // A number in text grows.
        10 => {
            if let Some(digit) = (at..len).find(|place| file[*place].is_ascii_digit()) {
                let count = 1 + rng.below(20);
                let digits: Vec<u8> = (0..count).map(|_| b'0' + rng.below(10) as u8).collect();
                file.splice(digit..digit + 1, digits);
            }
        }
        _ => {
            let byte = rng.number() as u8;
            file[span].fill(byte);
        }
    }
}
