//! Space promised by this process that the watch has not told back yet. Without it, two placements in the
//! same millisecond would be promised the same bytes. Holds nothing for longer than the watch takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use terrace_crds::volume::Assignment;
use terrace_crds::{Size, StorageVolume};
use terrace_plan::effect::{Effect, ObjectRef};
use terrace_plan::space::{bytes, granted};
use terrace_plan::world::World;

/// What was promised to one volume or snapshot.
#[derive(Clone, Debug)]
struct Promise {
    assignment: Option<Assignment>,
    capacity: u64,
    /// Version of the object that it was decided on: the write that follows is the next one, or none.
    version: String,
}

/// Promises by UID of the volume or snapshot.
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

    /// Notes what effects promise, before they are carried out.
    pub fn note(&self, effects: &[Effect]) -> Noted<'_> {
        let promised: Vec<(String, Promise)> = effects.iter().filter_map(promise_of).collect();
        let uids = promised.iter().map(|(uid, _)| uid.clone()).collect();
        self.locked().extend(promised);
        Noted { promises: self, uids }
    }

    /// The world as it will be told once the watch has caught up; promises it tells already are forgotten.
    #[must_use]
    pub fn overlay(&self, mut world: Arc<World>) -> Arc<World> {
        let mut promises = self.locked();
        if promises.is_empty() {
            return world;
        }
        let mut pending = HashMap::new();
        let (mut volumes, mut snapshots) = (Vec::new(), Vec::new());
        for (at, volume) in world.volumes.iter().enumerate() {
            let uid = volume.metadata.uid.as_deref().unwrap_or_default();
            let Some((uid, promise)) = promises.remove_entry(uid) else { continue };
            if is_told(volume, &promise) {
                continue;
            }
            volumes.push((at, Arc::new(promised(volume, &promise))));
            pending.insert(uid, promise);
        }
        for (at, snapshot) in world.snapshots.iter().enumerate() {
            let uid = snapshot.metadata.uid.as_deref().unwrap_or_default();
            let Some((uid, promise)) = promises.remove_entry(uid) else { continue };
            if snapshot.spec.assignment.is_some() {
                continue;
            }
            let mut told = (**snapshot).clone();
            told.spec.assignment.clone_from(&promise.assignment);
            snapshots.push((at, Arc::new(told)));
            pending.insert(uid, promise);
        }
        // What is left belongs to volumes that are gone.
        *promises = pending;
        if !volumes.is_empty() {
            let all = Arc::make_mut(&mut world).volumes.edit();
            volumes.into_iter().for_each(|(at, volume)| all[at] = volume);
        }
        if !snapshots.is_empty() {
            let all = Arc::make_mut(&mut world).snapshots.edit();
            snapshots.into_iter().for_each(|(at, snapshot)| all[at] = snapshot);
        }
        world
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Promise>> {
        // Every critical section leaves the map whole.
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Promises that are not kept yet. Dropped, they are taken back: a call that its caller gave up, or a leader that
/// was deposed in the middle of a write, holds no space. Where the write was made all the same, the watch tells.
#[must_use]
#[derive(Debug)]
pub struct Noted<'a> {
    promises: &'a Promises,
    uids: Vec<String>,
}

impl Noted<'_> {
    /// What was promised was written: from now on the watch tells when it may be forgotten.
    pub fn keep(mut self) {
        self.uids.clear();
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut promises = self.promises.locked();
        for uid in &self.uids {
            promises.remove(uid);
        }
    }
}

fn promise(of: &ObjectRef, assignment: Option<Assignment>, capacity: u64) -> (String, Promise) {
    let version = of.resource_version.clone();
    (of.uid.clone(), Promise { assignment, capacity, version })
}

/// What an effect promises, and to whom.
fn promise_of(effect: &Effect) -> Option<(String, Promise)> {
    match effect {
        Effect::AssignVolume { volume: of, assignment, pool: _, bytes }
        | Effect::AssignSnapshot { snapshot: of, assignment, pool: _, bytes } => {
            Some(promise(of, Some(assignment.clone()), *bytes))
        }
        Effect::GrowVolume { volume, to } => Some(promise(volume, None, *to)),
        Effect::CreateVolume { .. }
        | Effect::HealVolume { .. }
        | Effect::AbandonVolume { .. }
        | Effect::AbandonSnapshot { .. }
        | Effect::TellPersistent { .. }
        | Effect::NameVolume { .. }
        | Effect::MakePersistent { .. }
        | Effect::PointPersistent { .. }
        | Effect::MakeClaim { .. }
        | Effect::GrowClaim { .. }
        | Effect::CreateSnapshot { .. }
        | Effect::StampSnapshot { .. }
        | Effect::DeleteSnapshot { .. }
        | Effect::ReleaseSnapshot { .. }
        | Effect::ReportSnapshot { .. }
        | Effect::StampDeletion { .. }
        | Effect::DeleteVolume { .. }
        | Effect::ReleaseVolume { .. }
        | Effect::ReportVolume { .. }
        | Effect::HoldPool { .. }
        | Effect::ReleasePool { .. }
        | Effect::ReportPool { .. }
        | Effect::ReportLifecycle { .. }
        | Effect::ReportTiering { .. }
        | Effect::Tell { .. } => None,
    }
}

/// Whether the watch has told of the write, or of a later one: what was granted may have been taken back since.
fn is_told(volume: &StorageVolume, promise: &Promise) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    let seen = volume.metadata.resource_version.as_deref().and_then(number);
    if let (Some(seen), Some(decided)) = (seen, number(&promise.version))
        && seen > decided
    {
        return true;
    }
    match &promise.assignment {
        // What a Direct volume was granted stands in its assignment.
        Some(Assignment { capacity: Some(_), .. }) => {
            volume.spec.assignment.is_some() && granted(volume) >= promise.capacity
        }
        placed => {
            let placed = placed.is_none() || volume.spec.assignment.is_some();
            placed && bytes(&volume.spec.capacity) >= promise.capacity
        }
    }
}

fn promised(volume: &StorageVolume, promise: &Promise) -> StorageVolume {
    let mut volume = volume.clone();
    match &promise.assignment {
        Some(place @ Assignment { capacity: Some(_), .. }) => {
            volume.spec.assignment = Some(place.clone());
            return volume;
        }
        placed if volume.spec.assignment.is_none() => volume.spec.assignment.clone_from(placed),
        _ => {}
    }
    if bytes(&volume.spec.capacity) < promise.capacity {
        volume.spec.capacity = Size::from_bytes(promise.capacity);
    }
    volume
}
