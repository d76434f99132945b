//! Pools on volume groups as goldens: made look by look, refused where they are not ours, and a thin pool's growth by watermark.

use terrace_backends::{Backend, LvmBackend, LvmThinBackend};
use terrace_device_types::lvm::{
    FOLDER_LV, FolderView, GroupDevice, GroupPlace, LvDevice, LvKind, LvScope, LvView, PoolMode,
    THIN_LV, ThinPoolStatus, ThinView, VgView,
};
use terrace_device_types::{
    BackendKind, Bytes, DevT, MountPoint, PoolFile, PoolFileReading, PoolIntent, PoolPlace,
    PoolView, Signature, TagReading, Wipe,
};

use crate::golden::{check, disk};
use crate::lv::{EXTENT, group};
use crate::thin::{on_thin, thin};
use crate::world::{World, pool_file};

const FOLDER: DevT = DevT { major: 254, minor: 3 };

fn file() -> PoolFile {
    PoolFile { backend: BackendKind::LvmThin, ..pool_file() }
}

fn lv(name: &str, kind: LvKind) -> LvView {
    LvView {
        uuid: "b".repeat(32).parse().unwrap(),
        name: name.into(),
        size: Bytes::mib(64),
        kind,
        scope: LvScope::Public,
        pool: None,
        origin: None,
        metadata_size: None,
        chunk: None,
        thin_id: None,
        transaction: None,
        data_used: None,
        metadata_used: None,
        synced: None,
        health: None,
        read_only: false,
        skips_activation: false,
        dev_t: Some(FOLDER),
        tags: Vec::new(),
        tag: TagReading::Absent,
    }
}

fn vg(free: Bytes, lvs: Vec<LvView>) -> VgView {
    VgView {
        uuid: group(),
        name: format!("terrace-{}", file().pool_uuid),
        size: Bytes::gib(8),
        free,
        extent: EXTENT,
        seqno: 3,
        missing: 0,
        pool: PoolFileReading::Read(file()),
        pvs: Vec::new(),
        lvs,
    }
}

fn place(group: Option<VgView>, folder: Option<Signature>) -> GroupPlace {
    let device = GroupDevice { device: disk(Signature::Blank), wipe: Wipe::Never, label: None };
    let folder = folder.map(|signature| FolderView {
        uuid: "b".repeat(32).parse().unwrap(),
        device: Some(LvDevice {
            path: "/dev/dm-3".into(),
            dev_t: FOLDER,
            size: Bytes::mib(64),
            open: 0,
            suspended: false,
            read_only: false,
            mapped: None,
        }),
        signature,
    });
    let devices = if group.is_some() { Vec::new() } else { vec![device] };
    GroupPlace { devices, group, folder, inactive: Vec::new(), leftovers: 0 }
}

fn tell(name: &str, place: GroupPlace, view: &PoolView, mounts: &[MountPoint]) {
    let intent = PoolIntent::Make { file: file(), place: PoolPlace::Group(Box::new(place)) };
    check(&format!("lvm-thin-pool-{name}"), LvmThinBackend.plan_pool(&intent, view, mounts));
}

/// Not mounted yet.
fn bare() -> PoolView {
    PoolView { group: None, ..on_thin(Bytes::ZERO, thin(0, 1)).pool }
}

fn folder() -> LvView {
    lv(FOLDER_LV, LvKind::Linear)
}

#[test]
fn a_thin_pool_is_made_look_by_look() {
    let made = |lvs| Some(vg(Bytes::gib(7), lvs));
    tell("of-blank-devices", place(None, None), &bare(), &[]);
    tell("without-its-folder", place(made(Vec::new()), None), &bare(), &[]);
    let blank = Some(Signature::Blank);
    tell("with-a-blank-folder", place(made(vec![folder()]), blank.clone()), &bare(), &[]);
    let left = GroupPlace { leftovers: 2, ..place(made(vec![folder()]), blank.clone()) };
    tell("that-a-killed-lvm-left", left, &bare(), &[]);
    let inactive = vec![THIN_LV.to_owned()];
    let asleep = GroupPlace { inactive, ..place(made(vec![folder()]), blank.clone()) };
    tell("after-a-reboot", asleep, &bare(), &[]);
    let foreign = PoolFile { cluster_uid: "another".parse().unwrap(), ..file() };
    let foreign = VgView { pool: PoolFileReading::Read(foreign), ..vg(EXTENT, vec![folder()]) };
    tell("i4-of-another-cluster", place(Some(foreign), blank.clone()), &bare(), &[]);
    let linear = PoolFile { backend: BackendKind::Lvm, ..file() };
    let linear = VgView { pool: PoolFileReading::Read(linear), ..vg(EXTENT, vec![folder()]) };
    tell("of-backend-lvm", place(Some(linear), blank.clone()), &bare(), &[]);
    let missing = VgView { missing: 1, ..vg(EXTENT, vec![folder()]) };
    tell("without-a-device", place(Some(missing), blank.clone()), &bare(), &[]);
    let intent = PoolIntent::Make {
        file: PoolFile { backend: BackendKind::Lvm, ..file() },
        place: PoolPlace::Group(Box::new(place(None, None))),
    };
    check("lvm-pool-of-blank-devices", LvmBackend.plan_pool(&intent, &bare(), &[]));
}

#[test]
fn a_thin_pool_grows_before_it_is_full_and_never_while_it_is_unwell() {
    let World { mut pool, .. } = on_thin(Bytes::gib(1), thin(100, 5));
    pool.file = PoolFileReading::Read(file());
    let mount = MountPoint {
        id: 9,
        parent: 1,
        dev_t: FOLDER,
        root: "/".into(),
        at: pool.dir.clone(),
        options: Vec::new(),
        fs: "ext4".into(),
        source: "/dev/dm-3".into(),
        super_options: Vec::new(),
    };
    let look = |name: &str, free: Bytes, now: ThinView| {
        let mut view = pool.clone();
        let seen = view.group.as_mut().unwrap();
        (seen.free, seen.thin) = (free, Some(now));
        let lvs = vec![folder(), lv(THIN_LV, LvKind::ThinPool)];
        let place = place(Some(vg(free, lvs)), Some(Signature::NotProbed));
        tell(name, place, &view, std::slice::from_ref(&mount));
    };
    let kept = Bytes::mib(620);
    look("as-it-should-be", kept, thin(4600, 50));
    look("past-its-data-watermark", kept, thin(4700, 50));
    look("past-its-metadata-watermark", kept, thin(4700, 51));
    look("of-a-group-that-got-a-device", Bytes::gib(4), thin(100, 5));
    look("past-both-with-nothing-left", Bytes::ZERO, thin(6100, 90));
    let there = thin(6000, 90);
    let ailing = |needs_check| {
        let mode = PoolMode::ReadOnly;
        let status = there.status.map(|status| ThinPoolStatus { mode, needs_check, ..status });
        ThinView { status, ..there.clone() }
    };
    look("whose-metadata-is-full", kept, ailing(false));
    look("that-has-to-be-checked", kept, ailing(true));
}
