//! The thin pool of an lvmThin pool: made with the group, grown by watermark before anybody meets a full one, and what is refused once the group has no more to give.
//! What is used comes from the kernel at the moment of the look, never from lvm's report.

use terrace_device_types::lvm::{
    GroupView, LvName, LvmStep, NewThinPool, PoolMode, PoolSize, THIN_LV, ThinPoolStatus, ThinRoom,
    Used, VgView,
};
use terrace_device_types::{Bytes, PoolRefusal, PoolView, Refusal, Step, TagRefusal};

use super::require_group;

/// From here on, in percent of what the thin pool has, data gets all that the group has left.
const GROW_DATA: u64 = 75;
/// From here on the metadata is doubled: it must never be full, and snapshots take it in leaps.
const GROW_METADATA: u64 = 50;
/// Up to here, in percent of what the group can give, something new is taken.
const TAKEN_DATA: u64 = 85;
const TAKEN_METADATA: u64 = 70;
/// The kernel's blocks of metadata.
const BLOCK: u64 = 4096;

/// What a group needs besides its folder. A folder that is not mounted yet shows no figures: the next look has them.
pub(super) fn plan_thin_pool(group: &VgView, view: &PoolView) -> Result<Vec<Step>, Refusal> {
    let (name, uuid) = (name()?, group.uuid.clone());
    if group.lv(THIN_LV).is_none() {
        let room = ThinRoom::unmade(group.free, group.extent);
        let new = NewThinPool { name, size: room.usual(), chunk: room.chunk };
        return Ok(vec![Step::Lvm(LvmStep::MakeThinPool { group: uuid, new })]);
    }
    let Some(GroupView { thin: Some(thin), .. }) = &view.group else { return Ok(Vec::new()) };
    let Some(status) = thin.status.filter(is_fit) else { return Ok(Vec::new()) };
    let room = ThinRoom::of(require_group(view)?, thin);
    let to = wanted_size(&room, &status);
    if to == room.now {
        return Ok(Vec::new());
    }
    Ok(vec![Step::Lvm(LvmStep::GrowThinPool { group: uuid, name, to })])
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

/// Whether lvm may change anything about it.
fn is_fit(status: &ThinPoolStatus) -> bool {
    let ThinPoolStatus { mode, needs_check, .. } = status;
    let works = match mode {
        PoolMode::Writable | PoolMode::OutOfData => true,
        PoolMode::ReadOnly | PoolMode::Failed => false,
    };
    works && !needs_check
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
    if !is_fit(&status) {
        return unfit(
            "can only be read, its metadata has to be checked: stop what uses the pool, then `lvchange -an` and `lvconvert --repair` it",
        );
    }
    let room = ThinRoom::of(group, thin);
    let data = (Bytes(status.data.used.saturating_mul(thin.chunk.0)), room.most().data);
    refuse_past(pool, "data", data, TAKEN_DATA)?;
    let most = room.more_metadata().metadata;
    let metadata = (Bytes(status.metadata.used.saturating_mul(BLOCK)), most);
    refuse_past(pool, "metadata", metadata, TAKEN_METADATA)
}

fn refuse_past(
    pool: &PoolView,
    what: &'static str,
    (used, most): (Bytes, Bytes),
    at: u64,
) -> Result<(), Refusal> {
    let hundredfold = u128::from(used.0) * 100;
    let used = u64::try_from(hundredfold.div_ceil(u128::from(most.0.max(1)))).unwrap_or(u64::MAX);
    if used > at {
        return Err(PoolRefusal::ThinFull { dir: pool.dir.clone(), what, used, at }.into());
    }
    Ok(())
}

/// The one name that a thin pool of ours has.
pub(super) fn name() -> Result<LvName, Refusal> {
    THIN_LV.parse().map_err(|_| TagRefusal::Untagged { image: THIN_LV.into() }.into())
}
