//! Statistics of paired measurements: the order in which the two sides take turns, the median of their ratios and how sure
//! it is. Pure: the same ratios give the same interval.

/// How often the pairs are drawn anew.
const RESAMPLES: usize = 10_000;
const SEED: u64 = 0x7465_7272_6163_6521;

/// Which of the two is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A file on the pool's own filesystem.
    Raw,
    /// A file on the claim.
    Claim,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Claim => "claim",
        }
    }
}

/// Who goes first in this pair: raw, claim, claim, raw and so on, so that a drift of the machine favours neither.
pub(crate) const fn turns(pair: usize) -> [Side; 2] {
    if pair.is_multiple_of(2) { [Side::Raw, Side::Claim] } else { [Side::Claim, Side::Raw] }
}

/// A median and the interval that holds it with 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The median, none of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The median of the ratios, with its interval by the percentile bootstrap: the pairs are drawn anew with replacement,
/// and of the medians of these samples the middle 95 % are kept.
pub(crate) fn estimate(ratios: &[f64]) -> Option<Estimate> {
    let mut draws = Draws(SEED);
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let sample: Option<Vec<f64>> =
            ratios.iter().map(|_| ratios.get(draws.below(ratios.len())).copied()).collect();
        medians.push(median(&sample?)?);
    }
    medians.sort_by(f64::total_cmp);
    let at = |thousandths: usize| medians.get(RESAMPLES * thousandths / 1000).copied();
    Some(Estimate { median: median(ratios)?, low: at(25)?, high: at(975)? })
}

/// SplitMix64: enough for drawing indices, and the same on every machine.
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let wide = u128::from(mixed ^ (mixed >> 31)) * limit as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Draws, Side, estimate, median, turns};

    #[test]
    fn the_sides_take_turns_in_going_first() {
        let first: Vec<Side> = (0..4).flat_map(turns).collect();
        let (raw, claim) = (Side::Raw, Side::Claim);
        assert_eq!(first, [raw, claim, claim, raw, raw, claim, claim, raw]);
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middle_ones() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn pairs_that_agree_leave_no_doubt() {
        let sure = estimate(&[0.9; 7]).unwrap();
        assert_eq!((sure.median, sure.low, sure.high), (0.9, 0.9, 0.9));
        assert_eq!(estimate(&[]), None);
    }

    #[test]
    fn one_wild_pair_of_seven_moves_the_interval_and_not_the_median() {
        let found = estimate(&[0.97, 0.95, 0.96, 0.98, 0.95, 0.97, 0.30]).unwrap();
        assert_eq!(found.median, 0.96);
        assert!((0.3..=0.95).contains(&found.low), "{found:?}");
        assert!((0.97..=0.98).contains(&found.high), "{found:?}");
        assert_eq!(estimate(&[0.97, 0.95, 0.96, 0.98, 0.95, 0.97, 0.30]), Some(found));
    }

    /// Of 40 sets of 15 draws from the uniform distribution on [0, 1), whose median is 0.5, the interval misses it in about two.
    #[test]
    fn the_interval_holds_the_true_median_about_as_often_as_it_says() {
        let mut draws = Draws(1);
        let mut holds = 0;
        for _ in 0..40 {
            let sample: Vec<f64> =
                (0..15).map(|_| draws.below(1 << 20) as f64 / 1048576.0).collect();
            let found = estimate(&sample).unwrap();
            holds += usize::from(found.low <= 0.5 && 0.5 <= found.high);
        }
        assert!((34..=40).contains(&holds), "{holds} of 40");
    }

    #[test]
    fn every_index_is_drawn_and_none_beyond() {
        let mut draws = Draws(7);
        let mut seen = [0_usize; 5];
        for _ in 0..5000 {
            seen[draws.below(5)] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }
}
