//! Quota groups and subvolumes of a btrfs as values, read by tree search. Parsing is pure; looking changes nothing.

use std::fs::File;
use std::path::{Path, PathBuf};

use terrace_device_types::{Bytes, QuotaView};

use crate::host::Host;
use crate::kernel::btrfs::{self as ioctl, Found, Wanted};
use crate::{DeviceError, host};

const ROOT_TREE: u64 = 1;
const QUOTA_TREE: u64 = 8;
const ROOT_ITEM: u32 = 132;
const ROOT_REF: u32 = 156;
const QGROUP_STATUS: u32 = 240;
const QGROUP_INFO: u32 = 242;
const QGROUP_LIMIT: u32 = 244;

const STATUS_ON: u64 = 1;
const STATUS_RESCAN: u64 = 2;
const STATUS_INCONSISTENT: u64 = 4;
/// Linux 6.7.
const STATUS_SIMPLE: u64 = 8;
const LIMIT_MAX_RFER: u64 = 1;

/// The inode of every subvolume's root.
pub(crate) const SUBVOLUME_ROOT: u64 = 256;
/// Trees have at most 8 levels, so with this threshold no removal makes the kernel give up counting.
pub(crate) const NEVER_SKIP: &str = "8";

/// One item of a tree.
#[derive(Debug, PartialEq, Eq)]
struct Item<'a> {
    objectid: u64,
    offset: u64,
    kind: u32,
    data: &'a [u8],
}

/// The items of an answer: each a header of 32 bytes (transid, objectid, offset: u64; type, length: u32; in the machine's order) and its data.
fn parse_items(items: u32, mut bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut parsed = Vec::new();
    for _ in 0..items {
        let (head, rest) = bytes.split_at_checked(32)?;
        let number = |at: usize| Some(u64::from_ne_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let small = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let length = usize::try_from(small(28)?).ok()?;
        let (data, rest) = rest.split_at_checked(length)?;
        parsed.push(Item { objectid: number(8)?, offset: number(16)?, kind: small(24)?, data });
        bytes = rest;
    }
    Some(parsed)
}

/// A number of an item's data: on the disk all are little-endian.
fn field(data: &[u8], index: usize) -> Option<u64> {
    Some(u64::from_le_bytes(data.get(index * 8..index * 8 + 8)?.try_into().ok()?))
}

/// What a quota group counts and allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Qgroup {
    pub(crate) referenced: Bytes,
    pub(crate) exclusive: Bytes,
    pub(crate) limit: Option<Bytes>,
}

/// `struct btrfs_qgroup_info_item`: generation, rfer, rfer_cmpr, excl, excl_cmpr.
fn parse_info(data: &[u8]) -> Option<(Bytes, Bytes)> {
    Some((Bytes(field(data, 1)?), Bytes(field(data, 3)?)))
}

/// `struct btrfs_qgroup_limit_item`: flags, max_rfer, max_excl, rsv_rfer, rsv_excl.
fn parse_limit(data: &[u8]) -> Option<Option<Bytes>> {
    let (flags, max) = (field(data, 0)?, field(data, 1)?);
    Some((flags & LIMIT_MAX_RFER != 0).then_some(Bytes(max)))
}

/// `struct btrfs_qgroup_status_item`: version, generation, flags, rescan.
fn parse_status(data: &[u8]) -> Option<QuotaView> {
    let flags = field(data, 2)?;
    Some(if flags & STATUS_SIMPLE != 0 {
        QuotaView::Simple
    } else if flags & STATUS_ON == 0 {
        QuotaView::Off
    } else if flags & (STATUS_RESCAN | STATUS_INCONSISTENT) != 0 {
        QuotaView::Counting
    } else {
        QuotaView::Classic
    })
}

/// `struct btrfs_root_ref`: dirid, sequence: u64; name_len: u16; the name.
fn parse_root_ref(data: &[u8]) -> Option<(u64, &[u8])> {
    let length = u16::from_le_bytes(data.get(16..18)?.try_into().ok()?);
    Some((field(data, 0)?, data.get(18..18 + usize::from(length))?))
}

fn search<T>(
    root: &File,
    path: &Path,
    wanted: Wanted,
    parse: impl Fn(&Item<'_>) -> Option<T>,
) -> Result<Vec<T>, DeviceError> {
    let Found { items, bytes } = match ioctl::tree_search(root, wanted) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        other => other.map_err(|source| DeviceError::io("search the trees of", path, source))?,
    };
    let all = parse_items(items, &bytes);
    let (first, last) = wanted.offsets;
    let fits = |item: &Item<'_>| {
        (item.objectid, item.kind) == (wanted.objectid, wanted.kind)
            && (first..=last).contains(&item.offset)
    };
    let parsed: Option<Vec<T>> =
        all.and_then(|all| all.iter().filter(|item| fits(item)).map(&parse).collect());
    parsed.ok_or_else(|| DeviceError::Parse {
        path: path.to_owned(),
        text: format!("{items} items of type {} in tree {}", wanted.kind, wanted.tree),
    })
}

/// The state of the quota groups of the btrfs that a directory lies on.
pub(crate) fn observe_quota(host: &Host, dir: &Path) -> Result<QuotaView, DeviceError> {
    let root = open(dir)?;
    let wanted = Wanted { tree: QUOTA_TREE, objectid: 0, kind: QGROUP_STATUS, offsets: (0, 0) };
    let status = search(&root, dir, wanted, |item| parse_status(item.data))?;
    let quota = status.first().copied().unwrap_or(QuotaView::Off);
    let threshold = threshold_path(host, &root, dir)?;
    match (quota, host::read_text(&threshold)) {
        (QuotaView::Classic, Ok(text)) if text.trim() != NEVER_SKIP => Ok(QuotaView::Careless),
        // A kernel without it never gives counting up.
        (quota, _) => Ok(quota),
    }
}

/// Where the kernel says from which height on a removed tree is not counted any more (Linux 6.1).
pub(crate) fn threshold_path(host: &Host, root: &File, dir: &Path) -> Result<PathBuf, DeviceError> {
    let uuid = ioctl::filesystem_uuid(root)
        .map_err(|source| DeviceError::io("read the UUID of the filesystem of", dir, source))?;
    let uuid = uuid::Uuid::from_bytes(uuid).as_hyphenated().to_string();
    Ok(host.sys.join("fs/btrfs").join(uuid).join("qgroups/drop_subtree_threshold"))
}

/// A subvolume's quota group; without quota groups, one that counts nothing and allows everything.
pub(crate) fn read_qgroup(root: &File, path: &Path, id: u64) -> Result<Qgroup, DeviceError> {
    let one = |kind| Wanted { tree: QUOTA_TREE, objectid: 0, kind, offsets: (id, id) };
    let info = search(root, path, one(QGROUP_INFO), |item| parse_info(item.data))?;
    let limit = search(root, path, one(QGROUP_LIMIT), |item| parse_limit(item.data))?;
    let (referenced, exclusive) = info.into_iter().next().unwrap_or_default();
    Ok(Qgroup { referenced, exclusive, limit: limit.into_iter().next().flatten() })
}

/// A subvolume in another one: the directory it lies in, below the other's root, and its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nested {
    pub(crate) dir: Vec<u8>,
    pub(crate) name: Vec<u8>,
}

/// The subvolumes that somebody made directly in a subvolume. An answer holds some 20 of the longest names; there may be more.
pub(crate) fn list_nested(root: &File, path: &Path, id: u64) -> Result<Vec<Nested>, DeviceError> {
    let offsets = (SUBVOLUME_ROOT, u64::MAX);
    let wanted = Wanted { tree: ROOT_TREE, objectid: id, kind: ROOT_REF, offsets };
    let found = search(root, path, wanted, |item| {
        parse_root_ref(item.data).map(|(dir, name)| (dir, name.to_vec()))
    })?;
    let resolve = |(dir, name): (u64, Vec<u8>)| {
        let dir = ioctl::inode_path(root, id, dir)
            .map_err(|source| DeviceError::io("look up a directory of", path, source))?;
        Ok(Nested { dir, name })
    };
    found.into_iter().map(resolve).collect()
}

/// Whether a subvolume has left the filesystem altogether: its space is free again.
pub(crate) fn is_cleaned(root: &File, path: &Path, id: u64) -> Result<bool, DeviceError> {
    let offsets = (0, u64::MAX);
    let wanted = Wanted { tree: ROOT_TREE, objectid: id, kind: ROOT_ITEM, offsets };
    Ok(search(root, path, wanted, |_| Some(()))?.is_empty())
}

pub(crate) fn open(path: &Path) -> Result<File, DeviceError> {
    File::open(path).map_err(|source| DeviceError::io("open", path, source))
}

#[cfg(test)]
#[path = "btrfs_tests.rs"]
mod tests;
