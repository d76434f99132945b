//! Who may write a StorageNode.

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{from_value, json};
use terrace_crds::StorageNode;

use super::{dry, refused, staged};

fn node(name: &str) -> Result<StorageNode> {
    let (api, kind) = ("terrace.storage/v1alpha1", "StorageNode");
    Ok(from_value(json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}}))?)
}

#[tokio::test]
async fn a_storagenode_is_written_by_the_agent_of_that_node_and_removed_by_people() -> Result<()> {
    staged(async |actors| {
        let [here, there] = &actors.nodes;
        let [agent, other, nowhere, person]: [Api<StorageNode>; 4] =
            [&actors.here, &actors.there, &actors.nowhere, &actors.person]
                .map(|c| Api::all(c.clone()));
        refused(agent.create(&dry(), &node(there)?).await, "may write only the StorageNode")?;
        refused(nowhere.create(&dry(), &node(here)?).await, "names no node")?;
        refused(person.create(&dry(), &node(here)?).await, "written by the node's agent")?;
        agent.create(&PostParams::default(), &node(here)?).await.context("its own")?;
        let status = Patch::Merge(json!({"status": {"kernel": "6.1"}}));
        let params = PatchParams::default();
        agent.patch_status(here, &params, &status).await.context("its own status")?;
        let done = person.patch_status(here, &params, &status).await;
        refused(done, "written by the node's agent")?;
        let done = other.patch_status(here, &params, &status).await;
        refused(done, "may write only the StorageNode")?;
        person.delete(here, &DeleteParams::default()).await.context("a node that is gone")?;
        Ok(())
    })
    .await
}
