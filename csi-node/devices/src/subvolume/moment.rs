//! Copies of several subvolumes that show one moment: all of them made in one btrfs transaction, or none.
//!
//! A snapshot becomes real when its transaction commits, and a commit takes every snapshot that was asked for by then. So all are asked for at once, a
//! thread each (a directory is locked while a snapshot is made in it, so each has its own), and afterwards the kernel is asked in which transaction each was
//! made. Equal numbers are the proof; otherwise all are removed and it is tried again.
//!
//! What makes them meet is a commit that is under way when they set out: each waits until that has let go of the trees, all join the next transaction
//! together, and that one can't be closed before the one under way is on the disk (Linux 6.6; before, more tries are needed). Without it six
//! volumes whose writers force every write out fell apart 50 times of 50, with it they met at the first try.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use terrace_device_types::{HostObject, SUBVOLUME_NAME, StepDone, SubvolumeCopy};

use super::{begin, clear, destroy, name, open_source, open_subvolume, require_subvolume};
use crate::btrfs::open;
use crate::host::Host;
use crate::kernel::btrfs::{self as ioctl, Writable};
use crate::tagged::{changed, open_volume};
use crate::{Deadline, DeviceError};

/// After so many something is wrong.
const TRIES: usize = 50;

/// A copy under its unfinished name.
struct Begun<'a> {
    copy: &'a SubvolumeCopy,
    source: File,
    dir: File,
    path: PathBuf,
    writable: Writable,
}

/// Makes the copies, all in one transaction.
pub(crate) fn snapshot_subvolumes(
    host: &Host,
    members: &[SubvolumeCopy],
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let there = members.iter().filter(|copy| copy.object.exists());
    let there: Vec<&SubvolumeCopy> = there.collect();
    if let Some(first) = there.first() {
        for copy in &there {
            open_volume(&copy.object, copy.tag.volume)?;
            require_subvolume(&copy.object)?;
        }
        if there.len() == members.len() {
            return Ok(StepDone::Already);
        }
        // Some would be of one moment, some of another.
        return Err(changed(&first.object, "nothing".to_owned(), "a copy".to_owned()));
    }
    let begun: Result<Vec<Begun<'_>>, DeviceError> =
        members.iter().map(|copy| start(host, copy)).collect();
    let made = begun.and_then(|begun| {
        take_moment(&begun, deadline)?;
        begun.iter().try_for_each(|begun| name(&begun.path, &begun.copy.object))
    });
    if let Err(error) = made {
        for copy in members {
            take_back(host, copy);
        }
        return Err(error);
    }
    Ok(StepDone::Changed)
}

fn start<'a>(host: &Host, copy: &'a SubvolumeCopy) -> Result<Begun<'a>, DeviceError> {
    let SubvolumeCopy { from, source, object, tag } = copy;
    let source = open_source(from, *source)?;
    let path = begin(host, object, tag)?;
    let dir = open(&path)?;
    let writable = match tag.object {
        HostObject::Volume => Writable::Yes,
        HostObject::Snapshot => Writable::No,
    };
    Ok(Begun { copy, source, dir, path, writable })
}

/// What can't be taken back now is removed before the next attempt, or by whoever gives it up.
fn take_back(host: &Host, copy: &SubvolumeCopy) {
    let volume = copy.tag.volume;
    let unfinished = terrace_device_types::unfinished_name(volume);
    let paths = copy.object.parent().map(|dir| dir.join(unfinished));
    for path in paths.iter().chain([&copy.object]) {
        let _left_for_later = clear(host, path, volume);
    }
}

fn take_moment(begun: &[Begun<'_>], deadline: Deadline) -> Result<(), DeviceError> {
    for _ in 0..TRIES {
        deadline.check("make snapshots of one moment")?;
        snapshot_all(begun)?;
        let mut moments = Vec::new();
        for begun in begun {
            moments.push(moment_of(&begun.path)?);
        }
        moments.dedup();
        if moments.len() <= 1 {
            return Ok(());
        }
        for begun in begun {
            destroy(&begun.path, SUBVOLUME_NAME.as_bytes())?;
        }
    }
    Err(DeviceError::Torn { members: begun.len(), tries: TRIES })
}

/// In which transaction the copy was made.
fn moment_of(dir: &Path) -> Result<u64, DeviceError> {
    let path = dir.join(SUBVOLUME_NAME);
    let made = open_subvolume(&path)?;
    let (_, made) =
        made.ok_or_else(|| changed(&path, "a subvolume".to_owned(), "none".to_owned()))?;
    Ok(made.made_in)
}

fn snapshot_all(begun: &[Begun<'_>]) -> Result<(), DeviceError> {
    let Some(first) = begun.first() else { return Ok(()) };
    let start = Barrier::new(begun.len() + 1);
    let one = |begun: &Begun<'_>| {
        start.wait();
        let Begun { copy: _, source, dir, path, writable } = begun;
        ioctl::subvolume_snapshot(source, dir, SUBVOLUME_NAME.as_bytes(), *writable)
            .map_err(|source| DeviceError::io("make a snapshot in", path, source))
    };
    let all: Vec<Result<(), DeviceError>> = thread::scope(|scope| {
        let threads: Vec<_> = begun.iter().map(|begun| scope.spawn(|| one(begun))).collect();
        // Without it they are only less likely to meet.
        let _committing = ioctl::begin_commit(&first.dir);
        start.wait();
        let panicked = || Err(DeviceError::Bug { why: "a thread that made a snapshot panicked" });
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    all.into_iter().collect()
}
