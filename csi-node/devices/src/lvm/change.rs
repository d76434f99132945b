//! Changing a logical volume that is there: its tag, its name, its size, whether it is active. Each is done to what carries our tag and is looked at
//! afterwards.

use terrace_device_types::lvm::{GroupRef, LvName, LvRef, LvView, LvmTag, VgView};
use terrace_device_types::{
    Bytes, DeletionProof, HostState, StageState, StepDone, Tag, TagReading,
};

use super::create::{find, path_of};
use super::held::{Held, hold};
use super::run::{Words, refused, words};
use super::{Looked, Lvm};
use crate::host::observe_boot;
use crate::tagged::changed;
use crate::tool::Ended;
use crate::{Deadline, DeviceError};

/// A group that is held, as it was seen a moment ago.
pub(super) struct Before {
    pub(super) held: Held,
    pub(super) seen: VgView,
}

impl Before {
    /// The volume, which must be there.
    pub(super) fn expect(&self, lv: &LvRef) -> Result<&LvView, DeviceError> {
        find(&self.seen, lv)?.ok_or_else(|| {
            let path = std::path::Path::new("/dev").join(&self.seen.name).join(lv.name.as_str());
            changed(&path, format!("volume {}", lv.volume), "nothing".to_owned())
        })
    }
}

/// What lvm itself must find of a volume in the call that changes it: the very volume, with the very tag that was read. Our tags hold no quote.
pub(super) fn selecting(fixed: &str, held: &Held, lv: &LvView) -> Words {
    selecting_any(fixed, held, &[lv])
}

/// The same of several: each of them that is as it was read.
pub(super) fn selecting_any(fixed: &str, held: &Held, lvs: &[&LvView]) -> Words {
    let any: Vec<String> = lvs.iter().map(|lv| format!("({})", as_read(lv))).collect();
    words(fixed, ["--select".to_owned(), any.join(" || "), held.name.clone()])
}

fn as_read(lv: &LvView) -> String {
    let mut select = format!("lv_uuid=\"{}\"", lv.uuid);
    for tag in lv.tags.iter().filter(|tag| tag.starts_with("terrace.")) {
        select.push_str(&format!(" && lv_tags=\"{tag}\""));
    }
    select
}

impl Lvm {
    pub(super) fn before(
        &self,
        group: &GroupRef,
        deadline: Deadline,
    ) -> Result<Before, DeviceError> {
        let held = hold(group)?;
        let seen = self.look(&held, &group.uuid, deadline)?;
        Ok(Before { held, seen })
    }

    /// Runs a command and looks; `Changed` if the look shows what was wanted.
    pub(super) fn carry_out(
        &self,
        before: &Before,
        command: &Words,
        need: Bytes,
        wanted: impl Fn(&VgView) -> Result<bool, DeviceError>,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let Before { held, seen } = before;
        let ended: Ended = self.run(&held.devices, command, deadline)?;
        let group = self.look(held, &seen.uuid, deadline)?;
        if wanted(&group)? {
            Ok(Looked { done: StepDone::Changed, group })
        } else {
            Err(refused(&ended, &seen.name, need))
        }
    }

    /// Replaces what a volume says about itself, in one commit and only if it still says what it said a moment ago. The latch only moves forward; to
    /// `quarantined` leads [`Self::quarantine_volume`] alone.
    ///
    /// # Errors
    /// When it is another volume's, or the change is none that may be made.
    pub fn write_tag(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        tag: &Tag,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        let found = before.expect(lv)?;
        let TagReading::Read(old) = &found.tag else {
            return Err(DeviceError::Bug { why: "a volume was found by a tag that can't be read" });
        };
        if old == tag {
            return Ok(Looked { done: StepDone::Already, group: before.seen });
        }
        let quarantined = |tag: &Tag| matches!(tag.state, HostState::Quarantined { .. });
        if old.volume != tag.volume || quarantined(old) || quarantined(tag) {
            return Err(DeviceError::Bug { why: "a tag of another volume, or of a deletion" });
        }
        if !old.latch.may_become(&tag.latch) {
            let path = path_of(&before.seen, found);
            return Err(changed(&path, format!("latch {}", tag.latch), old.latch.to_string()));
        }
        self.replace_tag(&before, lv, tag, deadline)
    }

    /// Writes into the tag that the deletion is proven, if nobody has the volume open. The point of no return.
    ///
    /// # Errors
    /// When it is staged, open, or in another deletion.
    pub fn quarantine_volume(
        &self,
        group: &GroupRef,
        name: &LvName,
        proof: &DeletionProof,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let boot = observe_boot(&self.host)?;
        let before = self.before(group, deadline)?;
        let lv = LvRef { name: name.clone(), volume: proof.volume() };
        let found = before.expect(&lv)?;
        let path = path_of(&before.seen, found);
        let TagReading::Read(old) = &found.tag else {
            return Err(DeviceError::Bug { why: "a volume was found by a tag that can't be read" });
        };
        let state = HostState::Quarantined { deletion: proof.id().clone() };
        match &old.state {
            there if *there == state => {
                return Ok(Looked { done: StepDone::Already, group: before.seen });
            }
            HostState::Quarantined { .. } => {
                return Err(changed(&path, state.to_string(), old.state.to_string()));
            }
            HostState::Creating | HostState::Ready | HostState::Retained => {}
        }
        if matches!(&old.stage, StageState::At { boot: then, target: _ } if *then == boot) {
            return Err(DeviceError::Busy { path, by: "it is staged" });
        }
        self.refuse_if_open(&before.seen, found)?;
        let tag = Tag { state, ..old.clone() };
        self.replace_tag(&before, &lv, &tag, deadline)
    }

    fn replace_tag(
        &self,
        before: &Before,
        lv: &LvRef,
        tag: &Tag,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let found = before.expect(lv)?;
        let new = LvmTag::of_volume(tag)
            .map_err(|_| DeviceError::Bug { why: "a tag longer than LVM keeps" })?;
        let mut command = words("lvchange -qq --addtag", [new.to_string()]);
        for old in found.tags.iter().filter(|old| old.starts_with("terrace.volume=")) {
            command.extend(["--deltag".to_owned(), old.clone()]);
        }
        command.extend(selecting("--yes", &before.held, found));
        let said = |group: &VgView| {
            Ok(find(group, lv)?.is_some_and(|lv| lv.tag == TagReading::Read(tag.clone())))
        };
        self.carry_out(before, &command, Bytes::ZERO, said, deadline)
    }

    /// Gives a volume another name, if none has it.
    ///
    /// # Errors
    /// When it is another volume's, or the name is taken.
    pub fn rename_volume(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        to: &LvName,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        let renamed = LvRef { name: to.clone(), volume: lv.volume };
        if find(&before.seen, &renamed)?.is_some() && before.seen.lv(lv.name.as_str()).is_none() {
            return Ok(Looked { done: StepDone::Already, group: before.seen });
        }
        before.expect(lv)?;
        let names = [before.held.name.clone(), lv.name.to_string(), to.to_string()];
        let command = words("lvrename -qq", names);
        let said = |group: &VgView| Ok(find(group, &renamed)?.is_some());
        self.carry_out(&before, &command, Bytes::ZERO, said, deadline)
    }

    /// Lengthens a volume, and never shortens one. The filesystem in it is for others.
    ///
    /// # Errors
    /// [`DeviceError::NoSpace`] when the group has not as much.
    pub fn extend_volume(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        to: Bytes,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        let found = before.expect(lv)?;
        if found.size >= to {
            return Ok(Looked { done: StepDone::Already, group: before.seen });
        }
        let size = format!("{}b", to.round_up(Bytes(512)).0);
        let at = format!("{}/{}", before.held.name, lv.name);
        let command = words("lvextend -qq --yes -L", [size, at]);
        let need = to.minus(found.size);
        let said = |group: &VgView| Ok(find(group, lv)?.is_some_and(|lv| lv.size >= to));
        self.carry_out(&before, &command, need, said, deadline)
    }

    /// Sees that volumes have devices.
    ///
    /// # Errors
    /// When one is another's, or can't be activated.
    pub fn activate_volumes(
        &self,
        group: &GroupRef,
        lvs: &[LvRef],
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        self.switch(group, lvs, Switch::On, deadline)
    }

    /// Takes the volumes' devices away, if nobody has them open.
    ///
    /// # Errors
    /// [`DeviceError::Busy`] when somebody has.
    pub fn deactivate_volumes(
        &self,
        group: &GroupRef,
        lvs: &[LvRef],
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        self.switch(group, lvs, Switch::Off, deadline)
    }

    fn switch(
        &self,
        group: &GroupRef,
        lvs: &[LvRef],
        to: Switch,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        let mut names = Vec::new();
        for lv in lvs {
            let found = before.expect(lv)?;
            if found.dev_t.is_some() == (to == Switch::On) {
                continue;
            }
            match to {
                Switch::On => {}
                Switch::Off => self.refuse_if_open(&before.seen, found)?,
            }
            names.push(format!("{}/{}", before.held.name, lv.name));
        }
        if names.is_empty() {
            return Ok(Looked { done: StepDone::Already, group: before.seen });
        }
        let command = words(
            match to {
                Switch::On => "lvchange -qq --yes -K -ay",
                Switch::Off => "lvchange -qq --yes -an",
            },
            names,
        );
        let said = |group: &VgView| {
            let mut all = true;
            for lv in lvs {
                let on = find(group, lv)?.is_some_and(|lv| lv.dev_t.is_some());
                all &= on == (to == Switch::On);
            }
            Ok(all)
        };
        self.carry_out(&before, &command, Bytes::ZERO, said, deadline)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Switch {
    On,
    Off,
}
