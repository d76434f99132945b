//! Single cases of slots, each with its reason.

use terrace_probe_abi::layout::{FIRST_PROVISIONAL, PROVISIONAL_SLOTS, SLOT_NONE, SharedClass};

use super::{Kernel, NO_VOLUME, VOLUME_SLOTS, key, policy, sighting};
use crate::loader::Thing;
use crate::naming::{Unnamed, Verdict};
use crate::slots::{Policy, Sampling, Slots, Step};

#[test]
fn five_hundred_mounts_and_unmounts_leak_no_slot() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(Policy::default()));
    for turn in 0..500u32 {
        let id = 40 + turn % 3;
        kernel.mount(id, (turn % 7) as u8);
        kernel.operation(id);
        kernel.pass(&mut slots, true);
        kernel.operation(id);
        kernel.mounts.remove(&id);
        kernel.sweep(&mut slots);
        kernel.read(&mut slots);
        kernel.check(&slots);
    }
    assert_eq!(slots.free(), usize::from(VOLUME_SLOTS) - 7);
    (0..20).for_each(|_| kernel.read(&mut slots));
    assert_eq!(slots.free(), usize::from(VOLUME_SLOTS));
    assert_eq!(kernel.spare.len(), usize::from(PROVISIONAL_SLOTS));
    assert_eq!(kernel.missed, 0);
}

#[test]
fn operations_before_the_name_are_the_volumes() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(4)));
    kernel.mount(5, 1);
    (0..10).for_each(|_| kernel.operation(5));
    kernel.pass(&mut slots, false);
    (0..10).for_each(|_| kernel.operation(5));
    kernel.pass(&mut slots, true);
    let slot = slots.slot_of(&key(1)).unwrap();
    assert_eq!(kernel.figures[&slot][&1], 20);
    kernel.read(&mut slots);
    assert_eq!(kernel.spare.len(), usize::from(PROVISIONAL_SLOTS));
}

#[test]
fn a_pod_that_starts_over_finds_its_volumes_figures_going_on() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(4)));
    kernel.mount(5, 1);
    kernel.operation(5);
    kernel.pass(&mut slots, true);
    let since = slots.owners().next().unwrap().1.since;
    kernel.mounts.clear();
    kernel.sweep(&mut slots);
    kernel.read(&mut slots);
    kernel.mount(6, 1);
    kernel.operation(6);
    kernel.pass(&mut slots, true);
    (0..9).for_each(|_| kernel.read(&mut slots));
    let (slot, owner) = slots.owners().next().unwrap();
    assert_eq!((owner.since, kernel.figures[&slot][&1]), (since, 2));
}

#[test]
fn a_pod_that_starts_over_and_does_nothing_for_long_keeps_its_volumes_figures() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(1)));
    kernel.mount(5, 1);
    kernel.operation(5);
    kernel.pass(&mut slots, true);
    kernel.mounts.clear();
    kernel.sweep(&mut slots);
    (0..100).for_each(|_| kernel.read_while(&mut slots, |used| *used == key(1)));
    let slot = slots.slot_of(&key(1)).unwrap();
    assert_eq!(kernel.figures[&slot][&1], 1);
    // But for one that does something, where there is no other slot.
    kernel.mount(6, 2);
    kernel.operation(6);
    kernel.pass(&mut slots, true);
    assert_eq!((slots.slot_of(&key(1)), slots.slot_of(&key(2))), (None, Some(slot)));
    // And once no Pod has it any more.
    kernel.mounts.clear();
    kernel.sweep(&mut slots);
    (0..20).for_each(|_| kernel.read(&mut slots));
    assert_eq!(slots.slot_of(&key(2)), None);
}

#[test]
fn a_volume_without_a_slot_waits_and_gets_the_next() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(1)));
    kernel.mount(5, 1);
    kernel.mount(6, 2);
    [5, 6].into_iter().for_each(|id| kernel.operation(id));
    kernel.pass(&mut slots, true);
    assert_eq!((slots.slot_of(&key(1)), slots.slot_of(&key(2))), (Some(0), None));
    kernel.operation(6);
    kernel.mounts.remove(&5);
    kernel.sweep(&mut slots);
    (0..3).for_each(|_| kernel.read(&mut slots));
    assert_eq!(slots.slot_of(&key(2)), Some(0));
    assert_eq!(kernel.figures[&0][&2], 2);
    kernel.check(&slots);
}

#[test]
fn without_even_a_provisional_slot_it_is_missed_until_it_is_named() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(2)));
    kernel.spare.clear();
    kernel.mount(5, 1);
    kernel.operation(5);
    assert_eq!(kernel.missed, 1);
    kernel.pass(&mut slots, true);
    kernel.operation(5);
    assert_eq!((kernel.missed, kernel.figures[&0][&1]), (1, 1));
}

#[test]
fn what_was_gone_before_it_was_named_is_counted_as_nobodys() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(2)));
    kernel.mount(5, 1);
    kernel.operation(5);
    kernel.mounts.clear();
    kernel.pass(&mut slots, true);
    kernel.read(&mut slots);
    assert_eq!(kernel.figures[&SharedClass::Unnamed.slot()][&1], 1);
    assert_eq!(slots.owners().count(), 0);
}

/// Named by a look at what had the id by then; the kernel knows better.
#[test]
fn a_name_that_came_too_late_takes_no_figures_along() {
    let mut slots = Slots::new(policy(2));
    let provisional = FIRST_PROVISIONAL + 3;
    slots.observe(&[sighting(Thing::Mount(5), 1, provisional)]);
    let steps = slots.decide(Thing::Mount(5), 1, &Verdict::Volume(key(1)));
    let count =
        Step::Count { thing: Thing::Mount(5), generation: 1, slot: 0, fold: Some(provisional) };
    assert_eq!(steps, [count]);
    slots.moved_on(Thing::Mount(5), 1);
    let to = SharedClass::Unnamed.slot();
    assert_eq!(slots.read(|_| false), [Step::Fold { from: provisional, to }]);
}

#[test]
fn a_restart_gives_the_same_volumes_the_same_slots() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(8)));
    for id in 0..6 {
        kernel.mount(id, (id / 2) as u8);
        kernel.operation(id);
    }
    kernel.pass(&mut slots, true);
    let before: Vec<_> = slots.owners().map(|(slot, owner)| (slot, owner.key.clone())).collect();
    let mut after = kernel.restart(policy(8));
    kernel.mount(7, 2);
    kernel.operation(7);
    kernel.pass(&mut after, true);
    kernel.read(&mut after);
    let owners: Vec<_> = after.owners().map(|(slot, owner)| (slot, owner.key.clone())).collect();
    assert_eq!(owners, before);
    assert_eq!(kernel.figures.values().flat_map(|by| by.values()).sum::<u64>(), 7);
}

#[test]
fn a_volume_that_went_while_the_probe_was_dead_keeps_its_figures_if_it_is_remembered() {
    let (mut kernel, mut slots) = (Kernel::new(), Slots::new(policy(2)));
    kernel.mount(5, 1);
    kernel.operation(5);
    kernel.pass(&mut slots, true);
    let remembered: Vec<_> =
        slots.owners().map(|(slot, owner)| (slot, owner.key.clone())).collect();
    kernel.mounts.clear();
    let mut after = Slots::new(policy(2));
    let steps = after.restore(&kernel.sightings(), &[], &remembered);
    assert_eq!(steps, [Step::Clear { slot: 1 }]);
    assert_eq!(after.slot_of(&key(1)), Some(0));
}

#[test]
fn a_mount_hidden_after_it_was_named_stays_what_it_was() {
    let mut slots = Slots::new(policy(2));
    slots.observe(&[sighting(Thing::Mount(5), 1, 1)]);
    let hidden = Verdict::Nobody(Unnamed::NotOnHost);
    assert_eq!(slots.decide(Thing::Mount(5), 1, &hidden), []);
    assert_eq!(slots.observe(&[sighting(Thing::Mount(5), 1, 1)]), []);
}

#[test]
fn a_device_is_asked_about_again_and_follows_its_volume() {
    let device = Thing::Device { major: 7, minor: 3 };
    let mut slots = Slots::new(policy(2));
    let seen = [sighting(device, 1, FIRST_PROVISIONAL)];
    assert_eq!(slots.observe(&seen).len(), 1);
    slots.decide(device, 1, &Verdict::Volume(key(1)));
    assert_eq!(slots.observe(&seen).len(), 1);
    let host = SharedClass::Host.slot();
    let moved = Step::Count { thing: device, generation: 1, slot: host, fold: None };
    assert_eq!(slots.decide(device, 1, &Verdict::Class(SharedClass::Host)), [moved]);
    assert_eq!(slots.decide(device, 1, &Verdict::Volume(key(2))).len(), 1);
    assert_ne!(slots.slot_of(&key(1)), slots.slot_of(&key(2)));
}

#[test]
fn what_is_sampled_does_not_begin_with_all_of_it() {
    let host = Verdict::Class(SharedClass::Host);
    for (sampling, folded) in [(Sampling::Share, None), (Sampling::All, Some(FIRST_PROVISIONAL))] {
        let mut slots = Slots::new(Policy { sampling, ..policy(2) });
        slots.observe(&[sighting(Thing::Mount(1), 1, FIRST_PROVISIONAL)]);
        let steps = slots.decide(Thing::Mount(1), 1, &host);
        let [Step::Count { fold, .. }] = steps[..] else { panic!("{steps:?}") };
        assert_eq!(fold, folded);
    }
}

#[test]
fn an_unnamed_thing_without_a_slot_and_a_class_need_none() {
    let mut slots = Slots::new(policy(0));
    slots.observe(&[sighting(Thing::Mount(1), 1, SLOT_NONE)]);
    assert_eq!(slots.decide(Thing::Mount(1), 1, &Verdict::Volume(key(1))), []);
    assert_eq!(slots.slot_of(&key(1)), None);
    assert_ne!(key(1), key(NO_VOLUME));
}
