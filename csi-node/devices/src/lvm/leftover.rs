//! What an `lvm` that was killed leaves in device-mapper: devices of the group that no volume of it has, and devices that were stopped and not let go on.
//! Other people's devices, and those of other groups, are never listed.

use std::collections::BTreeSet;
use std::fs;

use serde::Serialize;
use terrace_device_types::StepDone;
use terrace_device_types::lvm::{GroupRef, VgView};

use super::run::words;
use super::{Looked, Lvm};
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

    /// Lets what is suspended go on with the tables that the metadata says, and removes orphans that nobody has open, those below them too. Looks at the group
    /// itself first; what is left is in [`Self::observe_leftovers`] of the answer. Nobody may change the group meanwhile.
    ///
    /// # Errors
    /// When the group can't be looked at.
    pub fn clear_leftovers(
        &self,
        group: &GroupRef,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        let found = self.observe_leftovers(&before.seen)?;
        if found.is_empty() {
            return Ok(Looked { done: StepDone::Already, group: before.seen });
        }
        if found.iter().any(|left| matches!(left, Leftover::Suspended { .. })) {
            let command = words("vgchange -qq --refresh", [before.held.name.clone()]);
            self.run(&before.held.devices, &command, deadline)?;
        }
        while self.remove_orphans(&before.seen)? > 0 {
            deadline.check("remove leftover devices")?;
        }
        let seen = self.look(&before.held, &group.uuid, deadline)?;
        Ok(Looked { done: StepDone::Changed, group: seen })
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
