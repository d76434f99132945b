//! What is shared is counted once.

use terrace_device_types::{
    Allocation, FileId, Form, FsType, HostObject, HostState, Latch, StageState, Tag, TagReading,
    VolumeMode,
};

use super::*;

fn uuid(number: u128) -> VolumeUuid {
    VolumeUuid(uuid::Uuid::from_u128(number))
}

fn image(number: u128, source: Option<u128>, mib: u64) -> ImageView {
    let tag = Tag {
        object: HostObject::Volume,
        volume: uuid(number),
        cluster: "c".parse().expect("a token"),
        pool: "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().expect("a UUID"),
        name: "pvc-1".into(),
        mode: VolumeMode::Filesystem { fs: FsType::Btrfs },
        allocation: Allocation::Reserved,
        state: HostState::Ready,
        latch: Latch::None,
        stage: StageState::Never,
        source: source.map(uuid),
    };
    ImageView {
        path: format!("/pool/t-{number}").into(),
        id: FileId { dev: 1, ino: 1 },
        apparent: Bytes::gib(1),
        allocated: Bytes::mib(mib),
        form: Form::Image,
        tag: TagReading::Read(tag),
    }
}

fn mib(images: &[ImageView]) -> u64 {
    taken(images) >> 20
}

#[test]
fn objects_that_share_nothing_are_added_up() {
    assert_eq!(mib(&[]), 0);
    assert_eq!(mib(&[image(1, None, 10), image(2, None, 20)]), 30);
}

#[test]
fn of_objects_that_stem_from_one_another_the_largest_counts() {
    let family = [image(1, None, 10), image(2, Some(1), 30), image(3, Some(2), 20)];
    assert_eq!(mib(&family), 30);
    let with_others = [&family[..], &[image(4, None, 5)]].concat();
    assert_eq!(mib(&with_others), 35);
}

#[test]
fn the_order_of_a_listing_changes_nothing() {
    let family =
        [image(1, None, 10), image(2, Some(1), 30), image(3, Some(2), 20), image(5, Some(3), 1)];
    for first in 0..family.len() {
        let mut turned = family.to_vec();
        turned.rotate_left(first);
        assert_eq!(mib(&turned), 30);
        turned.reverse();
        assert_eq!(mib(&turned), 30);
    }
}

#[test]
fn a_source_that_is_gone_still_connects_its_copies() {
    assert_eq!(mib(&[image(2, Some(1), 30), image(3, Some(1), 20)]), 30);
}

#[test]
fn what_stems_from_itself_by_a_damaged_tag_is_counted_and_ends() {
    assert_eq!(mib(&[image(1, Some(1), 7)]), 7);
    assert_eq!(mib(&[image(1, Some(2), 7), image(2, Some(1), 8)]), 8);
}

#[test]
fn what_cannot_be_read_stands_alone() {
    let mut stranger = image(2, Some(1), 30);
    stranger.tag = TagReading::Absent;
    assert_eq!(mib(&[image(1, None, 10), stranger]), 40);
}
