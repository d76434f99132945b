//! What was done and what was counted, and how far they are apart. Pure.

use std::collections::BTreeMap;
use std::ops::Sub;

use terrace_probe_abi::layout::{BUCKETS, OPERATIONS, Operation, bucket_of, edges};

/// One operation of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// None where the probe does not say.
    pub(crate) bytes: Option<u64>,
    pub(crate) buckets: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { bytes: Some(0), buckets: vec![0; BUCKETS] }
    }
}

impl Tally {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.bytes = self.bytes.zip(other.bytes).map(|(one, two)| one + two);
        for (to, from) in self.buckets.iter_mut().zip(&other.buckets) {
            *to += from;
        }
    }

    /// What operations of these durations come to.
    pub(crate) fn of(bytes: u64, durations: &[u64]) -> Self {
        let mut buckets = vec![0; BUCKETS];
        for duration in durations {
            if let Some(bucket) = buckets.get_mut(bucket_of(*duration)) {
                *bucket += 1;
            }
        }
        Self { bytes: Some(bytes), buckets }
    }
}

/// What grew since; for what fell see [`fell`].
impl Sub for &Tally {
    type Output = Tally;

    fn sub(self, earlier: &Tally) -> Tally {
        let grown = |(new, old): (&u64, &u64)| new.saturating_sub(*old);
        Tally {
            bytes: self.bytes.zip(earlier.bytes).map(|(new, old)| new.saturating_sub(old)),
            buckets: self.buckets.iter().zip(&earlier.buckets).map(grown).collect(),
        }
    }
}

/// By volume and operation.
pub(crate) type Tallies = BTreeMap<usize, [Tally; OPERATIONS]>;

/// Adds what was done in a phase to what was done before.
pub(crate) fn add_all(to: &mut Tallies, from: &Tallies) {
    for (number, tallies) in from {
        let sums = to.entry(*number).or_default();
        for (sum, tally) in sums.iter_mut().zip(tallies) {
            sum.add(tally);
        }
    }
}

/// What grew between two looks.
pub(crate) fn grown(later: &Tallies, earlier: &Tallies) -> Tallies {
    let zero = <[Tally; OPERATIONS]>::default();
    let of = |(number, new): (&usize, &[Tally; OPERATIONS])| {
        let old = earlier.get(number).unwrap_or(&zero);
        (*number, std::array::from_fn(|at| &new[at] - &old[at]))
    };
    later.iter().map(of).collect()
}

/// By how much counts went backwards between two looks; they never may.
pub(crate) fn fell(later: &Tallies, earlier: &Tallies) -> u64 {
    let zero = <[Tally; OPERATIONS]>::default();
    let buckets = |tallies: &[Tally; OPERATIONS]| -> Vec<u64> {
        tallies.iter().flat_map(|tally| tally.buckets.clone()).collect()
    };
    let of = |(number, old): (&usize, &[Tally; OPERATIONS])| -> u64 {
        let (new, old) = (buckets(later.get(number).unwrap_or(&zero)), buckets(old));
        old.iter().zip(&new).map(|(old, new)| old.saturating_sub(*new)).sum()
    };
    earlier.iter().map(of).sum()
}

/// How counts lie to what was done, all volumes and operations added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) expected: u64,
    pub(crate) counted: u64,
    /// Counted for a volume or as an operation that did not do it; or in its number, but with another's bytes.
    pub(crate) misattributed: u64,
    /// Done and counted nowhere.
    pub(crate) missing: u64,
    /// By how much counts went backwards.
    pub(crate) fell: u64,
}

impl Verdict {
    pub(crate) fn add(&mut self, other: Self) {
        let Self { expected, counted, misattributed, missing, fell } = other;
        self.expected += expected;
        self.counted += counted;
        self.misattributed += misattributed;
        self.missing += missing;
        self.fell += fell;
    }
}

/// One operation of one volume whose count, or bytes, are not as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) number: usize,
    pub(crate) operation: Operation,
    pub(crate) done: u64,
    pub(crate) counted: u64,
    /// Done and counted.
    pub(crate) bytes: Option<(u64, u64)>,
}

/// Compares volume by volume, operation by operation.
fn compare(expected: &Tallies, counted: &Tallies) -> Vec<Wrong> {
    let zero = <[Tally; OPERATIONS]>::default();
    let others = counted.keys().filter(|number| !expected.contains_key(number));
    let numbers = expected.keys().chain(others);
    let of_volume = numbers.flat_map(|number| {
        let done = expected.get(number).unwrap_or(&zero);
        let seen = counted.get(number).unwrap_or(&zero);
        Operation::ALL.iter().map(move |operation| {
            let (done, seen) = (&done[operation.index()], &seen[operation.index()]);
            Wrong {
                number: *number,
                operation: *operation,
                done: done.count(),
                counted: seen.count(),
                bytes: done.bytes.zip(seen.bytes),
            }
        })
    });
    of_volume.collect()
}

impl Wrong {
    /// Too many, or as many with another's bytes.
    fn is_misattributed(&self) -> bool {
        let tells = matches!(self.operation, Operation::Read | Operation::Write);
        let differs = self.bytes.is_some_and(|(one, two)| one != two);
        self.counted > self.done || tells && differs && self.counted == self.done
    }
}

/// What was counted for those that did not do it.
pub(crate) fn misattributed(expected: &Tallies, counted: &Tallies) -> Vec<Wrong> {
    let mut all = compare(expected, counted);
    all.retain(Wrong::is_misattributed);
    all
}

/// All of it added up.
pub(crate) fn judge(expected: &Tallies, counted: &Tallies) -> Verdict {
    let mut verdict = Verdict::default();
    for wrong in compare(expected, counted) {
        let Wrong { done, counted, .. } = wrong;
        verdict.expected += done;
        verdict.counted += counted;
        verdict.missing += done.saturating_sub(counted);
        verdict.misattributed += counted.saturating_sub(done);
        verdict.misattributed += u64::from(wrong.is_misattributed() && counted == done);
    }
    verdict
}

/// A quantile by both, in nanoseconds, and how far the probe's is off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantile {
    pub(crate) true_ns: u64,
    /// Share of the true one by which the middle of the probe's bucket is off.
    pub(crate) error: f64,
    /// How many buckets lie between the probe's and the true one's.
    pub(crate) buckets: usize,
}

/// The quantile of `thousandths` of durations (sorted) and of buckets.
pub(crate) fn quantile(sorted: &[u64], buckets: &[u64], thousandths: u64) -> Option<Quantile> {
    let rank = |count: u64| (count * thousandths).div_ceil(1000).max(1);
    let true_ns = *sorted.get(usize::try_from(rank(sorted.len() as u64) - 1).ok()?)?;
    let mut left = rank(buckets.iter().sum());
    let bucket = buckets.iter().position(|count| {
        let found = left <= *count;
        left = left.saturating_sub(*count);
        found
    })?;
    let (low, high) = edges(bucket);
    let told_ns = if bucket + 1 == BUCKETS { low } else { u64::midpoint(low, high) };
    let error = (told_ns as f64 - true_ns as f64) / true_ns.max(1) as f64;
    Some(Quantile { true_ns, error, buckets: bucket.abs_diff(bucket_of(true_ns)) })
}

#[cfg(test)]
mod tests {
    use super::{Quantile, Tallies, Tally, Verdict, fell, grown, judge, quantile};

    fn one(number: usize, operation: usize, bytes: u64, durations: &[u64]) -> Tallies {
        let mut tallies = <[Tally; 4]>::default();
        tallies[operation] = Tally::of(bytes, durations);
        Tallies::from([(number, tallies)])
    }

    #[test]
    fn what_is_counted_as_done_is_right() {
        let done = one(1, 0, 100, &[2000, 3000]);
        let right = Verdict { expected: 2, counted: 2, ..Verdict::default() };
        assert_eq!(judge(&done, &done), right);
    }

    #[test]
    fn an_operation_on_the_wrong_volume_is_missing_here_and_too_many_there() {
        let verdict = judge(&one(1, 0, 100, &[2000]), &one(2, 0, 100, &[2000]));
        assert_eq!((verdict.misattributed, verdict.missing), (1, 1));
    }

    #[test]
    fn an_operation_of_the_wrong_kind_is_no_better() {
        let verdict = judge(&one(1, 0, 100, &[2000]), &one(1, 1, 100, &[2000]));
        assert_eq!((verdict.misattributed, verdict.missing), (1, 1));
    }

    #[test]
    fn as_many_with_other_bytes_are_another_volumes() {
        let verdict = judge(&one(1, 0, 100, &[2000]), &one(1, 0, 108, &[2000]));
        assert_eq!((verdict.misattributed, verdict.missing), (1, 0));
    }

    #[test]
    fn what_went_backwards_is_told_and_is_no_growth() {
        let (old, new) = (one(1, 0, 0, &[2000, 2000]), one(1, 0, 0, &[2000]));
        assert_eq!((fell(&new, &old), fell(&old, &new), fell(&Tallies::new(), &old)), (1, 0, 2));
        assert_eq!(grown(&new, &old)[&1][0].count(), 0);
    }

    #[test]
    fn a_quantile_told_by_its_bucket_is_off_by_a_sixteenth_at_most() {
        let durations: Vec<u64> = (0..1000).map(|step| 5_000 + step * 97).collect();
        let buckets = Tally::of(0, &durations).buckets;
        for thousandths in [500, 990, 999] {
            let Quantile { error, buckets: apart, .. } =
                quantile(&durations, &buckets, thousandths).unwrap();
            assert_eq!(apart, 0);
            assert!(error.abs() <= 0.0625, "{thousandths}: {error}");
        }
    }
}
