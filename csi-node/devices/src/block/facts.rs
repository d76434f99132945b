//! What the kernel tells of a device besides what decides about its use; read anew at every look, since an administrator may change it.

use std::path::Path;

use terrace_device_types::{Bytes, DeviceFacts, DeviceKind, PartitionView, Stack, WriteCache};

use super::{Node, sorted_names};
use crate::sysfs::{attribute, number};

/// All but how it is connected.
pub(super) fn observe_facts(node: &Node, kind: DeviceKind) -> DeviceFacts {
    let Node { name, dir, disk } = node;
    let stack = observe_stack(dir, name);
    DeviceFacts {
        sequence: number(&disk.join("diskseq")),
        transport: None,
        state: attribute(&disk.join("device/state")),
        discard: discard(disk),
        write_cache: write_cache(attribute(&disk.join("queue/write_cache")).as_deref()),
        partition: (kind == DeviceKind::Partition).then(|| partition(node)).flatten(),
        stands_on: match stack {
            Some(_) => sorted_names(&dir.join("slaves")).unwrap_or_default(),
            None => Vec::new(),
        },
        stack,
    }
}

/// A disk that takes no discards has a granularity all the same.
fn discard(disk: &Path) -> Option<Bytes> {
    number(&disk.join("queue/discard_max_bytes")).filter(|most| *most > 0)?;
    number(&disk.join("queue/discard_granularity")).map(Bytes)
}

fn write_cache(text: Option<&str>) -> WriteCache {
    match text {
        Some("write back") => WriteCache::Back,
        Some("write through") => WriteCache::Through,
        Some(_) | None => WriteCache::Unknown,
    }
}

fn partition(node: &Node) -> Option<PartitionView> {
    let number_of = |what: &str| number(&node.dir.join(what));
    Some(PartitionView {
        disk: node.disk.file_name()?.to_string_lossy().into_owned(),
        number: u32::try_from(number_of("partition")?).ok()?,
        // In units of 512 bytes whatever the sector size.
        start: Bytes(number_of("start").unwrap_or_default() * 512),
        entry: None,
    })
}

/// What a device of device-mapper or md is; `None` of any other.
pub(super) fn observe_stack(dir: &Path, kernel_name: &str) -> Option<Stack> {
    if kernel_name.starts_with("dm-") {
        let name = attribute(&dir.join("dm/name"))?;
        return Some(mapped(name, &attribute(&dir.join("dm/uuid")).unwrap_or_default()));
    }
    let level = kernel_name.starts_with("md").then(|| attribute(&dir.join("md/level")))??;
    Some(Stack::Raid { level })
}

/// Who made a device-mapper device stands before the first dash of its UUID.
fn mapped(name: String, uuid: &str) -> Stack {
    match uuid.split_once('-').map_or("", |(maker, _)| maker) {
        "mpath" => Stack::Multipath { name },
        "LVM" => Stack::LogicalVolume { name },
        "CRYPT" => Stack::Crypt { name },
        _ => Stack::Mapped { name },
    }
}
