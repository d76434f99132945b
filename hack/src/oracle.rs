//! `hack/oracle`: builds the probe and the program of e2e that does known operations, and runs it, here or in the guest. The program
//! knows its own arguments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::guest;
use crate::paths::Paths;
use crate::run::{Progress, command, run};
use crate::tools;

/// In the guest. Not passed on, as the next one.
const GUEST: &str = "--guest";
/// Takes the programs as they were last built.
const NO_BUILD: &str = "--no-build";

/// Arguments of `hack/oracle`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Oracle {
    /// What to do, and how much of it; --help tells. With --guest in the emulated guest; --no-build takes programs as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Oracle {
    /// Passes the program's status on.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        foretell(paths, progress, self.words)
    }
}

/// The same for whoever has words for that program.
pub(crate) fn foretell(
    paths: &Paths,
    progress: &Progress,
    words: Vec<OsString>,
) -> Result<ExitCode> {
    let has = |word: &str| words.iter().any(|one| one == word);
    let (in_guest, as_built) = (has(GUEST), has(NO_BUILD));
    let is_ours = |word: &OsString| word == GUEST || word == NO_BUILD;
    let words: Vec<OsString> = words.into_iter().filter(|word| !is_ours(word)).collect();
    tools::ensure_host_tools(progress)?;
    let program = if as_built { paths.ours("terrace-oracle") } else { build(paths)? };
    if in_guest {
        let text = |word: OsString| word.into_string().ok().context("a word that is no text");
        let mut command = vec![program.display().to_string()];
        command.extend(words.into_iter().map(text).collect::<Result<Vec<_>>>()?);
        return guest::run_long(paths, progress, command);
    }
    let status = command(&program, words).status().context("start the oracle")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The probe lies beside the oracle, where it looks for it.
fn build(paths: &Paths) -> Result<PathBuf> {
    let mut cargo = command("cargo", ["build", "--quiet", "--profile", "ci"]);
    cargo.args(["--package", "terrace-e2e", "--bin", "terrace-oracle"]);
    cargo.args(["--package", "terrace-probe", "--bin", "terrace-probe"]);
    run(cargo.current_dir(&paths.repo).env("CARGO_TARGET_DIR", &paths.target))?;
    Ok(paths.ours("terrace-oracle"))
}
