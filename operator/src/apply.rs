//! The only place that changes the world: one arm an effect. It chooses nothing; what is written is in the
//! effect, and what changed since the plan was made is refused by the API server, not looked at here.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use terrace_crds::names::{ANNOTATION_TRACEPARENT, manager};
use terrace_crds::volume::ClaimRef;
use terrace_crds::{
    LifecyclePolicy, Size, StoragePool, StorageSnapshot, StorageVolume, TieringPolicy,
};
use terrace_plan::effect::{Effect, ObjectRef};

use crate::error::Error;
use crate::events::Events;
use crate::fault::{Edge, Faults, Point, pass};

/// Carries out effects.
#[derive(Clone)]
pub struct Effects {
    client: Client,
    events: Events,
    faults: Arc<dyn Faults<Point>>,
}

impl Effects {
    /// Through this client.
    #[must_use]
    pub fn new(client: Client, events: Events, faults: Arc<dyn Faults<Point>>) -> Self {
        Self { client, events, faults }
    }

    /// Carries out one effect. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`Error::Changed`] where the object is not the one planned for any more, [`Error::Api`] for the rest.
    pub async fn apply(&self, effect: &Effect) -> Result<(), Error> {
        tracing::debug!(%effect, "apply");
        pass(&*self.faults, Point::Effect(effect.kind(), Edge::Before)).await?;
        self.change(effect).await?;
        Ok(pass(&*self.faults, Point::Effect(effect.kind(), Edge::After)).await?)
    }

    async fn change(&self, effect: &Effect) -> Result<(), Error> {
        let volumes = || Api::<StorageVolume>::all(self.client.clone());
        let snapshots = || Api::<StorageSnapshot>::all(self.client.clone());
        let pools = || Api::<StoragePool>::all(self.client.clone());
        match effect {
            Effect::CreateVolume { volume } => make(&volumes(), manager::CSI, &**volume).await,
            Effect::HealVolume { volume, node: _ } => {
                make(&volumes(), manager::CSI, &**volume).await
            }
            Effect::AssignVolume { volume, assignment, .. } => {
                apply_spec(&volumes(), volume, &json!({ "assignment": assignment })).await
            }
            Effect::NameVolume { volume, uuid, fs_type } => {
                // Merged, not applied: what is applied next leaves it out, and would take it back.
                let mut spec = json!({ "volumeUUID": uuid });
                fs_type.iter().for_each(|fs| spec["fsType"] = json!(fs));
                merge(&volumes(), volume, manager::OPERATOR, json!({ "spec": spec })).await
            }
            Effect::MakePersistent { persistent } => {
                let api = Api::<PersistentVolume>::all(self.client.clone());
                make(&api, manager::OPERATOR, &**persistent).await
            }
            Effect::PointPersistent { persistent, claim } => {
                let api = Api::<PersistentVolume>::all(self.client.clone());
                merge(&api, persistent, manager::OPERATOR, pointed(claim)).await
            }
            Effect::MakeClaim { claim } => {
                let space = claim.metadata.namespace.as_deref().unwrap_or_default();
                let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), space);
                make(&api, manager::OPERATOR, &**claim).await
            }
            Effect::GrowClaim { claim, to } => {
                let space = claim.namespace.as_deref().unwrap_or_default();
                let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), space);
                let requests = json!({ "resources": { "requests": { "storage": to } } });
                merge(&api, claim, manager::OPERATOR, json!({ "spec": requests })).await
            }
            Effect::GrowVolume { volume, to } => {
                let spec = json!({ "capacity": Size::from_bytes(*to) });
                merge(&volumes(), volume, manager::CSI, traced(spec)).await
            }
            Effect::StampDeletion { volume, deletion } => {
                let spec = json!({ "deletion": deletion });
                merge(&volumes(), volume, manager::CSI, traced(spec)).await
            }
            Effect::DeleteVolume { volume } => delete(&volumes(), volume).await,
            Effect::CreateSnapshot { snapshot } => {
                make(&snapshots(), manager::CSI, &**snapshot).await
            }
            Effect::AssignSnapshot { snapshot, assignment, .. } => {
                apply_spec(&snapshots(), snapshot, &json!({ "assignment": assignment })).await
            }
            Effect::StampSnapshot { snapshot, deletion } => {
                let spec = json!({ "deletion": deletion });
                merge(&snapshots(), snapshot, manager::CSI, traced(spec)).await
            }
            Effect::DeleteSnapshot { snapshot } => delete(&snapshots(), snapshot).await,
            Effect::AbandonSnapshot { snapshot, uuid, node, finalizers } => {
                audit("snapshot", snapshot, uuid, node);
                merge(&snapshots(), snapshot, manager::OPERATOR, held_by(finalizers)).await
            }
            Effect::AbandonVolume { volume, uuid, node, finalizers } => {
                audit("volume", volume, uuid, node);
                merge(&volumes(), volume, manager::OPERATOR, held_by(finalizers)).await
            }
            Effect::ReleaseSnapshot { snapshot, finalizers } => {
                merge(&snapshots(), snapshot, manager::OPERATOR, held_by(finalizers)).await
            }
            Effect::ReportSnapshot { snapshot, conditions } => {
                let status = json!({ "conditions": conditions });
                apply_status(&snapshots(), snapshot, &status).await
            }
            Effect::ReleaseVolume { volume, finalizers } => {
                merge(&volumes(), volume, manager::OPERATOR, held_by(finalizers)).await
            }
            Effect::ReportVolume { volume, claim, conditions } => {
                let mut status = json!({ "conditions": conditions });
                // A null would be kept as a value of its own.
                claim.iter().for_each(|claim| status["claim"] = json!(claim));
                apply_status(&volumes(), volume, &status).await
            }
            Effect::HoldPool { pool, finalizers } | Effect::ReleasePool { pool, finalizers } => {
                merge(&pools(), pool, manager::OPERATOR, held_by(finalizers)).await
            }
            Effect::ReportPool { pool, status } => {
                apply_status(&pools(), pool, &json!(status)).await
            }
            Effect::ReportLifecycle { policy, conditions } => {
                let namespace = policy.namespace.as_deref().unwrap_or_default();
                let policies = Api::<LifecyclePolicy>::namespaced(self.client.clone(), namespace);
                apply_status(&policies, policy, &json!({ "conditions": conditions })).await
            }
            Effect::ReportTiering { policy, conditions } => {
                let policies = Api::<TieringPolicy>::all(self.client.clone());
                apply_status(&policies, policy, &json!({ "conditions": conditions })).await
            }
            Effect::Tell { claim, tone, reason, note } => {
                self.events.tell(claim, *tone, *reason, note).await;
                Ok(())
            }
            Effect::TellPersistent { persistent, tone, reason, note } => {
                self.events.tell_persistent(persistent, *tone, *reason, note).await;
                Ok(())
            }
        }
    }
}

async fn make<K>(api: &Api<K>, manager: &str, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let how = PostParams { field_manager: Some(manager.into()), ..PostParams::default() };
    let name = object.meta().name.as_deref().unwrap_or_default();
    api.create(&how, object).await.map(drop).map_err(|error| Error::api("create", name, error))
}

/// What lets an object go while its bytes stay is written down, whatever is logged beside.
fn audit(what: &str, at: &ObjectRef, uuid: &str, node: &str) {
    let name = at.name.as_str();
    tracing::warn!(
        audit = true,
        what,
        name,
        uuid,
        node,
        "finalizer dropped: Kubernetes has no such node, and the bytes stay on its disks"
    );
}

/// These finalizers and no other.
fn held_by(finalizers: &[String]) -> Value {
    json!({ "metadata": { "finalizers": finalizers } })
}

/// A claim of this name, whichever it becomes: the nulls take away the one that had it before.
fn pointed(claim: &ClaimRef) -> Value {
    let ClaimRef { namespace, name } = claim;
    json!({ "spec": { "claimRef": {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name,
        "uid": null, "resourceVersion": null,
    } } })
}

/// A change of a spec, with the trace of the call that asked for it.
fn traced(spec: Value) -> Value {
    let mut body = json!({ "spec": spec });
    if let Some(trace) = terrace_telemetry::inject() {
        body["metadata"]["annotations"] = json!({ ANNOTATION_TRACEPARENT: trace });
    }
    body
}

/// Server-side apply of the operator's part of a spec, to this very version of the object.
async fn apply_spec<K>(api: &Api<K>, at: &ObjectRef, spec: &Value) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let metadata =
        json!({ "name": at.name, "uid": at.uid, "resourceVersion": at.resource_version });
    let body = object::<K>(metadata, "spec", spec);
    let how = PatchParams::apply(manager::OPERATOR);
    let done = api.patch(&at.name, &how, &Patch::Apply(&body)).await;
    done.map(drop).map_err(|error| Error::api("assign", &at.name, error))
}

/// Server-side apply of the operator's part of a status. No other writer has these fields, so it takes them.
async fn apply_status<K>(api: &Api<K>, at: &ObjectRef, status: &Value) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let body = object::<K>(json!({ "name": at.name, "uid": at.uid }), "status", status);
    let how = PatchParams::apply(manager::OPERATOR).force();
    let done = api.patch_status(&at.name, &how, &Patch::Apply(&body)).await;
    done.map(drop).map_err(|error| Error::api("report", &at.name, error))
}

/// A merge patch of this very version of the object.
async fn merge<K>(api: &Api<K>, at: &ObjectRef, manager: &str, mut body: Value) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    body["metadata"]["uid"] = json!(at.uid);
    body["metadata"]["resourceVersion"] = json!(at.resource_version);
    let how = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    let done = api.patch(&at.name, &how, &Patch::Merge(&body)).await;
    done.map(drop).map_err(|error| Error::api("change", &at.name, error))
}

/// Deletes this very version of the object: what changed since may be worth keeping.
async fn delete<K>(api: &Api<K>, at: &ObjectRef) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let (uid, resource_version) = (Some(at.uid.clone()), Some(at.resource_version.clone()));
    let how = DeleteParams::default().preconditions(Preconditions { uid, resource_version });
    match api.delete(&at.name, &how).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::api("delete", &at.name, error)).or_else(gone_is_done),
    }
}

fn gone_is_done(error: Error) -> Result<(), Error> {
    if error.is_gone() { Ok(()) } else { Err(error) }
}

fn object<K: Resource<DynamicType = ()>>(metadata: Value, part: &str, value: &Value) -> Value {
    let (version, kind) = (K::api_version(&()), K::kind(&()));
    json!({ "apiVersion": version, "kind": kind, "metadata": metadata, part: value })
}

#[cfg(test)]
mod tests;
