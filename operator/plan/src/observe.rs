//! From Kubernetes' own objects to the little of them that decisions look at. Pure.

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use terrace_crds::Size;
use terrace_crds::names::{
    CLASS_DIRECT, CONTEXT_ERASE, CONTEXT_LATENCY, CONTEXT_POOL, CONTEXT_VOLUME_UUID, DRIVER,
};
use terrace_crds::volume::{ClaimRef, FsType, Origin, VolumeMode};

use crate::heal::Lost;
use crate::parameters::Erase;
use crate::world::{Claim, Host, HostState, Persistent, PersistentPhase, Reclaim};

/// A Kubernetes Node: reads its name, `spec.unschedulable` and the condition Ready.
#[must_use]
pub fn observe_host(node: &Node) -> Host {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True");
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let state = match (ready, cordoned) {
        (false, _) => HostState::NotReady,
        (true, true) => HostState::Cordoned,
        (true, false) => HostState::Ready,
    };
    Host { name: node.metadata.name.clone().unwrap_or_default(), state }
}

/// A PersistentVolume of our driver; `None` for any other.
#[must_use]
pub fn observe_persistent(pv: &PersistentVolume) -> Option<Persistent> {
    let spec = pv.spec.as_ref()?;
    let csi = spec.csi.as_ref().filter(|csi| csi.driver == DRIVER)?;
    let claim = spec.claim_ref.as_ref().and_then(|claim| {
        Some(ClaimRef { namespace: claim.namespace.clone()?, name: claim.name.clone()? })
    });
    let capacity = spec.capacity.as_ref().and_then(|all| parse_size(all.get("storage")));
    let phase = pv.status.as_ref().and_then(|status| status.phase.as_deref());
    Some(Persistent {
        name: pv.metadata.name.clone()?,
        handle: csi.volume_handle.clone(),
        claim,
        phase: parse_phase(phase.unwrap_or_default()),
        reclaim: match spec.persistent_volume_reclaim_policy.as_deref() {
            Some("Delete") => Reclaim::Delete,
            Some(_) | None => Reclaim::Retain,
        },
        capacity,
        uid: pv.metadata.uid.clone().unwrap_or_default(),
        resource_version: pv.metadata.resource_version.clone().unwrap_or_default(),
    })
}

/// A whole PersistentVolume of our driver whose StorageVolume is gone; `None` for any other.
#[must_use]
pub fn observe_lost(pv: &PersistentVolume) -> Option<Lost> {
    let persistent = observe_persistent(pv)?;
    let spec = pv.spec.as_ref()?;
    let csi = spec.csi.as_ref()?;
    let attribute = |key: &str| csi.volume_attributes.as_ref()?.get(key).cloned();
    let named = csi.fs_type.as_deref();
    Some(Lost {
        persistent,
        leaving: pv.metadata.deletion_timestamp.is_some(),
        uuid: attribute(CONTEXT_VOLUME_UUID),
        origin: match spec.storage_class_name.as_deref() {
            Some(CLASS_DIRECT) => Origin::Direct,
            Some(_) | None => Origin::Csi,
        },
        volume_mode: parse_mode(spec.volume_mode.as_deref()),
        fs_type: FsType::ALL.into_iter().find(|fs| Some(fs.as_str()) == named),
        mount_options: spec.mount_options.clone().unwrap_or_default(),
        pool: attribute(CONTEXT_POOL),
        erase: match attribute(CONTEXT_ERASE).as_deref() {
            Some("true") => Erase::Overwrite,
            Some(_) | None => Erase::Leave,
        },
        // One that cannot be read is as good as none: the bytes matter more.
        latency: attribute(CONTEXT_LATENCY).and_then(|text| text.parse().ok()),
    })
}

fn parse_mode(text: Option<&str>) -> VolumeMode {
    match text {
        Some("Block") => VolumeMode::Block,
        Some(_) | None => VolumeMode::Filesystem,
    }
}

fn parse_phase(text: &str) -> PersistentPhase {
    match text {
        "Available" => PersistentPhase::Available,
        "Bound" => PersistentPhase::Bound,
        "Released" => PersistentPhase::Released,
        "Failed" => PersistentPhase::Failed,
        _ => PersistentPhase::Pending,
    }
}

fn parse_size(quantity: Option<&Quantity>) -> Option<Size> {
    quantity?.0.parse().ok()
}

/// Whose a PersistentVolume is, where it is not that of the StorageVolume of this name.
#[must_use]
pub fn observe_stranger(pv: &PersistentVolume, handle: &str) -> Option<String> {
    let csi = pv.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    match csi {
        Some(csi) if csi.driver == DRIVER && csi.volume_handle == handle => None,
        Some(csi) => Some(format!("{} of driver {}", csi.volume_handle, csi.driver)),
        None => Some("of no CSI driver".to_owned()),
    }
}

/// A PersistentVolumeClaim.
#[must_use]
pub fn observe_claim(claim: &PersistentVolumeClaim) -> Claim {
    let spec = claim.spec.clone().unwrap_or_default();
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let text = |field: Option<String>| field.filter(|text| !text.is_empty());
    Claim {
        uid: claim.metadata.uid.clone().unwrap_or_default(),
        resource_version: claim.metadata.resource_version.clone().unwrap_or_default(),
        class: text(spec.storage_class_name),
        volume: text(spec.volume_name),
        mode: parse_mode(spec.volume_mode.as_deref()),
        access: spec.access_modes.unwrap_or_default(),
        request: parse_size(requests.get("storage")),
        leaving: claim.metadata.deletion_timestamp.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Erase, FsType, HostState, Origin, observe_host, observe_lost, observe_persistent};
    use serde_json::{from_value, json};

    #[test]
    fn a_node_is_ready_unless_it_says_otherwise_or_was_cordoned() {
        let state = |status: &str, cordoned: bool| {
            let node = json!({
                "metadata": {"name": "n"}, "spec": {"unschedulable": cordoned},
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            });
            observe_host(&from_value(node).unwrap()).state
        };
        assert_eq!(state("True", false), HostState::Ready);
        assert_eq!(state("True", true), HostState::Cordoned);
        assert_eq!(state("Unknown", false), HostState::NotReady);
    }

    #[test]
    fn a_lost_volume_is_told_by_its_persistent_volume() {
        let pv = |class: &str, more: serde_json::Value| {
            let mut pv = json!({
                "metadata": {"name": "pv"},
                "spec": {
                    "csi": {
                        "driver": "csi.terrace.storage", "volumeHandle": "h", "fsType": "ext4",
                        "volumeAttributes": {
                            "terrace.storage/volume-uuid": "u", "terrace.storage/erase-on-delete": "true",
                            "terrace.storage/latency-p99": "5ms",
                        },
                    },
                    "storageClassName": class, "mountOptions": ["noatime"],
                },
                "status": {"phase": "Available"},
            });
            pv["metadata"]["deletionTimestamp"] = more;
            observe_lost(&from_value(pv).unwrap()).unwrap()
        };
        let lost = pv("fast", json!(null));
        assert_eq!((lost.uuid.as_deref(), lost.origin), (Some("u"), Origin::Csi));
        assert_eq!((lost.fs_type, lost.erase), (Some(FsType::Ext4), Erase::Overwrite));
        assert_eq!(lost.latency, Some("5ms".parse().unwrap()));
        assert_eq!((lost.mount_options, lost.leaving), (vec!["noatime".into()], false));
        let lost = pv("terrace-direct", json!("2026-11-22T12:00:00Z"));
        assert_eq!((lost.origin, lost.leaving), (Origin::Direct, true));
    }

    #[test]
    fn the_volumes_of_other_drivers_are_not_ours() {
        let of = |driver: &str| {
            let pv = json!({
                "metadata": {"name": "pv"},
                "spec": {"csi": {"driver": driver, "volumeHandle": "h"}, "claimRef": {"namespace": "a", "name": "b"}},
            });
            observe_persistent(&from_value(pv).unwrap())
        };
        assert_eq!(of("csi.terrace.storage").map(|pv| pv.handle), Some("h".into()));
        assert_eq!(of("other"), None);
    }
}
