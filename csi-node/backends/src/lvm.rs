//! The lvm backends: a volume is a logical volume, in a volume group that is the pool's own. Pure, as all of this crate.
//!
//! ```text
//!   <pool>/t-<volumeUUID>   an empty file, the volume's entry: its xattr is the tag
//!   LV t-<volumeUUID>       the bytes  -->  xfs | ext4 | btrfs  --mount-->  staging path  --bind /data-->  Pod
//!     LVM keeps the tag it was made with                 (or raw block  ------ bind the node ------->  Pod)
//! ```
//! With lvmThin the logical volume is one of the pool's thin pool, which holds what was written, and snapshots and clones share it.
//! The entry is there before the logical volume and goes after it; what it says is what counts.

mod create;
mod grow;
mod stage;
mod thin;
mod thin_copy;
mod thin_pool;

use terrace_device_types::lvm::{GroupView, VolumeKind};
use terrace_device_types::{
    Allocation, Bytes, ClusterUid, FsType, Intent, MountPoint, PoolIntent, PoolRefusal, PoolView,
    Refusal, RequestRefusal, Step, Tool, View, VolumeUuid,
};

use crate::check;
use crate::planner::{self, Creation, Planner, Staging};
use crate::pool::Ground;
use crate::{Backend, BackendKind, copying};

pub use thin::LvmThinBackend;
pub use thin_pool::{is_past_watermark, plan_growth};

/// The programs that both run; lvm runs those of thin pools itself.
const TOOLS: &[Tool] = &[
    Tool::Blkid,
    Tool::Wipefs,
    Tool::MkfsExt4,
    Tool::MkfsXfs,
    Tool::MkfsBtrfs,
    Tool::E2fsck,
    Tool::Resize2fs,
    Tool::Lvm,
];

/// How a volume's logical volume keeps its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All its space from the start.
    Linear,
    /// As much of the thin pool as was written.
    Thin,
}

impl Way {
    const fn allocation(self) -> Allocation {
        match self {
            Self::Linear => Allocation::Reserved,
            Self::Thin => Allocation::Sparse,
        }
    }

    fn kind(self, size: Bytes) -> Result<VolumeKind, Refusal> {
        match self {
            Self::Linear => Ok(VolumeKind::Linear { size }),
            Self::Thin => Ok(VolumeKind::Thin { size, pool: thin_pool::name()? }),
        }
    }

    /// Whether a device that was just made, or a part that was just gained, is read as zeros.
    const fn begins_as_zeros(self) -> bool {
        match self {
            Self::Linear => false,
            Self::Thin => true,
        }
    }

    /// There is room for a logical volume that is larger by that than it was.
    fn validate_room(self, view: &View, need: Bytes) -> Result<(), Refusal> {
        match self {
            Self::Linear => check::validate_room(&view.pool, need),
            Self::Thin => thin_pool::validate_room(&view.pool),
        }
    }
}

/// Logical volumes, one after the other on the devices.
#[derive(Debug, Clone, Copy)]
pub struct LvmBackend;

impl Backend for LvmBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Lvm
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

impl Planner for LvmBackend {
    /// A small ext4 for the entries, in a group of the pool's own.
    const GROUND: Ground = Ground {
        fs: FsType::Ext4,
        prepare: |_| Ok(Vec::new()),
        furnish: |_| Vec::new(),
        group: Some(|_, _| Ok(Vec::new())),
    };

    fn create(&self, wanted: &Creation<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        create::plan_create(Way::Linear, wanted, view)
    }

    fn copy(&self, wanted: &copying::Wanted<'_>, _view: &View) -> Result<Vec<Step>, Refusal> {
        let what = match wanted.object {
            terrace_device_types::HostObject::Snapshot => "snapshots",
            terrace_device_types::HostObject::Volume => "volumes that begin with another's bytes",
        };
        let remedy = "use an lvmThin, btrfs or file pool";
        Err(RequestRefusal::NotSupported { backend: BackendKind::Lvm, what, remedy }.into())
    }

    fn grow(
        &self,
        volume: VolumeUuid,
        cluster: &ClusterUid,
        to: Bytes,
        view: &View,
    ) -> Result<Vec<Step>, Refusal> {
        grow::plan_grow(Way::Linear, volume, cluster, to, view)
    }

    fn stage(&self, wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
        stage::plan_stage(wanted, view)
    }
}

/// The pool's group, of which nothing is missing: LVM would change only what is there.
pub(crate) fn require_group(pool: &PoolView) -> Result<&GroupView, Refusal> {
    let Some(group) = &pool.group else {
        return Err(PoolRefusal::NoGroup { dir: pool.dir.clone() }.into());
    };
    if group.missing > 0 {
        let (group, missing) = (group.name.clone(), group.missing);
        return Err(PoolRefusal::GroupIncomplete { group, missing }.into());
    }
    Ok(group)
}
