//! Bytes on a node that no object claims: as a table, one of them in words, the StorageVolume that takes one into
//! service, and every reason not to. Pure.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use terrace_crds::condition::{ConditionType, is_true};
use terrace_crds::node::{HostObjectKind, HostVolume, HostVolumeState, Orphan, OrphanReason};
use terrace_crds::volume::{ClaimRef, Origin, SourceKind, VolumeMode};
use terrace_crds::{StorageNode, StorageVolume, StorageVolumeSpec};

use crate::table::Table;
use crate::volumes::Width;

/// An orphan, where it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The pool's name; its UUID where the node lists no such pool.
    pub pool: &'a str,
    /// What its node says.
    pub orphan: &'a Orphan,
    /// What it is made of, where its node tells.
    host: Option<&'a HostVolume>,
}

/// Why nothing is done about an orphan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The same UUID twice.
    #[error(
        "nodes {nodes} list {uuid}: which one is meant cannot be said; take away the disk of the one that is not"
    )]
    Several {
        /// The UUID.
        uuid: String,
        /// The nodes.
        nodes: String,
    },
    /// Nobody can use a snapshot.
    #[error(
        "{name} is a snapshot: only a volume can be adopted; kubectl terrace orphan delete --uuid {uuid} destroys it"
    )]
    Snapshot {
        /// Its name.
        name: String,
        /// Its UUID.
        uuid: String,
    },
    /// It is not whole, or not readable.
    #[error("{name} on node {node} is {reason}: {message}")]
    Unusable {
        /// Its name.
        name: String,
        /// The node.
        node: String,
        /// Why it is listed.
        reason: &'static str,
        /// As its node says it.
        message: String,
    },
    /// The operator takes bytes only under their own name.
    #[error(
        "the bytes were made as {made}, and can be adopted under that name alone: leave --volume out"
    )]
    OtherName {
        /// Their name.
        made: String,
    },
    /// Something is being copied from it.
    #[error(
        "volume {volume} is being made from this snapshot: wait until it is Ready, or delete its claim"
    )]
    Copied {
        /// The volume.
        volume: String,
    },
    /// The person said no, or nobody was there to ask.
    #[error("nothing was deleted: the answer was not yes (--yes answers for you)")]
    Unconfirmed,
}

/// Every orphan, by node, then name.
#[must_use]
pub fn all(nodes: &[StorageNode]) -> Vec<Found<'_>> {
    let mut found: Vec<Found<'_>> = nodes.iter().flat_map(of_node).collect();
    found.sort_by_key(|one| (one.node, &one.orphan.name, &one.orphan.uuid));
    found
}

fn of_node(node: &StorageNode) -> impl Iterator<Item = Found<'_>> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    node.status.iter().flat_map(move |status| {
        status.orphans.iter().map(move |orphan| {
            let mut pools = status.pools.iter();
            let pool = pools.find(|pool| pool.uuid.as_ref() == Some(&orphan.pool_uuid));
            let here = |host: &&HostVolume| {
                host.uuid == orphan.uuid && host.state != HostVolumeState::Quarantined
            };
            Found {
                node: name,
                pool: pool.map_or(orphan.pool_uuid.as_str(), |pool| pool.name.as_str()),
                orphan,
                host: status.volumes.iter().find(here),
            }
        })
    })
}

/// The orphan with this UUID; `None` where no node lists one.
///
/// # Errors
/// [`Refused::Several`].
pub fn find<'a>(nodes: &'a [StorageNode], uuid: &str) -> Result<Option<Found<'a>>, Refused> {
    let mut found = all(nodes);
    found.retain(|one| one.orphan.uuid == uuid);
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        [_, _, ..] => {
            let nodes: Vec<&str> = found.iter().map(|one| one.node).collect();
            Err(Refused::Several { uuid: uuid.to_owned(), nodes: nodes.join(", ") })
        }
    }
}

/// The table.
#[must_use]
pub fn table(found: &[Found<'_>], width: Width) -> Table {
    let mut heads = vec!["UUID", "KIND", "NAME", "NODE", "POOL", "SIZE", "REASON"];
    match width {
        Width::Narrow => {}
        Width::Wide => heads.extend(["HOLDS", "MESSAGE"]),
    }
    let mut table = Table::new(heads);
    for one in found {
        let Orphan { uuid, kind, name, pool_uuid: _, size, reason, message } = one.orphan;
        let mut cells = vec![
            uuid.clone(),
            format!("{kind:?}"),
            name.clone(),
            one.node.to_owned(),
            one.pool.to_owned(),
            size.to_string(),
            reason.as_str().to_owned(),
        ];
        match width {
            Width::Narrow => {}
            Width::Wide => cells.extend([holds(one.host), message.clone()]),
        }
        table.push(cells);
    }
    table
}

/// How many orphans the nodes have that their lists have no place for.
#[must_use]
pub fn unlisted(nodes: &[StorageNode]) -> u32 {
    let statuses = nodes.iter().filter_map(|node| node.status.as_ref());
    statuses
        .map(|status| {
            let all = status.counts.map_or(0, |counts| counts.orphans);
            all.saturating_sub(u32::try_from(status.orphans.len()).unwrap_or(u32::MAX))
        })
        .sum()
}

/// For programs: each as its node says it, with the node.
#[must_use]
pub fn items(found: &[Found<'_>]) -> Vec<Value> {
    let item = |one: &Found<'_>| {
        let mut item = json!(one.orphan);
        item["node"] = json!(one.node);
        item["pool"] = json!(one.pool);
        item
    };
    found.iter().map(item).collect()
}

fn holds(host: Option<&HostVolume>) -> String {
    match host.map(|host| (host.volume_mode, host.fs_type)) {
        Some((Some(VolumeMode::Block), _)) => "block".to_owned(),
        Some((_, Some(fs))) => fs.as_str().to_owned(),
        Some((_, None)) | None => String::new(),
    }
}

/// What it is, in words.
#[must_use]
pub fn describe(found: &Found<'_>) -> String {
    let Orphan { uuid, kind, name, pool_uuid: _, size, reason, message } = found.orphan;
    let mut text = format!("{kind:?} {name} ({uuid}), {size}");
    if !holds(found.host).is_empty() {
        let _ = write!(text, " of {}", holds(found.host));
    }
    let (node, pool) = (found.node, found.pool);
    let _ =
        write!(text, "\n  lies on node {node}, pool {pool}\n  {}: {message}\n", reason.as_str());
    text
}

/// The StorageVolume that takes the orphan into service for a claim.
///
/// # Errors
/// [`Refused`].
pub fn plan_adopt(
    found: &Found<'_>,
    claim: &ClaimRef,
    volume: Option<&str>,
) -> Result<StorageVolume, Refused> {
    let Orphan { uuid, kind, name, pool_uuid: _, size, reason, message } = found.orphan;
    let usable = match reason {
        OrphanReason::Retained | OrphanReason::NoObject => true,
        OrphanReason::Unreadable | OrphanReason::Unfinished | OrphanReason::Quarantined => false,
    };
    match kind {
        HostObjectKind::Volume => {}
        HostObjectKind::Snapshot => {
            return Err(Refused::Snapshot { name: name.clone(), uuid: uuid.clone() });
        }
    }
    if !usable {
        let (name, node) = (name.clone(), found.node.to_owned());
        let (reason, message) = (reason.as_str(), message.clone());
        return Err(Refused::Unusable { name, node, reason, message });
    }
    if volume.is_some_and(|volume| volume != name) {
        return Err(Refused::OtherName { made: name.clone() });
    }
    let mode = found.host.and_then(|host| host.volume_mode).unwrap_or_default();
    let spec = StorageVolumeSpec {
        volume_uuid: None,
        csi_name: None,
        origin: Origin::Direct,
        claim_ref: Some(claim.clone()),
        capacity: size.clone(),
        volume_mode: mode,
        fs_type: match mode {
            VolumeMode::Filesystem => found.host.and_then(|host| host.fs_type),
            VolumeMode::Block => None,
        },
        mount_options: Vec::new(),
        pool: Some(found.pool.to_owned()),
        tier: None,
        adopt: Some(uuid.clone()),
        source: None,
        erase_on_delete: None,
        latency_target: None,
        deletion: None,
        assignment: None,
    };
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    Ok(StorageVolume { metadata, spec, status: None })
}

/// Whether a person may ask for its end; its node asks the API server itself before anything goes.
///
/// # Errors
/// [`Refused`].
pub fn validate_delete(found: &Found<'_>, volumes: &[StorageVolume]) -> Result<(), Refused> {
    let Orphan { uuid, kind, name, reason, message, .. } = found.orphan;
    if *reason == OrphanReason::Unreadable {
        let (name, node) = (name.clone(), found.node.to_owned());
        let (reason, message) = (reason.as_str(), message.clone());
        return Err(Refused::Unusable { name, node, reason, message });
    }
    let copies = |volume: &&StorageVolume| {
        let conditions = volume.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let source = volume.spec.source.as_ref();
        source.is_some_and(|source| source.kind == SourceKind::Snapshot && source.uuid == *uuid)
            && !is_true(conditions, ConditionType::Ready)
    };
    match (kind, volumes.iter().find(copies)) {
        (HostObjectKind::Snapshot, Some(copy)) => {
            Err(Refused::Copied { volume: copy.metadata.name.clone().unwrap_or_default() })
        }
        (HostObjectKind::Snapshot, None) | (HostObjectKind::Volume, _) => Ok(()),
    }
}
