//! Which disks there are, with their partitions. `/proc/partitions` tells both at once and leaves out what has no size: free loop devices and
//! drives without a medium, of which there are many.

use std::path::Path;

use crate::DeviceError;
use crate::host::{Host, read_text};

/// Kernel names that are no storage of their own.
const NOT_DISKS: [&str; 5] = ["ram", "zram", "fd", "sr", "nbd"];

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) partitions: Vec<String>,
}

/// Every disk, sorted by kernel name as sysfs writes it.
pub(super) fn observe_listed(host: &Host) -> Result<Vec<Listed>, DeviceError> {
    let text = read_text(&host.proc.join("partitions"))?;
    let block = host.sys.join("block");
    let mut disks: Vec<Listed> = Vec::new();
    for name in parse_names(&text) {
        match disks.last_mut().filter(|disk| is_partition(&block, &disk.name, &name)) {
            Some(disk) => disk.partitions.push(name),
            None => disks.push(Listed { name, partitions: Vec::new() }),
        }
    }
    disks.retain(|disk| !NOT_DISKS.iter().any(|prefix| disk.name.starts_with(prefix)));
    disks.iter_mut().for_each(|disk| disk.partitions.sort());
    disks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(disks)
}

/// The fourth column, below a head of two lines; sysfs writes '!' for the '/' in names such as cciss/c0d0.
fn parse_names(text: &str) -> impl Iterator<Item = String> {
    let names = text.lines().skip(2).filter_map(|line| line.split_whitespace().nth(3));
    names.map(|name| name.replace('/', "!"))
}

/// A partition follows its disk, whose name is the beginning of its own; so may `dm-10` follow `dm-1`.
fn is_partition(block: &Path, disk: &str, name: &str) -> bool {
    name.starts_with(disk) && block.join(disk).join(name).join("partition").exists()
}
