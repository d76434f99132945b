//! lvm is killed while it changes a thin pool, at one moment after the other: the next one finds a group that it can go on with, and a volume beside keeps its bytes.

use std::time::Duration;

use terrace_device_types::Access;
use terrace_device_types::lvm::{GroupRef, NewVolume, PoolMode, PoolSize, VolumeKind};
use terrace_device_types::{Bytes, StepDone};
use terrace_devices::lvm::Leftover;
use terrace_devices::{Deadline, DeviceError};

use crate::rig::{Rig, lv, lv_name, node, read_at, sh, soon, thin, write_at};
use crate::thin::pool_status;

/// How much later it is killed each time.
const STEP: Duration = Duration::from_millis(30);

fn snapshot(rig: &Rig, name: &str) -> NewVolume {
    let kind = VolumeKind::ThinSnapshot { of: lv("v"), access: Access::ReadWrite };
    let mut new = rig.volume(name, kind);
    new.tag.source = Some(lv("v").volume);
    new
}

/// Does it with more and more time until it comes to its end; says how often it was killed.
fn until_done(
    rig: &Rig,
    group: &GroupRef,
    what: &str,
    change: impl Fn(Deadline) -> Result<(), DeviceError>,
) -> u32 {
    for killed in 0..200 {
        match change(Deadline::after(STEP * (killed + 1))) {
            Ok(()) => return killed,
            Err(DeviceError::Deadline { .. }) => {}
            Err(error) => panic!("{what}, killed {killed} times: {error}"),
        }
        if killed % 2 == 1 {
            lose_devices();
            rig.lvm.activate_group(group, soon()).unwrap();
        }
        let cleared = rig.lvm.clear_leftovers(group, soon()).unwrap();
        assert_eq!(rig.lvm.observe_leftovers(&cleared.group).unwrap(), [], "{what} {killed}");
        let pool = pool_status(rig, &cleared.group);
        assert_eq!((pool.mode, pool.needs_check), (PoolMode::Writable, false), "{what} {killed}");
        let number = u8::try_from(killed % 250).unwrap();
        let device = node(&cleared.group, "v");
        write_at(&device, 0, number, 65536);
        assert_eq!(read_at(&device, 0, 65536), vec![number; 65536]);
    }
    panic!("{what} is never done");
}

/// What is left of device-mapper at a power loss, for all that the kernel has on the disks by now: nothing.
fn lose_devices() {
    let names = "dmsetup ls | sed -n 's/^\\(tank-[^\t]*\\)\t.*/\\1/p'";
    sh(&format!(
        "for i in 1 2 3 4 5; do for n in $({names}); do dmsetup clear $n; dmsetup resume $n; dmsetup remove $n; done 2> /dev/null; done; test -z \"$({names})\""
    ));
}

#[test]
fn i3_lvm_killed_at_any_moment_of_a_thin_change_leaves_what_the_next_one_can_go_on_with() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(2);
    rig.thin_pool(&group, 64);
    rig.create(&group, &rig.volume("v", thin(32)));
    let made = until_done(&rig, &group, "a snapshot", |deadline| {
        let mut created = rig.lvm.create_volumes(&group, &[snapshot(&rig, "s")], deadline)?;
        created.each.pop().unwrap().map(drop)
    });
    let to = PoolSize { data: Bytes::mib(128), metadata: Bytes::mib(16) };
    let grown = until_done(&rig, &group, "growth", |deadline| {
        rig.lvm.extend_thin_pool(&group, &lv_name("pool"), to, deadline).map(drop)
    });
    let gone = until_done(&rig, &group, "a removal", |deadline| {
        rig.lvm.remove_unfinished_volume(&group, &lv("s"), deadline).map(drop)
    });
    eprintln!("killed {made} times in a snapshot, {grown} in growth, {gone} in a removal");
    let seen = rig.lvm.observe_group(&group, soon()).unwrap();
    assert_eq!(seen.lv("pool").unwrap().transaction, Some(pool_status(&rig, &seen).transaction));
    assert!(seen.lv("s").is_none() && seen.lv("pool").unwrap().size >= Bytes::mib(128));
}

#[test]
fn a_thin_pool_with_another_number_than_lvms_is_told_and_only_what_a_killed_lvm_leaves_is_mended() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    rig.thin_pool(&group, 64);
    rig.create(&group, &rig.volume("v", thin(32)));
    let seen = rig.create(&group, &snapshot(&rig, "s"));
    write_at(&node(&seen, "s"), 0, 5, 65536);
    let number = pool_status(&rig, &seen).transaction;
    let set = |from: u64, to: u64| {
        sh(&format!("dmsetup message tank-pool-tpool 0 'set_transaction_id {from} {to}'"));
    };
    // As lvm leaves it that was killed once the pool had the snapshot.
    set(number, number - 1);
    let behind = rig.lvm.observe_leftovers(&seen).unwrap();
    let told = matches!(&behind[..], [Leftover::Behind { knows, wanted, .. }] if (*knows, *wanted) == (number - 1, number));
    assert!(told, "{behind:?}");
    let cleared = rig.lvm.clear_leftovers(&group, soon()).unwrap();
    assert_eq!(cleared.done, StepDone::Changed);
    assert_eq!(pool_status(&rig, &cleared.group).transaction, number);
    assert_eq!(read_at(&node(&cleared.group, "s"), 0, 65536), vec![5; 65536]);
    // No lvm leaves this: an older copy of the group's metadata, or of the pool's.
    set(number, number + 3);
    let error = rig.lvm.clear_leftovers(&group, soon()).unwrap_err();
    assert!(matches!(error, DeviceError::Changed { .. }), "{error}");
    assert_eq!(pool_status(&rig, &seen).transaction, number + 3, "it was changed all the same");
    let refused = rig.create_fails(&group, &rig.volume("w", thin(32)));
    eprintln!("a new volume meanwhile: {refused}");
    set(number + 3, number);
    rig.create(&group, &rig.volume("w", thin(32)));
}
