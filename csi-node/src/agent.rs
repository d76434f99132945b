//! The agent: keeps pools and volumes of this node as the API asks, and reports what the host shows. It
//! watches only what is assigned to its node, and writes only when what is there differs.

pub mod api;
mod copy;
pub mod deletion;
pub mod desired;
pub mod disk_health;
pub mod disk_watch;
pub mod disks;
pub mod events;
pub mod evidence;
pub mod health;
pub mod node;
pub mod node_status;
pub mod objects;
pub mod orphans;
mod owner;
pub mod pool;
pub mod pool_plan;
pub mod probe;
pub mod report;
pub mod room;
pub mod snapshot;
pub mod stock;
pub mod sweep;
pub mod sweep_plan;
pub mod thin_watch;
pub mod usage;
pub mod usage_watch;
pub mod verdict;
pub mod volume;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use terrace_crds::condition::Verdict;
use terrace_device_types::{Allocation, BackendKind, DeviceView, PoolUuid, VolumeUuid};
use tokio::sync::Notify;

use crate::context::Context;
use api::ApiServer;
use disk_health::Signs;
use events::Events;
use health::{Ailment, FilesystemState};
use objects::Objects;
use probe::board::Board;
use sweep_plan::FirstSeen;
use usage::{Pressure, Reported};

/// How long what an operation left behind must have been left before the sweeper takes it, unless a flag says otherwise.
const SWEEP_AFTER: Duration = Duration::from_secs(600);

/// What a StoragePool says about its volumes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFacts {
    /// Its name.
    pub name: String,
    /// Its tier.
    pub tier: String,
    /// How it keeps volumes.
    pub backend: BackendKind,
    /// Whether images take their space at once.
    pub allocation: Allocation,
}

/// What was last seen of a mounted volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The figures to report, and since when they are.
    pub reported: Option<Reported>,
    /// Whether it is nearly full.
    pub pressure: Pressure,
    /// What its filesystem does.
    pub filesystem: FilesystemState,
}

/// Shared by all parts of the agent.
#[derive(Debug)]
pub struct Agent {
    /// Runner, pools, cluster.
    pub context: Context,
    /// The API server.
    pub api: ApiServer,
    /// Tells claims.
    pub events: Events,
    /// Name of this node.
    pub node: String,
    /// Use from which a volume is under pressure, in percent.
    pub pressure_percent: u8,
    /// How long what an operation left behind must have been left before the sweeper takes it.
    pub sweep_after: Duration,
    /// The objects of this node, as they are watched.
    pub objects: Arc<Objects>,
    /// What the probe says.
    pub probe: Arc<Board>,
    /// Something changed that StorageNode shows.
    pub dirty: Notify,
    /// What operations left behind changed.
    pub leftovers_turned: Notify,
    /// A pool came into service or went out of it: every snapshot is looked at again.
    pub pools_turned: Notify,
    facts: Mutex<BTreeMap<PoolUuid, PoolFacts>>,
    seen: Mutex<BTreeMap<String, Seen>>,
    tries: Mutex<BTreeMap<String, u32>>,
    removed: Mutex<BTreeSet<VolumeUuid>>,
    leftovers: Mutex<FirstSeen>,
    swept: Mutex<Option<Verdict>>,
    disks: Mutex<Vec<DeviceView>>,
    disk_signs: Mutex<Signs>,
    pool_ailments: Mutex<BTreeMap<PoolUuid, Ailment>>,
}

impl Agent {
    /// An agent of these parts.
    #[must_use]
    pub fn new(
        context: Context,
        api: ApiServer,
        events: Events,
        node: String,
        pressure_percent: u8,
    ) -> Self {
        Self {
            context,
            api,
            events,
            node,
            pressure_percent,
            sweep_after: SWEEP_AFTER,
            objects: Arc::default(),
            probe: Arc::new(Board::new(Timestamp::now())),
            dirty: Notify::new(),
            leftovers_turned: Notify::new(),
            pools_turned: Notify::new(),
            facts: Mutex::default(),
            seen: Mutex::default(),
            tries: Mutex::default(),
            removed: Mutex::default(),
            leftovers: Mutex::default(),
            swept: Mutex::default(),
            disks: Mutex::default(),
            disk_signs: Mutex::default(),
            pool_ailments: Mutex::default(),
        }
    }

    /// The same agent, whose sweeper waits so long.
    #[must_use]
    pub fn sweeping_after(self, sweep_after: Duration) -> Self {
        Self { sweep_after, ..self }
    }

    /// What is known of the StoragePools by their UUID here.
    pub fn facts(&self) -> MutexGuard<'_, BTreeMap<PoolUuid, PoolFacts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was last seen of each mounted volume, by name.
    pub fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often each pass failed in a row, by kind and name.
    pub fn tries(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What operations left behind, and since when.
    pub fn leftovers(&self) -> MutexGuard<'_, FirstSeen> {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the sweeper's last pass came to; `None` before the first.
    pub fn swept(&self) -> MutexGuard<'_, Option<Verdict>> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disks and partitions as the last pass over the node found them.
    pub fn disks(&self) -> MutexGuard<'_, Vec<DeviceView>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known for and against them.
    pub fn disk_signs(&self) -> MutexGuard<'_, Signs> {
        self.disk_signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What speaks against the disks of each pool.
    pub fn pool_ailments(&self) -> MutexGuard<'_, BTreeMap<PoolUuid, Ailment>> {
        self.pool_ailments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Snapshots that were let go and that StorageNode may still list.
    pub fn removed(&self) -> MutexGuard<'_, BTreeSet<VolumeUuid>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
