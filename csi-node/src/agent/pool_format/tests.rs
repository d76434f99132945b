use std::path::Path;

use terrace_device_types::{Bytes, DevT, DeviceKind, DeviceUse, FsUuid, PoolUuid};
use uuid::Uuid;

use super::{BegunFormat, DeviceView, FsType, Note, Signature, plan};

fn disk(signature: Signature) -> DeviceView {
    DeviceView {
        id: "wwn-1".into(),
        kind: DeviceKind::Disk,
        path: Path::new("/dev/sdb").to_owned(),
        dev_t: DevT { major: 8, minor: 16 },
        size: Bytes::gib(10),
        model: None,
        serial: None,
        wwn: None,
        rotational: false,
        logical_sector: 512,
        physical_sector: 512,
        read_only: false,
        removable: false,
        signature,
        uses: Vec::new(),
    }
}

fn wanted() -> BegunFormat {
    let (pool, device) = (PoolUuid(Uuid::from_u128(9)), "wwn-1".to_owned());
    BegunFormat { pool, name: "fast".into(), device, size: Bytes::gib(10) }
}

fn becomes(noted: Option<&BegunFormat>, device: &DeviceView) -> Note {
    plan(noted, &wanted(), device, FsType::Xfs)
}

#[test]
fn only_a_blank_disk_that_nobody_has_is_noted() {
    assert_eq!(becomes(None, &disk(Signature::Blank)), Note::Write);
    let mut used = disk(Signature::Blank);
    used.uses.push(DeviceUse::Holder { name: "dm-3".into() });
    assert_eq!(becomes(None, &used), Note::None);
    let read_only = DeviceView { read_only: true, ..disk(Signature::Blank) };
    assert_eq!(becomes(None, &read_only), Note::None);
    assert_eq!(becomes(None, &disk(Signature::Unrecognized)), Note::None);
}

#[test]
fn a_note_stands_while_the_disk_shows_nothing_but_our_own_work() {
    let (note, uuid) = (wanted(), wanted().pool.filesystem_uuid());
    let ours = [
        Signature::Blank,
        Signature::Unrecognized,
        Signature::Unfinished { fs: FsType::Xfs, uuid },
        Signature::Filesystem { fs: FsType::Xfs, uuid },
    ];
    for signature in ours {
        assert_eq!(becomes(Some(&note), &disk(signature.clone())), Note::Keep, "{signature}");
    }
}

#[test]
fn a_note_goes_once_somebody_else_has_the_disk() {
    let note = wanted();
    let theirs = [
        Signature::Filesystem { fs: FsType::Xfs, uuid: FsUuid(Uuid::from_u128(7)) },
        Signature::Other { kind: "LVM2_member".into(), uuid: None },
        Signature::Ambivalent,
        Signature::NotProbed,
    ];
    for signature in theirs {
        assert_eq!(becomes(Some(&note), &disk(signature.clone())), Note::Drop, "{signature}");
    }
    let mut used = disk(Signature::Unrecognized);
    used.uses.push(DeviceUse::Holder { name: "dm-3".into() });
    assert_eq!(becomes(Some(&note), &used), Note::Drop);
}

#[test]
fn a_note_of_another_disk_says_nothing_of_this_one() {
    let other = BegunFormat { device: "wwn-2".into(), ..wanted() };
    let grown = BegunFormat { size: Bytes::gib(9), ..wanted() };
    for note in [other, grown] {
        assert_eq!(becomes(Some(&note), &disk(Signature::Unrecognized)), Note::Drop);
        assert_eq!(becomes(Some(&note), &disk(Signature::Blank)), Note::Write);
    }
}
