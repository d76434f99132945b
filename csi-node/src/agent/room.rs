//! How much a pool has for volumes. Pure: a look at the pool and its host objects go in, figures come out.
//!
//! Copies share extents with their source, and each of them says that it holds them. What is shared is counted once: of all objects that
//! stem from one another, the largest counts. That is what the pool would get back at least, were they all deleted.

use std::collections::BTreeMap;

use terrace_device_types::lvm::{InUse, ThinRoom};
use terrace_device_types::{Bytes, ImageView, PoolView, TagReading, VolumeUuid};

/// Kept free of volumes, so that the filesystem below has room for its own records: one part in so many.
const SPARE_PART: u64 = 200;
/// And at least so much.
const SPARE_LEAST: u64 = 16 << 20;

/// Figures of a pool, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What volumes may take in all.
    pub capacity: u64,
    /// What is free now.
    pub free: u64,
}

/// What volumes may take in all, and what is free now.
#[must_use]
pub fn plan_room(view: &PoolView, images: &[ImageView]) -> Room {
    let Bytes(free) = view.free;
    if view.group.as_ref().is_some_and(|group| group.thin.is_some()) {
        // Counted by the thin pool itself, whoever shares what.
        return Room { capacity: view.total.0, free };
    }
    let all = free + taken(images);
    if let Some(group) = &view.group {
        // LVM keeps its records elsewhere. A group that lacks a device takes no volume.
        return Room { capacity: all, free: if group.missing == 0 { free } else { 0 } };
    }
    let spare = (all / SPARE_PART).max(SPARE_LEAST);
    Room { capacity: all.saturating_sub(spare), free: free.saturating_sub(spare) }
}

/// Percent of a thin pool's metadata in use, of all that its group can give.
#[must_use]
pub fn metadata_used(view: &PoolView) -> Option<u32> {
    let group = view.group.as_ref()?;
    let thin = group.thin.as_ref()?;
    let InUse { data: _, metadata } = ThinRoom::of(group, thin).in_use(thin.status.as_ref()?);
    Some(u32::try_from(metadata.min(100)).unwrap_or(100))
}

/// What the objects hold together, at least.
fn taken(images: &[ImageView]) -> u64 {
    let mut parents: BTreeMap<VolumeUuid, VolumeUuid> = BTreeMap::new();
    for (uuid, source) in images.iter().filter_map(kin) {
        // A source that is gone still connects those that began with its bytes.
        let (one, two) = (root(&parents, uuid), source.map(|source| root(&parents, source)));
        if let Some(two) = two.filter(|two| *two != one) {
            parents.insert(one, two);
        }
    }
    let mut lineages: BTreeMap<VolumeUuid, u64> = BTreeMap::new();
    let mut alone = 0;
    for image in images {
        match kin(image) {
            Some((uuid, _)) => {
                let largest = lineages.entry(root(&parents, uuid)).or_default();
                *largest = image.allocated.0.max(*largest);
            }
            // Whose it is can't be told.
            None => alone += image.allocated.0,
        }
    }
    alone + lineages.values().sum::<u64>()
}

fn kin(image: &ImageView) -> Option<(VolumeUuid, Option<VolumeUuid>)> {
    match &image.tag {
        TagReading::Read(tag) => Some((tag.volume, tag.source)),
        TagReading::Absent | TagReading::Unreadable(_) => None,
    }
}

fn root(parents: &BTreeMap<VolumeUuid, VolumeUuid>, of: VolumeUuid) -> VolumeUuid {
    let mut at = of;
    while let Some(parent) = parents.get(&at) {
        at = *parent;
    }
    at
}

#[cfg(test)]
#[path = "room/tests.rs"]
mod tests;
