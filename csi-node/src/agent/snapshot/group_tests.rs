//! Whose turn it is, from a cache of a few objects.
use serde_json::{Value, json};

use super::*;

const GROUP: &str = "7b1e2a3c-0000-4000-8000-000000000001";

fn snapshot(name: &str, change: impl FnOnce(&mut Value)) -> StorageSnapshot {
    let number = name.bytes().last().unwrap_or_default();
    let mut object = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageSnapshot",
        "metadata": { "name": name, "finalizers": ["terrace.storage/node"] },
        "spec": {
            "snapshotUUID": format!("4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c{number}"),
            "sourceVolume": format!("vol-{name}"),
            "sourceVolumeUUID": format!("4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f3c{number}"),
            "capacity": "16Mi", "volumeMode": "Block",
            "group": { "uuid": GROUP, "name": "group", "members": ["a", "b"] },
            "assignment": { "node": "n", "poolUUID": "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10" },
        },
    });
    change(&mut object);
    serde_json::from_value(object).expect("a StorageSnapshot")
}

fn turn(own: &StorageSnapshot, all: &[StorageSnapshot]) -> Turn {
    let own = validate_snapshot(own).expect("valid");
    plan_turn(&own, |name| {
        let found = all.iter().find(|one| one.metadata.name.as_deref() == Some(name));
        found.cloned().map(Arc::new)
    })
}

fn names(turn: &Turn) -> Vec<&str> {
    match turn {
        Turn::Take(members) | Turn::Complete(members) => {
            members.iter().map(|member| member.name.as_str()).collect()
        }
        Turn::Gather(_) | Turn::Follow | Turn::Fail { .. } => Vec::new(),
    }
}

#[test]
fn a_snapshot_that_stands_alone_is_taken_at_once() {
    let alone = snapshot("a", |object| object["spec"]["group"] = Value::Null);
    let turn = turn(&alone, &[]);
    assert!(matches!(turn, Turn::Take(_)), "{turn:?}");
    assert_eq!(names(&turn), ["a"]);
}

#[test]
fn the_first_takes_all_and_the_others_follow() {
    let (a, b) = (snapshot("a", |_| {}), snapshot("b", |_| {}));
    let all = [a.clone(), b.clone()];
    assert_eq!(names(&turn(&a, &all)), ["a", "b"]);
    assert_eq!(turn(&b, &all), Turn::Follow);
}

#[test]
fn nobody_acts_before_every_member_is_there_held_and_to_stay() {
    let a = snapshot("a", |_| {});
    let absent = || Turn::Gather(vec!["b".to_owned()]);
    assert_eq!(turn(&a, std::slice::from_ref(&a)), absent(), "not seen");
    let unheld = snapshot("b", |object| object["metadata"]["finalizers"] = json!([]));
    assert_eq!(turn(&a, &[a.clone(), unheld]), absent(), "not held");
    let going = snapshot("b", |object| {
        object["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z");
    });
    assert_eq!(turn(&a, &[a.clone(), going]), absent(), "on its way out");
    let other = snapshot("b", |object| {
        object["spec"]["group"]["uuid"] = json!("7b1e2a3c-0000-4000-8000-000000000002");
    });
    assert_eq!(turn(&a, &[a.clone(), other]), absent(), "of another group of that name");
}

#[test]
fn what_the_first_met_is_true_of_all() {
    let b = snapshot("b", |_| {});
    let with = |status: Value| snapshot("a", |object| object["status"] = status);
    let made = with(json!({ "createdAt": "2026-11-22T10:00:00Z" }));
    let turn_after = turn(&b, &[made, b.clone()]);
    assert!(matches!(turn_after, Turn::Complete(_)), "{turn_after:?}");
    let condition = |reason: &str| {
        json!({ "conditions": [{ "type": "Ready", "status": "False", "reason": reason,
            "message": "m", "lastTransitionTime": "2026-11-22T10:00:00Z" }] })
    };
    let failed = Turn::Fail { reason: Reason::PoolFull, message: "m".into() };
    assert_eq!(turn(&b, &[with(condition("PoolFull")), b.clone()]), failed);
    let waits = with(condition("WaitingForNode"));
    assert_eq!(turn(&b, &[waits, b.clone()]), Turn::Follow, "that is no failure");
}
