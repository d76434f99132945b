//! System calls that no safe library has: libaio, io_uring, mapped memory, folders call by call, and the door of 32-bit programs.
//! Each gives what the kernel answered; it knows no volume. The only file of this program with unsafe code.

#![allow(unsafe_code, reason = "system calls that no safe library has")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};

/// Room for the largest operation, on a page of its own.
const ROOM: usize = 1 << 20;
/// Where mmap(2) is to put it: below 4 GiB, so that 32-bit calls reach it.
const BELOW_4_GIB: libc::c_int = libc::MAP_32BIT;

fn answer(result: libc::c_long) -> io::Result<u64> {
    u64::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Memory whose address has 32 bits, aligned for direct I/O.
pub(crate) struct Buffer {
    start: *mut libc::c_void,
}

impl Buffer {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | BELOW_4_GIB | libc::MAP_POPULATE;
        // SAFETY: a new anonymous mapping touches no memory that is in use.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), ROOM, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { start }) }
    }

    /// Of at most [`ROOM`] bytes.
    pub(crate) fn bytes(&mut self, size: usize) -> &mut [u8] {
        // SAFETY: the mapping has ROOM bytes, lives as long as self, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), size.min(ROOM)) }
    }

    /// pread64 of i386 by int 0x80: number in eax, arguments in ebx, ecx, edx, esi, edi.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn compat_pread(
        &mut self,
        file: &File,
        size: usize,
        offset: u64,
    ) -> io::Result<u64> {
        const PREAD64: u64 = 180;
        let (low, high) = (offset & 0xffff_ffff, offset >> 32);
        let mut result = PREAD64;
        // SAFETY: the buffer has `size` bytes at an address of 32 bits; the call writes nothing else. rbx is LLVM's own, so it is
        // saved and put back; int 0x80 clobbers r8 to r11 at most.
        unsafe {
            std::arch::asm!(
                "xchg {fd}, rbx", "int 0x80", "xchg {fd}, rbx",
                fd = inout(reg) u64::from(file.as_raw_fd().unsigned_abs()) => _,
                inout("rax") result, in("rcx") self.start, in("rdx") size.min(ROOM), in("rsi") low, in("rdi") high,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        let result = i64::from(result as u32 as i32);
        u64::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result as i32))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody borrows from it any more.
        unsafe { libc::munmap(self.start, ROOM) };
    }
}

/// One call of getdents64(2) or, with `Old`, getdents(2): how many bytes it gave; 0 at the end.
pub(crate) fn list(folder: &File, call: List, room: &mut [u8]) -> io::Result<u64> {
    let number = match call {
        List::New => libc::SYS_getdents64,
        List::Old => libc::SYS_getdents,
    };
    // SAFETY: the kernel writes at most as many bytes as the slice has.
    answer(unsafe { libc::syscall(number, folder.as_raw_fd(), room.as_mut_ptr(), room.len()) })
}

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    New,
    Old,
}

/// sync_file_range(2), writing out and waiting.
pub(crate) fn sync_file_range(file: &File, length: u64) -> io::Result<u64> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: no memory is passed.
    answer(unsafe { libc::syscall(libc::SYS_sync_file_range, file.as_raw_fd(), 0, length, flags) })
}

/// A file in memory, to be touched page by page.
pub(crate) struct Mapped {
    start: *mut u8,
    length: usize,
}

impl Mapped {
    /// Pages come one by one: nothing is read ahead.
    pub(crate) fn new(file: &File, length: usize) -> io::Result<Self> {
        // SAFETY: a new mapping touches no memory that is in use; it is only read, and byte by byte.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the mapping made above.
        unsafe { libc::madvise(start, length, libc::MADV_RANDOM) };
        Ok(Self { start: start.cast(), length })
    }

    /// Reads one byte.
    pub(crate) fn touch(&self, at: usize) -> u8 {
        assert!(at < self.length, "{at} is beyond the mapping");
        // SAFETY: within the mapping. The file is not cut short while it is mapped.
        unsafe { self.start.add(at).read_volatile() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// What is handed to the kernel and ends later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Submission {
    Read,
    Write,
    Fsync,
}

/// An io_uring with one operation under way at most.
pub(crate) struct Ring(IoUring);

impl Ring {
    pub(crate) fn new() -> io::Result<Self> {
        IoUring::new(4).map(Self)
    }

    /// Hands one in and waits for its end.
    pub(crate) fn run(
        &mut self,
        what: Submission,
        file: &File,
        buffer: &mut [u8],
        offset: u64,
        by: By,
    ) -> io::Result<u64> {
        let fd = Fd(file.as_raw_fd());
        let length = u32::try_from(buffer.len()).map_err(io::Error::other)?;
        let entry: squeue::Entry = match what {
            Submission::Read => {
                opcode::Read::new(fd, buffer.as_mut_ptr(), length).offset(offset).build()
            }
            Submission::Write => {
                opcode::Write::new(fd, buffer.as_ptr(), length).offset(offset).build()
            }
            Submission::Fsync => opcode::Fsync::new(fd).build(),
        };
        let entry = match by {
            By::Caller => entry,
            By::Worker => entry.flags(Flags::ASYNC),
        };
        // SAFETY: file and buffer are borrowed until the operation has ended, which is waited for below.
        unsafe { self.0.submission().push(&entry) }.map_err(io::Error::other)?;
        loop {
            match self.0.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        let end =
            self.0.completion().next().ok_or_else(|| io::Error::other("io_uring gave no end"))?;
        let result = end.result();
        u64::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The one that hands it in, where it need not wait.
    Caller,
    /// A thread of the kernel's.
    Worker,
}

/// As `linux/aio_abi.h` has it, on a little-endian machine.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    flags_of_operation: u32,
    code: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event: u32,
}

#[repr(C)]
#[derive(Default)]
struct IoEvent {
    data: u64,
    object: u64,
    result: i64,
    result2: i64,
}

/// A context of libaio with one operation under way at most.
pub(crate) struct Aio(libc::c_ulong);

impl Aio {
    pub(crate) fn new() -> io::Result<Self> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes the context's number and nothing else.
        answer(unsafe { libc::syscall(libc::SYS_io_setup, 4, &raw mut context) })?;
        Ok(Self(context))
    }

    /// Hands one in and waits for its end.
    pub(crate) fn run(
        &mut self,
        what: Submission,
        file: &File,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<u64> {
        let code = match what {
            Submission::Read => 0,
            Submission::Write => 1,
            Submission::Fsync => 2,
        };
        let moves = what != Submission::Fsync;
        let mut iocb = Iocb {
            code,
            fd: fd_of(file),
            buffer: if moves { buffer.as_mut_ptr() as u64 } else { 0 },
            length: if moves { buffer.len() as u64 } else { 0 },
            offset: if moves { i64::try_from(offset).map_err(io::Error::other)? } else { 0 },
            ..Iocb::default()
        };
        let mut list = [&raw mut iocb];
        let mut event = IoEvent::default();
        // SAFETY: iocb, buffer and event live until the operation has ended, which is waited for here.
        answer(unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1, list.as_mut_ptr()) })?;
        let none: *mut libc::timespec = ptr::null_mut();
        loop {
            // SAFETY: as above; one event at most is written.
            let got = answer(unsafe {
                libc::syscall(libc::SYS_io_getevents, self.0, 1, 1, &raw mut event, none)
            });
            match got {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        u64::try_from(event.result).map_err(|_| {
            io::Error::from_raw_os_error(i32::try_from(-event.result).unwrap_or(libc::EIO))
        })
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: nothing is under way in it.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

/// How this thread shares the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheduling {
    /// As others do.
    Shared,
    /// It is taken away only for what the kernel itself has to do.
    UntilItSleeps,
}

/// From now on.
pub(crate) fn set_scheduling(how: Scheduling) -> io::Result<()> {
    let (policy, sched_priority) = match how {
        Scheduling::Shared => (libc::SCHED_OTHER, 0),
        Scheduling::UntilItSleeps => (libc::SCHED_FIFO, 1),
    };
    let priority = libc::sched_param { sched_priority };
    // SAFETY: the kernel reads the priority and nothing else.
    answer(libc::c_long::from(unsafe { libc::sched_setscheduler(0, policy, &raw const priority) }))
        .map(drop)
}

fn fd_of(file: &File) -> u32 {
    let fd: RawFd = file.as_raw_fd();
    fd.unsigned_abs()
}
