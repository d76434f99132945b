//! `hack/crash power`: the power goes while a volume is written to (`FS_IOC_SHUTDOWN`), and every acknowledged block and name is
//! looked for afterwards. No cluster: the node's own planner, executor and CSI service, in mounts that nobody else sees.

pub(crate) mod alone;
pub(crate) mod block;
mod cut;
pub(crate) mod dice;
pub(crate) mod durable;
pub(crate) mod ledger;
mod logs;
pub(crate) mod node;
mod region;
mod slots;
pub(crate) mod tally;
pub(crate) mod writers;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use terrace_backends::BackendKind;
use terrace_device_types::{Bytes, FsType, VolumeMode};

use self::alone::{Place, alone};
use self::cut::Lane;
use self::dice::Dice;
use self::durable::Promise;
use self::node::{Node, make_pool};
use self::tally::Tally;

/// Arguments of `hack/crash power`.
#[derive(Args)]
pub(crate) struct Power {
    /// The volumes' filesystem.
    #[arg(long)]
    filesystem: Filesystem,
    /// How often the power goes.
    #[arg(long, default_value_t = 500)]
    cuts: u64,
    /// Determines the moments and what is written.
    #[arg(long)]
    seed: Option<u64>,
    /// Volumes that are cut off side by side.
    #[arg(long, default_value_t = 4)]
    volumes: u64,
    /// Count writes as acknowledged before they are: shows that a loss is found.
    #[arg(long)]
    lie: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Filesystem {
    Ext4,
    Xfs,
}

impl Filesystem {
    const fn fs(self) -> FsType {
        match self {
            Self::Ext4 => FsType::Ext4,
            Self::Xfs => FsType::Xfs,
        }
    }
}

impl Power {
    /// Prints a table.
    ///
    /// # Errors
    /// If an acknowledged byte or name is lost, or a writer got an error with the power on.
    pub(crate) fn run(&self) -> Result<()> {
        alone(|place| self.run_alone(place))
    }

    async fn run_alone(&self, place: Place) -> Result<()> {
        let seed = self.seed.map_or_else(seed_of_now, Ok)?;
        let start = Instant::now();
        eprintln!("seed {seed}");
        let ground = place.dir.join("ground");
        std::fs::create_dir(&ground)?;
        make_pool(&ground.join("pool"), BackendKind::File)?;
        let node = Arc::new(Node::start(&place.dir.join("node"), &ground)?);
        let mut lanes = tokio::task::JoinSet::new();
        for (lane, cuts) in self.lanes(&mut Dice::new(seed)) {
            let (node, place) = (Arc::clone(&node), place.clone());
            lanes.spawn(async move { lane.run(&node, &place, cuts).await });
        }
        let mut tally = Tally::default();
        while let Some(lane) = lanes.join_next().await {
            tally.add(lane??);
        }
        let fs = self.filesystem.fs();
        println!("{}", tally.power(fs.as_str(), start.elapsed().as_secs_f64()));
        judge(&tally, seed)
    }

    /// The volumes, each with its share of the cuts.
    fn lanes(&self, dice: &mut Dice) -> Vec<(Lane, u64)> {
        let (fs, count) = (self.filesystem.fs(), self.volumes.clamp(1, self.cuts.max(1)));
        let promise = if self.lie { Promise::Early } else { Promise::Durable };
        let lane = |number| Lane {
            number,
            name: format!("{fs}-{number}"),
            mode: VolumeMode::Filesystem { fs },
            size: size_of(fs),
            promise,
            dice: dice.split(),
        };
        let share = |number| self.cuts / count + u64::from(number < self.cuts % count);
        (0..count)
            .map(lane)
            .map(|lane| (share(lane.number), lane))
            .map(|(cuts, lane)| (lane, cuts))
            .collect()
    }
}

/// Enough for what the writers keep.
pub(crate) fn size_of(fs: FsType) -> Bytes {
    fs.least().max(Bytes::mib(64))
}

pub(crate) fn seed_of_now() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(u64::from(now.subsec_nanos()) ^ now.as_secs())
}

/// Fails and tells the first faults, if there are any.
pub(crate) fn judge(tally: &Tally, seed: u64) -> Result<()> {
    if tally.is_good() {
        return Ok(());
    }
    let Tally { lost, errors, .. } = tally;
    for what in errors.iter().chain(lost).take(20) {
        eprintln!("  {what}");
    }
    bail!(
        "{} acknowledged and lost, {} errors with the power on; seed {seed}",
        lost.len(),
        errors.len()
    )
}
