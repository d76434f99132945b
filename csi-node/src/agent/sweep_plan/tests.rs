//! A world in, prose out.
use uuid::Uuid;

use super::*;
use crate::agent::evidence::{PersistentClaim, SnapshotClaim, VolumeClaim};

const MINUTE: Duration = Duration::from_secs(60);

fn candidate(number: u128, leftover: Leftover) -> Candidate {
    Candidate {
        uuid: VolumeUuid(Uuid::from_u128(number)),
        object: HostObject::Volume,
        name: format!("pvc-{number}"),
        pool: PoolUuid(Uuid::from_u128(99)),
        leftover,
    }
}

fn quarantined(number: u128) -> Candidate {
    candidate(number, Leftover::Quarantined { deletion: "d-1".parse().expect("an id") })
}

fn unfinished(number: u128) -> Candidate {
    candidate(number, Leftover::Unfinished)
}

fn snapshot(number: u128) -> Candidate {
    Candidate { object: HostObject::Snapshot, ..unfinished(number) }
}

fn volume(name: &str, uuid: u128) -> VolumeClaim {
    let uuids = vec![Uuid::from_u128(uuid).to_string()];
    VolumeClaim { name: name.into(), uuids, copies: None }
}

/// A cluster with one volume, which is none of the candidates.
fn evidence() -> Evidence {
    Evidence {
        cluster: "ours".parse().expect("a token"),
        terminating: Vec::new(),
        volumes: vec![volume("other", 77)],
        snapshots: Vec::new(),
        persistent: Vec::new(),
    }
}

struct Case {
    candidates: Vec<(Candidate, Duration)>,
    in_service: (usize, usize),
    journal: BTreeSet<VolumeUuid>,
    evidence: Result<Evidence, String>,
}

fn case(candidates: Vec<Candidate>) -> Case {
    let candidates = candidates.into_iter().map(|candidate| (candidate, MINUTE * 10)).collect();
    Case { candidates, in_service: (1, 0), journal: BTreeSet::new(), evidence: Ok(evidence()) }
}

fn told(case: &Case) -> String {
    let cluster = "ours".parse().expect("a token");
    let world = World {
        cluster: &cluster,
        after: MINUTE * 10,
        candidates: &case.candidates,
        in_service: case.in_service,
        journal: &case.journal,
        evidence: case.evidence.as_ref().map_err(String::as_str),
    };
    match plan_sweep(&world) {
        Ok(plan) => plan.to_string(),
        Err(voided) => format!("{}: {voided}", voided.reason()),
    }
}

fn with(candidates: Vec<Candidate>, change: impl FnOnce(&mut Evidence)) -> String {
    let mut case = case(candidates);
    change(case.evidence.as_mut().expect("read"));
    told(&case)
}

#[test]
fn what_nothing_names_goes_after_its_time() {
    let expected = "\
remove volume pvc-1 (00000000-0000-0000-0000-000000000001), quarantined by deletion d-1
remove volume pvc-2 (00000000-0000-0000-0000-000000000002), never finished
remove snapshot pvc-3 (00000000-0000-0000-0000-000000000003), never finished";
    assert_eq!(told(&case(vec![quarantined(1), unfinished(2), snapshot(3)])), expected);
    let mut young = case(vec![quarantined(1), unfinished(2)]);
    young.candidates[0].1 = MINUTE * 10 - Duration::from_millis(1);
    let expected = "\
leave volume pvc-1 (00000000-0000-0000-0000-000000000001), quarantined by deletion d-1: not for long enough
remove volume pvc-2 (00000000-0000-0000-0000-000000000002), never finished";
    assert_eq!(told(&young), expected);
    assert_eq!(told(&case(Vec::new())), "");
}

#[test]
fn i1_what_anything_names_stays() {
    let stays = |what: &str, by: &str| {
        format!("leave volume pvc-1 (00000000-0000-0000-0000-000000000001), {what}: {by} names it")
    };
    let never = |by: &str| stays("never finished", by);
    let told = with(vec![unfinished(1)], |evidence| evidence.volumes.push(volume("elsewhere", 1)));
    assert_eq!(told, never("StorageVolume elsewhere"));
    let told = with(vec![unfinished(1)], |evidence| evidence.volumes.push(volume("pvc-1", 5)));
    assert_eq!(told, never("StorageVolume pvc-1"), "by its handle");
    let told = with(vec![quarantined(1)], |evidence| evidence.volumes.push(volume("again", 1)));
    assert_eq!(told, stays("quarantined by deletion d-1", "StorageVolume again"));
    let pv = PersistentClaim { name: "pv-1".into(), handle: "pvc-1".into(), uuid: None };
    let told = with(vec![unfinished(1)], |evidence| evidence.persistent.push(pv));
    assert_eq!(told, never("PersistentVolume pv-1"));
    let uuid = Uuid::from_u128(3).to_string();
    let claim = SnapshotClaim { name: "snap".into(), uuid };
    let told = with(vec![snapshot(3)], |evidence| evidence.snapshots.push(claim));
    assert!(told.ends_with("StorageSnapshot snap names it"), "{told}");
    let mut busy = case(vec![unfinished(1)]);
    busy.journal.insert(busy.candidates[0].0.uuid);
    assert!(super::tests::told(&busy).ends_with("an operation is not over"));
}

#[test]
fn i1_a_doubtful_api_server_voids_the_pass() {
    let mut unread = case(vec![unfinished(1)]);
    unread.evidence = Err("list storage volumes: 500".into());
    assert_eq!(
        told(&unread),
        "ReadFailed: the API server did not say what names these host objects (list storage volumes: 500): nothing is swept"
    );
    let other = with(vec![unfinished(1)], |evidence| {
        evidence.cluster = "theirs".parse().expect("a token");
    });
    assert_eq!(
        other,
        "OtherCluster: the API server is of cluster theirs, the host objects are of ours: nothing is swept"
    );
    let kind = "storagevolumes.terrace.storage";
    let terminating = with(vec![unfinished(1)], |evidence| evidence.terminating.push(kind.into()));
    assert_eq!(
        terminating,
        "DefinitionTerminating: storagevolumes.terrace.storage is being deleted, and every object of it: nothing is swept"
    );
}

#[test]
fn i1_no_object_at_all_beside_bytes_in_service_voids_the_pass() {
    let empty = with(vec![quarantined(1)], |evidence| evidence.volumes.clear());
    assert_eq!(
        empty,
        "NoObjects: the API server has no StorageVolume at all, yet 1 are in service here: nothing is swept"
    );
    let mut idle = case(vec![quarantined(1)]);
    idle.in_service = (0, 0);
    idle.evidence.as_mut().expect("read").volumes.clear();
    assert!(told(&idle).starts_with("remove "), "the last one of a cluster goes too");
    idle.in_service = (0, 2);
    assert!(told(&idle).starts_with("NoObjects: the API server has no StorageSnapshot"));
}

#[test]
fn a_candidate_that_comes_back_or_changes_begins_anew() {
    let (start, mut seen) = (Instant::now(), FirstSeen::default());
    let (one, two) = (unfinished(1), quarantined(1));
    assert_eq!(seen.next(MINUTE, start), None, "I8: no timer without a candidate");
    assert_eq!(seen.note(&[one.clone()].into(), start), Noted::Changed);
    assert_eq!(seen.note(&[one.clone()].into(), start + MINUTE), Noted::Same);
    assert_eq!(seen.ages(start + MINUTE), [(one.clone(), MINUTE)]);
    assert_eq!(seen.next(MINUTE * 3, start + MINUTE), Some(MINUTE * 2));
    assert_eq!(seen.next(MINUTE, start + MINUTE * 9), Some(Duration::ZERO));
    assert_eq!(seen.note(&[two.clone()].into(), start + MINUTE), Noted::Changed);
    assert_eq!(seen.ages(start + MINUTE), [(two, Duration::ZERO)], "its state changed");
    seen.note(&BTreeSet::new(), start + MINUTE);
    seen.note(&[one.clone()].into(), start + MINUTE * 2);
    assert_eq!(seen.ages(start + MINUTE * 2), [(one, Duration::ZERO)], "it was not there");
}
