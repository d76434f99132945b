//! What the stories' pools stand on: image files in a folder, or, in a guest with disks of its own, volume groups on those. The environment says which, so that
//! the same stories are told of each backend.

use anyhow::{Context, Result, bail};

use crate::story::kubectl;

/// Names the backend of every pool that a story does not give another; image files without it.
pub const BACKEND: &str = "TERRACE_STORY_BACKEND";
/// Blank disks of this machine, which stories may use up.
pub const DISKS: &str = "TERRACE_DISKS";
/// The pool's folder on the node.
const FOLDER: &str = "/var/lib/terrace/pools/stories";

/// What a pool keeps its volumes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ground {
    /// Image files.
    Files,
    /// Logical volumes.
    Group {
        /// The backend's name in a StoragePool.
        backend: String,
    },
}

impl Ground {
    /// What the environment names.
    #[must_use]
    pub fn of_environment() -> Self {
        match std::env::var(BACKEND) {
            Ok(backend) if !backend.is_empty() && backend != "file" => Self::Group { backend },
            Ok(_) | Err(_) => Self::Files,
        }
    }

    /// The part of a StoragePool's spec that says where the pool of all stories lies.
    ///
    /// # Errors
    /// Where it wants a disk and there is none.
    pub fn spec(&self) -> Result<String> {
        Ok(match self {
            Self::Files => format!("file: {{directory: {FOLDER}}}"),
            Self::Group { backend } => {
                let disk = disks().into_iter().next();
                let disk = disk.with_context(|| format!("{DISKS} names no disk"))?;
                // Many stories share the one disk; a thin pool can promise more than it has.
                let more = if backend == "lvmThin" { "overprovision: 10" } else { "" };
                format!("devices: [{{id: {}}}], {backend}: {{{more}}}", id_of(&disk)?)
            }
        })
    }

    /// Where the node has the bytes of a volume of the pool of all stories.
    ///
    /// # Errors
    /// Where the node does not list the pool.
    pub fn bytes_of(&self, volume: &str) -> Result<String> {
        if *self == Self::Files {
            return Ok(format!("{FOLDER}/t-{volume}"));
        }
        let pool = r#"jsonpath={.items[*].status.pools[?(@.name=="stories")].uuid}"#;
        let pool = kubectl(&["get", "snode", "-o", pool])?;
        if pool.is_empty() {
            bail!("no node lists the pool of the stories");
        }
        Ok(format!("/dev/mapper/terrace--{}-t--{}", doubled(&pool), doubled(volume)))
    }
}

/// [`Ground::bytes_of`], of the ground that the environment names.
///
/// # Errors
/// As there.
pub fn bytes_of(volume: &str) -> Result<String> {
    Ground::of_environment().bytes_of(volume)
}

/// As device-mapper has it.
#[must_use]
pub fn doubled(text: &str) -> String {
    text.replace('-', "--")
}

/// The id that a StorageNode shows for a disk of a guest, which has a serial number and no other name that lasts.
///
/// # Errors
/// Where it has none.
pub fn id_of(disk: &str) -> Result<String> {
    let serial = std::fs::read_to_string(format!("/sys/block/{disk}/serial"))
        .with_context(|| format!("the serial number of {disk}"))?;
    Ok(format!("serial-{}", serial.trim()))
}

/// Names of the disks that stories may use up, below /dev.
#[must_use]
pub fn disks() -> Vec<String> {
    let all = std::env::var(DISKS).unwrap_or_default();
    all.split_whitespace().map(|disk| disk.trim_start_matches("/dev/").to_owned()).collect()
}
