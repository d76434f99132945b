//! A volume with a filesystem: written, grown, copied while it is written, restored, cloned, deleted.

use anyhow::Result;

use crate::cluster::{Kind, text};
use crate::life::Life;
use crate::objects::{Block, Mounted, Source, claim, grown, pod, reader, snapshot, writer};
use crate::stage::Stage;

const MIB: u64 = 320;
const MORE: u64 = 384;

/// When the volume grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// While a Pod writes.
    InUse,
    /// While no Pod has it: the filesystem follows when the next one comes.
    AtRest,
}

pub(crate) async fn live(life: &Life, class: &str, growth: Growth) -> Result<()> {
    let (data, snap) = (life.name("data"), life.name("snap"));
    let mounted = [Mounted::folder(&data)];
    let one = life.name("writer");
    life.begins(class, MIB, &one, &mounted).await?;
    life.formatted_once(&one, &mounted).await?;
    if growth == Growth::InUse {
        life.grows(&data, MORE).await?;
    }
    life.stage(Stage::Snapshot, async {
        life.cluster.apply(Kind::VolumeSnapshot, snapshot(&snap, &data)).await?;
        life.is_taken(&snap).await
    })
    .await?;
    life.stage(Stage::Leave, life.leave(&one)).await?;
    if growth == Growth::AtRest {
        life.stage(Stage::Grow, async {
            life.is_unstaged(&data).await?;
            life.cluster.merge(Kind::Claim, &data, grown(MORE)).await?;
            life.awaits_its_pod(&data, MORE).await
        })
        .await?;
    }
    copies(life, class, &data, &snap).await?;
    life.stage(Stage::End, async {
        let names = ["data", "restored", "clone"].map(|part| (Kind::Claim, life.name(part)));
        let mut all = names.to_vec();
        // Its source before the snapshot, or after it.
        let place = if life.chance(2, "order") == 0 { 0 } else { all.len() };
        all.insert(place, (Kind::VolumeSnapshot, snap));
        life.ends(&all).await
    })
    .await
}

/// What was restored and what was cloned have the bytes, beside the original.
async fn copies(life: &Life, class: &str, data: &str, snap: &str) -> Result<()> {
    let (restored, clone) = (life.name("restored"), life.name("clone"));
    let mounted = [data, &restored, &clone].map(Mounted::folder);
    let two = life.name("reader");
    life.stage(Stage::Copies, async {
        let of_snapshot = Source::Snapshot(snap.to_owned());
        let of_claim = Source::Claim(data.to_owned());
        life.cluster
            .apply(Kind::Claim, claim(&restored, class, MORE, Block::No, &of_snapshot))
            .await?;
        life.cluster.apply(Kind::Claim, claim(&clone, class, MORE, Block::No, &of_claim)).await?;
        let script = reader(&two, &mounted, data);
        let lane = &life.cluster.namespace;
        life.cluster.apply(Kind::Pod, pod(&two, lane, &mounted, &script)).await?;
        life.told(&two, "verified").await?;
        life.has_size(data, MORE).await
    })
    .await?;
    life.formatted_once(&two, &mounted).await?;
    life.stage(Stage::Leave, life.cluster.end(&[(Kind::Pod, two.clone())])).await
}

impl Life {
    /// A claim for each volume, and a Pod that writes them.
    pub(crate) async fn begins(
        &self,
        class: &str,
        mib: u64,
        name: &str,
        mounted: &[Mounted],
    ) -> Result<()> {
        self.stage(Stage::Begin, async {
            for one in mounted {
                let asked = claim(&one.claim, class, mib, one.block, &Source::Nothing);
                self.cluster.apply(Kind::Claim, asked).await?;
            }
            let script = writer(name, mounted);
            let lane = &self.cluster.namespace;
            self.cluster.apply(Kind::Pod, pod(name, lane, mounted, &script)).await?;
            self.told(name, "written").await
        })
        .await?;
        for one in mounted {
            self.identify(&one.claim).await?;
        }
        Ok(())
    }

    /// More room for a claim in use.
    pub(crate) async fn grows(&self, claim: &str, mib: u64) -> Result<()> {
        self.stage(Stage::Grow, async {
            self.cluster.merge(Kind::Claim, claim, grown(mib)).await?;
            self.has_size(claim, mib).await
        })
        .await
    }

    /// Waits until the claim has it.
    pub(crate) async fn has_size(&self, claim: &str, mib: u64) -> Result<()> {
        let size = format!("{mib}Mi");
        let is_so = |found: Option<&kube::api::DynamicObject>| {
            found.is_some_and(|claim| text(claim, "/status/capacity/storage") == size)
        };
        self.cluster.until(Kind::Claim, claim, &format!("of {size}"), is_so).await.map(drop)
    }

    /// Waits until the kubelet has taken it back from the node. It may not have when the next Pod comes, and then keeps it
    /// mounted; where a mounted filesystem cannot grow, it never would.
    async fn is_unstaged(&self, claim: &str) -> Result<()> {
        let volume = self.cluster.get(Kind::Claim, claim).await?;
        let volume = volume.map_or_else(String::new, |claim| text(&claim, "/spec/volumeName"));
        let is_so = |found: Option<&kube::api::DynamicObject>| {
            found.is_some_and(|volume| text(volume, "/status/phase") == "Ready")
        };
        self.cluster.until(Kind::Volume, &volume, "on no Pod", is_so).await.map(drop)
    }

    /// Waits until all is done that can be done without a Pod.
    async fn awaits_its_pod(&self, claim: &str, mib: u64) -> Result<()> {
        let size = format!("{mib}Mi");
        let is_so = |found: Option<&kube::api::DynamicObject>| {
            found.is_some_and(|claim| {
                let conditions = claim.data["status"]["conditions"].as_array();
                let waits = |one: &serde_json::Value| one["type"] == "FileSystemResizePending";
                text(claim, "/status/capacity/storage") == size
                    || conditions.is_some_and(|all| all.iter().any(waits))
            })
        };
        self.cluster.until(Kind::Claim, claim, "ready to grow", is_so).await.map(drop)
    }

    /// Waits until the snapshot can be restored, and remembers its host object.
    pub(crate) async fn is_taken(&self, snapshot: &str) -> Result<()> {
        let ready = |found: Option<&kube::api::DynamicObject>| {
            found.is_some_and(|one| one.data["status"]["readyToUse"] == true)
        };
        let taken =
            self.cluster.until(Kind::VolumeSnapshot, snapshot, "ready to use", ready).await?;
        let content = taken.map(|one| text(&one, "/status/boundVolumeSnapshotContentName"));
        let content = self.cluster.get(Kind::Content, &content.unwrap_or_default()).await?;
        let handle = content.map(|one| text(&one, "/status/snapshotHandle")).unwrap_or_default();
        let object = self.cluster.get(Kind::Snapshot, &handle).await?;
        self.one(&object.map(|one| text(&one, "/spec/snapshotUUID")).unwrap_or_default())
    }

    /// Deletes claims and snapshots; then they, their PersistentVolumes, contents and custom resources are gone.
    pub(crate) async fn ends(&self, asked: &[(Kind, String)]) -> Result<()> {
        let mut all = asked.to_vec();
        for (kind, name) in asked {
            let Some(object) = self.cluster.get(*kind, name).await? else { continue };
            if *kind == Kind::Claim {
                let volume = text(&object, "/spec/volumeName");
                all.extend([(Kind::Persistent, volume.clone()), (Kind::Volume, volume)]);
            }
            if *kind == Kind::VolumeSnapshot {
                let content = text(&object, "/status/boundVolumeSnapshotContentName");
                let found = self.cluster.get(Kind::Content, &content).await?;
                let handle = found.map(|one| text(&one, "/status/snapshotHandle"));
                let handle = (Kind::Snapshot, handle.unwrap_or_default());
                all.extend([(Kind::Content, content), handle]);
            }
        }
        for (kind, name) in asked {
            self.cluster.delete(*kind, name).await?;
        }
        for (kind, name) in all.iter().filter(|(_, name)| !name.is_empty()) {
            self.cluster.gone(*kind, name).await?;
        }
        Ok(())
    }
}
