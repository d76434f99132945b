//! Is it ours? Asked before anything is planned (I4). Reads values; decides nothing else.

use std::path::Path;

use terrace_device_types::lvm::{LvKind, LvSeen};
use terrace_device_types::{
    BackendKind, Bytes, ClusterUid, Erase, Form, HostObject, HostState, ImageView, PoolFileReading,
    PoolRefusal, PoolView, Refusal, RequestRefusal, Tag, TagReading, TagRefusal, View, VolumeMode,
    VolumeUuid, VolumeView, unfinished_name,
};

/// A host object whose tag was read and is of the right volume and cluster.
#[derive(Clone, Copy)]
pub(crate) struct OurImage<'a> {
    pub(crate) image: &'a ImageView,
    pub(crate) tag: &'a Tag,
}

/// The pool directory is there, readable and of this cluster.
pub(crate) fn validate_pool<'a>(
    pool: &'a PoolView,
    cluster: &ClusterUid,
) -> Result<&'a PoolView, Refusal> {
    let dir = || pool.dir.clone();
    if !pool.exists {
        return Err(PoolRefusal::Missing { dir: dir() }.into());
    }
    match &pool.file {
        PoolFileReading::Absent => Err(PoolRefusal::Unmarked { dir: dir() }.into()),
        PoolFileReading::Unreadable(why) => {
            Err(PoolRefusal::Unreadable { dir: dir(), why: why.clone() }.into())
        }
        PoolFileReading::Read(file) if file.cluster_uid != *cluster => {
            Err(PoolRefusal::Foreign { dir: dir(), cluster: file.cluster_uid.clone() }.into())
        }
        PoolFileReading::Read(_) => Ok(pool),
    }
}

/// The image's tag, whoever's it is.
pub(crate) fn validate_tag(image: &ImageView) -> Result<OurImage<'_>, Refusal> {
    let path = || image.path.clone();
    match &image.tag {
        TagReading::Absent => Err(TagRefusal::Untagged { image: path() }.into()),
        TagReading::Unreadable(why) => {
            Err(TagRefusal::Unreadable { image: path(), why: why.clone() }.into())
        }
        TagReading::Read(tag) => Ok(OurImage { image, tag }),
    }
}

/// Whether it still has the name under which it was begun: a crash came before its making was over.
pub(crate) fn is_unfinished(image: &ImageView, volume: VolumeUuid) -> bool {
    image.path.file_name().is_some_and(|name| name == unfinished_name(volume).as_str())
}

/// The host object, if there is one with a name of its own; refused unless it is this volume's and this cluster's.
pub(crate) fn find_image<'a>(
    view: &'a View,
    volume: VolumeUuid,
    cluster: &ClusterUid,
) -> Result<Option<OurImage<'a>>, Refusal> {
    let found = find_object(&view.volume, volume, cluster)?;
    Ok(found.filter(|ours| !is_unfinished(ours.image, volume)))
}

/// As [`find_image`], and what is left of one that was only begun.
pub(crate) fn find_object<'a>(
    seen: &'a VolumeView,
    volume: VolumeUuid,
    cluster: &ClusterUid,
) -> Result<Option<OurImage<'a>>, Refusal> {
    let image = seen.image.as_ref();
    image.map(|image| validate_ours(image, volume, cluster)).transpose()
}

/// The host object is that volume's (or snapshot's) and this cluster's.
pub(crate) fn validate_ours<'a>(
    image: &'a ImageView,
    volume: VolumeUuid,
    cluster: &ClusterUid,
) -> Result<OurImage<'a>, Refusal> {
    let ours = validate_tag(image)?;
    let path = || image.path.clone();
    if ours.tag.volume != volume {
        let (found, wanted) = (ours.tag.volume, volume);
        return Err(TagRefusal::OtherVolume { image: path(), found, wanted }.into());
    }
    if ours.tag.cluster != *cluster {
        let cluster = ours.tag.cluster.clone();
        return Err(TagRefusal::OtherCluster { image: path(), cluster }.into());
    }
    Ok(ours)
}

/// The image, which must be there.
pub(crate) fn require_image<'a>(
    view: &'a View,
    volume: VolumeUuid,
    cluster: &ClusterUid,
) -> Result<OurImage<'a>, Refusal> {
    validate_pool(&view.pool, cluster)?;
    let found = find_image(view, volume, cluster)?;
    found.ok_or_else(|| TagRefusal::NoImage { volume }.into())
}

impl OurImage<'_> {
    /// Refuses unless the image is in service.
    pub(crate) fn require_ready(&self, verb: &'static str) -> Result<(), Refusal> {
        match &self.tag.state {
            HostState::Ready => Ok(()),
            HostState::Creating | HostState::Retained | HostState::Quarantined { .. } => {
                Err(self.wrong_state(verb))
            }
        }
    }

    /// Refuses a snapshot: it is kept, and only copied and deleted.
    pub(crate) fn require_volume(&self, verb: &'static str) -> Result<(), Refusal> {
        match self.tag.object {
            HostObject::Volume => Ok(()),
            HostObject::Snapshot => {
                Err(TagRefusal::Snapshot { image: self.image.path.clone(), verb }.into())
            }
        }
    }

    /// The refusal for a state that does not allow `verb`.
    pub(crate) fn wrong_state(&self, verb: &'static str) -> Refusal {
        let (image, state) = (self.image.path.clone(), self.tag.state.clone());
        TagRefusal::WrongState { image, state, verb }.into()
    }
}

/// A size a host object may have that takes at least `least`.
pub(crate) fn validate_size(size: Bytes, mode: VolumeMode, least: Bytes) -> Result<(), Refusal> {
    if size < least {
        return Err(RequestRefusal::TooSmall { size, mode, least }.into());
    }
    if !size.is_multiple_of(Bytes::mib(1)) {
        return Err(RequestRefusal::NotAligned { size }.into());
    }
    Ok(())
}

/// There is room for `need` more.
pub(crate) fn validate_room(pool: &PoolView, need: Bytes) -> Result<(), Refusal> {
    if !pool.writable {
        return Err(PoolRefusal::NotWritable { dir: pool.dir.clone() }.into());
    }
    if need > pool.free {
        return Err(PoolRefusal::Full { dir: pool.dir.clone(), free: pool.free, need }.into());
    }
    Ok(())
}

/// What can be done to the bytes at the end.
pub(crate) fn validate_erase(form: &Form, erase: Erase) -> Result<(), Refusal> {
    match (form, erase) {
        (Form::Lv(seen), Erase::Zeros) if is_thin(seen) => Err(RequestRefusal::NotSupported {
            backend: BackendKind::LvmThin,
            what: "volumes that are erased when deleted",
            remedy: "blocks may be shared with snapshots, and zeros would fill the pool; use an lvm pool, or set eraseOnDelete to false",
        }
        .into()),
        (_, Erase::No) | (Form::Image | Form::Lv(_), Erase::Zeros) => Ok(()),
        (Form::Subvolume(_), Erase::Zeros) => Err(RequestRefusal::NotSupported {
            backend: BackendKind::Btrfs,
            what: "volumes that are erased when deleted",
            remedy: "copy-on-write never writes over old bytes; use a file pool, or set eraseOnDelete to false",
        }
        .into()),
    }
}

fn is_thin(seen: &LvSeen) -> bool {
    seen.lv.as_ref().is_some_and(|lv| lv.kind == LvKind::Thin)
}

/// An absolute path.
pub(crate) fn validate_path(path: &Path) -> Result<(), Refusal> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(RequestRefusal::RelativePath { path: path.to_owned() }.into())
    }
}
