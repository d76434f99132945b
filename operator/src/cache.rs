//! What the API server last told: one watch a kind, shared by all who read, and a signal for whoever waits.
//! A cache may lag; what must not be decided on old news is read from the API server instead.

pub mod observed;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
use terrace_plan::observe::{observe_host, observe_persistent};
use terrace_plan::world::{Host, Persistent, World};

use self::observed::{Look, Observed, key_of, observe};

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

/// One cache a kind.
#[derive(Debug)]
pub struct Caches {
    /// StorageVolumes, trimmed.
    pub volumes: Observed<StorageVolume>,
    /// StorageSnapshots.
    pub snapshots: Observed<StorageSnapshot>,
    /// StoragePools.
    pub pools: Observed<StoragePool>,
    /// StorageNodes, trimmed.
    pub nodes: Observed<StorageNode>,
    /// LifecyclePolicies.
    pub lifecycle: Observed<LifecyclePolicy>,
    /// TieringPolicies.
    pub tiering: Observed<TieringPolicy>,
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
        let hosts =
            Look { see: |node| Some(observe_host(node)), key: |host: &Host| ("", &host.name) };
        let persistent = Look { see: observe_persistent, key: |pv: &Persistent| ("", &pv.name) };
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
            volumes: self.volumes.all(),
            snapshots: self.snapshots.all(),
            pools: self.pools.all(),
            nodes: self.nodes.all(),
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

fn watch<K>(client: &Client, trim: fn(&mut K)) -> Observed<K>
where
    K: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + PartialEq
        + Send
        + Sync
        + 'static,
{
    fill(events(client).modify(trim))
}

/// Fills a cache with the objects themselves, from a stream of watch events, in a task of its own.
pub fn fill<K, S>(events: S) -> Observed<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + PartialEq + Send + Sync + 'static,
    S: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
{
    // A copy has no room to spare in its lists.
    observe(events, Look { see: |object| Some(K::clone(object)), key: key_of })
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
