//! `kubectl terrace operations`: what runs and what waits on every node. The table is pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use terrace_crds::StorageVolume;
use terrace_plan::age::Age;

use crate::args::{Operations, Output};
use crate::ask::{self, Failed, Told};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::screen::{Screen, Shown};
use crate::table::Table;
use crate::volumes::{Width, claim};

/// The agents' page.
const PAGE: &str = "/v1/operations";
/// Seconds from one table to the next.
const EVERY: u64 = 2;
/// How much of an operation's UUID names it in a table.
const SHORT: usize = 8;

/// What a node tells; what a newer one tells besides is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Running first, then waiting in the order in which they would start.
    pub queue: Vec<Operation>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Its UUID.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// Name of the StorageVolume, StorageSnapshot or StoragePool.
    pub name: String,
    /// Waiting, running, or hangs.
    pub state: String,
    /// Who goes first.
    pub priority: String,
    /// What it holds or wants.
    pub locks: Vec<String>,
    /// Since when it waits or runs, in milliseconds.
    pub for_ms: u64,
    /// Where it stands.
    pub at: Option<At>,
    /// Why it does not run.
    pub waits_for: Option<WaitsFor>,
}

/// Where an operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// Which step, from 1.
    pub step: u64,
    /// How many it has.
    pub of: u64,
    /// The step in prose.
    pub prose: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// Why an operation does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum WaitsFor {
    /// Another one has a lock that it needs.
    Lock {
        /// The lock.
        key: String,
        /// Who has it.
        operation: String,
        /// What that does.
        kind: String,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Another one must be over before.
    After {
        /// That one.
        operation: String,
    },
    /// As many run as may.
    Turn,
}

/// Runs the command: the text, or with `--watch` it prints until nobody reads any more.
///
/// # Errors
/// [`Fault`]. That a node does not answer is part of the table, unless none does.
pub async fn run(cluster: &Cluster, asked: Operations) -> Result<String, Fault> {
    let Operations { node, watch, output } = asked;
    let mut screen = Screen::every(EVERY);
    loop {
        screen.wait().await;
        let (told, failed) = ask::all::<Page>(cluster, node.as_deref(), PAGE).await?;
        let width = match output {
            Some(Output::Json) => {
                let list = json!({ "kind": "OperationList", "nodes": told, "failed": failed });
                let text = serde_json::to_string(&list)? + "\n";
                if !watch {
                    return Ok(text);
                }
                if screen.line(&text)? == Shown::ToNobody {
                    return Ok(String::new());
                }
                continue;
            }
            Some(Output::Wide) => Width::Wide,
            None => Width::Narrow,
        };
        let volumes: Vec<StorageVolume> = cluster.list().await?;
        let text = report(&told, &failed, &volumes, width);
        if !watch {
            return Ok(text);
        }
        if screen.table(&text)? == Shown::ToNobody {
            return Ok(String::new());
        }
    }
}

/// The table, and below it who did not answer.
#[must_use]
pub fn report(
    told: &[Told<Page>],
    failed: &[Failed],
    volumes: &[StorageVolume],
    width: Width,
) -> String {
    let claims: BTreeMap<&str, String> = volumes
        .iter()
        .filter_map(|volume| Some((volume.metadata.name.as_deref()?, claim(volume))))
        .collect();
    let mut heads = vec!["ID", "KIND", "NAME", "CLAIM", "NODE", "STATE", "FOR"];
    match width {
        Width::Narrow => {}
        Width::Wide => heads.extend(["PRIORITY", "TRIES", "LOCKS"]),
    }
    heads.push("DOES");
    let mut table = Table::new(heads);
    for Told { node, now: _, page } in told {
        for operation in &page.queue {
            let claim = claims.get(operation.name.as_str()).cloned().unwrap_or_default();
            table.push(row(node, operation, claim, width));
        }
    }
    let mut text = match table.is_empty() {
        true => "No operation runs or waits.\n".to_owned(),
        false => table.render(),
    };
    for Failed { node, error } in failed {
        text.push_str(&format!("node {node} does not answer: {error}\n"));
    }
    text
}

fn row(node: &str, operation: &Operation, claim: String, width: Width) -> Vec<String> {
    let Operation { id, kind, name, state, priority, locks, for_ms, at, waits_for } = operation;
    let id = match width {
        Width::Narrow => short(id),
        Width::Wide => id.clone(),
    };
    let words = [id, kind.clone(), name.clone(), claim, node.to_owned(), state.clone()];
    let mut cells: Vec<String> = words.into_iter().chain([age(*for_ms)]).collect();
    match width {
        Width::Narrow => {}
        Width::Wide => {
            let tries = at.as_ref().map(|at| at.attempts.to_string()).unwrap_or_default();
            cells.extend([priority.clone(), tries, locks.join(", ")]);
        }
    }
    cells.push(match (waits_for, at) {
        (Some(wait), _) => waiting(wait),
        (None, Some(At { step, of, prose, attempts: _ })) => format!("{step}/{of} {prose}"),
        (None, None) => "looks at the host".to_owned(),
    });
    cells
}

fn waiting(wait: &WaitsFor) -> String {
    match wait {
        WaitsFor::Lock { key, operation, kind, for_ms } => {
            format!("waits for {kind} {}, which has {key} for {}", short(operation), age(*for_ms))
        }
        WaitsFor::After { operation } => format!("waits for {}", short(operation)),
        WaitsFor::Turn => "waits for its turn".to_owned(),
    }
}

fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

fn age(ms: u64) -> String {
    Age::of_seconds(ms / 1000).to_string()
}
