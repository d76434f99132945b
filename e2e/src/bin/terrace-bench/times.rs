//! How long each of many took, in one line or one row. Pure.

use std::time::Duration;

/// What is said of many durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) average: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) maximum: Duration,
    /// Those asked for that never came.
    pub(crate) failed: usize,
}

/// Of those that came, out of `asked`.
pub(crate) fn summarise(times: &[Duration], asked: usize) -> Summary {
    let mut times = times.to_vec();
    times.sort();
    let at = |percent: usize| {
        let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(place).copied().unwrap_or_default()
    };
    let sum: Duration = times.iter().sum();
    Summary {
        average: sum / u32::try_from(times.len().max(1)).unwrap_or(1),
        p50: at(50),
        p99: at(99),
        maximum: at(100),
        failed: asked - times.len(),
    }
}

/// Seconds, to the hundredth.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Duration, seconds, summarise};

    #[test]
    fn the_99th_of_a_hundred_is_not_the_worst() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let said = summarise(&times, 101);
        assert_eq!((said.p50.as_millis(), said.p99.as_millis()), (50, 99));
        assert_eq!((said.maximum.as_millis(), said.failed), (100, 1));
        assert_eq!(said.average, Duration::from_micros(50_500));
        assert_eq!(seconds(Duration::from_millis(1_234)), "1.23 s");
    }
}
