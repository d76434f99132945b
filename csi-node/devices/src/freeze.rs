//! Freezing a mounted volume for a moment. Each freeze has a thread of its own, which first freezes and then is its watchdog: whoever asked may be
//! gone, or the kernel may be slow, but nobody's writers wait for longer than [`FREEZE_LIMIT`] (I10). A freeze outlives this process, so the journal
//! knows of it first, and the next start ends it.
//!
//! Nothing here, nor between freeze and thaw, may write into the frozen mount: it would wait for itself. Looking (statvfs, stat, open, the
//! geometry) is fine. The journal is written between the steps; it lies on the host's disk and never on a volume.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::syncfs;
use terrace_device_types::{FREEZE_LIMIT, LoopView, StepDone};

use crate::host::Host;
use crate::looped::{HeldLoop, file_id, hold_loop, require_loop, split_dev};
use crate::mountinfo::observe_mounts;
use crate::tagged::changed;
use crate::{Deadline, DeviceError, kernel};

/// What became of the last freeze of each image, by its path, which has the volume's UUID in it. It is kept when the freeze is over: a second end of it must not end somebody else's.
static FREEZES: Mutex<Freezes> = Mutex::new(Freezes { may: May::Begin, last: BTreeMap::new() });

struct Freezes {
    may: May,
    last: BTreeMap<PathBuf, Arc<Freeze>>,
}

/// Whether a freeze may begin in this process.
#[derive(PartialEq, Eq)]
enum May {
    Begin,
    /// The process is about to end, and with it every watchdog.
    End,
}

const TOO_LONG: &str = "it took longer than 5 s, and the watchdog let the writers go on";

/// Freezes; returns when all is written and every writer waits.
pub(crate) fn freeze_filesystem(
    host: &Host,
    mount: &Path,
    image: &Path,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    freeze_for(FREEZE_LIMIT, host, mount, image, deadline)
}

fn freeze_for(
    limit: Duration,
    host: &Host,
    mount: &Path,
    image: &Path,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let HeldLoop { view: attached, open: _held } = &require_loop(host, image)?;
    let root = File::open(mount).map_err(|source| DeviceError::io("open", mount, source))?;
    if !is_filesystem_on(&root, attached) {
        let expected = format!("a filesystem on {}", attached.device.display());
        return Err(changed(mount, expected, "another".to_owned()));
    }
    let freeze = match register(image, mount)? {
        Registered::Frozen => return Ok(StepDone::Already),
        Registered::New(freeze) => freeze,
    };
    let guarded = Arc::clone(&freeze);
    let spawned = thread::Builder::new()
        .name("terrace-freeze".to_owned())
        .spawn(move || guarded.guard(root, limit));
    spawned.map_err(|source| DeviceError::io("start a thread to freeze", mount, source))?;
    freeze.await_frozen(mount, limit, deadline)
}

/// Ends a freeze of ours that lasted until now; anything else is an error.
pub(crate) fn thaw_filesystem(mount: &Path, image: &Path) -> Result<StepDone, DeviceError> {
    match known(image) {
        Some(freeze) => freeze.end(mount),
        None => Err(not_still(mount, "this process did not freeze it")),
    }
}

/// Sees that no freeze of ours is left. A process that knows of none may be the successor of one that was killed: then the filesystem is thawed wherever it is mounted.
pub(crate) fn end_freeze(host: &Host, mount: &Path, image: &Path) -> Result<StepDone, DeviceError> {
    if let Some(freeze) = known(image) {
        return freeze.take_back(mount);
    }
    let id = match file_id(image) {
        Err(DeviceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(StepDone::Already);
        }
        other => other?,
    };
    let Some(held) = hold_loop(host, image, id)? else { return Ok(StepDone::Already) };
    match find_root(host, mount, &held.view)? {
        Some(root) => thaw(&root, mount),
        None => Ok(StepDone::Already),
    }
}

/// What is not frozen is thawed already.
fn thaw(root: &File, mount: &Path) -> Result<StepDone, DeviceError> {
    match kernel::thaw(root) {
        Ok(()) => Ok(StepDone::Changed),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(StepDone::Already),
        Err(source) => Err(DeviceError::io("thaw", mount, source)),
    }
}

/// Whether the filesystem this file lies on is the one on that device: by its number, which stays taken while the filesystem is open (I4). btrfs shows a
/// number of its own, and names its device.
fn is_filesystem_on(root: &File, attached: &LoopView) -> bool {
    if root.metadata().is_ok_and(|status| split_dev(status.dev()) == attached.dev_t) {
        return true;
    }
    let node = kernel::btrfs_device(root).and_then(|path| fs::metadata(path).ok());
    node.is_some_and(|node| {
        node.file_type().is_block_device() && split_dev(node.rdev()) == attached.dev_t
    })
}

/// The mount, or any other of the same filesystem, should that be gone.
fn find_root(host: &Host, mount: &Path, attached: &LoopView) -> Result<Option<File>, DeviceError> {
    let others = observe_mounts(host)?.into_iter().filter(|other| {
        other.dev_t == attached.dev_t || Path::new(&other.source) == attached.device
    });
    let paths = std::iter::once(mount.to_owned()).chain(others.map(|other| other.at));
    let mut roots = paths.filter_map(|path: PathBuf| File::open(path).ok());
    Ok(roots.find(|root| is_filesystem_on(root, attached)))
}

fn not_still(path: &Path, why: &'static str) -> DeviceError {
    DeviceError::NotStill { path: path.to_owned(), why }
}

fn known(image: &Path) -> Option<Arc<Freeze>> {
    freezes().last.get(image).cloned()
}

fn freezes() -> MutexGuard<'static, Freezes> {
    FREEZES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every freeze of this process and lets none begin any more: for the moment before the process ends. Waits for those
/// under way, but not for longer than a freeze may last.
pub fn end_freezes() {
    let last = {
        let mut freezes = freezes();
        freezes.may = May::End;
        freezes.last.clone()
    };
    let until = Instant::now() + FREEZE_LIMIT;
    for (image, freeze) in last {
        // What can't be thawed now the journal knows of, and the next start tries again.
        let _told = freeze.take_back(&image);
        freeze.await_end(until);
    }
}

enum Registered {
    /// By an earlier run of this step.
    Frozen,
    New(Arc<Freeze>),
}

fn register(image: &Path, mount: &Path) -> Result<Registered, DeviceError> {
    let mut freezes = freezes();
    if freezes.may == May::End {
        let by = "this process is about to end, and could not thaw it any more";
        return Err(DeviceError::Busy { path: mount.to_owned(), by });
    }
    if let Some(last) = freezes.last.get(image) {
        match &*last.state() {
            State::Frozen { .. } => return Ok(Registered::Frozen),
            State::Writing | State::Freezing { .. } | State::GivenUp => {
                let by = "an earlier attempt to freeze it has not come back from the kernel";
                return Err(DeviceError::Busy { path: mount.to_owned(), by });
            }
            State::Failed { .. } | State::Ended | State::Broken { .. } => {}
        }
    }
    let freeze = Arc::new(Freeze { state: Mutex::new(State::Writing), changed: Condvar::new() });
    freezes.last.insert(image.to_owned(), Arc::clone(&freeze));
    Ok(Registered::New(freeze))
}

/// One freeze, from its beginning on.
struct Freeze {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
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
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &mut State, next: State) {
        *state = next;
        self.changed.notify_all();
    }

    /// The freeze's own thread: freeze, stand by, and thaw if nobody else did.
    fn guard(&self, root: File, limit: Duration) {
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

    fn await_frozen(
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
    fn await_end(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let under_way = |state: &mut State| matches!(state, State::GivenUp);
        let waited = self.changed.wait_timeout_while(self.state(), left, under_way);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The end as planned. A second one finds the first.
    fn end(&self, mount: &Path) -> Result<StepDone, DeviceError> {
        let mut state = self.state();
        let why = match &*state {
            State::Frozen { root } => match thaw(root, mount)? {
                StepDone::Changed => {
                    self.set(&mut state, State::Ended);
                    return Ok(StepDone::Changed);
                }
                StepDone::Already => "somebody else thawed it",
            },
            State::Ended => return Ok(StepDone::Already),
            State::Broken { why } => *why,
            State::Writing | State::Freezing { .. } | State::GivenUp | State::Failed { .. } => {
                "it was never frozen"
            }
        };
        self.set(&mut state, State::Broken { why });
        Err(not_still(mount, why))
    }

    /// The end in any case. A freeze that never stood is somebody else's, if there is one (I4); one under way ends itself.
    fn take_back(&self, mount: &Path) -> Result<StepDone, DeviceError> {
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

/// Whether an image is frozen by us, and stays so.
pub(crate) struct Stillness(Option<Arc<Freeze>>);

/// The freeze of that image that is to be looked at again later; none, if we do not hold it still.
pub(crate) fn stillness_of(image: &Path) -> Stillness {
    let holds = |freeze: &Arc<Freeze>| {
        matches!(&*freeze.state(), State::Frozen { .. } | State::Broken { .. })
    };
    Stillness(known(image).filter(holds))
}

impl Stillness {
    /// Fails once the freeze is over.
    pub(crate) fn check(&self, image: &Path) -> Result<(), DeviceError> {
        let Some(freeze) = &self.0 else { return Ok(()) };
        match &*freeze.state() {
            State::Frozen { .. } => Ok(()),
            State::Broken { why } => Err(not_still(image, why)),
            State::Writing
            | State::Freezing { .. }
            | State::GivenUp
            | State::Failed { .. }
            | State::Ended => Err(not_still(image, "it was taken back")),
        }
    }
}
