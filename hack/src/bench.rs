//! `hack/bench`: figures of the running rig. The client that measures is a program of e2e, and knows its own arguments; this one
//! only starts it.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::paths::Paths;
use crate::run::{Progress, command};
use crate::test::search_path;
use crate::tools::{self, Tools};

/// Arguments of `hack/bench`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Bench {
    /// What to measure, and how; --help tells.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Bench {
    /// Passes the program's status on.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        tools::ensure_bench_tools(progress)?;
        let mut cargo = command("cargo", ["run", "--quiet", "--profile", "ci"]);
        cargo.args(["--package", "terrace-e2e", "--bin", "terrace-bench", "--"]);
        cargo
            .args(self.words)
            .current_dir(&paths.repo)
            .env("CARGO_TARGET_DIR", &paths.target)
            .env("PATH", search_path(&Tools::locate(paths)?))
            .env("TERRACE_KUBECONFIG", paths.kubeconfig())
            .env("TERRACE_XTASK", std::env::current_exe()?);
        let status = cargo.status().context("start cargo")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
