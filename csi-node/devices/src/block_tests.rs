//! The device scan on a tree of files taken from a rack server and cut down: NVMe, disks, a card reader, loop devices of ours and of others.

use super::*;

fn rack() -> Vec<DeviceView> {
    observe_devices(&Host::fixture("fixtures/rack".as_ref())).unwrap()
}

fn named(name: &str) -> DeviceView {
    let devices = rack();
    devices.into_iter().find(|device| device.path.ends_with(name)).unwrap()
}

#[test]
fn disks_partitions_and_strange_loop_devices_are_listed_and_nothing_else() {
    let names: Vec<_> = rack()
        .iter()
        .map(|device| device.path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let expected =
        ["dm-0", "loop4", "nvme0n1", "nvme0n1p1", "nvme0n1p2", "sda", "sdb", "sdb1", "vda"];
    assert_eq!(names, expected);
}

#[test]
fn an_id_is_a_by_id_name_else_wwn_else_serial_else_the_name() {
    let ids = ["sdb", "nvme0n1", "sda", "vda", "sdb1", "loop4"].map(|name| named(name).id);
    let expected = [
        "ata-Slow_Disk_4T_ZX9",
        "wwn-eui.0025385",
        "wwn-naa.5000c500",
        "vda",
        "sdb1",
        "loop:/srv/a disk.img",
    ];
    assert_eq!(ids, expected);
}

#[test]
fn figures_are_in_bytes_and_flags_are_read() {
    let disk = named("sda");
    assert_eq!(disk.size, Bytes(7_814_037_168 * 512));
    assert_eq!((disk.logical_sector, disk.physical_sector), (512, 4096));
    assert!(disk.rotational && !disk.read_only && !disk.removable);
    assert_eq!(disk.model.as_deref(), Some("Slow Disk 4T"));
    assert!(named("vda").read_only);
    assert!(!named("nvme0n1").rotational);
    assert_eq!(named("nvme0n1p2").size, Bytes(2048 * 512));
}

#[test]
fn every_use_of_a_device_is_told() {
    assert_eq!(named("dm-0").uses, [DeviceUse::Swap]);
    let holder = DeviceUse::Holder { name: "dm-0".into() };
    let sda = named("sda").uses;
    assert!(sda.contains(&holder) && sda.len() == 1, "{sda:?}");
    assert_eq!(named("sdb").uses, [DeviceUse::Partition { name: "sdb1".into() }]);
    assert_eq!(named("sdb1").uses, [DeviceUse::Mounted { at: "/mnt/backup".into() }]);
    assert_eq!(named("nvme0n1p2").uses, [DeviceUse::Mounted { at: "/".into() }]);
    assert_eq!(named("nvme0n1p1").uses, []);
}
