//! btrfs's own ioctls (`include/uapi/linux/btrfs.h`), typed: subvolumes, quota groups, tree search. Knows nothing of volumes or tags.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::{ioctl_number, ioctl_struct};

const SNAP_DESTROY: u32 = 0x5000_940F;
const TREE_SEARCH: u32 = 0xD000_9411;
const INO_LOOKUP: u32 = 0xD000_9412;
const WAIT_SYNC: u32 = 0x4008_9416;
const SNAP_CREATE_V2: u32 = 0x5000_9417;
const SUBVOL_CREATE_V2: u32 = 0x5000_9418;
const START_SYNC: u32 = 0x8008_9418;
const FS_INFO: u32 = 0x8400_941F;
const QUOTA_CTL: u32 = 0xC010_9428;
const QGROUP_CREATE: u32 = 0x4010_942A;
const QGROUP_LIMIT: u32 = 0x8030_942B;
const QUOTA_RESCAN: u32 = 0x4040_942C;
const QUOTA_RESCAN_WAIT: u32 = 0x0000_942E;
/// Linux 4.18.
const GET_SUBVOL_INFO: u32 = 0x81F8_943C;

const SUBVOL_RDONLY: u64 = 2;
const QUOTA_CTL_ENABLE: u64 = 1;
const QGROUP_LIMIT_MAX_RFER: u64 = 1;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolArgs {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct VolArgs2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

const _: () = assert!(size_of::<VolArgs>() == 4096 && size_of::<VolArgs2>() == 4096);

/// The name, ended by a zero.
fn name_bytes<const N: usize>(name: &[u8]) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    if name.len() >= N || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    bytes[..name.len()].copy_from_slice(name);
    Ok(bytes)
}

/// Makes an empty subvolume of that name in a directory.
#[expect(unsafe_code, reason = "BTRFS_IOC_SUBVOL_CREATE_V2")]
pub(crate) fn subvolume_create(dir: &File, name: &[u8]) -> io::Result<()> {
    let name = name_bytes(name)?;
    let mut args = VolArgs2 { fd: 0, transid: 0, flags: 0, unused: [0; 4], name };
    // SAFETY: BTRFS_IOC_SUBVOL_CREATE_V2 takes a `struct btrfs_ioctl_vol_args_v2`, the size asserted above.
    unsafe { ioctl_struct(dir, SUBVOL_CREATE_V2, &mut args) }.map(drop)
}

/// Whether what is made can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writable {
    Yes,
    No,
}

/// Makes a snapshot of `source` of that name in a directory, and commits the transaction it is part of.
#[expect(unsafe_code, reason = "BTRFS_IOC_SNAP_CREATE_V2")]
pub(crate) fn subvolume_snapshot(
    source: &File,
    dir: &File,
    name: &[u8],
    writable: Writable,
) -> io::Result<()> {
    let flags = match writable {
        Writable::Yes => 0,
        Writable::No => SUBVOL_RDONLY,
    };
    let (fd, name) = (i64::from(source.as_fd().as_raw_fd()), name_bytes(name)?);
    let mut args = VolArgs2 { fd, transid: 0, flags, unused: [0; 4], name };
    // SAFETY: BTRFS_IOC_SNAP_CREATE_V2 takes a `struct btrfs_ioctl_vol_args_v2`; `source` is open for the whole call.
    unsafe { ioctl_struct(dir, SNAP_CREATE_V2, &mut args) }.map(drop)
}

/// Removes the subvolume of that name from a directory. Its space comes back later.
#[expect(unsafe_code, reason = "BTRFS_IOC_SNAP_DESTROY")]
pub(crate) fn subvolume_destroy(dir: &File, name: &[u8]) -> io::Result<()> {
    let mut args = VolArgs { fd: 0, name: name_bytes(name)? };
    // SAFETY: BTRFS_IOC_SNAP_DESTROY takes a 4096-byte `struct btrfs_ioctl_vol_args`.
    unsafe { ioctl_struct(dir, SNAP_DESTROY, &mut args) }.map(drop)
}

/// `struct btrfs_ioctl_get_subvol_info_args`, what is of no use here in lumps.
#[repr(C)]
struct SubvolInfo {
    treeid: u64,
    name: [u8; 256],
    parent_id: u64,
    dirid: u64,
    generation: u64,
    flags: u64,
    uuids: [u8; 48],
    ctransid: u64,
    otransid: u64,
    others: [u64; 18],
}

const _: () = assert!(size_of::<SubvolInfo>() == 504);

/// What a subvolume says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subvolume {
    pub(crate) id: u64,
    pub(crate) read_only: bool,
    /// The transaction it was made in.
    pub(crate) made_in: u64,
}

/// The subvolume that an open directory lies in.
#[expect(unsafe_code, reason = "BTRFS_IOC_GET_SUBVOL_INFO")]
pub(crate) fn subvolume_info(dir: &File) -> io::Result<Subvolume> {
    let mut info = SubvolInfo {
        treeid: 0,
        name: [0; 256],
        parent_id: 0,
        dirid: 0,
        generation: 0,
        flags: 0,
        uuids: [0; 48],
        ctransid: 0,
        otransid: 0,
        others: [0; 18],
    };
    // SAFETY: BTRFS_IOC_GET_SUBVOL_INFO writes 504 bytes, the size asserted above.
    unsafe { ioctl_struct(dir, GET_SUBVOL_INFO, &mut info) }?;
    // BTRFS_ROOT_SUBVOL_RDONLY, as the root item has it.
    let read_only = info.flags & 1 != 0;
    Ok(Subvolume { id: info.treeid, read_only, made_in: info.otransid })
}

#[repr(C)]
struct QuotaControl {
    command: u64,
    status: u64,
}

/// Switches classic quota groups on; the kernel then begins to count.
#[expect(unsafe_code, reason = "BTRFS_IOC_QUOTA_CTL")]
pub(crate) fn quota_enable(root: &File) -> io::Result<()> {
    let mut control = QuotaControl { command: QUOTA_CTL_ENABLE, status: 0 };
    // SAFETY: BTRFS_IOC_QUOTA_CTL takes a 16-byte `struct btrfs_ioctl_quota_ctl_args`.
    unsafe { ioctl_struct(root, QUOTA_CTL, &mut control) }.map(drop)
}

/// Begins to count anew. EINPROGRESS: it is counting already.
#[expect(unsafe_code, reason = "BTRFS_IOC_QUOTA_RESCAN")]
pub(crate) fn quota_rescan(root: &File) -> io::Result<()> {
    let mut args = [0u64; 8];
    // SAFETY: BTRFS_IOC_QUOTA_RESCAN takes a 64-byte `struct btrfs_ioctl_quota_rescan_args`.
    unsafe { ioctl_struct(root, QUOTA_RESCAN, &mut args) }.map(drop)
}

/// Waits until nothing is counted any more.
pub(crate) fn quota_rescan_wait(root: &File) -> io::Result<()> {
    ioctl_number(root, QUOTA_RESCAN_WAIT, 0).map(drop)
}

#[repr(C)]
struct QgroupLimit {
    id: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved: [u64; 2],
}

/// Limits the bytes that a quota group references.
#[expect(unsafe_code, reason = "BTRFS_IOC_QGROUP_LIMIT")]
pub(crate) fn qgroup_limit(root: &File, id: u64, max_referenced: u64) -> io::Result<()> {
    let flags = QGROUP_LIMIT_MAX_RFER;
    let mut limit = QgroupLimit { id, flags, max_referenced, max_exclusive: 0, reserved: [0; 2] };
    // SAFETY: BTRFS_IOC_QGROUP_LIMIT takes a 48-byte `struct btrfs_ioctl_qgroup_limit_args`.
    unsafe { ioctl_struct(root, QGROUP_LIMIT, &mut limit) }.map(drop)
}

#[repr(C)]
struct QgroupCreate {
    create: u64,
    id: u64,
}

/// Removes a quota group.
#[expect(unsafe_code, reason = "BTRFS_IOC_QGROUP_CREATE")]
pub(crate) fn qgroup_remove(root: &File, id: u64) -> io::Result<()> {
    let mut args = QgroupCreate { create: 0, id };
    // SAFETY: BTRFS_IOC_QGROUP_CREATE takes a 16-byte `struct btrfs_ioctl_qgroup_create_args`.
    unsafe { ioctl_struct(root, QGROUP_CREATE, &mut args) }.map(drop)
}

/// Begins to commit the running transaction; its number. From now on what wants to change something waits for the next one.
#[expect(unsafe_code, reason = "BTRFS_IOC_START_SYNC")]
pub(crate) fn begin_commit(root: &File) -> io::Result<u64> {
    let mut transaction = 0u64;
    // SAFETY: BTRFS_IOC_START_SYNC writes a u64.
    unsafe { ioctl_struct(root, START_SYNC, &mut transaction) }.map(|_| transaction)
}

/// Commits the running transaction and waits for it: what was changed before is on the disk. Data that nobody synced is not waited for.
#[expect(unsafe_code, reason = "BTRFS_IOC_WAIT_SYNC")]
pub(crate) fn commit(root: &File) -> io::Result<()> {
    let mut transaction = begin_commit(root)?;
    // SAFETY: BTRFS_IOC_WAIT_SYNC reads a u64.
    unsafe { ioctl_struct(root, WAIT_SYNC, &mut transaction) }.map(drop)
}

/// The filesystem's UUID.
#[expect(unsafe_code, reason = "BTRFS_IOC_FS_INFO")]
pub(crate) fn filesystem_uuid(root: &File) -> io::Result<[u8; 16]> {
    let mut info = [0u8; 1024];
    // SAFETY: BTRFS_IOC_FS_INFO writes 1024 bytes.
    unsafe { ioctl_struct(root, FS_INFO, &mut info) }?;
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&info[16..32]);
    Ok(uuid)
}

/// `struct btrfs_ioctl_search_key`.
#[repr(C)]
struct SearchKey {
    tree: u64,
    min_objectid: u64,
    max_objectid: u64,
    min_offset: u64,
    max_offset: u64,
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    items: u32,
    unused: u32,
    unused_more: [u64; 4],
}

/// Bytes of one answer.
pub(crate) const SEARCH_BUFFER: usize = 3992;

#[repr(C)]
struct Search {
    key: SearchKey,
    found: [u8; SEARCH_BUFFER],
}

const _: () = assert!(size_of::<Search>() == 4096);

/// What is looked for: one object, one type, a range of offsets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) tree: u64,
    pub(crate) objectid: u64,
    pub(crate) kind: u32,
    pub(crate) offsets: (u64, u64),
}

/// What a tree search answered: so many items, headers and data as the kernel wrote them.
pub(crate) struct Found {
    pub(crate) items: u32,
    pub(crate) bytes: [u8; SEARCH_BUFFER],
}

/// Searches a tree (`CAP_SYS_ADMIN`). ENOENT: there is no such tree.
#[expect(unsafe_code, reason = "BTRFS_IOC_TREE_SEARCH")]
pub(crate) fn tree_search(root: &File, wanted: Wanted) -> io::Result<Found> {
    let Wanted { tree, objectid, kind, offsets: (min_offset, max_offset) } = wanted;
    let key = SearchKey {
        tree,
        min_objectid: objectid,
        max_objectid: objectid,
        min_offset,
        max_offset,
        min_transid: 0,
        max_transid: u64::MAX,
        min_type: kind,
        max_type: kind,
        items: u32::MAX,
        unused: 0,
        unused_more: [0; 4],
    };
    let mut search = Search { key, found: [0; SEARCH_BUFFER] };
    // SAFETY: BTRFS_IOC_TREE_SEARCH reads and writes 4096 bytes, the size asserted above.
    unsafe { ioctl_struct(root, TREE_SEARCH, &mut search) }?;
    Ok(Found { items: search.key.items, bytes: search.found })
}

#[repr(C)]
struct InodeLookup {
    tree: u64,
    inode: u64,
    path: [u8; 4080],
}

const _: () = assert!(size_of::<InodeLookup>() == 4096);

/// The path of a directory below the root of its subvolume, with a slash at its end; empty for the root itself.
#[expect(unsafe_code, reason = "BTRFS_IOC_INO_LOOKUP")]
pub(crate) fn inode_path(root: &File, tree: u64, inode: u64) -> io::Result<Vec<u8>> {
    let mut lookup = InodeLookup { tree, inode, path: [0; 4080] };
    // SAFETY: BTRFS_IOC_INO_LOOKUP reads and writes 4096 bytes, the size asserted above.
    unsafe { ioctl_struct(root, INO_LOOKUP, &mut lookup) }?;
    let path = lookup.path.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(path.to_vec())
}
