//! Space promised by this process that the watch has not told back yet. Without it, two placements in the
//! same millisecond would be promised the same bytes. Holds nothing for longer than the watch takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use terrace_crds::volume::Assignment;
use terrace_crds::{Size, StorageVolume};
use terrace_plan::effect::Effect;
use terrace_plan::space::bytes;
use terrace_plan::world::World;

/// What was promised to one volume.
#[derive(Clone, Debug)]
struct Promise {
    assignment: Option<Assignment>,
    capacity: u64,
}

/// Promises by UID of the volume.
#[derive(Debug, Default)]
pub struct Promises {
    /// Held from looking at the world until the promise is noted.
    deciding: tokio::sync::Mutex<()>,
    by_uid: Mutex<HashMap<String, Promise>>,
}

impl Promises {
    /// Only one decision that promises space is made at a time.
    pub async fn decide(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.deciding.lock().await
    }

    /// Notes what an effect promises, before it is carried out.
    pub fn note(&self, effect: &Effect) {
        let (uid, promise) = match effect {
            Effect::AssignVolume { volume, assignment, bytes, .. } => {
                let assignment = Some(assignment.clone());
                (&volume.uid, Promise { assignment, capacity: *bytes })
            }
            Effect::GrowVolume { volume, to } => {
                (&volume.uid, Promise { assignment: None, capacity: *to })
            }
            _ => return,
        };
        self.locked().insert(uid.clone(), promise);
    }

    /// Takes back what an effect promised that was not carried out.
    pub fn retract(&self, effect: &Effect) {
        match effect {
            Effect::AssignVolume { volume, .. } | Effect::GrowVolume { volume, .. } => {
                self.locked().remove(&volume.uid);
            }
            _ => {}
        }
    }

    /// The world as it will be told once the watch has caught up; promises it tells already are forgotten.
    #[must_use]
    pub fn overlay(&self, mut world: World) -> World {
        let mut promises = self.locked();
        if promises.is_empty() {
            return world;
        }
        let mut pending = HashMap::new();
        for volume in &mut world.volumes {
            let uid = volume.metadata.uid.clone().unwrap_or_default();
            let Some(promise) = promises.remove(&uid) else { continue };
            if is_told(volume, &promise) {
                continue;
            }
            *volume = Arc::new(promised(volume, &promise));
            pending.insert(uid, promise);
        }
        // What is left belongs to volumes that are gone.
        *promises = pending;
        world
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Promise>> {
        // Every critical section leaves the map whole.
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_told(volume: &StorageVolume, promise: &Promise) -> bool {
    let placed = promise.assignment.is_none() || volume.spec.assignment.is_some();
    placed && bytes(&volume.spec.capacity) >= promise.capacity
}

fn promised(volume: &StorageVolume, promise: &Promise) -> StorageVolume {
    let mut volume = volume.clone();
    if volume.spec.assignment.is_none() {
        volume.spec.assignment.clone_from(&promise.assignment);
    }
    if bytes(&volume.spec.capacity) < promise.capacity {
        volume.spec.capacity = Size::from_bytes(promise.capacity);
    }
    volume
}
