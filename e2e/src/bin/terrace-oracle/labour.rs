//! What a process inside a Pod does to its volume: so many operations one way, each between two looks at the clock. It reports what
//! it did and judges nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{
    Advice, FallocateFlags, SeekFrom, copy_file_range, fadvise, fallocate, seek, syncfs,
};
use rustix::io::{self as raw, ReadWriteFlags};
use rustix::pipe::{SpliceFlags, pipe, splice};
use serde::{Deserialize, Serialize};

use crate::kernel::{
    Aio, Buffer, By, List, Mapped, Ring, Scheduling, Submission, list, set_scheduling,
    sync_file_range,
};
use crate::way::{Size, Way};

/// Bytes of the file that is worked on.
const LENGTH: usize = 4 << 20;
const PAGE: usize = 4096;
/// Names in the folder that is listed: more than one call gives at once.
const NAMES: usize = 40;

/// What a process is told to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) way: Way,
    pub(crate) count: u64,
    /// Bytes of one operation.
    pub(crate) bytes: usize,
}

/// What it did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Bytes in all.
    pub(crate) bytes: u64,
    /// Nanoseconds, one an operation.
    pub(crate) durations: Vec<u64>,
}

/// Where it is done.
pub(crate) struct Place {
    /// The file or device that is worked on.
    file: PathBuf,
    /// The folder that is listed; none on a device.
    folder: Option<PathBuf>,
    buffer: Buffer,
}

impl Place {
    /// On a device nothing is prepared; in a folder a file and names are, without an operation that counts.
    pub(crate) fn prepare(data: &Path) -> io::Result<Self> {
        let buffer = Buffer::new()?;
        if !data.is_dir() {
            return Ok(Self { file: data.to_owned(), folder: None, buffer });
        }
        let (file, folder) = (data.join("file"), data.join("folder"));
        if !folder.exists() {
            let new = OpenOptions::new().create(true).truncate(false).write(true).open(&file)?;
            fallocate(&new, FallocateFlags::empty(), 0, LENGTH as u64)?;
            std::fs::create_dir(&folder)?;
            for name in 0..NAMES {
                File::create(folder.join(format!("name-{name:04}")))?;
            }
            syncfs(&new)?;
        }
        Ok(Self { file, folder: Some(folder), buffer })
    }

    /// Does it.
    pub(crate) fn obey(&mut self, order: Order) -> io::Result<Report> {
        // The clock around a long call is to show the call, and nobody else's turn on the processor.
        let long = order.way.size() == Size::Large;
        set_scheduling(if long { Scheduling::UntilItSleeps } else { Scheduling::Shared })?;
        match order.way {
            Way::Getdents => self.list(List::New, order),
            Way::OldGetdents => self.list(List::Old, order),
            Way::Mmap => self.touch(order),
            Way::Splice | Way::Sendfile | Way::SpliceTo => self.pipe(order),
            Way::CopyFileRange => self.copy(order),
            _ => self.calls(order),
        }
    }

    fn open(&self, way: Way) -> io::Result<File> {
        let flags = match way {
            Way::Direct | Way::UringDirect | Way::AioDirect => libc::O_DIRECT,
            Way::Dsync => libc::O_DSYNC,
            _ => 0,
        };
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.file)
    }

    /// The ways that take a buffer and an offset.
    fn calls(&mut self, order: Order) -> io::Result<Report> {
        let Order { way, count, bytes } = order;
        let file = self.open(way)?;
        let mut end = End::of(way)?;
        let mut report = Report::default();
        // Where the file position counts it is put back before a read would be cut short.
        let step = bytes.max(PAGE);
        for number in 0..count {
            let offset = (number as usize * step) % (LENGTH - step);
            let offset = if bytes == PAGE { offset / PAGE * PAGE } else { offset };
            if matches!(way, Way::Read | Way::Readv | Way::Write | Way::Writev) {
                seek(&file, SeekFrom::Start(offset as u64))?;
            }
            let start = Instant::now();
            let moved = end.call(way, &file, &mut self.buffer, bytes, offset as u64)?;
            report.add(start, moved);
        }
        Ok(report)
    }

    fn list(&mut self, call: List, order: Order) -> io::Result<Report> {
        let folder =
            self.folder.as_ref().ok_or_else(|| io::Error::other("a device has no folder"))?;
        let folder = File::open(folder)?;
        let mut report = Report::default();
        while (report.durations.len() as u64) < order.count {
            let start = Instant::now();
            let got = list(&folder, call, self.buffer.bytes(1024))?;
            report.add(start, 0);
            if got == 0 {
                seek(&folder, SeekFrom::Start(0))?;
            }
        }
        Ok(report)
    }

    /// Each page once, then all are dropped from memory.
    fn touch(&self, order: Order) -> io::Result<Report> {
        let file = self.open(order.way)?;
        let mut report = Report::default();
        let mut sum = 0_u64;
        while (report.durations.len() as u64) < order.count {
            syncfs(&file)?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
            let mapped = Mapped::new(&file, LENGTH)?;
            let left = order.count - report.durations.len() as u64;
            for page in 0..(LENGTH / PAGE).min(left as usize) {
                let start = Instant::now();
                sum += u64::from(mapped.touch(page * PAGE));
                report.add(start, PAGE as u64);
            }
        }
        std::hint::black_box(sum);
        Ok(report)
    }

    /// From the first half of the file into the second.
    fn copy(&self, order: Order) -> io::Result<Report> {
        let file = self.open(order.way)?;
        let mut report = Report::default();
        for number in 0..order.count {
            let mut from = (number as usize * PAGE % (LENGTH / 2)) as u64;
            let mut to = from + (LENGTH / 2) as u64;
            let start = Instant::now();
            let moved = copy_file_range(&file, Some(&mut from), &file, Some(&mut to), PAGE)?;
            report.add(start, moved as u64);
        }
        Ok(report)
    }

    /// Between the file and a pipe; what goes on at the pipe's other end is no volume's.
    fn pipe(&mut self, order: Order) -> io::Result<Report> {
        let file = self.open(order.way)?;
        let (exit, entrance) = pipe()?;
        let mut report = Report::default();
        for number in 0..order.count {
            let mut offset = (number as usize * PAGE % (LENGTH - PAGE)) as u64;
            if order.way == Way::SpliceTo {
                raw::write(&entrance, self.buffer.bytes(PAGE))?;
                let start = Instant::now();
                let moved =
                    splice(&exit, None, &file, Some(&mut offset), PAGE, SpliceFlags::empty())?;
                report.add(start, moved as u64);
                continue;
            }
            let start = Instant::now();
            let moved = match order.way {
                Way::Sendfile => rustix::fs::sendfile(&entrance, &file, Some(&mut offset), PAGE)?,
                _ => splice(&file, Some(&mut offset), &entrance, None, PAGE, SpliceFlags::empty())?,
            };
            report.add(start, moved as u64);
            drain(&exit, self.buffer.bytes(moved))?;
        }
        Ok(report)
    }
}

fn drain(exit: &OwnedFd, mut room: &mut [u8]) -> io::Result<()> {
    while !room.is_empty() {
        let got = raw::read(exit, &mut *room)?;
        room = &mut room[got..];
    }
    Ok(())
}

/// What is set up once for a way.
enum End {
    Call,
    Ring(Box<Ring>),
    Aio(Aio),
}

impl End {
    fn of(way: Way) -> io::Result<Self> {
        Ok(match way.path() {
            terrace_probe_abi::layout::Path::IoUring => Self::Ring(Box::new(Ring::new()?)),
            terrace_probe_abi::layout::Path::Aio => Self::Aio(Aio::new()?),
            _ => Self::Call,
        })
    }

    /// One operation; how many bytes it moved.
    fn call(
        &mut self,
        way: Way,
        file: &File,
        buffer: &mut Buffer,
        bytes: usize,
        at: u64,
    ) -> io::Result<u64> {
        match self {
            Self::Call => call(way, file, buffer, bytes, at),
            Self::Ring(ring) => {
                let by = if way == Way::UringReadWorker { By::Worker } else { By::Caller };
                ring.run(submission(way), file, buffer.bytes(bytes), at, by)
            }
            Self::Aio(aio) => aio.run(submission(way), file, buffer.bytes(bytes), at),
        }
    }
}

fn submission(way: Way) -> Submission {
    match way {
        Way::UringWrite | Way::AioWrite => Submission::Write,
        Way::UringFsync | Way::AioFsync => Submission::Fsync,
        _ => Submission::Read,
    }
}

fn call(way: Way, file: &File, buffer: &mut Buffer, bytes: usize, at: u64) -> io::Result<u64> {
    if way == Way::Compat {
        return buffer.compat_pread(file, bytes, at);
    }
    let room = buffer.bytes(bytes);
    let none = ReadWriteFlags::empty();
    let moved = match way {
        Way::Read => raw::read(file, room)?,
        Way::Pread | Way::Direct | Way::LargeRead => raw::pread(file, room, at)?,
        Way::Readv => raw::readv(file, &mut [IoSliceMut::new(room)])?,
        Way::Preadv => raw::preadv(file, &mut [IoSliceMut::new(room)], at)?,
        Way::Preadv2 => raw::preadv2(file, &mut [IoSliceMut::new(room)], at, none)?,
        Way::Write => raw::write(file, room)?,
        Way::Pwrite | Way::Dsync | Way::LargeWrite => raw::pwrite(file, room, at)?,
        Way::Writev => raw::writev(file, &[IoSlice::new(room)])?,
        Way::Pwritev => raw::pwritev(file, &[IoSlice::new(room)], at)?,
        Way::Pwritev2 => raw::pwritev2(file, &[IoSlice::new(room)], at, none)?,
        Way::DsyncFlag => raw::pwritev2(file, &[IoSlice::new(room)], at, ReadWriteFlags::DSYNC)?,
        Way::Fsync => rustix::fs::fsync(file).map(|()| 0)?,
        Way::Fdatasync => rustix::fs::fdatasync(file).map(|()| 0)?,
        Way::SyncFileRange => return sync_file_range(file, LENGTH as u64),
        other => return Err(io::Error::other(format!("{} is no plain call", other.name()))),
    };
    Ok(moved as u64)
}

impl Report {
    fn add(&mut self, start: Instant, bytes: u64) {
        let took = start.elapsed().as_nanos();
        self.durations.push(u64::try_from(took).unwrap_or(u64::MAX));
        self.bytes += bytes;
    }
}
