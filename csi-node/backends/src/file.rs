//! The file backend: a volume is an image in a pool directory, seen through a loop device. Pure, as all of this crate.
//!
//! ```text
//!   <pool>/t-<volumeUUID>  --loop device-->  xfs | ext4 | btrfs  --mount-->  staging path  --bind /data-->  Pod
//!     tag in an xattr                        (or raw block       ------------ bind the node ------------->  Pod)
//! ```

mod copy;
mod create;
mod format;
mod grow;
mod stage;

use terrace_device_types::{
    FsType, Intent, MountPoint, PoolIntent, PoolView, Refusal, Step, Tool, View,
};

use crate::pool::Ground;
use crate::{Backend, BackendKind, copying, end, pool, publish, staging};

/// Images behind loop devices.
#[derive(Debug, Clone, Copy)]
pub struct FileBackend;

/// Any filesystem that takes our tags; xfs where we may choose.
const GROUND: Ground =
    Ground { fs: FsType::Xfs, prepare: |_| Ok(Vec::new()), furnish: |_| Vec::new() };

impl Backend for FileBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::File
    }

    fn device_filesystem(&self) -> FsType {
        GROUND.fs
    }

    fn needs(&self) -> &'static [Tool] {
        &Tool::ALL
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
            Intent::Grow { volume, cluster, to } => grow::plan_grow(*volume, cluster, *to, view),
            Intent::Stage { volume, cluster, mode, target, options, access, operation } => {
                let wanted = stage::Wanted {
                    volume: *volume,
                    cluster,
                    mode: *mode,
                    target,
                    options,
                    access: *access,
                    operation,
                };
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
