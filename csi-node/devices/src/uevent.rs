//! The kernel's word that a block device came, went or changed (netlink `KOBJECT_UEVENT`). What it is is for a look to say: messages may be lost.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// The kernel's group; udev sends to another one.
const KERNEL: u32 = 1;
/// Longer than any message of the kernel (2048 bytes of variables and a path).
const MESSAGE: usize = 8192;

/// The kernel's messages, read without waiting.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// From now on. The kernel tells every network namespace of the first user namespace, so also that of a Pod.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
        let socket = socket_with(family, kind, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self(socket))
    }

    /// Whether a block device came, went or changed since the last call; also where messages were lost.
    ///
    /// # Errors
    /// Of the kernel; that nothing is there is none.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut message = vec![0; MESSAGE];
        let mut is_news = false;
        loop {
            match recv(&self.0, &mut message[..], RecvFlags::empty()) {
                Ok((_, length)) => is_news |= is_block(&message[..length.min(MESSAGE)]),
                Err(Errno::NOBUFS) => is_news = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(is_news),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsRawFd for Uevents {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// `add@/devices/...`, then variables, each with a zero byte behind it.
fn is_block(message: &[u8]) -> bool {
    message.split(|byte| *byte == 0).any(|variable| variable == b"SUBSYSTEM=block")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_are_news() {
        assert!(is_block(b"add@/devices/sda\0ACTION=add\0SUBSYSTEM=block\0MAJOR=8\0"));
        assert!(!is_block(b"add@/devices/eth0\0ACTION=add\0SUBSYSTEM=net\0"));
    }

    #[test]
    fn the_socket_opens_and_has_nothing_to_say_that_waits() {
        let mut events = Uevents::open().unwrap();
        events.read().unwrap();
    }
}
