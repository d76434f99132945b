//! The audit on a real folder.
use std::fs;
use std::io::Write;
use std::path::Path;

use terrace_device_types::{Claimed, DeletionId, PoolUuid, PvReading, Step, StepDone, VolumeUuid};
use uuid::Uuid;

use super::{Asked, Audit, Cause, KEPT, Phase, Wanted, place};
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::schedule::OpId;

fn deletion() -> DeletionId {
    DeletionId::from(Uuid::from_u128(9))
}

fn cause(volume: u128) -> Cause {
    let subject = Subject {
        volume: Some(VolumeUuid(Uuid::from_u128(volume))),
        pool: Some(PoolUuid(Uuid::nil())),
        name: "pvc-1".into(),
        ..Subject::default()
    };
    let asked = Asked::Deletion { id: deletion(), read: Claimed::Volume(PvReading::NotFound) };
    Cause { operation: OpId(Uuid::from_u128(1)), kind: OpKind::Delete, subject, asked }
}

fn remove() -> Step {
    Step::RemoveImage { image: "/pool/q-1".into(), deletion: deletion() }
}

fn audit(dir: &Path) -> Audit {
    Audit::open(dir, "node-a").expect("an audit")
}

fn both(audit: &Audit, volume: u128) {
    let intent = audit.intend(&cause(volume), &remove()).expect("written").expect("it destroys");
    audit.conclude(intent, Ok(StepDone::Changed)).expect("written");
}

#[test]
fn i3_a_destructive_step_is_told_with_who_asked_on_what_proof_before_it_is_taken_and_after() {
    let dir = tempfile::tempdir().expect("temp dir");
    let audit = audit(dir.path());
    let intent = audit.intend(&cause(7), &remove()).expect("written").expect("it destroys");
    let before = audit.read(&Wanted::default()).expect("read").entries;
    assert_eq!((before.len(), before[0].phase), (1, Phase::Intent));
    audit.conclude(intent, Err("the disk is gone".into())).expect("written");
    let told = audit.read(&Wanted::default()).expect("read").entries;
    assert_eq!(told[1].result.as_deref(), Some("failed: the disk is gone"));
    assert_eq!(told[1].asked_by, "DeleteVolume of pvc-1");
    let proof = "the PersistentVolume is not there; its tag is quarantined in deletion";
    assert!(told[1].proof.contains(proof), "{}", told[1].proof);
    assert_eq!((told[0].node.as_str(), told[0].object.as_str()), ("node-a", "/pool/q-1"));
    let harmless = Step::SyncDir { dir: "/pool".into() };
    assert_eq!(audit.intend(&cause(7), &harmless).expect("nothing to write"), None);
}

#[test]
fn i3_a_line_that_a_crash_tore_costs_no_other() {
    let dir = tempfile::tempdir().expect("temp dir");
    both(&audit(dir.path()), 1);
    let path = place(dir.path(), 0);
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("open");
    file.write_all(b"{\"time\":\"2026-0").expect("torn");
    let audit = audit(dir.path());
    both(&audit, 2);
    let found = audit.read(&Wanted::default()).expect("read");
    assert_eq!((found.entries.len(), found.unreadable), (4, 1));
    let text = fs::read_to_string(path).expect("text");
    assert!(text.contains("\n{\"time\":\"2026-0\n{"), "what was written is left: {text}");
}

#[test]
fn files_are_kept_up_to_a_bound_and_read_in_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let audit = Audit::with_files_of(dir.path(), "node-a", 2048).expect("an audit");
    for volume in 0..40 {
        both(&audit, volume);
    }
    let files = fs::read_dir(dir.path()).expect("listed").count();
    assert_eq!(files, KEPT as usize + 1);
    let found = audit.read(&Wanted::default()).expect("read");
    assert!(found.entries.iter().map(|entry| entry.time).is_sorted());
    let last = found.entries.back().and_then(|entry| entry.volume);
    assert_eq!(last, Some(VolumeUuid(Uuid::from_u128(39))));
    assert!(found.entries.len() < 80, "the oldest go");
}

#[test]
fn one_volumes_lines_are_found_and_those_of_a_time() {
    let dir = tempfile::tempdir().expect("temp dir");
    let audit = audit(dir.path());
    both(&audit, 1);
    let between = jiff::Timestamp::now();
    both(&audit, 2);
    both(&audit, 1);
    let volume = Some(VolumeUuid(Uuid::from_u128(1)));
    let of = |wanted: Wanted| audit.read(&wanted).expect("read").entries.len();
    assert_eq!(of(Wanted { volume, since: None }), 4);
    assert_eq!(of(Wanted { volume, since: Some(between) }), 2);
    assert_eq!(of(Wanted { volume: None, since: Some(between) }), 4);
}
