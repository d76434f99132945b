//! Freezing a mounted volume for a moment. Each freeze has a thread of its own, which first freezes and then is its watchdog: whoever asked may be
//! gone, or the kernel may be slow, but nobody's writers wait for longer than [`FREEZE_LIMIT`] (I10). A freeze outlives this process, so the journal
//! knows of it first, and the next start ends it.
//!
//! Nothing here, nor between freeze and thaw, may write into the frozen mount: it would wait for itself. Looking (statvfs, stat, open, the
//! geometry) is fine. The journal is written between the steps; it lies on the host's disk and never on a volume.

mod window;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use terrace_device_types::lvm::VgUuid;
use terrace_device_types::{DevT, DeviceRef, FREEZE_LIMIT, StepDone};

use crate::execute::Node;
use crate::host::Host;
use crate::looped::split_dev;
use crate::mountinfo::observe_mounts;
use crate::tagged::changed;
use crate::{Deadline, DeviceError, kernel};

use window::{Freeze, State, not_still, thaw};

/// What became of the last freeze of each volume, by [`key_of`]. It is kept when the freeze is over: a second end of it must not end somebody else's.
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

/// Freezes; returns when all is written and every writer waits.
pub(crate) fn freeze_filesystem(
    host: &Host,
    mount: &Path,
    device: &DeviceRef,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let key = key_of(device)?;
    let held = Node::of(host, device)?;
    let root = File::open(mount).map_err(|source| DeviceError::io("open", mount, source))?;
    if !is_filesystem_on(&root, held.dev_t()?) {
        let expected = format!("a filesystem on {}", held.display());
        return Err(changed(mount, expected, "another".to_owned()));
    }
    let freeze = match register(&key, mount)? {
        Registered::Frozen => return Ok(StepDone::Already),
        Registered::New(freeze) => freeze,
    };
    let guarded = Arc::clone(&freeze);
    let spawned = thread::Builder::new()
        .name("terrace-freeze".to_owned())
        .spawn(move || guarded.guard(root, FREEZE_LIMIT));
    spawned.map_err(|source| DeviceError::io("start a thread to freeze", mount, source))?;
    freeze.await_frozen(mount, FREEZE_LIMIT, deadline)
}

/// Ends a freeze of ours that lasted until now; anything else is an error.
pub(crate) fn thaw_filesystem(mount: &Path, device: &DeviceRef) -> Result<StepDone, DeviceError> {
    match known(&key_of(device)?) {
        Some(freeze) => freeze.end(mount),
        None => Err(not_still(mount, "this process did not freeze it")),
    }
}

/// Sees that no freeze of ours is left. A process that knows of none may be the successor of one that was killed: then the filesystem is thawed wherever it is mounted.
pub(crate) fn end_freeze(
    host: &Host,
    mount: &Path,
    device: &DeviceRef,
) -> Result<StepDone, DeviceError> {
    if let Some(freeze) = known(&key_of(device)?) {
        return freeze.take_back(mount);
    }
    let Some(held) = Node::find(host, device)? else { return Ok(StepDone::Already) };
    match find_root(host, mount, &held, held.dev_t()?)? {
        Some(root) => thaw(&root, mount),
        None => Ok(StepDone::Already),
    }
}

/// What a volume's freeze is known by: its image, or its logical volume. Both have the volume's UUID in their name.
fn key_of(device: &DeviceRef) -> Result<PathBuf, DeviceError> {
    match device {
        DeviceRef::LoopOf { image } => Ok(image.clone()),
        DeviceRef::Lv { group, lv: _, name } => Ok(key_of_lv(group, name)),
        DeviceRef::Disk { .. } => Err(DeviceError::Bug { why: "a disk is not frozen" }),
    }
}

/// As [`stillness_of`] takes it.
pub(crate) fn key_of_lv(group: &VgUuid, name: &str) -> PathBuf {
    Path::new("/dev").join(group.to_string()).join(name)
}

/// Whether the filesystem this file lies on is the one on that device: by its number, which stays taken while the filesystem is open (I4). btrfs shows a
/// number of its own, and names its device.
fn is_filesystem_on(root: &File, dev_t: DevT) -> bool {
    if root.metadata().is_ok_and(|status| split_dev(status.dev()) == dev_t) {
        return true;
    }
    let node = kernel::btrfs_device(root).and_then(|path| fs::metadata(path).ok());
    node.is_some_and(|node| node.file_type().is_block_device() && split_dev(node.rdev()) == dev_t)
}

/// The mount, or any other of the same filesystem, should that be gone.
fn find_root(
    host: &Host,
    mount: &Path,
    device: &Path,
    dev_t: DevT,
) -> Result<Option<File>, DeviceError> {
    let others = observe_mounts(host)?
        .into_iter()
        .filter(|other| other.dev_t == dev_t || Path::new(&other.source) == device);
    let paths = std::iter::once(mount.to_owned()).chain(others.map(|other| other.at));
    let mut roots = paths.filter_map(|path: PathBuf| File::open(path).ok());
    Ok(roots.find(|root| is_filesystem_on(root, dev_t)))
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
    let freeze = Arc::new(Freeze::new());
    freezes.last.insert(image.to_owned(), Arc::clone(&freeze));
    Ok(Registered::New(freeze))
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
