//! What `kubectl terrace operations` and `audit` print, from what nodes answer to text, against `tests/tables/*.txt`.
//! `TERRACE_BLESS=1` writes the texts anew; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "what builds a test's world may end the test")]

use std::{env, fs, path::Path};

use kubectl_terrace::ask::{Failed, Told};
use kubectl_terrace::volumes::Width;
use kubectl_terrace::{audit, operations};
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};

fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(name);
    if env::var_os("TERRACE_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(want == text, "{} differs from:\n{text}", path.display());
}

fn told<T: DeserializeOwned>(node: &str, page: Value) -> Told<T> {
    let now = "2026-01-01T00:00:10Z".parse().unwrap();
    Told { node: node.into(), now, page: from_value(page).unwrap() }
}

fn failed() -> Vec<Failed> {
    vec![Failed { node: "node-c".into(), error: "node node-c cannot be reached".into() }]
}

fn operation(id: &str, name: &str, state: &str, more: Value) -> Value {
    let mut operation = json!({
        "id": format!("{id}-0000-4000-8000-000000000000"), "kind": "create", "name": name, "volume": null, "pool": null,
        "state": state, "priority": "agent", "locks": ["volume 1", "pool 2"], "forMs": 3_500,
    });
    for (key, value) in more.as_object().unwrap() {
        operation[key] = value.clone();
    }
    operation
}

#[test]
fn operations_show_where_each_stands_or_for_whom_it_waits() {
    let at = json!({"step": 2, "of": 5, "prose": "create logical volume t-1", "attempts": 2});
    let lock = json!({"lock": {
        "key": "volume 1", "operation": "11111111-0000-4000-8000-000000000000", "kind": "create", "forMs": 125_000,
    }});
    let queue = json!([
        operation("11111111", "pvc-1", "running", json!({"at": at})),
        operation("22222222", "pvc-2", "hangs", json!({"kind": "stage"})),
        operation(
            "33333333",
            "pvc-1",
            "waiting",
            json!({"kind": "stage", "priority": "call", "waitsFor": lock})
        ),
        operation("44444444", "pvc-3", "waiting", json!({"waitsFor": "turn"})),
        operation(
            "55555555",
            "pvc-4",
            "waiting",
            json!({"waitsFor": {"after": {"operation": "44444444-0000-4000-8000-000000000000"}}})
        ),
    ]);
    let nodes = [told("node-a", json!({"queue": queue, "journal": [], "running": []}))];
    let volume = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume", "metadata": {"name": "pvc-1"},
        "spec": {"origin": "CSI", "capacity": "1Gi", "volumeMode": "Filesystem", "fsType": "xfs", "pool": "local"},
        "status": {"claim": "shop/data"},
    });
    let volumes = [from_value(volume).unwrap()];
    let text = |width| operations::report(&nodes, &failed(), &volumes, width);
    assert_golden("operations.txt", &text(Width::Narrow));
    assert_golden("operations-wide.txt", &text(Width::Wide));
    let idle = [told("node-a", json!({"queue": []}))];
    let none = operations::report(&idle, &[], &[], Width::Narrow);
    assert_eq!(none, "No operation runs or waits.\n");
}

fn entry(time: &str, operation: &str, act: &str, result: Option<&str>) -> Value {
    json!({
        "time": time, "node": "node-a", "operation": format!("{operation}-0000-4000-8000-000000000000"), "kind": "delete",
        "phase": if result.is_some() { "result" } else { "intent" }, "act": act,
        "volume": "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11", "pool": null, "name": "pvc-1", "object": "/pool/t-1",
        "step": "remove /pool/t-1", "askedBy": "DeleteVolume of pvc-1",
        "proof": "stamp s1 names it; quorum read: the PersistentVolume is not there", "result": result,
    })
}

#[test]
fn the_audit_shows_each_act_once_with_what_came_of_it() {
    let entries = json!([
        entry("2026-01-01T00:00:01Z", "11111111", "erase", Some("done")),
        entry("2026-01-01T00:00:02Z", "11111111", "remove", None),
        entry("2026-01-01T00:00:03.25Z", "11111111", "remove", Some("failed: it is open")),
        entry("2026-01-01T00:00:04Z", "11111111", "remove", None),
        entry("2026-01-01T00:00:05Z", "11111111", "remove", Some("done")),
        entry("2026-01-01T00:00:06Z", "22222222", "format", None),
    ]);
    let nodes = [told("node-a", json!({"entries": entries, "older": 7, "unreadable": 1}))];
    let text = |width| audit::report(&nodes, &failed(), width);
    assert_golden("audit.txt", &text(Width::Narrow));
    assert_golden("audit-wide.txt", &text(Width::Wide));
}
