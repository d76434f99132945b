//! How long to wait before a step is tried again. Few tries: the caller comes back by itself, and in
//! between others may have their turn.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// 50 ms, then twice as long each time, with jitter, three times.
pub(super) fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_factor(2.0)
        .with_max_times(3)
        .with_jitter()
        .build()
}
