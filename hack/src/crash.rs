//! `hack/crash`: the rig with an image whose programs have fault points, and the program of e2e that strikes at them, which knows
//! its own arguments. What needs no cluster gets none. The rig goes, however this ends.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::holder::Holder;
use crate::image::{self, Ours};
use crate::paths::Paths;
use crate::run::{Progress, command};
use crate::test::{guard_rig, search_path};
use crate::tools::{self, Tools};
use crate::up::{self, Content};

/// Leaves the rig running afterwards. Not passed on, as the next one.
const KEEP: &str = "--keep";
/// Takes all programs as they were last built.
const NO_BUILD: &str = "--no-build";
/// What was begun and is claimed by nobody goes after so long: the matrix does not wait for the ten minutes of service.
const SWEEP_AFTER: &str = "node.extraArgs={--sweep-after=5s}";

/// Arguments of `hack/crash`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Crash {
    /// What to strike, and how often; --help tells. With --keep the rig stays; --no-build takes programs as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// What becomes of the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Clean,
    Keep,
}

/// Which programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Programs {
    Build,
    AsBuilt,
}

/// What the words ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A cluster of our programs with fault points.
    Rig,
    /// The programs alone.
    Programs,
    /// This host's filesystems.
    Host,
    /// Nothing of ours that runs.
    Nothing,
}

fn needs(words: &[OsString]) -> Needs {
    let first = words.first().and_then(|word| word.to_str()).unwrap_or_default();
    let asks_for_help = words.iter().any(|word| word == "--help" || word == "-h");
    match first {
        "help" => Needs::Nothing,
        _ if asks_for_help => Needs::Nothing,
        "power" | "images" | "cuts" => Needs::Host,
        "list" => Needs::Programs,
        _ => Needs::Rig,
    }
}

impl Crash {
    /// Passes the program's status on.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let has = |word: &str| self.words.iter().any(|one| one == word);
        let after = if has(KEEP) { After::Keep } else { After::Clean };
        let programs = if has(NO_BUILD) { Programs::AsBuilt } else { Programs::Build };
        let is_ours = |word: &OsString| word == KEEP || word == NO_BUILD;
        let words: Vec<OsString> = self.words.into_iter().filter(|word| !is_ours(word)).collect();
        match needs(&words) {
            Needs::Nothing => pass_on(&mut strike(paths, programs, &words)),
            Needs::Programs => {
                if programs == Programs::Build {
                    image::build_programs(paths, progress, Ours::Crash)?;
                }
                pass_on(strike(paths, programs, &words).env("TERRACE_FAULTS", paths.ours("")))
            }
            Needs::Host => {
                tools::ensure_host_tools(progress)?;
                let program = std::env::current_exe()?;
                pass_on(strike(paths, programs, &words).env("TERRACE_XTASK", program))
            }
            Needs::Rig => on_rig(paths, progress, &words, (after, programs)),
        }
    }
}

fn on_rig(
    paths: &Paths,
    progress: &Progress,
    words: &[OsString],
    (after, programs): (After, Programs),
) -> Result<ExitCode> {
    tools::ensure_cluster_tools(paths, progress)?;
    if Holder::find(paths)?.is_some() {
        bail!("a rig runs; end it with hack/down");
    }
    let program = std::env::current_exe()?;
    let guard = match after {
        After::Clean => Some(guard_rig(&program)?),
        After::Keep => None,
    };
    let struck = (|| {
        let tools = Tools::locate(paths)?;
        {
            let _lock = up::lock(paths, progress)?;
            let values = ["--set".to_owned(), SWEEP_AFTER.to_owned()];
            let content = match programs {
                Programs::Build => Content::Crash,
                Programs::AsBuilt => Content::CrashAsBuilt,
            };
            up::bring_up(paths, &tools, progress, content, &values)?;
        }
        let mut strike = strike(paths, programs, words);
        strike.env("PATH", search_path(&tools)).env("TERRACE_KUBECONFIG", paths.kubeconfig());
        pass_on(strike.env("TERRACE_XTASK", &program))
    })();
    if let Some(mut guard) = guard {
        drop(guard.stdin.take());
        ensure!(guard.wait()?.success(), "the rig left something behind");
    }
    struck
}

/// The program of e2e, with these words.
fn strike(paths: &Paths, programs: Programs, words: &[OsString]) -> Command {
    let mut strike = match programs {
        Programs::AsBuilt => Command::new(paths.ours("terrace-crash")),
        Programs::Build => {
            let mut cargo = command("cargo", ["run", "--quiet", "--profile", "ci"]);
            cargo.args(["--package", "terrace-e2e", "--bin", "terrace-crash", "--"]);
            cargo
        }
    };
    strike.args(words).current_dir(&paths.repo).env("CARGO_TARGET_DIR", &paths.target);
    strike
}

fn pass_on(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().context("start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{Needs, needs};

    #[test]
    fn only_what_strikes_at_a_cluster_gets_one() {
        let of =
            |line: &str| needs(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(""), Needs::Rig);
        assert_eq!(of("--kills 3 --seed 7"), Needs::Rig);
        assert_eq!(of("outside --only etcd"), Needs::Rig);
        assert_eq!(of("outside --help"), Needs::Nothing);
        assert_eq!(of("power --filesystem ext4"), Needs::Host);
        assert_eq!(of("images --help"), Needs::Nothing);
        assert_eq!(of("list"), Needs::Programs);
    }
}
