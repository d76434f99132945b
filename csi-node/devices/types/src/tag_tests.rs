//! The tag's text: what is written is read back, and nothing else is accepted.

use super::*;

fn tag() -> Tag {
    Tag {
        object: HostObject::Volume,
        volume: "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11".parse().unwrap(),
        cluster: "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap(),
        pool: "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap(),
        name: "pvc-1".into(),
        mode: VolumeMode::Filesystem { fs: crate::FsType::Xfs },
        allocation: Allocation::Reserved,
        state: HostState::Ready,
        latch: Latch::None,
        stage: StageState::Never,
        source: None,
    }
}

fn latches() -> Vec<Latch> {
    vec![
        Latch::None,
        Latch::Formatting { operation: "op-1".parse().unwrap() },
        Latch::Formatting { operation: "op-2".parse().unwrap() },
        Latch::Formatted { filesystem: tag().volume.filesystem_uuid() },
        Latch::Formatted { filesystem: FsUuid(tag().volume.0) },
    ]
}

fn many() -> Vec<Tag> {
    let stages = [
        StageState::Never,
        StageState::Past,
        StageState::At { boot: "b00t".parse().unwrap(), target: "/var/lib/a:b c/d".into() },
    ];
    let states = [
        HostState::Creating,
        HostState::Ready,
        HostState::Retained,
        HostState::Quarantined { deletion: "d-1".parse().unwrap() },
    ];
    let ext4 = VolumeMode::Filesystem { fs: crate::FsType::Ext4 };
    let source = Some(VolumeUuid(tag().pool.0));
    let kinds = [
        (VolumeMode::Block, HostObject::Volume, None),
        (ext4, HostObject::Volume, source),
        (VolumeMode::Block, HostObject::Snapshot, source),
        (ext4, HostObject::Snapshot, None),
    ];
    let mut tags = Vec::new();
    for latch in latches() {
        for stage in &stages {
            for state in &states {
                for (mode, object, source) in kinds {
                    tags.push(Tag {
                        object,
                        source,
                        latch: latch.clone(),
                        stage: stage.clone(),
                        state: state.clone(),
                        mode,
                        ..tag()
                    });
                }
            }
        }
    }
    tags
}

#[test]
fn every_tag_is_read_back_as_it_was_written() {
    for tag in many() {
        assert_eq!(Tag::parse(tag.to_string().as_bytes()), Ok(tag.clone()), "{tag}");
    }
}

#[test]
fn a_tag_with_any_line_missing_doubled_or_swapped_is_refused() {
    refuses_every_other_line(&tag());
    let source = Some(VolumeUuid(tag().pool.0));
    refuses_every_other_line(&Tag { object: HostObject::Snapshot, source, ..tag() });
}

fn refuses_every_other_line(tag: &Tag) {
    let text = tag.to_string();
    let lines: Vec<&str> = text.lines().collect();
    for at in 0..lines.len() {
        let mut missing = lines.clone();
        missing.remove(at);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        assert!(Tag::parse(missing.join("\n").as_bytes()).is_err(), "without {}", lines[at]);
        assert!(Tag::parse(doubled.join("\n").as_bytes()).is_err(), "twice {}", lines[at]);
        if at + 1 < lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            assert!(Tag::parse(swapped.join("\n").as_bytes()).is_err(), "swapped {}", lines[at]);
        }
    }
}

#[test]
fn a_latch_that_cannot_be_read_is_an_error_not_none() {
    let text = tag().to_string();
    for latch in ["", "nonee", "formatted", "formatted:", "formatted:x", "formatting:", "None"] {
        let text = text.replace("latch=none", &format!("latch={latch}"));
        assert!(
            matches!(Tag::parse(text.as_bytes()), Err(TagError::Value { key: "latch", .. })),
            "{latch}"
        );
    }
}

#[test]
fn a_newer_layout_and_plain_garbage_are_refused() {
    let newer = tag().to_string().replace("terrace 1", "terrace 3");
    assert_eq!(Tag::parse(newer.as_bytes()), Err(TagError::Newer { found: 3 }));
    assert_eq!(Tag::parse(b"\xff\xfe"), Err(TagError::NotText));
    assert_eq!(Tag::parse(b""), Err(TagError::NotATag { first: String::new() }));
}

#[test]
fn i2_a_latch_never_moves_back_and_a_formatted_one_never_changes() {
    let allowed: Vec<(usize, usize)> = (0..5)
        .flat_map(|a| (0..5).map(move |b| (a, b)))
        .filter(|(a, b)| latches()[*a].may_become(&latches()[*b]))
        .collect();
    let expected = [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 1),
        (1, 2),
        (1, 3),
        (1, 4),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 4),
        (3, 3),
        (4, 4),
    ];
    assert_eq!(allowed, expected);
}

#[test]
fn a_volume_that_is_no_copy_is_written_so_that_the_release_before_reads_it() {
    let text = tag().to_string();
    assert!(text.starts_with("terrace 1\nvolume="), "{text}");
    assert!(!text.contains("object=") && !text.contains("source="), "{text}");
}
