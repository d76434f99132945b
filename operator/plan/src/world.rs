//! The cluster as last observed: plain values, shared but never changed. Whoever fills it says how fresh it is;
//! nothing here reads anything.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use terrace_crds::volume::ClaimRef;
use terrace_crds::{StorageNode, StoragePool, StorageVolume};

/// Everything that a decision may look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Every StorageVolume.
    pub volumes: Vec<Arc<StorageVolume>>,
    /// Every StoragePool.
    pub pools: Vec<Arc<StoragePool>>,
    /// Every StorageNode.
    pub nodes: Vec<Arc<StorageNode>>,
    /// Every Kubernetes Node.
    pub hosts: Vec<Host>,
    /// PersistentVolumes of our driver.
    pub persistent: Vec<Persistent>,
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
    /// The claim it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimRef>,
}

impl World {
    /// The StoragePool of this name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Arc<StoragePool>> {
        self.pools.iter().find(|pool| pool.metadata.name.as_deref() == Some(name))
    }

    /// The StorageNode of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<StorageNode>> {
        self.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name))
    }

    /// The PersistentVolume made for this StorageVolume.
    #[must_use]
    pub fn persistent_of(&self, volume: &StorageVolume) -> Option<&Persistent> {
        let name = name_of(&volume.metadata);
        let csi_name = csi_name_of(volume);
        self.persistent.iter().find(|pv| pv.handle == name || pv.name == csi_name)
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
