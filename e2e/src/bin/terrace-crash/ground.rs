//! What the lanes stand on: two disks of the node, a pool on each, and a class for each kind of volume. Made at the beginning,
//! taken away at the end.

use anyhow::Result;
use serde_json::json;

use crate::cluster::{Cluster, Kind, condition};
use crate::objects::{TALK, class, pool};
use crate::place::Place;

/// (pool, backend, size of the disk). The disks are sparse: they take what is written.
const POOLS: [(&str, &str, &str); 2] =
    [("crash-file", "file", "40G"), ("crash-btrfs", "btrfs", "16G")];

/// (class, pool, parameters).
type Class = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const CLASSES: [Class; 4] = [
    ("crash-xfs", "crash-file", &[("fs-type", "xfs")]),
    ("crash-ext4", "crash-file", &[("fs-type", "ext4")]),
    ("crash-erase", "crash-file", &[("erase-on-delete", "true")]),
    ("crash-btrfs", "crash-btrfs", &[("fs-type", "btrfs")]),
];

fn disk(name: &str) -> String {
    format!("/var/lib/terrace/{name}.img")
}

/// Makes it all, and waits until the pools are Ready.
pub(crate) async fn prepare(cluster: &Cluster, place: &Place) -> Result<()> {
    for (name, backend, size) in POOLS {
        let file = disk(name);
        place.shell(&format!("truncate -s {size} {file} && losetup --find {file}"))?;
        cluster.apply(Kind::Pool, pool(name, backend, &format!("loop:{file}"))).await?;
    }
    for (name, pool, parameters) in CLASSES {
        cluster.apply(Kind::Class, class(name, pool, parameters)).await?;
    }
    for (name, ..) in POOLS {
        let is_so = |found: Option<&kube::api::DynamicObject>| {
            found.is_some_and(|pool| condition(pool, "Ready").0 == "True")
        };
        cluster.until(Kind::Pool, name, "Ready", is_so).await?;
    }
    Ok(())
}

/// Ends the lanes' namespaces; what is still in them goes too, if it can.
pub(crate) async fn leave(cluster: &Cluster, namespaces: &[String]) -> Result<()> {
    for name in namespaces {
        // Blocks of Pods that never came to an end.
        cluster.delete(Kind::Namespace, name).await?;
    }
    for name in namespaces {
        cluster.gone(Kind::Namespace, name).await?;
    }
    Ok(())
}

/// Takes the pools and their disks away.
pub(crate) async fn remove(cluster: &Cluster, place: &Place) -> Result<()> {
    let classes = CLASSES.map(|(name, ..)| (Kind::Class, name.to_owned()));
    let pools = POOLS.map(|(name, ..)| (Kind::Pool, name.to_owned()));
    cluster.end(&classes).await?;
    cluster.end(&pools).await?;
    let forgotten = |found: Option<&kube::api::DynamicObject>| {
        let pools = found.map_or(json!([]), |node| node.data["status"]["pools"].clone());
        let listed = |name: &str| {
            pools.as_array().is_some_and(|all| all.iter().any(|pool| pool["name"] == name))
        };
        !POOLS.iter().any(|(name, ..)| listed(name))
    };
    cluster.until(Kind::Node, "node-a", "without the pools", forgotten).await?;
    for (name, ..) in POOLS {
        let file = disk(name);
        place.shell(&format!(
            "d=$(losetup -j {file} | head -n 1 | cut -d: -f1); grep \"^$d \" /proc/mounts | cut -d' ' -f2 | while read m; do umount $m; done; losetup --detach $d; rm -f {file}"
        ))?;
    }
    place.shell(&format!("rm -rf {TALK}")).map(drop)
}
