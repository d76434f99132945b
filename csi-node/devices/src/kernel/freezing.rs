//! FIFREEZE and FITHAW (`include/uapi/linux/fs.h`), and which device a mounted btrfs stands on. Knows nothing of watchdogs.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::{ioctl_number, ioctl_struct};

/// `_IOWR('X', 119, int)`; the argument is not looked at.
const FIFREEZE: u32 = 0xC004_5877;
/// `_IOWR('X', 120, int)`.
const FITHAW: u32 = 0xC004_5878;
/// `_IOWR(0x94, 30, struct btrfs_ioctl_dev_info_args)`.
const BTRFS_IOC_DEV_INFO: u32 = 0xD000_941E;

/// Freezes the filesystem that file lies on. EBUSY: it is frozen already.
pub(crate) fn freeze(root: &File) -> io::Result<()> {
    ioctl_number(root, FIFREEZE, 0).map(drop)
}

/// Ends the freeze, whoever began it. EINVAL: it is not frozen.
pub(crate) fn thaw(root: &File) -> io::Result<()> {
    ioctl_number(root, FITHAW, 0).map(drop)
}

/// `struct btrfs_ioctl_dev_info_args`, with the path at its end.
#[repr(C)]
struct BtrfsDevice {
    devid: u64,
    rest: [u64; 383],
    path: [u8; 1024],
}

const _: () = assert!(size_of::<BtrfsDevice>() == 4096);

/// The device a mounted btrfs of one device stands on; `None` for any other filesystem.
#[expect(unsafe_code, reason = "BTRFS_IOC_DEV_INFO")]
pub(crate) fn btrfs_device(root: &File) -> Option<PathBuf> {
    let mut info = BtrfsDevice { devid: 1, rest: [0; 383], path: [0; 1024] };
    // SAFETY: BTRFS_IOC_DEV_INFO reads and writes 4096 bytes, the size asserted above.
    unsafe { ioctl_struct(root, BTRFS_IOC_DEV_INFO, &mut info) }.ok()?;
    let path = info.path.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(PathBuf::from(OsString::from_vec(path.to_vec())))
}
