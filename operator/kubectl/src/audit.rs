//! `kubectl terrace audit`: what the nodes destroyed, who asked, on which proof. The table is pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use terrace_crds::StorageVolume;
use terrace_crds::period::Period;

use crate::args::{Audit, Output};
use crate::ask::{self, Failed, Told};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::find::{find, parse_name};
use crate::table::Table;
use crate::volumes::Width;

/// What a node tells; what a newer one tells besides is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The newest lines, oldest first.
    pub entries: Vec<Entry>,
    /// How many older ones there are.
    pub older: u64,
    /// Lines that can't be read.
    pub unreadable: u64,
}

/// One line of a node's audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was written.
    pub time: Timestamp,
    /// On which node.
    pub node: String,
    /// In which operation.
    pub operation: String,
    /// Of which kind.
    pub kind: String,
    /// `intent` or `result`.
    pub phase: String,
    /// What is done.
    pub act: String,
    /// UUID of the volume or snapshot.
    pub volume: Option<String>,
    /// UUID of the pool.
    pub pool: Option<String>,
    /// Name of the StorageVolume, StorageSnapshot or StoragePool.
    pub name: String,
    /// The path or device.
    pub object: String,
    /// The step in prose.
    pub step: String,
    /// Who asked.
    pub asked_by: String,
    /// What was relied on.
    pub proof: String,
    /// What came of it.
    pub result: Option<String>,
}

/// From when on: a time, or how long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// That time.
    Time(Timestamp),
    /// So long ago.
    Ago(Period),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = text.parse::<Period>().ok().filter(|period| period.duration().is_ok());
        match (ago, text.parse()) {
            (Some(ago), _) => Ok(Self::Ago(ago)),
            (None, Ok(time)) => Ok(Self::Time(time)),
            (None, Err(_)) => {
                Err("neither a time such as 2026-01-31T08:00:00Z nor a span such as 7d".to_owned())
            }
        }
    }
}

impl Since {
    fn time(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => *time,
            Self::Ago(period) => {
                let before = period.duration().ok().and_then(|span| now.checked_sub(span).ok());
                before.unwrap_or(Timestamp::MIN)
            }
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`Fault`]. That a node does not answer is told below the table, unless none does.
pub async fn run(cluster: &Cluster, asked: Audit) -> Result<String, Fault> {
    let Audit { node, volume, since, output } = asked;
    let uuid = match &volume {
        None => None,
        Some(name) => uuid_of(cluster, name).await?,
    };
    let since = since.map(|since| format!("since={}", since.time(Timestamp::now())));
    let of = uuid.as_ref().map(|uuid| format!("volume={uuid}"));
    let query: Vec<String> = since.into_iter().chain(of).collect();
    let path = format!("/v1/audit?{}", query.join("&"));
    let (mut told, failed) = ask::all::<Page>(cluster, node.as_deref(), &path).await?;
    // Nothing names it any more but the audit itself.
    if let (Some(name), None) = (&volume, uuid) {
        for told in &mut told {
            told.page.entries.retain(|entry| entry.name == *name);
        }
    }
    let width = match output {
        Some(Output::Json) => {
            let list = json!({ "kind": "AuditList", "nodes": told, "failed": failed });
            return Ok(serde_json::to_string_pretty(&list)? + "\n");
        }
        Some(Output::Wide) => Width::Wide,
        None => Width::Narrow,
    };
    Ok(report(&told, &failed, width))
}

/// The UUID that is meant, if it is one, or if a StorageVolume or a claim has the name.
async fn uuid_of(cluster: &Cluster, name: &str) -> Result<Option<String>, Fault> {
    if is_uuid(name) {
        return Ok(Some(name.to_owned()));
    }
    let volumes: Vec<StorageVolume> = cluster.list().await?;
    let found = find(&volumes, &parse_name(name, &cluster.namespace));
    Ok(found.and_then(|volume| volume.spec.volume_uuid.clone()))
}

fn is_uuid(text: &str) -> bool {
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let fits = |(at, c): (usize, char)| if is_dash(at) { c == '-' } else { c.is_ascii_hexdigit() };
    text.len() == 36 && text.chars().enumerate().all(fits)
}

/// The table, an act a line, the oldest first, and below it what it does not show.
#[must_use]
pub fn report(told: &[Told<Page>], failed: &[Failed], width: Width) -> String {
    let mut acts: Vec<Entry> = told.iter().flat_map(|told| acts(&told.page.entries)).collect();
    acts.sort_by(|one, two| (one.time, &one.node).cmp(&(two.time, &two.node)));
    let mut heads = vec!["TIME", "NODE", "ACT", "NAME", "OBJECT"];
    match width {
        Width::Narrow => {}
        Width::Wide => heads.extend(["VOLUME", "OPERATION", "KIND", "PROOF"]),
    }
    heads.extend(["ASKED BY", "RESULT"]);
    let mut table = Table::new(heads);
    for act in acts {
        table.push(row(act, width));
    }
    let mut text = match table.is_empty() {
        true => "Nothing was destroyed.\n".to_owned(),
        false => table.render(),
    };
    for Told { node, now: _, page: Page { entries: _, older, unreadable } } in told {
        if *older > 0 {
            text.push_str(&format!("node {node} has {older} older lines: see --since, --volume\n"));
        }
        if *unreadable > 0 {
            text.push_str(&format!("node {node} has {unreadable} lines that can't be read\n"));
        }
    }
    for Failed { node, error } in failed {
        text.push_str(&format!("node {node} does not answer: {error}\n"));
    }
    text
}

/// Each intent with its result, in the order of the intents. A result whose intent is among the older ones stands alone.
fn acts(entries: &[Entry]) -> Vec<Entry> {
    let mut acts: Vec<Entry> = Vec::new();
    let mut open: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for entry in entries {
        let key = (entry.operation.as_str(), entry.act.as_str(), entry.object.as_str());
        let begun = if entry.result.is_some() { open.remove(&key) } else { None };
        match begun.and_then(|at| acts.get_mut(at)) {
            Some(act) => act.result.clone_from(&entry.result),
            None => {
                if entry.result.is_none() {
                    open.insert(key, acts.len());
                }
                acts.push(entry.clone());
            }
        }
    }
    acts
}

fn row(act: Entry, width: Width) -> Vec<String> {
    let Entry { time, node, operation, kind, volume, name, object, asked_by, proof, .. } = act;
    let mut cells =
        vec![time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), node, act.act, name, object];
    match width {
        Width::Narrow => {}
        Width::Wide => cells.extend([volume.unwrap_or_default(), operation, kind, proof]),
    }
    cells.extend([asked_by, act.result.unwrap_or_else(|| "no result was written".to_owned())]);
    cells
}
