//! Which point is struck next, and how: the least struck of those that the stage is likely to pass; among equals the seed
//! decides. What was armed in vain is put behind. Pure: no clock, no file.

use std::collections::{BTreeMap, BTreeSet};

use terrace_faults::{Mode, Order, Process};

use crate::dice::{below, throw};
use crate::points::Point;
use crate::stage::Stage;

/// In a hundred blows at a point that may fail: so many errors, and so many hangs.
const ERRORS: u64 = 12;
const HANGS: u64 = 2;
/// In a hundred at the reply to a sidecar: so many times it is the sidecar that dies.
const HOLDS: u64 = 35;
/// One draw in so many is of a point that was never seen to be passed; all others are of what is known to be.
const UNSEEN: u32 = 16;
/// Armed in vain so often at one stage, a point is not armed there again until it was struck elsewhere.
const IN_VAIN: u32 = 4;

/// What a person asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// This point alone.
    pub(crate) point: Option<String>,
    /// In this way alone.
    pub(crate) mode: Option<Mode>,
}

/// What became of each point so far.
#[derive(Debug)]
pub(crate) struct Picks {
    seed: u64,
    wish: Wish,
    points: Vec<Point>,
    passed: BTreeSet<String>,
    armed: BTreeMap<String, u32>,
    hits: BTreeMap<String, u32>,
    vain: BTreeMap<(&'static str, Stage, String), u32>,
    draws: u32,
}

impl Picks {
    pub(crate) fn new(seed: u64, points: Vec<Point>, wish: Wish) -> Self {
        Self {
            seed,
            wish,
            points,
            passed: BTreeSet::new(),
            armed: BTreeMap::new(),
            hits: BTreeMap::new(),
            vain: BTreeMap::new(),
            draws: 0,
        }
    }

    /// The next blow for this process, at this stage of that kind of life.
    pub(crate) fn next(
        &mut self,
        process: Process,
        life: &'static str,
        stage: Stage,
    ) -> Option<Order> {
        self.draws += 1;
        let takes_unseen = self.wish.point.is_some() || self.draws.is_multiple_of(UNSEEN);
        let is_wished = |point: &Point| match &self.wish.point {
            Some(name) => *name == point.name,
            None => self.passed.contains(&point.name) || takes_unseen,
        };
        let likely = self.points.iter().filter(|point| {
            point.process == process
                && is_wished(point)
                && stage.passes(point)
                && self.in_vain(life, stage, &point.name) < IN_VAIN
        });
        let order = |point: &&Point| {
            let hits = self.hits.get(&point.name).copied().unwrap_or(0);
            let armed = self.armed.get(&point.name).copied().unwrap_or(0);
            let lost = armed.saturating_sub(hits);
            // What was never seen comes first where it comes at all.
            let seen = takes_unseen && self.passed.contains(&point.name);
            (seen, 2 * hits + lost, throw(self.seed, &[&point.name, &armed.to_string()]))
        };
        let point = likely.min_by_key(order)?.clone();
        let armed = self.armed.entry(point.name.clone()).or_default();
        *armed += 1;
        let turn = armed.to_string();
        let mode = self.wish.mode.unwrap_or_else(|| self.mode(&point, &turn));
        let nth = if below(100, self.seed, &[&point.name, &turn, "nth"]) < 10 { 2 } else { 1 };
        Some(Order { mode, nth, name: point.name })
    }

    fn mode(&self, point: &Point, turn: &str) -> Mode {
        let number = below(100, self.seed, &[&point.name, turn, "mode"]);
        if point.is_reply_to_sidecar() && number >= 100 - HOLDS {
            Mode::Hold
        } else if point.may_fail() && number < ERRORS {
            Mode::Error
        } else if point.may_fail() && number < ERRORS + HANGS {
            Mode::Hang
        } else {
            Mode::Kill
        }
    }

    fn in_vain(&self, life: &'static str, stage: Stage, point: &str) -> u32 {
        self.vain.get(&(life, stage, point.to_owned())).copied().unwrap_or(0)
    }

    /// The stage was over, and the point was not passed.
    pub(crate) fn missed(&mut self, life: &'static str, stage: Stage, point: &str) {
        *self.vain.entry((life, stage, point.to_owned())).or_default() += 1;
    }

    /// It was struck there.
    pub(crate) fn hit(&mut self, point: &str) {
        *self.hits.entry(point.to_owned()).or_default() += 1;
        self.passed.insert(point.to_owned());
        self.vain.retain(|(_, _, vain), _| vain != point);
    }

    /// The processes passed these. A point that is passed now may be armed again where it was armed in vain.
    pub(crate) fn pass(&mut self, points: impl IntoIterator<Item = String>) {
        for point in points {
            if self.passed.insert(point.clone()) {
                self.vain.retain(|(_, _, vain), _| *vain != point);
            }
        }
    }

    /// Every point, how often it was struck, and whether it was passed at all.
    pub(crate) fn table(&self) -> impl Iterator<Item = (&Point, u32, bool)> {
        self.points.iter().map(|point| {
            let hits = self.hits.get(&point.name).copied().unwrap_or(0);
            (point, hits, self.passed.contains(&point.name))
        })
    }

    /// Points that were passed and never struck.
    pub(crate) fn spared(&self) -> usize {
        self.table().filter(|(_, hits, passed)| *passed && *hits == 0).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Mode, Order, Picks, Point, Process, Stage, Wish};

    const NAMES: [&str; 4] = [
        "node/step/create/allocate-image/before",
        "node/step/create/allocate-image/after",
        "node/step/unstage/unmount/after",
        "operator/reply/create-volume",
    ];

    fn picks(seed: u64, wish: Wish) -> Picks {
        Picks::new(seed, NAMES.iter().map(|name| Point::parse(name).unwrap()).collect(), wish)
    }

    /// Everything was passed before.
    fn seen(seed: u64) -> Picks {
        let mut picks = picks(seed, Wish::default());
        picks.pass(NAMES.map(str::to_owned));
        picks
    }

    fn drawn(picks: &mut Picks, times: usize) -> Vec<Order> {
        (0..times).filter_map(|_| picks.next(Process::Node, "xfs", Stage::Begin)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_blows() {
        let all = |seed| {
            let mut picks = seen(seed);
            let mut blows = Vec::new();
            for _ in 0..40 {
                let blow = picks.next(Process::Node, "xfs", Stage::Begin).unwrap();
                picks.hit(&blow.name);
                blows.push(blow);
            }
            blows
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }

    #[test]
    fn the_least_struck_point_of_the_stage_is_next() {
        let mut picks = seen(7);
        let first = drawn(&mut picks, 1).remove(0).name;
        picks.hit(&first);
        let second = drawn(&mut picks, 1).remove(0).name;
        assert_ne!(first, second);
        assert!(NAMES[..2].contains(&first.as_str()) && NAMES[..2].contains(&second.as_str()));
    }

    #[test]
    fn what_was_armed_in_vain_rests_until_it_is_passed() {
        let mut picks = picks(7, Wish::default());
        picks.pass([NAMES[0].to_owned()]);
        for name in &NAMES[..2] {
            for _ in 0..super::IN_VAIN {
                picks.missed("xfs", Stage::Begin, name);
            }
        }
        assert_eq!(drawn(&mut picks, 20), []);
        picks.pass([NAMES[1].to_owned()]);
        assert_eq!(drawn(&mut picks, 1)[0].name, NAMES[1]);
        assert!(picks.next(Process::Node, "ext4", Stage::Begin).is_some(), "another life");
    }

    #[test]
    fn what_was_never_seen_is_tried_now_and_then() {
        let mut picks = picks(7, Wish::default());
        assert_eq!(drawn(&mut picks, 15), []);
        assert_eq!(drawn(&mut picks, 1).len(), 1);
    }

    #[test]
    fn a_wish_is_kept() {
        let wish = Wish { point: Some(NAMES[3].to_owned()), mode: Some(Mode::Hold) };
        let mut picks = picks(7, wish);
        assert_eq!(picks.next(Process::Node, "xfs", Stage::Begin), None);
        let blow = picks.next(Process::Operator, "xfs", Stage::Begin).unwrap();
        assert_eq!((blow.name.as_str(), blow.mode), (NAMES[3], Mode::Hold));
    }

    #[test]
    fn every_mode_has_its_share_and_only_where_it_may() {
        let mut picks = seen(3);
        let mut modes: BTreeMap<Mode, u32> = BTreeMap::new();
        for _ in 0..400 {
            let blow = picks.next(Process::Operator, "xfs", Stage::Begin).unwrap();
            picks.hit(&blow.name);
            *modes.entry(blow.mode).or_default() += 1;
        }
        assert_eq!(modes.len(), 4, "{modes:?}");
        assert!(modes[&Mode::Kill] > 150, "{modes:?}");
        let node: Vec<Mode> = drawn(&mut picks, 200).iter().map(|blow| blow.mode).collect();
        assert!(!node.contains(&Mode::Hold));
    }

    #[test]
    fn passed_and_never_struck_is_counted() {
        let mut picks = picks(7, Wish::default());
        picks.pass([NAMES[0].to_owned(), NAMES[2].to_owned()]);
        picks.hit(NAMES[0]);
        assert_eq!(picks.spared(), 1);
    }
}
