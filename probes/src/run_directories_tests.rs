//! Folders of the host that are no mounts, in the loop.

use terrace_probe_abi::layout::{FIRST_PROVISIONAL, SharedClass};
use terrace_probe_abi::wire::{Device, DirectoryName, Names};

use super::{Fake, names, proc_with, settings};
use crate::loader::{Switch, Thing};
use crate::run_watch::Watch;

#[test]
fn folders_of_the_host_are_looked_for_on_the_mounts_that_show_them() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    for (id, s_dev) in [(20, (254, 0)), (502, (0, 99)), (501, (7, 8))] {
        kernel.sees(id, FIRST_PROVISIONAL);
        kernel.0.borrow_mut().sightings.last_mut().unwrap().s_dev = s_dev;
    }
    let named = |inode| {
        let device = Device { major: 254, minor: 0 };
        let directories = vec![DirectoryName { path: "/var/lib/etcd".into(), device, inode }];
        Names { directories, ..names() }
    };
    watch.names(named(77));
    watch.look().unwrap();
    let marked = [(Thing::Mount(20), Switch::On), (Thing::Mount(502), Switch::Off)];
    assert_eq!(kernel.0.borrow().marked, marked, "the volume is left alone");
    let found = kernel.0.borrow().directories.clone();
    assert_eq!((found[0].inode, found[0].class), (77, SharedClass::CriticalEtcd));
    watch.names(named(78));
    watch.look().unwrap();
    assert_eq!(kernel.0.borrow().directories[0].inode, 78, "made anew");
    assert_eq!(kernel.0.borrow().marked, marked, "once");
    drop(watch);
    let mut again = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    again.names(names());
    again.look().unwrap();
    let after = [(Thing::Mount(20), Switch::Off), (Thing::Mount(502), Switch::Off)];
    assert_eq!(kernel.0.borrow().marked[2..], after, "a probe that starts over goes over them");
}

#[test]
fn a_slow_operation_in_a_folder_of_its_own_class_is_of_that_class() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    kernel.sees(20, FIRST_PROVISIONAL);
    kernel.0.borrow_mut().sightings[0].s_dev = (254, 0);
    watch.look().unwrap();
    let mut record = crate::slow::tests::record();
    (record.mount, record.slot) = (20, SharedClass::CriticalEtcd.slot());
    kernel.0.borrow_mut().slow.push(record);
    assert_eq!(watch.slow()[0].volume_type, Some("critical_etcd"));
}
