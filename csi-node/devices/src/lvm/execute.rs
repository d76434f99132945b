//! The one match over [`LvmStep`], as `execute` has it over all steps. What may be done to a logical volume is read from its entry first, each time.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use terrace_device_types::lvm::{Gains, GroupRef, LvRef, LvmStep, NewVolume, VgUuid, VolumeKind};
use terrace_device_types::{
    Access, DeletionId, Erase, HostState, StageState, StepDone, Tag, VolumeUuid,
};

use super::remove::{Ground, Removal};
use super::together::{self, Change};
use super::{Looked, Lvm};
use crate::execute::Node;
use crate::host::Host;
use crate::image::{create_entry, open_quarantined};
use crate::tagged::{changed, expect_volume, open_tagged};
use crate::{Deadline, DeviceError, erase, freeze, kernel};

/// How long what a killed lvm left may take to end.
const CLEARING: std::time::Duration = std::time::Duration::from_secs(30);

pub(crate) fn apply(
    host: &Host,
    step: &LvmStep,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    match step {
        LvmStep::MakeGroup { new } => Ok(Lvm::here(host)?.make_group(new, deadline)?.done),
        LvmStep::ExtendGroup { group, devices } => {
            on(host, group, |lvm, group| lvm.extend_group(group, devices, deadline))
        }
        LvmStep::MakeFolder { group, pool } => {
            on(host, group, |lvm, group| lvm.create_folder(group, pool, deadline))
        }
        LvmStep::ActivateGroup { group } => {
            on(host, group, |lvm, group| lvm.activate_group(group, deadline))
        }
        LvmStep::ClearLeftovers { group } => {
            on(host, group, |lvm, group| lvm.clear_leftovers(group, deadline))
        }
        LvmStep::MakeThinPool { group, new } => {
            on(host, group, |lvm, group| lvm.create_thin_pool(group, new, deadline))
        }
        LvmStep::GrowThinPool { group, name, to } => {
            on(host, group, |lvm, group| lvm.extend_thin_pool(group, name, *to, deadline))
        }
        LvmStep::CreateEntry { object, tag } => create_entry(object, tag),
        LvmStep::CreateLv { object, group, new } => {
            expect_unfinished(object, new.tag.volume)?;
            create(host, group, new, deadline)
        }
        LvmStep::GrowLv { group, lv, to, gains: Gains::AsFound } => {
            on(host, group, |lvm, group| lvm.extend_volume(group, lv, *to, deadline))
        }
        LvmStep::GrowLv { group, lv, to, gains: Gains::Zeros } => {
            on(host, group, |lvm, group| lvm.extend_by_zeros(group, lv, *to, deadline))
        }
        LvmStep::ZeroLv { object, group, lv } => {
            expect_unfinished(object, lv.volume)?;
            Lvm::here(host)?.zero_volume(group, lv, deadline)
        }
        LvmStep::RefreshLv { group, lv } => {
            on(host, group, |lvm, group| lvm.refresh_volume(group, lv, deadline))
        }
        LvmStep::SetAccess { device, access } => set_access(&Node::of(host, device)?, *access),
        LvmStep::EraseLv { object, deletion, device, erase } => {
            let Some(_) = open_quarantined(object, deletion)? else { return Ok(StepDone::Already) };
            erase_device(&Node::of(host, device)?, *erase, deadline)
        }
        LvmStep::RemoveLv { object, deletion, group, lv } => {
            remove(host, object, deletion, group, lv, deadline)
        }
        LvmStep::RemoveUnfinishedLv { object, group, lv } => {
            remove_unfinished(host, object, group, lv, deadline)
        }
    }
}

/// On a group whose devices are looked for now. A command that had to be killed may have left devices suspended, for which every other command would wait.
fn on(
    host: &Host,
    group: &VgUuid,
    change: impl Fn(&Lvm, &GroupRef) -> Result<Looked, DeviceError>,
) -> Result<StepDone, DeviceError> {
    let lvm = Lvm::here(host)?;
    let members = lvm.members(group)?;
    match change(&lvm, &members) {
        Err(error @ DeviceError::Deadline { .. }) => {
            // What can't be cleared now the pool's next pass sees.
            let _later = lvm.clear_leftovers(&members, Deadline::after(CLEARING));
            Err(error)
        }
        other => Ok(other?.done),
    }
}

fn create(
    host: &Host,
    group: &VgUuid,
    new: &NewVolume,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let source = match &new.kind {
        VolumeKind::ThinSnapshot { of, access: _ } => {
            Some(freeze::key_of_lv(group, of.name.as_str()))
        }
        VolumeKind::Linear { .. }
        | VolumeKind::Striped { .. }
        | VolumeKind::Raid1 { .. }
        | VolumeKind::Thin { .. } => None,
    };
    // If we froze what it is taken of, that must be frozen still once it is taken.
    let still = source.map(|source| (freeze::stillness_of(&source), source));
    let check = || still.as_ref().map_or(Ok(()), |(still, source)| still.check(source));
    check()?;
    let done = together::carry_out(host, group, Change::Create(Box::new(new.clone())), deadline)?;
    check()?;
    Ok(done)
}

/// The entry says that nobody has seen the volume yet.
fn expect_unfinished(entry: &Path, volume: VolumeUuid) -> Result<(), DeviceError> {
    let tag = open_tagged(entry)?.tag;
    expect_volume(&tag, entry, volume)?;
    let Tag { state, stage, .. } = &tag;
    if (state, stage) == (&HostState::Creating, &StageState::Never) {
        return Ok(());
    }
    let found = format!("{state}, stage record {stage}");
    Err(changed(entry, "creating and never staged".to_owned(), found))
}

fn remove(
    host: &Host,
    entry: &Path,
    deletion: &DeletionId,
    group: &VgUuid,
    lv: &LvRef,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let Some(tagged) = open_quarantined(entry, deletion)? else { return Ok(StepDone::Already) };
    expect_volume(&tagged.tag, entry, lv.volume)?;
    let removal = Removal { lv: lv.clone(), ground: Ground::Condemned };
    together::carry_out(host, group, Change::Remove(removal), deadline)
}

/// Without its entry nothing was begun.
fn remove_unfinished(
    host: &Host,
    entry: &Path,
    group: &VgUuid,
    lv: &LvRef,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    match expect_unfinished(entry, lv.volume) {
        Err(DeviceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(StepDone::Already);
        }
        other => other?,
    }
    let removal = Removal { lv: lv.clone(), ground: Ground::Unfinished };
    together::carry_out(host, group, Change::Remove(removal), deadline)
}

fn set_access(device: &Path, access: Access) -> Result<StepDone, DeviceError> {
    let open = File::open(device).map_err(|source| DeviceError::io("open", device, source))?;
    let fail = |source| DeviceError::io("set the access of", device, source);
    let wanted = access == Access::ReadOnly;
    if kernel::is_read_only(&open).map_err(fail)? == wanted {
        return Ok(StepDone::Already);
    }
    kernel::set_read_only(&open, wanted).map_err(fail)?;
    Ok(StepDone::Changed)
}

/// Zeros over every block, around the page cache. Begins anew after a crash.
fn erase_device(device: &Path, erase: Erase, deadline: Deadline) -> Result<StepDone, DeviceError> {
    match erase {
        Erase::No => return Ok(StepDone::Already),
        Erase::Zeros => {}
    }
    let fail = |source| DeviceError::io("erase", device, source);
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_DIRECT | libc::O_EXCL | libc::O_CLOEXEC);
    let disk = options.open(device).map_err(fail)?;
    let length = kernel::block_device_size(&disk).map_err(fail)?;
    erase::write_over(&disk, device, 0..length, deadline)?;
    disk.sync_all().map_err(fail)?;
    Ok(StepDone::Changed)
}
