//! What CreateVolume makes of what it is asked, and what it refuses.

use super::{
    Asked, BTreeMap, Content, CreateAsked, CreateError, FsType, Original, SizeError, SourceKind,
    Topology, Uuid, VolumeSource, validate_create,
};
use crate::capability::{Access, AccessMode, Capability};

fn asked(name: &str, required: u64) -> CreateAsked {
    let access = Access::Mount { fs_type: String::new(), flags: Vec::new() };
    CreateAsked {
        name: name.to_owned(),
        size: Asked { required, limit: 0 },
        capabilities: vec![Capability { mode: AccessMode::SingleNodeWriter, access }],
        parameters: BTreeMap::from([("terrace.storage/tier".into(), "ssd".into())]),
        mutable: BTreeMap::new(),
        topology: Topology::default(),
        original: None,
        default_fs: FsType::Xfs,
    }
}

const GIB: u64 = 1 << 30;

#[test]
fn a_name_of_128_characters_and_upper_case_hex_get_an_object_name() {
    for name in ["A".repeat(128), "0B7DAA".to_owned()] {
        let valid = validate_create(asked(&name, GIB)).unwrap();
        let volume = valid.volume(Uuid::from_u128(7), None);
        assert_eq!(volume.spec.csi_name, Some(name));
        assert!(volume.metadata.name.unwrap().starts_with("sv-"));
    }
    for name in [String::new(), "a".repeat(129), "a\nb".to_owned()] {
        assert_eq!(validate_create(asked(&name, GIB)), Err(CreateError::Name));
    }
}

#[test]
fn the_same_name_with_another_size_or_class_exists_already() {
    let there = validate_create(asked("a", GIB)).unwrap().volume(Uuid::nil(), None);
    let same = |asked| validate_create(asked).unwrap().check_same(&there);
    assert_eq!(same(asked("a", GIB)), Ok(()));
    let said = same(asked("a", 2 * GIB)).unwrap_err().to_string();
    let want = "volume a exists with 1Gi of xfs on tier ssd, asked for is 2Gi of xfs on tier ssd";
    assert_eq!(said, want);
    let mut other = asked("a", GIB);
    other.parameters = BTreeMap::from([("terrace.storage/pool".into(), "p".into())]);
    assert!(same(other).is_err());
}

#[test]
fn a_retry_of_a_rounded_size_finds_its_own_volume() {
    let small = || validate_create(asked("a", 1)).unwrap();
    assert_eq!(small().check_same(&small().volume(Uuid::nil(), None)), Ok(()));
}

#[test]
fn a_volume_lost_with_its_object_comes_back_under_the_same_uuid() {
    let uuid = |cluster| {
        let valid = validate_create(asked("a", GIB)).unwrap();
        valid.volume(Uuid::from_u128(cluster), None).spec.volume_uuid
    };
    assert_eq!(uuid(1), uuid(1));
    assert_ne!(uuid(1), uuid(2));
}

#[test]
fn a_copy_is_of_its_sources_kind_and_at_least_of_its_size() {
    let original = |content| {
        let (name, uuid) = ("s".to_owned(), Uuid::nil().to_string());
        let source = VolumeSource { kind: SourceKind::Snapshot, name, uuid };
        Some(Original { source, bytes: 2 * GIB, content })
    };
    let ext4 = original(Content::Filesystem(FsType::Ext4));
    let copy = |required, original| CreateAsked { original, ..asked("a", required) };
    let made = validate_create(copy(0, ext4.clone())).unwrap();
    assert_eq!((made.granted.bytes, made.content), (2 * GIB, Content::Filesystem(FsType::Ext4)));
    let volume = made.volume(Uuid::nil(), None);
    assert_eq!(volume.spec.source.as_ref().map(|source| source.name.as_str()), Some("s"));
    assert_eq!(validate_create(copy(3 * GIB, ext4.clone())).unwrap().granted.bytes, 3 * GIB);
    let mut small = copy(GIB, ext4);
    small.size.limit = GIB;
    let refused = validate_create(small);
    assert!(matches!(refused, Err(CreateError::Size(SizeError::AboveLimit { .. }))));
    let block = validate_create(copy(GIB, original(Content::Block)));
    assert!(matches!(block, Err(CreateError::OtherContent { .. })), "{block:?}");
    let empty = validate_create(asked("a", 2 * GIB)).unwrap();
    assert!(empty.check_same(&volume).is_err(), "a copy is not an empty volume");
}

#[test]
fn attribute_classes_are_refused() {
    let mut classed = asked("a", GIB);
    classed.mutable.insert("terrace.storage/tier".into(), "hdd".into());
    assert!(matches!(validate_create(classed), Err(CreateError::Parameter(_))));
}

#[test]
fn a_subvolume_has_no_least_size_and_an_image_of_btrfs_has() {
    let btrfs = Content::Filesystem(FsType::Btrfs);
    assert_eq!(super::minimum_of(btrfs, FsType::Btrfs), 1 << 20);
    assert_eq!(super::minimum_of(btrfs, FsType::Xfs), 109 << 20);
    assert_eq!(super::minimum_of(Content::Filesystem(FsType::Xfs), FsType::Btrfs), 300 << 20);
}
