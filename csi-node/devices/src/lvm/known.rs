//! Groups as they were last seen, kept for as long as the number on their devices says that nothing has changed: a look at a volume then runs no command (I8).
//! On which devices a group is, the devices themselves say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use terrace_device_types::lvm::{GroupRef, LabelView, VgUuid, VgView};

use super::lane::Lanes;
use super::{Lvm, observe_labels};
use crate::host::Host;
use crate::tagged::changed;
use crate::{Deadline, DeviceError};

/// Other people's devices, and our own volumes: never a physical volume. See the filter in [`super::config`].
const NEVER: [&str; 10] = ["loop", "dm-", "ram", "zram", "drbd", "rbd", "zd", "sr", "fd", "nbd"];

static KNOWN: Mutex<BTreeMap<VgUuid, Arc<VgView>>> = Mutex::new(BTreeMap::new());

fn known() -> MutexGuard<'static, BTreeMap<VgUuid, Arc<VgView>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of many who see at once that a group has changed, one runs the command. `None`: it failed.
static LOOKS: Lanes<VgUuid, (), Option<Arc<VgView>>> = Lanes::new();

/// The group as it was last seen, which may not be as it is.
pub(super) fn last_known(group: &VgUuid) -> Option<Arc<VgView>> {
    known().get(group).cloned()
}

/// What a report said. An older one than is known says nothing new.
pub(super) fn remember(seen: &VgView) {
    let mut known = known();
    if known.get(&seen.uuid).is_none_or(|there| there.seqno <= seen.seqno) {
        known.insert(seen.uuid.clone(), Arc::new(seen.clone()));
    }
}

/// Disks and partitions that can be physical volumes.
pub(super) fn candidates(host: &Host) -> Result<Vec<PathBuf>, DeviceError> {
    let dir = host.sys.join("class/block");
    let fail = |source| DeviceError::io("list", &dir, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
        if !NEVER.iter().any(|prefix| name.starts_with(prefix)) {
            // The kernel writes a slash in a device's name so.
            paths.push(host.dev.join(name.replace('!', "/")));
        }
    }
    paths.sort();
    Ok(paths)
}

impl Lvm {
    /// The group's devices, as they say themselves at this moment. One that can't be read says nothing, and counts as missing.
    ///
    /// # Errors
    /// When none says that it is of that group.
    pub fn members(&self, group: &VgUuid) -> Result<GroupRef, DeviceError> {
        let labels = observe_labels(&candidates(&self.host)?);
        let ours = labels.into_iter().filter(|(_, label)| {
            matches!(label, Ok(Some(LabelView { group: Some(mark), .. })) if mark.uuid == *group)
        });
        let devices: Vec<PathBuf> = ours.map(|(path, _)| path).collect();
        if devices.is_empty() {
            let expected = format!("a device of volume group {group}");
            return Err(changed(&self.host.dev, expected, "none".to_owned()));
        }
        Ok(GroupRef { uuid: group.clone(), devices })
    }

    /// The group as it is. A command is run only if it has changed since it was last seen. One that was seen and of which nothing can be read any more is
    /// shown as it was, with every device missing: what is mounted from it must be unmounted all the same.
    ///
    /// # Errors
    /// When it was never seen, and can't be now.
    pub fn group(&self, group: &VgUuid, deadline: Deadline) -> Result<Arc<VgView>, DeviceError> {
        let last = known().get(group).cloned();
        if let Some(last) = last.as_ref().filter(|last| is_current(last)) {
            return Ok(Arc::clone(last));
        }
        let mut failed = None;
        let seen = LOOKS.join(group, (), |all| {
            let seen = self.look_anew(group, deadline).map_err(|error| failed = Some(error)).ok();
            vec![seen; all.len()]
        });
        match (seen.flatten(), failed) {
            (Some(seen), _) => Ok(seen),
            (None, Some(error)) => Err(error),
            (None, None) => self.look_anew(group, deadline),
        }
    }

    fn look_anew(&self, group: &VgUuid, deadline: Deadline) -> Result<Arc<VgView>, DeviceError> {
        let last = known().get(group).cloned();
        let seen = self.members(group).and_then(|members| self.observe_group(&members, deadline));
        match (seen, last) {
            (Ok(seen), _) => Ok(Arc::new(seen)),
            (Err(_), Some(last)) => {
                let missing = last.pvs.len() as u64;
                Ok(Arc::new(VgView { missing, ..VgView::clone(&last) }))
            }
            (Err(error), None) => Err(error),
        }
    }
}

/// Each device that was there says the same number still.
fn is_current(seen: &VgView) -> bool {
    let there = seen.pvs.iter().filter(|pv| !pv.missing);
    there
        .into_iter()
        .all(|pv| pv.device.as_deref().is_some_and(|device| says(device, seen, &pv.uuid)))
}

fn says(device: &Path, seen: &VgView, wanted: &terrace_device_types::lvm::PvUuid) -> bool {
    let labels = observe_labels(&[device.to_owned()]);
    let label = labels.into_iter().next().and_then(|(_, label)| label.ok().flatten());
    label.is_some_and(|LabelView { pv, group }| {
        let same = |mark: &terrace_device_types::lvm::VgMark| {
            mark.uuid == seen.uuid && mark.seqno == seen.seqno
        };
        pv == *wanted && group.as_ref().is_some_and(same)
    })
}
