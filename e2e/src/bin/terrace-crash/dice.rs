//! Chance from a seed: the same words give the same number in every run. Pure.

/// A number for these words under this seed (SplitMix64 over FNV-1a).
pub(crate) fn throw(seed: u64, words: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut mixed = (hash ^ seed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// As [`throw`], below `bound`.
pub(crate) fn below(bound: u64, seed: u64, words: &[&str]) -> u64 {
    throw(seed, words) % bound.max(1)
}

#[cfg(test)]
mod tests {
    use super::{below, throw};

    #[test]
    fn the_same_seed_and_words_give_the_same_number_and_others_another() {
        assert_eq!(throw(7, &["a", "b"]), throw(7, &["a", "b"]));
        assert_ne!(throw(7, &["a", "b"]), throw(8, &["a", "b"]));
        assert_ne!(throw(7, &["a", "b"]), throw(7, &["ab"]));
        let faces: std::collections::BTreeSet<u64> =
            (0..200_u32).map(|n| below(6, 7, &[&n.to_string()])).collect();
        assert_eq!(faces.len(), 6);
    }
}
