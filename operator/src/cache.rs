//! What the API server last told: one watch a kind, shared by all who read, and a signal for whoever waits.
//! A cache may lag; what must not be decided on old news is read from the API server instead.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_kind};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use terrace_crds::{
    LifecyclePolicy, StorageNode, StoragePool, StorageSnapshot, StorageVolume, TieringPolicy,
};
use terrace_plan::observe::{observe_host, observe_persistent};
use terrace_plan::world::World;
use tokio::sync::watch;

/// Every object of one kind.
#[derive(Debug)]
pub struct Cache<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    changed: watch::Receiver<u64>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Cache<K> {
    /// Every object, as last told.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
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
    /// StorageVolumes.
    pub volumes: Cache<StorageVolume>,
    /// StorageSnapshots.
    pub snapshots: Cache<StorageSnapshot>,
    /// StoragePools.
    pub pools: Cache<StoragePool>,
    /// StorageNodes.
    pub nodes: Cache<StorageNode>,
    /// LifecyclePolicies.
    pub lifecycle: Cache<LifecyclePolicy>,
    /// TieringPolicies.
    pub tiering: Cache<TieringPolicy>,
    /// Kubernetes Nodes, trimmed.
    pub hosts: Cache<Node>,
    /// PersistentVolumes, trimmed.
    pub persistent: Cache<PersistentVolume>,
}

impl Caches {
    /// Starts every watch. They end with the runtime.
    #[must_use]
    pub fn start(client: &Client) -> Self {
        Self {
            volumes: watch(client, forget_managed_fields),
            snapshots: watch(client, forget_managed_fields),
            pools: watch(client, forget_managed_fields),
            nodes: watch(client, forget_managed_fields),
            lifecycle: watch(client, forget_managed_fields),
            tiering: watch(client, forget_managed_fields),
            hosts: watch(client, trim_host),
            persistent: watch(client, trim_persistent),
        }
    }

    /// Ends when every first list has arrived.
    pub async fn synced(&self) {
        let Self { volumes, snapshots, pools, nodes, lifecycle, tiering, hosts, persistent } = self;
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

    /// The cluster as last told.
    #[must_use]
    pub fn world(&self) -> World {
        World {
            volumes: self.volumes.all(),
            snapshots: self.snapshots.all(),
            pools: self.pools.all(),
            nodes: self.nodes.all(),
            hosts: self.hosts.all().iter().map(|node| observe_host(node)).collect(),
            persistent: self
                .persistent
                .all()
                .iter()
                .filter_map(|pv| observe_persistent(pv))
                .collect(),
            looked: BTreeMap::new(),
        }
    }
}

fn watch<K>(client: &Client, trim: fn(&mut K)) -> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let events = watch_kind(Api::<K>::all(client.clone()), watcher::Config::default());
    fill(events.default_backoff().modify(trim))
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
    Cache { store, changed }
}

fn forget_managed_fields<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Keeps what [`observe_host`] reads.
fn trim_host(node: &mut Node) {
    forget_managed_fields(node);
    node.metadata.annotations = None;
    node.metadata.labels = None;
    if let Some(status) = node.status.take() {
        let mut conditions = status.conditions.unwrap_or_default();
        conditions.retain(|condition| condition.type_ == "Ready");
        node.status.get_or_insert_default().conditions = Some(conditions);
    }
}

/// Keeps what [`observe_persistent`] reads.
fn trim_persistent(pv: &mut PersistentVolume) {
    forget_managed_fields(pv);
    pv.metadata.annotations = None;
    pv.metadata.labels = None;
    if let Some(spec) = &mut pv.spec {
        spec.node_affinity = None;
        if let Some(csi) = &mut spec.csi {
            csi.volume_attributes = None;
        }
    }
}
