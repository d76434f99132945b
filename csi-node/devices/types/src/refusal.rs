//! Why a plan refuses. Each text names what is wrong and what mends it; [`Refusal::class`] decides what the caller does with it.

use std::path::PathBuf;

use crate::{BackendKind, Bytes, VolumeMode};

mod host;
mod pool;
mod proof;

pub use host::{FormatRefusal, InUse, TagRefusal, UseRefusal};
pub use pool::PoolRefusal;
pub use proof::ProofRefusal;

/// What to do about a refusal or an error; decides requeue, condition reason, gRPC code and metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It may be better in a moment: try again with backoff. (gRPC Unavailable / Aborted)
    Retry,
    /// Something else must change first: a person, another object, the end of a use. (FailedPrecondition)
    Wait,
    /// It was asked wrongly, and asking again is no use. (InvalidArgument)
    Invalid,
    /// There is no room. (ResourceExhausted)
    Exhausted,
    /// Terrace is wrong. (Internal)
    Bug,
}

/// Why a plan refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request.
    #[error(transparent)]
    Request(#[from] RequestRefusal),
    /// The pool.
    #[error(transparent)]
    Pool(#[from] PoolRefusal),
    /// The host object's tag.
    #[error(transparent)]
    Tag(#[from] TagRefusal),
    /// Formatting (I2).
    #[error(transparent)]
    Format(#[from] FormatRefusal),
    /// A use, or a missing one.
    #[error(transparent)]
    Use(#[from] UseRefusal),
    /// The proof of deletion (I1).
    #[error(transparent)]
    Proof(#[from] ProofRefusal),
}

/// The request makes no sense on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// Below the filesystem's minimum.
    #[error("capacity {size} is too small for {mode}: it needs at least {least}")]
    TooSmall {
        /// Asked.
        size: Bytes,
        /// For this.
        mode: VolumeMode,
        /// The minimum.
        least: Bytes,
    },
    /// Not a multiple of 1 MiB.
    #[error("capacity {size} is not a multiple of 1Mi: round it up")]
    NotAligned {
        /// Asked.
        size: Bytes,
    },
    /// The tag says another mode.
    #[error(
        "the volume is {tagged} on the host but was asked for as {asked}: volumeMode and fsType can't change"
    )]
    OtherMode {
        /// What it is.
        tagged: VolumeMode,
        /// What was asked.
        asked: VolumeMode,
    },
    /// A volume can't hold the bytes it is to begin with.
    #[error("capacity {size} is less than its source's {least}: ask for at least that")]
    SmallerThanSource {
        /// Asked.
        size: Bytes,
        /// What the source has.
        least: Bytes,
    },
    /// A mount option Terrace does not pass on.
    #[error("mount option {option:?} is not allowed: remove it from mountOptions")]
    MountOption {
        /// The option.
        option: String,
    },
    /// This backend can't.
    #[error("a {backend} pool can't hold {what}: {remedy}")]
    NotSupported {
        /// The backend.
        backend: BackendKind,
        /// What was asked.
        what: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A path that is not absolute.
    #[error("path {path} is not absolute")]
    RelativePath {
        /// The path.
        path: PathBuf,
    },
}

impl Refusal {
    /// What the caller does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Request(_) => Class::Invalid,
            Self::Pool(why) => why.class(),
            Self::Tag(why) => why.class(),
            Self::Format(why) => why.class(),
            Self::Use(why) => why.class(),
            Self::Proof(why) => why.class(),
        }
    }

    /// A CamelCase word for a condition's reason and a metric's label.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "InvalidRequest",
            Self::Pool(PoolRefusal::Foreign { .. } | PoolRefusal::GroupForeign { .. }) => {
                "PoolForeign"
            }
            Self::Pool(PoolRefusal::Full { .. } | PoolRefusal::ThinFull { .. }) => "PoolFull",
            Self::Pool(PoolRefusal::NotWritable { .. }) => "PoolNotWritable",
            Self::Pool(PoolRefusal::DeviceHoldsData { .. }) => "DeviceHoldsData",
            Self::Pool(PoolRefusal::DeviceInUse { .. }) => "DeviceInUse",
            Self::Pool(_) => "PoolRefused",
            Self::Tag(TagRefusal::NoImage { .. }) => "NotOnNode",
            Self::Tag(_) => "HostObjectRefused",
            Self::Format(_) => "FormatRefused",
            Self::Use(UseRefusal::NotStaged { .. }) => "NotStaged",
            Self::Use(UseRefusal::TargetOccupied { .. }) => "TargetOccupied",
            Self::Use(UseRefusal::StrangeLoop { .. } | UseRefusal::OtherFilesystem { .. }) => {
                "HostObjectRefused"
            }
            Self::Use(_) => "InUse",
            Self::Proof(_) => "ProofMissing",
        }
    }
}
