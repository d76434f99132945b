//! Removing logical volumes: what its own tag calls quarantined in that deletion, or what was never finished and never staged (I1). lvm itself compares the tag in
//! the call that removes. Of a group that lacks a device nothing is removed.

use std::path::Path;

use terrace_device_types::lvm::{GroupRef, LvRef, LvView, VgView};
use terrace_device_types::{Bytes, DeletionId, HostState, StageState, StepDone, Tag, TagReading};

use super::change::{Before, selecting, selecting_any};
use super::create::{Created, find, path_of};
use super::run::refused;
use super::{Looked, Lvm};
use crate::tagged::changed;
use crate::{Deadline, DeviceError};

/// Why a volume may be removed.
#[derive(Debug, Clone)]
pub(super) enum Ground {
    /// Its own tag calls it quarantined in that deletion.
    Quarantined(DeletionId),
    /// Its own tag calls it `creating`, and it was never staged: no Pod ever saw it.
    Unfinished,
    /// Its entry is quarantined, which the caller has just read.
    Condemned,
}

impl Ground {
    fn admits(&self, tag: &Tag) -> bool {
        match self {
            Self::Quarantined(deletion) => {
                tag.state == HostState::Quarantined { deletion: deletion.clone() }
            }
            Self::Unfinished => tag.state == HostState::Creating && tag.stage == StageState::Never,
            Self::Condemned => true,
        }
    }

    fn expected(&self) -> String {
        match self {
            Self::Quarantined(deletion) => {
                HostState::Quarantined { deletion: deletion.clone() }.to_string()
            }
            Self::Unfinished => "creating and never staged".to_owned(),
            Self::Condemned => "any state".to_owned(),
        }
    }
}

/// A volume that is to be removed.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    pub(super) lv: LvRef,
    pub(super) ground: Ground,
}

impl Lvm {
    /// Removes a quarantined volume; one that is not there is no error.
    ///
    /// # Errors
    /// When it is not in that deletion, or open.
    pub fn remove_volume(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        deletion: &DeletionId,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let ground = Ground::Quarantined(deletion.clone());
        self.remove_one(group, Removal { lv: lv.clone(), ground }, deadline)
    }

    /// Removes a volume that is still `creating` and was never staged: no Pod ever saw it.
    ///
    /// # Errors
    /// When it is further, or open.
    pub fn remove_unfinished_volume(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        self.remove_one(group, Removal { lv: lv.clone(), ground: Ground::Unfinished }, deadline)
    }

    /// Removes volumes: one `lvm` for all of them, and one look. One that is not there is no error.
    ///
    /// # Errors
    /// When the group can't be proven or looked at. What is wrong with one volume is said in [`Created::each`].
    pub(super) fn remove_volumes(
        &self,
        group: &GroupRef,
        removals: &[Removal],
        deadline: Deadline,
    ) -> Result<Created, DeviceError> {
        let before = self.before(group, deadline)?;
        let found: Vec<Result<Option<&LvView>, DeviceError>> =
            removals.iter().map(|removal| self.judge(&before, removal, deadline)).collect();
        let going: Vec<&LvView> = found.iter().filter_map(|one| *one.as_ref().ok()?).collect();
        if going.is_empty() {
            let each = found.into_iter().map(|one| one.map(|_| StepDone::Already)).collect();
            return Ok(Created { each, group: before.seen });
        }
        refuse_incomplete(&before.seen)?;
        let command = selecting_any("lvremove -qq --yes", &before.held, &going);
        let ended = self.run(&before.held.devices, &command, deadline)?;
        let seen = self.look(&before.held, &before.seen.uuid, deadline)?;
        let each = found.into_iter().map(|one| match one? {
            None => Ok(StepDone::Already),
            Some(lv) if seen.lvs.iter().all(|other| other.uuid != lv.uuid) => Ok(StepDone::Changed),
            Some(_) => Err(refused(&ended, &seen.name, Bytes::ZERO)),
        });
        let each = each.collect();
        Ok(Created { each, group: seen })
    }

    /// The volume, if it is there and may go.
    fn judge<'a>(
        &self,
        before: &'a Before,
        removal: &Removal,
        deadline: Deadline,
    ) -> Result<Option<&'a LvView>, DeviceError> {
        let Removal { lv, ground } = removal;
        self.remove_gain(before, lv, deadline)?;
        let Some(found) = find(&before.seen, lv)? else { return Ok(None) };
        let path = path_of(&before.seen, found);
        match &found.tag {
            TagReading::Read(tag) if ground.admits(tag) => {}
            TagReading::Read(tag) => {
                let found = format!("{}, stage record {}", tag.state, tag.stage);
                return Err(changed(&path, ground.expected(), found));
            }
            TagReading::Absent | TagReading::Unreadable(_) => {
                return Err(DeviceError::Bug {
                    why: "a volume was found by a tag that can't be read",
                });
            }
        }
        self.refuse_if_open(&before.seen, found)?;
        Ok(Some(found))
    }

    fn remove_one(
        &self,
        group: &GroupRef,
        removal: Removal,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let Created { mut each, group } = self.remove_volumes(group, &[removal], deadline)?;
        let why = "lvm was asked for one volume";
        Ok(Looked { done: each.pop().ok_or(DeviceError::Bug { why })??, group })
    }

    pub(super) fn remove_this(
        &self,
        before: &Before,
        lv: &LvView,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        refuse_incomplete(&before.seen)?;
        let command = selecting("lvremove -qq --yes", &before.held, lv);
        let gone = |group: &VgView| Ok(!group.lvs.iter().any(|other| other.uuid == lv.uuid));
        self.carry_out(before, &command, Bytes::ZERO, gone, deadline)
    }
}

/// In a group that lacks a device lvm makes and grows nothing. What it removes it would write down on the devices that are there, and keep the missing one out
/// when it is back.
pub(super) fn refuse_incomplete(seen: &VgView) -> Result<(), DeviceError> {
    if seen.missing == 0 {
        return Ok(());
    }
    let (path, found) = (Path::new("/dev").join(&seen.name), format!("{} missing", seen.missing));
    Err(changed(&path, "every device of the group".to_owned(), found))
}
