//! Every field of an event, and what it says where something is not known.

use serde_json::{Value, json};
use terrace_probe_abi::layout::{NAME_BYTES, NAMES, SlowRecord};

use super::{Where, event};
use crate::cgroup::Container;
use crate::class::Bounds;

pub(crate) fn record() -> SlowRecord {
    let mut names = [[0; NAME_BYTES]; NAMES];
    names[0][..5].copy_from_slice(b"wal.1");
    names[1][..4].copy_from_slice(b"data");
    let mut command = [0; 16];
    command[..8].copy_from_slice(b"postgres");
    SlowRecord {
        start_ns: 1_000,
        duration_ns: 11_000_000,
        cpu_ns: 5,
        queue_ns: 6,
        block_ns: 7,
        cgroup: 4242,
        inode: 131,
        result: 8192,
        tgid: 900,
        tid: 901,
        s_dev: 7 << 20 | 8,
        magic: 0x5846_5342,
        mount: 77,
        slot: 3,
        generation: 1,
        operation: 1,
        path: 0,
        blocked: 1,
        depth: 2,
        deeper: 0,
        unused: [0; 3],
        command,
        names,
    }
}

fn spelled(record: &SlowRecord, place: Where, container: Container) -> Value {
    serde_json::to_value(event(record, place, container, 1_000_000, Bounds::default())).unwrap()
}

#[test]
fn an_event_has_every_field_that_was_asked_for() {
    let place = Where {
        mount_point: Some("/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv-1/mount".into()),
        volume_type: Some("pvc"),
        persistent_volume: Some("pv-1".into()),
        namespace: Some("bank".into()),
        claim: Some("data".into()),
    };
    let container = Container { pod_uid: Some("u".into()), id: Some("c0ffee".into()) };
    let spelled = spelled(&record(), place, container);
    assert_eq!(
        spelled,
        json!({
            "kind": "slowOperation", "timeUnixNano": 1_001_000, "operation": "write", "path": "/data/wal.1",
            "size": 8192, "durationNs": 11_000_000, "latencyClass": "slow", "slow": true, "blocked": true,
            "device": "7:8", "inode": 131, "filesystem": "xfs",
            "mountPoint": "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv-1/mount",
            "volumeType": "pvc", "persistentVolume": "pv-1", "namespace": "bank", "persistentVolumeClaim": "data",
            "containerId": "c0ffee", "podUid": "u", "pid": 900, "tid": 901, "command": "postgres",
            "cgroupId": 4242, "cpuNs": 5, "queueNs": 6, "blockNs": 7, "via": "syscall",
        })
    );
}

#[test]
fn what_is_not_known_is_absent_and_said() {
    let mut record = record();
    record.depth = 0;
    let unnamed = spelled(&record, Where::default(), Container::default());
    assert_eq!(
        (unnamed.get("path"), &unnamed["pathNote"]),
        (None, &json!("the kernel gave no name"))
    );
    assert!(unnamed.get("podUid").is_none() && unnamed.get("volumeType").is_none());
    record.mount = 0;
    let block = spelled(&record, Where::default(), Container::default());
    assert_eq!(block["pathNote"], json!("a block device has no path"));
}

#[test]
fn a_path_that_is_not_whole_says_so() {
    let mut record = record();
    record.deeper = 1;
    let deep = spelled(&record, Where::default(), Container::default());
    assert_eq!(deep["path"], json!(".../data/wal.1"));
    assert!(deep["pathNote"].is_string());
    record.deeper = 0;
    record.names[0] = [b'x'; NAME_BYTES];
    let long = spelled(&record, Where::default(), Container::default());
    assert_eq!(long["pathNote"], json!("a name is longer than the kernel tells"));
}

#[test]
fn a_failed_operation_moved_nothing_and_tells_its_errno() {
    let mut record = record();
    (record.result, record.magic, record.operation) = (-5, 0x1234, 9);
    let failed = spelled(&record, Where::default(), Container::default());
    assert_eq!((&failed["size"], &failed["errno"]), (&json!(0), &json!(5)));
    assert_eq!(
        (&failed["filesystem"], &failed["operation"]),
        (&json!("0x1234"), &json!("unknown"))
    );
}
