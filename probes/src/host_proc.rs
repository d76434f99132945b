//! The host's /proc: mounts of its processes, and to which container one belongs. Reads `mountinfo`, `cgroup` and `partitions`,
//! which any process may; it opens nothing that a process has open, and follows none of its links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cgroup::{Container, parse_cgroup};
use crate::mountinfo::{Mounts, parse_first_id};
use crate::naming::Partitions;

/// The host's /proc as this process sees it.
#[derive(Clone, Debug)]
pub struct HostProc {
    root: PathBuf,
}

impl HostProc {
    /// At `root`, such as /host/proc.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The file to be woken by when the host's mounts change.
    #[must_use]
    pub fn host_mountinfo(&self) -> PathBuf {
        self.root.join("1/mountinfo")
    }

    /// The host's mounts.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn host_mounts(&self) -> std::io::Result<Mounts> {
        Ok(Mounts::parse(&std::fs::read(self.host_mountinfo())?))
    }

    /// The mounts that a process sees; `None` if it is gone.
    #[must_use]
    pub fn mounts_of(&self, process: u32) -> Option<Mounts> {
        let text = std::fs::read(self.root.join(format!("{process}/mountinfo"))).ok()?;
        (!text.is_empty()).then(|| Mounts::parse(&text))
    }

    /// The mounts of every namespace, each once. A namespace is known by the id of its first mount, which no other has.
    #[must_use]
    pub fn every(&self) -> Vec<Mounts> {
        let mut first: BTreeMap<u32, u32> = BTreeMap::new();
        for process in self.processes() {
            if let Some(id) = self.first_id(process) {
                first.entry(id).or_insert(process);
            }
        }
        first.into_values().filter_map(|process| self.mounts_of(process)).collect()
    }

    /// Ids of all mounts in these namespaces.
    #[must_use]
    pub fn ids(namespaces: &[Mounts]) -> BTreeSet<u32> {
        namespaces.iter().flat_map(|mounts| mounts.all().iter().map(|mount| mount.id)).collect()
    }

    /// Whose a process is; nobody's if it is gone.
    #[must_use]
    pub fn container(&self, process: u32) -> Container {
        let text = std::fs::read_to_string(self.root.join(format!("{process}/cgroup")));
        text.map(|text| parse_cgroup(&text)).unwrap_or_default()
    }

    /// What the kernel calls its block devices.
    #[must_use]
    pub fn partitions(&self) -> Partitions {
        let text = std::fs::read_to_string(self.root.join("partitions")).unwrap_or_default();
        Partitions::parse(&text)
    }

    fn processes(&self) -> Vec<u32> {
        let Ok(folder) = std::fs::read_dir(&self.root) else { return Vec::new() };
        let names = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        names.collect()
    }

    /// Without reading the rest of the file.
    fn first_id(&self, process: u32) -> Option<u32> {
        let mut begin = [0; 32];
        let mut file = File::open(self.root.join(format!("{process}/mountinfo"))).ok()?;
        let count = file.read(&mut begin).ok()?;
        parse_first_id(&begin[..count])
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::HostProc;

    #[test]
    fn this_process_mounts_are_among_those_of_every_namespace() {
        let proc = HostProc::new(Path::new("/proc"));
        let own = proc.mounts_of(std::process::id()).unwrap();
        let ids = HostProc::ids(&proc.every());
        assert!(own.all().iter().all(|mount| ids.contains(&mount.id)));
        assert!(proc.mounts_of(u32::MAX).is_none());
    }
}
