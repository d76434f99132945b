//! Laws of copies of subvolumes, as `copy_laws.rs` has them for images.

use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use terrace_backends::{Backend, BtrfsBackend};
use terrace_device_types::{Bytes, FsType, HostObject, HostState, StageState, VolumeMode};

use crate::golden::stage;
use crate::pair::{Pair, copy};
use crate::subvolume_golden::after;

const MODE: VolumeMode = VolumeMode::Filesystem { fs: FsType::Btrfs };

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn i3_a_copy_of_a_subvolume_that_crashed_anywhere_is_whole_in_the_end(
        object in prop::sample::select(vec![HostObject::Volume, HostObject::Snapshot]),
        (staged, larger) in (any::<bool>(), any::<bool>()),
        crashes in prop::collection::vec((0usize..5, any::<bool>()), 0..6),
    ) {
        let mut source = after(if staged { vec![stage(MODE)] } else { Vec::new() }.as_slice());
        source.image_mut().precious = staged;
        let size = Bytes::gib(if larger { 2 } else { 1 });
        let (intent, mut pair) = (copy(object, size, MODE), Pair::of(source.clone()));
        for (at, inside) in crashes {
            let steps = BtrfsBackend.plan(&intent, &pair.view()).unwrap();
            let reached = at.min(steps.len());
            for step in &steps[..reached] {
                pair.apply(step).unwrap();
            }
            if let (true, Some(step)) = (inside, steps.get(reached)) {
                pair.crash_inside(step);
            }
        }
        for step in BtrfsBackend.plan(&intent, &pair.view()).unwrap() {
            pair.apply(&step).unwrap();
        }
        prop_assert_eq!(BtrfsBackend.plan(&intent, &pair.view()), Ok(Vec::new()));
        prop_assert_eq!(&pair.source, &source);
        let made = pair.object.image.unwrap();
        prop_assert_eq!(&made.content, &source.image.unwrap().content);
        prop_assert_eq!((&made.tag.state, &made.tag.stage), (&HostState::Ready, &StageState::Never));
        prop_assert_eq!(made.size, if object == HostObject::Volume { size } else { Bytes::ZERO });
    }
}
