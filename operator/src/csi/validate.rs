//! ValidateVolumeCapabilities: whether a volume that is there can be used as asked. It changes nothing.

use csi_proto_rs::csi::v1::validate_volume_capabilities_response::Confirmed;
use csi_proto_rs::csi::v1::{
    ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse,
};
use terrace_crds::StorageVolume;
use terrace_plan::capability::{CapabilityError, DEFAULT_FILESYSTEM, validate_capabilities};
use terrace_plan::size::Content;

use super::{Service, wire};
use crate::error::Error;

/// Confirms, or says why not.
///
/// # Errors
/// [`Error::Field`] and [`Error::NotFound`]; a use that is not offered is an answer, not an error.
pub async fn validate(
    service: &Service,
    request: ValidateVolumeCapabilitiesRequest,
) -> Result<ValidateVolumeCapabilitiesResponse, Error> {
    let ValidateVolumeCapabilitiesRequest {
        volume_id: name,
        volume_context,
        volume_capabilities,
        parameters,
        secrets: _,
        mutable_parameters,
    } = request;
    if name.is_empty() {
        return Err(Error::Field { field: "volume_id" });
    }
    if volume_capabilities.is_empty() {
        return Err(CapabilityError::None.into());
    }
    let volume = service.read(&name).await?.ok_or(Error::NotFound { name })?;
    let context = wire::context(&service.caches, &volume);
    let fits = volume_context.iter().all(|(key, value)| context.get(key) == Some(value));
    let asked = wire::parse_capabilities(volume_capabilities.clone());
    let why = match validate_capabilities(&asked, volume.spec.fs_type, DEFAULT_FILESYSTEM) {
        _ if !fits => Some("the volume context is not this volume's".to_owned()),
        Ok(valid) if valid.content == content(&volume) => None,
        Ok(_) => Some(format!("the volume holds {}", content(&volume))),
        Err(error) => Some(error.to_string()),
    };
    Ok(match why {
        Some(message) => ValidateVolumeCapabilitiesResponse { confirmed: None, message },
        None => {
            let confirmed =
                Confirmed { volume_context, volume_capabilities, parameters, mutable_parameters };
            ValidateVolumeCapabilitiesResponse {
                confirmed: Some(confirmed),
                message: String::new(),
            }
        }
    })
}

fn content(volume: &StorageVolume) -> Content {
    volume.spec.fs_type.map_or(Content::Block, Content::Filesystem)
}
