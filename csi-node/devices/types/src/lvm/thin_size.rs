//! How large a thin pool is made and how far its group lets it grow: arithmetic over a group's figures. Decides nothing about when.
//!
//! ```text
//!   group without the folder = data + metadata + spare (as large as the metadata) + free
//!   free                     = what growth keeps back for the metadata + what data can still get
//! ```
//! A chunk that a volume holds costs up to 64 bytes of metadata, a chunk that is shared with snapshots more: each snapshot that drifts away from its volume needs
//! nodes of its own. So there is twice that from the start, and the metadata can grow, before anything else does.

use super::{GroupView, PoolSize, ThinPoolStatus, ThinView, Used};
use crate::Bytes;

/// LVM allows 15.8 GiB.
pub const METADATA_MOST: Bytes = Bytes::gib(15);
/// What a pool that holds nothing takes, and a transaction beside it.
const METADATA_LEAST: Bytes = Bytes::mib(16);
/// For each chunk of data.
const METADATA_PER_CHUNK: u64 = 128;
/// One part in so many is not given to a new pool: its watermarks pass it on before anybody writes into a full one.
const KEPT_BACK: u64 = 10;

/// What a pool of that much gives out at a time: small chunks waste least under snapshots, large ones keep the metadata of a large pool in bounds.
#[must_use]
pub const fn chunk_for(space: Bytes) -> Bytes {
    if space.0 < Bytes::gib(4 << 10).0 {
        Bytes::kib(64)
    } else if space.0 < Bytes::gib(16 << 10).0 {
        Bytes::kib(128)
    } else {
        Bytes::kib(256)
    }
}

/// Metadata for so much data, in whole extents.
#[must_use]
pub fn metadata_for(data: Bytes, chunk: Bytes, extent: Bytes) -> Bytes {
    let chunks = data.0.div_ceil(chunk.0.max(1));
    let wanted = METADATA_LEAST.0.saturating_add(chunks.saturating_mul(METADATA_PER_CHUNK));
    Bytes(wanted.min(METADATA_MOST.0)).round_up(extent)
}

/// The kernel's blocks of metadata.
const BLOCK: Bytes = Bytes::kib(4);

/// Percent of what a group can give to its thin pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InUse {
    /// What volumes wrote.
    pub data: u64,
    /// The records of who holds what.
    pub metadata: u64,
}

/// A group's thin pool and what the group has besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinRoom {
    /// As it is; nothing where there is none yet.
    pub now: PoolSize,
    /// What the group keeps back for a repair of the metadata.
    pub spare: Bytes,
    /// Given to nothing.
    pub free: Bytes,
    /// What the group gives out at a time.
    pub extent: Bytes,
    /// What the pool gives out at a time.
    pub chunk: Bytes,
}

impl ThinRoom {
    /// Of a group without a thin pool.
    #[must_use]
    pub const fn unmade(free: Bytes, extent: Bytes) -> Self {
        let now = PoolSize { data: Bytes::ZERO, metadata: Bytes::ZERO };
        Self { now, spare: Bytes::ZERO, free, extent, chunk: chunk_for(free) }
    }

    /// Of a group and its thin pool.
    #[must_use]
    pub const fn of(group: &GroupView, thin: &ThinView) -> Self {
        Self {
            now: PoolSize { data: thin.size, metadata: thin.metadata_size },
            spare: thin.spare,
            free: group.free,
            extent: group.extent,
            chunk: thin.chunk,
        }
    }

    fn all(&self) -> Bytes {
        let Self { now: PoolSize { data, metadata }, spare, free, extent: _, chunk: _ } = self;
        let sum =
            [metadata, spare, free].into_iter().fold(data.0, |sum, b| sum.saturating_add(b.0));
        Bytes(sum)
    }

    fn floor(&self, bytes: Bytes) -> Bytes {
        Bytes(bytes.0 / self.extent.0.max(1) * self.extent.0.max(1))
    }

    /// What the metadata is to have for all the data that there can be; never less than it has.
    fn metadata(&self) -> Bytes {
        metadata_for(self.all(), self.chunk, self.extent).max(self.now.metadata)
    }

    /// Metadata and its spare.
    fn both(&self) -> Bytes {
        Bytes(self.metadata().0.saturating_mul(2))
    }

    /// With a part of the group kept back. Never less than it has.
    #[must_use]
    pub fn usual(&self) -> PoolSize {
        let kept = Bytes(self.all().0 / KEPT_BACK).max(self.both());
        self.sized(kept)
    }

    /// With all that the group has, less what lets the metadata double once. Never less than it has.
    #[must_use]
    pub fn most(&self) -> PoolSize {
        self.sized(self.both())
    }

    /// How much is in use of all that the group can give to data and to metadata, in percent, rounded up.
    #[must_use]
    pub fn in_use(&self, status: &ThinPoolStatus) -> InUse {
        let percent = |used: Used, unit: Bytes, most: Bytes| {
            let used = u128::from(used.used) * u128::from(unit.0) * 100;
            u64::try_from(used.div_ceil(u128::from(most.0.max(1)))).unwrap_or(u64::MAX)
        };
        InUse {
            data: percent(status.data, self.chunk, self.most().data),
            metadata: percent(status.metadata, BLOCK, self.more_metadata().metadata),
        }
    }

    fn sized(&self, kept: Bytes) -> PoolSize {
        let data = self.floor(self.all().minus(self.both()).minus(kept)).max(self.now.data);
        PoolSize { data, metadata: self.metadata() }.within(self)
    }

    /// With twice the metadata, or as much more as there is room for; the data as it is.
    #[must_use]
    pub fn more_metadata(&self) -> PoolSize {
        let PoolSize { data, metadata } = self.now;
        let doubled = Bytes(metadata.0.saturating_mul(2)).min(METADATA_MOST).round_up(self.extent);
        PoolSize { data, metadata: doubled.max(metadata) }.within(self)
    }
}

impl PoolSize {
    /// No more than the group has: metadata and its spare come first.
    fn within(self, room: &ThinRoom) -> Self {
        let now = room.now;
        let spare_lacks = now.metadata.minus(room.spare);
        let half = room.floor(Bytes(room.free.minus(spare_lacks).0 / 2));
        let metadata = self.metadata.min(Bytes(now.metadata.0.saturating_add(half.0)));
        let taken =
            Bytes(metadata.minus(now.metadata).0.saturating_add(metadata.minus(room.spare).0));
        let left = room.floor(room.free.minus(taken));
        Self { data: self.data.min(Bytes(now.data.0.saturating_add(left.0))), metadata }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Bytes = Bytes::mib(4);

    /// The group after the pool was made, or grown, to that.
    fn made(room: ThinRoom, to: PoolSize) -> ThinRoom {
        let spare = to.metadata.max(room.spare);
        let taken = to.data.0 + to.metadata.0 + spare.0;
        ThinRoom { now: to, spare, free: room.all().minus(Bytes(taken)), ..room }
    }

    #[test]
    fn a_pool_that_was_made_is_as_it_should_be_and_grows_to_all_but_the_metadatas_share() {
        for size in [Bytes::mib(512), Bytes::gib(1), Bytes::gib(500), Bytes::gib(40 << 10)] {
            let room = ThinRoom::unmade(size, EXTENT);
            let first = room.usual();
            let after = made(room, first);
            assert_eq!(after.usual(), first, "{size}");
            let most = after.most();
            assert!(most.data > first.data && most.metadata == first.metadata, "{size}: {most:?}");
            let full = made(after, most);
            assert_eq!(full.most(), most, "{size}");
            assert!(full.free >= Bytes(full.now.metadata.0 * 2) && full.free < size, "{size}");
            let doubled = full.more_metadata();
            assert_eq!(doubled.data, most.data);
            assert!(doubled.metadata > most.metadata || most.metadata == METADATA_MOST, "{size}");
        }
    }

    #[test]
    fn a_group_that_got_a_device_lets_its_pool_grow_and_one_without_room_leaves_it() {
        let room = ThinRoom::unmade(Bytes::gib(1), EXTENT);
        let made = made(room, room.usual());
        let larger = ThinRoom { free: Bytes(made.free.0 + Bytes::gib(1).0), ..made };
        assert!(larger.usual().data > Bytes(made.now.data.0 + Bytes::mib(800).0));
        let none = ThinRoom { free: Bytes::ZERO, ..made };
        assert_eq!([none.usual(), none.most(), none.more_metadata()], [made.now; 3]);
    }

    #[test]
    fn chunks_keep_the_metadata_of_large_pools_within_what_lvm_allows() {
        for tib in [1, 5, 20, 30] {
            let space = Bytes::gib(tib << 10);
            assert!(metadata_for(space, chunk_for(space), EXTENT) <= METADATA_MOST, "{tib} TiB");
        }
        assert_eq!(metadata_for(Bytes::gib(1), Bytes::kib(64), EXTENT), Bytes::mib(20));
    }
}
