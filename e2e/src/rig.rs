//! Where the real API server is, and the commands that take parts of the rig away and give them back.
//! It starts nothing: `hack/up` and `hack/test` do.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Names the kubeconfig of the API server to test against.
pub const KUBECONFIG: &str = "TERRACE_KUBECONFIG";
/// Names the program behind the `hack` scripts, where `hack/test` built it already.
pub const XTASK: &str = "TERRACE_XTASK";

/// Top of the work tree.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The kubeconfig that the environment names.
///
/// # Errors
/// A sentence that says how to get an API server, where none is named.
pub fn kubeconfig() -> Result<PathBuf> {
    let named = std::env::var(KUBECONFIG).ok().filter(|path| !path.is_empty());
    named.map(PathBuf::from).with_context(|| {
        format!("{KUBECONFIG} is not set: run hack/up --api-only and set it to .rig/kubeconfig, or run hack/test")
    })
}

/// A client of that API server.
///
/// # Errors
/// Where the kubeconfig is missing or makes no sense.
pub async fn client() -> Result<Client> {
    let path = kubeconfig()?;
    let read = Kubeconfig::read_from(&path).with_context(|| format!("read {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("make a client")
}

/// `hack/rig` with these words; its standard output.
///
/// # Errors
/// Where the command fails, with what it said.
pub fn rig(words: &[&str]) -> Result<String> {
    let mut command = match std::env::var(XTASK) {
        Ok(program) if !program.is_empty() => {
            let mut command = Command::new(program);
            command.arg("rig");
            command
        }
        Ok(_) | Err(_) => Command::new(repository().join("hack/rig")),
    };
    said(command.args(words).current_dir(repository()))
}

/// A shell line as root of the node: in the rig's network, mounts and processes.
///
/// # Errors
/// Where the line fails, with what it said.
pub fn on_node(line: &str) -> Result<String> {
    rig(&["exec", "--", "sh", "-c", line])
}

/// Runs a command and gives its standard output.
///
/// # Errors
/// Where it cannot be started or fails, with what it said.
pub fn said(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("start {command:?}"))?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        bail!("{command:?}: {status}: {}{text}", String::from_utf8_lossy(&stderr));
    }
    Ok(text)
}
