//! Figures of the running rig; called by `hack/bench`. Each measurement is a file; none of them judges.

mod audit;
mod burst;
mod cells;
mod footprint;
mod io;
mod latency;
mod peers;
mod pools;
mod process;
mod provision;
mod ratios;
mod scale;
mod times;

use std::process::ExitCode;

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
    /// Memory of each process with volumes mounted, and what it does while nothing is asked.
    Footprint(footprint::Arguments),
    /// Hundreds of claims at once.
    Burst(burst::Arguments),
    /// A volume made slow: how soon LatencyHigh turns, and how often at the threshold.
    Latency(latency::Arguments),
    /// The operator with thousands of volumes on simulated nodes; an API server is started for it.
    Scale(scale::Arguments),
}

fn main() -> ExitCode {
    match measure(Cli::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(what: What) -> Result<()> {
    match what {
        What::Provision => provision::measure(),
        What::Io(arguments) => io::measure(&arguments),
        What::Footprint(arguments) => footprint::measure(&arguments),
        What::Burst(arguments) => burst::measure(&arguments),
        What::Latency(arguments) => latency::measure(&arguments),
        What::Scale(arguments) => scale::measure(&arguments),
    }
}
