//! Whether what lies below a volume serves, from all that the node sees of it: the filesystem itself, the errors that the probe
//! counted, and the disks of its pool. Pure: no clock, no host.

use jiff::{SignedDuration, Timestamp};
use terrace_crds::Reason;
use terrace_device_types::MountPoint;
use terrace_devices::DeviceError;
use terrace_probe_abi::wire::ErrorTotals;

/// How long after its last error a volume counts as failing.
pub const DWELL: SignedDuration = SignedDuration::from_mins(5);

/// What a mounted filesystem does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilesystemState {
    /// It is not mounted here, or nobody looked yet.
    #[default]
    NotSeen,
    /// It serves.
    Serves,
    /// It was mounted for writing and takes no writes any more.
    ReadOnly,
    /// It shut itself down.
    ShutDown,
}

/// What a look at a staged filesystem showed. XFS answers EIO once it is shut down; ext4 says so among its options (`shutdown`,
/// `emergency_ro`: Linux 6.15; before that only the probe's errors tell). After an error ext4 and btrfs become read-only below a
/// mount that is not.
#[must_use]
pub fn filesystem_state(mount: &MountPoint, failed: Option<&DeviceError>) -> FilesystemState {
    let has = |options: &[String], name: &str| options.iter().any(|option| option == name);
    let errno = failed.and_then(|error| {
        if let DeviceError::Io { source, .. } = error { source.raw_os_error() } else { None }
    });
    let superblock = &mount.super_options;
    if errno == Some(rustix::io::Errno::IO.raw_os_error()) || has(superblock, "shutdown") {
        return FilesystemState::ShutDown;
    }
    let is_read_only = has(superblock, "emergency_ro") || has(superblock, "ro");
    if is_read_only && has(&mount.options, "rw") {
        return FilesystemState::ReadOnly;
    }
    FilesystemState::Serves
}

/// Errors of a volume that the probe told of lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// EIO since the first of them.
    pub eio: u64,
    /// EROFS since the first of them.
    pub erofs: u64,
    /// When the first of them was told.
    pub since: Timestamp,
    /// When the last of them was told.
    pub last: Timestamp,
}

impl Failing {
    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.last) >= DWELL
    }

    /// Cause and remedy.
    #[must_use]
    pub fn message(&self) -> String {
        let Self { eio, erofs, since, last: _ } = self;
        let counted =
            [(*eio, "EIO"), (*erofs, "EROFS")].into_iter().filter(|(count, _)| *count > 0);
        let counted: Vec<String> =
            counted.map(|(count, name)| format!("{count} with {name}")).collect();
        let since = second(*since);
        format!(
            "operations failed since {since}: {}; check the disk below and the kernel's log of the node, and back the data up",
            counted.join(", ")
        )
    }
}

/// To the second: more says nothing to people.
pub(super) fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Errors of a volume as they were last told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorTrack {
    totals: Option<ErrorTotals>,
    /// Those of late.
    pub failing: Option<Failing>,
}

impl ErrorTrack {
    /// What follows from totals told at `now`. The first ones are of any age and prove nothing; smaller ones are of a new count.
    #[must_use]
    pub fn after(&self, totals: ErrorTotals, now: Timestamp) -> Self {
        let grown = |before: u64, after: u64| after.saturating_sub(before);
        let failing = self.failing.filter(|failing| !failing.is_over(now));
        let (eio, erofs) = match self.totals {
            None => (0, 0),
            Some(before) if totals.eio < before.eio || totals.erofs < before.erofs => {
                (totals.eio, totals.erofs)
            }
            Some(before) => (grown(before.eio, totals.eio), grown(before.erofs, totals.erofs)),
        };
        let failing = if eio + erofs == 0 {
            failing
        } else {
            let begun = failing.unwrap_or(Failing { eio: 0, erofs: 0, since: now, last: now });
            Some(Failing { eio: begun.eio + eio, erofs: begun.erofs + erofs, last: now, ..begun })
        };
        Self { totals: Some(totals), failing }
    }
}

/// All that is known against a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The disks of its pool.
    pub disks: Option<Ailment>,
    /// Its filesystem.
    pub filesystem: FilesystemState,
    /// Its errors.
    pub failing: Option<Failing>,
    /// Whether this process has watched long enough to know that there are no errors.
    pub watched: Watched,
}

/// How long the errors were watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watched {
    /// Long enough: what an earlier process said is past.
    #[default]
    Enough,
    /// Not yet: what an earlier process said may still hold.
    Briefly,
}

/// Something that speaks against a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ailment {
    /// Which, from the closed list.
    pub reason: Reason,
    /// Cause and remedy.
    pub message: String,
}

impl Health {
    /// What speaks against the volume, worst first.
    #[must_use]
    pub fn ailments(&self) -> Vec<Ailment> {
        let filesystem = match self.filesystem {
            FilesystemState::NotSeen | FilesystemState::Serves => None,
            FilesystemState::ShutDown => Some(Ailment {
                reason: Reason::FilesystemShutDown,
                message: "the filesystem shut itself down: every access is an error; see the kernel's log of the node, then end the Pods that use it, so that it is mounted anew".to_owned(),
            }),
            FilesystemState::ReadOnly => Some(Ailment {
                reason: Reason::ReadOnlyFilesystem,
                message: "the kernel made the filesystem read-only after an error; see its log on the node, then end the Pods that use it, so that it is checked and mounted anew".to_owned(),
            }),
        };
        let errors = self
            .failing
            .map(|failing| Ailment { reason: Reason::IoErrors, message: failing.message() });
        filesystem.into_iter().chain(errors).chain(self.disks.clone()).collect()
    }
}

#[cfg(test)]
#[path = "health/tests.rs"]
mod tests;
