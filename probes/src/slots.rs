//! Which slot counts what: given out, folded, read a last time, given out again. Pure: what the kernel shows and what naming says come
//! in, steps for the kernel's side go out ([`Step`]), in the order in which they are safe. It reads no figure itself.
//!
//! # Invariants
//! - A slot belongs to one volume from when it is given out until it is cleared; each time has a number of its own ([`Owner::since`]).
//! - It is cleared only when nothing points to it any more and its figures were read after that.
//! - A provisional slot goes back only when nothing points to it any more, and its figures went where its thing went.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use terrace_probe_abi::layout::{SLOT_IGNORED, SharedClass, Slot, SlotKind, VOLUME_SLOTS};

use crate::loader::{Sighting, Thing};
use crate::names::VolumeKey;
use crate::naming::Verdict;

#[path = "slots_settle.rs"]
mod settle;
#[path = "slots_step.rs"]
mod step;

use settle::Settling;
pub use step::{Step, apply};

/// Where figures go of which nobody can say whose they are.
const NOBODYS: Slot = SharedClass::Unnamed.slot();

/// How slots are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Slots for volumes, from 0.
    pub volumes: Slot,
    /// How many readings a volume keeps its slot after its last mount went. A Pod that starts over finds its figures going on.
    pub keep_readings: u32,
    /// What happens to the first operations of what is sampled later on.
    pub sampling: Sampling,
}

/// Whether the shared classes that may be are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// They are: operations that were counted one by one before they had a name would weigh too much, and are left out.
    Share,
    /// All is counted.
    All,
}

impl Default for Policy {
    fn default() -> Self {
        Self { volumes: VOLUME_SLOTS, keep_readings: 12, sampling: Sampling::Share }
    }
}

/// A volume's slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose it is.
    pub key: VolumeKey,
    /// Which giving-out of slots this was. Figures of another number are another's.
    pub since: u64,
    readings_without: u32,
}

/// What is known of a mount or device.
#[derive(Clone, Debug)]
struct Known {
    generation: u16,
    counted: Slot,
    decided: Option<Decided>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Decided {
    Volume(VolumeKey),
    Class(SharedClass),
    /// A volume's, and no slot was free.
    Full(VolumeKey),
    /// What it was for a process before this one; nobody can say it any more.
    AsBefore,
}

/// All slots.
#[derive(Clone, Debug)]
pub struct Slots {
    policy: Policy,
    things: BTreeMap<Thing, Known>,
    owners: BTreeMap<Slot, Owner>,
    by_key: BTreeMap<VolumeKey, Slot>,
    free: VecDeque<Slot>,
    settling: Vec<Settling>,
    suspects: BTreeSet<Slot>,
    given_out: u64,
    observed: u64,
}

impl Slots {
    /// None given out.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            things: BTreeMap::new(),
            owners: BTreeMap::new(),
            by_key: BTreeMap::new(),
            free: (0..policy.volumes).collect(),
            settling: Vec::new(),
            suspects: BTreeSet::new(),
            given_out: 0,
            observed: 0,
        }
    }

    /// What a process that starts over finds on maps that outlived another: things in their slots, and provisional slots that nothing
    /// points to (`orphans`, see [`Slots::orphaned`]). `remembered` is what is known to have owned a slot; of other volume slots
    /// those that nothing points to are cleared, and whose the rest are, naming says anew.
    pub fn restore(
        &mut self,
        sightings: &[Sighting],
        orphans: &[Slot],
        remembered: &[(Slot, VolumeKey)],
    ) -> Vec<Step> {
        self.free.clear();
        let volumes = self.policy.volumes;
        for (slot, key) in remembered.iter().filter(|(slot, _)| *slot < volumes) {
            if !self.by_key.contains_key(key) && !self.owners.contains_key(slot) {
                self.give_out(*slot, key.clone());
            }
        }
        self.observe(sightings);
        self.suspects = orphans.iter().copied().collect();
        let taken = |slot: &Slot| self.owners.contains_key(slot) || self.is_pointed_to(*slot);
        self.free = (0..self.policy.volumes).filter(|slot| !taken(slot)).collect();
        self.free.iter().map(|slot| Step::Clear { slot: *slot }).collect()
    }

    /// Takes what the kernel shows, the whole list. What has another generation than before is another thing: the one before is gone.
    /// Returns what naming has to judge; what has a volume's slot from an earlier process first, so that the volume keeps it.
    pub fn observe(&mut self, sightings: &[Sighting]) -> Vec<Sighting> {
        let counted = sightings.iter().filter(|sighting| sighting.slot != SLOT_IGNORED);
        for sighting in counted.clone() {
            let known = self.things.get(&sighting.thing);
            if known.is_none_or(|known| known.generation != sighting.generation) {
                self.drop_thing(sighting.thing);
                self.observed += 1;
                self.things.insert(sighting.thing, first_known(sighting));
            }
        }
        let judged = counted.filter(|sighting| self.has_to_be_judged(sighting.thing));
        let mut judged: Vec<_> = judged.copied().collect();
        judged.sort_by_key(|sighting| !is_volumes(sighting.slot));
        judged
    }

    /// Mounts once; a device's number is handed on without the kernel seeing it, so it is asked about again and again.
    fn has_to_be_judged(&self, thing: Thing) -> bool {
        let decided = self.things.get(&thing).is_some_and(|known| known.decided.is_some());
        match thing {
            Thing::Mount(_) => !decided,
            Thing::Device { .. } => true,
        }
    }

    /// Takes what naming said of one of them. A volume for which no slot is free stays where it is until one is.
    pub fn decide(&mut self, thing: Thing, generation: u16, verdict: &Verdict) -> Vec<Step> {
        let Some(known) =
            self.things.get_mut(&thing).filter(|known| known.generation == generation)
        else {
            return Vec::new();
        };
        let decided = match verdict {
            Verdict::Later(_) => return Vec::new(),
            Verdict::Volume(key) => Decided::Volume(key.clone()),
            Verdict::Class(class) => Decided::Class(*class),
            // The kernel knows a mount by more than its id: one that was named before it was hidden stays what it was.
            Verdict::Nobody(_) if matches!(thing, Thing::Mount(_)) && is_volumes(known.counted) => {
                known.decided = Some(Decided::AsBefore);
                return Vec::new();
            }
            Verdict::Nobody(_) => Decided::Class(SharedClass::Unnamed),
        };
        if known.decided.as_ref() == Some(&decided) {
            return Vec::new();
        }
        self.put(thing, decided)
    }

    fn put(&mut self, thing: Thing, decided: Decided) -> Vec<Step> {
        let Some(known) = self.things.get(&thing) else { return Vec::new() };
        let (generation, from) = (known.generation, known.counted);
        let mut steps = Vec::new();
        let (decided, to) = match decided {
            Decided::Class(class) => (Decided::Class(class), class.slot()),
            Decided::AsBefore => (Decided::AsBefore, from),
            Decided::Volume(key) | Decided::Full(key) => {
                match self.slot_for(&key, from, &mut steps) {
                    Some(slot) => (Decided::Volume(key), slot),
                    None => (Decided::Full(key), from),
                }
            }
        };
        if let Some(owner) = self.owners.get_mut(&to) {
            owner.readings_without = 0;
        }
        self.things.insert(thing, Known { generation, counted: to, decided: Some(decided) });
        if to != from {
            let fold = self.settle(from, to, Some((thing, generation)));
            steps.push(Step::Count { thing, generation, slot: to, fold });
        }
        steps
    }

    /// The slot a volume has, or the one its thing is in already (after a restart), or a new one.
    fn slot_for(&mut self, key: &VolumeKey, counted: Slot, steps: &mut Vec<Step>) -> Option<Slot> {
        if let Some(slot) = self.by_key.get(key) {
            return Some(*slot);
        }
        let slot = match self.is_unowned(counted) {
            true => counted,
            false => self.free_slot(steps)?,
        };
        self.give_out(slot, key.clone());
        Some(slot)
    }

    /// A volume's slot of which nobody has said yet whose it is.
    fn is_unowned(&self, slot: Slot) -> bool {
        is_volumes(slot) && !self.owners.contains_key(&slot)
    }

    fn is_pointed_to(&self, slot: Slot) -> bool {
        self.things.values().any(|known| known.counted == slot)
    }

    fn give_out(&mut self, slot: Slot, key: VolumeKey) {
        self.given_out += 1;
        self.by_key.insert(key.clone(), slot);
        self.owners.insert(slot, Owner { key, since: self.given_out, readings_without: 0 });
    }

    /// A slot that was given back, or that of the volume that has been gone longest and was read since.
    fn free_slot(&mut self, steps: &mut Vec<Step>) -> Option<Slot> {
        if self.free.is_empty() {
            let gone = self.owners.iter().filter(|(_, owner)| owner.readings_without > 0);
            let (slot, _) = gone.max_by_key(|(_, owner)| owner.readings_without)?;
            self.give_back(*slot, steps);
        }
        self.free.pop_front()
    }

    fn give_back(&mut self, slot: Slot, steps: &mut Vec<Step>) {
        if let Some(owner) = self.owners.remove(&slot) {
            self.by_key.remove(&owner.key);
        }
        self.free.push_back(slot);
        steps.push(Step::Clear { slot });
    }

    /// Forgets a thing. Had it no name yet, its figures are nobody's.
    fn drop_thing(&mut self, thing: Thing) {
        if let Some(Known { counted, .. }) = self.things.remove(&thing)
            && !self.is_pointed_to(counted)
        {
            self.settle(counted, NOBODYS, None);
        }
    }

    /// Takes that these mounts are all there are, in any namespace: of the others that were observed before, nothing is left.
    pub fn sweep(&mut self, present: &BTreeSet<u32>) -> Vec<Step> {
        let is_gone = |thing: &Thing| match thing {
            Thing::Mount(id) => !present.contains(id),
            Thing::Device { .. } => false,
        };
        let gone = self.things.iter().filter(|(thing, _)| is_gone(thing));
        let gone: Vec<_> = gone.map(|(thing, known)| (*thing, known.generation)).collect();
        let forgotten = gone.into_iter().map(|(thing, generation)| {
            self.drop_thing(thing);
            Step::Forget { thing, generation }
        });
        forgotten.collect()
    }

    /// Takes that a thing is not to be counted at all. What was counted of it before that was known is left out.
    pub fn ignore(&mut self, thing: Thing, generation: u16) -> Vec<Step> {
        let known = self.things.get(&thing).filter(|known| known.generation == generation);
        let Some(Known { counted, .. }) = known else { return Vec::new() };
        let from = *counted;
        self.things.remove(&thing);
        if SlotKind::of(from) == SlotKind::Provisional {
            self.settling.push(Settling { from, to: None, thing: Some((thing, generation)) });
        }
        vec![Step::Count { thing, generation, slot: SLOT_IGNORED, fold: None }]
    }

    /// Takes that the kernel no longer knows a thing as it was. What was said of it was said of another, perhaps: its figures are
    /// nobody's.
    pub fn moved_on(&mut self, thing: Thing, generation: u16) {
        let was = Some((thing, generation));
        for settling in self.settling.iter_mut().filter(|settling| settling.thing == was) {
            settling.to = Some(NOBODYS);
        }
        if self.things.get(&thing).is_some_and(|known| known.generation == generation) {
            self.drop_thing(thing);
        }
    }

    /// Takes that all figures were read just now: folds what nothing points to any more, ends volumes that have been gone long enough,
    /// and gives their slots to those that wait for one. What a Pod uses is not gone: it may have started over and done nothing yet
    /// that could be seen. Where no slot is left it makes room all the same.
    pub fn read(&mut self, is_used: impl Fn(&VolumeKey) -> bool) -> Vec<Step> {
        let mut steps = Vec::new();
        for settling in std::mem::take(&mut self.settling) {
            self.end_settling(settling, &mut steps);
        }
        let mut over = Vec::new();
        let pointed: BTreeSet<_> = self.things.values().map(|known| known.counted).collect();
        for (slot, owner) in self.owners.iter_mut().filter(|(slot, _)| !pointed.contains(slot)) {
            owner.readings_without =
                if is_used(&owner.key) { 1 } else { owner.readings_without + 1 };
            if owner.readings_without > self.policy.keep_readings {
                over.push(*slot);
            }
        }
        over.into_iter().for_each(|slot| self.give_back(slot, &mut steps));
        let waiting = self.things.iter().filter_map(|(thing, known)| match &known.decided {
            Some(Decided::Full(key)) => Some((*thing, Decided::Full(key.clone()))),
            Some(Decided::Volume(_) | Decided::Class(_) | Decided::AsBefore) | None => None,
        });
        for (thing, decided) in waiting.collect::<Vec<_>>() {
            steps.extend(self.put(thing, decided));
        }
        steps
    }

    /// The volumes that have a slot.
    pub fn owners(&self) -> impl Iterator<Item = (Slot, &Owner)> {
        self.owners.iter().map(|(slot, owner)| (*slot, owner))
    }

    /// Whose a slot is.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<&Owner> {
        self.owners.get(&slot)
    }

    /// A volume's slot.
    #[must_use]
    pub fn slot_of(&self, key: &VolumeKey) -> Option<Slot> {
        self.by_key.get(key).copied()
    }

    /// Where a thing is counted.
    #[must_use]
    pub fn counted(&self, thing: Thing) -> Option<Slot> {
        self.things.get(&thing).map(|known| known.counted)
    }

    /// Likewise, if it is still the one of that generation.
    #[must_use]
    pub fn counted_now(&self, thing: Thing, generation: u16) -> Option<Slot> {
        let known = self.things.get(&thing).filter(|known| known.generation == generation);
        known.map(|known| known.counted)
    }

    /// How many new ones were observed so far: another number than before means another thing.
    #[must_use]
    pub fn things(&self) -> u64 {
        self.observed
    }

    /// How many slots for volumes are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }
}

fn is_volumes(slot: Slot) -> bool {
    SlotKind::of(slot) == SlotKind::Volume
}

/// What is known of a thing when it is first seen. What an earlier process put in a class stays there; why it had no name for one is
/// asked anew.
fn first_known(sighting: &Sighting) -> Known {
    let Sighting { generation, slot: counted, .. } = *sighting;
    let decided = match SlotKind::of(counted) {
        SlotKind::Class(Some(SharedClass::Unnamed)) => None,
        SlotKind::Class(class) => class.map(Decided::Class),
        SlotKind::Volume | SlotKind::Provisional | SlotKind::Uncounted => None,
    };
    Known { generation, counted, decided }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
