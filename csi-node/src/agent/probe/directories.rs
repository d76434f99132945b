//! Numbers of things on the host that the probe cannot look at itself: folders with a class of their own, and device nodes. It only
//! calls `stat`.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use terrace_probe_abi::wire::{Device, DirectoryName};

/// Folders that are told apart from the rest of the host unless a flag names others: what is written there is the cluster's own
/// state, its containers and their logs.
pub const DEFAULT: &str = "/etc/kubernetes,/var/lib/etcd,/var/lib/docker/containers,/var/lib/containerd,/var/log/containers";

/// Those of `paths` that are there, below `root`.
#[must_use]
pub fn look(root: &Path, paths: &[String]) -> Vec<DirectoryName> {
    let found = paths.iter().filter_map(|path| {
        let there = std::fs::metadata(root.join(path.trim_start_matches('/'))).ok()?;
        let device = device(there.dev());
        there.is_dir().then(|| DirectoryName { path: path.clone(), device, inode: there.ino() })
    });
    found.collect()
}

/// The number of a device node; `None` where there is none.
#[must_use]
pub fn device_node(path: &Path) -> Option<Device> {
    let there = std::fs::metadata(path).ok()?;
    there.file_type().is_block_device().then(|| device(there.rdev()))
}

fn device(number: u64) -> Device {
    Device { major: rustix::fs::major(number), minor: rustix::fs::minor(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_there_are_told_by_number_and_files_are_not() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("var/lib/etcd")).expect("made");
        std::fs::write(root.path().join("var/lib/file"), b"").expect("made");
        let paths = ["/var/lib/etcd", "/var/lib/file", "/etc/kubernetes"].map(str::to_owned);
        let found = look(root.path(), &paths);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "/var/lib/etcd", "as the host calls it");
        let there = std::fs::metadata(root.path().join("var/lib/etcd")).expect("there");
        assert_eq!(found[0].inode, there.ino());
        assert_eq!(device_node(root.path()), None);
    }
}
