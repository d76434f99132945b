//! CreateSnapshot, DeleteSnapshot, GetSnapshot: write the intent or the stamp (I1), wait for the node, reply. What was refused
//! before anything of it was made is taken back.

use csi_proto_rs::csi::v1::{
    CreateSnapshotRequest, CreateSnapshotResponse, DeleteSnapshotRequest, DeleteSnapshotResponse,
    GetSnapshotRequest, GetSnapshotResponse,
};
use jiff::Timestamp;
use terrace_crds::StorageSnapshot;
use terrace_crds::condition::{ConditionType, Reason, Truth, find};
use terrace_crds::names::snapshot_name;
use terrace_crds::snapshot::SnapshotGroup;
use terrace_plan::effect::{Effect, ObjectRef};
use terrace_plan::snapshot::{
    check_same, conditions_of, plan_adopt_for_deletion, plan_delete, snapshot_of, validate_name,
    validate_parameters,
};
use terrace_plan::world::World;
use tokio::time::Instant;
use uuid::Uuid;

use super::delete::{carry_out, find_or_adopt};
use super::wait::{gone, wait_for};
use super::{Service, wire};
use crate::error::Error;
use crate::metrics::Method;

/// Takes a snapshot, or finds the one that is there.
///
/// # Errors
/// [`Error`], as CSI names them.
pub async fn create(
    service: &Service,
    request: CreateSnapshotRequest,
    deadline: Instant,
) -> Result<CreateSnapshotResponse, Error> {
    // A snapshot lies where its source does, so what the caller prefers decides nothing.
    let CreateSnapshotRequest {
        source_volume_id: source,
        name,
        secrets: _,
        parameters,
        accessibility_requirements: _,
    } = request;
    validate_name(&name)?;
    if source.is_empty() {
        return Err(Error::Field { field: "source_volume_id" });
    }
    validate_parameters(&wire::sorted(parameters))?;
    let _guard = service.calls.enter(&format!("snapshot {name}"), Method::CreateSnapshot)?;
    let there = intend(service, &name, &source, None).await?;
    let handle = there.metadata.name.clone().unwrap_or_default();
    match wait_until_ready(service, &there, deadline).await {
        Ok(snapshot) => Ok(CreateSnapshotResponse { snapshot: Some(wire::snapshot(&snapshot)) }),
        Err(error) => Err(take_back(service, &handle, error).await),
    }
}

/// The snapshot with this name, written if it is not there.
///
/// # Errors
/// [`Error`], as CSI names them.
pub(super) async fn intend(
    service: &Service,
    name: &str,
    source: &str,
    group: Option<SnapshotGroup>,
) -> Result<StorageSnapshot, Error> {
    let handle = snapshot_name(name).name;
    let read = || service.read_object::<StorageSnapshot>(&handle);
    if let Some(there) = read().await? {
        check_same(&there, name, source)?;
        return if there.metadata.deletion_timestamp.is_some() {
            Err(Error::Leaving { name: handle.clone() })
        } else {
            Ok(there)
        };
    }
    let volume = service.read(source).await?;
    let volume = volume.ok_or_else(|| Error::NotFound { name: source.to_owned() })?;
    let trace = terrace_telemetry::inject();
    let snapshot = Box::new(snapshot_of(name, &volume, group, service.cluster, trace)?);
    service.effects.apply(&Effect::CreateSnapshot { snapshot }).await?;
    read().await?.ok_or_else(|| Error::Changed { name: handle.clone() })
}

/// Waits for the copy.
///
/// # Errors
/// [`Error::SnapshotRefused`] where it comes to nothing, [`Error::Deadline`] where it takes longer.
pub(super) async fn wait_until_ready(
    service: &Service,
    snapshot: &StorageSnapshot,
    deadline: Instant,
) -> Result<StorageSnapshot, Error> {
    let name = snapshot.metadata.name.as_deref().unwrap_or_default();
    let uid = snapshot.metadata.uid.as_deref().unwrap_or_default();
    wait_for(&service.caches.snapshots, (name, uid), deadline, "its node", judge).await
}

fn judge(snapshot: &StorageSnapshot) -> Option<Result<StorageSnapshot, Error>> {
    let ready = find(conditions_of(snapshot), ConditionType::Ready)?;
    if ready.status == Truth::True.as_str() {
        return snapshot.spec.assignment.is_some().then(|| Ok(snapshot.clone()));
    }
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason)?;
    let told_of_this = ready.observed_generation >= snapshot.metadata.generation;
    (is_final(*reason) && told_of_this).then(|| {
        let name = snapshot.metadata.name.clone().unwrap_or_default();
        Err(Error::SnapshotRefused { name, reason: *reason, message: ready.message.clone() })
    })
}

/// Reasons that do not pass by waiting.
fn is_final(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoCapacity
            | Reason::PoolFull
            | Reason::FacilityMissing
            | Reason::Invalid
            | Reason::NotSupported
            | Reason::NotFound
            | Reason::Inconsistent
    )
}

/// Whether a node reported a copy: then it is never taken back by a refusal.
pub(super) fn was_made(snapshot: &StorageSnapshot) -> bool {
    snapshot.status.as_ref().is_some_and(|status| status.created_at.is_some())
}

/// Takes a snapshot back that was refused before anything of it was made. Whatever goes wrong here, the caller
/// hears of the refusal, and its retry finds what is there.
pub(super) async fn take_back(service: &Service, name: &str, error: Error) -> Error {
    if matches!(error, Error::SnapshotRefused { .. })
        && let Err(fault) = try_take_back(service, name).await
    {
        tracing::warn!(snapshot = name, %fault, "refused snapshot not taken back");
    }
    error
}

async fn try_take_back(service: &Service, name: &str) -> Result<(), Error> {
    let Some(snapshot) = service.read_object::<StorageSnapshot>(name).await? else { return Ok(()) };
    if was_made(&snapshot) {
        return Ok(());
    }
    if snapshot.spec.assignment.is_none() {
        let snapshot = ObjectRef::of(&snapshot.metadata);
        return service.effects.apply(&Effect::DeleteSnapshot { snapshot }).await;
    }
    // Its node has it: the stamp lets the node remove what it may have begun.
    stamp_and_delete(service, snapshot).await
}

/// Asks for the end of a snapshot, with the stamp that lets its node remove the bytes.
pub(super) async fn stamp_and_delete(
    service: &Service,
    snapshot: StorageSnapshot,
) -> Result<(), Error> {
    let id = Uuid::new_v4();
    carry_out(service, snapshot, |snapshot| plan_delete(snapshot, id, Timestamp::now())).await
}

/// Deletes a snapshot; one that is not there is deleted already.
///
/// # Errors
/// [`Error`], as CSI names them.
pub async fn delete(
    service: &Service,
    request: DeleteSnapshotRequest,
    deadline: Instant,
) -> Result<DeleteSnapshotResponse, Error> {
    let DeleteSnapshotRequest { snapshot_id: name, secrets: _ } = request;
    if name.is_empty() {
        return Err(Error::Field { field: "snapshot_id" });
    }
    let _guard = service.calls.enter(&format!("snapshot {name}"), Method::DeleteSnapshot)?;
    remove(service, &name, deadline).await?;
    Ok(DeleteSnapshotResponse {})
}

/// Ends a snapshot and waits until it is gone.
///
/// # Errors
/// [`Error`], as CSI names them.
pub(super) async fn remove(service: &Service, name: &str, deadline: Instant) -> Result<(), Error> {
    let adopt = |world: &World, name: &str| {
        plan_adopt_for_deletion(world, name, Uuid::new_v4(), Timestamp::now())
    };
    let found = find_or_adopt(service, ("snapshot", name), deadline, adopt);
    let Some(snapshot): Option<StorageSnapshot> = found.await? else { return Ok(()) };
    let uid = snapshot.metadata.uid.clone().unwrap_or_default();
    stamp_and_delete(service, snapshot).await?;
    let read = || service.read_object::<StorageSnapshot>(name);
    gone(&service.caches.snapshots, (name, &uid), deadline, read, waits_for).await
}

fn waits_for(snapshot: &StorageSnapshot) -> String {
    let node = snapshot.spec.assignment.as_ref().map(|place| place.node.as_str());
    let said = find(conditions_of(snapshot), ConditionType::Ready)
        .filter(|ready| ready.status == Truth::False.as_str());
    match (node, said) {
        (None, _) => "the operator to let it go".to_owned(),
        (Some(node), None) => format!("node {node} to remove it"),
        (Some(node), Some(said)) => format!("node {node} to remove it: {}", said.message),
    }
}

/// One snapshot.
///
/// # Errors
/// [`Error::NoSnapshot`].
pub async fn get(
    service: &Service,
    request: GetSnapshotRequest,
) -> Result<GetSnapshotResponse, Error> {
    let GetSnapshotRequest { snapshot_id: name, secrets: _ } = request;
    if name.is_empty() {
        return Err(Error::Field { field: "snapshot_id" });
    }
    let snapshot: Option<StorageSnapshot> = service.read_object(&name).await?;
    let snapshot = snapshot.ok_or(Error::NoSnapshot { name })?;
    Ok(GetSnapshotResponse { snapshot: Some(wire::snapshot(&snapshot)) })
}
