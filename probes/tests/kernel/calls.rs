//! Every way to read, write, sync and list that the kernel has system calls for, each done a number of times.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use io_uring::{IoUring, opcode, types};
use rustix::io::{ReadWriteFlags, preadv2, pwritev2};
use terrace_probe_abi::layout::{Operation, Path};

/// Bytes each operation moves.
pub(crate) const BYTES: usize = 512;

/// (name, what it is, how it comes, one call of it)
pub(crate) type Way = (&'static str, Operation, Path, fn(&mut File));

/// All that move bytes of one file, or sync it.
pub(crate) const WAYS: [Way; 15] = [
    ("read", Operation::Read, Path::Syscall, |file| {
        let position = file.stream_position().unwrap();
        if position as usize + BYTES > 4096 {
            file.rewind().unwrap();
        }
        file.read_exact(&mut [0; BYTES]).unwrap();
    }),
    ("pread64", Operation::Read, Path::Syscall, |file| {
        assert_eq!(file.read_at(&mut [0; BYTES], 0).unwrap(), BYTES);
    }),
    ("readv", Operation::Read, Path::Syscall, |file| {
        file.rewind().unwrap();
        assert_eq!(rustix::io::readv(&*file, &mut [IoSliceMut::new(&mut [0; BYTES])]), Ok(BYTES));
    }),
    ("preadv", Operation::Read, Path::Syscall, |file| {
        let mut bytes = [0; BYTES];
        assert_eq!(rustix::io::preadv(&*file, &mut [IoSliceMut::new(&mut bytes)], 0), Ok(BYTES));
    }),
    ("preadv2", Operation::Read, Path::Syscall, |file| {
        let mut bytes = [0; BYTES];
        let buffers = &mut [IoSliceMut::new(&mut bytes)];
        assert_eq!(preadv2(&*file, buffers, 0, ReadWriteFlags::empty()), Ok(BYTES));
    }),
    ("write", Operation::Write, Path::Syscall, |file| {
        file.rewind().unwrap();
        assert_eq!(file.write(&[1; BYTES]).unwrap(), BYTES);
    }),
    ("pwrite64", Operation::Write, Path::Syscall, |file| {
        assert_eq!(file.write_at(&[1; BYTES], 0).unwrap(), BYTES);
    }),
    ("writev", Operation::Write, Path::Syscall, |file| {
        file.rewind().unwrap();
        assert_eq!(rustix::io::writev(&*file, &[IoSlice::new(&[1; BYTES])]), Ok(BYTES));
    }),
    ("pwritev", Operation::Write, Path::Syscall, |file| {
        assert_eq!(rustix::io::pwritev(&*file, &[IoSlice::new(&[1; BYTES])], 0), Ok(BYTES));
    }),
    ("pwritev2", Operation::Write, Path::Syscall, |file| {
        let buffers = &[IoSlice::new(&[1; BYTES])];
        assert_eq!(pwritev2(&*file, buffers, 0, ReadWriteFlags::empty()), Ok(BYTES));
    }),
    ("fsync", Operation::Fsync, Path::Syscall, |file| file.sync_all().unwrap()),
    ("fdatasync", Operation::Fsync, Path::Syscall, |file| file.sync_data().unwrap()),
    ("sync_file_range", Operation::Fsync, Path::Syscall, sync_range),
    ("splice to a pipe", Operation::Read, Path::Splice, |file| {
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let flags = rustix::pipe::SpliceFlags::empty();
        let moved = rustix::pipe::splice(&*file, Some(&mut 0), writer, None, BYTES, flags);
        assert_eq!(moved, Ok(BYTES));
    }),
    ("splice from a pipe", Operation::Write, Path::Splice, |file| {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, &[1; BYTES]).unwrap();
        let flags = rustix::pipe::SpliceFlags::empty();
        let moved = rustix::pipe::splice(reader, None, &*file, Some(&mut 0), BYTES, flags);
        assert_eq!(moved, Ok(BYTES));
    }),
];

#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]
fn sync_range(file: &mut File) {
    // SAFETY: takes a descriptor and numbers.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, 2) };
    assert_eq!(result, 0);
}

/// Moves bytes from one file to another within the kernel.
pub(crate) fn copy(from: &File, to: &File) {
    let moved = rustix::fs::copy_file_range(from, Some(&mut 0), to, Some(&mut 0), BYTES);
    assert_eq!(moved, Ok(BYTES));
}

/// Sends bytes of a file to another.
pub(crate) fn send(from: &File, to: &File) {
    let moved = rustix::fs::sendfile(to.as_fd(), from.as_fd(), Some(&mut 0), BYTES);
    assert_eq!(moved, Ok(BYTES));
}

/// Hands so many reads, writes and syncs to io_uring, one after another.
#[expect(unsafe_code, reason = "buffers outlive what is submitted")]
pub(crate) fn ring(file: &File, reads: u64, writes: u64, syncs: u64) {
    let mut ring = IoUring::new(8).unwrap();
    let mut buffer = [7_u8; BYTES];
    let fd = types::Fd(file.as_raw_fd());
    for turn in 0..reads + writes + syncs {
        let (entry, expected) = if turn < reads {
            (opcode::Read::new(fd, buffer.as_mut_ptr(), BYTES as u32).build(), BYTES as i32)
        } else if turn < reads + writes {
            (opcode::Write::new(fd, buffer.as_ptr(), BYTES as u32).build(), BYTES as i32)
        } else {
            (opcode::Fsync::new(fd).build(), 0)
        };
        // SAFETY: the buffer lives until the answer below.
        unsafe { ring.submission().push(&entry).unwrap() };
        ring.submit_and_wait(1).unwrap();
        assert_eq!(ring.completion().next().unwrap().result(), expected);
    }
}
