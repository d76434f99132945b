//! Blocks that say what they are: every byte follows from the stamp at the beginning. Pure.

use super::dice::mix;

/// Bytes of one block: what an in-place write of a filesystem replaces as a whole.
pub(crate) const BLOCK: usize = 4096;
const WORD: usize = size_of::<u64>();
const WORDS: usize = BLOCK / WORD;
const MAGIC: u64 = 0x7465_7272_6163_6521;

/// What a block is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which volume: a block that turns up in another one is told.
    pub(crate) volume: u64,
    /// Which file.
    pub(crate) file: u64,
    /// Which block of it.
    pub(crate) number: u64,
    /// How often it was written.
    pub(crate) version: u64,
}

/// What bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole block.
    Whole(Stamp),
    /// Nothing was ever written there.
    Zeros,
    /// Neither: bytes are missing or of something else.
    Damaged,
}

/// The bytes of a block.
pub(crate) fn block(stamp: Stamp) -> Vec<u8> {
    let Stamp { volume, file, number, version } = stamp;
    let head = [MAGIC, volume, file, number, version];
    let seed = head.iter().fold(0, |seed, word| mix(seed ^ *word).wrapping_add(1));
    let body = (head.len()..WORDS).map(|at| mix(seed.wrapping_add(at as u64)));
    head.into_iter().chain(body).flat_map(u64::to_le_bytes).collect()
}

/// What a block's bytes are.
pub(crate) fn read(bytes: &[u8]) -> Found {
    if bytes.len() == BLOCK && bytes.iter().all(|byte| *byte == 0) {
        return Found::Zeros;
    }
    let mut words = bytes.chunks_exact(WORD).filter_map(|word| word.try_into().ok());
    let mut word = || words.next().map(u64::from_le_bytes).unwrap_or_default();
    let (magic, volume, file, number, version) = (word(), word(), word(), word(), word());
    let stamp = Stamp { volume, file, number, version };
    if magic == MAGIC && bytes == block(stamp) { Found::Whole(stamp) } else { Found::Damaged }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Found, Stamp, block, read};

    #[test]
    fn a_block_is_told_from_all_that_it_is_not() {
        let stamp = Stamp { volume: 1, file: 2, number: 3, version: 4 };
        let good = block(stamp);
        assert_eq!(good.len(), BLOCK);
        assert_eq!(read(&good), Found::Whole(stamp));
        assert_eq!(read(&[0; BLOCK]), Found::Zeros);
        assert_eq!(read(&good[..BLOCK - 512]), Found::Damaged);
        for at in [0, 8, 41, 2000, BLOCK - 1] {
            let mut torn = good.clone();
            torn[at] ^= 1;
            assert_eq!(read(&torn), Found::Damaged, "byte {at}");
        }
        let later = block(Stamp { version: 5, ..stamp });
        let half: Vec<u8> = later[..512].iter().chain(&good[512..]).copied().collect();
        assert_eq!(read(&half), Found::Damaged);
    }
}
