//! What backends have in common: which intent is planned by which function. A backend brings only what differs: making, copying, growing and
//! staging. Pure, as all of this crate.

use std::path::Path;

use terrace_device_types::{
    Access, Allocation, Bytes, ClusterUid, HostObject, HostState, Intent, Latch, MountPoint,
    OperationId, PoolFileReading, PoolIntent, PoolRefusal, PoolView, Refusal, StageState, Step,
    Tag, View, VolumeMode, VolumeUuid,
};

use crate::pool::{self, Ground};
use crate::{copying, end, publish, staging, sweep};

/// What is asked of a new volume.
pub(crate) struct Creation<'a> {
    pub(crate) volume: VolumeUuid,
    pub(crate) cluster: &'a ClusterUid,
    pub(crate) name: &'a str,
    pub(crate) size: Bytes,
    pub(crate) mode: VolumeMode,
    pub(crate) allocation: Allocation,
}

impl Creation<'_> {
    /// The tag of a new host object, with the latch that it begins with.
    pub(crate) fn tag(&self, pool: &PoolView, latch: Latch) -> Result<Tag, Refusal> {
        let PoolFileReading::Read(file) = &pool.file else {
            return Err(PoolRefusal::Unmarked { dir: pool.dir.clone() }.into());
        };
        Ok(Tag {
            object: HostObject::Volume,
            volume: self.volume,
            cluster: self.cluster.clone(),
            pool: file.pool_uuid,
            name: self.name.to_owned(),
            mode: self.mode,
            allocation: self.allocation,
            state: HostState::Creating,
            latch,
            stage: StageState::Never,
            source: None,
        })
    }
}

/// What is asked of a stage.
pub(crate) struct Staging<'a> {
    pub(crate) volume: VolumeUuid,
    pub(crate) cluster: &'a ClusterUid,
    pub(crate) mode: VolumeMode,
    pub(crate) target: &'a Path,
    pub(crate) options: &'a [String],
    pub(crate) access: Access,
    pub(crate) operation: &'a OperationId,
}

/// What one backend does its own way.
pub(crate) trait Planner {
    /// What it wants of the filesystem that a pool lies on.
    const GROUND: Ground;

    fn create(&self, wanted: &Creation<'_>, view: &View) -> Result<Vec<Step>, Refusal>;

    fn copy(&self, wanted: &copying::Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal>;

    fn grow(
        &self,
        volume: VolumeUuid,
        cluster: &ClusterUid,
        to: Bytes,
        view: &View,
    ) -> Result<Vec<Step>, Refusal>;

    fn stage(&self, wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal>;
}

/// The steps for `intent`.
pub(crate) fn plan(
    planner: &impl Planner,
    intent: &Intent,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    match intent {
        Intent::Create { volume, cluster, name, size, mode, allocation } => {
            let (volume, size, mode, allocation) = (*volume, *size, *mode, *allocation);
            planner.create(&Creation { volume, cluster, name, size, mode, allocation }, view)
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
            planner.copy(&wanted, view)
        }
        Intent::Grow { volume, cluster, to } => planner.grow(*volume, cluster, *to, view),
        Intent::Stage { volume, cluster, mode, target, options, access, operation } => {
            let (volume, mode, access) = (*volume, *mode, *access);
            let wanted = Staging { volume, cluster, mode, target, options, access, operation };
            planner.stage(&wanted, view)
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
        Intent::Delete { volume, proof, erase } => end::plan_delete(*volume, proof, *erase, view),
        Intent::Sweep { volume, cluster, leftover } => {
            sweep::plan_sweep(*volume, cluster, leftover, view)
        }
        Intent::Retain { volume, cluster } => end::plan_retain(*volume, cluster, view),
        Intent::Adopt { volume, cluster } => end::plan_adopt(*volume, cluster, view),
    }
}

/// The steps that make a pool.
pub(crate) fn plan_pool<P: Planner>(
    intent: &PoolIntent,
    view: &PoolView,
    mounts: &[MountPoint],
) -> Result<Vec<Step>, Refusal> {
    match intent {
        PoolIntent::Make { file, place } => pool::plan_make(P::GROUND, file, place, view, mounts),
    }
}
