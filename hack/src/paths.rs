//! Where everything lies: the work tree, the user's cache, the rig's state. It only computes names, it creates nothing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders of one work tree.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// Top of the work tree.
    pub(crate) repo: PathBuf,
    /// The user's cache folder for this project; shared by clones.
    pub(crate) cache: PathBuf,
    /// Cargo's target folder for everything but this program.
    pub(crate) target: PathBuf,
    /// The rig's folder in the work tree; absolute and without links.
    pub(crate) rig: PathBuf,
}

impl Paths {
    /// Reads the environment (`XDG_CACHE_HOME`, `HOME`, `CARGO_TARGET_DIR`).
    pub(crate) fn from_env() -> Result<Self> {
        // Also set, to another crate's folder, when a test calls this program.
        let crate_dir = env::var("CARGO_MANIFEST_DIR")
            .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let repo = crate_dir.ancestors().find(|dir| dir.join("hack/go").is_dir());
        let repo = repo
            .with_context(|| format!("{} is in no work tree of Terrace", crate_dir.display()))?
            .canonicalize()?;
        let home_cache = || env::var("HOME").map(|home| Path::new(&home).join(".cache"));
        let cache = env::var("XDG_CACHE_HOME")
            .map_or_else(|_| home_cache(), |dir| Ok(PathBuf::from(dir)))?
            .join("terrace");
        let target =
            env::var("CARGO_TARGET_DIR").map_or_else(|_| cache.join("target"), PathBuf::from);
        let rig = repo.join(".rig");
        Ok(Self { repo, cache, target, rig })
    }

    /// Built tools, one folder a set of versions.
    pub(crate) fn bin(&self) -> PathBuf {
        self.cache.join("bin")
    }

    /// Image layers and archives.
    pub(crate) fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// Our own binaries, in the profile of tests and rig.
    pub(crate) fn ours(&self, name: &str) -> PathBuf {
        self.target.join("ci").join(name)
    }

    /// What goes away with the rig.
    pub(crate) fn state(&self) -> PathBuf {
        self.rig.join("state")
    }

    /// Configuration and keys the rig writes for its parts.
    pub(crate) fn conf(&self) -> PathBuf {
        self.rig.join("conf")
    }

    /// One log file a part; kept by `down`, started anew by `up`.
    pub(crate) fn log(&self) -> PathBuf {
        self.rig.join("log")
    }

    /// There while the rig's state is to outlive a power loss.
    pub(crate) fn durable(&self) -> PathBuf {
        self.rig.join("durable")
    }

    /// The administrator's kubeconfig, usable from any shell of this machine.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.rig.join("kubeconfig")
    }
}
