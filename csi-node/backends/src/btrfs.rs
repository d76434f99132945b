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
    Bytes, ClusterUid, Form, FsType, Intent, MountPoint, PoolIntent, PoolRefusal, PoolView,
    QuotaView, Refusal, RequestRefusal, Step, SubvolumeView, Tool, View, VolumeMode, VolumeUuid,
};

use crate::check::OurImage;
use crate::planner::{self, Creation, Planner, Staging};
use crate::pool::Ground;
use crate::{Backend, BackendKind, copying};

/// The least size of a subvolume: no mkfs makes it, so only the step of sizes bounds it.
const LEAST: Bytes = Bytes::mib(1);

/// Subvolumes of a btrfs filesystem.
#[derive(Debug, Clone, Copy)]
pub struct BtrfsBackend;

impl Backend for BtrfsBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Btrfs
    }

    fn device_filesystem(&self) -> FsType {
        Self::GROUND.fs
    }

    fn needs(&self) -> &'static [Tool] {
        &[Tool::Blkid, Tool::Wipefs, Tool::MkfsBtrfs]
    }

    fn plan(&self, intent: &Intent, view: &View) -> Result<Vec<Step>, Refusal> {
        planner::plan(self, intent, view)
    }

    fn plan_pool(
        &self,
        intent: &PoolIntent,
        view: &PoolView,
        mounts: &[MountPoint],
    ) -> Result<Vec<Step>, Refusal> {
        planner::plan_pool::<Self>(intent, view, mounts)
    }
}

impl Planner for BtrfsBackend {
    /// A btrfs with classic quota groups.
    const GROUND: Ground = Ground {
        fs: FsType::Btrfs,
        prepare: plan_quota,
        furnish: |dir| vec![Step::EnableQuota { dir: dir.to_owned() }],
        group: None,
    };

    fn create(&self, wanted: &Creation<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        create::plan_create(wanted, view)
    }

    fn copy(&self, wanted: &copying::Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        copy::plan_copy(wanted, view)
    }

    fn grow(
        &self,
        volume: VolumeUuid,
        cluster: &ClusterUid,
        to: Bytes,
        view: &View,
    ) -> Result<Vec<Step>, Refusal> {
        create::plan_grow(volume, cluster, to, view)
    }

    fn stage(&self, wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        stage::plan_stage(wanted, view)
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
        Form::Subvolume(_) | Form::Image | Form::Lv(_) => None,
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
