//! Who is who, from objects as Kubernetes has them.
use serde_json::{Value, json};

use super::*;

fn pod(value: Value) -> PodFacts {
    let pod: Pod = serde_json::from_value(value).expect("a Pod");
    PodFacts::of(&pod).expect("named")
}

fn app(name: &str, claims: Value) -> PodFacts {
    pod(json!({ "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}") },
        "spec": { "containers": [], "volumes": claims } }))
}

fn claimed(claim: &str) -> Value {
    json!({ "name": "v", "persistentVolumeClaim": { "claimName": claim } })
}

fn binding(pv: &str, source: Value) -> Option<Binding> {
    let claim =
        json!({ "metadata": { "uid": "claim-uid" }, "spec": { "storageClassName": "fast" } });
    let mut spec = json!({ "volumeMode": "Filesystem" });
    spec.as_object_mut().expect("a map").extend(source.as_object().expect("a map").clone());
    let volume = json!({ "metadata": { "name": pv }, "spec": spec });
    let claim = serde_json::from_value(claim).expect("a claim");
    Binding::of(&claim, &serde_json::from_value(volume).expect("a volume"))
}

fn csi(pv: &str) -> Binding {
    let source = json!({ "csi": { "driver": "ebs.csi.aws.com", "volumeHandle": "abc" } });
    binding(pv, source).expect("of a CSI driver")
}

fn known(pods: &[PodFacts], bindings: &[(&str, &str, &str)], own: &[(&str, Own)]) -> Known {
    let key = |(pod, claim, pv): &(&str, &str, &str)| {
        ((format!("uid-{pod}"), (*claim).to_owned()), csi(pv))
    };
    let bindings = bindings.iter().map(key).collect();
    let own = own.iter().map(|(pv, own)| ((*pv).to_owned(), own.clone())).collect();
    plan_known(&Facts {
        pods,
        bindings: &bindings,
        own: &own,
        default_target_ns: Some(10),
        devices: &BTreeMap::new(),
        directories: &[],
    })
}

#[test]
fn claims_and_generic_ephemeral_volumes_of_a_pod_are_named() {
    let ephemeral = json!({ "name": "scratch", "ephemeral": {} });
    let other = json!({ "name": "config", "configMap": { "name": "c" } });
    let inline = json!({ "name": "certs", "csi": { "driver": "csi.cert-manager.io" } });
    let facts = app("web-0", json!([claimed("data"), ephemeral, other, inline]));
    assert_eq!(facts.claims, ["data", "web-0-scratch"]);
    let known = known(&[facts], &[], &[]);
    assert_eq!(known.names.inline_volumes.len(), 1);
    assert_eq!(known.names.inline_volumes[0].name, "certs");
}

#[test]
fn a_static_pod_bears_the_name_of_its_folder() {
    let facts = pod(json!({ "metadata": { "name": "etcd-n1", "namespace": "kube-system",
        "uid": "of-the-mirror", "annotations": { MIRROR: "of-the-folder" } } }));
    assert_eq!((facts.folder.as_str(), facts.uid.as_str()), ("of-the-folder", "of-the-mirror"));
}

#[test]
fn two_pods_on_one_claim_are_one_volume_with_two_users() {
    let pods = [app("b", json!([claimed("data")])), app("a", json!([claimed("data")]))];
    let known = known(&pods, &[("a", "data", "pv-1"), ("b", "data", "pv-1")], &[]);
    assert_eq!(known.names.volumes.len(), 1);
    let volume = known.volume("pv-1").expect("known");
    assert_eq!(volume.pod_uids, ["uid-a", "uid-b"]);
    assert_eq!((volume.claim.as_str(), volume.namespace.as_str()), ("data", "shop"));
    assert_eq!((volume.target_p99_ns, &volume.volume), (Some(10), &None), "another driver's");
    let told: Vec<_> = known.references("pv-1").into_iter().map(|about| about.kind).collect();
    let want = ["PersistentVolumeClaim", "Pod", "Pod"].map(|kind| Some(kind.to_owned()));
    assert_eq!(told, want);
    assert_eq!(known.references("pv-1")[0].uid.as_deref(), Some("claim-uid"));
    assert!(known.references("pv-2").is_empty());
}

#[test]
fn the_target_is_the_volumes_own_where_it_names_one() {
    let own = Own { name: "sv-1".into(), target_ns: Some(5) };
    let pods = [app("a", json!([claimed("data")]))];
    let known = known(&pods, &[("a", "data", "pv-1")], &[("pv-1", own)]);
    let volume = known.volume("pv-1").expect("known");
    assert_eq!((volume.target_p99_ns, volume.volume.as_deref()), (Some(5), Some("sv-1")));
}

#[test]
fn the_same_objects_in_another_order_are_no_news() {
    let one = [app("a", json!([claimed("x")])), app("b", json!([claimed("y")]))];
    let two = [one[1].clone(), one[0].clone()];
    let bound = [("a", "x", "pv-2"), ("b", "y", "pv-1")];
    assert_eq!(known(&one, &bound, &[]), known(&two, &bound, &[]));
}

#[test]
fn a_handle_becomes_the_folder_that_the_kubelet_stages_in() {
    let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(csi("pv").handle_sha256, want, "SHA-256 of abc");
    assert_eq!(binding("pv", json!({ "hostPath": { "path": "/x" } })), None, "no CSI driver");
}

#[test]
fn a_storagevolume_is_known_by_the_name_of_its_persistent_volume() {
    let volume = json!({ "metadata": { "name": "sv-1" }, "spec": { "origin": "CSI",
        "csiName": "Odd_Name", "capacity": "1Gi", "pool": "p", "latencyTarget": { "p99": "5ms" } } });
    let volume: StorageVolume = serde_json::from_value(volume).expect("a StorageVolume");
    let own = Own { name: "sv-1".into(), target_ns: Some(5_000_000) };
    assert_eq!(Own::of(&volume), Some(("Odd_Name".into(), own)));
}
