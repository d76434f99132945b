//! Names that more than one part must spell alike: driver, labels, annotations, finalizers, field managers,
//! and the two rules that turn a CSI name into an object name and a volume UUID. Pure.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// CSI driver name, as in `CSIDriver` and `StorageClass.provisioner`.
pub const DRIVER: &str = "csi.terrace.storage";
/// Class of the claims of Direct volumes; nothing is provisioned by it.
pub const CLASS_DIRECT: &str = "terrace-direct";
/// Topology key: its value is the node's name.
pub const TOPOLOGY_NODE: &str = "topology.terrace.storage/node";
/// Held on a StorageVolume by its node until the host object is gone or retagged `retained`.
pub const FINALIZER_NODE: &str = "terrace.storage/node";
/// Held on a StoragePool while volumes are assigned to it.
pub const FINALIZER_POOL: &str = "terrace.storage/volumes";
/// W3C trace context of the call that asked for the latest change of a StorageVolume.
pub const ANNOTATION_TRACEPARENT: &str = "terrace.storage/traceparent";
/// Nodes that a StorageVolume may be placed on, as JSON (CSI's accessibility requirements); absent: any.
pub const ANNOTATION_TOPOLOGY: &str = "terrace.storage/topology";
/// Prefix of StorageClass and VolumeAttributesClass parameters.
pub const PARAMETER_PREFIX: &str = "terrace.storage/";
/// Volume context key (PV attributes): the volume's UUID.
pub const CONTEXT_VOLUME_UUID: &str = "terrace.storage/volume-uuid";
/// Volume context key (PV attributes): the pool's name.
pub const CONTEXT_POOL: &str = "terrace.storage/pool";
/// Volume context key (PV attributes): `true` where the bytes are overwritten at the end; absent elsewhere.
pub const CONTEXT_ERASE: &str = "terrace.storage/erase-on-delete";
/// Volume context key (PV attributes): the latency that the class asks for; absent where it asks for none.
pub const CONTEXT_LATENCY: &str = "terrace.storage/latency-p99";

/// Server-side apply field managers: one for each writer.
pub mod manager {
    /// Volume, pool and policy controllers.
    pub const OPERATOR: &str = "terrace-operator";
    /// CSI controller service.
    pub const CSI: &str = "terrace-csi";
    /// Node agent.
    pub const NODE: &str = "terrace-node";
    /// Probe (written on its behalf by the node agent).
    pub const PROBE: &str = "terrace-probe";
}

/// Longest object name that is also a DNS label (RFC 1123).
const LABEL_MAX: usize = 63;

/// A StorageVolume's name for a CSI name, and the original when it had to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeName {
    /// `metadata.name`; also the CSI volume handle.
    pub name: String,
    /// The CSI name, kept in `spec.csiName` when it is no RFC 1123 label.
    pub csi_name: Option<String>,
}

/// The CSI name itself where it is an RFC 1123 label, else `sv-` and 20 hex digits of its SHA-256.
pub fn volume_name(csi_name: &str) -> VolumeName {
    if is_dns_label(csi_name) {
        return VolumeName { name: csi_name.to_owned(), csi_name: None };
    }
    let digest = Sha256::digest(csi_name.as_bytes());
    let hex: String = digest.iter().take(10).map(|b| format!("{b:02x}")).collect();
    VolumeName { name: format!("sv-{hex}"), csi_name: Some(csi_name.to_owned()) }
}

/// As [`volume_name`], for a StorageSnapshot: `ss-` and 20 hex digits.
pub fn snapshot_name(csi_name: &str) -> VolumeName {
    let VolumeName { name, csi_name } = volume_name(csi_name);
    let name = if csi_name.is_some() { name.replacen("sv-", "ss-", 1) } else { name };
    VolumeName { name, csi_name }
}

/// As [`volume_uuid`], for a snapshot: one of a volume's name is another host object than the volume.
pub fn snapshot_uuid(cluster: Uuid, csi_name: &str) -> Uuid {
    Uuid::new_v5(&cluster, format!("snapshot/{csi_name}").as_bytes())
}

/// As [`volume_uuid`], for a group of snapshots.
pub fn group_uuid(cluster: Uuid, csi_name: &str) -> Uuid {
    Uuid::new_v5(&cluster, format!("group/{csi_name}").as_bytes())
}

/// The same name asked for twice in one cluster is the same volume, even after its object was lost (I2).
/// It holds for volumes of both origins: a Direct volume whose object was lost and applied again meets its own
/// bytes and asks what to do about them. By the object's UID it would be another volume, made empty beside them.
///
/// `cluster` is the UID of the namespace `kube-system`.
pub fn volume_uuid(cluster: Uuid, csi_name: &str) -> Uuid {
    Uuid::new_v5(&cluster, csi_name.as_bytes())
}

/// RFC 1123 label: lower-case letters, digits and `-`, at most 63, no `-` at either end.
pub fn is_dns_label(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    inner
        && !text.is_empty()
        && text.len() <= LABEL_MAX
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::{
        Uuid, group_uuid, is_dns_label, snapshot_name, snapshot_uuid, volume_name, volume_uuid,
    };

    #[test]
    fn a_snapshot_is_never_taken_for_the_volume_of_its_name() {
        let cluster = Uuid::from_u128(1);
        let uuids = [volume_uuid, snapshot_uuid, group_uuid].map(|uuid| uuid(cluster, "x"));
        assert!(uuids[0] != uuids[1] && uuids[1] != uuids[2] && uuids[0] != uuids[2]);
        assert_eq!(snapshot_name("snapshot-1").name, "snapshot-1");
        let odd = snapshot_name("Upper");
        assert!(odd.name.starts_with("ss-") && is_dns_label(&odd.name), "{}", odd.name);
        assert_eq!(odd.csi_name.as_deref(), Some("Upper"));
    }

    #[test]
    fn a_label_keeps_its_name() {
        let named = volume_name("pvc-0b7d");
        assert_eq!((named.name.as_str(), named.csi_name), ("pvc-0b7d", None));
    }

    #[test]
    fn any_other_name_is_hashed_and_kept() {
        for odd in ["Upper", &"a".repeat(128), "ABCDEF0123", "-a", "a-", "a.b"] {
            let named = volume_name(odd);
            assert!(is_dns_label(&named.name), "{}", named.name);
            assert_eq!(named.name.len(), 23);
            assert_eq!(named.csi_name.as_deref(), Some(odd));
        }
    }

    #[test]
    fn the_same_name_gives_the_same_volume_in_one_cluster_only() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(volume_uuid(a, "x"), volume_uuid(a, "x"));
        assert_ne!(volume_uuid(a, "x"), volume_uuid(b, "x"));
        assert_ne!(volume_uuid(a, "x"), volume_uuid(a, "y"));
    }
}
