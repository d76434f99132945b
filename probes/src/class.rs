//! The classes people ask by: how long an operation took, how much it moved. Pure; derived from the histograms, counted
//! nowhere a second time.

use terrace_probe_abi::layout::{BUCKETS, Operation, SizeClass};

use crate::quantile::middle;

const MILLISECOND: u64 = 1_000_000;

/// Where the classes end that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Above it an operation is critical, in nanoseconds; more than the 10 ms below which it is not even slow.
    pub critical_ns: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { critical_ns: 100 * MILLISECOND }
    }
}

/// The least that may be set.
pub const LEAST_CRITICAL_NS: u64 = 10 * MILLISECOND;

/// How long an operation took. An operation belongs to the class of its bucket's middle: next to a bound it may be told one
/// class off, by at most 6.25 % of its duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyClass {
    /// At most 1 ms.
    Fast,
    /// At most 10 ms.
    Normal,
    /// At most 100 ms, or what was set.
    Slow,
    /// Above.
    Critical,
}

impl LatencyClass {
    /// All, fastest first.
    pub const ALL: [Self; 4] = [Self::Fast, Self::Normal, Self::Slow, Self::Critical];

    /// The class of a duration.
    #[must_use]
    pub fn of(ns: u64, bounds: Bounds) -> Self {
        let fits = |class: &Self| class.bound_ns(bounds).is_none_or(|bound| ns <= bound);
        Self::ALL.into_iter().find(fits).unwrap_or(Self::Critical)
    }

    /// The longest that still belongs to it; the last has none.
    #[must_use]
    pub fn bound_ns(self, bounds: Bounds) -> Option<u64> {
        match self {
            Self::Fast => Some(MILLISECOND),
            Self::Normal => Some(10 * MILLISECOND),
            Self::Slow => Some(bounds.critical_ns),
            Self::Critical => None,
        }
    }

    /// As a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Normal => "normal",
            Self::Slow => "slow",
            Self::Critical => "critical",
        }
    }
}

/// Operations by [`LatencyClass`], in the order of [`LatencyClass::ALL`].
#[must_use]
pub fn latency_classes(buckets: &[u64; BUCKETS], bounds: Bounds) -> [u64; 4] {
    LatencyClass::ALL.map(|class| {
        let ours = buckets.iter().enumerate();
        let ours = ours.filter(|(index, _)| LatencyClass::of(middle(*index), bounds) == class);
        ours.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count))
    })
}

/// An operation as a label.
#[must_use]
pub const fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::Fsync => "fsync",
        Operation::Readdir => "readdir",
    }
}

/// A size class as a label.
#[must_use]
pub fn size_label(class: SizeClass) -> &'static str {
    match class {
        SizeClass::Small => "small",
        SizeClass::Medium => "medium",
        SizeClass::Large => "large",
        SizeClass::Huge => "huge",
    }
}

/// The largest transfer of a class; the last has none.
#[must_use]
pub fn size_bound(class: SizeClass) -> Option<u64> {
    match class {
        SizeClass::Small => Some(4 << 10),
        SizeClass::Medium => Some(64 << 10),
        SizeClass::Large => Some(1 << 20),
        SizeClass::Huge => None,
    }
}

/// The class of a transfer of so many bytes.
#[must_use]
pub fn size_class(bytes: u64) -> SizeClass {
    let fits = |class: &SizeClass| size_bound(*class).is_none_or(|bound| bytes <= bound);
    SizeClass::ALL.iter().copied().find(fits).unwrap_or(SizeClass::Huge)
}

#[cfg(test)]
mod tests {
    use terrace_probe_abi::layout::{BUCKETS, bucket_of};

    use super::{Bounds, LatencyClass, MILLISECOND, latency_classes, size_class, size_label};

    const ASKED: Bounds = Bounds { critical_ns: 100 * MILLISECOND };

    #[test]
    fn bounds_belong_to_the_class_below() {
        let classes = [
            1,
            MILLISECOND,
            MILLISECOND + 1,
            10 * MILLISECOND,
            100 * MILLISECOND,
            101 * MILLISECOND,
        ];
        let named = classes.map(|ns| LatencyClass::of(ns, ASKED).as_str());
        assert_eq!(named, ["fast", "fast", "normal", "normal", "slow", "critical"]);
        let sizes =
            [0, 4096, 4097, 65536, 1 << 20, (1 << 20) + 1].map(|size| size_label(size_class(size)));
        assert_eq!(sizes, ["small", "small", "medium", "medium", "large", "huge"]);
    }

    #[test]
    fn nine_milliseconds_are_normal_and_eleven_are_slow() {
        let mut buckets = [0; BUCKETS];
        for (ms, times) in [(9, 3), (11, 4), (120, 1)] {
            buckets[bucket_of(ms * MILLISECOND)] += times;
        }
        assert_eq!(latency_classes(&buckets, ASKED), [0, 3, 4, 1]);
        let set = Bounds { critical_ns: 10 * MILLISECOND };
        assert_eq!(latency_classes(&buckets, set), [0, 3, 0, 5], "what was set");
    }

    #[test]
    fn every_operation_has_one_class_that_is_right_but_next_to_a_bound() {
        let mut ns = 500_u64;
        while ns < 1 << 35 {
            let mut buckets = [0; BUCKETS];
            buckets[bucket_of(ns)] = 1;
            let told = latency_classes(&buckets, ASKED);
            assert_eq!(told.iter().sum::<u64>(), 1, "{ns}");
            let bounds = LatencyClass::ALL.iter().filter_map(|class| class.bound_ns(ASKED));
            let is_near = bounds.clone().any(|bound| ns.abs_diff(bound) * 16 <= ns.max(bound));
            let right =
                LatencyClass::ALL.iter().position(|class| *class == LatencyClass::of(ns, ASKED));
            assert!(is_near || told[right.unwrap()] == 1, "{ns}: {told:?}");
            ns += ns / 37;
        }
    }
}
