//! What an `lvm` that was killed leaves in device-mapper: devices of the group that no volume of it has, and devices that were stopped and not let go on.
//! Other people's devices, and those of other groups, are never listed.

use std::collections::BTreeSet;
use std::fs;

use serde::Serialize;
use terrace_device_types::lvm::{GroupRef, VgUuid, VgView};
use terrace_device_types::{DevT, StepDone};

use super::held::hold;
use super::run::words;
use super::{Looked, Lvm};
use crate::deadline::within;
use crate::kernel::dm::{self, Named};
use crate::{Deadline, DeviceError};

/// How long a UUID of LVM's is in device-mapper, without dashes.
const ID: usize = 32;

/// A device that is not as the group says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Leftover {
    /// No volume of the group has it.
    Orphan {
        /// Its name.
        name: String,
        /// Its UUID.
        uuid: String,
        /// How many have it open.
        open: u32,
    },
    /// A volume's, and whoever uses it waits.
    Suspended {
        /// Its name.
        name: String,
        /// Its UUID.
        uuid: String,
    },
}

impl Lvm {
    /// Compares device-mapper with a group as it was seen; no command. A volume that was made since looks like an orphan here, so nothing may be removed
    /// for it.
    ///
    /// # Errors
    /// When this kernel has no device-mapper.
    pub fn observe_leftovers(&self, seen: &VgView) -> Result<Vec<Leftover>, DeviceError> {
        let control = self.control()?;
        let fail = |source| self.fail("list the devices of", source);
        let group = format!("LVM-{}", seen.uuid.compact());
        let known: BTreeSet<&str> = seen.lvs.iter().map(|lv| lv.uuid.compact()).collect();
        let mut leftovers = Vec::new();
        for dev_t in dm::list(&control).map_err(fail)? {
            let Some(device) = dm::look(&control, Named::Dev(dev_t)).map_err(fail)? else {
                continue;
            };
            let Some(lv) = device.uuid.strip_prefix(&group) else { continue };
            let dm::Device { name, uuid, open, suspended, .. } = device.clone();
            if !lv.get(..ID).is_some_and(|lv| known.contains(lv)) {
                leftovers.push(Leftover::Orphan { name, uuid, open });
            } else if suspended {
                leftovers.push(Leftover::Suspended { name, uuid });
            }
        }
        Ok(leftovers)
    }

    /// Ends what a killed `lvm` left; to be called after [`DeviceError::Deadline`], before anything else is done to the group: while a part of a thin pool is
    /// suspended, every `lvm` waits for it. What is suspended goes on as it was, without `lvm`, and then with the tables that the metadata says. Orphans that nobody
    /// has open are removed, those below them too. What is left is in [`Self::observe_leftovers`] of the answer. Nobody may change the group meanwhile.
    ///
    /// # Errors
    /// When the group can't be looked at.
    pub fn clear_leftovers(
        &self,
        group: &GroupRef,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let held = hold(group)?;
        let resumed = self.resume_all(&group.uuid, deadline)?;
        if resumed > 0 {
            let command = words("vgchange -qq --refresh", [held.name.clone()]);
            self.run(&held.devices, &command, deadline)?;
        }
        let seen = self.look(&held, &group.uuid, deadline)?;
        if resumed == 0 && self.observe_leftovers(&seen)?.is_empty() {
            return Ok(Looked { done: StepDone::Already, group: seen });
        }
        while self.remove_orphans(&seen)? > 0 {
            deadline.check("remove leftover devices")?;
        }
        let seen = self.look(&held, &group.uuid, deadline)?;
        Ok(Looked { done: StepDone::Changed, group: seen })
    }

    /// Resumes the group's suspended devices, each after those that it stands on: a pool that goes on before its metadata does waits for it. Says how many.
    fn resume_all(&self, group: &VgUuid, deadline: Deadline) -> Result<usize, DeviceError> {
        let fail = |source| self.fail("resume a leftover device by", source);
        let prefix = format!("LVM-{}", group.compact());
        let mut resumed = 0;
        loop {
            deadline.check("resume leftover devices")?;
            let control = self.control()?;
            let mut suspended = Vec::new();
            for dev_t in dm::list(&control).map_err(fail)? {
                let device = dm::look(&control, Named::Dev(dev_t)).map_err(fail)?;
                suspended.extend(device.filter(|device| device.suspended));
            }
            let waits = |on: &[DevT]| suspended.iter().any(|other| on.contains(&other.dev_t));
            let mut next = None;
            for device in suspended.iter().filter(|device| device.uuid.starts_with(&prefix)) {
                if !waits(&dm::stands_on(&control, &device.uuid).map_err(fail)?) {
                    next = Some(device.uuid.clone());
                }
            }
            let Some(uuid) = next else { return Ok(resumed) };
            // It may wait for its disk.
            let resume = move || {
                let answered = dm::resume_as_before(&control, &uuid);
                answered.map_err(|source| DeviceError::io("resume", uuid.as_ref(), source))
            };
            within(deadline, "resume a leftover device", resume)?;
            resumed += 1;
        }
    }

    /// One pass: what stood on another device sets that one free for the next. Says how many went.
    fn remove_orphans(&self, seen: &VgView) -> Result<usize, DeviceError> {
        let control = self.control()?;
        let mut removed = 0;
        for left in self.observe_leftovers(seen)? {
            let Leftover::Orphan { name, uuid, open: 0 } = left else { continue };
            match dm::remove(&control, &uuid) {
                Ok(()) => {
                    removed += 1;
                    // Where no udev does it. The name was that device's alone, and is nobody's now.
                    let _gone = fs::remove_file(self.host.dev.join("mapper").join(name));
                }
                // Opened, or gone, this moment.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENXIO)) => {}
                Err(source) => return Err(self.fail("remove a leftover device by", source)),
            }
        }
        Ok(removed)
    }
}
