//! The shapes of the maps, as `bpf/maps.h` has them: what a pinned one must have to be taken over.

use terrace_probe_abi::layout::{
    MOUNTS, OPERATIONS, OperationFigures, PROVISIONAL_SLOTS, SLOTS, VOLUME_SLOTS,
};

/// What a map must be to be taken over from a pin.
pub(crate) struct Shape {
    /// Its name.
    pub(crate) name: &'static str,
    /// `enum bpf_map_type`.
    pub(crate) kind: u32,
    /// Bytes of a key.
    pub(crate) key: u32,
    /// Bytes of a value.
    pub(crate) value: u32,
    entries: Entries,
}

enum Entries {
    Fixed(u32),
    PerStripe(u32),
    AtLoad,
}

impl Shape {
    /// How many entries, with so many stripes.
    pub(crate) fn entries(&self, stripes: u32) -> u32 {
        match self.entries {
            Entries::Fixed(entries) => entries,
            Entries::PerStripe(entries) => entries * stripes,
            Entries::AtLoad => 0,
        }
    }

    /// The plan says how many.
    pub(crate) fn is_sized_at_load(&self) -> bool {
        matches!(self.entries, Entries::AtLoad)
    }
}

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const QUEUE: u32 = 22;
const RING: u32 = 27;

const fn shape(name: &'static str, kind: u32, key: u32, value: u32, entries: Entries) -> Shape {
    Shape { name, kind, key, value, entries }
}

use Entries::{AtLoad, Fixed, PerStripe};

/// All maps, as `bpf/maps.h` has them.
pub(crate) const SHAPES: [Shape; 17] = [
    shape("figures", ARRAY, 4, FIGURES, PerStripe(SLOTS as u32 * OPERATIONS as u32)),
    shape("block_figures", ARRAY, 4, FIGURES, Fixed(SLOTS as u32 * 2)),
    shape("mounts", ARRAY, 4, 8, Fixed(MOUNTS)),
    shape("settings", ARRAY, 4, 16, Fixed(SLOTS as u32)),
    shape("counters", ARRAY, 4, 64, Fixed(1)),
    shape("things", HASH, 8, 32, Fixed(8192)),
    shape("devices", HASH, 8, 8, Fixed(1024)),
    shape("below", HASH, 4, 4, Fixed(1024)),
    shape("owners", ARRAY, 4, 512, Fixed(VOLUME_SLOTS as u32)),
    shape("directories", HASH, 16, 4, Fixed(64)),
    shape("resolved", ARRAY, 4, 8, Fixed(16384)),
    shape("spare", QUEUE, 0, 4, Fixed(PROVISIONAL_SLOTS as u32)),
    shape("threads", ARRAY, 4, 104, Fixed(32768)),
    shape("requests", ARRAY, 4, 24, Fixed(16384)),
    shape("block_requests", ARRAY, 4, 24, Fixed(16384)),
    shape("allowances", ARRAY, 4, 16, Fixed(SLOTS as u32)),
    shape("events", RING, 0, 0, AtLoad),
];

const FIGURES: u32 = size_of::<OperationFigures>() as u32;
