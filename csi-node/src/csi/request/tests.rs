//! What the kubelet, or something that is not the kubelet, may send.
use csi_proto_rs::csi::v1::volume_capability::{AccessMode, BlockVolume};

use super::*;

fn capability(mode: Mode, access_type: AccessType) -> VolumeCapability {
    let access_mode = Some(AccessMode { mode: mode.into() });
    VolumeCapability { access_mode, access_type: Some(access_type) }
}

fn mount(fs_type: &str, flags: &[&str]) -> AccessType {
    let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    AccessType::Mount(MountVolume { fs_type: fs_type.into(), mount_flags, ..Default::default() })
}

fn stage() -> NodeStageVolumeRequest {
    NodeStageVolumeRequest {
        volume_id: "pvc-1".into(),
        staging_target_path: "/staging".into(),
        volume_capability: Some(capability(Mode::SingleNodeWriter, mount("xfs", &["noatime"]))),
        ..Default::default()
    }
}

fn publish() -> NodePublishVolumeRequest {
    NodePublishVolumeRequest {
        volume_id: "pvc-1".into(),
        staging_target_path: "/staging".into(),
        target_path: "/pod".into(),
        volume_capability: Some(capability(Mode::SingleNodeWriter, mount("", &[]))),
        ..Default::default()
    }
}

#[test]
fn a_stage_request_says_what_is_wanted() {
    let valid = validate_stage(stage()).expect("valid");
    assert_eq!(valid.capability.mode, Some(VolumeMode::Filesystem { fs: FsType::Xfs }));
    assert_eq!(valid.capability.options, ["noatime"]);
    assert_eq!((valid.capability.access, valid.uuid), (Access::ReadWrite, None));
}

#[test]
fn a_missing_field_is_named() {
    let no_id = NodeStageVolumeRequest { volume_id: String::new(), ..stage() };
    let no_path = NodeStageVolumeRequest { staging_target_path: String::new(), ..stage() };
    let no_capability = NodeStageVolumeRequest { volume_capability: None, ..stage() };
    let stages = [
        (no_id, "volume_id"),
        (no_path, "staging_target_path"),
        (no_capability, "volume_capability"),
    ];
    for (request, field) in stages {
        assert_eq!(validate_stage(request), Err(BadRequest::Missing(field)));
    }
    let no_target = NodePublishVolumeRequest { target_path: String::new(), ..publish() };
    assert_eq!(validate_publish(no_target), Err(BadRequest::Missing("target_path")));
    let unknown = capability(Mode::Unknown, mount("", &[]));
    let unknown = NodeStageVolumeRequest { volume_capability: Some(unknown), ..stage() };
    let field = "volume_capability.access_mode.mode";
    assert_eq!(validate_stage(unknown), Err(BadRequest::Missing(field)));
}

#[test]
fn modes_of_more_than_one_node_are_refused() {
    for mode in [Mode::MultiNodeMultiWriter, Mode::MultiNodeReaderOnly, Mode::MultiNodeSingleWriter]
    {
        let many = Some(capability(mode, mount("", &[])));
        let refused = validate_stage(NodeStageVolumeRequest { volume_capability: many, ..stage() });
        assert_eq!(refused, Err(BadRequest::AccessMode(mode.as_str_name())));
    }
}

#[test]
fn every_single_node_mode_is_taken() {
    let cases = [
        (Mode::SingleNodeWriter, Access::ReadWrite, Sharing::Shared),
        (Mode::SingleNodeMultiWriter, Access::ReadWrite, Sharing::Shared),
        (Mode::SingleNodeSingleWriter, Access::ReadWrite, Sharing::Exclusive),
        (Mode::SingleNodeReaderOnly, Access::ReadOnly, Sharing::Shared),
    ];
    for (mode, access, sharing) in cases {
        let block = Some(capability(mode, AccessType::Block(BlockVolume {})));
        let request = NodePublishVolumeRequest { volume_capability: block, ..publish() };
        let valid = validate_publish(request).expect("valid");
        assert_eq!((valid.access, valid.capability.sharing), (access, sharing), "{mode:?}");
        assert_eq!(valid.capability.mode, Some(VolumeMode::Block));
    }
}

#[test]
fn read_only_may_be_asked_for_in_three_ways() {
    let by_flag = NodePublishVolumeRequest { readonly: true, ..publish() };
    let option = Some(capability(Mode::SingleNodeWriter, mount("", &["ro"])));
    let by_option = NodePublishVolumeRequest { volume_capability: option, ..publish() };
    let mode = Some(capability(Mode::SingleNodeReaderOnly, mount("", &[])));
    let by_mode = NodePublishVolumeRequest { volume_capability: mode, ..publish() };
    for request in [by_flag, by_option, by_mode] {
        assert_eq!(validate_publish(request).expect("valid").access, Access::ReadOnly);
    }
}

#[test]
fn an_unknown_filesystem_an_odd_path_and_an_odd_uuid_are_refused() {
    let ntfs = Some(capability(Mode::SingleNodeWriter, mount("ntfs", &[])));
    let request = NodeStageVolumeRequest { volume_capability: ntfs, ..stage() };
    assert_eq!(validate_stage(request), Err(BadRequest::FsType("ntfs".into())));
    let relative = NodeStageVolumeRequest { staging_target_path: "here".into(), ..stage() };
    assert!(matches!(validate_stage(relative), Err(BadRequest::NotAbsolute { .. })));
    let volume_context = [(names::CONTEXT_VOLUME_UUID.to_owned(), "x".to_owned())].into();
    let odd = NodeStageVolumeRequest { volume_context, ..stage() };
    assert!(matches!(validate_stage(odd), Err(BadRequest::Uuid { .. })));
}

#[test]
fn a_capacity_range_must_be_possible() {
    let expand = |required_bytes, limit_bytes| NodeExpandVolumeRequest {
        volume_id: "v".into(),
        volume_path: "/p".into(),
        capacity_range: Some(CapacityRange { required_bytes, limit_bytes }),
        ..Default::default()
    };
    assert_eq!(validate_expand(expand(5, 0)).expect("valid").limit, None);
    assert_eq!(validate_expand(expand(5, 9)).expect("valid").limit, Some(9));
    for (required, limit) in [(-1, 0), (0, -1), (9, 5)] {
        let refused = validate_expand(expand(required, limit));
        assert_eq!(refused, Err(BadRequest::Capacity { required, limit }));
    }
}
