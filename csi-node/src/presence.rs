//! Is a pool where it was? A directory whose disk is not mounted is an empty directory like any other: what is missing in it is not gone, and nothing may
//! be made in it. Pure but for [`images`], which looks twice.

use std::path::PathBuf;

use terrace_device_types::{ClusterUid, ImageView, PoolFileError, PoolFileReading, PoolUuid};
use terrace_device_types::{PoolFile, PoolView};
use terrace_devices::DeviceError;

use crate::host::Host;
use crate::journal::KnownPool;

/// Why what a pool's directory shows says nothing about the pool.
#[derive(Debug, thiserror::Error)]
pub enum Absence {
    /// No such directory, or not marked.
    #[error("{dir} is not marked as pool {pool} now: is its disk mounted?", dir = dir.display())]
    Unmarked {
        /// Where it was.
        dir: PathBuf,
        /// What it was.
        pool: PoolUuid,
    },
    /// Marked as another one.
    #[error("{dir} is pool {found} now, not {pool}: is the right disk mounted?", dir = dir.display())]
    Other {
        /// Where it was.
        dir: PathBuf,
        /// What it was.
        pool: PoolUuid,
        /// What it is.
        found: PoolUuid,
    },
    /// Marked by another cluster.
    #[error("{dir} belongs to cluster {found}: it is not touched", dir = dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: ClusterUid,
    },
    /// The mark cannot be read.
    #[error("the mark of pool {pool} in {dir} cannot be read", dir = dir.display())]
    Unreadable {
        /// Where it was.
        dir: PathBuf,
        /// What it was.
        pool: PoolUuid,
        /// Why.
        source: PoolFileError,
    },
    /// The directory cannot be looked at.
    #[error("look at the pool")]
    Look(#[from] DeviceError),
}

/// The directory shows the pool itself.
///
/// # Errors
/// [`Absence`].
pub fn validate_there(
    known: &KnownPool,
    view: &PoolView,
    cluster: &ClusterUid,
) -> Result<(), Absence> {
    let (dir, pool) = (known.dir.clone(), known.uuid);
    match &view.file {
        PoolFileReading::Absent => Err(Absence::Unmarked { dir, pool }),
        PoolFileReading::Unreadable(source) => {
            Err(Absence::Unreadable { dir, pool, source: source.clone() })
        }
        PoolFileReading::Read(PoolFile { pool_uuid, cluster_uid, pool: _, backend: _ }) => {
            if cluster_uid != cluster {
                Err(Absence::Foreign { dir, found: cluster_uid.clone() })
            } else if *pool_uuid != pool {
                Err(Absence::Other { dir, pool, found: *pool_uuid })
            } else {
                Ok(())
            }
        }
    }
}

/// The images of a pool that is there.
///
/// # Errors
/// [`Absence`].
pub fn images(
    host: &dyn Host,
    known: &KnownPool,
    cluster: &ClusterUid,
) -> Result<Vec<ImageView>, Absence> {
    validate_there(known, &host.pool(&known.dir)?, cluster)?;
    Ok(host.images(&known.dir)?)
}
