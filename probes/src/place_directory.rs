//! Folders of the host that are no mounts and have a class of their own, as numbers the kernel compares: superblock and inode of an
//! ancestor. Pure. csi-node looks at the folders, since the probe has none of the host's.
//!
//! Mounts need none of this: a folder that is mounted, by the host or into a Pod, has its class by [`name_mount`](crate::naming::name_mount).

use terrace_probe_abi::layout::SharedClass;
use terrace_probe_abi::wire::{Device, DirectoryName};

use crate::mountinfo::{Mount, below};
use crate::naming::Host;
use crate::place::{Place, place_of};

/// A folder by its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryClass {
    /// The superblock, as mountinfo shows it.
    pub device: Device,
    /// The folder's inode.
    pub inode: u64,
    /// Where it lies in its filesystem.
    pub path: Vec<u8>,
    /// What is counted below it.
    pub class: SharedClass,
}

impl DirectoryClass {
    /// Whether a mount of that folder of a filesystem shows it, so that its files are used through the mount.
    #[must_use]
    pub fn is_on(&self, device: Device, root: &[u8]) -> bool {
        self.device == device && below(&self.path, root).is_some()
    }
}

/// Why a folder is not looked for in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It has no class of its own.
    NoClass,
    /// It is a mount, or lies on one that has the class already.
    Mounted,
    /// `stat` says another device than the superblock has, as on btrfs: its number can't be compared.
    OtherDevice,
}

/// What the kernel would have to know of a folder.
///
/// # Errors
/// Why it need not, or can't.
pub fn directory_class(directory: &DirectoryName, host: &Host) -> Result<DirectoryClass, Skipped> {
    let DirectoryName { path, device, inode } = directory;
    let path = path.as_bytes();
    let Place::Class(class) = place_of(path, host.layout()) else { return Err(Skipped::NoClass) };
    let all = host.mounts().all().iter();
    let holding = all.filter_map(|mount| below(path, &mount.at).map(|rest| (mount, rest)));
    // A later mount at the same place covers an earlier one.
    let holding = holding.max_by_key(|(mount, _)| mount.at.len());
    let (holding, rest) = holding.ok_or(Skipped::OtherDevice)?;
    let path = [holding.root.strip_suffix(b"/").unwrap_or(&holding.root), rest].concat();
    match holding.device == *device {
        _ if has_class(holding, class, host) => Err(Skipped::Mounted),
        true => Ok(DirectoryClass { device: *device, inode: *inode, path, class }),
        false => Err(Skipped::OtherDevice),
    }
}

fn has_class(mount: &Mount, class: SharedClass, host: &Host) -> bool {
    place_of(&mount.at, host.layout()) == Place::Class(class)
}

#[cfg(test)]
mod tests {
    use terrace_probe_abi::layout::SharedClass;
    use terrace_probe_abi::wire::{Device, DirectoryName};

    use super::{DirectoryClass, Skipped, directory_class};
    use crate::mountinfo::Mounts;
    use crate::naming::Host;
    use crate::place::Layout;

    const ROOT: Device = Device { major: 8, minor: 1 };

    fn ask(path: &str, device: Device, more: &str) -> Result<DirectoryClass, Skipped> {
        let text = format!("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n{more}");
        let host = Host::new(Mounts::parse(text.as_bytes()), Layout::at("/var/lib/kubelet"));
        directory_class(&DirectoryName { path: path.into(), device, inode: 77 }, &host)
    }

    #[test]
    fn a_folder_of_the_hosts_root_is_known_by_its_numbers() {
        let class = SharedClass::CriticalEtcd;
        let expected =
            DirectoryClass { device: ROOT, inode: 77, path: b"/var/lib/etcd".to_vec(), class };
        assert_eq!(ask("/var/lib/etcd", ROOT, ""), Ok(expected));
        assert_eq!(ask("/srv", ROOT, ""), Err(Skipped::NoClass));
    }

    #[test]
    fn a_mount_shows_what_lies_in_its_root() {
        let state = "9 1 8:17 /@state /var/lib rw - ext4 /dev/sdb1 rw\n";
        let disk = Device { major: 8, minor: 17 };
        let etcd = ask("/var/lib/etcd", disk, state).unwrap();
        assert_eq!(etcd.path, b"/@state/etcd");
        for root in [&b"/"[..], b"/@state", b"/@state/etcd"] {
            assert!(etcd.is_on(disk, root));
        }
        assert!(!etcd.is_on(disk, b"/@state/etc") && !etcd.is_on(disk, b"/@state/etcd/member"));
        assert!(!etcd.is_on(ROOT, b"/"));
    }

    #[test]
    fn a_folder_that_is_a_mount_needs_no_number() {
        let disk = Device { major: 8, minor: 17 };
        let mount = "9 1 8:17 / /var/lib/etcd rw - xfs /dev/sdb1 rw\n";
        assert_eq!(ask("/var/lib/etcd", disk, mount), Err(Skipped::Mounted));
        let state = "9 1 8:17 / /var/lib rw - xfs /dev/sdb1 rw\n";
        assert_eq!(ask("/var/lib/etcd", disk, state).map(|found| found.device), Ok(disk));
    }

    #[test]
    fn a_number_that_is_not_the_superblocks_is_not_used() {
        let subvolume = Device { major: 0, minor: 31 };
        assert_eq!(ask("/etc/kubernetes", subvolume, ""), Err(Skipped::OtherDevice));
    }
}
