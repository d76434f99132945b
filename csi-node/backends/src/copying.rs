//! What a copy is on every backend: whose bytes, of what kind, into what, and how its source stands still meanwhile. Knows no image and no subvolume.

use terrace_device_types::{
    Allocation, BackendKind, Bytes, ClusterUid, DeviceRef, FsType, HostObject, HostState, InUse,
    Kernel, Latch, Opened, PoolFileReading, PoolRefusal, Refusal, RequestRefusal, StageState, Step,
    Tag, TagRefusal, UseRefusal, View, VolumeMode, VolumeUuid, VolumeView,
};

use crate::check::{self, OurImage};

/// The first kernel that mounts two btrfs filesystems of one UUID side by side (temporary fsid).
const BTRFS_TWINS: Kernel = Kernel { major: 6, minor: 7 };

/// What is asked.
pub(crate) struct Wanted<'a> {
    pub(crate) object: HostObject,
    pub(crate) volume: VolumeUuid,
    pub(crate) cluster: &'a ClusterUid,
    pub(crate) name: &'a str,
    pub(crate) source: VolumeUuid,
    pub(crate) size: Bytes,
    pub(crate) mode: VolumeMode,
    pub(crate) allocation: Allocation,
}

/// The new object, if it is there; refused unless it is what was asked for. One without a source was made while its source held nothing.
pub(crate) fn find_copy<'a>(
    wanted: &Wanted<'_>,
    view: &'a View,
) -> Result<Option<OurImage<'a>>, Refusal> {
    let Some(ours) = check::find_image(view, wanted.volume, wanted.cluster)? else {
        return Ok(None);
    };
    let image = || ours.image.path.clone();
    if ours.tag.object != wanted.object {
        let (found, wanted) = (ours.tag.object, wanted.object);
        return Err(TagRefusal::OtherObject { image: image(), found, wanted }.into());
    }
    if let Some(found) = ours.tag.source.filter(|found| *found != wanted.source) {
        let wanted = wanted.source;
        return Err(TagRefusal::OtherSource { image: image(), found, wanted }.into());
    }
    refuse_other_mode(ours, wanted.mode)?;
    match &ours.tag.state {
        HostState::Creating | HostState::Ready => Ok(Some(ours)),
        HostState::Retained | HostState::Quarantined { .. } => Err(ours.wrong_state("copy into")),
    }
}

/// The source: there, ours, in service, of the right kind, mode and size.
pub(crate) fn require_source<'a>(
    backend: BackendKind,
    wanted: &Wanted<'_>,
    view: &'a View,
) -> Result<OurImage<'a>, Refusal> {
    let seen = view.source.as_ref();
    let found = seen.map(|seen| check::find_object(seen, wanted.source, wanted.cluster));
    let source = found.transpose()?.flatten();
    let source = source.ok_or(TagRefusal::NoImage { volume: wanted.source })?;
    source.require_ready("copy")?;
    if (source.tag.object, wanted.object) == (HostObject::Snapshot, HostObject::Snapshot) {
        let (what, remedy) = ("a snapshot of a snapshot", "take it of the volume");
        return Err(RequestRefusal::NotSupported { backend, what, remedy }.into());
    }
    refuse_other_mode(source, wanted.mode)?;
    // A snapshot is as large as its source is, whatever was known of that when it was asked for.
    let (size, least) = (wanted.size, source.image.apparent);
    if wanted.object == HostObject::Volume && size < least {
        return Err(RequestRefusal::SmallerThanSource { size, least }.into());
    }
    Ok(source)
}

fn refuse_other_mode(ours: OurImage<'_>, asked: VolumeMode) -> Result<(), Refusal> {
    let tagged = ours.tag.mode;
    if tagged == asked {
        return Ok(());
    }
    Err(RequestRefusal::OtherMode { tagged, asked }.into())
}

/// The tag of a copy of `from`; of nothing, where there is nothing to copy. A filesystem keeps its UUID, and so its latch; the copy was never staged.
pub(crate) fn tag_of_copy(
    wanted: &Wanted<'_>,
    from: Option<OurImage<'_>>,
    view: &View,
) -> Result<Tag, Refusal> {
    let PoolFileReading::Read(pool) = &view.pool.file else {
        return Err(PoolRefusal::Unmarked { dir: view.pool.dir.clone() }.into());
    };
    Ok(Tag {
        object: wanted.object,
        volume: wanted.volume,
        cluster: wanted.cluster.clone(),
        pool: pool.pool_uuid,
        name: wanted.name.to_owned(),
        mode: wanted.mode,
        allocation: wanted.allocation,
        state: HostState::Creating,
        latch: from.map_or(Latch::None, |from| from.tag.latch.clone()),
        stage: StageState::Never,
        source: from.map(|from| from.tag.volume),
    })
}

/// Whether there are bytes to copy: a filesystem volume that was never formatted has none.
pub(crate) fn holds_bytes(source: OurImage<'_>) -> bool {
    match (source.tag.mode, &source.tag.latch) {
        (VolumeMode::Block, _) | (VolumeMode::Filesystem { .. }, Latch::Formatted { .. }) => true,
        (VolumeMode::Filesystem { .. }, Latch::None | Latch::Formatting { .. }) => false,
    }
}

/// A btrfs that is to be mounted beside the one it is a copy of.
pub(crate) fn validate_twins(
    backend: BackendKind,
    wanted: &Wanted<'_>,
    view: &View,
) -> Result<(), Refusal> {
    let btrfs = wanted.mode == VolumeMode::Filesystem { fs: FsType::Btrfs };
    if btrfs && wanted.object == HostObject::Volume && view.kernel < BTRFS_TWINS {
        let what = "a copy of a volume with btrfs that is to be mounted beside it";
        let remedy = "it needs Linux 6.7 or a pool of the btrfs backend";
        return Err(RequestRefusal::NotSupported { backend, what, remedy }.into());
    }
    Ok(())
}

/// What makes the source stand still, and what lets it go on.
pub(crate) struct Stillness {
    pub(crate) before: Option<Step>,
    pub(crate) after: Option<Step>,
}

/// One freeze holds every mount of a filesystem. Bytes of a device that no filesystem holds are written out of its page cache.
pub(crate) fn plan_stillness(
    source: OurImage<'_>,
    device: DeviceRef,
    view: &View,
) -> Result<Stillness, Refusal> {
    let Some(seen) = view.source.as_ref().filter(|seen| seen.has_device()) else {
        return Ok(Stillness { before: None, after: None });
    };
    let VolumeView { opened, filesystem, .. } = seen;
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
