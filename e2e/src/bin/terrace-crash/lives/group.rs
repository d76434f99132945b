//! Two volumes under one writer, and their snapshots of one moment: restored, read, deleted.

use anyhow::{Result, ensure};
use kube::ResourceExt;

use crate::cluster::{Kind, text};
use crate::life::Life;
use crate::objects::{Block, Mounted, Source, claim, group, pod, reader};
use crate::stage::Stage;

const CLASS: &str = "crash-xfs";
const MIB: u64 = 304;

pub(crate) async fn live(life: &Life) -> Result<()> {
    let claims = [life.name("log"), life.name("data")];
    let mounted = [Mounted::folder(&claims[0]), Mounted::folder(&claims[1])];
    let (one, both) = (life.name("writer"), life.name("both"));
    life.begins(CLASS, MIB, &one, &mounted).await?;
    life.formatted_once(&one, &mounted).await?;
    let members = life
        .stage(Stage::Snapshot, async {
            life.cluster.apply(Kind::Group, group(&both, &life.prefix)).await?;
            members(life, &both).await
        })
        .await?;
    life.stage(Stage::Leave, life.leave(&one)).await?;
    let restored = [life.name("first"), life.name("second")];
    let two = life.name("reader");
    life.stage(Stage::Copies, async {
        for (name, member) in restored.iter().zip(&members) {
            let asked = claim(name, CLASS, MIB, Block::No, &Source::Snapshot(member.clone()));
            life.cluster.apply(Kind::Claim, asked).await?;
        }
        let mounted = [Mounted::folder(&restored[0]), Mounted::folder(&restored[1])];
        let script = reader(&two, &mounted, "");
        let lane = &life.cluster.namespace;
        life.cluster.apply(Kind::Pod, pod(&two, lane, &mounted, &script)).await?;
        life.told(&two, "verified").await
    })
    .await?;
    for name in restored.iter().chain(&claims) {
        life.identify(name).await?;
    }
    life.stage(Stage::Leave, life.cluster.end(&[(Kind::Pod, two.clone())])).await?;
    life.stage(Stage::End, async {
        let content = life.cluster.get(Kind::Group, &both).await?;
        let content = content.map(|one| text(&one, "/status/boundVolumeGroupSnapshotContentName"));
        life.cluster.delete(Kind::Group, &both).await?;
        let all = claims.iter().chain(&restored).map(|name| (Kind::Claim, name.clone()));
        life.ends(&all.collect::<Vec<_>>()).await?;
        for member in &members {
            life.cluster.gone(Kind::VolumeSnapshot, member).await?;
        }
        life.cluster.gone(Kind::Group, &both).await?;
        life.cluster.gone(Kind::GroupContent, &content.unwrap_or_default()).await
    })
    .await
}

/// Waits for the group, and gives the names of its snapshots.
async fn members(life: &Life, both: &str) -> Result<Vec<String>> {
    let ready = |found: Option<&kube::api::DynamicObject>| {
        found.is_some_and(|one| one.data["status"]["readyToUse"] == true)
    };
    life.cluster.until(Kind::Group, both, "ready to use", ready).await?;
    let all = life.cluster.list(Kind::VolumeSnapshot).await?;
    let members: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
    ensure!(members.len() == 2, "group {both} of two volumes has the snapshots {members:?}");
    for member in &members {
        life.is_taken(member).await?;
    }
    Ok(members)
}
