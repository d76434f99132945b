//! A StorageVolume, checked: what the node is to do about it, in the types of the host. Pure.

use kube::ResourceExt;
use terrace_crds::volume::{
    Deletion, FsType as WireFs, SourceKind, VolumeMode as WireMode, VolumeSource,
};
use terrace_crds::{Size, StorageVolume, names};
use terrace_device_types::{
    Bytes, DeletionStamp, Erase, FsType, HostObject, PoolUuid, VolumeMode, VolumeUuid,
};

/// Why a StorageVolume cannot be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A field that is needed is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field does not read as it must.
    #[error("{field} cannot be read: {text:?}")]
    Unreadable {
        /// The field.
        field: &'static str,
        /// What it says.
        text: String,
    },
}

/// What is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is to be there.
    Kept,
    /// It is being deleted, with the stamp if there is one.
    Deleted(Option<DeletionStamp>),
}

/// Whose bytes something begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidSource {
    /// A volume or a snapshot.
    pub object: HostObject,
    /// Its name, for people.
    pub name: String,
    /// Its UUID.
    pub uuid: VolumeUuid,
}

/// A checked StorageVolume that is assigned to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidVolume {
    /// Its name: the CSI handle.
    pub name: String,
    /// Name of its PersistentVolume.
    pub pv_name: String,
    /// Its UUID.
    pub uuid: VolumeUuid,
    /// The pool it lies on.
    pub pool: PoolUuid,
    /// The size asked for.
    pub size: Bytes,
    /// What it is made of.
    pub mode: VolumeMode,
    /// What it is a copy of, where it is one.
    pub source: Option<ValidSource>,
    /// What happens to the bytes at the end.
    pub erase: Erase,
    /// What is to become of it.
    pub fate: Fate,
}

/// Checks `volume`.
///
/// # Errors
/// [`Invalid`], naming the field.
pub fn validate_volume(volume: &StorageVolume) -> Result<ValidVolume, Invalid> {
    let name = volume.metadata.name.clone().ok_or(Invalid::Missing("metadata.name"))?;
    let spec = &volume.spec;
    let uuid = spec.volume_uuid.as_ref().ok_or(Invalid::Missing("spec.volumeUUID"))?;
    let assignment = spec.assignment.as_ref().ok_or(Invalid::Missing("spec.assignment"))?;
    // Of a Direct volume a person writes the capacity; what the operator granted stands in the assignment.
    let size = assignment.capacity.as_ref().unwrap_or(&spec.capacity);
    Ok(ValidVolume {
        pv_name: spec.csi_name.clone().unwrap_or_else(|| name.clone()),
        uuid: parse("spec.volumeUUID", uuid)?,
        pool: parse("spec.assignment.poolUUID", &assignment.pool_uuid)?,
        size: parse_size(size)?,
        mode: parse_mode(spec.volume_mode, spec.fs_type)?,
        source: spec.source.as_deref().map(parse_source).transpose()?,
        erase: if spec.erase_on_delete == Some(true) { Erase::Zeros } else { Erase::No },
        fate: parse_fate(volume)?,
        name,
    })
}

/// A text that must read as a `T`.
pub(super) fn parse<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|_| Invalid::Unreadable { field, text: text.to_owned() })
}

/// `spec.capacity`.
pub(super) fn parse_size(size: &Size) -> Result<Bytes, Invalid> {
    let (field, text) = ("spec.capacity", size.as_str().to_owned());
    size.bytes().map(Bytes).map_err(|_| Invalid::Unreadable { field, text })
}

fn parse_source(source: &VolumeSource) -> Result<ValidSource, Invalid> {
    let VolumeSource { kind, name, uuid } = source;
    let object = match kind {
        SourceKind::Snapshot => HostObject::Snapshot,
        SourceKind::Volume => HostObject::Volume,
    };
    Ok(ValidSource { object, name: name.clone(), uuid: parse("spec.source.uuid", uuid)? })
}

/// What it is made of, in the types of the host.
pub(super) fn parse_mode(mode: WireMode, fs: Option<WireFs>) -> Result<VolumeMode, Invalid> {
    match (mode, fs) {
        (WireMode::Block, _) => Ok(VolumeMode::Block),
        (WireMode::Filesystem, Some(fs)) => Ok(VolumeMode::Filesystem { fs: parse_fs(fs) }),
        (WireMode::Filesystem, None) => Err(Invalid::Missing("spec.fsType")),
    }
}

const fn parse_fs(fs: WireFs) -> FsType {
    match fs {
        WireFs::Ext4 => FsType::Ext4,
        WireFs::Xfs => FsType::Xfs,
        WireFs::Btrfs => FsType::Btrfs,
    }
}

fn parse_fate(volume: &StorageVolume) -> Result<Fate, Invalid> {
    if volume.metadata.deletion_timestamp.is_none() {
        return Ok(Fate::Kept);
    }
    let Some(Deletion { volume_uuid, id, requested_at: _ }) = volume.spec.deletion.as_deref()
    else {
        return Ok(Fate::Deleted(None));
    };
    let volume = parse("spec.deletion.volumeUUID", volume_uuid)?;
    Ok(Fate::Deleted(Some(DeletionStamp { volume, id: parse("spec.deletion.id", id)? })))
}

/// Whether the node still holds the object back from vanishing.
#[must_use]
pub fn is_held(object: &impl ResourceExt) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER_NODE)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use terrace_crds::StorageVolume;
    use terrace_device_types::{Bytes, Erase, FsType, HostObject, VolumeMode};

    use super::{Fate, Invalid, is_held, validate_volume};

    fn volume(change: impl FnOnce(&mut Value)) -> StorageVolume {
        let mut object = json!({
            "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
            "metadata": { "name": "sv-1", "finalizers": ["terrace.storage/node"] },
            "spec": {
                "volumeUUID": "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11", "origin": "CSI",
                "capacity": "1.5Gi", "volumeMode": "Filesystem", "fsType": "xfs", "pool": "fast",
                "csiName": "PVC-1", "eraseOnDelete": true,
                "assignment": { "node": "n", "poolUUID": "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10" },
            },
        });
        change(&mut object);
        serde_json::from_value(object).expect("a StorageVolume")
    }

    #[test]
    fn a_volume_is_read_whole() {
        let valid = validate_volume(&volume(|_| {})).expect("valid");
        assert_eq!(valid.pv_name, "PVC-1", "the PV has the CSI name");
        assert_eq!(valid.size, Bytes(3 << 29));
        assert_eq!(valid.mode, VolumeMode::Filesystem { fs: FsType::Xfs });
        assert_eq!((valid.erase, valid.fate), (Erase::Zeros, Fate::Kept));
        assert!(is_held(&volume(|_| {})));
    }

    #[test]
    fn a_volume_grows_to_what_was_granted_not_to_what_a_person_asks() {
        let granted = volume(|object| object["spec"]["assignment"]["capacity"] = json!("1Gi"));
        assert_eq!(validate_volume(&granted).expect("valid").size, Bytes(1 << 30));
    }

    #[test]
    fn a_copy_knows_whose_bytes_it_begins_with() {
        let uuid = "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f11";
        let source = json!({ "kind": "Snapshot", "name": "snap", "uuid": uuid });
        let copy = validate_volume(&volume(|object| object["spec"]["source"] = source));
        let source = copy.expect("valid").source.expect("a source");
        assert_eq!((source.object, source.name.as_str()), (HostObject::Snapshot, "snap"));
        let odd = json!({ "kind": "Volume", "name": "vol", "uuid": "x" });
        let odd = validate_volume(&volume(|object| object["spec"]["source"] = odd));
        let field = "spec.source.uuid";
        assert_eq!(odd, Err(Invalid::Unreadable { field, text: "x".into() }));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let no_uuid = volume(|object| object["spec"]["volumeUUID"] = Value::Null);
        assert_eq!(validate_volume(&no_uuid), Err(Invalid::Missing("spec.volumeUUID")));
        let odd = volume(|object| object["spec"]["assignment"]["poolUUID"] = json!("x"));
        let field = "spec.assignment.poolUUID";
        assert_eq!(validate_volume(&odd), Err(Invalid::Unreadable { field, text: "x".into() }));
        let no_fs = volume(|object| object["spec"]["fsType"] = Value::Null);
        assert_eq!(validate_volume(&no_fs), Err(Invalid::Missing("spec.fsType")));
    }

    #[test]
    fn a_deletion_counts_only_once_the_object_is_on_its_way_out() {
        let stamp = json!({
            "volumeUUID": "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11",
            "id": "5c1d3f00-0000-4000-8000-000000000001", "requestedAt": "2026-11-22T10:00:00Z",
        });
        let stamped = volume(|object| object["spec"]["deletion"] = stamp.clone());
        assert_eq!(validate_volume(&stamped).expect("valid").fate, Fate::Kept);
        let gone = volume(|object| {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:01Z");
            object["spec"]["deletion"] = stamp;
        });
        assert!(matches!(validate_volume(&gone).expect("valid").fate, Fate::Deleted(Some(_))));
        let bare = volume(|object| {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:01Z");
        });
        assert_eq!(validate_volume(&bare).expect("valid").fate, Fate::Deleted(None));
    }
}
