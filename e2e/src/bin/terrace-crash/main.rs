//! Kills Terrace at every point that its code names, and checks that nothing leaks and nothing is lost; called by `hack/crash`.
//! It drives a cluster from outside, as its users do. What it decides is in `pick` and `stage`; the rest looks, waits and tells.

mod audit;
mod clock;
mod cluster;
mod cuts;
mod dice;
mod driver;
mod fault;
mod flight;
mod ground;
mod images;
mod lane;
mod ledger;
mod life;
mod lives;
mod logs;
mod matrix;
mod objects;
mod outside;
mod pick;
mod place;
mod points;
mod power;
mod stage;
mod state;
mod verdict;

use anyhow::Result;
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "Examples:
  hack/crash                        100 kills, seed from the clock
  hack/crash --all                  every point that is passed at least once, and at least 1,000 kills
  hack/crash --kills 300 --seed 7   so many; the same lives, and the same order of points among equals
  hack/crash --smoke                8 kills within two minutes
  hack/crash --seed 7 --lanes 1 --life xfs --point node/step/create/allocate-image/after --mode kill --kills 1
                                    one case again, as the table of failures prints it
  hack/crash --all --no-build --keep  programs as they were last built; the rig stays
  hack/crash list                   the points, as the programs themselves know them
  hack/crash outside --only kubelet a fault that is none of Terrace's making
  hack/crash power --help           power cuts, without a cluster";

/// Kill Terrace everywhere, many times, while volumes are made, used, copied and deleted; then count what is left.
#[derive(Parser)]
#[command(name = "hack/crash", after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    matrix: matrix::Arguments,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Print every point that the programs know.
    List,
    /// Faults of what Terrace stands on: API server, etcd, kubelet, containerd, disks. What the user saw, and the time to normal.
    Outside(outside::Arguments),
    /// The power goes while volumes are written to: no acknowledged byte may be lost. No cluster.
    Power(power::Power),
    /// The power of a whole machine goes: a guest is killed while logical volumes are written to, made and deleted. No cluster.
    Cuts(cuts::Cuts),
    /// One life of that guest, until it is killed; started in it by `cuts`.
    #[command(hide = true)]
    Cut(cuts::Cut),
    /// The pool's backing file as it is at one moment under load, mounted and checked. No cluster.
    Images(images::Images),
}

fn main() -> Result<()> {
    let Cli { matrix, what } = Cli::parse();
    match what {
        None => matrix::run(&matrix),
        Some(What::List) => points::print(),
        Some(What::Outside(arguments)) => outside::run(&arguments),
        Some(What::Power(power)) => power.run(),
        Some(What::Cuts(cuts)) => cuts.run(),
        Some(What::Cut(cut)) => cut.run(),
        Some(What::Images(images)) => images.run(),
    }
}
