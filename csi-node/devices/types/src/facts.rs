//! What the kernel tells of a block device besides what decides about its use: how it is connected, what it can do, what it is made of.

use std::fmt;

use serde::Serialize;

use crate::Bytes;

/// Facts for people, and for telling one device from the next of its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeviceFacts {
    /// A number that no other disk has had since the boot (`diskseq`, Linux 5.15).
    pub sequence: Option<u64>,
    /// How it is connected.
    pub transport: Option<Transport>,
    /// What a discard frees at least; `None`: it takes none.
    pub discard: Option<Bytes>,
    /// When a write is on the medium.
    pub write_cache: WriteCache,
    /// The part of a disk that it is.
    pub partition: Option<PartitionView>,
    /// SCSI's or NVMe's word for whether it serves (`running`, `offline`; `live`, `dead`).
    pub state: Option<String>,
    /// What it is made of, where other devices carry it.
    pub stack: Option<Stack>,
    /// Kernel names of the devices that carry it.
    pub stands_on: Vec<String>,
}

/// How a disk is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Transport {
    /// NVMe on PCI Express.
    Nvme,
    /// NVMe over a network.
    NvmeOfFabrics,
    /// ATA, serial or parallel.
    Ata,
    /// Serial attached SCSI.
    Sas,
    /// SCSI over Fibre Channel.
    FibreChannel,
    /// SCSI over IP.
    Iscsi,
    /// USB.
    Usb,
    /// SD card or eMMC.
    Mmc,
    /// A disk of a hypervisor.
    Virtio,
    /// SCSI by other ways.
    Scsi,
}

impl Transport {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::NvmeOfFabrics => "nvme-of",
            Self::Ata => "ata",
            Self::Sas => "sas",
            Self::FibreChannel => "fc",
            Self::Iscsi => "iscsi",
            Self::Usb => "usb",
            Self::Mmc => "mmc",
            Self::Virtio => "virtio",
            Self::Scsi => "scsi",
        }
    }
}

/// When a write is on the medium.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum WriteCache {
    /// The kernel does not say.
    #[default]
    Unknown,
    /// When it is done.
    Through,
    /// After a flush.
    Back,
}

impl WriteCache {
    /// The kernel's words, where it says.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Through => Some("write through"),
            Self::Back => Some("write back"),
        }
    }
}

/// The part of a disk that a partition is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionView {
    /// Kernel name of the disk.
    pub disk: String,
    /// Its number in the table.
    pub number: u32,
    /// Where it begins.
    pub start: Bytes,
    /// What the table says of it; nobody looked, or it says nothing.
    pub entry: Option<PartitionEntry>,
}

/// A partition as its table has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionEntry {
    /// What kind of table: `gpt`, `dos`.
    pub table: String,
    /// Its type: a GUID, or a number such as `0x83`.
    pub kind: String,
}

/// What one device is made of others as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Stack {
    /// Several paths to one disk.
    Multipath {
        /// Its name.
        name: String,
    },
    /// A logical volume.
    LogicalVolume {
        /// Group and volume, as device-mapper names them.
        name: String,
    },
    /// An encrypted device.
    Crypt {
        /// Its name.
        name: String,
    },
    /// Something else of device-mapper.
    Mapped {
        /// Its name.
        name: String,
    },
    /// An array of md.
    Raid {
        /// Such as `raid1`.
        level: String,
    },
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multipath { name } => write!(f, "multipath {name}"),
            Self::LogicalVolume { name } => write!(f, "logical volume {name}"),
            Self::Crypt { name } => write!(f, "encrypted {name}"),
            Self::Mapped { name } => write!(f, "mapped {name}"),
            Self::Raid { level } => write!(f, "array {level}"),
        }
    }
}
