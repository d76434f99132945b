//! A lane: one life after another in a namespace of its own, until enough is done. A life that went wrong is written down and
//! left as it is; the lane goes on in another namespace.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Result;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Kind};
use crate::driver::Driver;
use crate::ledger::folder;
use crate::life::Life;
use crate::lives::LifeKind;

/// After so many lives gone wrong a lane gives up.
const AT_MOST: usize = 3;

/// What a lane needs.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) driver: Arc<Driver>,
    pub(crate) client: Client,
    /// From 1.
    pub(crate) number: usize,
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<LifeKind>,
}

impl Lane {
    /// Lives until it is over; gives the namespaces it used.
    pub(crate) async fn run(self) -> Vec<String> {
        let mut namespaces = vec![format!("crash-{}", self.number)];
        let mut ready = false;
        let mut number = 0;
        while !self.driver.is_over() && namespaces.len() <= AT_MOST {
            number += 1;
            let namespace = namespaces.last().cloned().unwrap_or_default();
            let cluster = self.cluster(&namespace);
            let turn = (self.number + number) % self.kinds.len().max(1);
            let Some(kind) = self.kinds.get(turn).copied() else { break };
            let start = Instant::now();
            let lived = async {
                if !ready {
                    let object = json!({"metadata": {"name": namespace}});
                    cluster.apply(Kind::Namespace, object).await?;
                }
                kind.live(&self.life(kind, number, cluster.clone())).await
            };
            match lived.await {
                Ok(()) => {
                    ready = true;
                    self.driver.state().ledger.lived(kind.name(), start.elapsed());
                }
                Err(error) => {
                    self.driver.over(self.number);
                    self.driver.found(Some(self.number), kind.name(), &error);
                    if let Err(error) = dump(&cluster, &namespace).await {
                        eprintln!("cannot write down what there is: {error:#}");
                    }
                    namespaces.push(format!("crash-{}-{}", self.number, namespaces.len()));
                    ready = false;
                }
            }
        }
        namespaces
    }

    fn cluster(&self, namespace: &str) -> Cluster {
        let clock = Arc::clone(&self.driver.clock);
        Cluster { client: self.client.clone(), namespace: namespace.to_owned(), clock }
    }

    fn life(&self, kind: LifeKind, number: usize, cluster: Cluster) -> Life {
        Life {
            driver: Arc::clone(&self.driver),
            cluster,
            lane: self.number,
            kind: kind.name(),
            prefix: format!("l{}-{number}", self.number),
            seed: self.seed,
            known: Mutex::new(BTreeMap::new()),
        }
    }
}

/// Every object that tells of volumes, as it is when something went wrong.
async fn dump(cluster: &Cluster, name: &str) -> Result<()> {
    let kinds = [
        Kind::Pod,
        Kind::Claim,
        Kind::Persistent,
        Kind::Volume,
        Kind::Snapshot,
        Kind::VolumeSnapshot,
        Kind::Content,
        Kind::Pool,
        Kind::Node,
    ];
    let mut all = BTreeMap::new();
    for kind in kinds {
        let objects = cluster.list(kind).await?;
        let objects: Vec<Value> = objects
            .iter()
            .map(|object| json!({"metadata": object.metadata, "is": object.data}))
            .collect();
        all.insert(format!("{kind:?}"), objects);
    }
    fs::write(folder().join(format!("{name}.json")), serde_json::to_vec_pretty(&all)?)?;
    Ok(())
}
