//! A group shows one moment: whoever writes to one volume and then to another finds both or only the first in every group, never only the second.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use terrace_backends::group::plan_group;
use terrace_device_types::{Bytes, Erase, FsType, HostObject, Step, VolumeMode, VolumeUuid};
use terrace_devices::execute;

use crate::rig::{Rig, copy, create, deadline, delete, stage, unstage, volume};

const SIZE: Bytes = Bytes::mib(320);
const ROUNDS: usize = 6;

/// Writes each number to one file, then to the other, each time until it is durable.
fn write_in_order(files: [File; 2], written: &AtomicU64, stop: &AtomicBool) {
    for number in 1u64.. {
        for file in &files {
            file.write_all_at(&number.to_le_bytes(), 0).unwrap();
            file.sync_data().unwrap();
        }
        written.store(number, Ordering::SeqCst);
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

fn number_in(at: &Path) -> u64 {
    let mut bytes = [0; 8];
    File::open(at.join("data/number")).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    u64::from_le_bytes(bytes)
}

/// Both snapshots, by one woven plan.
fn take(rig: &Rig, of: [VolumeUuid; 2], mode: VolumeMode) -> [VolumeUuid; 2] {
    let members = of.map(|source| (source, volume()));
    let plans = members.map(|(source, snapshot)| {
        let intent = copy(HostObject::Snapshot, source, snapshot, SIZE, mode);
        rig.plan(snapshot, &intent).unwrap()
    });
    let steps = plan_group(plans.to_vec()).unwrap();
    let freezes = |step: &Step| matches!(step, Step::FreezeFilesystem { .. });
    assert!(steps[..2].iter().all(freezes), "{steps:?}");
    for step in &steps {
        execute(step, deadline()).unwrap();
    }
    members.map(|(_, snapshot)| snapshot)
}

fn shown(rig: &Rig, snapshot: VolumeUuid, mode: VolumeMode) -> u64 {
    let (restored, at) = (volume(), rig.path(&format!("restored-{snapshot}")));
    rig.fulfil(restored, &copy(HostObject::Volume, snapshot, restored, SIZE, mode)).unwrap();
    rig.fulfil(restored, &stage(restored, mode, &at)).unwrap();
    let number = number_in(&at);
    rig.fulfil(restored, &unstage(restored, &at)).unwrap();
    for object in [restored, snapshot] {
        rig.fulfil(object, &delete(&rig.proof(object), Erase::No)).unwrap();
    }
    number
}

fn keeps_the_order_of_writes(fs: FsType) {
    let (rig, mode) = (Rig::on_xfs(), VolumeMode::Filesystem { fs });
    let volumes = [volume(), volume()];
    let files = volumes.map(|ours| {
        let at = rig.path(&format!("staging-{ours}"));
        rig.fulfil(ours, &create(ours, SIZE, mode)).unwrap();
        rig.fulfil(ours, &stage(ours, mode, &at)).unwrap();
        let file = File::create(at.join("data/number")).unwrap();
        file.write_all_at(&[0; 8], 0).unwrap();
        file.sync_all().unwrap();
        file
    });
    let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| write_in_order(files, &written, &stop));
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..ROUNDS {
                let before = written.load(Ordering::SeqCst);
                let taken = take(&rig, volumes, mode);
                let [first, second] = taken.map(|snapshot| shown(&rig, snapshot, mode));
                assert!(first >= second && second + 1 >= first, "{fs}: {first} and {second}");
                assert!(second >= before, "{fs}: {second}, and {before} was acknowledged");
            }
        }));
        stop.store(true, Ordering::SeqCst);
        rounds.unwrap();
    });
    assert!(written.load(Ordering::SeqCst) > 100, "hardly anybody wrote");
}

#[test]
fn a_group_keeps_the_order_of_writes_across_volumes_on_xfs() {
    keeps_the_order_of_writes(FsType::Xfs);
}

#[test]
fn a_group_keeps_the_order_of_writes_across_volumes_on_ext4() {
    keeps_the_order_of_writes(FsType::Ext4);
}
