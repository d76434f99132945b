//! Laws of slots, against a model of the kernel's side that knows the truth: whose each operation was.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use terrace_probe_abi::layout::{
    FIRST_PROVISIONAL, PROVISIONAL_SLOTS, SLOT_NONE, SharedClass, Slot, SlotKind, VOLUME_SLOTS,
};

use super::{Policy, Sampling, Slots, Step};
use crate::loader::{Sighting, Thing};
use crate::names::VolumeKey;
use crate::naming::{Unnamed, Verdict, Waiting};

#[path = "slots_stories.rs"]
mod stories;

/// Whose an operation was in truth; the last number is no volume but an emptyDir.
type Truth = u8;
const NO_VOLUME: Truth = 9;

fn key(truth: Truth) -> VolumeKey {
    VolumeKey::Volume(format!("pvc-{truth}"))
}

#[derive(Clone, Copy, Debug)]
struct Word {
    slot: Slot,
    generation: u16,
    /// 0: forgotten.
    tag: u32,
}

/// The kernel: mounts by id, words by id, figures by slot, told apart by truth.
#[derive(Debug, Default)]
struct Kernel {
    mounts: BTreeMap<u32, (Truth, u32)>,
    words: BTreeMap<u32, Word>,
    spare: Vec<Slot>,
    figures: BTreeMap<Slot, BTreeMap<Truth, u64>>,
    tags: u32,
    done: u64,
    missed: u64,
    /// What was cleared or released.
    ended: u64,
}

impl Kernel {
    fn new() -> Self {
        let spare = (FIRST_PROVISIONAL..FIRST_PROVISIONAL + PROVISIONAL_SLOTS).collect();
        Self { spare, ..Self::default() }
    }

    fn mount(&mut self, id: u32, truth: Truth) {
        self.tags += 1;
        self.mounts.insert(id, (truth, self.tags));
    }

    fn operation(&mut self, id: u32) {
        let Some((truth, tag)) = self.mounts.get(&id).copied() else { return };
        let word = self.words.entry(id).or_insert(Word { slot: SLOT_NONE, generation: 0, tag: 0 });
        if word.tag != tag {
            let slot = self.spare.pop().unwrap_or(SLOT_NONE);
            *word = Word { slot, generation: word.generation + 1, tag };
        }
        self.done += 1;
        match word.slot {
            SLOT_NONE => self.missed += 1,
            slot => *self.figures.entry(slot).or_default().entry(truth).or_default() += 1,
        }
    }

    fn sightings(&self) -> Vec<Sighting> {
        let words = self.words.iter().filter(|(_, word)| word.tag != 0);
        words.map(|(id, word)| sighting(Thing::Mount(*id), word.generation, word.slot)).collect()
    }

    fn change(&mut self, thing: Thing, generation: u16, change: impl Fn(&mut Word)) -> bool {
        let Thing::Mount(id) = thing else { return false };
        let word = self.words.get_mut(&id);
        let word = word.filter(|word| word.generation == generation && word.tag != 0);
        word.map(change).is_some()
    }

    fn apply(&mut self, steps: Vec<Step>, slots: &mut Slots) {
        for step in steps {
            match step {
                Step::Count { thing, generation, slot, fold } => {
                    match self.change(thing, generation, |word| word.slot = slot) {
                        true => fold.into_iter().for_each(|from| self.fold(from, slot)),
                        false => slots.moved_on(thing, generation),
                    }
                }
                Step::Fold { from, to } => {
                    self.fold(from, to);
                    self.give_back(from);
                }
                Step::Release { slot } => {
                    self.end(slot);
                    self.give_back(slot);
                }
                Step::Clear { slot } => self.end(slot),
                Step::Forget { thing, generation } => {
                    self.change(thing, generation, |word| word.tag = 0);
                }
            }
        }
    }

    fn fold(&mut self, from: Slot, to: Slot) {
        for (truth, count) in self.figures.remove(&from).unwrap_or_default() {
            *self.figures.entry(to).or_default().entry(truth).or_default() += count;
        }
    }

    fn give_back(&mut self, slot: Slot) {
        if SlotKind::of(slot) == SlotKind::Provisional {
            assert!(!self.spare.contains(&slot), "{slot} is given back twice");
            let pointed = self.words.values().any(|word| word.tag != 0 && word.slot == slot);
            assert!(!pointed, "{slot} is given back while something is counted there");
            self.spare.push(slot);
        }
    }

    fn orphans(&self) -> Vec<Slot> {
        let words = self.words.values().filter(|word| word.tag != 0);
        let pointed: BTreeSet<_> = words.map(|word| word.slot).collect();
        let provisional = FIRST_PROVISIONAL..FIRST_PROVISIONAL + PROVISIONAL_SLOTS;
        let orphan = |slot: &Slot| !pointed.contains(slot) && !self.spare.contains(slot);
        provisional.filter(orphan).collect()
    }

    fn end(&mut self, slot: Slot) {
        let pointed = self.words.values().any(|word| word.tag != 0 && word.slot == slot);
        assert!(!pointed, "{slot} is cleared while something is counted there");
        self.ended += self.figures.remove(&slot).unwrap_or_default().values().sum::<u64>();
    }

    /// Exact: of a mount that is no more nothing is said, and the id's next mount does not speak for it.
    fn judge(&self, sighting: &Sighting, told: bool) -> Verdict {
        let Thing::Mount(id) = sighting.thing else { return Verdict::Nobody(Unnamed::Gone) };
        match self.mounts.get(&id).filter(|(_, tag)| self.words[&id].tag == *tag) {
            None => Verdict::Nobody(Unnamed::Gone),
            Some((NO_VOLUME, _)) => Verdict::Class(SharedClass::EmptyDir),
            Some(_) if !told => Verdict::Later(Waiting::Names),
            Some((truth, _)) => Verdict::Volume(key(*truth)),
        }
    }

    fn pass(&mut self, slots: &mut Slots, told: bool) {
        for sighting in slots.observe(&self.sightings()) {
            let verdict = self.judge(&sighting, told);
            let steps = slots.decide(sighting.thing, sighting.generation, &verdict);
            self.apply(steps, slots);
        }
    }

    fn sweep(&mut self, slots: &mut Slots) {
        let present = self.mounts.keys().copied().collect();
        let steps = slots.sweep(&present);
        self.apply(steps, slots);
        slots.orphaned(&self.orphans());
    }

    fn read(&mut self, slots: &mut Slots) {
        self.read_while(slots, |_| false);
    }

    fn read_while(&mut self, slots: &mut Slots, is_used: impl Fn(&VolumeKey) -> bool) {
        let steps = slots.read(is_used);
        self.apply(steps, slots);
    }

    /// A new process on the old maps.
    fn restart(&mut self, policy: Policy) -> Slots {
        let mut slots = Slots::new(policy);
        let steps = slots.restore(&self.sightings(), &self.orphans(), &[]);
        self.apply(steps, &mut slots);
        slots
    }

    /// What must hold at any time.
    fn check(&self, slots: &Slots) {
        for (slot, figures) in &self.figures {
            let whose: Vec<_> = figures.keys().collect();
            match SlotKind::of(*slot) {
                SlotKind::Volume => assert_eq!(whose.len(), 1, "slot {slot}: {figures:?}"),
                SlotKind::Provisional => assert!(whose.len() < 2, "slot {slot}: {figures:?}"),
                SlotKind::Class(Some(SharedClass::EmptyDir)) => assert_eq!(whose, [&NO_VOLUME]),
                SlotKind::Class(_) | SlotKind::Uncounted => {}
            }
            if let Some(owner) = slots.owner(*slot) {
                assert_eq!(owner.key, key(*whose[0]), "slot {slot}: {figures:?}");
            }
        }
        let kept: u64 = self.figures.values().flat_map(BTreeMap::values).sum();
        assert_eq!(kept + self.missed + self.ended, self.done, "an operation was lost");
    }
}

fn sighting(thing: Thing, generation: u16, slot: Slot) -> Sighting {
    let (s_dev, root_hash) = ((7, 8), 0);
    Sighting { thing, generation, slot, s_dev, root_hash, magic: 0, tgid: 1, seen_ns: 0 }
}

fn policy(volumes: Slot) -> Policy {
    Policy { volumes, keep_readings: 2, sampling: Sampling::Share }
}

#[derive(Clone, Debug)]
enum Event {
    Mount(u32, Truth),
    Unmount(u32),
    Operations(u32, u8),
    Pass { told: bool },
    Sweep,
    Read,
    Restart,
}

fn events() -> impl Strategy<Value = Event> {
    let truth = prop_oneof![8 => 0..6u8, 1 => Just(NO_VOLUME)];
    prop_oneof![
        4 => (0..8u32, truth).prop_map(|(id, truth)| Event::Mount(id, truth)),
        3 => (0..8u32).prop_map(Event::Unmount),
        8 => (0..8u32, 1..5u8).prop_map(|(id, count)| Event::Operations(id, count)),
        4 => proptest::bool::weighted(0.8).prop_map(|told| Event::Pass { told }),
        2 => Just(Event::Sweep),
        3 => Just(Event::Read),
        1 => Just(Event::Restart),
    ]
}

fn happen(event: &Event, kernel: &mut Kernel, slots: &mut Slots, volumes: Slot) {
    match event {
        Event::Mount(id, truth) => kernel.mount(*id, *truth),
        Event::Unmount(id) => drop(kernel.mounts.remove(id)),
        Event::Operations(id, count) => (0..*count).for_each(|_| kernel.operation(*id)),
        Event::Pass { told } => kernel.pass(slots, *told),
        Event::Sweep => kernel.sweep(slots),
        Event::Read => kernel.read(slots),
        Event::Restart => *slots = kernel.restart(policy(volumes)),
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    /// I6, with few slots and many mounts on few ids, processes that die in between included.
    #[test]
    fn no_slot_ever_holds_two_volumes_and_no_operation_is_lost(
        all in proptest::collection::vec(events(), 1..120),
        volumes in 1..7u16,
    ) {
        let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(volumes)));
        for event in &all {
            happen(event, &mut kernel, &mut slots, volumes);
            kernel.check(&slots);
        }
        // When all is gone, all is free again.
        kernel.mounts.clear();
        for _ in 0..5 {
            kernel.pass(&mut slots, true);
            kernel.sweep(&mut slots);
            kernel.read(&mut slots);
            kernel.check(&slots);
        }
        assert_eq!(slots.free(), usize::from(volumes));
        assert_eq!(kernel.spare.len(), usize::from(PROVISIONAL_SLOTS));
    }
}
