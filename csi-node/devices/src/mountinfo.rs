//! `/proc/self/mountinfo` and `/proc/swaps`, parsed (proc_pid_mountinfo(5)). Pure but for the two functions that read them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use terrace_device_types::{DevT, MountPoint};

use crate::host::Host;
use crate::{DeviceError, host};

/// Every mount this process sees, in the kernel's order.
///
/// # Errors
/// When `/proc` can't be read or a line is not as documented.
pub fn observe_mounts(host: &Host) -> Result<Vec<MountPoint>, DeviceError> {
    let path = host.proc.join("self/mountinfo");
    let raw = std::fs::read(&path).map_err(|source| DeviceError::io("read", &path, source))?;
    let lines = raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let text = || String::from_utf8_lossy(line).into_owned();
            parse_mount(line).ok_or_else(|| DeviceError::Parse { path: path.clone(), text: text() })
        })
        .collect()
}

/// Paths of swap devices and files.
///
/// # Errors
/// When `/proc` can't be read. A kernel without swap has no such file, and no swap.
pub(crate) fn observe_swaps(host: &Host) -> Result<Vec<PathBuf>, DeviceError> {
    let path = host.proc.join("swaps");
    if !path.exists() {
        return Ok(Vec::new());
    }
    Ok(parse_swaps(&host::read_text(&path)?))
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
