//! Where this node's pools lie: what serves the kubelet while the API server is away. Fed by the agent,
//! by the journal at start and, should both be missing, by the pool files below the pool roots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use terrace_device_types::{ClusterUid, PoolFile, PoolFileReading, PoolUuid, VolumeUuid};

use crate::host::Host;
use crate::journal::{self, Journal, KnownPool};

/// The pools of this node by their UUID. Cheap to clone: all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    known: Arc<RwLock<BTreeMap<PoolUuid, KnownPool>>>,
    /// Where each volume was assigned or found last, by name.
    homes: Arc<RwLock<BTreeMap<String, Home>>>,
}

/// Where to look for a volume first: a hint that spares the other pools and images a look, never a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The pool.
    pub pool: PoolUuid,
    /// Its UUID.
    pub volume: VolumeUuid,
}

impl Pools {
    /// Every pool.
    #[must_use]
    pub fn all(&self) -> Vec<KnownPool> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One pool.
    #[must_use]
    pub fn get(&self, uuid: PoolUuid) -> Option<KnownPool> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&uuid).cloned()
    }

    /// Where to look for a volume first.
    #[must_use]
    pub fn home(&self, volume: &str) -> Option<Home> {
        self.homes.read().unwrap_or_else(PoisonError::into_inner).get(volume).copied()
    }

    /// Remembers where a volume was assigned or found.
    pub fn set_home(&self, volume: &str, home: Home) {
        if self.home(volume) != Some(home) {
            let mut homes = self.homes.write().unwrap_or_else(PoisonError::into_inner);
            homes.insert(volume.to_owned(), home);
        }
    }

    /// Forgets a volume that is gone.
    pub fn forget_home(&self, volume: &str) {
        self.homes.write().unwrap_or_else(PoisonError::into_inner).remove(volume);
    }

    /// Takes a pool in; the journal is still to be told.
    pub fn take_in(&self, pool: &KnownPool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(pool.uuid, pool.clone());
    }

    /// Takes a pool in, and into the journal.
    ///
    /// # Errors
    /// If the journal cannot be written; the pool is served all the same.
    pub fn put(&self, pool: KnownPool, journal: &Journal) -> Result<(), journal::Error> {
        self.take_in(&pool);
        journal.put_pool(&pool)
    }

    /// Forgets a pool; its folder stays as it is.
    ///
    /// # Errors
    /// If the journal cannot be written; the pool is no longer served all the same.
    pub fn forget(&self, uuid: PoolUuid, journal: &Journal) -> Result<(), journal::Error> {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&uuid);
        journal.remove_pool(uuid)
    }

    /// Takes in what the journal remembers and what else lies below `roots`; what is remembered is not looked at, its disk may be dead.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn load(
        &self,
        journal: &Journal,
        host: &dyn Host,
        roots: &[PathBuf],
    ) -> Result<(), journal::Error> {
        let remembered = journal.pools()?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut found: BTreeMap<PoolUuid, Vec<KnownPool>> = BTreeMap::new();
        let is_new = |dir: &PathBuf| remembered.iter().all(|pool| pool.dir != *dir);
        for dir in roots.iter().flat_map(|root| children(root)).filter(is_new) {
            if let Some(file) = pool_file(host, &dir) {
                let PoolFile { pool_uuid: uuid, cluster_uid: _, pool: name, backend: _ } = file;
                found.entry(uuid).or_default().push(KnownPool {
                    uuid,
                    name,
                    dir,
                    device: None,
                    devices: Vec::new(),
                });
            }
        }
        for (uuid, mut pools) in found {
            match (pools.pop(), pools.len()) {
                (Some(pool), 0) => drop(known.insert(uuid, pool)),
                // A copy of a pool carries its mark and its images: which one is meant, the StoragePool says (I4).
                (_, more) => {
                    tracing::error!(%uuid, copies = more + 1, "a pool lies in more than one folder: it waits for its StoragePool");
                }
            }
        }
        known.extend(remembered.into_iter().map(|pool| (pool.uuid, pool)));
        Ok(())
    }

    /// The cluster that the pools were made for, if all say the same: who we are while the API server
    /// cannot tell.
    #[must_use]
    pub fn cluster(&self, host: &dyn Host) -> Option<ClusterUid> {
        let files = self.all().into_iter().filter_map(|pool| pool_file(host, &pool.dir));
        let mut uids: Vec<_> = files.map(|file| file.cluster_uid).collect();
        uids.dedup();
        (uids.len() == 1).then(|| uids.pop()).flatten()
    }
}

fn children(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
}

fn pool_file(host: &dyn Host, dir: &Path) -> Option<PoolFile> {
    match host.pool(dir).ok()?.file {
        PoolFileReading::Read(file) => Some(file),
        PoolFileReading::Absent | PoolFileReading::Unreadable(_) => None,
    }
}
