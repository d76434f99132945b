//! Tables of mounts as `/proc/<pid>/mountinfo` has them (proc_pid_mountinfo(5)). Pure: bytes in, a table out.
//!
//! csi-node's `terrace-devices` reads the same file for another purpose (options, parents, one bad line is an error), in a crate
//! the probe may not know; a test reads the same fixtures with both.

use std::collections::HashMap;

use terrace_probe_abi::wire::Device;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its id: no other mount of the machine has it at the same time, in whatever namespace.
    pub id: u32,
    /// The id of the mount it lies on.
    pub parent: u32,
    /// The superblock's device number.
    pub device: Device,
    /// Which folder (or file) of the filesystem is mounted, without the kernel's mark of a deleted one.
    pub root: Vec<u8>,
    /// Whether that folder is still in the filesystem.
    pub linked: Linked,
    /// Where, seen from the root of the process that was asked.
    pub at: Vec<u8>,
    /// The filesystem's type.
    pub fs: Vec<u8>,
    /// What was given as its source; a bind mount has that of the mount it was made from.
    pub source: Vec<u8>,
}

/// Whether a mount's root still has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It has.
    Yes,
    /// It was deleted; something else may bear its name by now.
    Deleted,
}

/// All mounts of a namespace, in the kernel's order.
#[derive(Clone, Debug, Default)]
pub struct Mounts {
    all: Vec<Mount>,
    by_id: HashMap<u32, usize>,
    by_device: HashMap<Device, Vec<usize>>,
    unreadable: usize,
}

impl Mounts {
    /// Reads a whole file. A line that is not as documented is left out and counted: no other line is worse for it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut mounts = Self::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match parse_mount(line) {
                Some(mount) => mounts.add(mount),
                None => mounts.unreadable += 1,
            }
        }
        mounts
    }

    fn add(&mut self, mount: Mount) {
        let index = self.all.len();
        self.by_id.insert(mount.id, index);
        self.by_device.entry(mount.device).or_default().push(index);
        self.all.push(mount);
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Mount] {
        &self.all
    }

    /// The one of an id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Mount> {
        self.by_id.get(&id).map(|index| &self.all[*index])
    }

    /// Those of a superblock, by their place in [`Mounts::all`].
    pub fn on(&self, device: Device) -> impl Iterator<Item = (usize, &Mount)> {
        let found = self.by_device.get(&device).into_iter().flatten();
        found.map(|index| (*index, &self.all[*index]))
    }

    /// How many lines could not be read.
    #[must_use]
    pub const fn unreadable(&self) -> usize {
        self.unreadable
    }
}

/// The id on the first line. A mount is in one namespace only, so two processes in whose files it differs see different ones, and
/// those in which it is the same see the same.
#[must_use]
pub fn parse_first_id(text: &[u8]) -> Option<u32> {
    number(text.split(|byte| *byte == b' ').next()?)
}

/// What is left of `path` below `folder`, if it lies there: empty for the folder itself, else with its leading `/`.
#[must_use]
pub fn below<'a>(path: &'a [u8], folder: &[u8]) -> Option<&'a [u8]> {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    let rest = path.strip_prefix(folder)?;
    match rest.first() {
        None | Some(b'/') => Some(if rest == b"/" { b"" } else { rest }),
        Some(_) => None,
    }
}

/// One line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
/// Before the lone `-` there may be any number of optional fields.
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = parse_device(fields.next()?)?;
    let (root, linked) = root_of(unescape(fields.next()?));
    let at = unescape(fields.next()?);
    let _options = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let fs = unescape(fields.next()?);
    let source = unescape(fields.next()?);
    Some(Mount { id, parent, device, root, linked, at, fs, source })
}

fn root_of(mut root: Vec<u8>) -> (Vec<u8>, Linked) {
    const MARK: &[u8] = b"//deleted";
    if !root.ends_with(MARK) {
        return (root, Linked::Yes);
    }
    root.truncate(root.len() - MARK.len());
    (root, Linked::Deleted)
}

/// `major:minor`.
fn parse_device(field: &[u8]) -> Option<Device> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    Some(Device { major: number(&field[..colon])?, minor: number(&field[colon + 1..])? })
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The kernel writes space, tab, newline, backslash (and `#` in some fields) as `\ooo`; everything else as it is.
fn unescape(field: &[u8]) -> Vec<u8> {
    if !field.contains(&b'\\') {
        return field.to_vec();
    }
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| octal(tail)).flatten();
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
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
