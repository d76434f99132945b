//! The cluster as last observed: plain values, shared but never changed. Whoever fills it says how fresh it is;
//! nothing here reads anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use terrace_crds::volume::{ClaimRef, VolumeMode};
use terrace_crds::{Size, StorageNode, StoragePool, StorageSnapshot, StorageVolume};

use crate::listed::{Key, Keyed, Listed};
use crate::space::Sums;

/// Everything that a decision may look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Every StorageVolume.
    pub volumes: Listed<StorageVolume>,
    /// Every StorageSnapshot.
    pub snapshots: Listed<StorageSnapshot>,
    /// Every StoragePool.
    pub pools: Listed<StoragePool>,
    /// Every StorageNode.
    pub nodes: Listed<StorageNode>,
    /// Every Kubernetes Node.
    pub hosts: Listed<Host>,
    /// PersistentVolumes of our driver.
    pub persistent: Listed<Persistent>,
    /// What was read past every cache for a Direct volume, by the volume's name.
    pub looked: BTreeMap<String, Looked>,
    /// Kubernetes Nodes of which the API server itself said, past every cache, that they are not there.
    pub gone: BTreeSet<String>,
    /// Sums over these lists, kept while they are the same.
    pub sums: Sums,
}

/// A Kubernetes Node, as far as placement cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Whether it runs Pods now.
    pub state: HostState,
}

/// Whether a Kubernetes Node takes new Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostState {
    /// It does.
    Ready,
    /// Its kubelet is not ready, or not heard of.
    NotReady,
    /// A person closed it for new Pods.
    Cordoned,
}

/// A PersistentVolume of our driver, as far as decisions care.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Persistent {
    /// Its name: the CSI name of the volume.
    pub name: String,
    /// `spec.csi.volumeHandle`: name of the StorageVolume.
    pub handle: String,
    /// The claim it is bound to, or for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimRef>,
    /// Where it stands.
    #[serde(default)]
    pub phase: PersistentPhase,
    /// What becomes of the bytes when its claim goes.
    #[serde(default)]
    pub reclaim: Reclaim,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Size>,
    /// Its UID.
    #[serde(default)]
    pub uid: String,
    /// Its version.
    #[serde(default)]
    pub resource_version: String,
}

/// Where a PersistentVolume stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PersistentPhase {
    /// Not looked at by Kubernetes yet.
    Pending,
    /// Waits for its claim.
    Available,
    /// A claim has it.
    #[default]
    Bound,
    /// Its claim was deleted.
    Released,
    /// Kubernetes could not recycle or delete it.
    Failed,
}

/// What becomes of the bytes when the claim goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reclaim {
    /// They go, by DeleteVolume.
    #[default]
    Delete,
    /// They stay.
    Retain,
}

/// What was read for a Direct volume that is not settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The UUID that a volume of its name has in this cluster.
    #[serde(default)]
    pub uuid: Option<String>,
    /// The claim that it names.
    pub claim: ClaimFound,
    /// Whose the PersistentVolume of its name is, where it is not this volume's.
    #[serde(default)]
    pub stranger: Option<String>,
}

/// What is there under the name of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimFound {
    /// Not even its namespace.
    NoNamespace,
    /// Nothing.
    Absent,
    /// A claim.
    There(Claim),
}

/// A PersistentVolumeClaim, as far as decisions care.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Its UID.
    #[serde(default)]
    pub uid: String,
    /// Its version.
    #[serde(default)]
    pub resource_version: String,
    /// Its class, if it names one.
    #[serde(default)]
    pub class: Option<String>,
    /// The PersistentVolume that it is bound to, or asks for.
    #[serde(default)]
    pub volume: Option<String>,
    /// Filesystem or block.
    #[serde(default)]
    pub mode: VolumeMode,
    /// Access modes.
    #[serde(default)]
    pub access: Vec<String>,
    /// Size asked for.
    #[serde(default)]
    pub request: Option<Size>,
    /// Whether it is being deleted.
    #[serde(default)]
    pub leaving: bool,
}

impl World {
    /// The StorageVolume of this name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&Arc<StorageVolume>> {
        self.volumes.candidates(Key::Name(name)).find(|volume| name_of(&volume.metadata) == name)
    }

    /// The StoragePool of this name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Arc<StoragePool>> {
        self.pools.candidates(Key::Name(name)).find(|pool| name_of(&pool.metadata) == name)
    }

    /// The StorageNode of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<StorageNode>> {
        self.nodes.candidates(Key::Name(name)).find(|node| name_of(&node.metadata) == name)
    }

    /// The Kubernetes Node of this name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Arc<Host>> {
        self.hosts.candidates(Key::Name(name)).find(|host| host.name == name)
    }

    /// The PersistentVolume with this handle.
    #[must_use]
    pub fn persistent_at(&self, handle: &str) -> Option<&Arc<Persistent>> {
        self.persistent.candidates(Key::Handle(handle)).find(|pv| pv.handle == handle)
    }

    /// The PersistentVolume made for this StorageVolume.
    #[must_use]
    pub fn persistent_of(&self, volume: &StorageVolume) -> Option<&Arc<Persistent>> {
        let csi_name = csi_name_of(volume);
        let named = || {
            let mut named = self.persistent.candidates(Key::Name(csi_name));
            named.find(|pv| pv.name == csi_name)
        };
        self.persistent_at(name_of(&volume.metadata)).or_else(named)
    }
}

impl Keyed for StorageVolume {
    fn tell_keys(&self, tell: &mut dyn FnMut(Key<'_>)) {
        tell(Key::Name(name_of(&self.metadata)));
        self.spec.volume_uuid.iter().for_each(|uuid| tell(Key::Bytes(uuid)));
    }
}

impl Keyed for StorageSnapshot {
    fn tell_keys(&self, tell: &mut dyn FnMut(Key<'_>)) {
        tell(Key::Name(name_of(&self.metadata)));
        tell(Key::Bytes(&self.spec.snapshot_uuid));
    }
}

impl Keyed for StoragePool {
    fn tell_keys(&self, tell: &mut dyn FnMut(Key<'_>)) {
        tell(Key::Name(name_of(&self.metadata)));
    }
}

impl Keyed for StorageNode {
    fn tell_keys(&self, tell: &mut dyn FnMut(Key<'_>)) {
        tell(Key::Name(name_of(&self.metadata)));
        let listed = self.status.iter().flat_map(|status| &status.volumes);
        listed.for_each(|host| tell(Key::Bytes(&host.uuid)));
    }
}

impl Keyed for Host {
    fn tell_keys(&self, tell: &mut dyn FnMut(Key<'_>)) {
        tell(Key::Name(&self.name));
    }
}

impl Keyed for Persistent {
    fn tell_keys(&self, tell: &mut dyn FnMut(Key<'_>)) {
        tell(Key::Name(&self.name));
        tell(Key::Handle(&self.handle));
    }
}

/// An object's name; empty only before the API server saw it.
#[must_use]
pub fn name_of(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

/// The name by which the CSI caller knows the volume.
#[must_use]
pub fn csi_name_of(volume: &StorageVolume) -> &str {
    volume.spec.csi_name.as_deref().unwrap_or_else(|| name_of(&volume.metadata))
}
