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

mod file;

use std::fmt;

use terrace_device_types::{Intent, MountPoint, PoolIntent, PoolView, Refusal, Step, Tool, View};

pub use file::FileBackend;

/// The backends there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// An image file behind a loop device.
    File,
}

impl BackendKind {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::File];

    /// The word in StoragePool.spec and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A way to keep volumes.
pub trait Backend: Sync {
    /// Which one it is.
    fn kind(&self) -> BackendKind;

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
pub const BACKENDS: &[&dyn Backend] = &[&FileBackend];

/// The backend of that kind.
#[must_use]
pub fn backend(kind: BackendKind) -> &'static dyn Backend {
    match kind {
        BackendKind::File => &FileBackend,
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
