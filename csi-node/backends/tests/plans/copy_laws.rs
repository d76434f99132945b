//! Laws of copies: whatever crashes on the way, a copy is whole in the end and its source stands as it stood; and who is refused is refused for a reason.

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use terrace_backends::{Backend, FileBackend};
use terrace_device_types::{
    Bytes, FsType, HostObject, HostState, Kernel, Latch, StageState, Step, VolumeMode, undo,
};

use crate::golden::{after, stage, unstage};
use crate::pair::{Pair, copy};
use crate::world::{Content, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Created,
    Staged,
    Past,
}

/// A source, with bytes of a Pod wherever one can write.
fn sources() -> impl Strategy<Value = (VolumeMode, Life, World)> {
    let fs = prop::sample::select(FsType::ALL.to_vec());
    let mode = prop_oneof![
        3 => fs.prop_map(|fs| VolumeMode::Filesystem { fs }),
        1 => Just(VolumeMode::Block)
    ];
    let life = prop::sample::select(vec![Life::Created, Life::Staged, Life::Past]);
    (mode, life).prop_map(|(mode, life)| {
        let mut world = match life {
            Life::Created => after(mode, &[]),
            Life::Staged => after(mode, &[stage(mode)]),
            Life::Past => after(mode, &[stage(mode), unstage()]),
        };
        world.image_mut().precious = life != Life::Created;
        (mode, life, world)
    })
}

fn objects() -> impl Strategy<Value = HostObject> {
    prop::sample::select(vec![HostObject::Volume, HostObject::Snapshot])
}

/// What an interrupted operation leaves behind, taken back by the journal: thaws first, and no removal once a copy may be in service.
fn take_back(pair: &mut Pair, begun: &[Step], removals_fail: bool) {
    let ready = |step: &Step| matches!(step, Step::WriteState { state: HostState::Ready, .. });
    let keeps = removals_fail || begun.iter().any(ready);
    let undone: Vec<Step> = begun.iter().rev().filter_map(undo).collect();
    let thaws = |step: &&Step| matches!(step, Step::EndFreeze { .. });
    for step in undone.iter().filter(thaws) {
        pair.apply(step).unwrap();
    }
    for step in undone.iter().filter(|step| !thaws(step) && !keeps) {
        // What was never made is not there to be removed.
        if pair.object.image.is_some() {
            pair.apply(step).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn i3_a_copy_that_crashed_anywhere_is_whole_in_the_end(
        (mode, life, source) in sources(),
        object in objects(),
        larger in any::<bool>(),
        crashes in prop::collection::vec((0usize..8, any::<bool>(), any::<bool>()), 0..6),
    ) {
        let size = Bytes::gib(if larger { 2 } else { 1 });
        let intent = copy(object, size, mode);
        let mut pair = Pair::of(source.clone());
        pair.unsynced = mode == VolumeMode::Block && life == Life::Staged;
        for (at, inside, removals_fail) in crashes {
            let steps = FileBackend.plan(&intent, &pair.view()).unwrap();
            let reached = at.min(steps.len());
            for step in &steps[..reached] {
                pair.apply(step).unwrap();
            }
            let begun = (reached + usize::from(inside)).min(steps.len());
            take_back(&mut pair, &steps[..begun], removals_fail);
            prop_assert!(!pair.frozen, "writers wait for ever after {steps:?}");
        }
        for step in FileBackend.plan(&intent, &pair.view()).unwrap() {
            pair.apply(&step).unwrap();
        }
        prop_assert_eq!(FileBackend.plan(&intent, &pair.view()), Ok(Vec::new()));
        prop_assert!(!pair.frozen);
        prop_assert_eq!(&pair.source, &source);
        let (made, original) = (pair.object.image.unwrap(), source.image.unwrap());
        prop_assert_eq!(&made.tag.latch, &original.tag.latch);
        prop_assert_eq!(&made.content, &original.content);
        prop_assert_eq!((&made.tag.state, &made.tag.stage), (&HostState::Ready, &StageState::Never));
        let empty = mode != VolumeMode::Block && original.tag.latch == Latch::None;
        prop_assert_eq!(made.tag.source, (!empty).then_some(original.tag.volume));
        let grows = larger && (object == HostObject::Volume || empty);
        prop_assert_eq!(made.size, if grows { size } else { original.size });
        prop_assert_eq!(empty, made.content == Content::Zeros && mode != VolumeMode::Block);
    }

    #[test]
    fn a_copy_is_refused_for_its_reasons_and_for_no_other(
        (mode, life, source) in sources(),
        (object, of) in (objects(), objects()),
        state in prop_oneof![
            4 => Just(HostState::Ready),
            1 => Just(HostState::Creating),
            1 => Just(HostState::Retained),
        ],
        (reflink, writable, ours, same_mode) in (
            prop::bool::weighted(0.8), prop::bool::weighted(0.8), prop::bool::weighted(0.8), prop::bool::weighted(0.8),
        ),
        (half_gibs, free) in (1u64..6, prop::sample::select(vec![Bytes::mib(500), Bytes::gib(8)])),
        minor in 6u32..8,
    ) {
        let mut pair = Pair::of(source);
        pair.source.pool.reflink = reflink;
        pair.source.pool.writable = writable;
        pair.source.pool.free = free;
        pair.kernel = Kernel { major: 6, minor };
        let tag = &mut pair.source.image_mut().tag;
        (tag.state, tag.object) = (state.clone(), of);
        if !ours {
            tag.cluster = "another-cluster".parse().unwrap();
        }
        let size = Bytes(half_gibs * Bytes::mib(512).0);
        let other = VolumeMode::Filesystem { fs: FsType::Xfs };
        let asked = match (same_mode, mode) {
            (true, mode) => mode,
            (false, VolumeMode::Block) => other,
            (false, VolumeMode::Filesystem { .. }) => VolumeMode::Block,
        };
        let planned = FileBackend.plan(&copy(object, size, asked), &pair.view());

        let volume = object == HostObject::Volume;
        let empty = mode != VolumeMode::Block && life == Life::Created;
        let takes = match (volume, empty) {
            (true, _) => size,
            (false, true) => Bytes::ZERO,
            (false, false) => Bytes::gib(1),
        };
        let btrfs = mode == VolumeMode::Filesystem { fs: FsType::Btrfs };
        let may = writable && ours && same_mode && state == HostState::Ready
            && (volume || of == HostObject::Volume)
            && (!volume || size >= Bytes::gib(1))
            && takes <= free
            && (empty || (reflink && (!volume || !btrfs || minor >= 7)));
        prop_assert_eq!(planned.is_ok(), may, "{:?}", planned);
        for step in planned.unwrap_or_default() {
            pair.apply(&step).unwrap();
        }
    }
}
