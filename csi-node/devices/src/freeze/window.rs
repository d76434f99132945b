//! One freeze from its beginning to its end, on a thread of its own that is its watchdog. Knows a mounted filesystem's root, and neither images nor devices.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::syncfs;
use terrace_device_types::StepDone;

use crate::{Deadline, DeviceError, kernel};

const TOO_LONG: &str = "it took longer than 5 s, and the watchdog let the writers go on";

/// One freeze, from its beginning on.
pub(super) struct Freeze {
    state: Mutex<State>,
    changed: Condvar,
}

pub(super) enum State {
    /// What can be written before anybody waits is being written.
    Writing,
    /// FIFREEZE is under way, and new writers wait already.
    Freezing { since: Instant },
    /// Nobody waits for it any more: it ends as soon as the kernel comes back.
    GivenUp,
    /// It stands. The descriptor keeps it from being unmounted.
    Frozen { root: File },
    /// It never stood.
    Failed { source: Option<io::Error> },
    /// Ended by whoever wanted it.
    Ended,
    /// Ended by something else.
    Broken { why: &'static str },
}

impl Freeze {
    pub(super) const fn new() -> Self {
        Self { state: Mutex::new(State::Writing), changed: Condvar::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &mut State, next: State) {
        *state = next;
        self.changed.notify_all();
    }

    /// The freeze's own thread: freeze, stand by, and thaw if nobody else did.
    pub(super) fn guard(&self, root: File, limit: Duration) {
        // Written now, it need not be written while writers wait.
        let written = syncfs(&root).map_err(io::Error::from);
        let Some(since) = self.begin(written) else { return };
        // Without the lock: this may take as long as the kernel likes.
        let frozen = kernel::freeze(&root);
        let mut state = self.state();
        let wanted = matches!(&*state, State::Freezing { .. });
        match frozen {
            Err(source) => self.set(&mut state, State::Failed { source: Some(source) }),
            Ok(()) if wanted && since.elapsed() < limit => {
                self.set(&mut state, State::Frozen { root });
                self.stand_by(state, since, limit);
            }
            Ok(()) => {
                // Too late for anybody. What this thaw fails to end, only a person can.
                let _told = kernel::thaw(&root);
                self.set(&mut state, State::Failed { source: None });
            }
        }
    }

    /// From here on writers wait. `None`: nobody wants it any more, or nothing could be written.
    fn begin(&self, written: io::Result<()>) -> Option<Instant> {
        let since = Instant::now();
        let mut state = self.state();
        let wanted = matches!(&*state, State::Writing);
        let next = match written {
            Ok(()) if wanted => State::Freezing { since },
            Ok(()) => State::Failed { source: None },
            Err(source) => State::Failed { source: Some(source) },
        };
        let begins = matches!(next, State::Freezing { .. });
        self.set(&mut state, next);
        begins.then_some(since)
    }

    fn stand_by(&self, state: MutexGuard<'_, State>, since: Instant, limit: Duration) {
        let left = limit.saturating_sub(since.elapsed());
        let stands = |state: &mut State| matches!(state, State::Frozen { .. });
        let waited = self.changed.wait_timeout_while(state, left, stands);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let State::Frozen { root } = &*state {
            let _told = kernel::thaw(root);
            self.set(&mut state, State::Broken { why: TOO_LONG });
        }
    }

    pub(super) fn await_frozen(
        &self,
        mount: &Path,
        limit: Duration,
        deadline: Deadline,
    ) -> Result<StepDone, DeviceError> {
        let mut state = self.state();
        loop {
            let left = match &mut *state {
                State::Writing => deadline.left(),
                State::Freezing { since } => limit.saturating_sub(since.elapsed()),
                State::Frozen { .. } => return Ok(StepDone::Changed),
                State::Failed { source } => return Err(failed(mount, source.take())),
                State::Broken { why } => return Err(not_still(mount, why)),
                State::GivenUp | State::Ended => {
                    return Err(not_still(mount, "it was taken back"));
                }
            };
            if left.is_zero() {
                self.set(&mut state, State::GivenUp);
                return Err(DeviceError::Deadline { doing: "freeze a filesystem", waited: limit });
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Until one that was given up has come back from the kernel and is thawed.
    pub(super) fn await_end(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let under_way = |state: &mut State| matches!(state, State::GivenUp);
        let waited = self.changed.wait_timeout_while(self.state(), left, under_way);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The end as planned. A second one finds the first.
    pub(super) fn end(&self, mount: &Path) -> Result<StepDone, DeviceError> {
        let mut state = self.state();
        let why = match &*state {
            State::Frozen { root } => match thaw(root, mount)? {
                StepDone::Changed => {
                    self.set(&mut state, State::Ended);
                    return Ok(StepDone::Changed);
                }
                StepDone::Already => {
                    let why = "somebody else thawed it";
                    self.set(&mut state, State::Broken { why });
                    why
                }
            },
            State::Ended => return Ok(StepDone::Already),
            State::Broken { why } => *why,
            State::Writing | State::Freezing { .. } | State::GivenUp | State::Failed { .. } => {
                "it was never frozen"
            }
        };
        Err(not_still(mount, why))
    }

    /// The end in any case. A freeze that never stood is somebody else's, if there is one (I4); one under way ends itself.
    pub(super) fn take_back(&self, mount: &Path) -> Result<StepDone, DeviceError> {
        let mut state = self.state();
        match &*state {
            State::Frozen { root } => {
                let done = thaw(root, mount)?;
                self.set(&mut state, State::Ended);
                Ok(done)
            }
            State::Writing | State::Freezing { .. } => {
                self.set(&mut state, State::GivenUp);
                Ok(StepDone::Already)
            }
            State::Broken { .. } => {
                self.set(&mut state, State::Ended);
                Ok(StepDone::Already)
            }
            State::GivenUp | State::Failed { .. } | State::Ended => Ok(StepDone::Already),
        }
    }
}

fn failed(mount: &Path, source: Option<io::Error>) -> DeviceError {
    match source {
        Some(source) if source.raw_os_error() == Some(libc::EBUSY) => {
            let by = "somebody else has frozen it, and must thaw it first (fsfreeze --unfreeze)";
            DeviceError::Busy { path: mount.to_owned(), by }
        }
        Some(source) => DeviceError::io("freeze", mount, source),
        None => not_still(mount, TOO_LONG),
    }
}

/// What is not frozen is thawed already.
pub(super) fn thaw(root: &File, mount: &Path) -> Result<StepDone, DeviceError> {
    match kernel::thaw(root) {
        Ok(()) => Ok(StepDone::Changed),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(StepDone::Already),
        Err(source) => Err(DeviceError::io("thaw", mount, source)),
    }
}

pub(super) fn not_still(path: &Path, why: &'static str) -> DeviceError {
    DeviceError::NotStill { path: path.to_owned(), why }
}
