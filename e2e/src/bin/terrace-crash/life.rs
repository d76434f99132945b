//! What every life does alike: stages that the driver knows of, Pods that tell where they stand, and looks at what was made:
//! one of each, never formatted twice, nothing left.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::audit;
use crate::cluster::{Cluster, Kind, text};
use crate::dice::below;
use crate::driver::Driver;
use crate::fault::{Fault, Wrong};
use crate::objects::{Block, Mounted, TALK};
use crate::stage::Stage;

/// Between two looks at what a Pod has told.
const LOOK: Duration = Duration::from_millis(50);
/// Between two blows that have no point: a killed container is back by then.
const BETWEEN: Duration = Duration::from_secs(8);
/// What is killed where there are no points.
const VICTIMS: [&str; 5] =
    ["terrace-node", "terrace-operator", "csi-provisioner", "csi-resizer", "csi-snapshotter"];

/// One life of one lane.
pub(crate) struct Life {
    pub(crate) driver: Arc<Driver>,
    pub(crate) cluster: Cluster,
    pub(crate) lane: usize,
    pub(crate) kind: &'static str,
    /// What its names begin with.
    pub(crate) prefix: String,
    pub(crate) seed: u64,
    /// Host objects of its own by UUID, and when the first folder in each filesystem was made.
    pub(crate) known: Mutex<BTreeMap<String, Option<SystemTime>>>,
}

impl Life {
    pub(crate) fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    /// A number of this life's own, below the bound.
    pub(crate) fn chance(&self, bound: u64, what: &str) -> u64 {
        below(bound, self.seed, &[&self.prefix, what])
    }

    /// One stage: the driver may strike while the work is under way.
    pub(crate) async fn stage<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.driver.begin(self.lane, self.kind, stage);
        if self.driver.may_throw(BETWEEN) {
            self.throw(stage);
        }
        let done = work.await;
        self.driver.over(self.lane);
        done.with_context(|| format!("{} {}, stage {stage}", self.kind, self.prefix))
    }

    /// A blow without a point, at a moment that the seed names.
    fn throw(&self, stage: Stage) {
        let words = [self.prefix.as_str(), stage.name()];
        let victim = usize::try_from(below(5, self.seed, &words)).unwrap_or(0);
        let program = VICTIMS.get(victim).copied().unwrap_or("terrace-node");
        let after = Duration::from_millis(below(1500, self.seed, &[&words[..], &["ms"]].concat()));
        let (driver, lane) = (Arc::clone(&self.driver), self.lane);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Err(error) = driver.throw(program, lane) {
                eprintln!("not killed: {error:#}");
            }
        });
    }

    fn talk(&self, file: &str) -> std::path::PathBuf {
        self.driver.place.path(&format!("{TALK}/{}/{file}", self.cluster.namespace))
    }

    /// Waits until the Pod has told this word.
    pub(crate) async fn told(&self, pod: &str, word: &str) -> Result<()> {
        let since = Instant::now();
        loop {
            let said = fs::read_to_string(self.talk(pod)).unwrap_or_default();
            let said = said.trim();
            if said == word {
                return Ok(());
            }
            if said.starts_with("bad") {
                return Err(Fault::new(Wrong::Lost, format!("Pod {pod}: {said}")).into());
            }
            if self.cluster.clock.left(since).is_zero() {
                let object = self.cluster.get(Kind::Pod, pod).await?;
                let status = object.map_or(Value::Null, |object| object.data["status"].clone());
                let seen = format!("Pod {pod} has not told {word:?}, but {said:?}: {status}");
                return Err(Fault::new(Wrong::Stuck, seen).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets a writer come to its end, and waits until it has read all of it again; then the Pod goes.
    pub(crate) async fn leave(&self, pod: &str) -> Result<()> {
        fs::write(self.talk(&format!("{pod}.go")), "").context("tell the Pod to end")?;
        self.told(pod, "verified").await?;
        self.cluster.end(&[(Kind::Pod, pod.to_owned())]).await
    }

    /// What a bound claim is: its PersistentVolume and its UUID. There may be one of each, and one host object.
    pub(crate) async fn identify(&self, claim: &str) -> Result<Identity> {
        let object = self.cluster.get(Kind::Claim, claim).await?;
        let object = object.with_context(|| format!("claim {claim} is gone"))?;
        let persistent = text(&object, "/spec/volumeName");
        let is_ours = |object: &&kube::api::DynamicObject| {
            text(object, "/spec/claimRef/name") == claim
                && text(object, "/spec/claimRef/namespace") == self.cluster.namespace
        };
        let persistents = self.cluster.list(Kind::Persistent).await?;
        let volumes = self.cluster.list(Kind::Volume).await?;
        let counts =
            (persistents.iter().filter(is_ours).count(), volumes.iter().filter(is_ours).count());
        if counts != (1, 1) {
            let seen = format!(
                "claim {claim} has {} PersistentVolumes and {} StorageVolumes",
                counts.0, counts.1
            );
            return Err(Fault::new(Wrong::Second, seen).into());
        }
        let volume = volumes.iter().find(is_ours);
        let uuid = volume.map(|volume| text(volume, "/spec/volumeUUID")).unwrap_or_default();
        ensure!(!uuid.is_empty(), "the volume of claim {claim} has no UUID");
        self.one(&uuid)?;
        Ok(Identity { persistent, uuid })
    }

    /// Remembers a host object of this life; there may be one.
    pub(crate) fn one(&self, uuid: &str) -> Result<()> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(uuid.to_owned())
            .or_default();
        let objects = audit::host_objects(&self.driver.place)?;
        let found: Vec<String> = objects
            .iter()
            .filter(|object| object.uuid == uuid)
            .map(|object| object.path.display().to_string())
            .collect();
        match found.len() {
            1 => Ok(()),
            0 => {
                Err(Fault::new(Wrong::Lost, format!("{uuid} is in service and has no host object"))
                    .into())
            }
            _ => {
                Err(Fault::new(Wrong::Second, format!("{uuid} is at {}", found.join(" and ")))
                    .into())
            }
        }
    }

    /// The first folder of the filesystem that the Pod has is as old as ever: the filesystem was not made anew.
    pub(crate) async fn formatted_once(&self, pod: &str, mounted: &[Mounted]) -> Result<()> {
        let object = self.cluster.get(Kind::Pod, pod).await?;
        let uid = object.and_then(|object| object.metadata.uid).unwrap_or_default();
        for one in mounted.iter().filter(|one| one.block == Block::No) {
            let Identity { persistent, uuid } = self.identify(&one.claim).await?;
            let inside =
                format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/{persistent}/mount");
            let born = fs::metadata(self.driver.place.path(&inside))
                .and_then(|folder| folder.created())
                .with_context(|| format!("when {inside} was made"))?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let before = known.entry(uuid.clone()).or_default();
            match before {
                Some(before) if *before != born => {
                    let seen =
                        format!("{uuid}: its first folder was made {before:?}, now {born:?}");
                    return Err(Fault::new(Wrong::Format, seen).into());
                }
                Some(_) => {}
                None => *before = Some(born),
            }
        }
        Ok(())
    }

    /// Of all that this life made nothing is on the host any more: no object, whatever it is called, no loop device, no mount.
    pub(crate) async fn is_gone_from_the_host(&self) -> Result<()> {
        let uuids: Vec<String> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.keys().cloned().collect()
        };
        let since = Instant::now();
        loop {
            let left = audit::left_of(&self.driver.place, &uuids)?;
            if left.is_empty() {
                return Ok(());
            }
            if self.cluster.clock.left(since).is_zero() {
                let seen = format!("{} {}: {}", self.kind, self.prefix, left.join(", "));
                return Err(Fault::new(Wrong::Leaked, seen).into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// What a claim is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) persistent: String,
    pub(crate) uuid: String,
}
