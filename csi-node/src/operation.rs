//! The kinds of operation a node runs: one closed list for queue, journal, metrics, status and fault
//! points. No behaviour lives here but what follows from the kind alone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OpKind {
    /// Makes a pool's folder or filesystem usable, or finds it again.
    PreparePool,
    /// Makes a volume's host object.
    Create,
    /// Makes host objects with the bytes of others: snapshots, restored volumes, clones.
    Copy,
    /// Grows a volume's host object.
    Grow,
    /// Takes a kept host object back into service.
    Adopt,
    /// Keeps a host object whose volume went away without proof.
    Retain,
    /// Destroys a host object, with proof.
    Delete,
    /// Mounts a volume at the kubelet's staging path.
    Stage,
    /// Undoes `Stage`.
    Unstage,
    /// Gives a staged volume to a Pod.
    Publish,
    /// Undoes `Publish`.
    Unpublish,
    /// Grows the filesystem of a staged volume.
    Expand,
}

impl OpKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::PreparePool,
        Self::Create,
        Self::Copy,
        Self::Grow,
        Self::Adopt,
        Self::Retain,
        Self::Delete,
        Self::Stage,
        Self::Unstage,
        Self::Publish,
        Self::Unpublish,
        Self::Expand,
    ];

    /// The word for it in status, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreparePool => "prepare-pool",
            Self::Create => "create",
            Self::Copy => "copy",
            Self::Grow => "grow",
            Self::Adopt => "adopt",
            Self::Retain => "retain",
            Self::Delete => "delete",
            Self::Stage => "stage",
            Self::Unstage => "unstage",
            Self::Publish => "publish",
            Self::Unpublish => "unpublish",
            Self::Expand => "expand",
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
