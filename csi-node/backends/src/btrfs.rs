//! The btrfs backend: a volume is a subvolume with a quota group. Pure, as all of this crate.

use terrace_device_types::{
    BackendKind, Intent, MountPoint, PoolIntent, PoolView, Refusal, RequestRefusal, Step, Tool,
    View,
};

use crate::Backend;

/// Subvolumes of a btrfs filesystem.
#[derive(Debug, Clone, Copy)]
pub struct BtrfsBackend;

impl Backend for BtrfsBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Btrfs
    }

    fn needs(&self) -> &'static [Tool] {
        &[Tool::Blkid, Tool::Wipefs, Tool::MkfsBtrfs]
    }

    fn plan(&self, _: &Intent, _: &View) -> Result<Vec<Step>, Refusal> {
        Err(not_yet())
    }

    fn plan_pool(
        &self,
        _: &PoolIntent,
        _: &PoolView,
        _: &[MountPoint],
    ) -> Result<Vec<Step>, Refusal> {
        Err(not_yet())
    }
}

fn not_yet() -> Refusal {
    let (backend, what) = (BackendKind::Btrfs, "volumes in this release");
    RequestRefusal::NotSupported { backend, what, remedy: "use a file pool" }.into()
}
