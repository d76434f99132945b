//! PersistentVolumes whose StorageVolume is gone, as after the kinds were deleted and applied again, or an etcd was
//! restored: the object is made again for the bytes that a node has. It makes nothing else, and nothing without a node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::select_all;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use terrace_crds::StorageVolume;
use terrace_plan::heal::plan_heal;
use terrace_plan::observe::observe_lost;
use terrace_plan::world::{Persistent, PersistentPhase, World};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::WatchStream;

use super::{Context, Kind, LONGEST, cause};
use crate::error::Error;
use crate::queue::ticks;

/// Lost objects are looked for this soon after a PersistentVolume, a volume or a node changed.
const GATHER: Duration = Duration::from_secs(1);
/// After a failure, such as while the kind itself is not there, they are looked for again this soon.
const AGAIN: Duration = Duration::from_secs(5);

/// What a pass leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing that time would mend.
    Nothing,
    /// Something that failed.
    Failed,
}

/// Runs the controller until dropped. It has no queue of objects: none is lost as a rule, and a pass finds all.
pub(super) async fn run(context: Arc<Context>) {
    let caches = &context.caches;
    let signals = [caches.persistent.changed(), caches.volumes.changed(), caches.nodes.changed()];
    let mut ticks = Box::pin(ticks(select_all(signals.map(WatchStream::new)).boxed(), GATHER));
    let mut left = Left::Nothing;
    loop {
        tokio::select! {
            tick = ticks.next() => if tick.is_none() { return },
            () = sleep(AGAIN), if left == Left::Failed => {}
        }
        left = pass(&context).await;
    }
}

/// Looks at every lost object once, one after the other.
async fn pass(context: &Context) -> Left {
    let mut left = Left::Nothing;
    for persistent in lost(&context.caches.world()) {
        let (kind, began) = (Kind::PersistentVolume, Instant::now());
        context.metrics.queued(kind);
        let done = timeout(LONGEST, heal(context, &persistent)).await;
        let late = |_| Err(Error::Deadline { waiting: "the API server".into() });
        let done = done.unwrap_or_else(late);
        context.metrics.reconciled(kind, done.as_ref().map(drop), began.elapsed());
        if let Err(error) = done {
            let name = &persistent.name;
            tracing::warn!(%error, cause = cause(&error), persistent = name, "a lost volume is not made again");
            left = Left::Failed;
        }
    }
    left
}

/// Those in use whose volume no cache shows; a cache that lags costs a read.
fn lost(world: &World) -> Vec<Arc<Persistent>> {
    let is_used = |pv: &&Arc<Persistent>| match pv.phase {
        PersistentPhase::Bound | PersistentPhase::Available => true,
        PersistentPhase::Pending | PersistentPhase::Released | PersistentPhase::Failed => false,
    };
    let is_lost = |pv: &&Arc<Persistent>| world.volume(&pv.handle).is_none();
    world.persistent.iter().filter(is_used).filter(is_lost).cloned().collect()
}

/// The volume is read first and its PersistentVolume after it: what is in use then was not let go before.
async fn heal(context: &Context, known: &Persistent) -> Result<(), Error> {
    let volumes = Api::<StorageVolume>::all(context.client.clone());
    let there = volumes.get_metadata_opt(&known.handle).await;
    let there = there.map_err(|error| Error::api("get StorageVolume", &known.handle, error))?;
    if there.is_some() {
        return Ok(());
    }
    let pvs = Api::<PersistentVolume>::all(context.client.clone());
    let found = pvs.get_opt(&known.name).await;
    let found = found.map_err(|error| Error::api("get PersistentVolume", &known.name, error))?;
    let Some(lost) = found.as_ref().and_then(observe_lost) else { return Ok(()) };
    let plan = plan_heal(&context.caches.world(), &lost);
    if let Some(why) = plan.said.first() {
        tracing::debug!(persistent = known.name, why, "a lost volume is not made again");
    }
    match context.apply(&plan).await {
        // Another replica, or CreateVolume, was quicker.
        Ok(_) | Err(Error::Changed { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
