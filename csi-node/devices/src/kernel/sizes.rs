//! Sizes of devices and of mounted filesystems, and growing the latter: ioctls of the block layer, xfs and btrfs (rustix has ext4's).

use std::fs::File;
use std::io;

use super::ioctl_struct;

const BLKGETSIZE64: u32 = 0x8008_1272;
const BLKROSET: u32 = 0x125D;
const BLKROGET: u32 = 0x125E;
/// `_IOR('X', 126, struct xfs_fsop_geom)`, Linux 5.2.
const XFS_IOC_FSGEOMETRY: u32 = 0x8100_587E;
/// `_IOW('X', 110, struct xfs_growfs_data)`.
const XFS_IOC_FSGROWFSDATA: u32 = 0x4010_586E;
/// `_IOW(0x94, 3, struct btrfs_ioctl_vol_args)`.
const BTRFS_IOC_RESIZE: u32 = 0x5000_9403;
/// `_IOWR(0x94, 30, struct btrfs_ioctl_dev_info_args)`.
const BTRFS_IOC_DEV_INFO: u32 = 0xD000_941E;
/// Our btrfs stands on one device, and mkfs numbers it 1.
const BTRFS_DEVICE: u64 = 1;

/// Bytes of a block device.
#[expect(unsafe_code, reason = "BLKGETSIZE64")]
pub(crate) fn block_device_size(device: &File) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: BLKGETSIZE64 writes a u64.
    unsafe { ioctl_struct(device, BLKGETSIZE64, &mut size) }.map(|_| size)
}

/// Whether a block device takes no writes.
#[expect(unsafe_code, reason = "BLKROGET")]
pub(crate) fn is_read_only(device: &File) -> io::Result<bool> {
    let mut set: libc::c_int = 0;
    // SAFETY: BLKROGET writes an int.
    unsafe { ioctl_struct(device, BLKROGET, &mut set) }.map(|_| set != 0)
}

/// Lets a block device take writes, or none: whoever opens it for writing from then on gets EACCES.
#[expect(unsafe_code, reason = "BLKROSET")]
pub(crate) fn set_read_only(device: &File, read_only: bool) -> io::Result<()> {
    let mut set = libc::c_int::from(read_only);
    // SAFETY: BLKROSET reads an int.
    unsafe { ioctl_struct(device, BLKROSET, &mut set) }.map(|_| ())
}

/// The head of `struct xfs_fsop_geom`, padded to its whole size.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct XfsGeometry {
    pub(crate) block_size: u32,
    rt_extent_size: u32,
    ag_blocks: u32,
    ag_count: u32,
    log_blocks: u32,
    sector_size: u32,
    inode_size: u32,
    /// Percent of the space inodes may take; must be handed back when growing.
    pub(crate) inode_percent: u32,
    pub(crate) data_blocks: u64,
    rest: [u64; 27],
}

const _: () = assert!(size_of::<XfsGeometry>() == 256);

/// The geometry of a mounted xfs.
#[expect(unsafe_code, reason = "XFS_IOC_FSGEOMETRY")]
pub(crate) fn xfs_geometry(mount: &File) -> io::Result<XfsGeometry> {
    let mut geometry = XfsGeometry {
        block_size: 0,
        rt_extent_size: 0,
        ag_blocks: 0,
        ag_count: 0,
        log_blocks: 0,
        sector_size: 0,
        inode_size: 0,
        inode_percent: 0,
        data_blocks: 0,
        rest: [0; 27],
    };
    // SAFETY: XFS_IOC_FSGEOMETRY writes 256 bytes, the size asserted above.
    unsafe { ioctl_struct(mount, XFS_IOC_FSGEOMETRY, &mut geometry) }.map(|_| geometry)
}

#[repr(C)]
struct XfsGrow {
    new_blocks: u64,
    inode_percent: u32,
    padding: u32,
}

/// Grows a mounted xfs to so many blocks.
#[expect(unsafe_code, reason = "XFS_IOC_FSGROWFSDATA")]
pub(crate) fn xfs_grow(mount: &File, new_blocks: u64, inode_percent: u32) -> io::Result<()> {
    let mut grow = XfsGrow { new_blocks, inode_percent, padding: 0 };
    // SAFETY: XFS_IOC_FSGROWFSDATA takes a 16-byte `struct xfs_growfs_data`.
    unsafe { ioctl_struct(mount, XFS_IOC_FSGROWFSDATA, &mut grow) }.map(drop)
}

#[repr(C)]
struct BtrfsVolArgs {
    fd: i64,
    name: [u8; 4088],
}

/// Grows a mounted btrfs to its device.
#[expect(unsafe_code, reason = "BTRFS_IOC_RESIZE")]
pub(crate) fn btrfs_grow(mount: &File) -> io::Result<()> {
    let mut args = BtrfsVolArgs { fd: 0, name: [0; 4088] };
    args.name[..5].copy_from_slice(b"1:max");
    // SAFETY: BTRFS_IOC_RESIZE takes a 4096-byte `struct btrfs_ioctl_vol_args`.
    unsafe { ioctl_struct(mount, BTRFS_IOC_RESIZE, &mut args) }.map(drop)
}

/// `struct btrfs_ioctl_dev_info_args`.
#[repr(C)]
struct BtrfsDevInfo {
    devid: u64,
    uuid: [u8; 16],
    bytes_used: u64,
    total_bytes: u64,
    rest: [u64; 507],
}

const _: () = assert!(size_of::<BtrfsDevInfo>() == 4096);

/// How much of its device a mounted btrfs spans.
#[expect(unsafe_code, reason = "BTRFS_IOC_DEV_INFO")]
pub(crate) fn btrfs_device_size(mount: &File) -> io::Result<u64> {
    let mut info = BtrfsDevInfo {
        devid: BTRFS_DEVICE,
        uuid: [0; 16],
        bytes_used: 0,
        total_bytes: 0,
        rest: [0; 507],
    };
    // SAFETY: BTRFS_IOC_DEV_INFO reads and writes 4096 bytes, the size asserted above.
    unsafe { ioctl_struct(mount, BTRFS_IOC_DEV_INFO, &mut info) }.map(|_| info.total_bytes)
}
