//! Host, custom resources and Kubernetes' objects against each other: what there is, and what should not be. It changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::ResourceExt;
use rustix::io::Errno;
use serde_json::Value;

use crate::cluster::{Cluster, Kind};
use crate::fault::{Fault, Wrong};
use crate::place::Place;
use crate::points::program_of;
use terrace_faults::Process;

/// The attribute that holds a host object's tag.
const TAG: &str = "trusted.terrace.tag";
/// Folders of the node in which each folder may be a pool's.
const POOLS: [&str; 2] = ["/var/lib/terrace/pools", "/var/lib/terrace/mnt"];
/// How the names of host objects begin: volumes, snapshots, what is quarantined, what is only begun.
const PREFIXES: [&str; 4] = ["t-", "s-", "q-", ".n-"];

/// One host object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostObject {
    /// As seen from outside of the rig.
    pub(crate) path: PathBuf,
    /// From its tag; else from its name.
    pub(crate) uuid: String,
    pub(crate) state: String,
}

/// Every host object of every pool folder.
pub(crate) fn host_objects(place: &Place) -> Result<Vec<HostObject>> {
    let mut found = Vec::new();
    for top in POOLS {
        for pool in folders(&place.path(top)) {
            for entry in fs::read_dir(&pool).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                    found.extend(read_object(&entry.path(), &name)?);
                }
            }
        }
    }
    Ok(found)
}

fn folders(top: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(top).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// `None` for what was removed meanwhile.
fn read_object(path: &Path, name: &str) -> Result<Option<HostObject>> {
    let mut bytes = vec![0; 4096];
    let tag = match rustix::fs::getxattr(path, TAG, &mut bytes[..]) {
        Ok(length) => String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned(),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NODATA) => String::new(),
        Err(error) => return Err(error).with_context(|| format!("tag of {}", path.display())),
    };
    let word = |key: &str| tag.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    let of_name = name.trim_start_matches(".n-");
    let of_name = of_name.trim_start_matches("t-").trim_start_matches("s-").to_owned();
    let uuid = word("volume=").unwrap_or(of_name);
    let state = word("state=").unwrap_or_else(|| "untagged".to_owned());
    Ok(Some(HostObject { path: path.to_owned(), uuid, state }))
}

/// What is left on the host of these.
pub(crate) fn left_of(place: &Place, uuids: &[String]) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let names = |text: &str| uuids.iter().any(|uuid| text.contains(uuid.as_str()));
    for HostObject { path, uuid, state } in host_objects(place)? {
        if uuids.contains(&uuid) || names(&path.to_string_lossy()) {
            left.push(format!("{} ({state})", path.display()));
        }
    }
    let loops = place.loops().into_iter().filter(|(_, file)| names(file));
    left.extend(loops.map(|(device, file)| format!("{device} on {file}")));
    left.extend(
        place.mounts()?.lines().filter(|line| names(line)).map(|line| format!("mount {line}")),
    );
    Ok(left)
}

/// At the end, with every life over: what there still is of volumes, snapshots and their traces. The pools themselves may stay.
pub(crate) async fn leftovers(
    cluster: &Cluster,
    place: &Place,
    ours: &[String],
) -> Result<Vec<Fault>> {
    let mut found = Vec::new();
    let mut leaked = |text: String| found.push(Fault::new(Wrong::Leaked, text));
    for kind in [Kind::Volume, Kind::Snapshot, Kind::Content, Kind::GroupContent, Kind::Persistent]
    {
        for object in cluster.list(kind).await? {
            let is_ours = object.data["spec"].to_string();
            if kind == Kind::Snapshot
                || ours.iter().any(|namespace| is_ours.contains(namespace.as_str()))
            {
                leaked(format!("{kind:?} {} {:?}", object.name_any(), object.finalizers()));
            }
        }
    }
    let known: BTreeSet<String> = uuids_of(cluster).await?;
    for HostObject { path, uuid, state } in host_objects(place)? {
        if !known.contains(&uuid) {
            leaked(format!("host object {} ({state})", path.display()));
        }
    }
    for node in cluster.list(Kind::Node).await? {
        for orphan in node.data["status"]["orphans"].as_array().into_iter().flatten() {
            leaked(format!("orphan of {}: {orphan}", node.name_any()));
        }
    }
    for (device, file) in place.loops() {
        // The machine may have others: power cuts and crash images have pools of their own elsewhere.
        let is_ours = file.starts_with("/var/lib/terrace/");
        if is_ours && ["/t-", "/s-", "/q-"].iter().any(|part| file.contains(part)) {
            leaked(format!("loop device {device} on {file}"));
        }
    }
    let journal = journal(place)?;
    if journal.as_array().is_some_and(|open| !open.is_empty()) {
        leaked(format!("the node's journal: {journal}"));
    }
    Ok(found)
}

/// UUIDs that an object of the API claims.
async fn uuids_of(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for (kind, key) in [(Kind::Volume, "volumeUUID"), (Kind::Snapshot, "snapshotUUID")] {
        for object in cluster.list(kind).await? {
            known.extend(object.data["spec"][key].as_str().map(str::to_owned));
        }
    }
    Ok(known)
}

/// The operations that the node's journal still holds.
pub(crate) fn journal(place: &Place) -> Result<Value> {
    let pids = place.pids(program_of(Process::Node));
    let pid = *pids.first().context("terrace-node does not run")?;
    let page = place.ask(pid, "http://127.0.0.1:9808/v1/operations")?;
    let page: Value = serde_json::from_str(&page).context("the node's operations")?;
    Ok(page["journal"].clone())
}

#[cfg(test)]
mod tests {
    use super::read_object;

    #[test]
    fn an_object_without_a_tag_is_known_by_its_name() {
        let uuid = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11";
        let name = format!("t-{uuid}");
        let path = std::env::temp_dir().join(&name);
        std::fs::write(&path, "").unwrap();
        let object = read_object(&path, &name).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((object.uuid.as_str(), object.state.as_str()), (uuid, "untagged"));
        assert_eq!(read_object(&path, &name).unwrap(), None);
    }
}
