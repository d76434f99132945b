//! StorageVolumes: place them, say why they wait, notice that they are gone.

use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use terrace_crds::StorageVolume;
use terrace_crds::condition::{ConditionType, Reason, find};
use terrace_crds::names::ANNOTATION_TRACEPARENT;
use terrace_plan::gone::node_to_look_for;
use terrace_plan::listed::{Key, Listed};
use terrace_plan::observe::observe_persistent;
use terrace_plan::plan::{Next, Plan};
use terrace_plan::volume::{conditions_of, needs_look, plan_volume};
use terrace_plan::world::{Host, Looked, World, csi_name_of, name_of};
use terrace_telemetry::with_parent;

use super::{Context, Kind, direct, find_gone, run as run_controller};
use crate::error::Error;
use crate::promises::Noted;
use crate::queue::{Pick, on_change};

/// Volumes that wait for a place look again this soon after anything changed.
const WAITING: Duration = Duration::from_millis(5);
/// All others look again this soon after a node or a PV changed.
const SETTLED: Duration = Duration::from_secs(1);

/// Runs the controller until dropped.
pub(super) async fn run(context: Arc<Context>) {
    let caches = context.caches.clone();
    let cache = caches.volumes.clone();
    let of_any = vec![
        caches.volumes.changed(),
        caches.nodes.changed(),
        caches.pools.changed(),
        caches.hosts.changed(),
    ];
    let waiting = on_change(of_any, cache.clone(), WAITING, |volume: &StorageVolume| {
        if volume.spec.assignment.is_none() { Pick::Take } else { Pick::Leave }
    });
    let of_others =
        vec![caches.volumes.changed(), caches.nodes.changed(), caches.persistent.changed()];
    let seen = caches.clone();
    let settled =
        on_change(of_others, cache.clone(), SETTLED, move |volume| has_work(&seen.world(), volume));
    let shared = caches.clone();
    let of_nodes = on_change(vec![caches.hosts.changed()], cache.clone(), SETTLED, move |volume| {
        pick_by_node(&shared.hosts.all(), volume)
    });
    let queue = stream::select(Box::pin(waiting), Box::pin(settled));
    let queue = stream::select(queue, Box::pin(of_nodes));
    run_controller(Kind::StorageVolume, context.clone(), cache, queue, reconcile).await;
}

/// Those whose node went, or came back, or is waited for: a node that reports its health is news to no other.
fn pick_by_node(hosts: &Listed<Host>, volume: &StorageVolume) -> Pick {
    let Some(place) = &volume.spec.assignment else { return Pick::Leave };
    let missed = find(conditions_of(volume), ConditionType::Missing)
        .is_some_and(|missing| missing.reason == Reason::NodeGone.as_str());
    let leaving = volume.metadata.deletion_timestamp.is_some();
    let mut named = hosts.candidates(Key::Name(&place.node));
    let there = named.any(|host| host.name == place.node);
    if missed || leaving || !there { Pick::Take } else { Pick::Leave }
}

/// Whether anything is to be done or waited for. Most volumes that have their place are let be: each of them on the
/// queue would cost more than the look.
fn has_work(world: &World, volume: &StorageVolume) -> Pick {
    let now = Timestamp::now();
    let plan = plan_volume(world, volume, now);
    let node = node_to_look_for(world, &volume.metadata, volume.spec.assignment.as_ref());
    let unread = node.is_some() || needs_look(world, volume, now);
    let idle = plan.effects.is_empty() && plan.next == Next::Change && !unread;
    if idle { Pick::Leave } else { Pick::Take }
}

async fn reconcile(volume: Arc<StorageVolume>, context: Arc<Context>) -> Result<Next, Error> {
    let notes = volume.metadata.annotations.as_ref();
    let trace = notes.and_then(|notes| notes.get(ANNOTATION_TRACEPARENT));
    with_parent(&tracing::Span::current(), trace.map(String::as_str));
    let persistent = observe_persistent_of(&context, &volume).await?;
    let looked = direct::look(&context, &volume, persistent.as_ref()).await?;
    let world = context.caches.world();
    let node = node_to_look_for(&world, &volume.metadata, volume.spec.assignment.as_ref());
    let read = Read { persistent, looked, gone: find_gone(&context, node).await? };
    let (plan, noted) = plan(&context, &volume, read).await;
    let next = context.apply(&plan).await?;
    noted.keep();
    Ok(next)
}

/// What was read past every cache.
struct Read {
    persistent: Option<PersistentVolume>,
    looked: Option<Looked>,
    gone: Option<String>,
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
async fn plan<'a>(context: &'a Context, volume: &StorageVolume, read: Read) -> (Plan, Noted<'a>) {
    let Read { persistent, looked, gone } = read;
    let _deciding = context.promises.decide().await;
    let mut world = context.promises.overlay(context.caches.world());
    if let Some(seen) = persistent.as_ref().and_then(observe_persistent) {
        Arc::make_mut(&mut world).persistent.edit().push(Arc::new(seen));
    }
    let name = name_of(&volume.metadata);
    if let Some(looked) = looked {
        Arc::make_mut(&mut world).looked.insert(name.to_owned(), looked);
    }
    if gone.is_some() {
        Arc::make_mut(&mut world).gone.extend(gone);
    }
    let latest = world.volume(name).filter(|other| other.metadata.uid == volume.metadata.uid);
    let latest = latest.cloned();
    let plan = plan_volume(&world, latest.as_deref().unwrap_or(volume), Timestamp::now());
    let noted = context.promises.note(&plan.effects);
    (plan, noted)
}
