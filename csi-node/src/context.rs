//! What the kubelet's calls and the agent share: the runner, the pools, who we are, and a way to tell the
//! agent that a volume changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use terrace_backends::backend_of;
use terrace_device_types::{ClusterUid, Intent, Step, VolumeUuid};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::host::{Host, Probe};
use crate::inventory::{self, Located, Wanted};
use crate::pools::Pools;
use crate::runner::{self, Runner};

/// How long a look at the host may take before it is given up.
pub const LOOK_DEADLINE: Duration = Duration::from_secs(20);
/// Looks at once. The kubelet asks again and again; were each look at a dead disk to keep a thread, they would all be
/// gone one day, and operations and journal with them.
static LOOKS: Semaphore = Semaphore::const_new(64);

/// Shared by all parts of the node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// Runs operations.
    pub runner: Runner,
    /// Where pools lie.
    pub pools: Pools,
    /// UID of kube-system, once known.
    pub cluster: watch::Receiver<Option<ClusterUid>>,
    /// Names of volumes of which the kubelet changed something.
    pub changed: mpsc::UnboundedSender<String>,
    /// The kubelet's folder.
    pub kubelet_dir: PathBuf,
}

/// Why a look at the host gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It takes too long.
    #[error("the host did not answer within {after_s} s")]
    Hangs {
        /// For how long, in seconds.
        after_s: u64,
    },
    /// The code that looked panicked.
    #[error("the look at the host panicked")]
    Panicked,
}

impl Context {
    /// The cluster, if it is known by now.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterUid> {
        self.cluster.borrow().clone()
    }

    /// Tells the agent to look at a volume again.
    pub fn tell_changed(&self, name: &str) {
        // Without an agent (a test) nobody listens.
        let _ = self.changed.send(name.to_owned());
    }

    /// Runs a blocking look at the host off the async threads.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn Host) -> T + Send + 'static,
    ) -> Result<T, LookError> {
        let host = Arc::clone(&self.runner.host);
        let task = async {
            let place = LOOKS.acquire().await.map_err(|_| LookError::Panicked)?;
            // A look that is given up keeps its place until the kernel lets it go.
            let looked = tokio::task::spawn_blocking(move || (look(&*host), place)).await;
            looked.map(|(answer, _)| answer).map_err(|_| LookError::Panicked)
        };
        match tokio::time::timeout(LOOK_DEADLINE, task).await {
            Ok(answer) => answer,
            Err(_) => Err(LookError::Hangs { after_s: LOOK_DEADLINE.as_secs() }),
        }
    }

    /// As [`inventory::mounted`].
    ///
    /// # Errors
    /// If the host does not answer.
    pub async fn mounted(
        &self,
        cluster: &ClusterUid,
        name: &str,
        path: &Path,
    ) -> Result<Option<Located>, LookError> {
        let (pools, cluster) = (self.pools.clone(), cluster.clone());
        let (name, path) = (name.to_owned(), path.to_owned());
        self.look(move |host| inventory::mounted(host, &pools, &cluster, &name, &path)).await
    }

    /// Finds a volume's host object.
    ///
    /// # Errors
    /// The outer one if the host does not answer, the inner one if there is no such object.
    pub async fn find(
        &self,
        cluster: &ClusterUid,
        wanted: Wanted<'_>,
    ) -> Result<Result<Located, inventory::Error>, LookError> {
        let (pools, cluster) = (self.pools.clone(), cluster.clone());
        let Wanted { name, uuid, pool, scope } = wanted;
        let (name, pool) = (name.to_owned(), pool.map(str::to_owned));
        self.look(move |host| {
            let wanted = Wanted { name: &name, uuid, pool: pool.as_deref(), scope };
            inventory::find(host, &pools, &cluster, &wanted)
        })
        .await
    }
}

/// Looks at a volume and plans; what every operation on a volume does first.
///
/// # Errors
/// As [`Host::view`] and [`Backend::plan`].
pub fn observe_and_plan(
    host: &dyn Host,
    pool_dir: &std::path::Path,
    volume: VolumeUuid,
    probe: Probe,
    intent: &Intent,
) -> Result<Vec<Step>, runner::Error> {
    let view =
        host.volume(pool_dir, volume, intent.source(), probe).map_err(runner::Error::Observe)?;
    Ok(backend_of(&view.pool).plan(intent, &view)?)
}
