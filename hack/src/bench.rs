//! `hack/bench`: figures of the running rig. The client that measures is a program of e2e; this one only starts it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::paths::Paths;
use crate::run::command;

/// Arguments of `hack/bench`.
#[derive(Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Claims to Bound: one at a time, then a hundred at once.
    Provision,
}

impl Bench {
    /// Passes the program's status on.
    pub(crate) fn run(self, paths: &Paths) -> Result<ExitCode> {
        let name = match self.what {
            What::Provision => "provision",
        };
        let mut cargo = command(
            "cargo",
            [
                "run",
                "--quiet",
                "--profile",
                "ci",
                "--package",
                "terrace-e2e",
                "--bin",
                "terrace-bench",
                "--",
                name,
            ],
        );
        cargo
            .current_dir(&paths.repo)
            .env("CARGO_TARGET_DIR", &paths.target)
            .env("TERRACE_KUBECONFIG", paths.kubeconfig())
            .env("TERRACE_XTASK", std::env::current_exe()?);
        let status = cargo.status().context("start cargo")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
