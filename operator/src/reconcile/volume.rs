//! StorageVolumes: place them, say why they wait, notice that they are gone.

use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use kube::runtime::controller::Action;
use terrace_crds::StorageVolume;
use terrace_crds::names::ANNOTATION_TRACEPARENT;
use terrace_plan::observe::observe_persistent;
use terrace_plan::plan::Plan;
use terrace_plan::volume::plan_volume;
use terrace_plan::world::{Looked, World, csi_name_of, name_of};
use terrace_telemetry::with_parent;

use super::{Context, Kind, direct, run as run_controller};
use crate::error::Error;
use crate::promises::Noted;
use crate::queue::{Pick, on_change};

/// Volumes that wait for a place look again this soon after anything changed.
const WAITING: Duration = Duration::from_millis(5);
/// All others look again this soon after a node or a PV changed.
const SETTLED: Duration = Duration::from_secs(1);

/// Runs the controller until dropped.
pub(super) async fn run(context: Arc<Context>) {
    let caches = &context.caches;
    let store = caches.volumes.store();
    let of_any = vec![
        caches.volumes.changed(),
        caches.nodes.changed(),
        caches.pools.changed(),
        caches.hosts.changed(),
    ];
    let waiting = on_change(of_any, store.clone(), WAITING, |volume: &StorageVolume| {
        if volume.spec.assignment.is_none() { Pick::Take } else { Pick::Leave }
    });
    let of_others =
        vec![caches.volumes.changed(), caches.nodes.changed(), caches.persistent.changed()];
    let settled = on_change(of_others, store.clone(), SETTLED, |_| Pick::Take);
    let queue = stream::select(Box::pin(waiting), Box::pin(settled));
    run_controller(Kind::StorageVolume, context.clone(), store, queue, reconcile).await;
}

async fn reconcile(volume: Arc<StorageVolume>, context: Arc<Context>) -> Result<Action, Error> {
    let notes = volume.metadata.annotations.as_ref();
    let trace = notes.and_then(|notes| notes.get(ANNOTATION_TRACEPARENT));
    with_parent(&tracing::Span::current(), trace.map(String::as_str));
    let persistent = observe_persistent_of(&context, &volume).await?;
    let looked = direct::look(&context, &volume, persistent.as_ref()).await?;
    let (plan, noted) = plan(&context, &volume, persistent, looked).await;
    let next = context.apply(&plan).await?;
    noted.keep();
    Ok(next)
}

/// The PV of a volume that has no place yet, read past the cache: where there is one, nothing is made (I2).
async fn observe_persistent_of(
    context: &Context,
    volume: &StorageVolume,
) -> Result<Option<PersistentVolume>, Error> {
    if volume.spec.assignment.is_some() {
        return Ok(None);
    }
    let name = csi_name_of(volume);
    // A name that no PV can have is refused by the API server, not answered with "not found".
    if name
        .bytes()
        .any(|byte| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)))
    {
        return Ok(None);
    }
    let api = Api::<PersistentVolume>::all(context.client.clone());
    api.get_opt(name).await.map_err(|error| Error::api("get PersistentVolume", name, error))
}

/// Plans with every promise counted, and notes its own before anybody else may plan.
async fn plan<'a>(
    context: &'a Context,
    volume: &StorageVolume,
    persistent: Option<PersistentVolume>,
    looked: Option<Looked>,
) -> (Plan, Noted<'a>) {
    let _deciding = context.promises.decide().await;
    let mut world: World = context.promises.overlay(context.caches.world());
    world.persistent.extend(persistent.as_ref().and_then(observe_persistent));
    world.looked.extend(looked.map(|looked| (name_of(&volume.metadata).to_owned(), looked)));
    let name = volume.metadata.name.as_deref();
    let uid = volume.metadata.uid.as_deref();
    let latest = world.volumes.iter().find(|other| {
        other.metadata.name.as_deref() == name && other.metadata.uid.as_deref() == uid
    });
    let latest = latest.cloned();
    let plan = plan_volume(&world, latest.as_deref().unwrap_or(volume), Timestamp::now());
    let noted = context.promises.note(&plan.effects);
    (plan, noted)
}
