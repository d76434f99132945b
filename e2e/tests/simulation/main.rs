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
/// From so many histories on everything must have happened.
const ENOUGH: usize = 1000;
/// Histories that aim at one point which nobody died at yet.
const MORE: u64 = 400;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TERRACE_SEED") {
        Some(one) => vec![one],
        None => (0..number("TERRACE_SEEDS").unwrap_or(1000)).collect(),
    }
}

/// What the histories of one trouble came to.
struct Tally {
    trouble: Trouble,
    broken: Vec<String>,
    counts: BTreeMap<String, u64>,
    died: BTreeMap<String, u64>,
    passed: BTreeSet<String>,
}

impl Tally {
    fn run(&mut self, seed: u64) {
        let mut sim = Sim::new(seed, self.trouble);
        sim.run(ACTIONS);
        for (what, times) in &sim.ledger.counts {
            *self.counts.entry(what.clone()).or_default() += times;
        }
        self.passed.extend(sim.ledger.points.passed.iter().cloned());
        for (point, times) in &sim.ledger.points.died {
            *self.died.entry(point.clone()).or_default() += times;
        }
        if !sim.ledger.broken.is_empty() {
            self.broken.push(format!("seed {seed}: {}", sim.ledger.broken.join("; ")));
        }
    }

    /// Every point that the code names and these histories play was died at, if need be in further histories that aim at it;
    /// what they pass beside is one that should be played.
    fn judge_points(&mut self) {
        let (played, known) = (points::played(self.trouble), points::known());
        let by_chance = points::by_chance(self.trouble);
        let mut alive = Vec::new();
        for (turn, point) in played.iter().map(ToString::to_string).enumerate() {
            // The seed says at which point its history aims.
            let round = u64::try_from(played.len()).unwrap();
            let first = round * 1_000 + u64::try_from(turn).unwrap();
            let mut more = (0..MORE).map(|nth| first + nth * round);
            while !self.died.contains_key(&point) && !by_chance.contains(&point) {
                match more.next() {
                    Some(seed) => self.run(seed),
                    None => {
                        alive.push(point.clone());
                        break;
                    }
                }
            }
        }
        let names: BTreeSet<String> = played.iter().map(ToString::to_string).collect();
        let strange: Vec<&String> = self.passed.difference(&known).collect();
        let beside: Vec<&String> = self.passed.difference(&names).collect();
        let (trouble, deaths) = (self.trouble, self.died.values().sum::<u64>());
        println!(
            "{trouble:?}: {} points of the code's {}, {deaths} deaths",
            names.len(),
            known.len()
        );
        assert!(strange.is_empty(), "passed, and not in the code's list: {strange:?}");
        assert!(alive.is_empty(), "nobody died at: {alive:?}");
        assert!(beside.is_empty(), "passed, and said not to be played: {beside:?}");
    }
}

/// Runs every seed. Each of `happened` must have, or the histories prove nothing.
fn histories(trouble: Trouble, happened: &[&str]) {
    let (broken, passed) = (Vec::new(), BTreeSet::new());
    let (counts, died) = (BTreeMap::new(), BTreeMap::new());
    let mut tally = Tally { trouble, broken, counts, died, passed };
    let seeds = seeds();
    seeds.iter().for_each(|seed| tally.run(*seed));
    if seeds.len() >= ENOUGH {
        let never: Vec<&&str> =
            happened.iter().filter(|what| !tally.counts.contains_key(**what)).collect();
        assert!(never.is_empty(), "these never happened: {never:?}");
        tally.judge_points();
    }
    println!("{trouble:?}: {} seeds, {:?}", seeds.len(), tally.counts);
    assert!(
        tally.broken.is_empty(),
        "{} went wrong; run one again with TERRACE_SEED=N:\n{}",
        tally.broken.len(),
        tally.broken.join("\n")
    );
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
