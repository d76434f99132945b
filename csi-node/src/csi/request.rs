//! Requests of the kubelet, checked once: from here on a missing field or an odd path cannot occur.
//! Pure.

use std::collections::HashMap;
use std::path::PathBuf;

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use csi_proto_rs::csi::v1::volume_capability::{AccessType, MountVolume};
use csi_proto_rs::csi::v1::{
    CapacityRange, NodeExpandVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest,
    VolumeCapability,
};
use terrace_crds::names;
use terrace_device_types::{Access, FsType, Sharing, VolumeMode, VolumeUuid};

use super::status::BadRequest;

/// What the consumer will do with the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCapability {
    /// Raw, or a filesystem: `None` is "whatever it has".
    pub mode: Option<VolumeMode>,
    /// Whether a filesystem was asked for at all.
    pub kind: AccessKind,
    /// Mount options.
    pub options: Vec<String>,
    /// Whether the mode allows writing.
    pub access: Access,
    /// Whether more than one place may have it.
    pub sharing: Sharing,
}

/// Mounted or raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// A filesystem.
    Mount,
    /// A device node.
    Block,
}

/// A checked `NodeStageVolumeRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidStage {
    /// The handle.
    pub volume: String,
    /// The UUID in the volume context.
    pub uuid: Option<VolumeUuid>,
    /// The pool in the volume context.
    pub pool: Option<String>,
    /// The staging path.
    pub target: PathBuf,
    /// What for.
    pub capability: ValidCapability,
}

/// A checked `NodePublishVolumeRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidPublish {
    /// The handle.
    pub volume: String,
    /// The UUID in the volume context.
    pub uuid: Option<VolumeUuid>,
    /// The pool in the volume context.
    pub pool: Option<String>,
    /// The staging path.
    pub staging: PathBuf,
    /// The Pod's path.
    pub target: PathBuf,
    /// What for.
    pub capability: ValidCapability,
    /// Read-only by flag or mode.
    pub access: Access,
}

/// A checked `NodeExpandVolumeRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidExpand {
    /// The handle.
    pub volume: String,
    /// Where it is staged or published.
    pub path: PathBuf,
    /// At least.
    pub required: u64,
    /// At most; `None` is no bound.
    pub limit: Option<u64>,
}

/// Checks a stage request.
///
/// # Errors
/// [`BadRequest`], naming the field.
pub fn validate_stage(request: NodeStageVolumeRequest) -> Result<ValidStage, BadRequest> {
    let NodeStageVolumeRequest {
        volume_id,
        publish_context: _,
        staging_target_path,
        volume_capability,
        secrets: _,
        mut volume_context,
    } = request;
    Ok(ValidStage {
        volume: parse_text("volume_id", volume_id)?,
        uuid: parse_uuid(&volume_context)?,
        pool: volume_context.remove(names::CONTEXT_POOL),
        target: parse_path("staging_target_path", staging_target_path)?,
        capability: parse_capability(volume_capability)?,
    })
}

/// Checks a publish request.
///
/// # Errors
/// [`BadRequest`], naming the field.
pub fn validate_publish(request: NodePublishVolumeRequest) -> Result<ValidPublish, BadRequest> {
    let NodePublishVolumeRequest {
        volume_id,
        publish_context: _,
        staging_target_path,
        target_path,
        volume_capability,
        readonly,
        secrets: _,
        mut volume_context,
    } = request;
    let volume = parse_text("volume_id", volume_id)?;
    let target = parse_path("target_path", target_path)?;
    let capability = parse_capability(volume_capability)?;
    let asked_read_only = readonly || capability.options.iter().any(|option| option == "ro");
    let access = if asked_read_only { Access::ReadOnly } else { capability.access };
    let staging = parse_path("staging_target_path", staging_target_path)?;
    Ok(ValidPublish {
        volume,
        uuid: parse_uuid(&volume_context)?,
        pool: volume_context.remove(names::CONTEXT_POOL),
        staging,
        target,
        capability,
        access,
    })
}

/// Checks an expand request.
///
/// # Errors
/// [`BadRequest`], naming the field.
pub fn validate_expand(request: NodeExpandVolumeRequest) -> Result<ValidExpand, BadRequest> {
    let NodeExpandVolumeRequest {
        volume_id,
        volume_path,
        capacity_range,
        staging_target_path: _,
        volume_capability: _,
        secrets: _,
    } = request;
    let CapacityRange { required_bytes: required, limit_bytes: limit } =
        capacity_range.unwrap_or_default();
    let impossible = BadRequest::Capacity { required, limit };
    let size = |bytes: i64| u64::try_from(bytes).map_err(|_| impossible.clone());
    let (required, limit) = (size(required)?, Some(size(limit)?).filter(|limit| *limit != 0));
    if limit.is_some_and(|limit| limit < required) {
        return Err(impossible);
    }
    Ok(ValidExpand {
        volume: parse_text("volume_id", volume_id)?,
        // Only looked up, never made: a path that is none of the volume's is simply not found.
        path: parse_text("volume_path", volume_path)?.into(),
        required,
        limit,
    })
}

/// A text that must be there.
///
/// # Errors
/// [`BadRequest::Missing`].
pub fn parse_text(field: &'static str, text: String) -> Result<String, BadRequest> {
    if text.is_empty() { Err(BadRequest::Missing(field)) } else { Ok(text) }
}

/// A path that must be there and absolute.
///
/// # Errors
/// [`BadRequest::Missing`], [`BadRequest::NotAbsolute`].
pub fn parse_path(field: &'static str, text: String) -> Result<PathBuf, BadRequest> {
    let text = parse_text(field, text)?;
    if text.starts_with('/') {
        Ok(PathBuf::from(text))
    } else {
        Err(BadRequest::NotAbsolute { field, path: text })
    }
}

fn parse_uuid(context: &HashMap<String, String>) -> Result<Option<VolumeUuid>, BadRequest> {
    let key = names::CONTEXT_VOLUME_UUID;
    let Some(text) = context.get(key) else { return Ok(None) };
    let uuid = text.parse().map_err(|_| BadRequest::Uuid { key, text: text.clone() })?;
    Ok(Some(uuid))
}

fn parse_capability(capability: Option<VolumeCapability>) -> Result<ValidCapability, BadRequest> {
    let capability = capability.ok_or(BadRequest::Missing("volume_capability"))?;
    let VolumeCapability { access_mode, access_type } = capability;
    let mode = access_mode.ok_or(BadRequest::Missing("volume_capability.access_mode"))?.mode();
    let (access, sharing) = parse_mode(mode)?;
    match access_type.ok_or(BadRequest::Missing("volume_capability.access_type"))? {
        AccessType::Block(_) => {
            let (mode, kind) = (Some(VolumeMode::Block), AccessKind::Block);
            Ok(ValidCapability { mode, kind, options: Vec::new(), access, sharing })
        }
        AccessType::Mount(MountVolume { fs_type, mount_flags, volume_mount_group: _ }) => {
            let mode = parse_fs(fs_type)?.map(|fs| VolumeMode::Filesystem { fs });
            let options = mount_flags;
            Ok(ValidCapability { mode, kind: AccessKind::Mount, options, access, sharing })
        }
    }
}

fn parse_fs(text: String) -> Result<Option<FsType>, BadRequest> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|()| BadRequest::FsType(text))
}

fn parse_mode(mode: Mode) -> Result<(Access, Sharing), BadRequest> {
    match mode {
        Mode::SingleNodeWriter | Mode::SingleNodeMultiWriter => {
            Ok((Access::ReadWrite, Sharing::Shared))
        }
        Mode::SingleNodeReaderOnly => Ok((Access::ReadOnly, Sharing::Shared)),
        Mode::SingleNodeSingleWriter => Ok((Access::ReadWrite, Sharing::Exclusive)),
        Mode::Unknown => Err(BadRequest::Missing("volume_capability.access_mode.mode")),
        Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter => {
            Err(BadRequest::AccessMode(mode.as_str_name()))
        }
    }
}

#[cfg(test)]
#[path = "request/tests.rs"]
mod tests;
