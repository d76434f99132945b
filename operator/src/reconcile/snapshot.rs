//! StorageSnapshots: give them their source's place, once there is room.

use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use jiff::Timestamp;
use terrace_crds::StorageSnapshot;
use terrace_crds::names::ANNOTATION_TRACEPARENT;
use terrace_plan::gone::node_to_look_for;
use terrace_plan::plan::{Next, Plan};
use terrace_plan::snapshot::plan_snapshot;
use terrace_telemetry::with_parent;

use super::{Context, Kind, find_gone, run as run_controller};
use crate::error::Error;
use crate::promises::Noted;
use crate::queue::{Pick, on_change};

/// Snapshots that wait for a place look again this soon after anything changed.
const WAITING: Duration = Duration::from_millis(5);

/// Those that are being deleted look again this soon after a snapshot or a node changed.
const LEAVING: Duration = Duration::from_secs(1);

/// Runs the controller until dropped.
pub(super) async fn run(context: Arc<Context>) {
    let caches = &context.caches;
    let cache = caches.snapshots.clone();
    let of_any = vec![caches.snapshots.changed(), caches.volumes.changed(), caches.nodes.changed()];
    let waiting = on_change(of_any, cache.clone(), WAITING, |snapshot: &StorageSnapshot| {
        if snapshot.spec.assignment.is_none() { Pick::Take } else { Pick::Leave }
    });
    let of_nodes = vec![caches.snapshots.changed(), caches.hosts.changed()];
    let leaving = on_change(of_nodes, cache.clone(), LEAVING, |snapshot: &StorageSnapshot| {
        let leaves =
            snapshot.metadata.deletion_timestamp.is_some() || snapshot.spec.deletion.is_some();
        if leaves { Pick::Take } else { Pick::Leave }
    });
    let queue = stream::select(Box::pin(waiting), Box::pin(leaving));
    run_controller(Kind::StorageSnapshot, context.clone(), cache, queue, reconcile).await;
}

async fn reconcile(snapshot: Arc<StorageSnapshot>, context: Arc<Context>) -> Result<Next, Error> {
    let notes = snapshot.metadata.annotations.as_ref();
    let trace = notes.and_then(|notes| notes.get(ANNOTATION_TRACEPARENT));
    with_parent(&tracing::Span::current(), trace.map(String::as_str));
    let world = context.caches.world();
    let node = node_to_look_for(&world, &snapshot.metadata, snapshot.spec.assignment.as_ref());
    let gone = find_gone(&context, node).await?;
    let (plan, noted) = plan(&context, &snapshot, gone).await;
    let next = context.apply(&plan).await?;
    noted.keep();
    Ok(next)
}

/// Plans with every promise counted, and notes its own before anybody else may plan.
async fn plan<'a>(
    context: &'a Context,
    snapshot: &StorageSnapshot,
    gone: Option<String>,
) -> (Plan, Noted<'a>) {
    let _deciding = context.promises.decide().await;
    let mut world = context.promises.overlay(context.caches.world());
    if gone.is_some() {
        Arc::make_mut(&mut world).gone.extend(gone);
    }
    let is_it = |other: &&Arc<StorageSnapshot>| other.metadata.uid == snapshot.metadata.uid;
    let latest = world.snapshots.iter().find(is_it).cloned();
    let plan = plan_snapshot(&world, latest.as_deref().unwrap_or(snapshot), Timestamp::now());
    let noted = context.promises.note(&plan.effects);
    (plan, noted)
}
