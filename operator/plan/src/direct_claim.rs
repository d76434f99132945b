//! The claim of a Direct volume: whether the one that is there may have the volume, and the objects that are
//! made where none is. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PersistentVolumeSpec, VolumeNodeAffinity, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use terrace_crds::names::{
    CLASS_DIRECT, CONTEXT_ERASE, CONTEXT_LATENCY, CONTEXT_POOL, CONTEXT_VOLUME_UUID, DRIVER,
    TOPOLOGY_NODE,
};
use terrace_crds::volume::{Assignment, ClaimRef, VolumeMode};
use terrace_crds::{Size, StorageVolume};

use crate::direct_error::{DirectError, text};
use crate::size::words;
use crate::space::{bytes, bytes_of};
use crate::world::{Claim, ClaimFound, Looked, name_of};

/// Who deletes the PersistentVolume, as external-provisioner and the kubelet's plugins read it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// What a claim asks for where it names no access mode that we would give.
const ONCE: &str = "ReadWriteOnce";
/// The access modes of a volume on the disks of one node. Kubernetes allows no other beside the second.
const OFFERED: [&str; 2] = [ONCE, "ReadWriteOncePod"];

/// A claim that may have the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit<'a> {
    /// It is not there and can be made.
    Make,
    /// It is there.
    There(&'a Claim),
}

/// Whether the claim that the volume names may have it.
pub(crate) fn judge_claim<'a>(
    volume: &StorageVolume,
    claim: &ClaimRef,
    looked: &'a Looked,
) -> Result<Fit<'a>, DirectError> {
    let at = || claim.clone();
    let there = match &looked.claim {
        ClaimFound::NoNamespace => return Err(DirectError::NoNamespace { claim: at() }),
        ClaimFound::Absent => return Ok(Fit::Make),
        ClaimFound::There(there) => there,
    };
    if there.leaving {
        return Err(DirectError::ClaimLeaving { claim: at() });
    }
    if let Some(to) = there.volume.clone().filter(|to| to != name_of(&volume.metadata)) {
        return Err(DirectError::ClaimTaken { claim: at(), to });
    }
    if there.class.as_deref() != Some(CLASS_DIRECT) {
        let class = there.class.clone().unwrap_or_default();
        return Err(DirectError::ClaimClass { claim: at(), class });
    }
    let other = |asks: String, remedy| Err(DirectError::ClaimOther { claim: at(), asks, remedy });
    if there.mode != volume.spec.volume_mode {
        let asks = format!("volumeMode {:?}", there.mode);
        return other(asks, "name another claim in spec.claimRef, or delete it and it is made");
    }
    if let Some(mode) = there.access.iter().find(|mode| !OFFERED.contains(&mode.as_str())) {
        let remedy = "a volume lies on one node and offers ReadWriteOnce and ReadWriteOncePod; name another claim in spec.claimRef";
        return other(mode.clone(), remedy);
    }
    let asks = there.request.as_ref().map_or(0, bytes);
    // A bound claim grows by the resizer, beyond what the volume has yet.
    if there.volume.is_none() && asks > bytes_of(volume) {
        return other(words(asks), "raise spec.capacity to that, or name another claim");
    }
    Ok(Fit::There(there))
}

/// The PersistentVolume, as it is made. Its reclaim policy is Retain until a person says otherwise: what was made
/// by hand goes by hand.
pub(crate) fn persistent(
    volume: &StorageVolume,
    place: &Assignment,
    pool: Option<String>,
    claim: &ClaimRef,
    fit: Fit<'_>,
) -> PersistentVolume {
    let name = name_of(&volume.metadata).to_owned();
    let uuid = volume.spec.volume_uuid.clone();
    // The object may be lost: then it is made again from here.
    let erase = (volume.spec.erase_on_delete == Some(true)).then(|| "true".to_owned());
    let latency = volume.spec.latency_target.as_ref().map(|target| target.p99.to_string());
    let pairs = [
        (CONTEXT_VOLUME_UUID, uuid),
        (CONTEXT_POOL, pool),
        (CONTEXT_ERASE, erase),
        (CONTEXT_LATENCY, latency),
    ];
    let context = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let csi = CSIPersistentVolumeSource {
        driver: DRIVER.to_owned(),
        volume_handle: name.clone(),
        fs_type: volume.spec.fs_type.map(|fs| fs.as_str().to_owned()),
        volume_attributes: Some(context.collect()),
        ..CSIPersistentVolumeSource::default()
    };
    let access = match fit {
        Fit::There(claim) if !claim.access.is_empty() => claim.access.clone(),
        Fit::There(_) | Fit::Make => vec![ONCE.to_owned()],
    };
    let options = volume.spec.mount_options.clone();
    let spec = PersistentVolumeSpec {
        access_modes: Some(access),
        capacity: Some(storage(&Size::from_bytes(bytes_of(volume)))),
        claim_ref: Some(reference(claim)),
        csi: Some(csi),
        mount_options: (!options.is_empty()).then_some(options),
        node_affinity: Some(affinity(&place.node)),
        persistent_volume_reclaim_policy: Some("Retain".to_owned()),
        storage_class_name: Some(CLASS_DIRECT.to_owned()),
        volume_mode: Some(mode(volume.spec.volume_mode).to_owned()),
        ..PersistentVolumeSpec::default()
    };
    let notes = BTreeMap::from([(PROVISIONED_BY.to_owned(), DRIVER.to_owned())]);
    let metadata =
        ObjectMeta { name: Some(name), annotations: Some(notes), ..ObjectMeta::default() };
    PersistentVolume { metadata, spec: Some(spec), status: None }
}

/// The claim, as it is made.
pub(crate) fn claim(volume: &StorageVolume, at: &ClaimRef) -> PersistentVolumeClaim {
    let requests = Some(storage(&volume.spec.capacity));
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(vec![ONCE.to_owned()]),
        resources: Some(VolumeResourceRequirements { requests, limits: None }),
        storage_class_name: Some(CLASS_DIRECT.to_owned()),
        volume_mode: Some(mode(volume.spec.volume_mode).to_owned()),
        volume_name: Some(name_of(&volume.metadata).to_owned()),
        ..PersistentVolumeClaimSpec::default()
    };
    let ClaimRef { namespace, name } = at.clone();
    let metadata =
        ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() };
    PersistentVolumeClaim { metadata, spec: Some(spec), status: None }
}

fn reference(claim: &ClaimRef) -> ObjectReference {
    let ClaimRef { namespace, name } = claim.clone();
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: Some(namespace),
        name: Some(name),
        ..ObjectReference::default()
    }
}

fn affinity(node: &str) -> VolumeNodeAffinity {
    let on = NodeSelectorRequirement {
        key: TOPOLOGY_NODE.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![on]), match_fields: None };
    VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) }
}

fn storage(size: &Size) -> BTreeMap<String, Quantity> {
    BTreeMap::from([("storage".to_owned(), Quantity(size.to_string()))])
}

const fn mode(mode: VolumeMode) -> &'static str {
    match mode {
        VolumeMode::Filesystem => "Filesystem",
        VolumeMode::Block => "Block",
    }
}

/// A sentence's name for a claim.
pub(crate) fn named(claim: Option<&ClaimRef>) -> String {
    claim.map_or_else(|| "its claim".to_owned(), |claim| format!("claim {}", text(claim)))
}

#[cfg(test)]
mod tests {
    use super::{Claim, ClaimFound, ClaimRef, Fit, Looked, claim, judge_claim, persistent};
    use serde_json::{Value, from_value, json, to_value};
    use terrace_crds::StorageVolume;
    use terrace_crds::volume::Assignment;

    fn volume(spec: Value) -> StorageVolume {
        let mut object = json!({
            "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
            "metadata": {"name": "db"}, "status": {"capacity": "100000595968"},
            "spec": {
                "volumeUUID": "u", "origin": "Direct", "capacity": "100G", "tier": "ssd",
                "claimRef": {"namespace": "shop", "name": "data"},
            },
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        from_value(object).unwrap()
    }

    fn at() -> ClaimRef {
        ClaimRef { namespace: "shop".into(), name: "data".into() }
    }

    fn made(volume: &StorageVolume, fit: Fit<'_>) -> Value {
        let place = Assignment { node: "n".into(), pool_uuid: "p".into(), capacity: None };
        to_value(persistent(volume, &place, Some("fast".into()), &at(), fit)).unwrap()
    }

    #[test]
    fn the_persistent_volume_is_for_one_claim_on_one_node_and_kept_when_that_goes() {
        let volume = volume(json!({"fsType": "xfs", "mountOptions": ["noatime"]}));
        let want = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {
                "name": "db", "annotations": {"pv.kubernetes.io/provisioned-by": "csi.terrace.storage"},
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "95368Mi"},
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data",
                },
                "csi": {
                    "driver": "csi.terrace.storage", "volumeHandle": "db", "fsType": "xfs",
                    "volumeAttributes": {"terrace.storage/volume-uuid": "u", "terrace.storage/pool": "fast"},
                },
                "mountOptions": ["noatime"],
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "topology.terrace.storage/node", "operator": "In", "values": ["n"]},
                ]}]}},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "terrace-direct", "volumeMode": "Filesystem",
            },
        });
        assert_eq!(made(&volume, Fit::Make), want);
    }

    #[test]
    fn a_claim_that_is_there_is_given_the_access_it_asks_for() {
        let once = "ReadWriteOncePod".to_owned();
        let claim: Claim = from_value(json!({"access": [once.clone()]})).unwrap();
        let made = made(&volume(json!({"volumeMode": "Block"})), Fit::There(&claim));
        assert_eq!(made["spec"]["accessModes"], json!([once]));
        assert_eq!(made["spec"]["volumeMode"], "Block");
        assert!(made["spec"]["csi"]["fsType"].is_null());
    }

    #[test]
    fn the_claim_asks_for_that_volume_in_the_words_of_its_owner() {
        let made = to_value(claim(&volume(json!({"fsType": "xfs"})), &at())).unwrap();
        assert_eq!(made["metadata"], json!({"namespace": "shop", "name": "data"}));
        let want = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100G"}},
            "storageClassName": "terrace-direct", "volumeMode": "Filesystem", "volumeName": "db",
        });
        assert_eq!(made["spec"], want);
    }

    #[test]
    fn a_claim_that_has_the_volume_may_ask_for_more_of_it() {
        let there = json!({"class": "terrace-direct", "volume": "db", "request": "200G"});
        let claim = ClaimFound::There(from_value(there).unwrap());
        let looked = Looked { uuid: None, claim, stranger: None };
        assert!(matches!(judge_claim(&volume(json!({})), &at(), &looked), Ok(Fit::There(_))));
    }
}
