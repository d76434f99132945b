//! A pool from a blank disk to its end, with a volume on it; and policies, which are answered.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster::{Kind, condition};
use crate::life::Life;
use crate::objects::{Mounted, class, pool};
use crate::stage::Stage;

pub(crate) async fn live(life: &Life) -> Result<()> {
    let name = life.name("pool");
    let (backend, fs) =
        if life.chance(2, "backend") == 0 { ("file", "xfs") } else { ("btrfs", "btrfs") };
    let file = format!("/var/lib/terrace/{name}.img");
    let device = life
        .driver
        .place
        .shell(&format!("truncate -s 1300M {file} && losetup --show --find {file}"))?;
    let lived = on_disk(life, &name, backend, fs, &file).await;
    if lived.is_ok() {
        let device = device.trim();
        life.driver.place.shell(&format!(
            "grep '^{device} ' /proc/mounts | cut -d' ' -f2 | while read m; do umount $m; done; losetup --detach {device}; rm -f {file}"
        ))?;
    }
    lived
}

async fn on_disk(life: &Life, name: &str, backend: &str, fs: &str, file: &str) -> Result<()> {
    life.stage(Stage::Pool, async {
        let asked = pool(name, backend, &format!("loop:{file}"));
        life.cluster.apply(Kind::Pool, asked).await?;
        life.cluster.apply(Kind::Lifecycle, lifecycle(name)).await?;
        life.cluster.apply(Kind::Tiering, tiering(name)).await?;
        life.cluster.apply(Kind::Class, class(name, name, &[("fs-type", fs)])).await?;
        life.is_true(Kind::Pool, name, "Ready").await?;
        life.is_true(Kind::Lifecycle, name, "Accepted").await?;
        life.is_true(Kind::Tiering, name, "Accepted").await
    })
    .await?;
    let (data, one) = (life.name("data"), life.name("writer"));
    let mounted = [Mounted::folder(&data)];
    life.begins(name, 320, &one, &mounted).await?;
    life.formatted_once(&one, &mounted).await?;
    life.stage(Stage::Leave, life.leave(&one)).await?;
    life.stage(Stage::End, life.ends(&[(Kind::Claim, data)])).await?;
    life.stage(Stage::Unpool, async {
        let kinds = [Kind::Lifecycle, Kind::Tiering, Kind::Class, Kind::Pool];
        life.cluster.end(&kinds.map(|kind| (kind, name.to_owned()))).await?;
        let forgotten = |found: Option<&kube::api::DynamicObject>| {
            let lists = found.and_then(|node| node.data["status"]["pools"].as_array());
            !lists.is_some_and(|pools| pools.iter().any(|pool| pool["name"] == name))
        };
        life.cluster.until(Kind::Node, "node-a", "without the pool", forgotten).await.map(drop)
    })
    .await
}

fn lifecycle(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "claimSelector": {"matchLabels": {"life": "none"}}, "schedule": "0 2 * * *",
        "rules": [{
            "name": "old",
            "match": {"include": ["tmp/**/*"], "olderThan": "7d"},
            "delete": {"keepFor": "30d"},
        }],
    }})
}

fn tiering(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "tiers": [{"name": "fast"}, {"name": "slow"}],
        "volumeSelector": {"matchLabels": {"life": "none"}},
        "transitions": [{"name": "cool", "from": "fast", "to": "slow", "when": {"notAccessedFor": "30d"}}],
    }})
}

impl Life {
    /// Waits until the condition is True.
    async fn is_true(&self, kind: Kind, name: &str, what: &'static str) -> Result<()> {
        let is_so = |found: Option<&kube::api::DynamicObject>| {
            found.is_some_and(|one| condition(one, what).0 == "True")
        };
        self.cluster.until(kind, name, what, is_so).await.map(drop)
    }
}
