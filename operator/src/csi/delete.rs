//! DeleteVolume: the stamp (I1), the deletion, and the wait until the object is gone. It destroys nothing: the
//! node does, on its own proof.

use csi_proto_rs::csi::v1::{DeleteVolumeRequest, DeleteVolumeResponse};
use jiff::Timestamp;
use terrace_crds::StorageVolume;
use terrace_plan::delete::{plan_adopt_for_deletion, plan_delete, waits_for};
use terrace_plan::effect::Effect;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Service;
use crate::error::Error;
use crate::metrics::Method;

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
    let Some(volume) = find_or_adopt(service, &name, deadline).await? else {
        return Ok(DeleteVolumeResponse {});
    };
    let uid = volume.metadata.uid.clone().unwrap_or_default();
    let id = Uuid::new_v4();
    carry_out(service, volume, |volume| plan_delete(volume, id, Timestamp::now())).await?;
    wait_until_gone(service, &name, &uid, deadline).await?;
    Ok(DeleteVolumeResponse {})
}

/// The volume; where its object was lost but a node still has the bytes, a new object for its deletion.
async fn find_or_adopt(
    service: &Service,
    name: &str,
    deadline: Instant,
) -> Result<Option<StorageVolume>, Error> {
    if let Some(volume) = service.read(name).await? {
        return Ok(Some(volume));
    }
    // Before the first list no node would seem to have the bytes, and they would be left behind for good.
    if timeout_at(deadline, service.caches.synced()).await.is_err() {
        let waiting = format!("volume {name}: the first list of what the nodes hold");
        return Err(Error::Deadline { waiting });
    }
    let Some(adopt) = plan_adopt_for_deletion(&service.caches.world(), name) else {
        return Ok(None);
    };
    service.effects.apply(&adopt).await?;
    service.read(name).await
}

/// Carries out effect after effect, each planned on the volume as it is then.
///
/// # Errors
/// [`Error::Changed`] where another writer is quicker every time.
pub(super) async fn carry_out(
    service: &Service,
    volume: StorageVolume,
    plan: impl Fn(&StorageVolume) -> Option<Effect>,
) -> Result<(), Error> {
    /// Stamp and deletion, and as many collisions with reports of the node.
    const ROUNDS: usize = 12;
    let name = volume.metadata.name.clone().unwrap_or_default();
    let uid = volume.metadata.uid.clone();
    let mut latest = Some(volume);
    for _ in 0..ROUNDS {
        let current = match latest.take() {
            Some(volume) => volume,
            None => match service.read(&name).await? {
                Some(volume) if volume.metadata.uid == uid => volume,
                Some(_) | None => return Ok(()),
            },
        };
        let Some(effect) = plan(&current) else { return Ok(()) };
        match service.effects.apply(&effect).await {
            Ok(()) if matches!(effect, Effect::DeleteVolume { .. }) => return Ok(()),
            Ok(()) | Err(Error::Changed { .. }) => {}
            Err(error) if error.is_gone() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(Error::Changed { name })
}

/// Gone is what the API server says; the cache only says when to ask.
async fn wait_until_gone(
    service: &Service,
    name: &str,
    uid: &str,
    deadline: Instant,
) -> Result<(), Error> {
    let cache = &service.caches.volumes;
    let mut changed = cache.changed();
    let is_it = |volume: &StorageVolume| volume.metadata.uid.as_deref() == Some(uid);
    loop {
        // Taken before looking: whatever happens from here on wakes the wait below.
        changed.borrow_and_update();
        let told = cache.get(name).is_some_and(|volume| is_it(&volume));
        if !told && !service.read(name).await?.is_some_and(|volume| is_it(&volume)) {
            return Ok(());
        }
        if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
            let who = cache.get(name).map(|volume| waits_for(&service.caches.world(), &volume));
            let who = who.unwrap_or_else(|| "the API server to tell that it is gone".to_owned());
            return Err(Error::Deadline { waiting: format!("volume {name}: {who}") });
        }
    }
}
