//! Invariant I1: no proof without every piece of the evidence.

use super::*;
use crate::{Allocation, HostObject, HostState, Latch, StageState, VolumeMode};

const ONE: &str = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11";
const TWO: &str = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c12";

fn tag(volume: &str, cluster: &str) -> Tag {
    Tag {
        object: HostObject::Volume,
        volume: volume.parse().unwrap(),
        cluster: cluster.parse().unwrap(),
        pool: TWO.parse().unwrap(),
        name: "pvc-1".into(),
        mode: VolumeMode::Block,
        allocation: Allocation::Sparse,
        state: HostState::Ready,
        latch: Latch::None,
        stage: StageState::Never,
        source: None,
    }
}

fn check(stamp: Option<&str>, tag: &Tag, pv: &PvReading) -> Result<DeletionProof, ProofRefusal> {
    let stamp = stamp.map(|volume| DeletionStamp {
        volume: volume.parse().unwrap(),
        id: "d-1".parse().unwrap(),
    });
    let cluster = "c-1".parse().unwrap();
    let claimed = Claimed::Volume(pv.clone());
    DeletionProof::check(stamp.as_ref(), ONE.parse().unwrap(), &cluster, &claimed, tag)
}

fn found(phase: &str, reclaim: &str) -> PvReading {
    PvReading::Found { phase: phase.into(), reclaim: reclaim.into() }
}

#[test]
fn i1_a_whole_chain_of_evidence_is_a_proof() {
    for pv in [PvReading::NotFound, found("Released", "Delete")] {
        let proof = check(Some(ONE), &tag(ONE, "c-1"), &pv).unwrap();
        assert_eq!((proof.volume().to_string(), proof.id().as_str()), (ONE.into(), "d-1"));
    }
}

#[test]
fn i1_any_missing_piece_is_no_proof() {
    let (ours, gone) = (tag(ONE, "c-1"), PvReading::NotFound);
    assert!(matches!(check(None, &ours, &gone), Err(ProofRefusal::NoStamp { .. })));
    assert!(matches!(check(Some(TWO), &ours, &gone), Err(ProofRefusal::StampOfAnother { .. })));
    let other = tag(TWO, "c-1");
    assert!(matches!(check(Some(ONE), &other, &gone), Err(ProofRefusal::TagOfAnother { .. })));
    let foreign = tag(ONE, "c-2");
    assert!(matches!(check(Some(ONE), &foreign, &gone), Err(ProofRefusal::OtherCluster { .. })));
    for (phase, reclaim) in
        [("Bound", "Delete"), ("Released", "Retain"), ("Available", "Delete"), ("", "")]
    {
        let pv = found(phase, reclaim);
        let refused = check(Some(ONE), &ours, &pv);
        assert!(matches!(refused, Err(ProofRefusal::PvStillThere { .. })), "{phase} {reclaim}");
    }
}

#[test]
fn i1_a_snapshot_needs_its_stamp_and_a_tag_that_says_snapshot() {
    let stamp = DeletionStamp { volume: ONE.parse().unwrap(), id: "d-1".parse().unwrap() };
    let check = |stamp: Option<&DeletionStamp>, tag: &Tag, claimed: &Claimed| {
        let cluster = "c-1".parse().unwrap();
        DeletionProof::check(stamp, ONE.parse().unwrap(), &cluster, claimed, tag)
    };
    let volume = tag(ONE, "c-1");
    let snapshot = Tag { object: HostObject::Snapshot, ..tag(ONE, "c-1") };
    assert!(check(Some(&stamp), &snapshot, &Claimed::Snapshot).is_ok());
    let none = check(None, &snapshot, &Claimed::Snapshot);
    assert!(matches!(none, Err(ProofRefusal::NoStamp { .. })));
    let crossed = [
        check(Some(&stamp), &volume, &Claimed::Snapshot),
        check(Some(&stamp), &snapshot, &Claimed::Volume(PvReading::NotFound)),
    ];
    for crossed in crossed {
        assert!(matches!(crossed, Err(ProofRefusal::OtherObject { .. })), "{crossed:?}");
    }
}

#[test]
fn i1_an_orphan_needs_a_word_that_knows_it_and_nothing_that_names_it() {
    let word = |volume: &str, name: &str| PersonsWord {
        volume: volume.parse().unwrap(),
        name: name.into(),
        id: "d-1".parse().unwrap(),
    };
    let check = |word: &PersonsWord, reading: &OrphanReading, tag: &Tag| {
        DeletionProof::check_orphan(word, &"c-1".parse().unwrap(), reading, tag)
    };
    let (free, ours) = (OrphanReading::Unclaimed, tag(ONE, "c-1"));
    let proof = check(&word(ONE, "pvc-1"), &free, &ours).unwrap();
    assert_eq!((proof.volume(), proof.id().as_str()), (ours.volume, "d-1"));
    let refused = check(&word(TWO, "pvc-1"), &free, &ours);
    assert!(matches!(refused, Err(ProofRefusal::TagOfAnother { .. })), "{refused:?}");
    let refused = check(&word(ONE, "pvc-2"), &free, &ours);
    assert!(matches!(refused, Err(ProofRefusal::OtherName { .. })), "{refused:?}");
    let refused = check(&word(ONE, "pvc-1"), &free, &tag(ONE, "c-2"));
    assert!(matches!(refused, Err(ProofRefusal::OtherCluster { .. })), "{refused:?}");
    let claimed = OrphanReading::Claimed { by: "PersistentVolume pvc-1".into() };
    let refused = check(&word(ONE, "pvc-1"), &claimed, &ours).unwrap_err().to_string();
    assert!(refused.starts_with("PersistentVolume pvc-1 still names"), "{refused}");
}
