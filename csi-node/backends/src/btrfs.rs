//! The btrfs backend: a volume is a subvolume with a quota group. Pure, as all of this crate.
//!
//! ```text
//!   <pool>/t-<volumeUUID>/          a directory: its xattr is the tag, so that no copy of the subvolume copies it
//!                        /volume    the subvolume, limited on what it references  --bind-->  staging path  --bind /data-->  Pod
//! ```
//! A subvolume has no mkfs: its format latch is `formatted` from the start (I2).

mod copy;
mod create;
mod stage;

use std::path::PathBuf;

use terrace_device_types::{
    Bytes, Form, FsType, Intent, MountPoint, PoolIntent, PoolRefusal, PoolView, QuotaView, Refusal,
    RequestRefusal, Step, SubvolumeView, Tool, View, VolumeMode,
};

use crate::check::OurImage;
use crate::pool::{self, Ground};
use crate::{Backend, BackendKind, copying, end, publish, staging};

/// Subvolumes of a btrfs filesystem.
#[derive(Debug, Clone, Copy)]
pub struct BtrfsBackend;

/// A btrfs with classic quota groups.
const GROUND: Ground = Ground {
    fs: FsType::Btrfs,
    prepare: plan_quota,
    furnish: |dir| vec![Step::EnableQuota { dir: dir.to_owned() }],
};

impl Backend for BtrfsBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Btrfs
    }

    fn device_filesystem(&self) -> FsType {
        GROUND.fs
    }

    fn needs(&self) -> &'static [Tool] {
        &[Tool::Blkid, Tool::Wipefs, Tool::MkfsBtrfs]
    }

    fn plan(&self, intent: &Intent, view: &View) -> Result<Vec<Step>, Refusal> {
        match intent {
            Intent::Create { volume, cluster, name, size, mode, allocation } => {
                let wanted = create::Wanted {
                    volume: *volume,
                    cluster,
                    name,
                    size: *size,
                    mode: *mode,
                    allocation: *allocation,
                };
                create::plan_create(&wanted, view)
            }
            Intent::Copy { object, volume, cluster, name, source, size, mode, allocation } => {
                let wanted = copying::Wanted {
                    object: *object,
                    volume: *volume,
                    cluster,
                    name,
                    source: *source,
                    size: *size,
                    mode: *mode,
                    allocation: *allocation,
                };
                copy::plan_copy(&wanted, view)
            }
            Intent::Grow { volume, cluster, to } => create::plan_grow(*volume, cluster, *to, view),
            Intent::Stage { volume, cluster, mode, target, options, access: _, operation: _ } => {
                let (volume, mode) = (*volume, *mode);
                let wanted = stage::Wanted { volume, cluster, mode, target, options };
                stage::plan_stage(&wanted, view)
            }
            Intent::Unstage { volume, cluster, target } => {
                staging::plan_unstage(*volume, cluster, target, view)
            }
            Intent::Publish { volume, cluster, staging, target, access, sharing } => {
                let wanted = publish::Wanted {
                    volume: *volume,
                    cluster,
                    staging,
                    target,
                    access: *access,
                    sharing: *sharing,
                };
                publish::plan_publish(&wanted, view)
            }
            Intent::Unpublish { target } => publish::plan_unpublish(target, view),
            Intent::Delete { volume, proof, erase } => {
                end::plan_delete(*volume, proof, *erase, view)
            }
            Intent::Purge { erase } => end::plan_purge(*erase, view),
            Intent::Abandon { volume, cluster } => end::plan_abandon(*volume, cluster, view),
            Intent::Retain { volume, cluster } => end::plan_retain(*volume, cluster, view),
            Intent::Adopt { volume, cluster } => end::plan_adopt(*volume, cluster, view),
        }
    }

    fn plan_pool(
        &self,
        intent: &PoolIntent,
        view: &PoolView,
        mounts: &[MountPoint],
    ) -> Result<Vec<Step>, Refusal> {
        match intent {
            PoolIntent::Make { file, place } => pool::plan_make(GROUND, file, place, view, mounts),
        }
    }
}

/// Quota groups that limit what a volume references, switched on where they are off, put in step where they are not.
fn plan_quota(view: &PoolView) -> Result<Vec<Step>, Refusal> {
    let dir = view.dir.clone();
    match view.quota {
        QuotaView::NotBtrfs => Err(PoolRefusal::NotBtrfs { dir, fs: view.fs.clone() }.into()),
        QuotaView::Simple => Err(PoolRefusal::SimpleQuota { dir }.into()),
        QuotaView::Off | QuotaView::Counting | QuotaView::Careless => {
            Ok(vec![Step::EnableQuota { dir }])
        }
        QuotaView::Classic => Ok(Vec::new()),
    }
}

/// Limits can be set, and are kept.
fn validate_quota(view: &PoolView) -> Result<(), Refusal> {
    let dir = view.dir.clone();
    match view.quota {
        QuotaView::NotBtrfs => Err(PoolRefusal::NotBtrfs { dir, fs: view.fs.clone() }.into()),
        QuotaView::Simple => Err(PoolRefusal::SimpleQuota { dir }.into()),
        QuotaView::Off => Err(PoolRefusal::QuotaOff { dir }.into()),
        QuotaView::Classic | QuotaView::Counting | QuotaView::Careless => Ok(()),
    }
}

/// What a subvolume can be: a filesystem, and that one.
fn validate_mode(mode: VolumeMode) -> Result<(), Refusal> {
    let what = match mode {
        VolumeMode::Filesystem { fs: FsType::Btrfs } => return Ok(()),
        VolumeMode::Filesystem { fs: FsType::Xfs } => "xfs",
        VolumeMode::Filesystem { fs: FsType::Ext4 } => "ext4",
        VolumeMode::Block => "raw block volumes",
    };
    let remedy = match mode {
        VolumeMode::Filesystem { fs: _ } => "ask for btrfs, or use a file pool",
        VolumeMode::Block => "use a file pool",
    };
    Err(RequestRefusal::NotSupported { backend: BackendKind::Btrfs, what, remedy }.into())
}

/// The subvolume, where the host object has one.
fn subvolume_of(ours: OurImage<'_>) -> Option<&SubvolumeView> {
    match &ours.image.form {
        Form::Subvolume(subvolume) if subvolume.id.is_some() => Some(subvolume),
        Form::Subvolume(_) | Form::Image => None,
    }
}

/// The limit that is set, or nothing.
fn limit_of(ours: OurImage<'_>) -> Bytes {
    subvolume_of(ours).and_then(|subvolume| subvolume.limit).unwrap_or(Bytes::ZERO)
}

/// Where the subvolume lies.
fn volume_dir(ours: OurImage<'_>) -> PathBuf {
    ours.image.path.join(terrace_device_types::SUBVOLUME_NAME)
}
