//! What the loop leaves: sweeps without need, slow operations nobody asked for; and what it says of what has no name or is over.

use std::time::Duration;

use terrace_probe_abi::layout::{FIRST_PROVISIONAL, Operation, SharedClass};
use terrace_probe_abi::wire::ToNode;

use super::{Fake, names, page, proc_with, settings, writes};
use crate::host_proc::HostProc;
use crate::run_watch::Watch;

/// A window after which the next sweep would be due.
fn windows(watch: &mut Watch<Fake>, count: usize) {
    for _ in 0..count {
        watch.swept = None;
        watch.window().unwrap();
    }
}

#[test]
fn a_node_on_which_nothing_happens_is_not_swept() {
    let (proc, gone, kernel) = (proc_with(true), proc_with(false), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    windows(&mut watch, 4);
    watch.proc = HostProc::new(gone.path());
    kernel.does(501, Operation::Write, 10, 1_000_000);
    windows(&mut watch, 4);
    assert_eq!(kernel.0.borrow().sightings.len(), 1, "nobody looked whether it is gone");
    watch.host_changed();
    windows(&mut watch, 1);
    assert!(kernel.0.borrow().sightings.is_empty(), "the host's mounts changed");
}

#[test]
fn a_new_mount_is_a_sign_that_others_may_be_gone() {
    let (proc, gone, kernel) = (proc_with(true), proc_with(false), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    windows(&mut watch, 4);
    watch.proc = HostProc::new(gone.path());
    kernel.sees(20, FIRST_PROVISIONAL + 1);
    kernel.0.borrow_mut().sightings[1].s_dev = (254, 0);
    windows(&mut watch, 1);
    assert_eq!(kernel.0.borrow().sightings.len(), 1, "the volume's is forgotten");
    assert_eq!(kernel.slot(20), SharedClass::Host.slot());
}

#[test]
fn what_is_neither_a_volumes_nor_critical_is_told_only_if_asked_for() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let slow = [
        (20, FIRST_PROVISIONAL),
        (501, FIRST_PROVISIONAL + 1),
        (20, SharedClass::CriticalEtcd.slot()),
        (20, SharedClass::Logs.slot()),
        (999, FIRST_PROVISIONAL + 2),
    ];
    let push = || {
        for (mount, slot) in slow {
            let mut record = crate::slow::tests::record();
            (record.mount, record.slot) = (mount, slot);
            kernel.0.borrow_mut().slow.push(record);
        }
    };
    let told = |more: &[&str]| {
        let mut watch = Watch::new(kernel.clone(), settings(proc.path(), more)).unwrap();
        kernel.0.borrow_mut().sightings.clear();
        kernel.sees(20, FIRST_PROVISIONAL);
        kernel.0.borrow_mut().sightings[0].s_dev = (254, 0);
        kernel.sees(501, FIRST_PROVISIONAL + 1);
        push();
        let told = watch.slow();
        let total = format!("terrace_probe_slow_events_total {}", told.len());
        assert!(page(&watch).contains(&total), "{total}");
        told.iter().map(|event| event.volume_type).collect::<Vec<_>>()
    };
    assert_eq!(told(&[]), [None, Some("critical_etcd")], "a volume that waits for its name is one");
    let all = told(&["--host-events", "on"]);
    let host = Some("host");
    assert_eq!(all, [host, None, Some("critical_etcd"), Some("logs"), None], "known from before");
}

#[test]
fn a_volume_that_nobody_mounts_while_the_probe_starts_over_goes_on() {
    let (proc, gone, kernel) = (proc_with(true), proc_with(false), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    kernel.does(501, Operation::Write, 10, 1_000_000);
    windows(&mut watch, 1);
    watch.proc = HostProc::new(gone.path());
    watch.host_changed();
    windows(&mut watch, 1);
    assert!(kernel.0.borrow().sightings.is_empty());
    drop(watch);
    let mut again = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    again.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    kernel.does(501, Operation::Write, 5, 1_000_000);
    windows(&mut again, 2);
    assert_eq!(writes(&again), Some(15), "{}", page(&again));
}

#[test]
fn why_something_has_no_name_is_told_until_it_is_gone() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    kernel.sees(777, FIRST_PROVISIONAL);
    let is_told = |watch: &Watch<Fake>, count: u64| {
        page(watch).contains(&format!("terrace_probe_unnamed_things{{reason=\"gone\"}} {count}"))
    };
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.look().unwrap();
    assert_eq!(kernel.slot(777), SharedClass::Unnamed.slot());
    assert!(is_told(&watch, 1));
    drop(watch);
    let mut again = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    again.look().unwrap();
    assert!(is_told(&again, 1), "a probe that starts over knows it too");
    windows(&mut again, 1);
    assert!(is_told(&again, 0) && kernel.0.borrow().sightings.is_empty());
}

#[test]
fn a_window_lasts_as_long_as_it_did() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    watch.look().unwrap();
    kernel.does(501, Operation::Read, 1000, 2_000);
    watch.looked -= Duration::from_secs(10);
    let said = watch.window().unwrap();
    let Some(ToNode::Figures(figures)) = said.last() else { panic!("{said:?}") };
    let read = figures.volumes[0].operations.read.unwrap();
    assert!((read.ops_per_second - 100.0).abs() < 2.0, "{read:?}");
    assert_eq!(figures.volumes[0].window_seconds, 10);
}
