//! The file backend: a volume is an image in a pool directory, seen through a loop device. Pure, as all of this crate.
//!
//! ```text
//!   <pool>/t-<volumeUUID>  --loop device-->  xfs | ext4 | btrfs  --mount-->  staging path  --bind /data-->  Pod
//!     tag in an xattr                        (or raw block       ------------ bind the node ------------->  Pod)
//! ```

mod copy;
mod create;
mod grow;
mod stage;

use terrace_device_types::{
    Bytes, ClusterUid, FsType, Intent, MountPoint, PoolIntent, PoolView, Refusal, Step, Tool, View,
    VolumeUuid,
};

use crate::planner::{self, Creation, Planner, Staging};
use crate::pool::Ground;
use crate::{Backend, BackendKind, copying};

/// Images behind loop devices.
#[derive(Debug, Clone, Copy)]
pub struct FileBackend;

impl Backend for FileBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::File
    }

    fn device_filesystem(&self) -> FsType {
        Self::GROUND.fs
    }

    fn needs(&self) -> &'static [Tool] {
        &[
            Tool::Blkid,
            Tool::Wipefs,
            Tool::MkfsExt4,
            Tool::MkfsXfs,
            Tool::MkfsBtrfs,
            Tool::E2fsck,
            Tool::Resize2fs,
        ]
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

impl Planner for FileBackend {
    /// Any filesystem that takes our tags; xfs where we may choose.
    const GROUND: Ground = Ground {
        fs: FsType::Xfs,
        prepare: |_| Ok(Vec::new()),
        furnish: |_| Vec::new(),
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
        grow::plan_grow(volume, cluster, to, view)
    }

    fn stage(&self, wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        stage::plan_stage(wanted, view)
    }
}
