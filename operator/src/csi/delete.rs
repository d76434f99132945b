//! DeleteVolume: the stamp (I1), the deletion, and the wait until the object is gone. It destroys nothing: the
//! node does, on its own proof.

use std::fmt::Debug;
use std::time::Duration;

use csi_proto_rs::csi::v1::{DeleteVolumeRequest, DeleteVolumeResponse};
use jiff::Timestamp;
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::de::DeserializeOwned;
use terrace_crds::StorageVolume;
use terrace_plan::delete::{plan_adopt_for_deletion, plan_delete, waits_for};
use terrace_plan::effect::Effect;
use terrace_plan::world::World;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Service;
use super::wait::gone;
use crate::error::Error;
use crate::metrics::Method;

/// A node tells what it removed well within this time.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Deletes a volume; one that is not there is deleted already.
///
/// # Errors
/// [`Error`], as CSI names them.
pub async fn delete(
    service: &Service,
    request: DeleteVolumeRequest,
    deadline: Instant,
) -> Result<DeleteVolumeResponse, Error> {
    let DeleteVolumeRequest { volume_id: name, secrets: _ } = request;
    if name.is_empty() {
        return Err(Error::Field { field: "volume_id" });
    }
    let _guard = service.calls.enter(&name, Method::DeleteVolume)?;
    let id = Uuid::new_v4();
    let adopt =
        |world: &World, name: &str| plan_adopt_for_deletion(world, name, id, Timestamp::now());
    let found = find_or_adopt(service, ("volume", &name), deadline, adopt);
    let Some(volume): Option<StorageVolume> = found.await? else {
        return Ok(DeleteVolumeResponse {});
    };
    let uid = volume.metadata.uid.clone().unwrap_or_default();
    carry_out(service, volume, |volume| plan_delete(volume, id, Timestamp::now())).await?;
    let read = || service.read(&name);
    let waits = |volume: &StorageVolume| waits_for(&service.caches.world(), volume);
    gone(&service.caches.volumes, (&name, &uid), deadline, read, waits).await?;
    Ok(DeleteVolumeResponse {})
}

/// The object; where it was lost but a node still has the bytes, a new one for its deletion, as `adopt` plans it.
///
/// # Errors
/// [`Error::Deadline`] where the nodes have not told what they hold; what reading and writing say.
pub(super) async fn find_or_adopt<K>(
    service: &Service,
    (what, name): (&str, &str),
    deadline: Instant,
    adopt: impl Fn(&World, &str) -> Option<Effect>,
) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + DeserializeOwned + Debug,
{
    if let Some(object) = service.read_object(name).await? {
        return Ok(Some(object));
    }
    // Before the first list no node would seem to have the bytes, and they would be left behind for good.
    if timeout_at(deadline, service.caches.synced()).await.is_err() {
        let waiting = format!("{what} {name}: the first list of what the nodes hold");
        return Err(Error::Deadline { waiting });
    }
    let Some(adopt) = still_listed(service, deadline, |world| adopt(world, name)).await else {
        return Ok(None);
    };
    service.effects.apply(&adopt).await?;
    service.read_object(name).await
}

/// What `adopt` plans once a node has had the time to tell what it has just removed: a caller may ask again right after the
/// end, and an object for what is gone would only come and go.
async fn still_listed(
    service: &Service,
    deadline: Instant,
    adopt: impl Fn(&World) -> Option<Effect>,
) -> Option<Effect> {
    let until = deadline.min(Instant::now() + TOLD_WITHIN);
    let mut changed = service.caches.nodes.changed();
    loop {
        changed.borrow_and_update();
        let planned = adopt(&service.caches.world())?;
        if !matches!(timeout_at(until, changed.changed()).await, Ok(Ok(()))) {
            return Some(planned);
        }
    }
}

/// Carries out effect after effect, each planned on the volume as it is then.
///
/// # Errors
/// [`Error::Changed`] where another writer is quicker every time.
pub(super) async fn carry_out<K>(
    service: &Service,
    object: K,
    plan: impl Fn(&K) -> Option<Effect>,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + DeserializeOwned + Debug,
{
    /// Stamp and deletion, and as many collisions with reports of the node.
    const ROUNDS: usize = 12;
    let name = object.meta().name.clone().unwrap_or_default();
    let uid = object.meta().uid.clone();
    let mut latest = Some(object);
    for _ in 0..ROUNDS {
        let current = match latest.take() {
            Some(object) => object,
            None => match service.read_object::<K>(&name).await? {
                Some(object) if object.meta().uid == uid => object,
                Some(_) | None => return Ok(()),
            },
        };
        let Some(effect) = plan(&current) else { return Ok(()) };
        match service.effects.apply(&effect).await {
            Ok(())
                if matches!(
                    effect,
                    Effect::DeleteVolume { .. } | Effect::DeleteSnapshot { .. }
                ) =>
            {
                return Ok(());
            }
            Ok(()) | Err(Error::Changed { .. }) => {}
            Err(error) if error.is_gone() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(Error::Changed { name })
}
