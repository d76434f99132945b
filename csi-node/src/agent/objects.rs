//! The watched objects of this node, as far as host objects are concerned: which of those are claimed. Knows no host.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::FutureExt;
use kube::Resource;
use kube::runtime::reflector::{Lookup, Store};
use kube::runtime::watcher::{Error, Event};
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_device_types::{PoolUuid, VolumeUuid};

/// The UUIDs that objects of this node claim.
pub type Claims = BTreeSet<VolumeUuid>;

/// An object that claims host objects.
pub trait Claimant {
    /// Which ones.
    fn claims(&self) -> Vec<VolumeUuid>;

    /// The pool that they lie on.
    fn pool(&self) -> Option<PoolUuid>;
}

impl Claimant for StorageVolume {
    fn claims(&self) -> Vec<VolumeUuid> {
        let named = [&self.spec.volume_uuid, &self.spec.adopt];
        named.into_iter().flatten().filter_map(|uuid| uuid.parse().ok()).collect()
    }

    fn pool(&self) -> Option<PoolUuid> {
        self.spec.assignment.as_ref()?.pool_uuid.parse().ok()
    }
}

impl Claimant for StorageSnapshot {
    fn claims(&self) -> Vec<VolumeUuid> {
        self.spec.snapshot_uuid.parse().into_iter().collect()
    }

    fn pool(&self) -> Option<PoolUuid> {
        self.spec.assignment.as_ref()?.pool_uuid.parse().ok()
    }
}

/// Both watches' caches.
#[derive(Debug, Default)]
pub struct Objects {
    volumes: OnceLock<Store<StorageVolume>>,
    snapshots: OnceLock<Store<StorageSnapshot>>,
    /// What a look last went by.
    known: Mutex<Claims>,
}

impl Objects {
    /// The volumes are watched into `store` from now on.
    pub fn watch_volumes(&self, store: Store<StorageVolume>) {
        // There is one watch of each kind in a process; a second one would be of the same objects.
        let _ = self.volumes.set(store);
    }

    /// The snapshots are watched into `store` from now on.
    pub fn watch_snapshots(&self, store: Store<StorageSnapshot>) {
        let _ = self.snapshots.set(store);
    }

    /// The StorageVolumes of this node; none before the watch has listed them.
    #[must_use]
    pub fn volumes(&self) -> Vec<Arc<StorageVolume>> {
        self.volumes.get().map(Store::state).unwrap_or_default()
    }

    /// What is claimed now; `None` before both watches have listed everything once.
    #[must_use]
    pub fn claims(&self) -> Option<Claims> {
        let mut claims = of(self.volumes.get()?)?;
        claims.extend(of(self.snapshots.get()?)?);
        Some(claims)
    }

    /// The pools that an object here lies on; `None` before both watches have listed everything once.
    #[must_use]
    pub fn pools(&self) -> Option<BTreeSet<PoolUuid>> {
        let mut pools = pools_of(self.volumes.get()?)?;
        pools.extend(pools_of(self.snapshots.get()?)?);
        Some(pools)
    }

    /// Remembers what a look went by.
    pub fn went_by(&self, claims: &Claims) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone_from(claims);
    }

    /// Whether an event changes what the last look went by.
    pub fn is_news<K: Claimant>(&self, event: &Result<Event<K>, Error>) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::InitDone) => true,
            Ok(Event::Apply(object)) => object.claims().iter().any(|uuid| !known.contains(uuid)),
            Ok(Event::Delete(object)) => object.claims().iter().any(|uuid| known.contains(uuid)),
            Ok(Event::Init | Event::InitApply(_)) | Err(_) => false,
        }
    }
}

fn of<K>(store: &Store<K>) -> Option<Claims>
where
    K: Claimant + Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + 'static,
{
    store.wait_until_ready().now_or_never()?.ok()?;
    Some(store.state().iter().flat_map(|object| object.claims()).collect())
}

fn pools_of<K>(store: &Store<K>) -> Option<BTreeSet<PoolUuid>>
where
    K: Claimant + Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + 'static,
{
    store.wait_until_ready().now_or_never()?.ok()?;
    Some(store.state().iter().filter_map(|object| object.pool()).collect())
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use serde_json::json;

    use super::*;

    const ONE: &str = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11";
    const TWO: &str = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c12";

    fn volume(uuid: Option<&str>, adopt: Option<&str>) -> StorageVolume {
        let spec = json!({ "volumeUUID": uuid, "adopt": adopt, "origin": "Direct",
            "capacity": "1Gi", "pool": "p" });
        let object = json!({ "metadata": { "name": "sv" }, "spec": spec });
        serde_json::from_value(object).expect("a StorageVolume")
    }

    #[test]
    fn nothing_is_known_before_both_watches_have_listed_everything() {
        let objects = Objects::default();
        let (volumes, mut volume_writer) = reflector::store();
        let (snapshots, mut snapshot_writer) = reflector::store();
        objects.watch_volumes(volumes);
        objects.watch_snapshots(snapshots);
        volume_writer.apply_watcher_event(&Event::Init);
        volume_writer.apply_watcher_event(&Event::InitApply(volume(Some(ONE), None)));
        volume_writer.apply_watcher_event(&Event::InitDone);
        assert_eq!(objects.claims(), None, "every snapshot would look like an orphan");
        snapshot_writer.apply_watcher_event(&Event::InitDone);
        assert_eq!(objects.claims(), Some([ONE.parse().expect("a UUID")].into()));
    }

    #[test]
    fn only_what_changes_the_claims_is_news() {
        let objects = Objects::default();
        let event = |event: Event<StorageVolume>| objects.is_news(&Ok(event));
        objects.went_by(&[ONE.parse().expect("a UUID")].into());
        assert!(event(Event::InitDone));
        assert!(!event(Event::Apply(volume(Some(ONE), None))), "I8: its status changed");
        assert!(event(Event::Apply(volume(Some(ONE), Some(TWO)))));
        assert!(event(Event::Delete(volume(Some(ONE), None))));
        assert!(!event(Event::Delete(volume(Some(TWO), None))));
        assert!(!event(Event::Apply(volume(None, None))));
    }
}
