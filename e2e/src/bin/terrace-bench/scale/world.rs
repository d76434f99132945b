//! The objects of a large cluster, as their writers write them, and the writing of them. Nothing here waits for anybody.

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::CSINode;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use terrace_crds::names::{DRIVER, FINALIZER_NODE, TOPOLOGY_NODE, manager};
use terrace_crds::{StorageNode, StorageVolume};

/// Calls under way at once.
const AT_ONCE: usize = 64;
/// Pool, class and tier.
pub(super) const POOL: &str = "scale";
/// Namespace of the claims.
pub(super) const NAMESPACE: &str = "bench-scale";
/// Since when everything is as it is.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// A volume, by its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Volume(pub(super) usize);

impl Volume {
    pub(super) fn uuid(self) -> String {
        format!("{:08x}-5ca1-4000-8000-{:012x}", self.0, self.0)
    }

    pub(super) fn name(self) -> String {
        format!("pvc-{}", self.uuid())
    }

    fn claim(self) -> String {
        format!("data-{}", self.0)
    }
}

/// A node, by its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Simulated(pub(super) usize);

impl Simulated {
    pub(super) fn name(self) -> String {
        format!("node-{:04}", self.0)
    }

    pub(super) fn pool_uuid(self) -> String {
        format!("{:08x}-9001-4000-8000-{:012x}", self.0, self.0)
    }
}

/// Does all of it, so many at once.
pub(super) async fn each<I, F>(all: I, make: impl Fn(I::Item) -> F) -> Result<()>
where
    I: IntoIterator,
    F: Future<Output = Result<()>>,
{
    stream::iter(all).map(make).buffer_unordered(AT_ONCE).try_collect().await
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
}

/// Server-side apply of a status by the node's agent.
pub(super) async fn apply_status<K>(api: &Api<K>, name: &str, status: &Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let (version, kind) = (K::api_version(&()), K::kind(&()));
    let body = json!({
        "apiVersion": version, "kind": kind, "metadata": {"name": name}, "status": status,
    });
    let how = PatchParams::apply(manager::NODE).force();
    api.patch_status(name, &how, &Patch::Apply(&body)).await?;
    Ok(())
}

/// A Node, what its kubelet tells of the driver, and its StorageNode.
pub(super) async fn make_node(client: Client, node: Simulated, listed: Vec<Value>) -> Result<()> {
    let name = node.name();
    let labels =
        json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", TOPOLOGY_NODE: name});
    let metadata =
        json!({"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}});
    create(&Api::<Node>::all(client.clone()), json!({"metadata": metadata})).await?;
    let drivers = json!([{"name": DRIVER, "nodeID": name, "topologyKeys": [TOPOLOGY_NODE]}]);
    let told = json!({"metadata": {"name": name}, "spec": {"drivers": drivers}});
    create(&Api::<CSINode>::all(client.clone()), told).await?;
    let nodes = Api::<StorageNode>::all(client);
    let empty = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageNode", "metadata": {"name": name},
    });
    create(&nodes, empty).await?;
    apply_status(&nodes, &name, &node_status(node, &listed)).await
}

/// A StorageNode's status, with the devices and facilities of a common server.
pub(super) fn node_status(node: Simulated, listed: &[Value]) -> Value {
    let devices: Vec<Value> = (0..4)
        .map(|at| {
            json!({
                "id": format!("nvme-SIMULATED_{}_{at}", node.0), "path": format!("/dev/nvme{at}n1"),
                "size": "2Ti", "model": "Simulated 2T", "serial": format!("S{}-{at}", node.0), "rotational": false,
            })
        })
        .collect();
    let facilities: Vec<Value> =
        ["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "ext4", "xfs", "btrfs", "loop"]
            .map(|name| json!({"name": name, "available": true}))
            .to_vec();
    json!({
        "clusterUID": "simulated", "kernel": "6.12.0",
        "counts": {"pools": 1, "volumes": listed.len(), "devices": devices.len()},
        "devices": devices, "facilities": facilities, "volumes": listed,
        "pools": [{
            "name": POOL, "uuid": node.pool_uuid(), "tier": POOL, "backend": "file", "state": "Ready",
            "capacity": "2Ti", "free": "2Ti",
        }],
        "conditions": [condition("Ready", "True", "AsExpected", "4 devices, 1 pool")],
    })
}

/// As the node lists a host object.
pub(super) fn listing(uuid: &str, name: &str, pool_uuid: &str) -> Value {
    json!({
        "uuid": uuid, "name": name, "poolUUID": pool_uuid, "size": "1Gi", "state": "Ready",
        "volumeMode": "Filesystem", "fsType": "xfs",
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": SINCE, "observedGeneration": 1,
    })
}

/// The node's part of a volume's status, once it is made.
pub(super) fn volume_status(uuid: &str) -> Value {
    json!({
        "phase": "Ready", "pool": POOL, "tier": POOL, "backend": "file", "capacity": "1Gi",
        "device": format!("/var/lib/terrace/pools/{POOL}/t-{uuid}"),
        "conditions": [
            condition("Ready", "True", "AsExpected", "made"),
            condition("Healthy", "True", "AsExpected", "nothing speaks against it"),
            condition("Resizing", "False", "AsExpected", "it has the size that was asked for"),
            condition("CapacityPressure", "False", "AsExpected", "not looked at: it is not mounted"),
            condition("LatencyHigh", "Unknown", "NoProbe", "no probe reports on this node"),
        ],
    })
}

/// The StorageVolume that CreateVolume writes; with a place, as the operator adds it.
pub(super) async fn make_volume(
    client: Client,
    volume: Volume,
    on: Option<Simulated>,
) -> Result<()> {
    let (name, uuid) = (volume.name(), volume.uuid());
    let mut spec = json!({
        "origin": "CSI", "volumeUUID": uuid, "capacity": "1Gi", "volumeMode": "Filesystem", "fsType": "xfs",
        "pool": POOL, "claimRef": {"namespace": NAMESPACE, "name": volume.claim()},
    });
    if let Some(node) = on {
        spec["assignment"] = json!({"node": node.name(), "poolUUID": node.pool_uuid()});
    }
    let volumes = Api::<StorageVolume>::all(client);
    let object = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": {"name": name, "finalizers": [FINALIZER_NODE]}, "spec": spec,
    });
    create(&volumes, object).await?;
    let Some(node) = on else { return Ok(()) };
    let mut status = volume_status(&uuid);
    // The operator's part, as it was said long ago.
    status["claim"] = json!(format!("{NAMESPACE}/{}", volume.claim()));
    let found = format!("node {} lists its host object", node.name());
    if let Some(all) = status["conditions"].as_array_mut() {
        all.push(condition("Missing", "False", "Found", &found));
    }
    apply_status(&volumes, &name, &status).await
}

/// A claim and its PersistentVolume, bound to each other.
pub(super) async fn make_bound(client: Client, volume: Volume, node: String) -> Result<()> {
    let (name, claim) = (volume.name(), volume.claim());
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), NAMESPACE);
    let resources = json!({"requests": {"storage": "1Gi"}});
    let notes = json!({
        "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
        "volume.kubernetes.io/storage-provisioner": DRIVER, "volume.kubernetes.io/selected-node": node,
    });
    let object = json!({
        "metadata": {"name": claim, "annotations": notes},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": POOL, "volumeName": name, "resources": resources,
        },
    });
    let uid = create(&claims, object).await?.metadata.uid;
    let reference = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": NAMESPACE, "name": claim, "uid": uid,
    });
    let terms =
        json!([{"matchExpressions": [{"key": TOPOLOGY_NODE, "operator": "In", "values": [node]}]}]);
    let attributes = json!({
        "storage.kubernetes.io/csiProvisionerIdentity": format!("1767225600000-1-{DRIVER}"),
        "terrace.storage/volume-uuid": volume.uuid(), "terrace.storage/pool": POOL,
    });
    let persistent = json!({
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": reference,
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": POOL, "volumeMode": "Filesystem",
            "csi": {"driver": DRIVER, "volumeHandle": name, "fsType": "xfs", "volumeAttributes": attributes},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        },
    });
    let volumes = Api::<PersistentVolume>::all(client);
    create(&volumes, persistent).await?;
    let merge = PatchParams::default();
    let bound = json!({"status": {"phase": "Bound"}});
    volumes.patch_status(&name, &merge, &Patch::Merge(&bound)).await?;
    let bound = json!({"status": {
        "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
    }});
    claims.patch_status(&claim, &merge, &Patch::Merge(&bound)).await?;
    Ok(())
}
