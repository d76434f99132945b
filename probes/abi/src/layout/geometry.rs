//! The latency histogram: log-linear (H2), 8 buckets an octave from 1,024 ns to 2^34 ns (17.2 s), one bucket below and one above.
//! A value told by the middle of its bucket is off by at most 1/16 (6.25 %). `bpf/abi.h` has the same in C.

/// Below 2^10 ns everything is one bucket.
const LOWEST_BIT: u32 = 10;
/// From 2^34 ns on everything is one bucket.
const HIGHEST_BIT: u32 = 34;
/// 2^3 buckets an octave.
const SUB_BITS: u32 = 3;

/// How many buckets there are: 24 octaves of 8, one below, one above.
pub const BUCKETS: usize = ((HIGHEST_BIT - LOWEST_BIT) << SUB_BITS) as usize + 2;

/// Which bucket a duration in nanoseconds belongs to.
#[must_use]
pub const fn bucket_of(ns: u64) -> usize {
    if ns < 1 << LOWEST_BIT {
        return 0;
    }
    if ns >= 1 << HIGHEST_BIT {
        return BUCKETS - 1;
    }
    let octave = 63 - ns.leading_zeros();
    let sub = (ns >> (octave - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    1 + ((octave - LOWEST_BIT) << SUB_BITS) as usize + sub as usize
}

/// Lower (inclusive) and upper (exclusive) edge of a bucket in nanoseconds; the last bucket, and any beyond it, has no upper one.
#[must_use]
pub const fn edges(bucket: usize) -> (u64, u64) {
    if bucket == 0 {
        return (0, 1 << LOWEST_BIT);
    }
    if bucket >= BUCKETS - 1 {
        return (1 << HIGHEST_BIT, u64::MAX);
    }
    (lower_edge(bucket), lower_edge(bucket + 1))
}

const fn lower_edge(bucket: usize) -> u64 {
    let place = bucket as u64 - 1;
    let (octave, sub) = (place >> SUB_BITS, place & ((1 << SUB_BITS) - 1));
    ((1 << SUB_BITS) + sub) << (octave + (LOWEST_BIT - SUB_BITS) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::{BUCKETS, bucket_of, edges};

    #[test]
    fn there_are_194_buckets() {
        assert_eq!(BUCKETS, 194);
        assert_eq!((edges(0), edges(1)), ((0, 1024), (1024, 1152)));
        assert_eq!((edges(192).1, edges(193)), (1 << 34, (1 << 34, u64::MAX)));
    }

    #[test]
    fn buckets_touch_and_hold_their_own_edges() {
        for bucket in 0..BUCKETS {
            let (low, high) = edges(bucket);
            assert_eq!(bucket_of(low), bucket, "lower edge {low}");
            assert_eq!(bucket_of(high - 1), bucket, "last of {bucket}");
            if bucket + 1 < BUCKETS {
                assert_eq!(edges(bucket + 1).0, high, "a gap above {bucket}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_duration_lies_within_its_bucket(ns in any::<u64>(), shift in 0_u32..64) {
            let ns = ns >> shift;
            let (low, high) = edges(bucket_of(ns));
            prop_assert!(low <= ns && (ns < high || high == u64::MAX));
        }

        #[test]
        fn the_middle_of_a_bucket_is_off_by_a_sixteenth_at_most(ns in 1_024_u64..(1 << 34)) {
            let (low, high) = edges(bucket_of(ns));
            let middle = u64::midpoint(low, high);
            prop_assert!(middle.abs_diff(ns) * 16 <= ns, "{ns} in {low}..{high}");
        }
    }
}
