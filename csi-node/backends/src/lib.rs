//! terrace-backends: what to do to a host, decided from values alone.
//!
//! A [`Backend`] turns an [`Intent`] and a [`View`] into [`Step`]s or a [`Refusal`]. It may not open a file, run a program, read a clock or draw a
//! random number, so the same view always gives the same plan, and a plan can be shown before it is carried out.
//!
//! # Rules every backend keeps (each has a test in `tests/laws.rs`)
//! 1. Carry a plan out, look again, plan again: nothing is left to do.
//! 2. No step that destroys without a [`DeletionProof`](terrace_device_types::DeletionProof) (I1).
//! 3. mkfs never on what was ever staged, and at most once on what was ever formatted, whatever crashed in between (I2).
//! 4. A plan names host objects by volume UUID and tag only (I4).

mod btrfs;
mod check;
mod copying;
mod end;
mod file;
mod format;
pub mod group;
mod growth;
mod lvm;
mod mounting;
mod object;
mod options;
mod planner;
mod pool;
mod publish;
mod staging;
mod sweep;

pub use terrace_device_types::BackendKind;
use terrace_device_types::{
    FsType, Intent, MountPoint, PoolFileReading, PoolIntent, PoolView, Refusal, Step, Tool, View,
};

pub use btrfs::BtrfsBackend;
pub use file::FileBackend;
pub use lvm::{LvmBackend, LvmThinBackend, is_past_watermark, plan_growth};

/// A way to keep volumes.
pub trait Backend: Sync {
    /// Which one it is.
    fn kind(&self) -> BackendKind;

    /// What a device of a pool's own is formatted with.
    fn device_filesystem(&self) -> FsType;

    /// The programs its steps run.
    fn needs(&self) -> &'static [Tool];

    /// The steps that make `intent` true of what `view` shows; none if it is true already.
    ///
    /// # Errors
    /// A [`Refusal`] that says what stands in the way.
    fn plan(&self, intent: &Intent, view: &View) -> Result<Vec<Step>, Refusal>;

    /// The steps that make a pool; none if it is one. A new device or directory may take two looks: observe and plan again until nothing is left.
    ///
    /// # Errors
    /// A [`Refusal`] that says what stands in the way.
    fn plan_pool(
        &self,
        intent: &PoolIntent,
        view: &PoolView,
        mounts: &[MountPoint],
    ) -> Result<Vec<Step>, Refusal>;
}

/// Every backend; the only list.
pub const BACKENDS: &[&dyn Backend] = &[&FileBackend, &BtrfsBackend, &LvmBackend, &LvmThinBackend];

/// The backend of that kind.
#[must_use]
pub fn backend(kind: BackendKind) -> &'static dyn Backend {
    match kind {
        BackendKind::File => &FileBackend,
        BackendKind::Btrfs => &BtrfsBackend,
        BackendKind::Lvm => &LvmBackend,
        BackendKind::LvmThin => &LvmThinBackend,
    }
}

/// The backend that a pool says it is of; one that can't be read is refused by any.
#[must_use]
pub fn backend_of(pool: &PoolView) -> &'static dyn Backend {
    match &pool.file {
        PoolFileReading::Read(file) => backend(file.backend),
        PoolFileReading::Absent | PoolFileReading::Unreadable(_) => backend(BackendKind::File),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once() {
        let listed: Vec<_> = BACKENDS.iter().map(|backend| backend.kind()).collect();
        assert_eq!(listed, BackendKind::ALL);
        for kind in BackendKind::ALL {
            assert_eq!(backend(kind).kind(), kind);
        }
    }
}
