//! System calls rustix does not wrap. The only unsafe code of the crate is in here and below; everything that comes out is safe and typed.

pub(crate) mod btrfs;
pub(crate) mod dm;
mod freezing;
mod loops;
mod sizes;

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

pub(crate) use freezing::{btrfs_device, freeze, thaw};
pub(crate) use loops::{
    AUTOCLEAR, Backing, DIRECT_IO, READ_ONLY, clear_fd, configure, free_number, get_status,
    set_capacity, set_status,
};
pub(crate) use sizes::{
    block_device_size, btrfs_device_size, btrfs_grow, is_read_only, set_read_only, xfs_geometry,
    xfs_grow,
};

/// An ioctl whose argument is a struct the kernel reads or writes.
///
/// # Safety
/// `request` must take a pointer to exactly a `T`.
#[expect(unsafe_code, reason = "the one door to ioctl(2)")]
unsafe fn ioctl_struct<T>(fd: impl AsFd, request: u32, value: &mut T) -> io::Result<c_int> {
    let value: *mut T = value;
    // SAFETY: `value` is a live, exclusive pointer for the whole call; that `request` takes a `T` is the caller's promise.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::Ioctl::from(request), value) })
}

/// An ioctl whose argument is a plain number, or nothing.
#[expect(unsafe_code, reason = "the one door to ioctl(2)")]
fn ioctl_number(fd: impl AsFd, request: u32, value: u64) -> io::Result<c_int> {
    // SAFETY: the requests passed here take an integer, so no memory is read or written.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::Ioctl::from(request), value) })
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets and clears attributes of a detached mount (`mount_setattr`, Linux 5.12).
#[expect(unsafe_code, reason = "mount_setattr(2) has no wrapper in rustix 1.1")]
pub(crate) fn set_mount_attributes(mount: impl AsFd, set: u64, clear: u64) -> io::Result<()> {
    let attr = MountAttr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is an empty C string, `attr` outlives the call and its size is passed along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks for a write lease and gives it back at once: granted exactly when no other open file description of it exists, a loop device's included.
/// `Ok(true)`: nobody else has it open.
#[expect(unsafe_code, reason = "leases have no wrapper in rustix 1.1")]
pub(crate) fn is_open_only_here(file: impl AsFd) -> io::Result<bool> {
    const F_SETSIG: c_int = 10;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: fcntl with integer arguments touches no memory. A lease break would send SIGIO, which kills by default: SIGURG is ignored by default.
    let taken = unsafe {
        check(libc::fcntl(fd, F_SETSIG, libc::SIGURG))?;
        libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK)
    };
    if taken < 0 {
        let error = io::Error::last_os_error();
        let busy = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY));
        return if busy { Ok(false) } else { Err(error) };
    }
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) }).map(|_| true)
}
