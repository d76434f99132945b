//! A pool directory: what it says about itself (`terrace-pool.json`) and what the host says about it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::lvm::GroupView;
use crate::{BackendKind, Bytes, ClusterUid, DevT, FileId, PoolUuid};

/// The file in a pool directory that says whose pool it is.
pub const POOL_FILE_NAME: &str = "terrace-pool.json";

/// Whose pool it is. Camel-case JSON, one object, no unknown key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolFile {
    /// This pool on this node.
    #[serde(rename = "poolUUID")]
    pub pool_uuid: PoolUuid,
    /// The cluster.
    #[serde(rename = "clusterUID")]
    pub cluster_uid: ClusterUid,
    /// The StoragePool's name, for people.
    pub pool: String,
    /// How it keeps volumes. A file pool's is left out: the release before wrote none.
    #[serde(default, skip_serializing_if = "BackendKind::is_file")]
    pub backend: BackendKind,
}

/// Why a pool file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum PoolFileError {
    /// Not the JSON object it must be.
    #[error("{POOL_FILE_NAME} is not the JSON object it must be: {why}")]
    Malformed {
        /// Where and why.
        why: String,
    },
    /// The file is there and can't be opened or read.
    #[error("{POOL_FILE_NAME} can't be read (errno {errno})")]
    Unreadable {
        /// The error number.
        errno: i32,
    },
}

/// What a look at the pool file gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PoolFileReading {
    /// There is none.
    Absent,
    /// There is one.
    Read(PoolFile),
    /// There is one that can't be read: the directory is left alone.
    Unreadable(PoolFileError),
}

/// A pool directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolView {
    /// The directory.
    pub dir: PathBuf,
    /// Whether it is there and a directory.
    pub exists: bool,
    /// The directory itself, by device and inode.
    pub id: Option<FileId>,
    /// The device number of the filesystem it lies on.
    pub dev_t: Option<DevT>,
    /// The type of that filesystem, as mountinfo names it.
    pub fs: String,
    /// Bytes of that filesystem; of the volume group, where there is one.
    pub total: Bytes,
    /// Bytes an unprivileged writer could still take.
    pub free: Bytes,
    /// Inodes of that filesystem (0: it has no limit).
    pub inodes_total: u64,
    /// Free inodes.
    pub inodes_free: u64,
    /// Whose it is.
    pub file: PoolFileReading,
    /// Whether a file could be created in it just now.
    pub writable: bool,
    /// Whether `trusted.` attributes can be set in it.
    pub xattrs: bool,
    /// Whether FICLONE works in it.
    pub reflink: bool,
    /// Quota groups of the filesystem.
    pub quota: QuotaView,
    /// The volume group that it is, where its volumes are logical volumes.
    pub group: Option<GroupView>,
    /// Names in it other than the pool file and `lost+found`; at most 16, sorted. Looked at only while it is unmarked.
    pub strangers: Vec<String>,
}

/// Quota groups of the filesystem that a pool lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum QuotaView {
    /// It is no btrfs.
    NotBtrfs,
    /// Switched off.
    Off,
    /// Classic quota groups, counted through.
    Classic,
    /// Classic quota groups whose count is under way or out of step.
    Counting,
    /// Classic quota groups, counted through, that the kernel lets get out of step when a large subvolume is removed
    /// (`drop_subtree_threshold`, Linux 6.1).
    Careless,
    /// Simple quotas (since 6.7): they charge who wrote first, so a limit on what is referenced can't be kept.
    Simple,
}
