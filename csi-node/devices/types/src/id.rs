//! Names that can't be mistaken for each other: what a volume, pool, cluster, operation or device is called.
//! May not make one up at random; new identifiers come from outside.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::HostObject;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a UUID.
    #[error("{text:?} is not a UUID ({kind})")]
    NotUuid {
        /// Which identifier was wanted.
        kind: &'static str,
        /// What was given.
        text: String,
    },
    /// Not fit for a file name.
    #[error("{text:?} is not a deletion id: 1 to 63 of a-z, 0-9 and '-', not starting with '-'")]
    NotDeletionId {
        /// What was given.
        text: String,
    },
    /// Empty, too long, or with characters that do not belong there.
    #[error("{text:?} is not a {kind}: 1 to 128 of A-Z, a-z, 0-9, '-' and '_'")]
    NotToken {
        /// Which identifier was wanted.
        kind: &'static str,
        /// What was given.
        text: String,
    },
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| IdError::NotUuid { kind: $kind, text: text.to_owned() })
            }
        }
    };
}

uuid_id!(
    /// One host object (a volume or a snapshot), for ever: UUIDv5 of the cluster UID and the CSI name, so a retry finds the same one.
    VolumeUuid,
    "volume UUID"
);
uuid_id!(
    /// One pool on one node.
    PoolUuid,
    "pool UUID"
);
uuid_id!(
    /// The UUID a filesystem carries in its superblock.
    FsUuid,
    "filesystem UUID"
);

/// The cluster: the UID of its kube-system namespace. Opaque text, compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterUid(String);

/// One operation of the node's queue; it names who began to format.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(String);

/// The boot of the kernel a stage record was written under (`/proc/sys/kernel/random/boot_id`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(String);

/// The id of one stamped deletion; part of the quarantine file name, so it is kept to a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeletionId(String);

macro_rules! token_id {
    ($name:ident, $kind:literal) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if text.is_empty() || text.len() > 128 || !text.chars().all(fits) {
                    return Err(IdError::NotToken { kind: $kind, text: text.to_owned() });
                }
                Ok(Self(text.to_owned()))
            }
        }
    };
}

token_id!(ClusterUid, "cluster UID");
token_id!(OperationId, "operation id");
token_id!(BootId, "boot id");

impl DeletionId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeletionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Uuid> for DeletionId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.as_hyphenated().to_string())
    }
}

impl FromStr for DeletionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 63 || text.starts_with('-') || !text.chars().all(fits) {
            return Err(IdError::NotDeletionId { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl VolumeUuid {
    /// The UUID its filesystem is made with: derived, so that after a crash in mkfs "ours and finished" can be told from
    /// "somebody else's" by looking at the superblock alone.
    #[must_use]
    pub fn filesystem_uuid(self) -> FsUuid {
        FsUuid(Uuid::new_v5(&self.0, b"filesystem"))
    }
}

impl PoolUuid {
    /// The UUID of the filesystem made on a device given to this pool.
    #[must_use]
    pub fn filesystem_uuid(self) -> FsUuid {
        FsUuid(Uuid::new_v5(&self.0, b"pool filesystem"))
    }
}

/// The file name of a volume's image in its pool directory.
#[must_use]
pub fn image_name(object: HostObject, uuid: VolumeUuid) -> String {
    match object {
        HostObject::Volume => format!("t-{uuid}"),
        HostObject::Snapshot => format!("s-{uuid}"),
    }
}

/// The name of a volume's subvolume in the directory that carries its tag.
pub const SUBVOLUME_NAME: &str = "volume";

/// The name a subvolume's directory has before its tag is in place; a crash may leave it, and nothing looks for it but its own making.
#[must_use]
pub fn unfinished_name(uuid: VolumeUuid) -> String {
    format!("{UNFINISHED_PREFIX}{uuid}")
}

/// How the name of what is being made begins.
pub const UNFINISHED_PREFIX: &str = ".n-";

/// The file name an image is renamed to when its deletion is proven.
#[must_use]
pub fn quarantine_name(deletion: &DeletionId) -> String {
    format!("q-{deletion}")
}

/// A block or character device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DevT {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

impl fmt::Display for DevT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Which file it is, whatever it is called: the filesystem's device number and the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// `st_dev`, as the kernel encodes it for user space.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_uuid_is_the_same_every_time_and_differs_by_volume() {
        let one: VolumeUuid = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11".parse().unwrap();
        let two: VolumeUuid = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c12".parse().unwrap();
        assert_eq!(one.filesystem_uuid(), one.filesystem_uuid());
        assert_ne!(one.filesystem_uuid(), two.filesystem_uuid());
        assert_ne!(one.filesystem_uuid(), PoolUuid(one.0).filesystem_uuid());
    }

    #[test]
    fn a_deletion_id_cannot_leave_the_pool_directory() {
        for text in ["", "..", "a/b", "-a", "A", "a b", "é", &"a".repeat(64)] {
            assert!(text.parse::<DeletionId>().is_err(), "{text}");
        }
        let id: DeletionId = "5c1d-9".parse().unwrap();
        assert_eq!(quarantine_name(&id), "q-5c1d-9");
    }
}
