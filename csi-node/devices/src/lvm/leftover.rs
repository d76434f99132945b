//! What an `lvm` that was killed leaves in device-mapper: devices of the group that no volume of it has, and devices that were stopped and not let go on.
//! Other people's devices, and those of other groups, are never listed.

use std::collections::BTreeSet;
use std::fs;

use serde::Serialize;
use terrace_device_types::lvm::{DmTarget, GroupRef, LvKind, LvView, PoolMode, VgUuid, VgView};
use terrace_device_types::{DevT, StepDone};

use super::change::Before;
use super::create::path_of;
use super::held::{Held, hold};
use super::object::is_ours;
use super::run::words;
use super::status::dm_uuid;
use super::thin_growth::is_growing;
use super::{Looked, Lvm};
use crate::deadline::within;
use crate::kernel::dm::{self, Named};
use crate::tagged::changed;
use crate::{Deadline, DeviceError};

/// How long a UUID of LVM's is in device-mapper, without dashes.
const ID: usize = 32;

/// A thin pool with another number than lvm has written down.
struct Behind<'a> {
    pool: &'a LvView,
    knows: u64,
    wanted: u64,
}

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
    /// A volume's, with a table made ready for it that never came into force. Whoever resumed it would put that in force, whatever the group says by then: a thin pool's
    /// metadata would grow over what is free.
    Prepared {
        /// Its name.
        name: String,
        /// Its UUID.
        uuid: String,
    },
    /// A thin pool whose growth was begun and is not at its end.
    Growing,
    /// A thin pool that does not know of the last change that the group knows of, or of another.
    Behind {
        /// The pool's name.
        pool: String,
        /// The pool's own number.
        knows: u64,
        /// The group's.
        wanted: u64,
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
            let dm::Device { name, uuid, open, suspended, prepared, .. } = device.clone();
            if !lv.get(..ID).is_some_and(|lv| known.contains(lv)) {
                leftovers.push(Leftover::Orphan { name, uuid, open });
            } else if suspended {
                leftovers.push(Leftover::Suspended { name, uuid });
            } else if prepared {
                leftovers.push(Leftover::Prepared { name, uuid });
            }
        }
        leftovers.extend(is_growing(seen).then_some(Leftover::Growing));
        leftovers.extend(self.behind(seen)?.map(|Behind { pool, knows, wanted }| {
            Leftover::Behind { pool: pool.name.clone(), knows, wanted }
        }));
        Ok(leftovers)
    }

    /// Ends what a killed `lvm` left; to be called after [`DeviceError::Deadline`], before anything else is done to the group: while a part of a thin pool is
    /// suspended, every `lvm` waits for it. What was made ready is dropped, and what is suspended goes on as it was, without `lvm`, and then with the tables that the
    /// metadata says. Orphans that nobody has open are removed, those below them too. What is left is in [`Self::observe_leftovers`] of the answer. Nobody may
    /// change the group meanwhile.
    ///
    /// # Errors
    /// When the group can't be looked at, or a thin pool's number is none that a killed `lvm` leaves ([`DeviceError::Changed`]).
    pub fn clear_leftovers(
        &self,
        group: &GroupRef,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let held = hold(group)?;
        let ended = self.drop_prepared(&group.uuid)? + self.resume_all(&group.uuid, deadline)?;
        let seen = self.look(&held, &group.uuid, deadline)?;
        if ended == 0 && self.observe_leftovers(&seen)?.is_empty() {
            return Ok(Looked { done: StepDone::Already, group: seen });
        }
        let (_, Before { held, mut seen }) = self.finish_growth(Before { held, seen }, deadline)?;
        // Whatever lvm can end itself, it does: it tells a pool what it has not told it yet.
        seen = self.refresh(&held, &seen, deadline)?;
        if let Some(behind) = self.behind(&seen)? {
            self.catch_up(&seen, &behind)?;
            seen = self.refresh(&held, &seen, deadline)?;
        }
        while self.remove_orphans(&seen)? > 0 {
            deadline.check("remove leftover devices")?;
        }
        let seen = self.look(&held, &group.uuid, deadline)?;
        Ok(Looked { done: StepDone::Changed, group: seen })
    }

    fn refresh(
        &self,
        held: &Held,
        seen: &VgView,
        deadline: Deadline,
    ) -> Result<VgView, DeviceError> {
        let command = words("vgchange -qq --refresh", [held.name.clone()]);
        self.run(&held.devices, &command, deadline)?;
        // One that fails in the midst leaves devices suspended itself.
        self.resume_all(&seen.uuid, deadline)?;
        self.look(held, &seen.uuid, deadline)
    }

    /// The group's thin pool, if it is active and its number is not the one that lvm has written down.
    fn behind<'a>(&self, seen: &'a VgView) -> Result<Option<Behind<'a>>, DeviceError> {
        for pool in seen.lvs.iter().filter(|lv| lv.kind == LvKind::ThinPool && is_ours(lv)) {
            let status = self.observe_status(&seen.uuid, &pool.uuid, &pool.kind)?;
            let status = status.and_then(|status| status.targets.into_iter().next());
            let (Some(DmTarget::ThinPool(status)), Some(wanted)) = (status, pool.transaction)
            else {
                continue;
            };
            let knows = status.transaction;
            if status.mode != PoolMode::Failed && knows != wanted {
                return Ok(Some(Behind { pool, knows, wanted }));
            }
        }
        Ok(None)
    }

    /// A pool that took a snapshot and was killed before it was told that change's number: lvm would ask for the same snapshot again, for ever, and can do nothing else
    /// meanwhile. The pool has it whole, so it is told the number. Any other difference is none of a killed lvm's.
    fn catch_up(&self, seen: &VgView, behind: &Behind<'_>) -> Result<(), DeviceError> {
        let Behind { pool, knows, wanted } = behind;
        let of_change =
            |lv: &&LvView| lv.pool.as_deref() == Some(&pool.name) && lv.transaction == Some(*knows);
        if knows + 1 != *wanted || seen.lvs.iter().find(of_change).is_none() {
            let path = path_of(seen, pool);
            return Err(changed(&path, format!("transaction {wanted}"), knows.to_string()));
        }
        let uuid = format!("{}-tpool", dm_uuid(&seen.uuid, &pool.uuid));
        let text = format!("set_transaction_id {knows} {wanted}");
        let told = dm::tell(&self.control()?, &uuid, &text);
        told.map_err(|source| self.fail("tell a thin pool its number by", source))
    }

    /// Says of how many.
    fn drop_prepared(&self, group: &VgUuid) -> Result<usize, DeviceError> {
        let fail = |source| self.fail("drop a table that was made ready by", source);
        let (control, prefix) = (self.control()?, format!("LVM-{}", group.compact()));
        let mut dropped = 0;
        for dev_t in dm::list(&control).map_err(fail)? {
            let device = dm::look(&control, Named::Dev(dev_t)).map_err(fail)?;
            let ours = device.filter(|device| device.prepared && device.uuid.starts_with(&prefix));
            if let Some(device) = ours {
                dm::drop_prepared(&control, &device.uuid).map_err(fail)?;
                dropped += 1;
            }
        }
        Ok(dropped)
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
