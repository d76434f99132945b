//! What goes wrong with devices and with lvm itself.

use std::fs::File;
use std::time::{Duration, Instant};

use terrace_device_types::lvm::{DmTarget, GroupRef, LvKind, VolumeKind};
use terrace_device_types::{Bytes, StepDone};
use terrace_devices::lvm::Leftover;
use terrace_devices::{Deadline, DeviceError};

use crate::rig::{Rig, linear, lv, node, read_at, sh, soon, write_at};

#[test]
fn a_missing_device_is_told_and_nothing_is_made_meanwhile() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(2);
    let kind = VolumeKind::Raid1 { size: Bytes::mib(8), mirrors: 1 };
    let whole = rig.create(&group, &rig.volume("raid", kind));
    let half = GroupRef { uuid: group.uuid.clone(), devices: vec![rig.disks[0].clone()] };
    let seen = rig.lvm.observe_group(&half, soon()).unwrap();
    assert_eq!((seen.missing, seen.pvs.len()), (1, 2));
    let missing: Vec<bool> = seen.pvs.iter().map(|pv| pv.missing).collect();
    assert_eq!(missing.iter().filter(|missing| **missing).count(), 1);
    assert_eq!(seen.pvs.iter().filter(|pv| pv.device.is_none()).count(), 1);
    assert_eq!(seen.lv("raid").unwrap().health.as_deref(), Some("partial"));
    let error = rig.create_fails(&half, &rig.volume("v", linear(8)));
    assert!(matches!(error, DeviceError::Tool { .. }), "{error}");
    let back = rig.lvm.observe_group(&group, soon()).unwrap();
    assert_eq!((back.missing, back.seqno), (0, whole.seqno));
    rig.create(&group, &rig.volume("v", linear(8)));
    let none = GroupRef { uuid: group.uuid, devices: vec!["/dev/no-such-disk".into()] };
    assert!(matches!(rig.lvm.observe_group(&none, soon()), Err(DeviceError::Changed { .. })));
}

#[test]
fn a_device_that_nobody_may_write_is_refused_before_and_an_error_after() {
    let Some(rig) = Rig::new() else { return };
    let read_only = |disk: &std::path::Path| sh(&format!("blockdev --setro {}", disk.display()));
    read_only(&rig.disks[1]);
    let new = rig.new_group("other", &rig.disks[1..2]);
    let error = rig.lvm.make_group(&new, soon()).unwrap_err();
    assert!(
        matches!(&error, DeviceError::Changed { found, .. } if found == "read-only"),
        "{error}"
    );
    let group = rig.tank(1);
    rig.create(&group, &rig.volume("before", linear(8)));
    read_only(&rig.disks[0]);
    let error = rig.create_fails(&group, &rig.volume("v", linear(8)));
    assert!(matches!(error, DeviceError::Tool { .. }), "{error}");
    let seen = rig.lvm.observe_group(&group, soon()).unwrap();
    assert!(seen.lv("v").is_none() && seen.lv("before").is_some());
}

#[test]
fn a_device_that_fails_every_request_is_seen_without_a_command() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let seen = rig.create(&group, &rig.volume("v", linear(8)));
    let sectors = Bytes::mib(8).0 / 512;
    sh(&format!(
        "dmsetup suspend tank-v && dmsetup load tank-v --table '0 {sectors} error' && dmsetup resume tank-v"
    ));
    let uuid = &seen.lv("v").unwrap().uuid;
    let status = rig.lvm.observe_status(&seen.uuid, uuid, &LvKind::Linear).unwrap().unwrap();
    assert_eq!(status.targets, [DmTarget::Error]);
    // The group itself is whole, and a second create says what is wrong with its device.
    let error = rig.create_fails(&group, &rig.volume("v", linear(8)));
    assert!(matches!(error, DeviceError::Io { .. }), "{error}");
}

#[test]
fn devices_that_a_killed_lvm_left_are_found_and_removed_and_no_others() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let seen = rig.create(&group, &rig.volume("v", linear(8)));
    assert_eq!(rig.lvm.observe_leftovers(&seen).unwrap(), []);
    assert_eq!(rig.lvm.clear_leftovers(&group, soon()).unwrap().done, StepDone::Already);
    let vg = seen.uuid.compact();
    let make = |name: &str, uuid: &str, on: &str| {
        sh(&format!("dmsetup create {name} --uuid {uuid} --table '0 2048 linear {on} 65536'"));
    };
    let disk = rig.disks[0].display().to_string();
    let id = "x".repeat(32);
    make("tank-ghost_real", &format!("LVM-{vg}{id}-real"), &disk);
    let above = "y".repeat(32);
    sh(&format!(
        "dmsetup create tank-ghost --uuid LVM-{vg}{above} --table '0 2048 linear /dev/mapper/tank-ghost_real 0'"
    ));
    make("tank-held", &format!("LVM-{vg}{}", "z".repeat(32)), &disk);
    make("foreign", &format!("LVM-{}{id}", "f".repeat(32)), &disk);
    make("unnamed", "somebody", &disk);
    let held = File::open("/dev/mapper/tank-held").unwrap();
    assert_eq!(rig.lvm.observe_leftovers(&seen).unwrap().len(), 3);
    let cleared = rig.lvm.clear_leftovers(&group, soon()).unwrap();
    let left = rig.lvm.observe_leftovers(&cleared.group).unwrap();
    assert!(matches!(&left[..], [Leftover::Orphan { name, open: 1, .. }] if name == "tank-held"));
    drop(held);
    rig.lvm.clear_leftovers(&group, soon()).unwrap();
    let names = sh("dmsetup ls");
    assert!(names.contains("foreign") && names.contains("unnamed") && names.contains("tank-v"));
    assert!(!names.contains("ghost") && !names.contains("held"), "{names}");
    assert!(!std::fs::exists("/dev/mapper/tank-ghost").unwrap(), "its node is left");
}

#[test]
fn a_volume_that_was_left_suspended_goes_on() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let seen = rig.create(&group, &rig.volume("v", linear(8)));
    write_at(&node(&seen, "v"), 0, 4, 4096);
    sh("dmsetup suspend tank-v");
    let left = rig.lvm.observe_leftovers(&seen).unwrap();
    assert!(
        matches!(&left[..], [Leftover::Suspended { name, .. }] if name == "tank-v"),
        "{left:?}"
    );
    let cleared = rig.lvm.clear_leftovers(&group, soon()).unwrap();
    assert_eq!(rig.lvm.observe_leftovers(&cleared.group).unwrap(), []);
    assert_eq!(read_at(&node(&seen, "v"), 0, 4096), vec![4; 4096]);
}

#[test]
fn i10_an_lvm_that_waits_for_a_lock_is_killed_at_the_deadline_and_nothing_was_done() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let lock =
        File::options().create(true).truncate(false).write(true).open("/run/lock/lvm/V_tank");
    let lock = lock.unwrap();
    lock.lock().unwrap();
    let began = Instant::now();
    let short = Deadline::after(Duration::from_secs(2));
    let error = rig.lvm.create_volumes(&group, &[rig.volume("v", linear(8))], short).unwrap_err();
    assert!(matches!(error, DeviceError::Deadline { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(lock);
    assert_eq!(lvm_processes(), Vec::<String>::new());
    assert!(rig.lvm.observe_group(&group, soon()).unwrap().lvs.is_empty());
    rig.create(&group, &rig.volume("v", linear(8)));
    rig.lvm.remove_unfinished_volume(&group, &lv("v"), soon()).unwrap();
}

/// Names of lvm's processes, and of those that it starts, that are there and not dead.
fn lvm_processes() -> Vec<String> {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let names = stats
        .filter(|stat| !stat.contains(") Z "))
        .filter_map(|stat| Some(stat.split_once('(')?.1.split_once(')')?.0.to_owned()));
    names.filter(|name| name == "lvm" || name.starts_with("thin_")).collect()
}
