//! The agent: keeps pools and volumes of this node as the API asks, and reports what the host shows. It
//! watches only what is assigned to its node, and writes only when what is there differs.

pub mod api;
mod copy;
pub mod deletion;
pub mod desired;
pub mod events;
pub mod node;
pub mod node_status;
mod owner;
pub mod pool;
pub mod pool_plan;
pub mod report;
pub mod room;
pub mod snapshot;
pub mod usage;
pub mod usage_watch;
pub mod verdict;
pub mod volume;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use terrace_device_types::{Allocation, BackendKind, PoolUuid, VolumeUuid};
use tokio::sync::Notify;

use crate::context::Context;
use api::ApiServer;
use events::Events;
use usage::{Pressure, Reported};

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
    /// Something changed that StorageNode shows.
    pub dirty: Notify,
    /// A pool came into service or went out of it: every snapshot is looked at again.
    pub pools_turned: Notify,
    facts: Mutex<BTreeMap<PoolUuid, PoolFacts>>,
    seen: Mutex<BTreeMap<String, Seen>>,
    tries: Mutex<BTreeMap<String, u32>>,
    removed: Mutex<BTreeSet<VolumeUuid>>,
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
            dirty: Notify::new(),
            pools_turned: Notify::new(),
            facts: Mutex::default(),
            seen: Mutex::default(),
            tries: Mutex::default(),
            removed: Mutex::default(),
        }
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

    /// Snapshots that were let go and that StorageNode may still list.
    pub fn removed(&self) -> MutexGuard<'_, BTreeSet<VolumeUuid>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
