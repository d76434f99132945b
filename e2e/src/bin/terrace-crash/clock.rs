//! How long may be waited: so long after the last blow, whoever waits. No other deadline is in the lanes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After the last blow everything is over within this time, or it is stuck (I10).
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// However often it is struck.
pub(crate) const AT_MOST: Duration = Duration::from_secs(300);

/// When the last blow fell.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Mutex<Instant>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()) }
    }

    /// A blow that lasts until then.
    pub(crate) fn struck(&self, until: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(until);
    }

    /// When the last blow fell, or will be over.
    pub(crate) fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much longer something that began then may be waited for.
    pub(crate) fn left(&self, since: Instant) -> Duration {
        left(since, self.last(), Instant::now())
    }
}

fn left(since: Instant, last: Instant, now: Instant) -> Duration {
    let end = (since.max(last) + PATIENCE).min(since + AT_MOST);
    end.saturating_duration_since(now)
}

#[cfg(test)]
mod tests {
    use super::{AT_MOST, Duration, Instant, PATIENCE, left};

    #[test]
    fn a_wait_ends_a_minute_after_the_last_blow_or_its_own_begin() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(left(at(10), at(0), at(10)), PATIENCE);
        assert_eq!(left(at(10), at(30), at(40)), Duration::from_secs(50));
        assert_eq!(left(at(10), at(30), at(95)), Duration::ZERO);
    }

    #[test]
    fn no_wait_lasts_for_ever_however_often_it_is_struck() {
        let start = Instant::now();
        assert_eq!(left(start, start + AT_MOST, start + AT_MOST), Duration::ZERO);
    }
}
