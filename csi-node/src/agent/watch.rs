//! The watches: StorageVolumes and StorageSnapshots assigned to this node (a field selector, so that a node never
//! sees the others), and all StoragePools. They mend themselves when the API server comes back.

use std::convert::Infallible;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt, stream};
use kube::runtime::controller::{Config, applier};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use terrace_crds::watching::TakenUp;
use terrace_crds::{StoragePool, StorageSnapshot, StorageVolume};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::objects::Claimant;
use super::snapshot::{self, Snapshots};
use super::{Agent, volume};

/// Volumes that are worked on at the same time; the queue has its own, lower limit.
const CONCURRENCY: u16 = 16;

/// Objects that are taken off the wire at once.
const PAGE: u32 = 50;

/// What lies here, in small portions: one takes several times what is kept of it.
fn of_this_node(agent: &Agent) -> watcher::Config {
    let field = format!("spec.assignment.node={}", agent.node);
    watcher::Config::default().fields(&field).page_size(PAGE)
}

/// Who wrote which field is half of an object, and nothing here reads it.
fn forget_managed_fields<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Runs passes over this node's volumes until `end` turns true: over one that changed, and over one whose
/// name comes in `told`.
pub async fn volumes(
    agent: Arc<Agent>,
    told: mpsc::UnboundedReceiver<String>,
    mut end: watch::Receiver<bool>,
) {
    let api: Api<StorageVolume> = Api::all(agent.api.client());
    let mine = of_this_node(&agent);
    let (store, writer) = reflector::store();
    agent.objects.watch_volumes(store.clone());
    let changed = watcher(api, mine).backoff(TakenUp::default()).modify(forget_managed_fields);
    let changed = changed.reflect(writer);
    let board = Arc::clone(&agent.probe);
    // A target may have changed, and a new volume waits to be told of.
    let changed = changed.inspect(move |_| board.stale.notify_one());
    let changed = changed.inspect(tells_claims(&agent)).touched_objects();
    let changed = changed.filter_map(|object| {
        std::future::ready(match object {
            Ok(volume) => Some(ObjectRef::from_obj(&volume)),
            Err(error) => {
                tracing::warn!(%error, "the watch of volumes broke off; it is begun again");
                None
            }
        })
    });
    let told = UnboundedReceiverStream::new(told).map(|name| ObjectRef::new(&name));
    let ended = async move {
        // An error means that the sender is gone: the process ends either way.
        let _ = end.wait_for(|end| *end).await;
    };
    let asked = stream::select(changed.boxed(), told).map(Ok::<_, Infallible>);
    let asked = asked.take_until(ended.boxed());
    let config = Config::default().concurrency(CONCURRENCY);
    let pass = |volume, agent| volume::reconcile(volume, agent).boxed();
    let passes = applier(pass, volume::error_policy, agent, store, asked, config);
    passes.for_each(|_| std::future::ready(())).await;
}

/// Runs passes over this node's snapshots until `end` turns true: over one that changed, and over all of its group.
pub async fn snapshots(agent: Arc<Agent>, mut end: watch::Receiver<bool>) {
    let api: Api<StorageSnapshot> = Api::all(agent.api.client());
    let mine = of_this_node(&agent);
    let (store, writer) = reflector::store();
    agent.objects.watch_snapshots(store.clone());
    let changed = watcher(api, mine).backoff(TakenUp::default()).modify(forget_managed_fields);
    let changed = changed.reflect(writer);
    let changed = changed.inspect(tells_claims(&agent)).touched_objects();
    let changed = changed.flat_map(|object| {
        let names = match object {
            Ok(snapshot) => with_its_group(&snapshot),
            Err(error) => {
                tracing::warn!(%error, "the watch of snapshots broke off; it is begun again");
                Vec::new()
            }
        };
        stream::iter(names)
    });
    let ended = async move {
        // An error means that the sender is gone: the process ends either way.
        let _ = end.wait_for(|end| *end).await;
    };
    let changed = changed.map(|name| ObjectRef::new(&name)).boxed();
    let asked = stream::select(changed, all_when_pools_turn(&agent, &store).boxed());
    let asked = asked.map(Ok::<_, Infallible>);
    let asked = asked.take_until(ended.boxed()).boxed();
    let config = Config::default().concurrency(CONCURRENCY);
    let here = Arc::new(Snapshots { agent, all: store.clone() });
    let pass = |snapshot, here| snapshot::reconcile(snapshot, here).boxed();
    let passes = applier(pass, snapshot::error_policy, here, store, asked, config);
    passes.for_each(|_| std::future::ready(())).await;
}

/// Has the node looked at anew when an object begins or ceases to claim a host object: another one may be an orphan.
fn tells_claims<K: Claimant>(
    agent: &Arc<Agent>,
) -> impl FnMut(&watcher::Result<watcher::Event<K>>) + Send + use<K> {
    let agent = Arc::clone(agent);
    move |event| {
        if agent.objects.is_news(event) {
            agent.dirty.notify_one();
        }
    }
}

/// Every snapshot of the node, whenever a pool came or went: those on it must say so.
fn all_when_pools_turn(
    agent: &Arc<Agent>,
    store: &Store<StorageSnapshot>,
) -> impl Stream<Item = ObjectRef<StorageSnapshot>> + Send + 'static {
    let store = store.clone();
    let turns = stream::unfold(Arc::clone(agent), |agent| async move {
        agent.pools_turned.notified().await;
        Some(((), agent))
    });
    turns.flat_map(move |()| {
        let all = store.state().into_iter().map(|snapshot| ObjectRef::from_obj(&*snapshot));
        stream::iter(all.collect::<Vec<_>>())
    })
}

/// Its name, and those of the others that wait for it.
fn with_its_group(snapshot: &StorageSnapshot) -> Vec<String> {
    let group = snapshot.spec.group.as_ref().map(|group| group.members.clone());
    let mut names = group.unwrap_or_default();
    names.extend(snapshot.metadata.name.clone().filter(|name| !names.contains(name)));
    names
}

/// The StoragePools, and a stream that yields whenever one changed.
pub fn pools(agent: &Agent) -> (Store<StoragePool>, impl Stream<Item = ()> + Send + 'static) {
    let api: Api<StoragePool> = Api::all(agent.api.client());
    let (store, writer) = reflector::store();
    let events = watcher(api, watcher::Config::default()).backoff(TakenUp::default());
    let events = events.modify(forget_managed_fields).reflect(writer);
    let changes = events.filter_map(|event| {
        std::future::ready(match event {
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => {
                Some(())
            }
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Err(error) => {
                tracing::warn!(%error, "the watch of pools broke off; it is begun again");
                None
            }
        })
    });
    (store, changes)
}
