//! The file backend: a volume is an image in a pool directory, seen through a loop device. Pure, as all of this crate.
//!
//! ```text
//!   <pool>/t-<volumeUUID>  --loop device-->  xfs | ext4 | btrfs  --mount-->  staging path  --bind /data-->  Pod
//!     tag in an xattr                        (or raw block       ------------ bind the node ------------->  Pod)
//! ```

mod create;
mod format;
mod grow;
mod stage;

use terrace_device_types::{
    Intent, MountPoint, PoolIntent, PoolView, Refusal, RequestRefusal, Step, Tool, View,
};

use crate::{Backend, BackendKind, end, pool, publish, staging};

/// Images behind loop devices.
#[derive(Debug, Clone, Copy)]
pub struct FileBackend;

impl Backend for FileBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::File
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
            Intent::Copy { .. } => {
                let (backend, what) = (BackendKind::File, "copies in this release");
                Err(RequestRefusal::NotSupported { backend, what, remedy: "make a new volume" }
                    .into())
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
            PoolIntent::Make { file, place } => pool::plan_make(file, place, view, mounts),
        }
    }
}
