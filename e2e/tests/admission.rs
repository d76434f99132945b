//! The chart's admission policies before the real API server: each writer may write its own fields and nobody
//! else's, and whoever is refused is told what to do instead. The writers act with real tokens of Terrace's
//! service accounts, bound to Pods on nodes that do not exist, so that no agent takes the volumes for real.

#[path = "admission/nodes.rs"]
mod nodes;
#[path = "admission/snapshots.rs"]
mod snapshots;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, from_value, json};
use terrace_crds::{StoragePool, StorageVolume};
use terrace_e2e::rig;
use uuid::Uuid;

const NAMESPACE: &str = "terrace-system";
const VOLUME_UUID: &str = "11111111-1111-4111-8111-111111111111";
const POOL_UUID: &str = "22222222-2222-4222-8222-222222222222";
const OTHER_UUID: &str = "33333333-3333-4333-8333-333333333333";
const POLICIES: [&str; 7] = [
    "terrace-volume-delete",
    "terrace-volume-spec",
    "terrace-snapshot",
    "terrace-snapshot-delete",
    "terrace-node-volumes",
    "terrace-storagenode",
    "terrace-status",
];

/// Everybody who writes.
struct Actors {
    /// A cluster admin.
    person: Client,
    operator: Client,
    /// Agents of two nodes.
    here: Client,
    there: Client,
    /// An agent's token that no Pod was given.
    nowhere: Client,
    /// Names of the two nodes.
    nodes: [String; 2],
}

impl Actors {
    async fn enter() -> Result<Self> {
        let person = rig::client().await?;
        let nodes =
            ["here", "there"].map(|name| format!("admission-{name}-{}", Uuid::new_v4().simple()));
        let [here, there] = &nodes;
        Ok(Self {
            operator: acting(&person, "terrace-operator", None).await?,
            here: acting(&person, "terrace-node", Some(here)).await?,
            there: acting(&person, "terrace-node", Some(there)).await?,
            nowhere: acting(&person, "terrace-node", None).await?,
            person,
            nodes,
        })
    }

    /// Runs `play` on a volume that lies on the first node, and takes the volume away whatever came of it.
    async fn with_volume(&self, play: impl AsyncFnOnce(&str) -> Result<()>) -> Result<()> {
        let name = format!("admission-{}", Uuid::new_v4().simple());
        let api: Api<StorageVolume> = Api::all(self.operator.clone());
        let [here, _] = &self.nodes;
        api.create(&PostParams::default(), &volume(&name, "CSI", Some(here))?).await?;
        let played = play(&name).await;
        let stamped = change(&api, &name, stamp()).await;
        let deleted = api.delete(&name, &DeleteParams::default()).await;
        played?;
        stamped.context("stamp as the operator")?;
        deleted.context("delete as the operator, with a stamp")?;
        Ok(())
    }

    fn volumes(client: &Client) -> Api<StorageVolume> {
        Api::all(client.clone())
    }
}

/// Lets the actors play, and takes their Pods away whatever came of it.
async fn staged(play: impl AsyncFnOnce(&Actors) -> Result<()>) -> Result<()> {
    let actors = Actors::enter().await?;
    let played = play(&actors).await;
    let pods: Api<Pod> = Api::namespaced(actors.person.clone(), NAMESPACE);
    for node in &actors.nodes {
        pods.delete(node, &DeleteParams::default().grace_period(0)).await?;
    }
    played
}

/// A client with a token of the service account; bound to a Pod on that node, if one is named.
async fn acting(admin: &Client, account: &str, node: Option<&str>) -> Result<Client> {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(admin.clone(), NAMESPACE);
    let mut spec = json!({"audiences": [], "expirationSeconds": 600});
    if let Some(node) = node {
        let pod = from_value(json!({
            "metadata": {"name": node},
            "spec": {
                "serviceAccountName": account, "nodeName": node, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "none", "image": "localhost/pause:1"}],
            },
        }))?;
        let pod =
            pods.create(&PostParams::default(), &pod).await.context("is the chart installed?")?;
        spec["boundObjectRef"] = json!({
            "kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.metadata.uid,
        });
    }
    let ask: TokenRequest = from_value(json!({"metadata": {}, "spec": spec}))?;
    let given = accounts.create_token_request(account, &PostParams::default(), &ask).await?;
    let token = given.status.context("a token")?.token;
    let file = Kubeconfig::read_from(rig::kubeconfig()?)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.auth_info = from_value(json!({"token": token}))?;
    Ok(Client::try_from(config)?)
}

fn volume(name: &str, origin: &str, node: Option<&str>) -> Result<StorageVolume> {
    let mut volume = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume", "metadata": {"name": name},
        "spec": {
            "volumeUUID": VOLUME_UUID, "origin": origin, "capacity": "1Gi",
            "volumeMode": "Block", "pool": "admission", "claimRef": {"namespace": "apps", "name": "data"},
        },
    });
    if let Some(node) = node {
        volume["spec"]["assignment"] = json!({"node": node, "poolUUID": POOL_UUID});
    }
    if origin == "Direct" {
        volume["spec"]["volumeUUID"] = Value::Null;
    }
    Ok(from_value(volume)?)
}

fn stamp() -> Value {
    let at = "2026-01-01T00:00:00Z";
    json!({"spec": {"deletion": {"volumeUUID": VOLUME_UUID, "id": OTHER_UUID, "requestedAt": at}}})
}

async fn change(api: &Api<StorageVolume>, name: &str, patch: Value) -> kube::Result<StorageVolume> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

async fn report(api: &Api<StorageVolume>, name: &str) -> kube::Result<StorageVolume> {
    let patch = Patch::Merge(json!({"status": {"phase": "Ready"}}));
    api.patch_status(name, &PatchParams::default(), &patch).await
}

/// Refused by an admission policy, with this in its sentence.
fn refused<T>(done: kube::Result<T>, sentence: &str) -> Result<()> {
    let Err(kube::Error::Api(status)) = done else {
        anyhow::bail!("was let through or lost, where it should say: {sentence}")
    };
    ensure!(status.code == 403, "{}: {}", status.code, status.message);
    ensure!(status.message.contains("ValidatingAdmissionPolicy"), "{}", status.message);
    ensure!(status.message.contains(sentence), "{}\nlacks: {sentence}", status.message);
    Ok(())
}

fn dry() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

#[tokio::test]
async fn every_policy_is_sound_bound_and_denies() -> Result<()> {
    let client = rig::client().await?;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client);
    for name in POLICIES {
        let policy = policies.get(name).await.context("is the chart installed?")?;
        let spec = policy.spec.context("a spec")?;
        ensure!(spec.failure_policy.as_deref() == Some("Fail"), "{name}");
        let warnings = policy
            .status
            .and_then(|status| status.type_checking)
            .and_then(|t| t.expression_warnings);
        ensure!(warnings.is_none_or(|warnings| warnings.is_empty()), "{name} does not type-check");
        let actions = bindings.get(name).await?.spec.validation_actions;
        ensure!(actions == ["Deny"], "{name} is not enforced");
    }
    Ok(())
}

#[tokio::test]
async fn i1_a_person_cannot_delete_a_volume_and_is_sent_to_its_claim() -> Result<()> {
    staged(async |actors| {
        let person = Actors::volumes(&actors.person);
        actors
            .with_volume(async |name| {
                let says = "kubectl delete pvc -n apps data";
                refused(person.delete(name, &DeleteParams::default()).await, says)?;
                refused(person.delete(name, &DeleteParams::default().grace_period(0)).await, says)?;
                let this = ListParams::default().fields(&format!("metadata.name={name}"));
                refused(person.delete_collection(&DeleteParams::default(), &this).await, says)
            })
            .await
    })
    .await
}

#[tokio::test]
async fn i1_the_operator_cannot_delete_an_assigned_volume_before_its_stamp() -> Result<()> {
    staged(async |actors| {
        let operator = Actors::volumes(&actors.operator);
        // That it can with the stamp is how every test here ends.
        actors
            .with_volume(async |name| {
                let done = operator.delete(name, &DeleteParams::default()).await;
                refused(done, "spec.deletion is not set")
            })
            .await
    })
    .await
}

#[tokio::test]
async fn only_the_operator_makes_assigns_changes_and_stamps_volumes_of_origin_csi() -> Result<()> {
    staged(async |actors| {
        let person = Actors::volumes(&actors.person);
        let made = person.create(&dry(), &volume("admission-csi", "CSI", None)?).await;
        refused(made, "create a PersistentVolumeClaim")?;
        let made = person.create(&dry(), &volume("admission-direct", "Direct", Some("n"))?).await;
        refused(made, "spec.assignment is written by the operator only")?;
        actors
            .with_volume(async |name| {
                let moved = json!({"spec": {"assignment": {"poolUUID": OTHER_UUID}}});
                let says = "spec.assignment is written by the operator only";
                refused(change(&person, name, moved).await, says)?;
                let says = "spec.deletion is written by the CSI controller only";
                refused(change(&person, name, stamp()).await, says)?;
                let larger = json!({"spec": {"capacity": "2Gi"}});
                refused(change(&person, name, larger).await, "grow it there")?;
                let note = json!({"metadata": {"annotations": {"note": "mine"}}});
                change(&person, name, note).await.context("a person may annotate")?;
                Ok(())
            })
            .await
    })
    .await
}

#[tokio::test]
async fn a_person_may_make_a_direct_volume_and_take_it_back_while_it_lies_nowhere() -> Result<()> {
    let person = Actors::volumes(&rig::client().await?);
    let name = format!("admission-{}", Uuid::new_v4().simple());
    person.create(&PostParams::default(), &volume(&name, "Direct", None)?).await?;
    person.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn a_person_may_not_give_a_direct_volume_its_identity() -> Result<()> {
    let person = Actors::volumes(&rig::client().await?);
    let mut own = volume("admission-direct", "Direct", None)?;
    own.spec.volume_uuid = Some(VOLUME_UUID.to_owned());
    let says = "spec.volumeUUID is written by the operator only";
    refused(person.create(&dry(), &own).await, says)?;
    let name = format!("admission-{}", Uuid::new_v4().simple());
    // For a claim in a namespace that is not there: the operator refuses it before it has an identity.
    person.create(&PostParams::default(), &volume(&name, "Direct", None)?).await?;
    let other = json!({"spec": {"volumeUUID": OTHER_UUID}});
    let changed = change(&person, &name, other).await;
    person.delete(&name, &DeleteParams::default()).await?;
    ensure!(changed.is_err(), "a person gave it an identity");
    Ok(())
}

#[tokio::test]
async fn a_person_may_forget_a_volume_that_no_persistent_volume_knows() -> Result<()> {
    staged(async |actors| {
        let [person, operator] = [&actors.person, &actors.operator].map(Actors::volumes);
        let name = format!("admission-{}", Uuid::new_v4().simple());
        let here = Some(actors.nodes[0].as_str());
        operator.create(&PostParams::default(), &volume(&name, "CSI", here)?).await?;
        let says = |reason: &str| {
            json!({"status": {"conditions": [{
                "type": "Bound", "status": "False", "reason": reason, "message": "kept",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]}})
        };
        let params = PatchParams::default();
        operator.patch_status(&name, &params, &Patch::Merge(says("Released"))).await?;
        let released = person.delete(&name, &dry_deletion()).await;
        operator.patch_status(&name, &params, &Patch::Merge(says("Retained"))).await?;
        let retained = person.delete(&name, &DeleteParams::default()).await;
        refused(released, "kubectl delete pvc -n apps data")?;
        retained.map(drop).context("neither claim nor PersistentVolume is left")
    })
    .await
}

fn dry_deletion() -> DeleteParams {
    DeleteParams { dry_run: true, ..DeleteParams::default() }
}

#[tokio::test]
async fn an_agent_reports_on_volumes_of_its_own_node_alone() -> Result<()> {
    staged(async |actors| {
        let [here, there, nowhere] =
            [&actors.here, &actors.there, &actors.nowhere].map(Actors::volumes);
        actors
            .with_volume(async |name| {
                report(&here, name).await.context("the agent of the volume's node")?;
                let says = "may write only StorageVolumes whose spec.assignment.node is";
                refused(report(&there, name).await, says)?;
                refused(report(&nowhere, name).await, "names no node")
            })
            .await
    })
    .await
}

#[tokio::test]
async fn an_agent_changes_its_finalizer_and_nothing_else_outside_status() -> Result<()> {
    staged(async |actors| {
        let [here, there, person] =
            [&actors.here, &actors.there, &actors.person].map(Actors::volumes);
        let held_by = |names: &[&str]| json!({"metadata": {"finalizers": names}});
        let (ours, mine) = ("terrace.storage/node", "example.com/mine");
        actors
            .with_volume(async |name| {
                let done = change(&person, name, held_by(&[ours, mine])).await;
                done.context("a person may hold a volume")?;
                let done = change(&there, name, held_by(&[mine])).await;
                refused(done, "may write only StorageVolumes")?;
                let done = change(&here, name, held_by(&[ours])).await;
                refused(done, "the finalizer terrace.storage/node alone")?;
                let larger = json!({"spec": {"capacity": "2Gi"}});
                refused(change(&here, name, larger).await, "spec")?;
                let label = json!({"metadata": {"labels": {"a": "b"}}});
                refused(change(&here, name, label).await, "metadata.finalizers alone")?;
                change(&here, name, held_by(&[mine])).await.context("its own")?;
                change(&person, name, held_by(&[])).await.context("a person may let go")?;
                Ok(())
            })
            .await
    })
    .await
}

#[tokio::test]
async fn a_person_takes_the_nodes_finalizer_only_of_a_volume_that_is_being_deleted() -> Result<()> {
    staged(async |actors| {
        let [person, operator] = [&actors.person, &actors.operator].map(Actors::volumes);
        let held_by = |names: &[&str]| json!({"metadata": {"finalizers": names}});
        let ours = "terrace.storage/node";
        let name = format!("admission-{}", Uuid::new_v4().simple());
        let mut held = volume(&name, "CSI", Some(&actors.nodes[0]))?;
        held.metadata.finalizers = Some(vec![ours.to_owned()]);
        operator.create(&PostParams::default(), &held).await?;
        let taken = change(&person, &name, held_by(&[])).await;
        let replaced = {
            let mut without = operator.get(&name).await?;
            without.metadata.finalizers = None;
            person.replace(&name, &PostParams::default(), &without).await
        };
        change(&operator, &name, stamp()).await?;
        operator.delete(&name, &DeleteParams::default()).await?;
        let let_go = change(&person, &name, held_by(&[])).await;
        refused(taken, "is its node's")?;
        refused(replaced, "is its node's")?;
        let_go.context("the way out, where the node never comes back")?;
        ensure!(operator.get_opt(&name).await?.is_none(), "the volume is still there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_person_cannot_write_what_terrace_found() -> Result<()> {
    staged(async |actors| {
        let pools: Api<StoragePool> = Api::all(actors.person.clone());
        let name = format!("admission-{}", Uuid::new_v4().simple());
        let pool = from_value(json!({
            "apiVersion": "terrace.storage/v1alpha1", "kind": "StoragePool", "metadata": {"name": name},
            "spec": {"tier": "ssd", "nodeSelector": {"admission": "none"}, "file": {"directory": "/var/lib/terrace/pools/admission"}},
        }))?;
        pools.create(&PostParams::default(), &pool).await?;
        let status = Patch::Merge(json!({"status": {"volumes": 7}}));
        let written = pools.patch_status(&name, &PatchParams::default(), &status).await;
        pools.delete(&name, &DeleteParams::default()).await?;
        refused(written, "written by Terrace only")?;
        let volumes = Actors::volumes(&actors.person);
        actors
            .with_volume(async |name| refused(report(&volumes, name).await, "written by Terrace only"))
            .await
    })
    .await
}
