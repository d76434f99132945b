//! The lvmThin backend: as lvm, on a thin pool. What differs is how much there is room for, that a new block is zeros, and that there are copies.

use terrace_device_types::{
    Bytes, ClusterUid, FsType, Intent, MountPoint, PoolIntent, PoolView, Refusal, Step, Tool, View,
    VolumeMode, VolumeUuid,
};

use super::{TOOLS, Way, create, grow, stage, thin_copy, thin_pool};
use crate::planner::{self, Creation, Planner, Staging};
use crate::pool::Ground;
use crate::{Backend, BackendKind, copying};

/// Logical volumes of a thin pool.
#[derive(Debug, Clone, Copy)]
pub struct LvmThinBackend;

impl Backend for LvmThinBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::LvmThin
    }

    fn device_filesystem(&self) -> FsType {
        Self::GROUND.fs
    }

    fn needs(&self) -> &'static [Tool] {
        TOOLS
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

impl Planner for LvmThinBackend {
    /// As lvm's, with a thin pool.
    const GROUND: Ground =
        Ground { group: Some(thin_pool::plan_thin_pool), ..super::LvmBackend::GROUND };

    fn create(&self, wanted: &Creation<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        create::plan_create(Way::Thin, wanted, view)
    }

    fn copy(&self, wanted: &copying::Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        thin_copy::plan_copy(wanted, view)
    }

    fn grow(
        &self,
        volume: VolumeUuid,
        cluster: &ClusterUid,
        to: Bytes,
        view: &View,
    ) -> Result<Vec<Step>, Refusal> {
        grow::plan_grow(Way::Thin, volume, cluster, to, view)
    }

    /// What is freed in the filesystem goes back to the pool, unless the class says otherwise.
    fn stage(&self, wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        let says = |option: &String| {
            let name = option.split('=').next().unwrap_or(option);
            name == "discard" || name == "nodiscard"
        };
        let mut options = wanted.options.to_vec();
        match wanted.mode {
            VolumeMode::Block => {}
            VolumeMode::Filesystem { .. } if options.iter().any(says) => {}
            VolumeMode::Filesystem { fs: FsType::Btrfs } => options.push("discard=async".into()),
            VolumeMode::Filesystem { fs: FsType::Ext4 | FsType::Xfs } => {
                options.push("discard".into());
            }
        }
        let Staging { volume, cluster, mode, target, options: _, access, operation } = *wanted;
        let wanted =
            Staging { volume, cluster, mode, target, options: &options, access, operation };
        stage::plan_stage(&wanted, view)
    }
}
