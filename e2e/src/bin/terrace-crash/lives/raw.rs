//! A raw block volume: written, grown and copied in use, restored, and overwritten at its end.

use anyhow::Result;

use crate::cluster::Kind;
use crate::life::Life;
use crate::objects::{Block, Mounted, Source, claim, pod, reader, snapshot};
use crate::stage::Stage;

const CLASS: &str = "crash-erase";
const MIB: u64 = 48;
const MORE: u64 = 64;

pub(crate) async fn live(life: &Life) -> Result<()> {
    let (data, snap, restored) = (life.name("data"), life.name("snap"), life.name("restored"));
    let one = life.name("writer");
    life.begins(CLASS, MIB, &one, &[Mounted::device(&data)]).await?;
    life.stage(Stage::Snapshot, async {
        life.cluster.apply(Kind::VolumeSnapshot, snapshot(&snap, &data)).await?;
        life.is_taken(&snap).await
    })
    .await?;
    life.grows(&data, MORE).await?;
    life.stage(Stage::Leave, life.leave(&one)).await?;
    let two = life.name("reader");
    let mounted = [Mounted::device(&data), Mounted::device(&restored)];
    life.stage(Stage::Copies, async {
        let asked = claim(&restored, CLASS, MORE, Block::Yes, &Source::Snapshot(snap.clone()));
        life.cluster.apply(Kind::Claim, asked).await?;
        let script = reader(&two, &mounted, &data);
        let lane = &life.cluster.namespace;
        life.cluster.apply(Kind::Pod, pod(&two, lane, &mounted, &script)).await?;
        life.told(&two, "verified").await
    })
    .await?;
    for volume in [&data, &restored] {
        life.identify(volume).await?;
    }
    life.stage(Stage::Leave, life.cluster.end(&[(Kind::Pod, two.clone())])).await?;
    life.stage(Stage::End, async {
        let snapshot = (Kind::VolumeSnapshot, snap);
        life.ends(&[(Kind::Claim, data), snapshot, (Kind::Claim, restored)]).await
    })
    .await
}
