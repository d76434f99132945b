//! Use of volumes, and whether they are nearly full. The decisions are pure; the look is one `statvfs`
//! for each mounted volume, no command, and nothing is written while nothing moves (I8).

use jiff::{SignedDuration, Timestamp};
use terrace_crds::condition::{Truth, Verdict};
use terrace_crds::volume::Usage as WireUsage;
use terrace_crds::{ConditionType, Reason, Size};
use terrace_device_types::Bytes;

use crate::host::Usage;

/// A move of so many percent of the whole is reported at once.
const MOVED_PERCENT: u64 = 1;
/// A smaller move is reported after so long.
const STALE: SignedDuration = SignedDuration::from_mins(10);
/// Pressure ends only so many percent below the threshold, or it would flap.
const HYSTERESIS_PERCENT: u64 = 2;

/// Whether a volume is nearly full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// It is not mounted: nobody looked.
    #[default]
    Unknown,
    /// Below every threshold.
    None,
    /// Above one.
    High {
        /// Bytes or inodes, or the pool itself.
        reason: Reason,
        /// Cause and remedy.
        message: String,
    },
}

impl Pressure {
    /// The condition.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let kind = ConditionType::CapacityPressure;
        match self {
            Self::Unknown => {
                let message = "the volume is not mounted here, so its use is not known";
                Verdict::new(kind, Truth::Unknown, Reason::WaitingForNode, message)
            }
            Self::None => {
                let message = "bytes and inodes are below the threshold";
                Verdict::new(kind, Truth::False, Reason::BelowThreshold, message)
            }
            Self::High { reason, message } => {
                Verdict::new(kind, Truth::True, *reason, message.clone())
            }
        }
    }

    /// Whether it is high.
    #[must_use]
    pub const fn is_high(&self) -> bool {
        match self {
            Self::High { .. } => true,
            Self::None | Self::Unknown => false,
        }
    }
}

/// What was last reported of a volume, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The figures.
    pub usage: WireUsage,
    /// When.
    pub at: Timestamp,
}

/// The figures on the wire.
#[must_use]
pub fn to_wire(view: &Usage) -> WireUsage {
    let Usage { total, used, available: _, inodes: inodes_total, inodes_used, inodes_free: _ } =
        view;
    WireUsage {
        total_bytes: Size::from_bytes(total.0),
        used_bytes: Size::from_bytes(used.0),
        total_inodes: *inodes_total,
        used_inodes: *inodes_used,
    }
}

/// Whether what is seen now is worth a write.
#[must_use]
pub fn is_worth_reporting(seen: &Usage, reported: Option<&Reported>, now: Timestamp) -> bool {
    let Some(Reported { usage, at }) = reported else { return true };
    if to_wire(seen) == *usage {
        return false;
    }
    let bytes = |size: &Size| size.bytes().unwrap_or(0);
    let total_moved = bytes(&usage.total_bytes) != seen.total.0;
    let bytes_moved = bytes(&usage.used_bytes).abs_diff(seen.used.0);
    let inodes_moved = usage.used_inodes.abs_diff(seen.inodes_used);
    let far = |moved: u64, total: u64| total > 0 && moved * 100 >= total * MOVED_PERCENT;
    total_moved
        || far(bytes_moved, seen.total.0)
        || far(inodes_moved, seen.inodes)
        || now.duration_since(*at) >= STALE
}

/// Whether the volume is nearly full; `before` keeps it so until use has fallen a little below.
#[must_use]
pub fn plan_pressure(seen: &Usage, threshold_percent: u8, before: &Pressure) -> Pressure {
    let threshold = u64::from(threshold_percent);
    let least =
        if before.is_high() { threshold - HYSTERESIS_PERCENT.min(threshold) } else { threshold };
    let percent = |used: u64, total: u64| (used * 100).checked_div(total).unwrap_or(0);
    let reachable = Bytes(seen.used.0 + seen.available.0);
    let bytes = percent(seen.used.0, reachable.0);
    let inodes = percent(seen.inodes_used, seen.inodes);
    if bytes >= least {
        let (used, total) = (Size::rounded(seen.used.0), Size::rounded(reachable.0));
        return Pressure::High {
            reason: Reason::BytesAboveThreshold,
            message: format!(
                "{bytes} % of its bytes are used ({used} of {total}): resize the volume or clean up data"
            ),
        };
    }
    if inodes >= least {
        let (used, total) = (seen.inodes_used, seen.inodes);
        return Pressure::High {
            reason: Reason::InodesAboveThreshold,
            message: format!(
                "{inodes} % of its inodes are used ({used} of {total}): resize the volume or clean up data"
            ),
        };
    }
    Pressure::None
}

#[cfg(test)]
#[path = "usage/tests.rs"]
mod tests;
