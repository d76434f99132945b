//! ControllerGetVolumeHealth and ControllerListVolumeHealth of CSI 1.13: what the conditions say, as last told by the
//! API server. It asks no node.

use csi_proto_rs::csi::v1::volume_health::VolumeHealthEntry;
use csi_proto_rs::csi::v1::{
    ControllerGetVolumeHealthRequest, ControllerGetVolumeHealthResponse,
    ControllerListVolumeHealthRequest, ControllerListVolumeHealthResponse, VolumeHealth,
    VolumeHealthErrorType,
};
use terrace_crds::StorageVolume;
use terrace_plan::health::{Ailment, Severity, ailments};
use terrace_plan::world::name_of;

use super::Service;
use super::list::{is_listed, page, parse_token};
use crate::error::Error;

/// The health of one volume.
///
/// # Errors
/// [`Error::Field`] without a handle, [`Error::NotFound`] where no volume has it.
pub async fn get(
    service: &Service,
    request: ControllerGetVolumeHealthRequest,
) -> Result<ControllerGetVolumeHealthResponse, Error> {
    let ControllerGetVolumeHealthRequest { volume_id: name, secrets: _ } = request;
    if name.is_empty() {
        return Err(Error::Field { field: "volume_id" });
    }
    // Past the cache: one that was made a moment ago is there.
    let volume = service.read(&name).await?.ok_or(Error::NotFound { name })?;
    Ok(ControllerGetVolumeHealthResponse { volume_health: Some(health(&volume)) })
}

/// One page of the volumes that have their place, well or not.
///
/// # Errors
/// [`Error::Token`] for a token of somebody else, [`Error::Field`] for a negative page size.
pub fn list(
    service: &Service,
    request: &ControllerListVolumeHealthRequest,
) -> Result<ControllerListVolumeHealthResponse, Error> {
    let ControllerListVolumeHealthRequest { max_entries, starting_token, secrets: _ } = request;
    let most = usize::try_from(*max_entries).map_err(|_| Error::Field { field: "max_entries" })?;
    let after = parse_token(starting_token)?;
    let mut volumes = service.caches.volumes.all().to_vec();
    volumes.retain(|volume| is_listed(volume));
    volumes.sort_by(|a, b| name_of(&a.metadata).cmp(name_of(&b.metadata)));
    let names: Vec<&str> = volumes.iter().map(|volume| name_of(&volume.metadata)).collect();
    let (page, next_token) = page(&names, after, most);
    let entries = volumes[page].iter().map(|volume| health(volume)).collect();
    Ok(ControllerListVolumeHealthResponse { entries, next_token })
}

fn health(volume: &StorageVolume) -> VolumeHealth {
    let entry = |Ailment { severity, reason, message }| VolumeHealthEntry {
        status: match severity {
            Severity::Degraded => VolumeHealthErrorType::Degraded,
            Severity::Inaccessible => VolumeHealthErrorType::Inaccessible,
        }
        .into(),
        reason,
        message,
    };
    VolumeHealth {
        volume_id: name_of(&volume.metadata).to_owned(),
        health_statuses: ailments(volume).into_iter().map(entry).collect(),
    }
}
