//! Thin pools: made once, never removed here.

use terrace_device_types::lvm::{
    GroupRef, LvKind, LvName, LvView, LvmTag, NewThinPool, PoolSize, VgView,
};
use terrace_device_types::{Bytes, PoolFileReading, StepDone};

use super::change::Before;
use super::create::path_of;
use super::group::pool_tag;
use super::run::words;
use super::{Looked, Lvm};
use crate::tagged::changed;
use crate::{Deadline, DeviceError};

impl Lvm {
    /// Makes a thin pool with the tag of its group.
    ///
    /// # Errors
    /// [`DeviceError::NoSpace`] when the group has not as much for data and twice the metadata (LVM keeps a spare for repair).
    pub fn create_thin_pool(
        &self,
        group: &GroupRef,
        new: &NewThinPool,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let NewThinPool { name, size, chunk } = new;
        let before = self.before(group, deadline)?;
        let tag = tag_of(&before)?;
        if let Some(pool) = find_pool(&before.seen, name, &tag)? {
            if spans(pool, size) && pool.chunk == Some(*chunk) {
                return Ok(Looked { done: StepDone::Already, group: before.seen });
            }
            let found = format!("{} in chunks of {:?}", pool.size, pool.chunk);
            let expected = format!("{} in chunks of {chunk}", size.data);
            return Err(changed(&path_of(&before.seen, pool), expected, found));
        }
        let PoolSize { data, metadata } = *size;
        let fixed = format!(
            "lvcreate -qq --yes --type thin-pool -Zy --discards passdown -c {}b -L {}b --poolmetadatasize {}b --addtag",
            chunk.0,
            data.round_up(Bytes(512)).0,
            metadata.round_up(Bytes(512)).0
        );
        let others = [tag.to_string(), "-n".to_owned(), name.to_string(), before.held.name.clone()];
        let said = |group: &VgView| {
            Ok(find_pool(group, name, &tag)?.is_some_and(|pool| spans(pool, size)))
        };
        let need = Bytes(data.0.saturating_add(metadata.0.saturating_mul(2)));
        self.carry_out(&before, &words(&fixed, others), need, said, deadline)
    }
}

/// The tag of the group, which its thin pools carry too.
pub(super) fn tag_of(before: &Before) -> Result<LvmTag, DeviceError> {
    match &before.seen.pool {
        PoolFileReading::Read(pool) => pool_tag(pool),
        other @ (PoolFileReading::Absent | PoolFileReading::Unreadable(_)) => {
            let path = std::path::Path::new("/dev").join(&before.seen.name);
            Err(changed(&path, "a group with our tag".to_owned(), format!("{other:?}")))
        }
    }
}

/// The thin pool of that name with that tag; none, if no volume has the name.
pub(super) fn find_pool<'a>(
    seen: &'a VgView,
    name: &LvName,
    tag: &LvmTag,
) -> Result<Option<&'a LvView>, DeviceError> {
    let Some(found) = seen.lv(name.as_str()) else { return Ok(None) };
    if found.kind == LvKind::ThinPool && found.tags.iter().any(|other| other == tag.as_str()) {
        return Ok(Some(found));
    }
    let path = path_of(seen, found);
    let what = format!("{:?} with the tags {:?}", found.kind, found.tags);
    Err(changed(&path, "a thin pool with our tag".to_owned(), what))
}

fn spans(pool: &LvView, size: &PoolSize) -> bool {
    let PoolSize { data, metadata } = *size;
    pool.size >= data && pool.metadata_size.is_some_and(|size| size >= metadata)
}
