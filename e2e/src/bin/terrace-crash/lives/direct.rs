//! A Direct volume: applied, written, grown, let go by its claim and kept, pointed at another claim, forgotten, adopted, and
//! at last deleted by its claim.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::cluster::{Kind, condition};
use crate::fault::{Fault, Wrong};
use crate::life::Life;
use crate::objects::{Mounted, direct, pod, reader, writer};
use crate::stage::Stage;

const MIB: u64 = 320;
const MORE: u64 = 384;

pub(crate) async fn live(life: &Life) -> Result<()> {
    let volume = life.name("direct");
    let one = life.name("writer");
    let claims = ["first", "second", "third"].map(|part| life.name(part));
    let mounted = [Mounted::folder(&claims[0])];
    let namespace = life.cluster.namespace.clone();
    life.stage(Stage::Direct, async {
        let asked = direct(&volume, (&namespace, &claims[0]), MIB, None);
        life.cluster.apply(Kind::Volume, asked).await?;
        let script = writer(&one, &mounted);
        life.cluster.apply(Kind::Pod, pod(&one, &namespace, &mounted, &script)).await?;
        life.told(&one, "written").await
    })
    .await?;
    let uuid = life.identify(&claims[0]).await?.uuid;
    life.formatted_once(&one, &mounted).await?;
    life.stage(Stage::Grow, async {
        let more = json!({"spec": {"capacity": format!("{MORE}Mi")}});
        life.cluster.merge(Kind::Volume, &volume, more).await?;
        life.has_size(&claims[0], MORE).await
    })
    .await?;
    life.stage(Stage::Leave, life.leave(&one)).await?;
    life.stage(Stage::Keep, async {
        life.cluster.end(&[(Kind::Claim, claims[0].clone())]).await?;
        life.says(&volume, "Released").await
    })
    .await?;
    adopted(life, &volume, &claims[1], &uuid).await?;
    life.stage(Stage::Keep, forgotten(life, &volume, &claims[1], &uuid)).await?;
    adopted(life, &volume, &claims[2], &uuid).await?;
    life.stage(Stage::End, async {
        let delete = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
        life.cluster.merge(Kind::Persistent, &volume, delete).await?;
        life.ends(&[(Kind::Claim, claims[2].clone())]).await
    })
    .await
}

/// Another claim gets the same bytes, and a Pod reads them.
async fn adopted(life: &Life, volume: &str, claim: &str, uuid: &str) -> Result<()> {
    let namespace = life.cluster.namespace.clone();
    let (two, mounted) = (format!("{claim}-reader"), [Mounted::folder(claim)]);
    life.stage(Stage::Adopt, async {
        let asked = direct(volume, (&namespace, claim), MORE, Some(uuid));
        life.cluster.apply(Kind::Volume, asked).await?;
        let script = reader(&two, &mounted, "");
        life.cluster.apply(Kind::Pod, pod(&two, &namespace, &mounted, &script)).await?;
        life.told(&two, "verified").await?;
        // Of a claim that comes and goes while nobody looks nobody can tell, and it is made again.
        let has_it = ("True".to_owned(), "AsExpected".to_owned());
        let is_so = |found: Option<&kube::api::DynamicObject>| {
            found.is_some_and(|volume| condition(volume, "Bound") == has_it)
        };
        life.cluster.until(Kind::Volume, volume, "bound", is_so).await.map(drop)
    })
    .await?;
    life.formatted_once(&two, &mounted).await?;
    life.stage(Stage::Leave, life.cluster.end(&[(Kind::Pod, two.clone())])).await
}

/// Claim, PersistentVolume and object go; the node keeps the bytes and lists them.
async fn forgotten(life: &Life, volume: &str, claim: &str, uuid: &str) -> Result<()> {
    life.cluster.end(&[(Kind::Claim, claim.to_owned())]).await?;
    life.says(volume, "Released").await?;
    life.cluster.end(&[(Kind::Persistent, volume.to_owned())]).await?;
    life.says(volume, "Retained").await?;
    life.cluster.end(&[(Kind::Volume, volume.to_owned())]).await?;
    let since = Instant::now();
    loop {
        let nodes = life.cluster.list(Kind::Node).await?;
        let kept = |one: &serde_json::Value| one["uuid"] == uuid && one["state"] == "Retained";
        let lists = nodes.iter().filter_map(|node| node.data["status"]["volumes"].as_array());
        if lists.flatten().any(kept) {
            return Ok(());
        }
        if life.cluster.clock.left(since).is_zero() {
            let seen = format!("no node lists {uuid} as Retained");
            return Err(Fault::new(Wrong::Lost, seen).into());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

impl Life {
    /// Waits until the volume says why it is bound to no claim.
    async fn says(&self, volume: &str, reason: &str) -> Result<()> {
        let is_so = |found: Option<&kube::api::DynamicObject>| {
            found.is_some_and(|volume| {
                condition(volume, "Bound") == ("False".to_owned(), reason.to_owned())
            })
        };
        self.cluster.until(Kind::Volume, volume, reason, is_so).await.map(drop)
    }
}
