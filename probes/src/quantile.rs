//! Quantiles, average and maximum of one operation's histogram. Pure: it may not look at a clock or at a kernel.
//!
//! A quantile is told as the middle of the bucket that holds it. Buckets are an eighth of an octave wide, so the middle is
//! at most 6.25 % away from anything in it (between 1 us and 16 s; outside, the edge buckets are all there is).

use terrace_probe_abi::layout::{BUCKETS, edges};

/// A histogram, as the kernel counts it.
pub type Buckets = [u64; BUCKETS];

/// The quantiles Terrace tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// Half of the operations took at most so long.
    P50,
    /// 95 of 100.
    P95,
    /// 99 of 100.
    P99,
    /// 999 of 1000.
    P999,
}

impl Quantile {
    /// All of them, from the middle outwards.
    pub const ALL: [Self; 4] = [Self::P50, Self::P95, Self::P99, Self::P999];

    /// Of `count` operations in order of duration, which one it is, from 1.
    #[must_use]
    pub fn rank(self, count: u64) -> u64 {
        let per_mille: u128 = match self {
            Self::P50 => 500,
            Self::P95 => 950,
            Self::P99 => 990,
            Self::P999 => 999,
        };
        let rank = (u128::from(count) * per_mille).div_ceil(1000);
        u64::try_from(rank).unwrap_or(count).max(1)
    }
}

/// How many operations a histogram holds.
#[must_use]
pub fn count(buckets: &Buckets) -> u64 {
    buckets.iter().fold(0_u64, |sum, bucket| sum.saturating_add(*bucket))
}

/// The quantile in nanoseconds, never above the longest operation seen (`max_ns`; 0: not known). `None` without operations.
#[must_use]
pub fn quantile(buckets: &Buckets, which: Quantile, max_ns: u64) -> Option<u64> {
    let count = count(buckets);
    if count == 0 {
        return None;
    }
    let rank = which.rank(count);
    let mut below = 0_u64;
    let index = buckets.iter().position(|bucket| {
        below = below.saturating_add(*bucket);
        below >= rank
    })?;
    let told = middle(index);
    Some(match max_ns {
        0 => told,
        // Above the last edge nothing is known but the longest.
        max if index == BUCKETS - 1 => max.max(told),
        max => told.min(max),
    })
}

/// What a bucket's operations are taken to have lasted: its middle, and the lower edge of the one without an upper.
#[must_use]
pub fn middle(index: usize) -> u64 {
    let (low, high) = edges(index);
    if index == BUCKETS - 1 { low } else { low + (high - low) / 2 }
}

/// Mean duration in nanoseconds; `None` without operations.
#[must_use]
pub fn average(buckets: &Buckets, sum_ns: u64) -> Option<u64> {
    sum_ns.checked_div(count(buckets))
}

/// Operations in buckets whose middle lies above `limit_ns`.
#[must_use]
pub fn above(buckets: &Buckets, limit_ns: u64) -> u64 {
    let over = buckets.iter().enumerate().filter(|(index, _)| middle(*index) > limit_ns);
    over.fold(0_u64, |sum, (_, bucket)| sum.saturating_add(*bucket))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, prop, proptest};
    use terrace_probe_abi::layout::{BUCKETS, bucket_of};

    use super::{Buckets, Quantile, above, average, quantile};

    pub(super) fn histogram(durations: &[u64]) -> Buckets {
        let mut buckets = [0; BUCKETS];
        durations.iter().for_each(|ns| buckets[bucket_of(*ns)] += 1);
        buckets
    }

    /// Durations spread evenly over octaves, as latencies are.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        let one = (10_u32..34, 0_u64..1 << 34)
            .prop_map(|(octave, within)| (1 << octave) + within % (1 << octave));
        prop::collection::vec(one, 1..2000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn a_quantile_is_at_most_a_sixteenth_away_from_the_exact_one(mut durations in durations()) {
            let buckets = histogram(&durations);
            durations.sort_unstable();
            let max = durations.last().copied().unwrap_or(0);
            for which in Quantile::ALL {
                let rank = which.rank(durations.len() as u64);
                let exact = durations[usize::try_from(rank).unwrap() - 1];
                let told = quantile(&buckets, which, max).unwrap();
                let error = told.abs_diff(exact) as f64 / exact as f64;
                assert!(error <= 0.0625, "{which:?}: {told} for {exact}, {error}");
            }
        }
    }

    #[test]
    fn ranks_are_those_of_nearest_rank() {
        let ranks = |count| Quantile::ALL.map(|which| which.rank(count));
        assert_eq!(ranks(1), [1, 1, 1, 1]);
        assert_eq!(ranks(100), [50, 95, 99, 100]);
        assert_eq!(ranks(1000), [500, 950, 990, 999]);
        assert_eq!(Quantile::P999.rank(u64::MAX), 18_428_297_329_635_842_064);
    }

    #[test]
    fn nothing_done_has_no_quantile_and_no_average() {
        assert_eq!(quantile(&[0; BUCKETS], Quantile::P99, 7), None);
        assert_eq!(average(&[0; BUCKETS], 0), None);
    }

    #[test]
    fn outside_of_the_buckets_the_longest_is_told() {
        let minute = 60_000_000_000;
        let long = histogram(&[minute]);
        assert_eq!(quantile(&long, Quantile::P50, minute), Some(minute));
        assert_eq!(quantile(&long, Quantile::P50, 0), Some(1 << 34), "at least that");
        assert_eq!(quantile(&histogram(&[100]), Quantile::P50, 100), Some(100));
    }

    #[test]
    fn nine_milliseconds_are_not_above_ten_and_eleven_are() {
        let limit = 10_000_000;
        assert_eq!(above(&histogram(&[9_000_000; 5]), limit), 0);
        assert_eq!(above(&histogram(&[11_000_000; 5]), limit), 5);
        assert_eq!(average(&histogram(&[1; 4]), 10), Some(2));
    }
}
