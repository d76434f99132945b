//! What the probe measured, as the status of a volume and of a node shows it. Pure: decides nothing, measures nothing.

use std::{borrow::Cow, fmt, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Period;

/// How long an operation took: text with a unit and at most three digits that matter (`850us`, `1.25ms`, `12.4ms`, `2.1s`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Took(String);

/// The text is no such time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time that an operation took: a number with ns, us, ms or s, such as 1.25ms")]
pub struct TookError(pub String);

/// (unit, its length in nanoseconds), longest first.
const UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

impl Took {
    /// So many nanoseconds, rounded to three digits.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Self {
        let mut scale = 1_u64;
        while nanos / scale >= 1_000 {
            scale *= 10;
        }
        let rounded =
            (nanos / scale + u64::from(nanos % scale >= scale.div_ceil(2) && scale > 1)) * scale;
        let unit = UNITS.into_iter().find(|(_, length)| rounded >= *length);
        let (unit, length) = unit.unwrap_or(("ns", 1));
        let (whole, rest) = (rounded / length, rounded % length);
        if rest == 0 {
            return Self(format!("{whole}{unit}"));
        }
        let hundredths = rest * 100 / length;
        let text = format!("{whole}.{hundredths:02}");
        Self(format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.')))
    }

    /// In nanoseconds, as exactly as the text is.
    ///
    /// # Errors
    /// [`TookError`] where the text is malformed.
    pub fn nanos(&self) -> Result<u64, TookError> {
        parse_took(&self.0).ok_or_else(|| TookError(self.0.clone()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Took {
    type Err = TookError;
    fn from_str(text: &str) -> Result<Self, TookError> {
        let took = Self(text.to_owned());
        took.nanos().map(|_| took.clone())
    }
}

fn parse_took(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || rest.len() > 2 {
        return None;
    }
    let hundredths: u64 = format!("{rest:0<2}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(length)?.checked_add(hundredths * length / 100)
}

impl JsonSchema for Took {
    fn schema_name() -> Cow<'static, str> {
        "Took".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 16,
            "pattern": r"^[0-9]+(\.[0-9]{1,2})?(ns|us|ms|s)$",
        })
    }
}

/// Latency of a volume's operations within one window, measured in the kernel below the system call.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.read) || has(self.write) || has(self.fsync) || has(self.readdir)").message("latency without an operation says nothing"))]
pub struct VolumeLatency {
    /// Length of the window that the figures are of.
    pub window: Period,
    /// The largest p99 among the operations: what `spec.latencyTarget` is held against.
    pub p99: Took,
    /// Reads: read, pread, readv, preadv.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<OperationLatency>,
    /// Writes: write, pwrite, writev, pwritev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<OperationLatency>,
    /// Flushes: fsync, fdatasync, sync_file_range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsync: Option<OperationLatency>,
    /// Listings of directories: getdents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readdir: Option<OperationLatency>,
}

/// Figures of one operation within the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationLatency {
    /// Operations that ended, a second.
    #[schemars(range(min = 0.0))]
    pub ops_per_second: f64,
    /// Mean.
    pub average: Took,
    /// Half of the operations took at most this.
    pub p50: Took,
    /// 95 of 100 took at most this.
    pub p95: Took,
    /// 99 of 100 took at most this.
    pub p99: Took,
    /// The slowest one.
    pub max: Took,
    /// Operations that took longer than the volume's threshold.
    pub slow: u64,
}

/// When and how often a volume is used; metadata scans and Terrace's own reads never count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// The last read or write that the probe saw.
    pub last: Time,
    /// Reads and writes a day, over the time that the probe has watched, at most a day.
    #[schemars(range(min = 0.0))]
    pub per_day: f64,
}

/// How the probe of a node does its work.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Version of the probe.
    #[schemars(length(max = 64))]
    pub version: String,
    /// Kernel release that it attached to.
    #[schemars(length(max = 128))]
    pub kernel: String,
    /// What it watches, and how; by function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub functions: Vec<ProbeFunction>,
    /// Ways by which bytes move that its tier cannot see: `mmap`, `splice` ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub unobservable: Vec<String>,
    /// Operations that it saw and could not count, by reason; written anew when a number has doubled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["reason".into()]))]
    pub missed: Vec<Missed>,
}

/// One function of the kernel that the probe watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeFunction {
    /// Its name: `vfs_read` ...
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// How it is watched.
    pub tier: ProbeTier,
    /// Why not by a better way; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub reason: Option<String>,
}

/// How a function of the kernel is watched, best first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ProbeTier {
    /// fentry and fexit programs.
    Fentry,
    /// kprobe and kretprobe programs.
    Kprobe,
    /// Raw tracepoints of system calls.
    RawTracepoint,
    /// Not at all.
    None,
}

impl ProbeTier {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fentry => "Fentry",
            Self::Kprobe => "Kprobe",
            Self::RawTracepoint => "RawTracepoint",
            Self::None => "None",
        }
    }
}

/// Operations that were seen and not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missed {
    /// Why: `no_slot`, `compat` ...
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// How many, since the probe attached.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::Took;

    #[test]
    fn times_keep_three_digits_and_the_unit_that_reads_best() {
        let known = [
            (0, "0ns"),
            (7, "7ns"),
            (999, "999ns"),
            (1_000, "1us"),
            (1_004, "1us"),
            (1_005, "1.01us"),
            (850_400, "850us"),
            (999_499, "999us"),
            (999_500, "1ms"),
            (1_254_000, "1.25ms"),
            (12_449_999, "12.4ms"),
            (2_100_000_000, "2.1s"),
            (16_000_000_000, "16s"),
            (u64::MAX, "18400000000s"),
        ];
        for (nanos, text) in known {
            assert_eq!(Took::from_nanos(nanos).as_str(), text);
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        for nanos in [0, 7, 1_000, 1_010, 850_000, 1_250_000, 12_400_000, 2_100_000_000] {
            assert_eq!(Took::from_nanos(nanos).nanos(), Ok(nanos));
        }
        for text in ["", "ms", ".5ms", "1.ms", "1.234ms", "-1ms", "1h", "1 ms"] {
            assert!(text.parse::<Took>().is_err(), "{text}");
        }
    }
}
