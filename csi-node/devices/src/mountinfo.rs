//! `/proc/self/mountinfo` and `/proc/swaps`, parsed (proc_pid_mountinfo(5)). Pure but for the two functions that read them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use terrace_device_types::{DevT, MountPoint};

use crate::DeviceError;
use crate::host::Host;

/// Every mount this process sees, in the kernel's order.
///
/// # Errors
/// When `/proc` can't be read or a line is not as documented.
pub fn observe_mounts(host: &Host) -> Result<Vec<MountPoint>, DeviceError> {
    let path = host.proc.join("self/mountinfo");
    let raw = read_whole(&path).map_err(|source| DeviceError::io("read", &path, source))?;
    parse_mounts(&path, &raw)
}

/// The mounts as last read. Its open file tells of every mount and unmount since (proc_pid_mounts(5)), so that thousands of lines are not
/// read again for nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownMounts(Arc<Mutex<Option<Read>>>);

type Read = (File, Arc<Vec<MountPoint>>);

impl KnownMounts {
    /// As [`observe_mounts`]. Options may be those of before: a change of them alone is not always told. Nothing is decided by it that destroys.
    pub(crate) fn observe(&self, host: &Host) -> Result<Arc<Vec<MountPoint>>, DeviceError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mounts)) = known.as_ref().filter(|(file, _)| !has_changed(file)) {
            return Ok(Arc::clone(mounts));
        }
        *known = None;
        let path = host.proc.join("self/mountinfo");
        let read = read_open(&path);
        let (file, raw) = read.map_err(|source| DeviceError::io("read", &path, source))?;
        let mounts = Arc::new(parse_mounts(&path, &raw)?);
        Ok(Arc::clone(&known.insert((file, mounts)).1))
    }
}

/// A change between the opening and the reading of the file is told too: better read twice.
fn has_changed(file: &File) -> bool {
    let mut asked = [PollFd::new(file, PollFlags::PRI)];
    match poll(&mut asked, Some(&Timespec::default())) {
        Ok(_) => asked[0].revents().intersects(PollFlags::PRI | PollFlags::ERR),
        Err(_) => true,
    }
}

fn parse_mounts(path: &Path, raw: &[u8]) -> Result<Vec<MountPoint>, DeviceError> {
    let lines = raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let text = || String::from_utf8_lossy(line).into_owned();
            parse_mount(line).ok_or_else(|| DeviceError::Parse { path: path.into(), text: text() })
        })
        .collect()
}

/// /proc does not tell how long a file is: beginning with a few bytes would take many reads.
fn read_open(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut raw = Vec::with_capacity(64 << 10);
    let mut file = File::open(path)?;
    file.read_to_end(&mut raw)?;
    Ok((file, raw))
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    read_open(path).map(|(_, raw)| raw)
}

/// Paths of swap devices and files.
///
/// # Errors
/// When `/proc` can't be read. A kernel without swap has no such file, and no swap.
pub(crate) fn observe_swaps(host: &Host) -> Result<Vec<PathBuf>, DeviceError> {
    let path = host.proc.join("swaps");
    match read_whole(&path) {
        Ok(raw) => Ok(parse_swaps(&String::from_utf8_lossy(&raw))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(DeviceError::io("read", &path, source)),
    }
}

fn parse_swaps(text: &str) -> Vec<PathBuf> {
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.map(|name| path_of(unescape(name.as_bytes()))).collect()
}

/// One line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
/// Before the lone `-` there may be any number of optional fields.
fn parse_mount(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let dev_t = parse_dev_t(std::str::from_utf8(fields.next()?).ok()?)?;
    let root = path_of(unescape(fields.next()?));
    let at = path_of(unescape(fields.next()?));
    let options = options_of(fields.next()?);
    fields.by_ref().find(|field| *field == b"-")?;
    let fs = text(fields.next()?);
    let source = text(fields.next()?);
    let super_options = options_of(fields.next().unwrap_or_default());
    Some(MountPoint { id, parent, dev_t, root, at, options, fs, source, super_options })
}

fn options_of(field: &[u8]) -> Vec<String> {
    text(field).split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect()
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// `major:minor`.
pub(crate) fn parse_dev_t(text: &str) -> Option<DevT> {
    let (major, minor) = text.trim().split_once(':')?;
    Some(DevT { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// The kernel writes space, tab, newline, backslash (and `#` in some fields) as `\ooo`; everything else as it is.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        match (first, octal(tail)) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &tail[3..];
            }
            (byte, _) => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

fn octal(tail: &[u8]) -> Option<u8> {
    let digits = tail.get(..3)?;
    let fits = digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) && digits[0] <= b'3';
    fits.then(|| digits.iter().fold(0u8, |byte, digit| byte << 3 | (digit - b'0')))
}

#[cfg(test)]
#[path = "mountinfo_tests.rs"]
mod tests;
