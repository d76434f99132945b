//! The loop driver's ioctls (`include/uapi/linux/loop.h`), typed. Knows nothing of images or tags.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::{ioctl_number, ioctl_struct};

const LOOP_CLR_FD: u32 = 0x4C01;
const LOOP_SET_STATUS64: u32 = 0x4C04;
const LOOP_GET_STATUS64: u32 = 0x4C05;
const LOOP_SET_CAPACITY: u32 = 0x4C07;
const LOOP_CONFIGURE: u32 = 0x4C0A;
const LOOP_CTL_GET_FREE: u32 = 0x4C82;

/// `LO_FLAGS_READ_ONLY`.
pub(crate) const READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`.
pub(crate) const AUTOCLEAR: u32 = 4;
/// `LO_FLAGS_DIRECT_IO` (Linux 4.10).
pub(crate) const DIRECT_IO: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct LoopStatus {
    /// `st_dev` of the backing file.
    pub(crate) device: u64,
    /// `st_ino` of the backing file.
    pub(crate) inode: u64,
    rdevice: u64,
    /// Where in the file the device begins.
    pub(crate) offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    /// `LO_FLAGS_*`.
    pub(crate) flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

const _: () = assert!(size_of::<LoopStatus>() == 232);

impl LoopStatus {
    const fn empty() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// `struct loop_config` (Linux 5.8).
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopStatus,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 304);

/// What a loop device is to be attached to.
pub(crate) struct Backing<'a> {
    pub(crate) file: &'a File,
    pub(crate) block_size: u32,
    pub(crate) flags: u32,
}

/// The number of a loop device that was free a moment ago; made if there was none.
pub(crate) fn free_number(control: &File) -> io::Result<u32> {
    let number = ioctl_number(control, LOOP_CTL_GET_FREE, 0)?;
    u32::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))
}

/// Attaches in one call; EBUSY when another was quicker.
#[expect(unsafe_code, reason = "LOOP_CONFIGURE")]
pub(crate) fn configure(device: &File, backing: &Backing<'_>) -> io::Result<()> {
    let Backing { file, block_size, flags } = *backing;
    let fd = u32::try_from(file.as_fd().as_raw_fd())
        .map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let info = LoopStatus { flags, ..LoopStatus::empty() };
    let mut config = LoopConfig { fd, block_size, info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE takes a `struct loop_config`.
    unsafe { ioctl_struct(device, LOOP_CONFIGURE, &mut config) }.map(drop)
}

/// What is attached; `None` when nothing is.
#[expect(unsafe_code, reason = "LOOP_GET_STATUS64")]
pub(crate) fn get_status(device: &File) -> io::Result<Option<LoopStatus>> {
    let mut status = LoopStatus::empty();
    // SAFETY: LOOP_GET_STATUS64 takes a `struct loop_info64`.
    match unsafe { ioctl_struct(device, LOOP_GET_STATUS64, &mut status) } {
        Ok(_) => Ok(Some(status)),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Changes the settable flags (autoclear).
#[expect(unsafe_code, reason = "LOOP_SET_STATUS64")]
pub(crate) fn set_status(device: &File, status: &LoopStatus) -> io::Result<()> {
    let mut status = *status;
    // SAFETY: LOOP_SET_STATUS64 takes a `struct loop_info64`.
    unsafe { ioctl_struct(device, LOOP_SET_STATUS64, &mut status) }.map(drop)
}

/// Lets the device see the file's present length.
pub(crate) fn set_capacity(device: &File) -> io::Result<()> {
    ioctl_number(device, LOOP_SET_CAPACITY, 0).map(drop)
}

/// Detaches; while others have it open, when the last of them closes it.
pub(crate) fn clear_fd(device: &File) -> io::Result<()> {
    match ioctl_number(device, LOOP_CLR_FD, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
        other => other.map(drop),
    }
}
