//! Copy: a snapshot of a volume, a volume from a snapshot, a clone of a volume. Blocks are shared (reflink); a mounted source stands still meanwhile.
//!
//! ```text
//!   freeze -> share the blocks, tag, name -> thaw -> name durable -> larger -> ready
//! ```
//! Between freeze and thaw nothing runs but the sharing of blocks. The journal's own writes lie between the steps, so it may never lie on a
//! volume: it is on the host's disk, below the node's state directory.

use terrace_device_types::{
    Allocation, BackendKind, Bytes, DeviceRef, FsType, HostObject, HostState, InUse, Kernel, Latch,
    Opened, Refusal, RequestRefusal, Step, UseRefusal, View, VolumeMode, VolumeView, image_name,
};

use super::grow;
use crate::check::{self, OurImage};
use crate::copying::{self, Wanted};

/// The first kernel that mounts two btrfs filesystems of one UUID side by side (temporary fsid).
const BTRFS_TWINS: Kernel = Kernel { major: 6, minor: 7 };

/// A copy in service is left as it is, or made larger; one that was only begun is made anew, since nobody was told of it.
pub(super) fn plan_copy(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    check::validate_size(wanted.size, wanted.mode, wanted.mode.least())?;
    check::validate_pool(&view.pool, wanted.cluster)?;
    let Some(ours) = copying::find_copy(wanted, view)? else { return plan_make(wanted, view) };
    if ours.tag.state == HostState::Ready {
        return plan_larger(wanted, ours, view);
    }
    if view.source.as_ref().is_none_or(|source| source.image.is_none()) {
        return plan_complete(wanted, ours, view);
    }
    let (image, volume) = (ours.image.path.clone(), wanted.volume);
    let mut steps = vec![Step::RemoveUnfinished { image, volume }];
    steps.extend(plan_make(wanted, view)?);
    Ok(steps)
}

/// Its source is gone, so it can't be made anew. It need not: an image gets its name only once its bytes are whole.
fn plan_complete(
    wanted: &Wanted<'_>,
    ours: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let mut steps = vec![Step::SyncDir { dir: view.pool.dir.clone() }];
    steps.extend(plan_larger(wanted, ours, view)?);
    let (image, volume) = (ours.image.path.clone(), wanted.volume);
    steps.push(Step::WriteState { image, volume, state: HostState::Ready });
    Ok(steps)
}

fn plan_larger(wanted: &Wanted<'_>, ours: OurImage<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    match wanted.object {
        HostObject::Volume => grow::plan_image(ours, wanted.size, view),
        HostObject::Snapshot => Ok(Vec::new()),
    }
}

fn plan_make(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let source = copying::require_source(BackendKind::File, wanted, view)?;
    let bytes = if holds_bytes(source) {
        validate_reflink(wanted, view)?;
        plan_clone(wanted, source, view)?
    } else {
        plan_empty(wanted, view)?
    };
    let (image, volume) =
        (view.pool.dir.join(image_name(wanted.object, wanted.volume)), wanted.volume);
    let mut steps = bytes;
    steps.push(Step::SyncDir { dir: view.pool.dir.clone() });
    let larger = wanted.object == HostObject::Volume && wanted.size > source.image.apparent;
    if larger && holds_bytes(source) {
        let (image, to, allocation) = (image.clone(), wanted.size, wanted.allocation);
        steps.push(Step::GrowImage { image, volume, to, allocation });
    }
    steps.push(Step::WriteState { image, volume, state: HostState::Ready });
    Ok(steps)
}

/// Whether there are bytes to copy: a filesystem volume that was never formatted has none.
fn holds_bytes(source: OurImage<'_>) -> bool {
    match (source.tag.mode, &source.tag.latch) {
        (VolumeMode::Block, _) | (VolumeMode::Filesystem { .. }, Latch::Formatted { .. }) => true,
        (VolumeMode::Filesystem { .. }, Latch::None | Latch::Formatting { .. }) => false,
    }
}

/// A snapshot of nothing takes no space; a volume of nothing is a new volume.
fn plan_empty(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let allocation = match wanted.object {
        HostObject::Volume => wanted.allocation,
        HostObject::Snapshot => Allocation::Sparse,
    };
    check::validate_room(&view.pool, room(wanted.size, allocation))?;
    let mut tag = copying::tag_of_copy(wanted, None, view)?;
    tag.allocation = allocation;
    let image = view.pool.dir.join(image_name(wanted.object, wanted.volume));
    Ok(vec![Step::AllocateImage { image, size: wanted.size, tag: Box::new(tag) }])
}

/// Shared blocks cost nothing today, but a source that is written over needs them all again: a reserved copy is reserved in full.
fn plan_clone(
    wanted: &Wanted<'_>,
    source: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let size = match wanted.object {
        HostObject::Volume => wanted.size,
        HostObject::Snapshot => source.image.apparent,
    };
    check::validate_room(&view.pool, room(size, wanted.allocation))?;
    let tag = Box::new(copying::tag_of_copy(wanted, Some(source), view)?);
    let image = view.pool.dir.join(image_name(wanted.object, wanted.volume));
    let from = source.image.path.clone();
    let still = plan_stillness(source, view)?;
    let clone = Step::CloneImage { from, source: wanted.source, image, tag };
    Ok(still.before.into_iter().chain([clone]).chain(still.after).collect())
}

const fn room(size: Bytes, allocation: Allocation) -> Bytes {
    match allocation {
        Allocation::Reserved => size,
        Allocation::Sparse => Bytes::ZERO,
    }
}

fn validate_reflink(wanted: &Wanted<'_>, view: &View) -> Result<(), Refusal> {
    let refuse = |what, remedy| {
        Err(RequestRefusal::NotSupported { backend: BackendKind::File, what, remedy }.into())
    };
    if !view.pool.reflink {
        return refuse(
            "snapshots and clones in this directory",
            "it needs a pool on xfs or btrfs with reflink",
        );
    }
    let btrfs = wanted.mode == VolumeMode::Filesystem { fs: FsType::Btrfs };
    if btrfs && wanted.object == HostObject::Volume && view.kernel < BTRFS_TWINS {
        return refuse(
            "a copy of a volume with btrfs that is to be mounted beside it",
            "it needs Linux 6.7 or a pool of the btrfs backend",
        );
    }
    Ok(())
}

/// What makes the source stand still, and what lets it go on.
struct Stillness {
    before: Option<Step>,
    after: Option<Step>,
}

/// One freeze holds every mount of a filesystem. Bytes of a device that no filesystem holds are written out of its page cache.
fn plan_stillness(source: OurImage<'_>, view: &View) -> Result<Stillness, Refusal> {
    let device = DeviceRef::LoopOf { image: source.image.path.clone() };
    let Some(VolumeView { attached: Some(_), opened, filesystem, .. }) = &view.source else {
        return Ok(Stillness { before: None, after: None });
    };
    let root = filesystem.as_ref().and_then(|filesystem| filesystem.mounted.clone());
    let mount = root.or_else(|| view.source_mounts().next().map(|mount| mount.at.clone()));
    match (source.tag.mode, mount) {
        (VolumeMode::Filesystem { .. }, Some(mount)) => Ok(Stillness {
            before: Some(Step::FreezeFilesystem { mount: mount.clone(), device: device.clone() }),
            after: Some(Step::ThawFilesystem { mount, device }),
        }),
        (VolumeMode::Filesystem { .. }, None) => {
            refuse_hidden_mount(source, *opened)?;
            Ok(Stillness { before: Some(Step::SyncDevice { device }), after: None })
        }
        (VolumeMode::Block, _) => {
            Ok(Stillness { before: Some(Step::SyncDevice { device }), after: None })
        }
    }
}

/// Claimed, but mounted nowhere that we see: a filesystem that can't be frozen is not copied.
fn refuse_hidden_mount(source: OurImage<'_>, opened: Opened) -> Result<(), Refusal> {
    let by = match opened {
        Opened::ByNobody => return Ok(()),
        Opened::BySomebody => InUse::Open,
        Opened::NotLooked => InUse::NotLooked,
    };
    Err(UseRefusal::StillInUse { volume: source.tag.volume, by }.into())
}
