//! The thin pool of an lvmThin pool: made with the group, grown by watermark before anybody meets a full one, and what is refused once the group has no more to give.
//! What is used comes from the kernel at the moment of the look, never from lvm's report.

use terrace_device_types::lvm::{
    GroupView, InUse, LvName, LvmStep, NewThinPool, PoolMode, PoolSize, THIN_LV, ThinPoolStatus,
    ThinRoom, Used, VgView,
};
use terrace_device_types::{PoolRefusal, PoolView, Refusal, Step, TagRefusal};

use super::require_group;

/// From here on, in percent of what the thin pool has, data gets all that the group has left.
const GROW_DATA: u64 = 75;
/// From here on the metadata is doubled: it must never be full, and snapshots take it in leaps.
const GROW_METADATA: u64 = 50;
/// Up to here, in percent of what the group can give, something new is taken.
const TAKEN_DATA: u64 = 85;
const TAKEN_METADATA: u64 = 70;

/// What a group needs besides its folder. A folder that is not mounted yet shows no figures: the next look has them.
pub(super) fn plan_thin_pool(group: &VgView, view: &PoolView) -> Result<Vec<Step>, Refusal> {
    let (name, uuid) = (name()?, group.uuid.clone());
    if group.lv(THIN_LV).is_none() {
        let room = ThinRoom::unmade(group.free, group.extent);
        let new = NewThinPool { name, size: room.usual(), chunk: room.chunk };
        return Ok(vec![Step::Lvm(LvmStep::MakeThinPool { group: uuid, new })]);
    }
    plan_growth(view)
}

/// What a thin pool that is there needs: nothing, or to grow. Asked for between the looks at the whole pool, whenever it may have passed a watermark.
///
/// # Errors
/// [`PoolRefusal::GroupIncomplete`]: lvm could not change it.
pub fn plan_growth(view: &PoolView) -> Result<Vec<Step>, Refusal> {
    let Some(GroupView { thin: Some(thin), uuid, .. }) = &view.group else {
        return Ok(Vec::new());
    };
    let Some(status) = thin.status.filter(can_grow) else { return Ok(Vec::new()) };
    let room = ThinRoom::of(require_group(view)?, thin);
    let to = wanted_size(&room, &status);
    if to == room.now {
        return Ok(Vec::new());
    }
    let (group, name) = (uuid.clone(), name()?);
    Ok(vec![Step::Lvm(LvmStep::GrowThinPool { group, name, to })])
}

/// Whether a thin pool has passed what it is to grow at: to be asked often, so of the kernel's figures alone.
#[must_use]
pub fn is_past_watermark(status: &ThinPoolStatus) -> bool {
    let past = |used: Used, mark| u64::from(used.percent()) > mark;
    past(status.metadata, GROW_METADATA) || past(status.data, GROW_DATA)
}

fn wanted_size(room: &ThinRoom, status: &ThinPoolStatus) -> PoolSize {
    let past = |used: Used, mark| u64::from(used.percent()) > mark;
    // One thing at a time: the other is seen to at the next look.
    if past(status.metadata, GROW_METADATA) {
        let more = room.more_metadata();
        if more != room.now {
            return more;
        }
    }
    if past(status.data, GROW_DATA) { room.most() } else { room.usual() }
}

/// Whether lvm may lengthen it. One that can only be read and needs no check has its metadata full: longer metadata is its cure.
fn can_grow(status: &ThinPoolStatus) -> bool {
    let ThinPoolStatus { mode, needs_check, .. } = status;
    let is_whole = match mode {
        PoolMode::Writable | PoolMode::OutOfData | PoolMode::ReadOnly => true,
        PoolMode::Failed => false,
    };
    is_whole && !needs_check
}

/// There is room for something new: what the pool holds and what the group can still give it together are not past the watermarks.
pub(super) fn validate_room(pool: &PoolView) -> Result<(), Refusal> {
    if !pool.writable {
        return Err(PoolRefusal::NotWritable { dir: pool.dir.clone() }.into());
    }
    let unfit = |why| Err(PoolRefusal::ThinUnfit { dir: pool.dir.clone(), why }.into());
    let group = require_group(pool)?;
    let Some(thin) = &group.thin else {
        return unfit("is not there yet: wait for the pool's next pass");
    };
    let Some(status) = thin.status else {
        return unfit("is not active: wait for the pool's next pass");
    };
    if !can_grow(&status) {
        return unfit(
            "can only be read, its metadata has to be checked: stop what uses the pool, then `lvchange -an` and `lvconvert --repair` it",
        );
    }
    if status.mode == PoolMode::ReadOnly {
        return unfit(
            "can only be read, its metadata is full: it grows by itself where the group has room, else add a device to the pool",
        );
    }
    let InUse { data, metadata } = ThinRoom::of(group, thin).in_use(&status);
    refuse_past(pool, "data", data, TAKEN_DATA)?;
    refuse_past(pool, "metadata", metadata, TAKEN_METADATA)
}

fn refuse_past(pool: &PoolView, what: &'static str, used: u64, at: u64) -> Result<(), Refusal> {
    if used > at {
        return Err(PoolRefusal::ThinFull { dir: pool.dir.clone(), what, used, at }.into());
    }
    Ok(())
}

/// The one name that a thin pool of ours has.
pub(super) fn name() -> Result<LvName, Refusal> {
    THIN_LV.parse().map_err(|_| TagRefusal::Untagged { image: THIN_LV.into() }.into())
}
