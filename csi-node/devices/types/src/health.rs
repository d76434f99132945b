//! What speaks for or against a disk: what the kernel logged of it, and what it says of itself (SMART). Facts only: what follows is for a plan to say.

use std::time::Duration;

use serde::Serialize;

/// What a disk says of its own health, as far as it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SmartView {
    /// Its own verdict; `false`: it expects to fail.
    pub passed: Option<bool>,
    /// Sectors that cannot be read (ATA 197 and 198), or pieces that an NVMe disk lost.
    pub unreadable: Option<u64>,
    /// NVMe: bits of the critical warning (1 spare, 2 temperature, 4 unreliable, 8 read-only, 16 no backup of memory).
    pub warning: Option<u64>,
    /// Percent of its life that is used up; may pass 100.
    pub worn: Option<u64>,
}

/// One line of the kernel's log about a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    /// A read, write or flush failed.
    Failed {
        /// The device's kernel name.
        disk: String,
        /// When, since the boot.
        at: Duration,
    },
    /// A disk got this name: what was said of the name before is of another one, or of one that was connected anew.
    Attached {
        /// The device's kernel name.
        disk: String,
    },
}
