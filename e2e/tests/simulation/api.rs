//! A model API server: objects with versions, finalizers and generations; compare-and-swap; snapshots that can be put
//! back, as an etcd restored from a backup. It knows no rule of Terrace.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use terrace_crds::{StorageNode, StoragePool, StorageVolume};
use terrace_device_types::PvReading;
use terrace_plan::create::Original;
use terrace_plan::effect::ObjectRef;
use terrace_plan::world::{Host, HostState, Persistent, World};

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) mib: u64,
    /// The claim whose bytes it is to begin with.
    pub(crate) of: Option<String>,
}

/// A PersistentVolume with reclaim policy Delete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pv {
    pub(crate) persistent: Persistent,
    pub(crate) released: bool,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Conflict,
    NotFound,
    Exists,
}

/// Everything the server holds. A clone is a backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Api {
    pub(crate) revision: u64,
    pub(crate) volumes: BTreeMap<String, Arc<StorageVolume>>,
    pub(crate) pools: BTreeMap<String, Arc<StoragePool>>,
    pub(crate) nodes: BTreeMap<String, Arc<StorageNode>>,
    pub(crate) claims: BTreeMap<String, Claim>,
    pub(crate) pvs: BTreeMap<String, Pv>,
}

impl Api {
    fn bump(&mut self) -> String {
        self.revision += 1;
        self.revision.to_string()
    }

    pub(crate) fn create(&mut self, mut volume: StorageVolume) -> Result<(), Refused> {
        let name = volume.metadata.name.clone().unwrap_or_default();
        if self.volumes.contains_key(&name) {
            return Err(Refused::Exists);
        }
        let version = self.bump();
        volume.metadata.uid = Some(format!("uid-{version}"));
        volume.metadata.resource_version = Some(version);
        volume.metadata.generation = Some(1);
        self.volumes.insert(name, Arc::new(volume));
        Ok(())
    }

    /// Changes a volume if it is still the one that was seen.
    pub(crate) fn change(
        &mut self,
        at: &ObjectRef,
        change: impl FnOnce(&mut StorageVolume),
    ) -> Result<(), Refused> {
        let there = self.volumes.get(&at.name).ok_or(Refused::NotFound)?;
        if there.metadata.resource_version.as_deref() != Some(&at.resource_version) {
            return Err(Refused::Conflict);
        }
        let mut volume = StorageVolume::clone(there);
        let before = volume.clone();
        change(&mut volume);
        if volume == before {
            return Ok(());
        }
        if volume.spec != before.spec {
            volume.metadata.generation = volume.metadata.generation.map(|n| n + 1);
        }
        volume.metadata.resource_version = Some(self.bump());
        self.put_or_drop(volume);
        Ok(())
    }

    /// Writes a part of the status, whatever the version: server-side apply by the only writer of that part.
    pub(crate) fn report(&mut self, name: &str, change: impl FnOnce(&mut StorageVolume)) {
        if let Some(there) = self.volumes.get(name) {
            let at = ObjectRef::of(&there.metadata);
            // The version is the one just read: this cannot be refused.
            let _ = self.change(&at, change);
        }
    }

    pub(crate) fn delete(&mut self, name: &str, now: Timestamp) -> Result<(), Refused> {
        let there = self.volumes.get(name).ok_or(Refused::NotFound)?;
        let mut volume = StorageVolume::clone(there);
        if volume.metadata.deletion_timestamp.is_none() {
            volume.metadata.deletion_timestamp = Some(Time(now));
            volume.metadata.resource_version = Some(self.bump());
            self.put_or_drop(volume);
        }
        Ok(())
    }

    fn put_or_drop(&mut self, volume: StorageVolume) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        let held = volume.metadata.finalizers.iter().flatten().next().is_some();
        if volume.metadata.deletion_timestamp.is_some() && !held {
            self.volumes.remove(&name);
        } else {
            self.volumes.insert(name, Arc::new(volume));
        }
    }

    pub(crate) fn put_node(&mut self, mut node: StorageNode) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let same = self.nodes.get(&name).is_some_and(|there| there.status == node.status);
        if !same {
            node.metadata.resource_version = Some(self.bump());
            self.nodes.insert(name, Arc::new(node));
        }
    }

    /// MiB of a claim that is to begin with the bytes of this one.
    pub(crate) fn least_of_copy(&self, of: &str) -> Option<u64> {
        let source = self.volumes.get(of)?;
        let original = Original::of_volume(source)?.bytes;
        // An older state may ask for less than the node has.
        let has = source.status.as_ref().and_then(|status| status.capacity.as_ref()?.bytes().ok());
        Some(original.max(has.unwrap_or(0)).div_ceil(1 << 20))
    }

    /// A quorum GET.
    pub(crate) fn read_pv(&self, name: &str) -> PvReading {
        self.pvs.get(name).map_or(PvReading::NotFound, |pv| PvReading::Found {
            phase: if pv.released { "Released" } else { "Bound" }.to_owned(),
            reclaim: "Delete".to_owned(),
        })
    }

    /// What a watcher knows that has seen everything.
    pub(crate) fn world(&self) -> World {
        World {
            volumes: self.volumes.values().cloned().collect(),
            pools: self.pools.values().cloned().collect(),
            nodes: self.nodes.values().cloned().collect(),
            hosts: self
                .nodes
                .keys()
                .map(|name| Host { name: name.clone(), state: HostState::Ready })
                .collect(),
            persistent: self.pvs.values().map(|pv| pv.persistent.clone()).collect(),
            ..World::default()
        }
    }
}
