//! Which volume a mount belongs to, the simplest way that is right: by device and root, as this process sees them. And two ways that
//! are wrong. Pure but for reading mountinfo.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) id: u32,
    pub(crate) device: (u32, u32),
    pub(crate) root: String,
    pub(crate) point: String,
}

/// What a line says; none if it is no line of mountinfo. Names with blanks do not occur here.
fn parse(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let id = words.next()?.parse().ok()?;
    let (major, minor) = words.nth(1)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    Some(Mount { id, device, root: words.next()?.to_owned(), point: words.next()?.to_owned() })
}

/// All mounts of a process; none if it is gone.
pub(crate) fn of_process(process: &str) -> Vec<Mount> {
    let text = std::fs::read_to_string(Path::new("/proc").join(process).join("mountinfo"));
    text.unwrap_or_default().lines().filter_map(parse).collect()
}

/// How an operation finds its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Key {
    /// By device and root of its mount.
    #[value(skip)]
    Mount,
    /// By the path at which the process sees the volume.
    #[value(name = "path-key")]
    Path,
    /// By the device of the filesystem.
    #[value(name = "device-key")]
    Device,
}

impl Key {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Mount => "by mount",
            Self::Path => "by path alone",
            Self::Device => "by device alone",
        }
    }
}

/// Volumes by where they are published on the node.
#[derive(Debug, Default)]
pub(crate) struct Register {
    /// Of each published path.
    pub(crate) points: HashMap<String, usize>,
    /// What a naive attribution has learnt: the first to come keeps the key.
    paths: HashMap<String, usize>,
    devices: HashMap<(u32, u32), usize>,
}

impl Register {
    /// The volume of a mount of some process; none if it is no volume's.
    pub(crate) fn volume(&mut self, key: Key, mount: &Mount, node: &[Mount]) -> Option<usize> {
        let right = self.right(mount, node)?;
        Some(match key {
            Key::Mount => right,
            Key::Path => *self.paths.entry(mount.point.clone()).or_insert(right),
            Key::Device => *self.devices.entry(mount.device).or_insert(right),
        })
    }

    /// The one whose root the mount's is below, the longest first.
    fn right(&self, mount: &Mount, node: &[Mount]) -> Option<usize> {
        let candidates = node.iter().filter(|known| known.device == mount.device);
        let below = candidates.filter(|known| Path::new(&mount.root).starts_with(&known.root));
        let named = below.filter_map(|known| Some((known, *self.points.get(&known.point)?)));
        named.max_by_key(|(known, _)| known.root.len()).map(|(_, volume)| volume)
    }
}

/// The mount of this id among those of the process that was seen using it.
pub(crate) fn find(process: u32, id: u32) -> Result<Mount> {
    let all = of_process(&process.to_string());
    all.into_iter().find(|mount| mount.id == id).with_context(|| format!("mount {id} is gone"))
}

#[cfg(test)]
mod tests {
    use super::{Key, Mount, Register, parse};

    fn mount(id: u32, minor: u32, root: &str, point: &str) -> Mount {
        Mount { id, device: (7, minor), root: root.into(), point: point.into() }
    }

    #[test]
    fn a_line_has_id_device_root_and_point() {
        let line = "310 28 7:3 /pv-1 /var/lib/x rw,relatime shared:1 - ext4 /dev/loop3 rw";
        assert_eq!(parse(line), Some(mount(310, 3, "/pv-1", "/var/lib/x")));
        assert_eq!(parse("310 28"), None);
    }

    #[test]
    fn two_folders_of_one_device_are_told_apart_by_mount_and_by_nothing_else() {
        let node = [mount(1, 3, "/pv-1", "/k/1"), mount(2, 3, "/pv-2", "/k/2")];
        let seen = [mount(9, 3, "/pv-1", "/data"), mount(8, 3, "/pv-2/sub", "/data")];
        let ask = |key: Key| {
            let points = [("/k/1".to_owned(), 1), ("/k/2".to_owned(), 2)].into();
            let mut register = Register { points, ..Register::default() };
            seen.clone().map(|mount| register.volume(key, &mount, &node))
        };
        assert_eq!(ask(Key::Mount), [Some(1), Some(2)]);
        assert_eq!(ask(Key::Path), [Some(1), Some(1)]);
        assert_eq!(ask(Key::Device), [Some(1), Some(1)]);
    }
}
