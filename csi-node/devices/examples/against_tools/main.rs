//! What Terrace does by system calls, timed against the tools that others spawn for it; called by `hack/bench`. It judges nothing.

mod claim;
mod discovery;
mod grow;
#[path = "../../../../e2e/src/bin/terrace-bench/ratios.rs"]
#[expect(dead_code, reason = "its names are those of another pair")]
mod ratios;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Time system calls against tools.
#[derive(Parser)]
#[command(name = "hack/bench")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A whole look at the node's disks against lsblk.
    Discovery(discovery::Arguments),
    /// Mounted filesystems grown, against the tools that grow them; with --guest under User Mode Linux.
    Grow(grow::Arguments),
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
        What::Discovery(arguments) => discovery::measure(&arguments),
        What::Grow(arguments) => grow::measure(&arguments),
    }
}
