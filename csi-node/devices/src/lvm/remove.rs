//! Removing logical volumes: what its own tag calls quarantined in that deletion, or what was never finished and never staged (I1). lvm itself compares the tag in
//! the call that removes.

use terrace_device_types::lvm::{GroupRef, LvRef, LvView, VgView};
use terrace_device_types::{Bytes, DeletionId, HostState, StageState, StepDone, Tag, TagReading};

use super::change::{Before, selecting};
use super::create::{find, path_of};
use super::{Looked, Lvm};
use crate::tagged::changed;
use crate::{Deadline, DeviceError};

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
        let state = HostState::Quarantined { deletion: deletion.clone() };
        let expected = state.to_string();
        self.remove_if(group, lv, &expected, |tag| tag.state == state, deadline)
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
        let unfinished =
            |tag: &Tag| tag.state == HostState::Creating && tag.stage == StageState::Never;
        self.remove_if(group, lv, "creating and never staged", unfinished, deadline)
    }

    /// Removes a volume whose entry is quarantined, which the caller has just read. One that is not there is no error.
    ///
    /// # Errors
    /// When it is another volume's, or open.
    pub(super) fn remove_condemned_volume(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        self.remove_if(group, lv, "any state", |_| true, deadline)
    }

    fn remove_if(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        expected: &str,
        may: impl Fn(&Tag) -> bool,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        self.remove_gain(&before, lv, deadline)?;
        let Some(found) = find(&before.seen, lv)? else {
            return Ok(Looked { done: StepDone::Already, group: before.seen });
        };
        let path = path_of(&before.seen, found);
        match &found.tag {
            TagReading::Read(tag) if may(tag) => {}
            TagReading::Read(tag) => {
                let found = format!("{}, stage record {}", tag.state, tag.stage);
                return Err(changed(&path, expected.to_owned(), found));
            }
            TagReading::Absent | TagReading::Unreadable(_) => {
                return Err(DeviceError::Bug {
                    why: "a volume was found by a tag that can't be read",
                });
            }
        }
        self.refuse_if_open(&before.seen, found)?;
        self.remove_this(&before, found, deadline)
    }

    pub(super) fn remove_this(
        &self,
        before: &Before,
        lv: &LvView,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let command = selecting("lvremove -qq --yes", &before.held, lv);
        let gone = |group: &VgView| Ok(!group.lvs.iter().any(|other| other.uuid == lv.uuid));
        self.carry_out(before, &command, Bytes::ZERO, gone, deadline)
    }
}
