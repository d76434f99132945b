//! What a disk says of itself. It is asked once: some drivers ask the disk itself for it every time (virtio sends it a request). The kernel's
//! disk sequence number tells when it is another disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use terrace_device_types::Transport;

use crate::sysfs::{attribute, number};

/// More disks than a node has had since its boot; beyond, all are asked anew.
const KEPT: usize = 1024;

/// From how a disk is placed among the kernel's devices. The nearest bus comes first: a USB disk hangs on a PCI bus too, and a SCSI host is
/// below most of the others.
const PLACES: [(&str, Transport); 8] = [
    ("/usb", Transport::Usb),
    ("/ata", Transport::Ata),
    ("/end_device-", Transport::Sas),
    ("/rport-", Transport::FibreChannel),
    ("/session", Transport::Iscsi),
    ("/mmc_host/", Transport::Mmc),
    ("/virtio", Transport::Virtio),
    ("/host", Transport::Scsi),
];

/// Who a disk is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) wwn: Option<String>,
    pub(super) transport: Option<Transport>,
    pub(super) removable: bool,
}

/// Disks that were asked already, by sequence number.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownDisks(Arc<Mutex<BTreeMap<u64, Identity>>>);

impl KnownDisks {
    /// Of the disk in that folder of sysfs. Without a sequence number (before Linux 5.15) it is asked every time.
    pub(super) fn identity(&self, disk: &Path, sequence: Option<u64>) -> Identity {
        let Some(sequence) = sequence else { return observe_identity(disk) };
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&sequence) {
            return known.clone();
        }
        let identity = observe_identity(disk);
        let mut known = lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(sequence, identity.clone());
        identity
    }
}

fn observe_identity(disk: &Path) -> Identity {
    let first = |names: &[&str]| names.iter().find_map(|name| attribute(&disk.join(name)));
    let name = disk.file_name().map(|name| name.to_string_lossy().into_owned());
    let place = std::fs::read_link(disk).map(|place| place.to_string_lossy().into_owned());
    let (name, place) = (name.unwrap_or_default(), place.unwrap_or_default());
    Identity {
        model: first(&["device/model"]),
        serial: first(&["device/serial", "serial"]),
        wwn: first(&["wwid", "device/wwid"]),
        transport: transport(&name, &place, first(&["device/transport"]).as_deref()),
        removable: number(&disk.join("removable")) == Some(1),
    }
}

/// From the kernel's name, its place among the kernel's devices, and what an NVMe controller says.
fn transport(name: &str, place: &str, fabric: Option<&str>) -> Option<Transport> {
    if name.starts_with("nvme") {
        let is_local = fabric.is_none_or(|fabric| fabric == "pcie");
        return Some(if is_local { Transport::Nvme } else { Transport::NvmeOfFabrics });
    }
    PLACES.iter().find(|(part, _)| place.contains(part)).map(|(_, transport)| *transport)
}
