//! Nothing waits without a deadline (I10). What can hang in the kernel runs on a thread of its own, which is given up when the time is over.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::DeviceError;

/// When an effect must have ended.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    from: Instant,
    until: Instant,
}

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        let from = Instant::now();
        Self { from, until: from + time }
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Fails once it has passed.
    pub(crate) fn check(&self, doing: &'static str) -> Result<(), DeviceError> {
        if self.left().is_zero() { Err(self.passed(doing)) } else { Ok(()) }
    }

    pub(crate) fn passed(&self, doing: &'static str) -> DeviceError {
        DeviceError::Deadline { doing, waited: self.until - self.from }
    }
}

/// Runs `work` on a thread of its own and gives it up at the deadline: a system call that hangs can't be taken back, but nobody need wait for it.
/// The thread ends whenever the kernel lets it.
pub(crate) fn within<T: Send + 'static>(
    deadline: Deadline,
    doing: &'static str,
    work: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
) -> Result<T, DeviceError> {
    deadline.check(doing)?;
    let (send, receive) = mpsc::sync_channel(1);
    let spawned = thread::Builder::new().name("terrace-effect".to_owned()).spawn(move || {
        // The receiver may have given up; then nobody wants the answer.
        let _unwanted = send.send(work());
    });
    spawned.map_err(|source| {
        DeviceError::io("start a thread for", "terrace-effect".as_ref(), source)
    })?;
    receive.recv_timeout(deadline.left()).unwrap_or_else(|_| Err(deadline.passed(doing)))
}

/// How long "in use" is looked at again before it is believed.
const SETTLE: Duration = Duration::from_millis(500);

/// Looks until it is free, for a moment: a child of ours between fork and exec holds every descriptor we have, and udev opens whatever changes. Whoever really
/// uses it still does after that.
pub(crate) fn settle(
    mut is_free: impl FnMut() -> Result<bool, DeviceError>,
) -> Result<bool, DeviceError> {
    let until = Instant::now() + SETTLE;
    loop {
        if is_free()? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        thread::sleep(SETTLE / 50);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_for_a_moment_only_is_free() {
        let mut looks = 0;
        let free = settle(|| {
            looks += 1;
            Ok(looks > 3)
        });
        assert!(free.unwrap());
        assert!(!settle(|| Ok(false)).unwrap());
    }

    #[test]
    fn i10_what_hangs_is_given_up_at_the_deadline() {
        let (release, held) = mpsc::channel::<()>();
        let deadline = Deadline::after(Duration::from_millis(50));
        let began = Instant::now();
        let hung = within(deadline, "hang", move || {
            let _ = held.recv();
            Ok(())
        });
        assert!(matches!(hung, Err(DeviceError::Deadline { doing: "hang", .. })));
        assert!(began.elapsed() < Duration::from_secs(4), "it waited {:?}", began.elapsed());
        drop(release);
    }

    #[test]
    fn what_ends_in_time_gives_its_answer() {
        let deadline = Deadline::after(Duration::from_secs(60));
        assert_eq!(within(deadline, "add", || Ok(1 + 1)).unwrap(), 2);
    }

    #[test]
    fn nothing_begins_after_the_deadline() {
        let deadline = Deadline::after(Duration::ZERO);
        let late = within(deadline, "begin", || -> Result<(), DeviceError> { panic!("it began") });
        assert!(matches!(late, Err(DeviceError::Deadline { .. })));
    }
}
