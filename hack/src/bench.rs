//! `hack/bench`: figures of the running rig, of this host, or of an API server of its own with simulated nodes. The client that measures is a
//! program of e2e, and knows its own arguments; this one starts it, and what it measures where that is not the rig.

use std::ffi::OsString;
use std::process::{Child, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::guest;
use crate::holder::Holder;
use crate::image;
use crate::kinds;
use crate::oracle;
use crate::paths::Paths;
use crate::run::{Progress, command, run};
use crate::test::{guard_rig, search_path};
use crate::tools::{self, Tools};

/// The measurement that has an API server of its own.
const SCALE: &str = "scale";

/// The measurement that has volumes of its own; another program does it.
const PROBE: &str = "probe";

/// Measurements of system calls against tools; a program of terrace-devices does them.
const OF_TOOLS: [&str; 2] = ["discovery", "grow"];

/// Those in a guest; not passed on.
const GUEST: &str = "--guest";

/// Arguments of `hack/bench`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Bench {
    /// What to measure, and how; --help tells. `probe`: what the probe costs an operation, with volumes of its own. `discovery`, `grow`: system calls
    /// against tools, with --guest in a guest.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// What is measured needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing: it only tells how it is called.
    Nothing,
    /// The running rig.
    Rig,
    /// An API server without a node.
    ApiServer,
}

impl Bench {
    /// Passes the program's status on.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        if self.words.first().is_some_and(|what| what == PROBE) {
            let more = self.words.into_iter().skip(1);
            let words = std::iter::once(OsString::from("cost")).chain(more).collect();
            return oracle::foretell(paths, progress, words);
        }
        if self.words.first().is_some_and(|what| OF_TOOLS.iter().any(|tools| what == tools)) {
            return self.measure_tools(paths, progress);
        }
        let need = need_of(&self.words);
        let rig = if need == Need::Nothing { None } else { Holder::find(paths)? };
        let guard = match need {
            Need::Nothing => None,
            Need::Rig => {
                rig.context(
                    "hack/bench measures a running rig, and none runs here: hack/up starts one",
                )?;
                tools::ensure_bench_tools(progress)?;
                None
            }
            Need::ApiServer => {
                ensure!(
                    rig.is_none(),
                    "hack/bench scale starts an API server of its own: hack/down first"
                );
                Some(start_api_server(paths, progress)?)
            }
        };
        let code = self.measure(paths);
        if let Some(mut guard) = guard {
            drop(guard.stdin.take());
            guard.wait()?;
        }
        code
    }

    /// Against tools of this host, or of a guest.
    fn measure_tools(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        tools::ensure_host_tools(progress)?;
        // As it is released: the checks of the other profile are system calls too.
        let mut cargo = command("cargo", ["build", "--quiet", "--release"]);
        cargo.args(["--package", "terrace-devices", "--example", "against_tools"]);
        run(cargo.current_dir(&paths.repo).env("CARGO_TARGET_DIR", &paths.target))?;
        let program = paths.target.join("release/examples/against_tools");
        let in_guest = self.words.iter().any(|word| word == GUEST);
        let words = self.words.into_iter().filter(|word| word != GUEST);
        if in_guest {
            return guest::run_on_scratch(paths, progress, &program, words);
        }
        let status = command(&program, words).status().context("start what measures")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn measure(self, paths: &Paths) -> Result<ExitCode> {
        let mut cargo = command("cargo", ["run", "--quiet", "--profile", "ci"]);
        cargo.args(["--package", "terrace-e2e", "--bin", "terrace-bench", "--"]);
        cargo
            .args(self.words)
            .current_dir(&paths.repo)
            .env("CARGO_TARGET_DIR", &paths.target)
            .env("PATH", search_path(&Tools::locate(paths)?))
            .env("TERRACE_OPERATOR", image::Ours::Released.program(paths, "terrace-operator"))
            .env("TERRACE_KUBECONFIG", paths.kubeconfig())
            .env("TERRACE_XTASK", std::env::current_exe()?);
        let status = cargo.status().context("start cargo")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn need_of(words: &[OsString]) -> Need {
    let asks = |word: &OsString| ["--help", "-h", "help"].iter().any(|help| word == help);
    match words.first() {
        None => Need::Nothing,
        Some(_) if words.iter().any(asks) => Need::Nothing,
        Some(what) if what == SCALE => Need::ApiServer,
        Some(_) => Need::Rig,
    }
}

/// etcd, the API server with our kinds, the controller-manager; taken away with the guard, however this process ends.
fn start_api_server(paths: &Paths, progress: &Progress) -> Result<Child> {
    tools::ensure_cluster_tools(paths, progress)?;
    tools::ensure_sidecars(paths, progress)?;
    tools::ensure_simulation(paths, progress)?;
    image::build_programs(paths, progress, image::Ours::Released)?;
    let program = std::env::current_exe()?;
    let guard = guard_rig(&program)?;
    run(&mut command(&program, ["up", "--api-only"]))?;
    run(&mut command(&program, ["rig", "start", "controller-manager"]))?;
    kinds::apply(paths, &Tools::locate(paths)?)?;
    Ok(guard)
}

#[cfg(test)]
mod tests {
    use super::{Need, need_of};

    #[test]
    fn what_only_tells_how_it_is_called_needs_nothing() {
        let need = |words: &[&str]| need_of(&words.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(need(&[]), Need::Nothing);
        assert_eq!(need(&["--help"]), Need::Nothing);
        assert_eq!(need(&["scale", "--help"]), Need::Nothing);
        assert_eq!(need(&["scale", "--nodes", "10"]), Need::ApiServer);
        assert_eq!(need(&["burst"]), Need::Rig);
    }
}
