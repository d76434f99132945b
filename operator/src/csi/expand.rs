//! ControllerExpandVolume: promise the space, write the new size, wait until the node has grown the image. The
//! filesystem inside follows by NodeExpandVolume.

use csi_proto_rs::csi::v1::{ControllerExpandVolumeRequest, ControllerExpandVolumeResponse};
use terrace_crds::StorageVolume;
use terrace_crds::condition::{ConditionType, Reason, find};
use terrace_crds::volume::VolumeMode;
use terrace_plan::grow::{Growth, plan_grow, plan_take_back};
use terrace_plan::size::Asked;
use terrace_plan::space::{bytes, granted};
use terrace_plan::volume::conditions_of;
use tokio::time::Instant;

use super::wait::wait_for;
use super::{Service, wire};
use crate::error::Error;
use crate::metrics::Method;

/// Grows a volume.
///
/// # Errors
/// [`Error`], as CSI names them.
pub async fn expand(
    service: &Service,
    request: ControllerExpandVolumeRequest,
    deadline: Instant,
) -> Result<ControllerExpandVolumeResponse, Error> {
    let ControllerExpandVolumeRequest {
        volume_id: name,
        capacity_range,
        secrets: _,
        volume_capability: _,
    } = request;
    if name.is_empty() {
        return Err(Error::Field { field: "volume_id" });
    }
    let range = capacity_range.ok_or(Error::Field { field: "capacity_range" })?;
    let asked = wire::parse_size(Some(range))?;
    let _guard = service.calls.enter(&name, Method::ControllerExpandVolume)?;
    let volume = read(service, &name).await?;
    let (to, volume) = promise(service, volume, asked).await?;
    let uid = volume.metadata.uid.as_deref().unwrap_or_default();
    let what = "its node to grow it";
    // The cache may show what its node said of an earlier wish.
    let is_news = |told: &StorageVolume| told.metadata.generation >= volume.metadata.generation;
    let judged = |told: &StorageVolume| judge(told, to).filter(|_| is_news(told));
    let grown = wait_for(&service.caches.volumes, (&name, uid), deadline, what, judged).await;
    if let Err(Error::GrowthRefused { .. }) = &grown
        && let Err(fault) = take_back(service, &name, to).await
    {
        // The caller hears of the refusal; its next call finds what is there.
        tracing::warn!(volume = name, %fault, "growth that was refused is not taken back");
    }
    grown?;
    Ok(ControllerExpandVolumeResponse {
        capacity_bytes: i64::try_from(to).unwrap_or(i64::MAX),
        node_expansion_required: volume.spec.volume_mode == VolumeMode::Filesystem,
    })
}

async fn read(service: &Service, name: &str) -> Result<StorageVolume, Error> {
    service.read(name).await?.ok_or_else(|| Error::NotFound { name: name.to_owned() })
}

/// Bytes that the volume gets, promised on its pool before its node acts; and the volume with that promise.
async fn promise(
    service: &Service,
    mut volume: StorageVolume,
    asked: Asked,
) -> Result<(u64, StorageVolume), Error> {
    /// What was asked, and what is granted: two writes where a growth was taken back before.
    const WRITES: usize = 2;
    for _ in 0..WRITES {
        if let Growth::Enough { bytes } = promise_once(service, &volume, asked).await? {
            return Ok((bytes, volume));
        }
        volume = read(service, volume.metadata.name.as_deref().unwrap_or_default()).await?;
    }
    Ok((granted(&volume), volume))
}

async fn promise_once(
    service: &Service,
    volume: &StorageVolume,
    asked: Asked,
) -> Result<Growth, Error> {
    let (growth, noted) = {
        let _deciding = service.promises.decide().await;
        let world = service.promises.overlay(service.caches.world());
        let growth = plan_grow(&world, volume, asked)?;
        let noted = match &growth {
            Growth::Grow { effect, .. } => service.promises.note(std::slice::from_ref(&**effect)),
            Growth::Enough { .. } => service.promises.note(&[]),
        };
        (growth, noted)
    };
    if let Growth::Grow { effect, .. } = &growth {
        service.effects.apply(effect).await?;
        noted.keep();
    }
    Ok(growth)
}

/// Gives the space back that the node could not: promised to nobody's use, it would keep others out.
async fn take_back(service: &Service, name: &str, to: u64) -> Result<(), Error> {
    let volume = read(service, name).await?;
    // Another call may have asked for something else meanwhile.
    if !matches!(judge(&volume, to), Some(Err(Error::GrowthRefused { .. }))) {
        return Ok(());
    }
    match plan_take_back(&volume) {
        Some(effect) => service.effects.apply(&effect).await,
        None => Ok(()),
    }
}

fn judge(volume: &StorageVolume, to: u64) -> Option<Result<(), Error>> {
    let has = volume.status.as_ref().and_then(|status| status.capacity.as_ref()).map_or(0, bytes);
    if has >= to {
        return Some(Ok(()));
    }
    let resizing = find(conditions_of(volume), ConditionType::Resizing)?;
    let told_of_this = resizing.observed_generation >= volume.metadata.generation;
    let full = resizing.reason == Reason::PoolFull.as_str() && told_of_this;
    full.then(|| {
        let name = volume.metadata.name.clone().unwrap_or_default();
        Err(Error::GrowthRefused { name, message: resizing.message.clone() })
    })
}
