//! Invariant I8: looking costs no process. In a program of its own, so that nothing else here starts one. Needs root (trusted attributes).

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::time::Duration;

use terrace_device_types::{
    Allocation, Bytes, HostObject, HostState, Latch, StageState, Step, Tag, VolumeMode, VolumeUuid,
    image_name,
};
use terrace_devices::{
    Deadline, Host, Probe, execute, observe_devices, observe_images, observe_mounts, observe_pool,
    observe_unpublish, observe_usage, observe_volume,
};

/// Page faults of children that have ended: not one without a child (proc(5), `cminflt`).
fn faults_of_children() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    after_name.split(' ').nth(8).unwrap().parse().unwrap()
}

#[test]
fn i8_looking_at_an_idle_node_runs_no_command() {
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let (dir, volume) = (scratch.path(), VolumeUuid(uuid::Uuid::new_v4()));
    let tag = Tag {
        object: HostObject::Volume,
        source: None,
        volume,
        cluster: "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap(),
        pool: "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap(),
        name: "pvc-1".into(),
        mode: VolumeMode::Block,
        allocation: Allocation::Reserved,
        state: HostState::Ready,
        latch: Latch::None,
        stage: StageState::Never,
    };
    let deadline = Deadline::after(Duration::from_secs(60));
    let image = dir.join(image_name(HostObject::Volume, volume));
    let make = Step::AllocateImage { image, size: Bytes::mib(1), tag: Box::new(tag) };
    execute(&make, deadline).unwrap();

    let host = Host::real();
    for _ in 0..3 {
        let view = observe_volume(&host, dir, volume, None, Probe::Skip, deadline).unwrap();
        assert!(view.volume.image.is_some());
        assert_eq!(observe_images(dir).unwrap().len(), 1);
        assert!(observe_pool(&host, dir).unwrap().exists);
        observe_devices(&host).unwrap();
        observe_unpublish(&host).unwrap();
        observe_mounts(&host).unwrap();
        observe_usage(dir).unwrap();
    }
    assert_eq!(faults_of_children(), 0, "a command was run");
    observe_volume(&host, dir, volume, None, Probe::Look, deadline).unwrap();
    assert_ne!(faults_of_children(), 0, "blkid is a command: the measure works");
}
