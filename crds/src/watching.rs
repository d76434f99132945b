//! How soon a watch that broke is taken up again, by everybody who watches. It knows no client: only the delays.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use kube::runtime::utils::Backoff;

/// First delay; doubled with each failure, and up to as much again by chance, so that not all come at once.
const FIRST: Duration = Duration::from_millis(800);
/// Longest delay, but for chance. An API server that comes back refuses the first question, which asks for what it has
/// forgotten: two delays pass until the whole list is asked for, and the watcher is blind for as long.
const LONGEST: Duration = Duration::from_secs(5);

/// The delays between attempts; the first one again after a success.
#[derive(Debug)]
pub struct TakenUp(ExponentialBackoff);

impl Default for TakenUp {
    fn default() -> Self {
        Self(delays())
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter()
        .build()
}

impl Iterator for TakenUp {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for TakenUp {
    fn reset(&mut self) {
        self.0 = delays();
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST, LONGEST, TakenUp};

    #[test]
    fn i10_a_watch_is_taken_up_again_within_ten_seconds_for_ever() {
        let mut delays = TakenUp::default();
        for _ in 0..200 {
            let delay = delays.next().expect("it is never given up");
            assert!((FIRST..=LONGEST * 2).contains(&delay), "{delay:?}");
        }
        delays.reset();
        assert!(delays.next().expect("again") <= FIRST * 2);
    }
}
