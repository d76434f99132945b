//! Who may write a StorageSnapshot, and end it.

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{from_value, json};
use terrace_crds::snapshot::StorageSnapshot;
use uuid::Uuid;

use super::{OTHER_UUID, POOL_UUID, VOLUME_UUID, dry, refused, staged};

fn snapshot(name: &str, node: &str) -> Result<StorageSnapshot> {
    Ok(from_value(json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageSnapshot", "metadata": {"name": name},
        "spec": {
            "snapshotUUID": OTHER_UUID, "sourceVolume": "pvc", "sourceVolumeUUID": VOLUME_UUID,
            "capacity": "1Gi", "volumeMode": "Block", "assignment": {"node": node, "poolUUID": POOL_UUID},
        },
    }))?)
}

#[tokio::test]
async fn i1_a_snapshot_is_the_operators_and_goes_with_its_stamp_only() -> Result<()> {
    staged(async |actors| {
        let [operator, person, here, there] =
            [&actors.operator, &actors.person, &actors.here, &actors.there]
                .map(|client| Api::<StorageSnapshot>::all(client.clone()));
        let name = format!("admission-{}", Uuid::new_v4().simple());
        let made = snapshot(&name, &actors.nodes[0])?;
        refused(person.create(&dry(), &made).await, "create a VolumeSnapshot")?;
        operator.create(&PostParams::default(), &made).await.context("the operator makes it")?;
        let params = PatchParams::default();
        let stamp = json!({"spec": {"deletion": {
            "snapshotUUID": OTHER_UUID, "id": VOLUME_UUID, "requestedAt": "2026-11-22T10:00:00Z",
        }}});
        let stamped = Patch::Merge(&stamp);
        let by_person = person.patch(&name, &params, &stamped).await;
        let report = Patch::Merge(json!({"status": {"pool": "fast"}}));
        let by_other = there.patch_status(&name, &params, &report).await;
        let by_node = here.patch_status(&name, &params, &report).await;
        let taken = person.delete(&name, &DeleteParams::default()).await;
        let unstamped = operator.delete(&name, &DeleteParams::default()).await;
        operator.patch(&name, &params, &stamped).await.context("stamp as the operator")?;
        operator.delete(&name, &DeleteParams::default()).await.context("with a stamp")?;
        refused(by_person, "it is the CSI controller's")?;
        refused(by_other, "whose spec.assignment.node is")?;
        by_node.context("its own node reports")?;
        refused(taken, "deleting its VolumeSnapshot")?;
        refused(unstamped, "spec.deletion is not set")
    })
    .await
}
