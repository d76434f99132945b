//! What the API server itself says of everything that can name a host object: quorum reads (no resourceVersion is
//! given, so no cache answers), all or nothing. What follows from them is decided by who asked.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::core::ClusterResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use terrace_crds::volume::SourceKind;
use terrace_crds::{ConditionType, StorageSnapshot, StorageVolume, condition, names};
use terrace_device_types::{ClusterUid, HostObject, OrphanReading, VolumeUuid};

use super::api::{ApiServer, Error, ask};

/// Objects asked for at once.
const PAGE: u32 = 500;
/// The kinds whose end would take every object that names a host object with it.
const KINDS: [&str; 2] = ["storagevolumes.terrace.storage", "storagesnapshots.terrace.storage"];

/// Everything that can name a host object, read at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// UID of the namespace kube-system.
    pub cluster: ClusterUid,
    /// Kinds that are being deleted.
    pub terminating: Vec<String>,
    /// Every StorageVolume, of whatever node.
    pub volumes: Vec<VolumeClaim>,
    /// Every StorageSnapshot, of whatever node.
    pub snapshots: Vec<SnapshotClaim>,
    /// Every PersistentVolume of ours.
    pub persistent: Vec<PersistentClaim>,
}

/// What a StorageVolume names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeClaim {
    /// Its name: the CSI handle.
    pub name: String,
    /// Its bytes: those it has, and those it is to take into service.
    pub uuids: Vec<String>,
    /// The snapshot that its bytes are still to be copied from.
    pub copies: Option<String>,
}

/// What a StorageSnapshot names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotClaim {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub uuid: String,
}

/// What a PersistentVolume names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistentClaim {
    /// Its name.
    pub name: String,
    /// The StorageVolume's name.
    pub handle: String,
    /// Its bytes.
    pub uuid: Option<String>,
}

impl Evidence {
    /// Whether anything names this host object, by its UUID or by the name it was made for.
    #[must_use]
    pub fn reading(&self, object: HostObject, uuid: VolumeUuid, name: &str) -> OrphanReading {
        let Self { cluster: _, terminating: _, volumes, snapshots, persistent } = self;
        let uuid = uuid.to_string();
        let same = |text: &String| text.eq_ignore_ascii_case(&uuid);
        let is_volume = object == HostObject::Volume;
        let volume = volumes.iter().find(|volume| {
            volume.uuids.iter().any(same)
                || volume.copies.as_ref().is_some_and(same)
                || (is_volume && volume.name == name)
        });
        let snapshot = snapshots
            .iter()
            .find(|snapshot| same(&snapshot.uuid) || (!is_volume && snapshot.name == name));
        let persistent = persistent.iter().find(|persistent| {
            persistent.uuid.as_ref().is_some_and(same) || (is_volume && persistent.handle == name)
        });
        let by = match (volume, snapshot, persistent) {
            (Some(volume), _, _) if volume.copies.as_ref().is_some_and(same) => {
                format!("StorageVolume {}, which is still to be copied from it,", volume.name)
            }
            (Some(volume), _, _) => format!("StorageVolume {}", volume.name),
            (None, Some(snapshot), _) => format!("StorageSnapshot {}", snapshot.name),
            (None, None, Some(persistent)) => format!("PersistentVolume {}", persistent.name),
            (None, None, None) => return OrphanReading::Unclaimed,
        };
        OrphanReading::Claimed { by }
    }
}

impl ApiServer {
    /// Reads it all. The kinds come last: had one been on its way out during the lists, it still is.
    ///
    /// # Errors
    /// [`Error`]: what was read before it proves nothing.
    pub async fn evidence(&self) -> Result<Evidence, Error> {
        let volumes = self.list_all("storage volumes", volume_claim).await?;
        let snapshots = self.list_all("storage snapshots", snapshot_claim).await?;
        let persistent = self.list_all("persistent volumes", persistent_claim).await?;
        let persistent = persistent.into_iter().flatten().collect();
        let mut terminating = Vec::new();
        for kind in KINDS {
            let kinds: Api<CustomResourceDefinition> = Api::all(self.client());
            let found = ask("read kind", kind, kinds.get_metadata(kind)).await?;
            if found.metadata.deletion_timestamp.is_some() {
                terminating.push(kind.to_owned());
            }
        }
        let cluster = self.cluster().await?;
        Ok(Evidence { cluster, terminating, volumes, snapshots, persistent })
    }

    /// Every object of a kind, page by page, each cut down to what is asked of it.
    async fn list_all<K, T>(&self, what: &str, take: fn(K) -> T) -> Result<Vec<T>, Error>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let objects: Api<K> = Api::all(self.client());
        let (mut all, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let listed = ask("list", what, objects.list(&page)).await?;
            all.extend(listed.items.into_iter().map(take));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
                None => return Ok(all),
            }
        }
    }
}

fn volume_claim(volume: StorageVolume) -> VolumeClaim {
    let name = volume.name_any();
    let status = volume.status.unwrap_or_default();
    let is_ready = condition::is_true(&status.conditions, ConditionType::Ready);
    let source = volume.spec.source.filter(|source| source.kind == SourceKind::Snapshot);
    VolumeClaim {
        name,
        uuids: volume.spec.volume_uuid.into_iter().chain(volume.spec.adopt).collect(),
        copies: source.filter(|_| !is_ready).map(|source| source.uuid),
    }
}

fn snapshot_claim(snapshot: StorageSnapshot) -> SnapshotClaim {
    SnapshotClaim { name: snapshot.name_any(), uuid: snapshot.spec.snapshot_uuid }
}

fn persistent_claim(volume: PersistentVolume) -> Option<PersistentClaim> {
    let name = volume.name_any();
    let csi = volume.spec?.csi.filter(|csi| csi.driver == names::DRIVER)?;
    let uuid = csi.volume_attributes.and_then(|mut all| all.remove(names::CONTEXT_VOLUME_UUID));
    Some(PersistentClaim { name, handle: csi.volume_handle, uuid })
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
