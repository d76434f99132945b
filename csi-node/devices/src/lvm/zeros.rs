//! Logical volumes that are read as zeros where nobody has written: what a removed volume left in a group's free space is not the next one's to read.
//!
//! A volume that is in use grows by a part that was made as a volume of its own and written over first. Then that one is removed and the volume lengthened by
//! the very extents that it had, in one process. A crash leaves a part that the next try, or the volume's removal, takes away.

use rustix::fs::{FallocateFlags, fallocate};
use terrace_device_types::lvm::{GroupRef, LvName, LvRef, LvView, NewVolume, VgUuid, VolumeKind};
use terrace_device_types::{Bytes, HostState, Latch, StageState, StepDone, Tag, TagReading, Tool};

use super::change::Before;
use super::create::find;
use super::remove::refuse_incomplete;
use super::run::{Words, refused, words};
use super::{Looked, Lvm};
use crate::kernel;
use crate::tool::failure;
use crate::{Deadline, DeviceError};

/// Between two looks at the clock.
const PIECE: u64 = 64 << 20;

/// What the volume is about to gain.
pub(super) fn gain_of(lv: &LvRef) -> LvRef {
    LvRef { name: LvName::of_gain(lv.volume), volume: lv.volume }
}

impl Lvm {
    /// Writes zeros over a volume that nobody has open; by the device itself where it can.
    pub(super) fn zero_volume(
        &self,
        group: &VgUuid,
        lv: &LvRef,
        deadline: Deadline,
    ) -> Result<StepDone, DeviceError> {
        let seen = self.group(group, deadline)?;
        let Some(found) = find(&seen, lv)? else {
            return Err(DeviceError::Bug { why: "zeros over a volume that was not made" });
        };
        let open = self.open_exclusively(group, &found.uuid)?;
        let fail = |source| DeviceError::io("write zeros over", &open.path, source);
        let length = kernel::block_device_size(&open.file).map_err(fail)?;
        let mut at = 0;
        while at < length {
            deadline.check("write zeros over a logical volume")?;
            let size = PIECE.min(length - at);
            let done = fallocate(&open.file, FallocateFlags::ZERO_RANGE, at, size);
            done.map_err(|errno| fail(errno.into()))?;
            at += size;
        }
        open.file.sync_all().map_err(fail)?;
        Ok(StepDone::Changed)
    }

    /// Lengthens a volume by zeros, and never shortens one.
    ///
    /// # Errors
    /// [`DeviceError::NoSpace`] when the group has not as much.
    pub fn extend_by_zeros(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        to: Bytes,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        let (size, extent) = (before.expect(lv)?.size, before.seen.extent);
        self.remove_gain(&before, lv, deadline)?;
        if size >= to {
            return Ok(Looked { done: StepDone::Already, group: before.seen });
        }
        let part = gain_of(lv);
        let new = self.new_part(&before, lv, &part, to.round_up(extent).minus(size))?;
        let mut made = self.create_volumes(group, &[new], deadline)?;
        made.each.pop().ok_or(DeviceError::Bug { why: "lvm was asked for one volume" })??;
        self.zero_volume(&group.uuid, &part, deadline)?;
        self.join(group, lv, &part, deadline)
    }

    fn new_part(
        &self,
        before: &Before,
        lv: &LvRef,
        part: &LvRef,
        size: Bytes,
    ) -> Result<NewVolume, DeviceError> {
        let TagReading::Read(tag) = &before.expect(lv)?.tag else {
            return Err(DeviceError::Bug { why: "a volume was found by a tag that can't be read" });
        };
        let (state, stage, latch) = (HostState::Creating, StageState::Never, Latch::None);
        let tag = Tag { state, stage, latch, ..tag.clone() };
        Ok(NewVolume { name: part.name.clone(), kind: VolumeKind::Linear { size }, tag })
    }

    /// Takes away what an earlier try left.
    pub(super) fn remove_gain(
        &self,
        before: &Before,
        lv: &LvRef,
        deadline: Deadline,
    ) -> Result<(), DeviceError> {
        let Some(part) = find(&before.seen, &gain_of(lv))? else { return Ok(()) };
        self.refuse_if_open(&before.seen, part)?;
        self.remove_this(before, part, deadline).map(|_| ())
    }

    /// The part's extents become the volume's.
    fn join(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        part: &LvRef,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        let (old, part) = (before.expect(lv)?, before.expect(part)?);
        let (gain, to) = (part.size, Bytes(old.size.0.saturating_add(part.size.0)));
        let ranges = self.ranges(&before, part, deadline)?;
        let at = format!("{}/{}", before.held.name, lv.name);
        let size = format!("+{}b", gain.0);
        let extend = words("lvextend -qq --yes -L", [size, at].into_iter().chain(ranges));
        // Lvm's shell takes no quotes; the tag was read a moment ago, and the UUID is nobody else's.
        let select = format!("lv_uuid={}", part.uuid);
        let remove = ["--select".to_owned(), select, before.held.name.clone()];
        refuse_incomplete(&before.seen)?;
        let commands = [words("lvremove -qq --yes", remove), extend];
        let ended = self.run_all(&before.held.devices, &commands, deadline)?;
        let group = self.look(&before.held, &group.uuid, deadline)?;
        match find(&group, lv)? {
            Some(lv) if lv.size >= to => Ok(Looked { done: StepDone::Changed, group }),
            Some(_) | None => Err(refused(&ended, &before.seen.name, gain)),
        }
    }

    /// Where a volume lies: `<device>:<first>-<last>`, in extents.
    pub(super) fn ranges(
        &self,
        before: &Before,
        lv: &LvView,
        deadline: Deadline,
    ) -> Result<Vec<String>, DeviceError> {
        let fixed = "lvs -qq --segments --noheadings --reportformat basic -o seg_pe_ranges";
        let select = format!("lv_uuid=\"{}\"", lv.uuid);
        let command: Words =
            words(fixed, ["--select".to_owned(), select, before.held.name.clone()]);
        let ended = self.run(&before.held.devices, &command, deadline)?;
        let ranges: Vec<String> = ended.stdout.split_whitespace().map(str::to_owned).collect();
        let is_range = |text: &String| text.starts_with('/') && text.contains(':');
        if ranges.is_empty() || !ranges.iter().all(is_range) {
            return Err(failure(Tool::Lvm, &ended));
        }
        Ok(ranges)
    }
}
