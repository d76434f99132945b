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
    let holder = DeviceUse::Holder { name: "dm-0".into(), as_what: None };
    let sda = named("sda").uses;
    assert!(sda.contains(&holder) && sda.len() == 1, "{sda:?}");
    assert_eq!(named("sdb").uses, [DeviceUse::Partition { name: "sdb1".into() }]);
    assert_eq!(named("sdb1").uses, [DeviceUse::Mounted { at: "/mnt/backup".into() }]);
    assert_eq!(named("nvme0n1p2").uses, [DeviceUse::Mounted { at: "/".into() }]);
    assert_eq!(named("nvme0n1p1").uses, []);
}

/// A server with a shelf: two NVMe disks with an array on their first partitions, ATA, SAS by two paths, 4Kn, USB, and a hypervisor's disk.
#[test]
fn what_each_kind_of_disk_is_and_how_they_stack_is_told() {
    let devices = observe_devices(&Host::fixture("fixtures/shelf".as_ref())).unwrap();
    let told: Vec<String> = devices.iter().map(line).collect();
    assert_eq!(told.join("\n"), include_str!("../fixtures/shelf/told").trim_end());
}

fn line(device: &DeviceView) -> String {
    let DeviceFacts {
        sequence,
        transport,
        discard,
        write_cache,
        partition,
        stack,
        stands_on,
        state,
    } = &device.facts;
    assert_eq!(*state, None, "no fixture has one");
    let part = partition.as_ref().map(|part| {
        assert_eq!(part.entry, None, "nobody looked");
        format!("part {} of {} at {}", part.number, part.disk, part.start)
    });
    let words = [
        Some(device.path.file_name().unwrap().to_string_lossy().into_owned()),
        Some(device.id.clone()),
        Some(device.size.to_string()),
        device.model.clone(),
        transport.map(|transport| transport.as_str().to_owned()),
        Some(if device.rotational { "turns" } else { "flash" }.to_owned()),
        Some(format!("{}/{}", device.logical_sector, device.physical_sector)),
        discard.map(|discard| format!("discards {discard}")),
        write_cache.as_str().map(str::to_owned),
        sequence.map(|sequence| format!("seq {sequence}")),
        part,
        stack.as_ref().map(|stack| format!("{stack} of {}", stands_on.join("+"))),
    ];
    let uses = device.uses.iter().map(ToString::to_string);
    words.into_iter().flatten().chain(uses).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_disk_is_asked_once_who_it_is_and_the_next_one_of_its_name_again() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = scratch.path().join("vda");
    std::fs::create_dir(&disk).unwrap();
    let says = |serial: &str| std::fs::write(disk.join("serial"), serial).unwrap();
    let known = KnownDisks::default();
    says("one");
    assert_eq!(known.identity(&disk, Some(1)).serial.as_deref(), Some("one"));
    says("two");
    assert_eq!(known.identity(&disk, Some(1)).serial.as_deref(), Some("one"), "not asked");
    assert_eq!(known.identity(&disk, Some(2)).serial.as_deref(), Some("two"));
    says("three");
    assert_eq!(known.identity(&disk, None).serial.as_deref(), Some("three"), "cannot be told");
}
