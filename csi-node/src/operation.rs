//! The kinds of operation a node runs: one closed list for queue, journal, metrics, status and fault
//! points. No behaviour lives here but what follows from the kind alone.

mod steps;

use std::fmt;

use serde::{Deserialize, Serialize};

/// One line a kind, so that none is missing from the list.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $word:literal,)*) => {
        /// What an operation does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub enum OpKind {
            $($(#[$doc])* $kind,)*
        }

        impl OpKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The word for it in status, metrics, logs and the names of fault points.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// Makes a pool's folder or filesystem usable, or finds it again.
    PreparePool => "prepare-pool",
    /// Makes a volume's host object.
    Create => "create",
    /// Makes host objects with the bytes of others: snapshots, restored volumes, clones.
    Copy => "copy",
    /// Grows a volume's host object.
    Grow => "grow",
    /// Takes a kept host object back into service.
    Adopt => "adopt",
    /// Keeps a host object whose volume went away without proof.
    Retain => "retain",
    /// Destroys a host object, with proof.
    Delete => "delete",
    /// Removes what an earlier operation left behind.
    Sweep => "sweep",
    /// Mounts a volume at the kubelet's staging path.
    Stage => "stage",
    /// Undoes `Stage`.
    Unstage => "unstage",
    /// Gives a staged volume to a Pod.
    Publish => "publish",
    /// Undoes `Publish`.
    Unpublish => "unpublish",
    /// Grows the filesystem of a staged volume.
    Expand => "expand",
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
