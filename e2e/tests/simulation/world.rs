//! The whole model: one API server, two nodes, the operator, and everybody who asks. One seed is one history: chance
//! chooses who acts next and who dies; then the faults end, all act in turn, and the outcome is judged.

mod judge;
mod setup;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use terrace_crds::StorageVolume;
use terrace_device_types::VolumeUuid;
use terrace_plan::volume::plan_volume;

use self::setup::{node, pool};
use crate::agent;
use crate::api::{Api, Pv};
use crate::cache::Cache;
use crate::caller::{Callers, Place};
use crate::host::Node;
use crate::ledger::Ledger;
use crate::operator::{Desk, Goes};
use crate::points::{Luck, Points};
use crate::rng::Rng;
use crate::run::Process;

/// What may go wrong in a history beside crashes and late events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// A StorageVolume is deleted by force, without a stamp; or stamped and deleted though its claim is bound.
    Force,
    /// The API server is put back to an older state.
    Restore,
}

/// A model world.
pub(crate) struct Sim {
    rng: Rng,
    now: Timestamp,
    api: Api,
    nodes: Vec<Node>,
    operator: Cache,
    csi: Cache,
    agents: Vec<Cache>,
    callers: Callers,
    places: BTreeMap<String, Place>,
    backup: Option<(Api, Callers, BTreeMap<String, Place>)>,
    trouble: Trouble,
    pub(crate) ledger: Ledger,
}

/// What the operator knows, what the CSI controller knows, and what the provisioner was told.
type Caches<'a> = (&'a mut Cache, &'a Cache, &'a mut BTreeMap<String, Place>);

impl Sim {
    pub(crate) fn new(seed: u64, trouble: Trouble) -> Self {
        let mut api = Api::default();
        api.pools.insert("files".to_owned(), Arc::new(pool()));
        let nodes: Vec<Node> = (0..2).map(node).collect();
        for node in &nodes {
            agent::report_node(node, &mut api);
        }
        let mut store = Cache::default();
        store.relist(&api);
        let mut rng = Rng::new(seed);
        let points = Points::aimed(trouble, seed, &mut rng);
        Self {
            rng,
            now: Timestamp::from_second(1_700_000_000).unwrap(),
            api,
            nodes,
            operator: store.clone(),
            csi: store.clone(),
            agents: vec![store.clone(), store],
            callers: Callers::default(),
            places: BTreeMap::new(),
            backup: None,
            trouble,
            ledger: Ledger { points, ..Ledger::default() },
        }
    }

    /// Does something at the operator's desk; a process that died there knows what it lists when it starts.
    fn at_desk(&mut self, luck: Luck, work: impl FnOnce(&mut Callers, &mut Desk<'_>, Caches<'_>)) {
        let mut desk = Desk {
            api: &mut self.api,
            now: self.now,
            luck,
            rng: &mut self.rng,
            ledger: &mut self.ledger,
            died: false,
        };
        work(&mut self.callers, &mut desk, (&mut self.operator, &self.csi, &mut self.places));
        if desk.died {
            self.operator.relist(&self.api);
            self.csi.relist(&self.api);
        }
    }

    /// The history: `actions` of chance, then quiet, then judgement.
    pub(crate) fn run(&mut self, actions: u32) {
        let luck = Luck { crash: 60 };
        for _ in 0..actions {
            self.now = self.now.checked_add(SignedDuration::from_secs(1)).unwrap();
            self.act(luck);
            if !self.ledger.broken.is_empty() {
                return;
            }
        }
        self.settle();
    }

    fn act(&mut self, luck: Luck) {
        match self.rng.below(20) {
            0 => self.callers.person(&mut self.api, self.trouble, &mut self.rng),
            1..=4 => self.at_desk(luck, |callers, desk, (_, csi, places)| {
                callers.provision(desk, csi, places);
            }),
            5 => self.at_desk(luck, |callers, desk, (_, csi, _)| callers.grow(desk, csi)),
            6 | 7 => self.kubelet(luck),
            8..=10 => self.operate(luck),
            11..=13 => self.tend(luck),
            14 => {
                let at = self.rng.below(self.nodes.len());
                self.report(at, luck);
            }
            15 => self.misfortune(),
            _ => self.deliver(),
        }
    }

    fn kubelet(&mut self, luck: Luck) {
        let grown = self.callers.growing.iter().filter(|name| self.places.contains_key(*name));
        let mut names: Vec<String> = grown.cloned().collect();
        if names.is_empty() || self.rng.once_in(2) {
            names = self.places.keys().cloned().collect();
        }
        let Some(name) = self.rng.pick(&names) else { return };
        let place = self.places[&name].clone();
        if self.unstage_elsewhere(&name, &place, luck) {
            return;
        }
        let (rng, ledger) = (&mut self.rng, &mut self.ledger);
        let node = &mut self.nodes[place.node];
        self.callers.kubelet(&self.api, &name, &place, &mut Process { node, luck, rng, ledger });
    }

    /// An API server that was put back may say that a volume is on another node than the one whose kubelet has it.
    fn unstage_elsewhere(&mut self, name: &str, place: &Place, luck: Luck) -> bool {
        let held = self.callers.staged.get(name).filter(|held| held.node != place.node).cloned();
        let Some(held) = held else { return false };
        self.ledger.count("staged elsewhere");
        let (rng, ledger) = (&mut self.rng, &mut self.ledger);
        let node = &mut self.nodes[held.node];
        self.callers.unstage(&held, name, &mut Process { node, luck, rng, ledger });
        true
    }

    fn report(&mut self, at: usize, luck: Luck) {
        let (node, api) = (&mut self.nodes[at], &mut self.api);
        agent::report(node, api, luck, &mut self.rng, &mut self.ledger);
    }

    fn deliver(&mut self) {
        let stores = [&mut self.operator, &mut self.csi].into_iter().chain(&mut self.agents);
        for store in stores {
            match self.rng.below(6) {
                0 => {}
                1 => store.relist(&self.api),
                _ => store.deliver(&self.api, &mut self.rng),
            }
        }
    }

    /// The operator looks at one volume and does what it planned, as far as it comes.
    fn operate(&mut self, luck: Luck) {
        if let Some(volume) = self.rng.pick(&self.operator.world.volumes) {
            self.operate_on(&volume, luck);
        }
    }

    fn operate_on(&mut self, volume: &StorageVolume, luck: Luck) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        self.at_desk(luck, |_, desk, (operator, _, _)| {
            for effect in plan_volume(&operator.world, volume, desk.now).effects {
                if desk.change(effect) == Goes::Off {
                    return;
                }
                // What it wrote itself it knows: a reservation is counted before the watch tells of it.
                operator.know(&name, desk.api);
            }
        });
    }

    /// One agent looks at one volume of its own, or sweeps.
    fn tend(&mut self, luck: Luck) {
        let at = self.rng.below(self.nodes.len());
        if self.rng.once_in(8) {
            self.judge_rights();
            agent::sweep(&mut self.nodes[at], &self.api, luck, &mut self.rng, &mut self.ledger);
            return;
        }
        let volumes = self.assigned(at);
        if let Some(volume) = self.rng.pick(&volumes) {
            self.tend_to(at, &volume, luck);
        }
    }

    fn tend_to(&mut self, at: usize, volume: &StorageVolume, luck: Luck) {
        self.judge_rights();
        let starts = self.nodes[at].starts;
        agent::pass(
            &mut self.nodes[at],
            &mut self.api,
            volume,
            self.now,
            luck,
            &mut self.rng,
            &mut self.ledger,
        );
        if self.nodes[at].starts != starts {
            self.agents[at].relist(&self.api);
        }
        let name = volume.metadata.name.clone().unwrap_or_default();
        self.agents[at].know(&name, &self.api);
    }

    fn assigned(&self, at: usize) -> Vec<Arc<StorageVolume>> {
        let pool = self.nodes[at].pool.to_string();
        let here = |volume: &&Arc<StorageVolume>| {
            volume.spec.assignment.as_ref().is_some_and(|there| there.pool_uuid == pool)
        };
        self.agents[at].world.volumes.iter().filter(here).cloned().collect()
    }

    /// Who may be destroyed, and who may not be made anew, by what the API server says now.
    fn judge_rights(&mut self) {
        for life in self.ledger.lives.values_mut() {
            (life.may_go, life.is_bound) = (false, false);
        }
        let names: Vec<(String, VolumeUuid)> =
            self.places.iter().map(|(name, place)| (name.clone(), place.uuid)).collect();
        for (name, uuid) in names {
            let pv: Option<Pv> = self.api.pvs.get(&name).cloned();
            let stamped =
                self.api.volumes.get(&name).is_some_and(|volume| volume.spec.deletion.is_some());
            let life = self.ledger.life(uuid);
            life.may_go = stamped && pv.as_ref().is_none_or(|pv| pv.released);
            life.is_bound = pv.is_some_and(|pv| !pv.released);
        }
    }

    fn misfortune(&mut self) {
        match self.trouble {
            Trouble::None => {}
            Trouble::Force if self.rng.once_in(4) => {
                self.at_desk(Luck { crash: 0 }, |_, desk, _| Callers::stray_delete(desk));
            }
            Trouble::Force if self.rng.once_in(4) => {
                let names: Vec<String> = self.api.volumes.keys().cloned().collect();
                if let Some(name) = self.rng.pick(&names) {
                    let _ = self.api.delete(&name, self.now);
                }
            }
            Trouble::Restore if self.backup.is_none() && self.rng.once_in(4) => {
                self.backup = Some((self.api.clone(), self.callers.clone(), self.places.clone()));
            }
            Trouble::Restore if self.rng.once_in(12) => self.restore(),
            Trouble::Force | Trouble::Restore => {}
        }
    }

    /// The API server comes back as it was; every watch breaks, so every store lists anew. A node finds its StorageNode other
    /// than it wrote it and writes it at once, before anything is placed: nothing but that order keeps a second image from
    /// being made on another node, and no plan can see whether it was kept.
    fn restore(&mut self) {
        let Some((api, callers, mut places)) = self.backup.take() else { return };
        self.ledger.count("restore");
        let revision = self.api.revision;
        self.api = Api { revision: revision + 1_000_000, ..api };
        let Callers { made, staged, growing, asking: _, deleting: _ } = self.callers.clone();
        self.callers = Callers { made, staged, growing, ..callers };
        std::mem::swap(&mut self.places, &mut places);
        // Where the bytes lie does not change with what the API server remembers.
        for (name, place) in places {
            self.places.entry(name).or_insert(place);
        }
        for node in &self.nodes {
            agent::report_node(node, &mut self.api);
        }
        for store in [&mut self.operator, &mut self.csi].into_iter().chain(&mut self.agents) {
            store.relist(&self.api);
        }
    }

    /// No more faults: everybody acts in turn until nothing changes, twice over.
    fn settle(&mut self) {
        let luck = Luck { crash: 0 };
        let mut quiet = 0;
        for _ in 0..400 {
            let before = (
                self.api.revision,
                self.ledger.steps(),
                self.api.pvs.len(),
                self.callers.asking.len(),
            );
            self.round(luck);
            let after = (
                self.api.revision,
                self.ledger.steps(),
                self.api.pvs.len(),
                self.callers.asking.len(),
            );
            quiet = if before == after { quiet + 1 } else { 0 };
            if quiet == 3 || !self.ledger.broken.is_empty() {
                break;
            }
        }
        if quiet < 3 && self.ledger.broken.is_empty() {
            self.ledger.broke("I8", "the world does not come to rest".to_owned());
        }
        self.judge();
    }

    fn round(&mut self, luck: Luck) {
        self.now = self.now.checked_add(SignedDuration::from_secs(61)).unwrap();
        for store in [&mut self.operator, &mut self.csi].into_iter().chain(&mut self.agents) {
            store.relist(&self.api);
        }
        for volume in self.operator.world.volumes.clone() {
            self.operate_on(&volume, luck);
        }
        for at in 0..self.nodes.len() {
            for volume in self.assigned(at) {
                self.tend_to(at, &volume, luck);
            }
            self.judge_rights();
            agent::sweep(&mut self.nodes[at], &self.api, luck, &mut self.rng, &mut self.ledger);
            agent::report_node(&self.nodes[at], &mut self.api);
        }
        for (name, place) in self.places.clone() {
            let bound = self.api.pvs.get(&name).is_some_and(|pv| !pv.released);
            if !self.unstage_elsewhere(&name, &place, luck)
                && !bound
                && self.callers.staged.contains_key(&name)
            {
                let (rng, ledger) = (&mut self.rng, &mut self.ledger);
                let node = &mut self.nodes[place.node];
                self.callers.unstage(&place, &name, &mut Process { node, luck, rng, ledger });
            }
        }
        self.csi.relist(&self.api);
        let mut names: Vec<String> = self
            .api
            .claims
            .keys()
            .chain(self.callers.asking.keys())
            .chain(self.api.pvs.keys())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        for name in names {
            if let Some(claim) =
                self.api.claims.get(&name).filter(|_| !self.api.pvs.contains_key(&name))
            {
                self.callers.asking.insert(name.clone(), claim.clone());
            }
            self.at_desk(luck, |callers, desk, (_, csi, places)| {
                callers.call(&name, desk, csi, places);
            });
        }
    }

    /// All that is left, for the comparison of two runs of one seed.
    pub(crate) fn outcome(&self) -> String {
        format!(
            "{:?} {:?} {:?} {:?}",
            self.api.volumes, self.nodes, self.ledger.lives, self.ledger.counts
        )
    }
}
