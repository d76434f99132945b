//! Every command of the project's everyday work: the tools, the image, a real cluster, checks and tests.
//! `hack/NAME` calls it; it knows no Kubernetes client and builds in seconds.

mod bench;
mod check;
mod cluster;
mod conformance;
mod crash;
mod down;
mod edges;
mod guest;
mod holder;
mod image;
mod init;
mod kinds;
mod layout;
mod oci;
mod oracle;
mod parts;
mod paths;
mod pki;
mod rig;
mod rules;
mod run;
mod test;
mod tools;
mod up;
mod upgrade;
mod verify;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::paths::Paths;
use crate::run::Progress;

/// Commands for developing and testing Terrace. Each is also a script, hack/NAME.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install and build what the other commands need (only what is missing).
    Tools,
    /// Build the container images that changed.
    Image,
    /// Start a real one-node cluster with Terrace and an example volume; or install into a cluster of yours.
    Up(up::Up),
    /// Take the cluster away without a trace; or uninstall from a cluster of yours.
    Down(up::Down),
    /// Stop, start or look into parts of the running cluster.
    Rig(rig::Rig),
    /// Formatting, lints, licences, layout and direction of dependencies, generated files.
    Check,
    /// Write the generated files anew.
    Gen,
    /// Measure the running cluster.
    Bench(bench::Bench),
    /// Run Kubernetes' own storage suite against the rig.
    Conformance(conformance::Conformance),
    /// Kill Terrace at every point that its code names, and count what leaks; faults from outside; power cuts.
    Crash(crash::Crash),
    /// Run a command, tests or the whole cluster in a guest, under a kernel that offers what this host's does not.
    Guest(guest::Guest),
    /// Do a known number of operations by every way, and compare them with what the probe counts.
    Oracle(oracle::Oracle),
    /// Run every test, in order of cost.
    Test(test::Test),
    /// Run an earlier release with volumes in use, upgrade it to this one, and compare what they kept.
    Upgrade(upgrade::Upgrade),
    /// Load the probe's programs through the verifiers of this host and of the guest.
    #[command(name = "verify-bpf")]
    VerifyBpf(verify::Verify),
    /// Numbered blocks with checksums; started in a Pod by `upgrade`.
    #[command(hide = true, subcommand)]
    Writer(writer::Writer),
    /// The first process of the rig; started by `up`.
    #[command(hide = true, name = "rig-init")]
    RigInit {
        /// The `.rig` folder.
        rig: PathBuf,
    },
}

fn main() -> ExitCode {
    match work(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(task: Task) -> Result<ExitCode> {
    let progress = Progress::start();
    if let Task::Writer(writer) = &task {
        writer.run()?;
        return Ok(ExitCode::SUCCESS);
    }
    let paths = Paths::from_env()?;
    match task {
        Task::Tools => {
            tools::ensure_cluster_tools(&paths, &progress)?;
            tools::ensure_sidecars(&paths, &progress)?;
            tools::ensure_bench_tools(&progress)?;
            tools::ensure_cargo_tools(&paths, &progress)?;
            progress.say("all tools are there");
        }
        Task::Image => {
            tools::ensure_cluster_tools(&paths, &progress)?;
            for image in up::images(&paths, &progress, up::Content::Released)? {
                println!("{} {} {}", image.reference, image.digest, image.path.display());
            }
        }
        Task::Up(up) => up.run(&paths, &progress)?,
        Task::Down(down) => down.run(&paths, &progress)?,
        Task::Rig(rig) => return rig.run(&paths, &progress),
        Task::Check => check::main(&paths, &progress)?,
        Task::Gen => check::generate(&paths)?,
        Task::Bench(bench) => return bench.run(&paths, &progress),
        Task::Conformance(conformance) => return conformance.run(&paths, &progress),
        Task::Crash(crash) => return crash.run(&paths, &progress),
        Task::Guest(guest) => return guest.run(&paths, &progress),
        Task::Oracle(oracle) => return oracle.run(&paths, &progress),
        Task::Test(test) => return test.run(&paths, &progress),
        Task::Upgrade(upgrade) => return upgrade.run(&paths, &progress),
        Task::VerifyBpf(verify) => verify.run(&paths, &progress)?,
        // Done above: where it runs, there is no work tree.
        Task::Writer(_) => {}
        Task::RigInit { rig } => init::main(&rig)?,
    }
    Ok(ExitCode::SUCCESS)
}
