//! Who names a host object.
use uuid::Uuid;

use super::*;

const OURS: VolumeUuid = VolumeUuid(Uuid::from_u128(7));

fn nothing() -> Evidence {
    Evidence {
        cluster: "c".parse().expect("a token"),
        terminating: Vec::new(),
        volumes: Vec::new(),
        snapshots: Vec::new(),
        persistent: Vec::new(),
    }
}

fn claimed(evidence: &Evidence, object: HostObject) -> Option<String> {
    match evidence.reading(object, OURS, "pvc-1") {
        OrphanReading::Unclaimed => None,
        OrphanReading::Claimed { by } => Some(by),
    }
}

#[test]
fn i1_a_volume_is_named_by_its_uuid_its_handle_and_by_who_is_to_adopt_it() {
    assert_eq!(claimed(&nothing(), HostObject::Volume), None);
    let other = VolumeClaim { name: "pvc-2".into(), uuids: vec!["x".into()], copies: None };
    let named = VolumeClaim { name: "pvc-1".into(), ..other.clone() };
    let adopts = VolumeClaim { uuids: vec!["x".into(), OURS.to_string()], ..other.clone() };
    let by = |volume: &VolumeClaim| {
        let volumes = vec![other.clone(), volume.clone()];
        claimed(&Evidence { volumes, ..nothing() }, HostObject::Volume)
    };
    assert_eq!(by(&other), None);
    assert_eq!(by(&named).as_deref(), Some("StorageVolume pvc-1"));
    assert_eq!(by(&adopts).as_deref(), Some("StorageVolume pvc-2"));
}

#[test]
fn i1_a_persistent_volume_alone_is_enough() {
    let by = |handle: &str, uuid: Option<String>| {
        let one = PersistentClaim { name: "pv".into(), handle: handle.into(), uuid };
        claimed(&Evidence { persistent: vec![one], ..nothing() }, HostObject::Volume)
    };
    assert_eq!(by("pvc-2", None), None);
    assert_eq!(by("pvc-1", None).as_deref(), Some("PersistentVolume pv"));
    let loud = OURS.to_string().to_uppercase();
    assert_eq!(by("pvc-2", Some(loud)).as_deref(), Some("PersistentVolume pv"));
}

#[test]
fn i1_a_snapshot_is_named_by_its_object_and_by_a_copy_that_is_not_made_yet() {
    let uuid = OURS.to_string();
    let copy = VolumeClaim { name: "restored".into(), uuids: Vec::new(), copies: Some(uuid) };
    let of = |volumes: Vec<VolumeClaim>, snapshots: Vec<SnapshotClaim>| {
        claimed(&Evidence { volumes, snapshots, ..nothing() }, HostObject::Snapshot)
    };
    let same_name = VolumeClaim { name: "pvc-1".into(), ..VolumeClaim::default() };
    assert_eq!(of(vec![same_name], Vec::new()), None, "a volume of its name is not it");
    let named = SnapshotClaim { name: "pvc-1".into(), uuid: "x".into() };
    assert_eq!(of(Vec::new(), vec![named]).as_deref(), Some("StorageSnapshot pvc-1"));
    let by = of(vec![copy], Vec::new()).expect("claimed");
    assert_eq!(by, "StorageVolume restored, which is still to be copied from it,");
}

#[test]
fn a_persistent_volume_of_another_driver_is_none_of_ours() {
    let pv = |driver: &str| {
        let pv = serde_json::json!({ "metadata": { "name": "pv" }, "spec": { "csi": {
            "driver": driver, "volumeHandle": "pvc-1",
            "volumeAttributes": { "terrace.storage/volume-uuid": "u" } } } });
        persistent_claim(serde_json::from_value(pv).expect("a PersistentVolume"))
    };
    assert_eq!(pv("ebs.csi.aws.com"), None);
    let ours = pv(names::DRIVER).expect("ours");
    assert_eq!((ours.handle.as_str(), ours.uuid.as_deref()), ("pvc-1", Some("u")));
}

#[test]
fn a_copy_needs_its_snapshot_until_it_is_ready() {
    let volume = |status: serde_json::Value| {
        let volume = serde_json::json!({ "metadata": { "name": "restored" }, "spec": {
            "volumeUUID": "u", "adopt": "a", "origin": "CSI", "capacity": "1Gi", "pool": "p",
            "source": { "kind": "Snapshot", "name": "snap", "uuid": "s" } }, "status": status });
        volume_claim(serde_json::from_value(volume).expect("a StorageVolume"))
    };
    let made = serde_json::json!({ "conditions": [{ "type": "Ready", "status": "True",
        "reason": "AsExpected", "message": "", "lastTransitionTime": "2026-11-22T10:00:00Z" }] });
    let waiting = volume(serde_json::json!({}));
    assert_eq!(waiting.copies.as_deref(), Some("s"));
    assert_eq!(waiting.uuids, ["u", "a"]);
    assert_eq!(volume(made).copies, None);
}
