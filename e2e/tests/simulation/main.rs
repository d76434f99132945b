//! Seeded histories of volumes' lives: the real decisions of operator, CSI controller and backend over a model API server
//! and model nodes, with late, lost and reordered events, power loss, forced deletions and an API server put back to an older
//! state. Whoever acts passes the fault points that the code itself lists, and dies or fails there; a point that nobody died
//! at fails the test. `TERRACE_SEEDS` sets how many histories, `TERRACE_SEED` picks one.
//! Invariants I1 to I4 and I8 are judged by a ledger that the decisions never see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on must fail")]

mod agent;
mod api;
mod cache;
mod caller;
mod host;
mod ledger;
mod operator;
mod points;
mod rng;
mod run;
mod steps;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use world::{Sim, Trouble};

const ACTIONS: u32 = 600;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TERRACE_SEED") {
        Some(one) => vec![one],
        None => (0..number("TERRACE_SEEDS").unwrap_or(2000)).collect(),
    }
}

/// Runs every seed. Each of `happened` must have, or the histories prove nothing.
fn histories(trouble: Trouble, happened: &[&str]) {
    let mut broken = Vec::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut died: BTreeMap<String, u64> = BTreeMap::new();
    let mut passed = BTreeSet::new();
    for seed in seeds() {
        let mut sim = Sim::new(seed, trouble);
        sim.run(ACTIONS);
        for (what, times) in &sim.ledger.counts {
            *counts.entry(what.clone()).or_default() += times;
        }
        passed.extend(sim.ledger.points.passed.iter().cloned());
        for (point, times) in &sim.ledger.points.died {
            *died.entry(point.clone()).or_default() += times;
        }
        if !sim.ledger.broken.is_empty() {
            broken.push(format!("seed {seed}: {}", sim.ledger.broken.join("; ")));
        }
    }
    println!("{trouble:?}: {} seeds, {counts:?}", seeds().len());
    assert!(
        broken.is_empty(),
        "{} of {} seeds went wrong; run one again with TERRACE_SEED=N:\n{}",
        broken.len(),
        seeds().len(),
        broken.join("\n")
    );
    if seeds().len() >= 100 {
        let never: Vec<&&str> =
            happened.iter().filter(|what| !counts.contains_key(**what)).collect();
        assert!(never.is_empty(), "these never happened: {never:?}");
    }
    if seeds().len() >= 2000 {
        judge_points(trouble, &passed, &died);
    }
}

/// Every point that the code names and these histories play was died at; what they pass beside is one that should be played.
fn judge_points(trouble: Trouble, passed: &BTreeSet<String>, died: &BTreeMap<String, u64>) {
    let played: BTreeSet<String> =
        points::played(trouble).iter().map(ToString::to_string).collect();
    let mut alive: Vec<&String> =
        played.iter().filter(|point| !died.contains_key(*point)).collect();
    let by_chance = points::by_chance();
    alive.retain(|point| !by_chance.contains(*point));
    let known = points::known();
    let strange: Vec<&String> = passed.iter().filter(|point| !known.contains(*point)).collect();
    let beside: Vec<&String> = passed.difference(&played).collect();
    let deaths: u64 = died.values().sum();
    println!("{trouble:?}: {} points of the code's {}, {deaths} deaths", played.len(), known.len());
    assert!(strange.is_empty(), "passed, and not in the code's list: {strange:?}");
    assert!(alive.is_empty(), "nobody died at: {alive:?}");
    assert!(beside.is_empty(), "passed, and said not to be played: {beside:?}");
}

const ALWAYS: [&str; 14] = [
    "crash",
    "power loss",
    "refusal",
    "AllocateImage",
    "RemoveUnfinished",
    "MakeFilesystem",
    "CheckFilesystem",
    "GrowImage",
    "MountFilesystem",
    "Unmount",
    "MarkQuarantined",
    "RenameToQuarantine",
    "EraseImage",
    "RemoveImage",
];

#[test]
fn crashes_and_late_events_leave_no_leak_and_every_claim_its_volume() {
    histories(Trouble::None, &ALWAYS);
}

#[test]
fn a_volume_deleted_by_force_keeps_its_bytes() {
    histories(Trouble::Force, &[&ALWAYS[..], &["retention"]].concat());
}

#[test]
fn an_api_server_restored_from_an_older_state_costs_no_bytes_and_makes_no_second_volume() {
    histories(Trouble::Restore, &[&ALWAYS[..], &["restore"]].concat());
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..3 {
        let outcome = || {
            let mut sim = Sim::new(seed, Trouble::Restore);
            sim.run(ACTIONS);
            sim.outcome()
        };
        assert_eq!(outcome(), outcome(), "seed {seed}");
    }
}
