//! One life of the guest: what the last one left is found, ended and compared, then everything is written to until the power goes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use terrace_backends::BackendKind;
use terrace_device_types::{FsType, PoolFile, PoolUuid, VolumeMode};
use terrace_devices::lvm::keep_in;
use uuid::Uuid;

use super::group::{make_group, names};
use super::report_of;
use crate::power::alone::Place;
use crate::power::dice::Dice;
use crate::power::durable::{Hand, Power, Promise};
use crate::power::ledger::{Ledger, Shared, verify};
use crate::power::node::Node;
use crate::power::size_of;
use crate::power::writers::Writers;

/// Below it everything of a life is mounted.
const GROUND: &str = "/run/terrace-cut";
/// The volumes that are written to.
const VOLUMES: [(&str, FsType); 2] = [("one", FsType::Xfs), ("two", FsType::Ext4)];
/// How long a life writes, at most, in milliseconds.
const LONGEST: u64 = 2500;
/// LVM's own volume of the pool.
const FOLDER: &str = "terrace-folder";

/// Arguments of a life.
#[derive(Args)]
pub(crate) struct Cut {
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    round: u64,
    #[arg(long)]
    lie: bool,
    /// Compare, and end.
    #[arg(long)]
    last: bool,
}

/// What a life found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    blocks: u64,
    names: u64,
    promised: u64,
    /// Volumes that were being made or deleted when the power went.
    passing: u64,
    /// From the start of the program to the last volume in service, in milliseconds.
    back: Vec<u64>,
    pub(super) lost: Vec<String>,
}

impl Report {
    pub(super) fn add(&mut self, other: Self) {
        let Self { blocks, names, promised, passing, back, lost } = other;
        self.blocks += blocks;
        self.names += names;
        self.promised = promised.max(self.promised);
        self.passing += passing;
        self.back.extend(back);
        self.lost.extend(lost);
    }

    pub(super) fn table(&self, cuts: u64, took: Duration) -> String {
        let mut back = self.back.clone();
        back.sort_unstable();
        let median = back.get(back.len() / 2).copied().unwrap_or_default();
        format!(
            "| group | cuts | blocks acknowledged | compared: blocks / names | lost or left | volumes made or deleted meanwhile | in service again: median, longest | s |\n|---|---|---|---|---|---|---|---|\n| lvm on two disks: xfs, ext4 | {cuts} | {} | {} / {} | {} | {} | {median} ms, {} ms | {:.0} |{}",
            self.promised,
            self.blocks,
            self.names,
            self.lost.len(),
            self.passing,
            back.last().copied().unwrap_or_default(),
            took.as_secs_f64(),
            self.lost.iter().map(|what| format!("\n{what}")).collect::<String>()
        )
    }
}

impl Cut {
    /// Does not return: the guest is killed.
    pub(crate) fn run(&self) -> Result<()> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(self.live())
    }

    async fn live(&self) -> Result<()> {
        let start = Instant::now();
        let share = PathBuf::from(std::env::var("TERRACE_SHARE")?);
        let ground = PathBuf::from(GROUND);
        let node = self.begin(&ground)?;
        node.recover().await?;
        let mut report = Report::default();
        self.end_passing(&node, &ground, &share, &mut report).await?;
        let (mut data, mut ledgers) = (Vec::new(), Vec::new());
        for (number, (name, fs)) in (0..).zip(VOLUMES) {
            let place = Place::lasting(&ground);
            // One that is there already stays as it is.
            node.create(&place, name, VolumeMode::Filesystem { fs }, size_of(fs)).await?;
            let at = node.give(name).await?;
            ledgers.push(self.compare(number, &at, &share, &mut report)?);
            data.push(at);
        }
        report.back.push(u64::try_from(start.elapsed().as_millis())?);
        expect_nothing_else(&mut report)?;
        write_whole(&report_of(&share), &serde_json::to_vec(&report)?)?;
        if self.last || !report.lost.is_empty() {
            return Ok(());
        }
        self.write_until_dark(&node, &ground, &share, (data, ledgers)).await
    }

    /// Mounts what lies on the disks.
    fn begin(&self, ground: &Path) -> Result<Node> {
        let disks = std::env::var("TERRACE_DISKS")?;
        let mut disks: Vec<PathBuf> = disks.split_whitespace().map(PathBuf::from).collect();
        let own = disks.pop().context("no disk for the node's own folder")?;
        fs::create_dir_all(ground.join("own"))?;
        let shell = "blkid -p \"$0\" >/dev/null || mkfs.ext4 -q \"$0\"; mount \"$0\" \"$1\"";
        let mut mount = Command::new("sh");
        mount.args(["-c", shell]).arg(own).arg(ground.join("own"));
        let mounted = mount.status()?;
        ensure!(mounted.success(), "the node's own folder is not mounted");
        keep_in(&ground.join("lvm"))?;
        let name = |what: &str| Uuid::new_v5(&Uuid::NAMESPACE_OID, what.as_bytes());
        let file = PoolFile {
            pool_uuid: PoolUuid(name("pool")),
            cluster_uid: name("cluster").to_string().parse().context("name the cluster")?,
            pool: "crash".to_owned(),
            backend: BackendKind::Lvm,
        };
        make_group(&file, &ground.join("pool"), &disks)?;
        Node::start(&ground.join("own"), ground)
    }

    /// What was acknowledged before the power went.
    fn compare(&self, number: u64, at: &Path, share: &Path, report: &mut Report) -> Result<Shared> {
        let path = share.join(format!("ledger-{number}"));
        let mut ledger = if self.round == 0 { Ledger::default() } else { Shared::read(&path)? };
        if self.round > 0 {
            let (verdict, settled) = verify(&ledger, &ledger, number, at)?;
            report.blocks += verdict.blocks;
            report.names += verdict.names;
            report
                .lost
                .extend(verdict.lost.into_iter().map(|what| format!("volume {number}: {what}")));
            ledger.slots.settle(&settled);
        }
        report.promised += ledger.promised.blocks;
        // Beside the old one: were it cut off in its first line, nothing would be known.
        let fresh = share.join(format!("ledger-{number}.new"));
        let shared = Shared::kept(ledger, &fresh)?;
        fs::rename(&fresh, &path)?;
        Ok(shared)
    }

    /// The volume that was being made or deleted when the power went: made if it was not, then deleted.
    async fn end_passing(
        &self,
        node: &Node,
        ground: &Path,
        share: &Path,
        report: &mut Report,
    ) -> Result<()> {
        let Ok(text) = fs::read(share.join("passing")) else { return Ok(()) };
        let Passing { name, number, stage } = serde_json::from_slice(&text)?;
        report.passing += number;
        if stage == Stage::Made {
            create_passing(node, ground, &name).await?;
        }
        if node.listed().states.iter().any(|(there, _)| *there == name) {
            node.delete(&name).await?;
        }
        Ok(())
    }

    async fn write_until_dark(
        &self,
        node: &Node,
        ground: &Path,
        share: &Path,
        (data, ledgers): (Vec<PathBuf>, Vec<Shared>),
    ) -> Result<()> {
        let mut dice = Dice::new(self.seed ^ crate::power::dice::mix(self.round));
        let promise = if self.lie { Promise::Early } else { Promise::Durable };
        let power = Power::default();
        let mut writers = Vec::new();
        for (number, (at, shared)) in (0..).zip(data.iter().zip(&ledgers)) {
            let hand = Hand { volume: number, promise, power: power.clone() };
            writers.push(Writers::start(&hand, at, shared, &mut dice));
        }
        let wait = Duration::from_millis(dice.below(LONGEST));
        let cut = share.join("cut");
        std::thread::spawn(move || {
            std::thread::sleep(wait);
            write_whole(&cut, b"now")
        });
        for number in 1u64.. {
            let name = format!("passing-{}-{number}", self.round);
            for stage in [Stage::Made, Stage::Deleted] {
                let passing = Passing { name: name.clone(), number, stage };
                write_whole(&share.join("passing"), &serde_json::to_vec(&passing)?)?;
                match stage {
                    Stage::Made => create_passing(node, ground, &name).await?,
                    Stage::Deleted => node.delete(&name).await?,
                }
            }
        }
        Ok(())
    }
}

/// The volume that was under way when the power went.
#[derive(Serialize, Deserialize)]
struct Passing {
    name: String,
    /// How many its life had by then.
    number: u64,
    stage: Stage,
}

/// What was asked for it last.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Made,
    Deleted,
}

async fn create_passing(node: &Node, ground: &Path, name: &str) -> Result<()> {
    let mode = VolumeMode::Filesystem { fs: FsType::Ext4 };
    let made = node.create(&Place::lasting(ground), name, mode, mode.least()).await;
    made.with_context(|| format!("make {name}"))
}

/// Nothing but the volumes and the pool's folder, with a device each.
fn expect_nothing_else(report: &mut Report) -> Result<()> {
    let (volumes, devices) = names()?;
    let wanted = VOLUMES.len() + 1;
    if volumes.len() != wanted || !volumes.contains(FOLDER) || devices.len() != wanted {
        report.lost.push(format!("left behind: {volumes:?}, {devices:?}"));
    }
    Ok(())
}

/// The host sees it once this returns, and never half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fs::rename(beside, path)?)
}
