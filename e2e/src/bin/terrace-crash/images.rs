//! `hack/crash images`: the file that holds a pool's whole filesystem is cloned at one moment while its volumes are written to,
//! which is what a power cut leaves of it. A second node finds the volumes in the clone, checks them and gives them to a Pod, and
//! every block and name acknowledged before that moment is looked for. No cluster; mounts that nobody else sees.

mod disk;
mod making;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};
use terrace_backends::BackendKind;
use terrace_device_types::{FsType, VolumeMode};

use self::disk::{Aside, Disk, Ground};
use self::making::{Made, Making};
use crate::power::alone::{Place, alone};
use crate::power::dice::Dice;
use crate::power::durable::{Hand, Power, Promise};
use crate::power::ledger::{Ledger, Shared, Verdict, verify};
use crate::power::node::{Node, make_pool};
use crate::power::tally::{Tally, images_head};
use crate::power::writers::Writers;
use crate::power::{judge, seed_of_now, size_of};

/// How long the writers have for themselves between two images, at most.
const LONGEST_MS: u64 = 300;

/// Arguments of `hack/crash images`.
#[derive(Args)]
pub(crate) struct Images {
    /// The pools; all of them, if none is named.
    #[arg(long)]
    backend: Vec<Case>,
    /// Images of each.
    #[arg(long, default_value_t = 100)]
    images: u64,
    /// Determines the moments and what is written.
    #[arg(long)]
    seed: Option<u64>,
    /// Count writes as acknowledged before they are: shows that a loss is found.
    #[arg(long)]
    lie: bool,
}

/// A pool, and what volumes there are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Images on xfs.
    FileXfs,
    /// Images on ext4, which can't share blocks.
    FileExt4,
    /// Subvolumes.
    Btrfs,
}

impl Case {
    const ALL: [Self; 3] = [Self::FileXfs, Self::FileExt4, Self::Btrfs];

    const fn name(self) -> &'static str {
        match self {
            Self::FileXfs => "file on xfs: xfs, ext4",
            Self::FileExt4 => "file on ext4: ext4, xfs",
            Self::Btrfs => "btrfs: two subvolumes",
        }
    }

    const fn ground(self) -> Ground {
        match self {
            Self::FileXfs => Ground::Xfs,
            Self::FileExt4 => Ground::Ext4,
            Self::Btrfs => Ground::Btrfs,
        }
    }

    const fn backend(self) -> BackendKind {
        match self {
            Self::FileXfs | Self::FileExt4 => BackendKind::File,
            Self::Btrfs => BackendKind::Btrfs,
        }
    }

    /// The volumes that come and go meanwhile.
    const fn passing(self) -> VolumeMode {
        match self {
            Self::FileXfs | Self::FileExt4 => VolumeMode::Filesystem { fs: FsType::Ext4 },
            Self::Btrfs => VolumeMode::Filesystem { fs: FsType::Btrfs },
        }
    }

    const fn volumes(self) -> [(&'static str, FsType); 2] {
        match self {
            Self::FileXfs | Self::FileExt4 => [("one", FsType::Xfs), ("two", FsType::Ext4)],
            Self::Btrfs => [("one", FsType::Btrfs), ("two", FsType::Btrfs)],
        }
    }
}

impl Images {
    /// Prints a table.
    ///
    /// # Errors
    /// If an acknowledged byte or name is lost, or a writer got an error.
    pub(crate) fn run(&self) -> Result<()> {
        alone(|place| self.run_alone(place))
    }

    async fn run_alone(&self, place: Place) -> Result<()> {
        let seed = self.seed.map_or_else(seed_of_now, Ok)?;
        eprintln!("seed {seed}");
        let cases = if self.backend.is_empty() { &Case::ALL[..] } else { &self.backend };
        let promise = if self.lie { Promise::Early } else { Promise::Durable };
        let (mut all, mut rows) = (Tally::default(), Vec::new());
        for case in cases {
            let start = Instant::now();
            let dice = Dice::new(seed);
            let tally = Bench::new(*case, promise, dice, &place).await?.run(self.images).await?;
            rows.push(tally.images(case.name(), start.elapsed().as_secs_f64()));
            all.add(tally);
        }
        println!("{}\n{}", images_head(), rows.join("\n"));
        if !all.lost.is_empty() && promise == Promise::Durable {
            place.keep()?;
        }
        judge(&all, seed)
    }
}

/// A pool in use.
struct Bench {
    case: Case,
    promise: Promise,
    dice: Dice,
    place: Place,
    dir: PathBuf,
    disk: Disk,
    node: Arc<Node>,
    volumes: Vec<Volume>,
    making: Arc<Making>,
}

/// What is known at one moment.
struct Moment {
    ledgers: Vec<Ledger>,
    made: Made,
}

/// A volume of it.
struct Volume {
    number: u64,
    name: &'static str,
    data: PathBuf,
    shared: Shared,
}

impl Bench {
    async fn new(case: Case, promise: Promise, dice: Dice, place: &Place) -> Result<Self> {
        let dir = place.dir.join(format!("{case:?}"));
        let disk = Disk::make(&dir, case.ground())?;
        make_pool(&disk.live().join("pool"), case.backend())?;
        let node = Arc::new(Node::start(&dir.join("node"), &disk.live())?);
        let mut volumes = Vec::new();
        for (number, (name, fs)) in (0..).zip(case.volumes()) {
            let mode = VolumeMode::Filesystem { fs };
            node.create(place, name, mode, size_of(fs)).await?;
            let data = node.give(name).await?;
            volumes.push(Volume { number, name, data, shared: Shared::default() });
        }
        let (place, making) = (place.clone(), Arc::default());
        Ok(Self { case, promise, dice, place, dir, disk, node, volumes, making })
    }

    /// Takes so many images; ends early when somebody wants that, and at the first loss.
    async fn run(mut self, images: u64) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut writers = Vec::new();
        for Volume { number, data, shared, .. } in &self.volumes {
            let (promise, power) = (self.promise, Power::default());
            let hand = Hand { volume: *number, promise, power };
            writers.push(Writers::start(&hand, data, shared, &mut self.dice));
        }
        let (making, node) = (Arc::clone(&self.making), Arc::clone(&self.node));
        let (place, mode) = (self.place.clone(), self.case.passing());
        let passing = tokio::spawn(async move { making.run(&node, &place, mode).await });
        let mut went = Ok(());
        for image in 0..images {
            if self.place.is_to_end() || !tally.lost.is_empty() || went.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(self.dice.below(LONGEST_MS))).await;
            went = self.image(image, &mut tally).await;
        }
        self.making.end();
        tally.errors.extend(passing.await?.err().map(|error| format!("{error:#}")));
        let joined = writers.into_iter().flat_map(Writers::join);
        tokio::task::block_in_place(|| tally.errors.extend(joined));
        for Volume { name, shared, .. } in &self.volumes {
            tally.promised(shared.ledger().promised);
            self.node.take(name).await?;
        }
        self.disk.unmount()?;
        went.map(|()| tally)
    }

    /// One moment: cloned, mounted aside, found, given, compared, taken away.
    async fn image(&self, image: u64, tally: &mut Tally) -> Result<()> {
        let before = self.moment(Shared::checkpoint);
        let aside = tokio::task::block_in_place(|| self.disk.clone_now())?;
        let after = self.moment(Shared::ledger);
        let own = self.dir.join(format!("aside-{image}"));
        let verdict = self.look(&aside, &own, &before, &after, tally).await?;
        tally.compared(&format!("{:?}, image {image}", self.case), verdict);
        // Of a loss the image is evidence.
        if tally.lost.is_empty() {
            aside.remove()?;
            std::fs::remove_dir_all(own)?;
        }
        Ok(())
    }

    fn moment(&self, ledger: impl Fn(&Shared) -> Ledger) -> Moment {
        let ledgers = self.volumes.iter().map(|volume| ledger(&volume.shared)).collect();
        Moment { ledgers, made: self.making.made() }
    }

    /// What a second node makes of the clone.
    async fn look(
        &self,
        aside: &Aside,
        own: &Path,
        before: &Moment,
        after: &Moment,
        tally: &mut Tally,
    ) -> Result<Verdict> {
        let dark = Instant::now();
        tokio::task::block_in_place(|| aside.mount())?;
        let node = Node::start(own, &aside.ground())?;
        let mut given = Vec::new();
        for Volume { name, .. } in &self.volumes {
            given.push(node.give(name).await?);
        }
        tally.back_from_image(dark.elapsed());
        let mut verdict = Verdict::default();
        let listed = tokio::task::block_in_place(|| node.listed());
        if let Some(made) = making::verify(&before.made, &after.made, &listed, &mut verdict) {
            node.give(&made).await?;
            node.take(&made).await?;
        }
        for (at, data) in given.iter().enumerate() {
            let (number, before, after) =
                (self.volumes[at].number, &before.ledgers[at], &after.ledgers[at]);
            let (found, _) = tokio::task::block_in_place(|| verify(before, after, number, data))?;
            verdict.add(self.volumes[at].name, found);
        }
        for Volume { name, .. } in &self.volumes {
            node.take(name).await?;
        }
        drop(node);
        tokio::task::block_in_place(|| aside.unmount())?;
        Ok(verdict)
    }
}
