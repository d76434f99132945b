//! ControllerExpandVolume: promise the space, write the new size, wait until the node has grown the image. The
//! filesystem inside follows by NodeExpandVolume.

use csi_proto_rs::csi::v1::{ControllerExpandVolumeRequest, ControllerExpandVolumeResponse};
use terrace_crds::StorageVolume;
use terrace_crds::condition::{ConditionType, Reason, find};
use terrace_crds::volume::VolumeMode;
use terrace_plan::grow::{Growth, plan_grow};
use terrace_plan::size::Asked;
use terrace_plan::space::bytes;
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
    let volume =
        service.read(&name).await?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
    let to = promise(service, &volume, asked).await?;
    let uid = volume.metadata.uid.as_deref().unwrap_or_default();
    let what = "its node to grow it";
    wait_for(&service.caches.volumes, (&name, uid), deadline, what, |volume| judge(volume, to))
        .await?;
    Ok(ControllerExpandVolumeResponse {
        capacity_bytes: i64::try_from(to).unwrap_or(i64::MAX),
        node_expansion_required: volume.spec.volume_mode == VolumeMode::Filesystem,
    })
}

/// Bytes that the volume gets, promised on its pool before its node acts.
async fn promise(service: &Service, volume: &StorageVolume, asked: Asked) -> Result<u64, Error> {
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
    match growth {
        Growth::Enough { bytes } => Ok(bytes),
        Growth::Grow { to, effect } => {
            service.effects.apply(&effect).await?;
            noted.keep();
            Ok(to)
        }
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
