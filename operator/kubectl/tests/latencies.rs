//! What `kubectl terrace top` and `latency` print, from what nodes answer to text, against `tests/tables/*.txt`.
//! `TERRACE_BLESS=1` writes the texts anew; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "what builds a test's world may end the test")]

use std::{env, fs, path::Path};

use kubectl_terrace::ask::Failed;
use kubectl_terrace::histogram;
use kubectl_terrace::measured::{Drawing, NodeTable};
use kubectl_terrace::top::{Answer, Answers, By, Sort, View, report};
use serde_json::{Value, from_value, json};

fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(name);
    if env::var_os("TERRACE_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(want == text, "{} differs from:\n{text}", path.display());
}

fn operation(name: &str, ops: f64, p50: u64, p99: u64) -> Value {
    json!({
        "operation": name, "opsPerSecond": ops, "bytesPerSecond": ops * 4096.0, "averageNs": p50, "p50Ns": p50,
        "p95Ns": p99, "p99Ns": p99, "maxNs": p99 * 2, "slow": 3, "slowShare": 0.015, "later": "unknown fields pass",
    })
}

fn latest(at: &str, operations: Value) -> Value {
    let errors = json!({"eio": 0, "erofs": 0, "enospc": 2, "edquot": 0, "other": 0});
    json!({"at": at, "windowSeconds": 5, "operations": operations, "accessesPerDay": 8.5, "errors": errors})
}

fn volume(claim: &str, pods: Value, high: Value, latest: Value) -> Value {
    let mut volume = json!({
        "pvName": format!("pvc-{claim}"), "namespace": "shop", "claim": claim, "driver": "csi.terrace.storage",
        "pods": pods, "targetP99Ns": 10_000_000,
    });
    for (key, value) in [("high", high), ("latest", latest)] {
        if !value.is_null() {
            volume[key] = value;
        }
    }
    volume
}

fn answer(node: &str, connected: bool, volumes: Value) -> Answer {
    let probe = json!({"connected": connected, "unobservable": if connected { json!(["mmap"]) } else { json!([]) }});
    let table = json!({"node": node, "probe": probe, "volumes": volumes});
    Answer {
        table: from_value::<NodeTable>(table).unwrap(),
        now: "2026-01-01T00:00:10Z".parse().unwrap(),
    }
}

fn answers() -> Answers {
    let fresh = "2026-01-01T00:00:08Z";
    let busy = latest(
        fresh,
        json!([
            operation("read", 840.0, 91_000, 412_000),
            operation("fsync", 2.5, 3_100_000, 31_000_000)
        ]),
    );
    let quick = latest(fresh, json!([operation("write", 12_000.0, 4_000, 9_000)]));
    let old = latest("2025-12-31T23:00:00Z", json!([operation("write", 12_000.0, 4_000, 9_000)]));
    let of_another_driver = json!({
        "pvName": "pv-ceph", "namespace": "ml", "claim": "sets", "driver": "rbd.csi.ceph.com", "pods": ["train-0"],
        "latest": latest(fresh, json!([operation("read", 50.0, 1_200_000, 2_000_000)])),
    });
    Answers {
        nodes: vec![
            answer(
                "node-a",
                true,
                json!([
                    volume("db", json!(["db-0"]), json!(true), busy),
                    volume("cache", json!(["web-1", "web-2"]), json!(false), quick),
                    volume("attic", json!(["web-1"]), Value::Null, old),
                    of_another_driver,
                ]),
            ),
            answer(
                "node-b",
                false,
                json!([volume("logs", json!(["log-0"]), Value::Null, Value::Null)]),
            ),
        ],
        failed: vec![Failed {
            node: "node-c".into(),
            error: "node node-c cannot be reached: forward port 9808".into(),
        }],
    }
}

#[test]
fn the_slowest_volume_is_first_and_what_is_missing_is_said() {
    assert_golden("top.txt", &report(&answers(), &View::default()));
}

#[test]
fn pods_that_share_a_claim_show_its_figures_each() {
    let view = View { by: By::Pod, sort: Sort::Ops, namespace: Some("shop".into()) };
    assert_golden("top-pods.txt", &report(&answers(), &view));
}

#[test]
fn what_is_printed_as_json_is_what_the_nodes_told_without_other_namespaces() {
    let mut answers = answers();
    answers.keep(Some("ml"));
    let told = serde_json::to_value(&answers).unwrap();
    assert_eq!(told["nodes"][0]["volumes"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["nodes"][0]["volumes"][0]["latest"]["operations"][0]["p99Ns"], 2_000_000);
    assert_eq!(told["failed"][0]["node"], "node-c");
}

#[test]
fn nobody_who_uses_a_volume_is_a_sentence() {
    let text = report(&Answers::default(), &View::default());
    assert_eq!(text, "No running Pod uses a volume.\n");
}

#[test]
fn a_histogram_is_drawn_with_its_quantiles() {
    let bucket =
        |from: u64, to: u64, count: u64| json!({"fromNs": from, "toNs": to, "count": count});
    let read = json!({"operation": "read", "count": 1001, "sumNs": 120_000_000_u64, "maxNs": 31_000_000, "buckets": [
        bucket(65_536, 73_728, 600), bucket(73_728, 81_920, 380), bucket(524_288, 589_824, 20), bucket(29_360_128, 31_457_280, 1),
    ]});
    let fsync = json!({"operation": "fsync", "count": 2, "sumNs": 40_000_000_000_u64, "maxNs": 30_000_000_000_u64, "buckets": [
        bucket(8_589_934_592, 9_663_676_416, 1), json!({"fromNs": 17_179_869_184_u64, "count": 1}),
    ]});
    let volume = volume("db", json!(["db-0"]), json!(true), Value::Null);
    let drawing: Drawing =
        from_value(json!({"volume": volume, "histograms": [read, fsync]})).unwrap();
    assert_golden("latency.txt", &histogram::report("node-a", &drawing));
    let idle: Drawing = from_value(json!({"volume": drawing.volume, "histograms": []})).unwrap();
    assert!(
        histogram::report("node-a", &idle)
            .ends_with("Nothing was done on it since the probe began.\n")
    );
}
