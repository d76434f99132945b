//! What the API server last told: one watch a kind, shared by all who read, and a signal for whoever waits.
//! A cache may lag; what must not be decided on old news is read from the API server instead.

pub mod observed;

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_kind};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use terrace_crds::condition::{ConditionType, Reason, Truth};
use terrace_crds::names::ANNOTATION_TRACEPARENT;
use terrace_crds::watching::TakenUp;
use terrace_crds::{
    LifecyclePolicy, StorageNode, StoragePool, StorageSnapshot, StorageVolume, TieringPolicy,
};
use terrace_plan::health::is_ailment;
use terrace_plan::listed::Listed;
use terrace_plan::observe::{observe_host, observe_persistent};
use terrace_plan::world::{Host, Persistent, World};
use tokio::sync::watch;

use self::observed::{Look, Observed, observe};

/// Objects that are taken off the wire at once: at a start all watches list at the same time, and what a page takes is
/// several times what is kept of it.
const PAGE: u32 = 50;

/// Conditions of a StorageVolume that are not the operator's own, and that it reads only where they tell of an ailment.
const UNREAD: [ConditionType; 4] = [
    ConditionType::Healthy,
    ConditionType::CapacityPressure,
    ConditionType::LatencyHigh,
    ConditionType::Moving,
];

/// Every object of one kind.
#[derive(Debug)]
pub struct Cache<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    changed: watch::Receiver<u64>,
    listed: Mutex<Option<(u64, Listed<K>)>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Cache<K> {
    /// Every object, as last told.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// The same; one list for all who ask between two changes.
    #[must_use]
    pub fn listed(&self) -> Listed<K> {
        // Taken before the store is read: what changes meanwhile has a higher number, and is read again.
        let now = *self.changed.borrow();
        let mut listed = locked(&self.listed);
        match &*listed {
            Some((then, list)) if *then == now => list.clone(),
            Some(_) | None => {
                let list = Listed::from(self.store.state());
                *listed = Some((now, list.clone()));
                list
            }
        }
    }

    /// The object of this name; for kinds without a namespace.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name))
    }

    /// The store, for a controller's queue.
    #[must_use]
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// A signal that fires after any change. Take it before reading, or a change may be missed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Ends when the first full list has arrived.
    pub async fn synced(&self) {
        // The writer lives as long as the watch task; if it is gone, so is the process's reason to be ready.
        if self.store.wait_until_ready().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// One cache a kind.
#[derive(Debug)]
pub struct Caches {
    /// StorageVolumes, trimmed.
    pub volumes: Cache<StorageVolume>,
    /// StorageSnapshots.
    pub snapshots: Cache<StorageSnapshot>,
    /// StoragePools.
    pub pools: Cache<StoragePool>,
    /// StorageNodes, trimmed.
    pub nodes: Cache<StorageNode>,
    /// LifecyclePolicies.
    pub lifecycle: Cache<LifecyclePolicy>,
    /// TieringPolicies.
    pub tiering: Cache<TieringPolicy>,
    /// Kubernetes Nodes.
    pub hosts: Observed<Host>,
    /// PersistentVolumes of our driver.
    pub persistent: Observed<Persistent>,
    /// The world that was asked for last.
    pub last: Last,
}

/// A world, for all who ask between two changes.
#[derive(Debug, Default)]
pub struct Last(Mutex<Arc<World>>);

impl Caches {
    /// Starts every watch. They end with the runtime.
    #[must_use]
    pub fn start(client: &Client) -> Self {
        let hosts = Look { see: |node| Some(observe_host(node)), name: |host: &Host| &host.name };
        let persistent = Look { see: observe_persistent, name: |pv: &Persistent| &pv.name };
        Self {
            volumes: watch(client, trim_volume),
            snapshots: watch(client, forget_managed_fields),
            pools: watch(client, forget_managed_fields),
            nodes: watch(client, trim_node),
            lifecycle: watch(client, forget_managed_fields),
            tiering: watch(client, forget_managed_fields),
            hosts: observe(events::<Node>(client), hosts),
            persistent: observe(events::<PersistentVolume>(client), persistent),
            last: Last::default(),
        }
    }

    /// Ends when every first list has arrived.
    pub async fn synced(&self) {
        let Self {
            volumes,
            snapshots,
            pools,
            nodes,
            lifecycle,
            tiering,
            hosts,
            persistent,
            last: _,
        } = self;
        futures::join!(
            volumes.synced(),
            snapshots.synced(),
            pools.synced(),
            nodes.synced(),
            lifecycle.synced(),
            tiering.synced(),
            hosts.synced(),
            persistent.synced()
        );
    }

    /// The cluster as last told; one world for all who ask between two changes.
    #[must_use]
    pub fn world(&self) -> Arc<World> {
        let now = World {
            volumes: self.volumes.listed(),
            snapshots: self.snapshots.listed(),
            pools: self.pools.listed(),
            nodes: self.nodes.listed(),
            hosts: self.hosts.all(),
            persistent: self.persistent.all(),
            ..World::default()
        };
        let mut last = locked(&self.last.0);
        if !is_same(&last, &now) {
            *last = Arc::new(now);
        }
        Arc::clone(&last)
    }
}

fn is_same(one: &World, other: &World) -> bool {
    one.volumes.is_same(&other.volumes)
        && one.snapshots.is_same(&other.snapshots)
        && one.pools.is_same(&other.pools)
        && one.nodes.is_same(&other.nodes)
        && one.hosts.is_same(&other.hosts)
        && one.persistent.is_same(&other.persistent)
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the value whole.
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn events<K>(client: &Client) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().page_size(PAGE);
    watch_kind(Api::<K>::all(client.clone()), config).backoff(TakenUp::default())
}

fn watch<K>(client: &Client, trim: fn(&mut K)) -> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    fill(events(client).modify(trim))
}

/// Fills a cache from a stream of watch events, in a task of its own.
pub fn fill<K, S>(events: S) -> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    K::DynamicType: Hash + Eq,
    S: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
{
    let (store, writer) = reflector::store();
    let (signal, changed) = watch::channel(0);
    let events = events.reflect(writer);
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => {
                    signal.send_modify(|count| *count += 1);
                }
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "watch broke; it is taken up again")
                }
            }
        }
    });
    Cache { store, changed, listed: Mutex::default() }
}

fn forget_managed_fields<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Keeps what placement reads: not the devices, nor what is there of facilities.
fn trim_node(node: &mut StorageNode) {
    forget_managed_fields(node);
    (node.metadata.annotations, node.metadata.labels) = (None, None);
    if let Some(status) = &mut node.status {
        status.devices = Vec::new();
        status.facilities.retain(|facility| !facility.available);
    }
}

/// Keeps what decisions read. Of one that has its place, how it was asked for and how it fares in detail is not.
fn trim_volume(volume: &mut StorageVolume) {
    forget_managed_fields(volume);
    if volume.spec.assignment.is_none() {
        return;
    }
    volume.metadata.labels = None;
    let mut notes = volume.metadata.annotations.take().unwrap_or_default();
    notes.retain(|name, _| name == ANNOTATION_TRACEPARENT);
    volume.metadata.annotations = (!notes.is_empty()).then_some(notes);
    let Some(status) = &mut volume.status else { return };
    (status.device, status.usage, status.operation) = (None, None, None);
    (status.tier, status.backend) = (None, None);
    (status.latency, status.access) = (None, None);
    status.conditions.retain(is_read);
    status.conditions.shrink_to_fit();
    for condition in &mut status.conditions {
        let is_ready = condition.type_ == ConditionType::Ready.as_str();
        if is_ready && condition.status == Truth::True.as_str() {
            condition.message = String::new();
        }
    }
}

fn is_read(condition: &Condition) -> bool {
    let is = |kind: ConditionType| condition.type_ == kind.as_str();
    // Only a growth that was refused is asked for.
    let grown = is(ConditionType::Resizing) && condition.reason == Reason::AsExpected.as_str();
    !grown && (is_ailment(condition) || !UNREAD.into_iter().any(is))
}

#[cfg(test)]
mod tests;
