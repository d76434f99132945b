//! One histogram of the kernel as Prometheus and OTLP want it: a few classic buckets and, sparse, exponential ones. Pure.
//!
//! What that costs: an operation is told as the middle of its H2 bucket (at most 6.25 % away), which falls into an
//! exponential bucket 2.2 % wide (schema 5: 32 an octave), so a quantile computed from the native histogram is at most
//! 8.6 % away. Next to a classic bound, an operation may be told on the wrong side by 6.25 %.

use std::sync::LazyLock;

use terrace_probe_abi::layout::{BUCKETS, OperationFigures};

use crate::quantile::{count, middle};

/// 2^5 exponential buckets an octave.
pub const SCHEMA: i32 = 5;
/// Below this nothing is told apart: the default of Prometheus' own clients, 2^-128.
pub const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;
/// Classic bounds in nanoseconds: those of the latency classes (1, 10, 100 ms) are among them.
pub const CLASSIC_NS: [u64; 8] =
    [100_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000, 100_000_000, 1_000_000_000];

/// The exponential bucket of each of ours; bucket `i` holds what is above `base^(i-1)` and at most `base^i` seconds.
static INDEX: LazyLock<[i32; BUCKETS]> =
    LazyLock::new(|| std::array::from_fn(|ours| index(middle(ours))));

fn index(ns: u64) -> i32 {
    let steps = f64::from(1_u32 << SCHEMA);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "between -1000 and 1000 for any u64 of nanoseconds"
    )]
    let index = (seconds(ns).log2() * steps).ceil() as i32;
    index
}

/// Nanoseconds as Prometheus counts time.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a sum of 100 days is still exact to a nanosecond")]
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Exponential buckets that hold something: (index, operations), in order.
#[must_use]
pub fn exponential(figures: &OperationFigures) -> Vec<(i32, u64)> {
    let mut sparse: Vec<(i32, u64)> = Vec::new();
    for (index, count) in INDEX.iter().zip(figures.buckets).filter(|(_, count)| *count > 0) {
        match sparse.last_mut() {
            Some((last, sum)) if last == index => *sum += count,
            Some(_) | None => sparse.push((*index, count)),
        }
    }
    sparse
}

/// Spans (gap before, length) and differences of neighbours, as the native histogram is sent.
#[must_use]
pub fn spans(sparse: &[(i32, u64)]) -> (Vec<(i32, u32)>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<(i32, u32)>::new(), Vec::new());
    let (mut next, mut before) = (0, 0_i64);
    for (index, count) in sparse {
        match spans.last_mut() {
            Some((_, length)) if *index == next => *length += 1,
            Some(_) | None => spans.push((index - next, 1)),
        }
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        deltas.push(count - before);
        (next, before) = (index + 1, count);
    }
    (spans, deltas)
}

/// Classic buckets: (upper bound in seconds, operations in it alone); the last is unbounded.
#[must_use]
pub fn classic(figures: &OperationFigures) -> Vec<(f64, u64)> {
    let bounds = CLASSIC_NS.iter().copied().chain([u64::MAX]);
    let mut low = 0;
    bounds
        .map(|high| {
            let ours = figures.buckets.iter().enumerate().filter(|(index, _)| {
                let middle = middle(*index);
                low < middle && middle <= high
            });
            let sum = ours.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
            low = high;
            (if high == u64::MAX { f64::INFINITY } else { seconds(high) }, sum)
        })
        .collect()
}

/// Operations in all.
#[must_use]
pub fn total(figures: &OperationFigures) -> u64 {
    count(&figures.buckets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, prop, proptest};
    use terrace_probe_abi::layout::{OperationFigures, bucket_of};

    use super::{SCHEMA, classic, exponential, spans, total};
    use crate::class::{Bounds, latency_classes};
    use crate::quantile::Quantile;

    fn figures(durations: &[u64]) -> OperationFigures {
        let mut figures = OperationFigures::default();
        durations.iter().for_each(|ns| figures.buckets[bucket_of(*ns)] += 1);
        figures
    }

    /// What Prometheus answers, at either end of the bucket it finds.
    fn told(sparse: &[(i32, u64)], rank: u64) -> (f64, f64) {
        let mut below = 0;
        let found = sparse.iter().find(|(_, count)| {
            below += count;
            below >= rank
        });
        let (index, _) = found.unwrap();
        let edge = |index: i32| (f64::from(index) / f64::from(1 << SCHEMA)).exp2() * 1e9;
        (edge(index - 1), edge(*index))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn a_quantile_of_the_native_histogram_is_at_most_8_6_percent_away(
            mut durations in prop::collection::vec((10_u32..34).prop_flat_map(|octave| (1_u64 << octave)..(2 << octave)), 1..500)
        ) {
            let sparse = exponential(&figures(&durations));
            durations.sort_unstable();
            for which in Quantile::ALL {
                let rank = which.rank(durations.len() as u64);
                let exact = durations[usize::try_from(rank).unwrap() - 1] as f64;
                let (low, high) = told(&sparse, rank);
                let worst = (low - exact).abs().max((high - exact).abs()) / exact;
                assert!(worst <= 0.086, "{which:?}: {low} to {high} for {exact}");
            }
        }

        #[test]
        fn nothing_is_lost_on_the_way(durations in prop::collection::vec(1_u64..1 << 36, 0..300)) {
            let figures = figures(&durations);
            let sparse = exponential(&figures);
            assert_eq!(sparse.iter().map(|(_, count)| count).sum::<u64>(), total(&figures));
            assert_eq!(classic(&figures).iter().map(|(_, count)| count).sum::<u64>(), total(&figures));
            // Read back as Prometheus does.
            let (spans, deltas) = spans(&sparse);
            let (mut read, mut index, mut count) = (Vec::new(), 0, 0);
            let mut deltas = deltas.into_iter();
            for (gap, length) in spans {
                index += gap;
                for _ in 0..length {
                    count += deltas.next().unwrap();
                    read.push((index, u64::try_from(count).unwrap()));
                    index += 1;
                }
            }
            assert_eq!((read, deltas.next()), (sparse, None));
        }
    }

    #[test]
    fn the_classic_bounds_add_up_to_the_latency_classes() {
        let figures = figures(&[5_000, 900_000, 9_000_000, 11_000_000, 90_000_000, 3_000_000_000]);
        let classic = classic(&figures);
        let up_to = |bound: f64| -> u64 {
            classic.iter().filter(|(high, _)| *high <= bound).map(|(_, count)| count).sum()
        };
        let [fast, normal, slow, critical] = latency_classes(&figures.buckets, Bounds::default());
        assert_eq!(
            (up_to(0.001), up_to(0.01), up_to(0.1)),
            (fast, fast + normal, fast + normal + slow)
        );
        assert_eq!((total(&figures) - up_to(0.1), critical), (1, 1));
    }
}
