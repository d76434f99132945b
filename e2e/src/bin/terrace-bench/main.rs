//! Figures of the running rig; called by `hack/bench`. Each measurement is a file; none of them judges.

mod cells;
mod io;
mod pools;
mod provision;
mod ratios;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measure the running cluster.
#[derive(Parser)]
#[command(name = "hack/bench")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Claims to Bound: one at a time, then a hundred at once.
    Provision,
    /// fio on a claim of each class against the filesystem of its pool: ratios with intervals.
    Io(io::Arguments),
}

fn main() -> Result<()> {
    match Cli::parse().what {
        What::Provision => provision::measure(),
        What::Io(arguments) => io::measure(&arguments),
    }
}
