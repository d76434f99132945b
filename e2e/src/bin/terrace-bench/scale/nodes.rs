//! The agents of nodes that nobody runs: they answer for every volume that was given to them as a node does that has made
//! it, and list it a moment later. They also note when each volume got its place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::Value;
use terrace_crds::condition::{ConditionType, is_true};
use terrace_crds::{StorageNode, StorageVolume};

use super::world::{Simulated, apply_status, each, listing, node_status, volume_status};

/// A node tells what it holds this often, if that changed.
const TELLS: Duration = Duration::from_secs(1);
/// Answers under way at once.
const AT_ONCE: usize = 16;

/// What was seen and answered.
#[derive(Debug, Default)]
struct Seen {
    /// When the watch first showed a volume with its place.
    placed: HashMap<String, Instant>,
    /// What each node holds, by the node's number.
    held: BTreeMap<usize, Vec<Value>>,
    /// Nodes that have not told yet.
    news: BTreeSet<usize>,
    answered: usize,
}

/// All agents together.
#[derive(Clone, Debug, Default)]
pub(super) struct Agents(Arc<Mutex<Seen>>);

impl Agents {
    /// Agents that hold these volumes already.
    pub(super) fn holding(held: BTreeMap<usize, Vec<Value>>) -> Self {
        Self(Arc::new(Mutex::new(Seen { held, ..Seen::default() })))
    }

    /// Begins to answer; ends with the runtime.
    pub(super) fn start(&self, client: &Client) {
        let (all, told) = (self.clone(), self.clone());
        let (answers, tells) = (client.clone(), client.clone());
        tokio::spawn(async move {
            if let Err(error) = all.answer(answers).await {
                eprintln!("the simulated nodes answer no more: {error:#}");
            }
        });
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TELLS).await;
                if let Err(error) = told.tell(&tells).await {
                    eprintln!("a simulated node could not tell what it holds: {error:#}");
                }
            }
        });
    }

    /// When each volume got its place, in order.
    pub(super) fn placed(&self) -> Vec<Instant> {
        let mut times: Vec<Instant> = self.locked().placed.values().copied().collect();
        times.sort();
        times
    }

    /// Volumes that were answered for.
    pub(super) fn answered(&self) -> usize {
        self.locked().answered
    }

    /// Nodes that still have to tell what they hold.
    pub(super) fn untold(&self) -> usize {
        self.locked().news.len()
    }

    async fn answer(&self, client: Client) -> Result<()> {
        let volumes = Api::<StorageVolume>::all(client);
        let config = watcher::Config::default();
        let changes = watcher(volumes.clone(), config).default_backoff().applied_objects();
        let given = changes.try_filter_map(|volume| std::future::ready(Ok(self.note(&volume))));
        given
            .map_err(anyhow::Error::from)
            .try_for_each_concurrent(AT_ONCE, |(name, uuid)| {
                let (volumes, all) = (volumes.clone(), self.clone());
                async move {
                    apply_status(&volumes, &name, &volume_status(&uuid)).await?;
                    all.locked().answered += 1;
                    Ok(())
                }
            })
            .await
    }

    /// A volume that has its place and no answer, seen for the first time.
    fn note(&self, volume: &StorageVolume) -> Option<(String, String)> {
        let place = volume.spec.assignment.as_ref()?;
        let conditions = volume.status.as_ref().map_or(&[][..], |status| &status.conditions);
        if is_true(conditions, ConditionType::Ready) {
            return None;
        }
        let (name, uuid) = (volume.metadata.name.clone()?, volume.spec.volume_uuid.clone()?);
        let number: usize = place.node.strip_prefix("node-")?.parse().ok()?;
        let mut seen = self.locked();
        if seen.placed.insert(name.clone(), Instant::now()).is_some() {
            return None;
        }
        seen.held.entry(number).or_default().push(listing(&uuid, &name, &place.pool_uuid));
        seen.news.insert(number);
        Some((name, uuid))
    }

    async fn tell(&self, client: &Client) -> Result<()> {
        let news: Vec<(usize, Value)> = {
            let mut seen = self.locked();
            let numbers = std::mem::take(&mut seen.news);
            let of = |number: usize| {
                let held = seen.held.get(&number).map_or(&[][..], Vec::as_slice);
                (number, node_status(Simulated(number), held))
            };
            numbers.into_iter().map(of).collect()
        };
        let nodes = Api::<StorageNode>::all(client.clone());
        each(news, |(number, status)| {
            let nodes = nodes.clone();
            async move { apply_status(&nodes, &Simulated(number).name(), &status).await }
        })
        .await
    }

    fn locked(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
