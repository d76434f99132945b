//! What a snapshot's status says, story by story.
use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn facts(standing: &Standing) -> Facts<'_> {
    let taken = Some(at(100) + jiff::SignedDuration::from_millis(700));
    Facts { generation: 2, standing, view: None, pool: Some("fast"), taken, size_before: None }
}

#[test]
fn the_moment_is_written_once_in_whole_seconds_and_reads_back_the_same() {
    let first = plan_status(&facts(&Standing::Made), &StorageSnapshotStatus::default(), at(200));
    assert_eq!(first.created_at, Some(Time(at(100))));
    let stored: Value = serde_json::to_value(&first).expect("JSON");
    let stored: StorageSnapshotStatus = serde_json::from_value(stored).expect("a status");
    assert_eq!(plan_status(&facts(&Standing::Made), &stored, at(300)), owned(&stored), "I8");
    let later = Facts { taken: Some(at(900)), ..facts(&Standing::Made) };
    assert_eq!(plan_status(&later, &stored, at(901)).created_at, Some(Time(at(100))));
}

#[test]
fn that_it_was_there_is_not_forgotten() {
    let (reason, message) = (Reason::NotFound, "gone".to_owned());
    let gone = Standing::NotMade { reason, message };
    let there = json!({ "createdAt": "2026-11-22T10:00:00Z", "reserved": "16Mi", "pool": "fast" });
    let there: StorageSnapshotStatus = serde_json::from_value(there).expect("a status");
    let now = plan_status(&Facts { taken: None, ..facts(&gone) }, &there, at(1));
    assert_eq!((&now.created_at, &now.reserved), (&there.created_at, &there.reserved));
    assert_eq!(now.conditions[0].status, "False");
    assert_eq!(now.conditions[0].observed_generation, Some(2));
    let size = Some("16Mi".parse().expect("a size"));
    let listed = Facts { size_before: size.clone(), taken: None, ..facts(&gone) };
    let now = plan_status(&listed, &StorageSnapshotStatus::default(), at(1));
    assert_eq!(now.reserved, size, "the StorageNode knew it");
}
