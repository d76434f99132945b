//! `hack/bench discovery`: a whole look at the node's disks, as the agent takes it at rest, against `lsblk -J -O`, which tells the same facts.
//! At rest nothing is asked about what lies on a disk: that is asked once, when it comes or changes; lsblk takes it from udev's notes.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use terrace_devices::{Host, observe_devices};

use crate::claim::{self, Claim};

/// Most of what the tool takes that ours may take.
const GOAL: f64 = 0.05;

/// Arguments of `hack/bench discovery`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Pairs of looks; who goes first alternates.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
}

/// Measures and prints one row.
pub(crate) fn measure(arguments: &Arguments) -> Result<()> {
    let host = Host::real();
    let seen = observe_devices(&host)?.len();
    let ours = || -> Result<Duration> {
        let start = Instant::now();
        std::hint::black_box(observe_devices(&host)?);
        Ok(start.elapsed())
    };
    let tool = || claim::spawn("lsblk", &["-J", "-O"]);
    let pairs = claim::take_turns(arguments.pairs, ours, tool)?;
    println!("{seen} devices seen");
    claim::print_head();
    claim::print(&Claim { what: "look at every device", tool: "lsblk -J -O", goal: GOAL }, &pairs)
}
