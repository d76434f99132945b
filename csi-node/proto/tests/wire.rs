//! Pins wire facts that a typo in a `.proto` file would break: bytes of known messages and method
//! paths, as other implementations of CSI read them. The numbers come from the specification.
use csi_proto_rs::csi::v1::volume_capability::{AccessMode, AccessType, MountVolume, access_mode};
use csi_proto_rs::csi::v1::{
    GetCapacityResponse, NodeExpandVolumeRequest, NodePublishVolumeRequest, Volume,
    VolumeCapability, VolumeUsage, node_service_capability, plugin_capability, volume_usage,
};
use csi_proto_rs::registration::PluginInfo;
use prost::Message;
use tonic::server::NamedService;

/// Field numbers in the order they lie on the wire, for messages whose tags fit one byte.
fn field_numbers(bytes: &[u8]) -> Vec<u8> {
    let (mut at, mut numbers) = (0, Vec::new());
    while at < bytes.len() {
        numbers.push(bytes[at] >> 3);
        let wire_type = bytes[at] & 7;
        assert!(matches!(wire_type, 0 | 2), "wire type {wire_type}");
        let varint = 1 + bytes[at + 1..].iter().take_while(|b| **b >= 0x80).count();
        at += 1 + if wire_type == 0 { varint } else { 1 + usize::from(bytes[at + 1]) };
    }
    numbers
}

#[test]
fn publish_request_has_the_numbers_of_the_specification() {
    let mode = Some(AccessMode { mode: access_mode::Mode::SingleNodeSingleWriter.into() });
    let mount = MountVolume { fs_type: "xfs".into(), ..MountVolume::default() };
    let capability =
        VolumeCapability { access_mode: mode, access_type: Some(AccessType::Mount(mount)) };
    let pair = || [("a".to_owned(), "b".to_owned())].into();
    let request = NodePublishVolumeRequest {
        volume_id: "v".into(),
        publish_context: pair(),
        staging_target_path: "/s".into(),
        target_path: "/t".into(),
        volume_capability: Some(capability.clone()),
        readonly: true,
        secrets: pair(),
        volume_context: pair(),
    };
    assert_eq!(field_numbers(&request.encode_to_vec()), [1, 2, 3, 4, 5, 6, 7, 8]);
    // mount = 2 {fs_type = 1}, access_mode = 3 {mode = 1: 6}
    let wire = [0x12, 5, 0x0a, 3, b'x', b'f', b's', 0x1a, 2, 0x08, 6];
    assert_eq!(capability.encode_to_vec(), wire);
}

#[test]
fn expand_request_has_the_numbers_of_the_specification() {
    let request = NodeExpandVolumeRequest {
        volume_id: "v".into(),
        volume_path: "/p".into(),
        capacity_range: Some(Default::default()),
        staging_target_path: "/s".into(),
        volume_capability: Some(Default::default()),
        secrets: [("a".to_owned(), "b".to_owned())].into(),
    };
    assert_eq!(field_numbers(&request.encode_to_vec()), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn volume_usage_and_capacity_have_the_numbers_of_the_specification() {
    let volume = Volume { capacity_bytes: 1, volume_id: "v".into(), ..Volume::default() };
    assert_eq!(volume.encode_to_vec(), [0x08, 1, 0x12, 1, b'v']);
    let unit = volume_usage::Unit::Inodes.into();
    let usage = VolumeUsage { available: 1, total: 3, used: 2, unit };
    assert_eq!(usage.encode_to_vec(), [0x08, 1, 0x10, 3, 0x18, 2, 0x20, 2]);
    let capacity = GetCapacityResponse { maximum_volume_size: Some(5), ..Default::default() };
    assert_eq!(capacity.encode_to_vec(), [0x12, 2, 0x08, 5]);
}

#[test]
fn capabilities_have_the_numbers_of_the_specification() {
    use node_service_capability::rpc::Type;
    assert_eq!(Type::StageUnstageVolume as i32, 1);
    assert_eq!(Type::GetVolumeStats as i32, 2);
    assert_eq!(Type::ExpandVolume as i32, 3);
    assert_eq!(Type::SingleNodeMultiWriter as i32, 5);
    assert_eq!(Type::GetVolumeHealth as i32, 7);
    use plugin_capability::{service, volume_expansion};
    assert_eq!(service::Type::VolumeAccessibilityConstraints as i32, 2);
    assert_eq!(volume_expansion::Type::Online as i32, 1);
}

#[test]
fn services_have_the_names_that_the_kubelet_calls() {
    use csi_proto_rs::csi::v1::{controller_server, identity_server, node_server};
    use csi_proto_rs::registration::registration_server;
    assert_eq!(<identity_server::IdentityServer<()> as NamedService>::NAME, "csi.v1.Identity");
    assert_eq!(
        <controller_server::ControllerServer<()> as NamedService>::NAME,
        "csi.v1.Controller"
    );
    assert_eq!(<node_server::NodeServer<()> as NamedService>::NAME, "csi.v1.Node");
    assert_eq!(
        <registration_server::RegistrationServer<()> as NamedService>::NAME,
        "pluginregistration.Registration"
    );
    let info = PluginInfo { name: "n".into(), endpoint: "e".into(), ..PluginInfo::default() };
    assert_eq!(info.encode_to_vec(), [0x12, 1, b'n', 0x1a, 1, b'e']);
}
