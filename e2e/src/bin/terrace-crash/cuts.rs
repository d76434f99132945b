//! `hack/crash cuts`: a guest with disks of its own is killed at a moment that chance chose, which is a power cut to all that it had in memory, and boots again on the
//! same disks. Volumes of a volume group are written to meanwhile, others made and deleted. What was acknowledged is looked for, and what nobody may have left. What is
//! acknowledged is written down outside of the guest before it counts.

mod group;
mod life;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

pub(crate) use self::life::Cut;
use self::life::Report;
use crate::power::seed_of_now;

/// How long one life may take, in seconds.
const LIFE: &str = "180";
/// Two for the group, one for the node's own folder.
const DISKS: &str = "3";

/// Arguments of `hack/crash cuts`.
#[derive(Args)]
pub(crate) struct Cuts {
    /// How often the power goes.
    #[arg(long, default_value_t = 200)]
    cuts: u64,
    /// Determines the moments and what is written.
    #[arg(long)]
    seed: Option<u64>,
    /// Count writes as acknowledged before they are: shows that a loss is found.
    #[arg(long)]
    lie: bool,
}

impl Cuts {
    /// Prints what all lives came to.
    ///
    /// # Errors
    /// If an acknowledged byte, name or volume is lost, or something is left that nobody wants.
    pub(crate) fn run(&self) -> Result<()> {
        let seed = self.seed.map_or_else(seed_of_now, Ok)?;
        eprintln!("seed {seed}");
        let scratch = tempfile::Builder::new().prefix("terrace-cuts-").tempdir_in("/var/tmp")?;
        let start = Instant::now();
        let mut all = Report::default();
        for round in 0..=self.cuts {
            let report = self.life(scratch.path(), seed, round)?;
            let lost = !report.lost.is_empty();
            all.add(report);
            if lost {
                let kept = scratch.keep();
                println!("{}", all.table(round, start.elapsed()));
                bail!("lost with --seed {seed}, life {round}; the disks are in {}", kept.display());
            }
            if round % 10 == 0 {
                eprintln!("{round} cuts, {:.0} s", start.elapsed().as_secs_f64());
            }
        }
        println!("{}", all.table(self.cuts, start.elapsed()));
        Ok(())
    }

    /// From the boot to the kill. The last one is not killed.
    fn life(&self, share: &Path, seed: u64, round: u64) -> Result<Report> {
        let program = std::env::var("TERRACE_XTASK").context("TERRACE_XTASK: run hack/crash")?;
        let report = report_of(share);
        std::fs::remove_file(&report).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut guest = Command::new(program);
        guest.args(["guest", "run", "--kernel", "uml", "--disks", DISKS, "--seconds", LIFE]);
        guest.args(["--load", "xfs", "--load", "ext4", "--load", "dm_mod", "--keep"]).arg(share);
        guest.arg("--").arg(std::env::current_exe()?).arg("cut");
        guest.args(["--seed", &seed.to_string(), "--round", &round.to_string()]);
        guest.args(self.lie.then_some("--lie")).args((round == self.cuts).then_some("--last"));
        let output = guest.output().context("start the guest")?;
        let Ok(text) = std::fs::read(&report) else {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("life {round} with --seed {seed} told nothing:\n{said}");
        };
        Ok(serde_json::from_slice(&text)?)
    }
}

/// Where a life says what it found.
fn report_of(share: &Path) -> PathBuf {
    share.join("report")
}
