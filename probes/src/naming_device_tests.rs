//! Raw block volumes, by number.

use terrace_probe_abi::layout::SharedClass;
use terrace_probe_abi::wire::{Device, Names, VolumeName};

use super::{AMBIGUOUS, K, World, class, is, volume, world};
use crate::names::NameBook;
use crate::naming::{Partitions, Verdict, name_device};

const PARTITIONS: &str = "major minor  #blocks  name\n\n   7        3    1048576 loop3\n 253        4    2097152 dm-4\n 104        0   1 cciss!c0d0\n";
const LOOP3: Device = Device { major: 7, minor: 3 };

fn block(name: &str, root: &str) -> String {
    format!(
        "11 0:6 {root} {K}/plugins/kubernetes.io/csi/volumeDevices/publish/{name}/a devtmpfs devtmpfs"
    )
}

fn ask(world: &World, device: Device) -> Verdict {
    name_device(device, &world.host, &Partitions::parse(PARTITIONS), world.book.as_ref())
}

#[test]
fn a_device_is_its_volumes_by_the_folder_its_node_lies_in() {
    let world = world(&[block("pvc-raw", "/loop3")]);
    assert_eq!(ask(&world, LOOP3), is("pvc-raw"));
    assert_eq!(ask(&world, Device { major: 253, minor: 4 }), class(SharedClass::Host));
}

#[test]
fn csi_node_knows_a_device_whose_node_bears_no_name() {
    let node = format!(
        "11 8:1 /dev-of-mine {K}/plugins/kubernetes.io/csi/volumeDevices/publish/pvc-raw/a ext4 /dev/sda1"
    );
    let mut world = world(&[node]);
    assert_eq!(ask(&world, LOOP3), class(SharedClass::Host));
    let told = VolumeName { device: Some(LOOP3), ..volume("pvc-raw", &["a"]) };
    world.book = Some(NameBook::new(Names { volumes: vec![told], ..Names::default() }));
    assert_eq!(ask(&world, LOOP3), is("pvc-raw"));
}

#[test]
fn a_device_two_volumes_claim_is_nobodys() {
    let other = block("pvc-other", "/loop3").replacen("11 ", "12 ", 1);
    let world = world(&[block("pvc-raw", "/loop3"), other]);
    assert_eq!(ask(&world, LOOP3), AMBIGUOUS);
}

#[test]
fn i6_a_number_that_was_handed_on_is_not_what_csi_node_last_said_of_it() {
    let mut world = world(&[block("pvc-raw", "/loop3")]);
    let told = VolumeName { device: Some(LOOP3), ..volume("pvc-other", &["a"]) };
    world.book = Some(NameBook::new(Names { volumes: vec![told], ..Names::default() }));
    assert_eq!(ask(&world, LOOP3), is("pvc-raw"));
}

#[test]
fn names_of_old_with_a_slash_are_found() {
    let world = world(&[block("pvc-raw", "/cciss/c0d0")]);
    assert_eq!(ask(&world, Device { major: 104, minor: 0 }), is("pvc-raw"));
}
