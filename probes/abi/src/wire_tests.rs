//! Every message survives the wire, in the spelling that the other side was promised.

use serde_json::{Value, json};

use super::{
    Device, DirectoryName, ErrorTotals, Figures, FunctionTier, Hello, HistogramOf, InlineVolume,
    LINE_MAX, Lines, MissedCount, Names, OperationBuckets, OperationSummary, OperationsSummary,
    PodName, ToNode, ToProbe, Turned, VolumeFigures, VolumeName, WireError, from_line, to_line,
};
use crate::layout::{Operation, Tier};

fn names() -> ToProbe {
    ToProbe::Names(Names {
        pods: vec![PodName {
            uid: "57ae704b-a842-42dd-b456-7df685c39008".into(),
            namespace: "bank".into(),
            name: "ledger-0".into(),
        }],
        volumes: vec![
            VolumeName {
                pv_name: "pvc-9cb1d63f".into(),
                pod_uids: vec!["57ae704b-a842-42dd-b456-7df685c39008".into()],
                namespace: "bank".into(),
                claim: "data".into(),
                driver: "csi.terrace.storage".into(),
                storage_class: Some("fast".into()),
                volume: Some("sv-9cb1".into()),
                target_p99_ns: Some(5_000_000),
                device: Some(Device { major: 7, minor: 8 }),
                handle_sha256: Some("f8ea9f9c".into()),
            },
            VolumeName {
                pv_name: "theirs".into(),
                namespace: "bank".into(),
                claim: "logs".into(),
                driver: "ebs.csi.aws.com".into(),
                ..VolumeName::default()
            },
        ],
        inline_volumes: vec![InlineVolume {
            pod_uid: "57ae704b-a842-42dd-b456-7df685c39008".into(),
            name: "scratch".into(),
        }],
        directories: vec![DirectoryName {
            path: "/var/lib/etcd".into(),
            device: Device { major: 254, minor: 0 },
            inode: 1 << 40,
        }],
    })
}

fn from_probe() -> Vec<ToNode> {
    let summary = OperationSummary {
        ops_per_second: 12.5,
        bytes_per_second: 51_200.0,
        average_ns: 90_000,
        p50_ns: 80_000,
        p95_ns: 200_000,
        p99_ns: 11_000_000,
        max_ns: 40_000_000,
        slow: 3,
        slow_share: 0.048,
    };
    let figures = VolumeFigures {
        pv_name: "pvc-9cb1d63f".into(),
        namespace: Some("bank".into()),
        claim: Some("data".into()),
        window_seconds: 5,
        operations: OperationsSummary { write: Some(summary), ..OperationsSummary::default() },
        last_access: Some(1_795_000_000),
        accesses_per_day: 1.5,
        errors: ErrorTotals { eio: 2, ..ErrorTotals::default() },
    };
    let missed = MissedCount { reason: "compat".into(), count: 3 };
    let turned = Turned {
        pv_name: "pvc-9cb1d63f".into(),
        high: true,
        operation: Operation::Fsync,
        measured_p99_ns: 41_000_000,
        target_ns: 10_000_000,
        since_unix: 1_795_000_000,
        slow_share: 0.31,
    };
    let function = FunctionTier {
        function: "vfs_read".into(),
        tier: Tier::RawTracepoint,
        reason: Some("the kernel is locked down".into()),
    };
    let hello = Hello {
        version: "0.1.0".into(),
        kernel: "6.18.44".into(),
        functions: vec![function],
        unobservable: vec!["mmap".into()],
    };
    let buckets = OperationBuckets {
        operation: Operation::Readdir,
        sum_ns: u64::MAX,
        max_ns: 7,
        buckets: vec![0, u64::MAX, 3],
    };
    vec![
        ToNode::Hello(hello),
        ToNode::Figures(Figures { volumes: vec![figures], missed: vec![missed] }),
        ToNode::Turned(turned),
        ToNode::HistogramOf(HistogramOf { pv_name: "x".into(), operations: vec![buckets] }),
    ]
}

#[test]
fn every_message_survives_the_wire_as_one_line() {
    for message in [names(), ToProbe::Histogram { pv_name: "pvc-9cb1d63f".into() }] {
        let line = to_line(&message).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(from_line::<ToProbe>(&line).unwrap(), message);
    }
    for message in from_probe() {
        let line = to_line(&message).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(from_line::<ToNode>(&line).unwrap(), message);
    }
}

#[test]
fn names_are_spelled_as_promised() {
    let line: Value = serde_json::from_slice(&to_line(&names()).unwrap()).unwrap();
    assert_eq!((&line["v"], &line["kind"]), (&json!(1), &json!("names")));
    let volume = &line["volumes"][0];
    assert_eq!(volume["podUIDs"], json!(["57ae704b-a842-42dd-b456-7df685c39008"]));
    assert_eq!(volume["targetP99Ns"], json!(5_000_000));
    assert_eq!(volume["device"], json!({"major": 7, "minor": 8}));
    assert_eq!(line["volumes"][1].get("device"), None);
    assert_eq!(line["inlineVolumes"][0]["podUID"], volume["podUIDs"][0]);
}

#[test]
fn figures_are_spelled_as_promised() {
    let messages = from_probe();
    let spelled =
        |message: &ToNode| -> Value { serde_json::from_slice(&to_line(message).unwrap()).unwrap() };
    let figures = &spelled(&messages[1])["volumes"][0];
    assert_eq!(figures["operations"]["write"]["p99Ns"], json!(11_000_000));
    assert_eq!((&figures["windowSeconds"], &figures["accessesPerDay"]), (&json!(5), &json!(1.5)));
    assert_eq!(figures["errors"]["eio"], json!(2));
    let turned = spelled(&messages[2]);
    assert_eq!(
        (&turned["operation"], &turned["measuredP99Ns"]),
        (&json!("fsync"), &json!(41_000_000))
    );
    assert_eq!(spelled(&messages[3])["kind"], json!("histogramOf"));
    assert_eq!(spelled(&messages[0])["functions"][0]["tier"], json!("rawTracepoint"));
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    let line = br#"{"v":1,"kind":"names","pods":[{"uid":"a","namespace":"b","name":"c","colour":"red"}],"volumes":[],"since":{"x":[1]}}"#;
    let ToProbe::Names(names) = from_line(line).unwrap() else { panic!("no names") };
    assert_eq!(names.pods[0].name, "c");
    let unknown = br#"{"v":1,"kind":"weather","sun":{"hours":9},"list":[1,2]}"#;
    assert_eq!(from_line::<ToProbe>(unknown).unwrap(), ToProbe::Unknown);
    assert_eq!(from_line::<ToNode>(unknown).unwrap(), ToNode::Unknown);
}

#[test]
fn another_version_is_named() {
    let line = br#"{"v":2,"kind":"names","pods":"changed"}"#;
    let Err(WireError::Version { found }) = from_line::<ToProbe>(line) else { panic!("read it") };
    assert_eq!(found, 2);
    assert!(matches!(from_line::<ToProbe>(b"{\"kind\":\"names\"}"), Err(WireError::Json(_))));
    assert!(matches!(from_line::<ToProbe>(b"nonsense"), Err(WireError::Json(_))));
}

#[test]
fn a_line_has_an_end() {
    let long = ToProbe::Histogram { pv_name: "x".repeat(LINE_MAX) };
    assert!(matches!(to_line(&long), Err(WireError::TooLong { .. })));
    assert!(matches!(
        from_line::<ToProbe>(&vec![b' '; LINE_MAX + 1]),
        Err(WireError::TooLong { .. })
    ));
    let mut lines = Lines::default();
    lines.push(&vec![b'x'; LINE_MAX]);
    assert!(lines.next_line().unwrap().is_none());
    lines.push(b"x");
    assert!(matches!(lines.next_line(), Err(WireError::TooLong { .. })));
}

#[test]
fn a_node_full_of_volumes_fits_a_line() {
    let ToNode::Figures(one) = &from_probe()[1] else { panic!("no figures") };
    let mut volume = one.volumes[0].clone();
    let write = volume.operations.write;
    volume.operations = OperationsSummary { read: write, write, fsync: write, readdir: write };
    volume.namespace = Some("n".repeat(63));
    volume.claim = Some("c".repeat(253));
    let all = ToNode::Figures(Figures { volumes: vec![volume; 512], missed: Vec::new() });
    let bytes = to_line(&all).unwrap().len();
    assert!(bytes < LINE_MAX, "{bytes}");
}

#[test]
fn lines_come_out_whole_wherever_the_stream_was_cut() {
    let stream = b"one\ntwo\n\nthree\nfour";
    for cut in 1..stream.len() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in stream.chunks(cut) {
            lines.push(piece);
            while let Some(line) = lines.next_line().unwrap() {
                seen.push(line.to_vec());
            }
        }
        assert_eq!(seen, [&b"one"[..], b"two", b"", b"three"], "cut at {cut}");
    }
}

#[test]
fn a_device_number_is_the_kernels_both_ways() {
    let device = Device { major: 259, minor: 70_001 };
    assert_eq!(Device::from_kernel(device.to_kernel()), device);
    assert_eq!(Device::from_kernel(0x0070_0008), Device { major: 7, minor: 8 });
}
