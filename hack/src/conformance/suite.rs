//! Calls of Kubernetes' e2e.test: the list of specs, and one shard of them under ginkgo, which spreads it over processes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::conformance::class::Class;
use crate::conformance::ledger::{self, Kind, Shard};
use crate::paths::Paths;
use crate::run::{Progress, command, output};
use crate::tools::Tools;

/// Every storage spec of Kubernetes that knows no driver by name.
const FOCUS: &str = "External.Storage";
/// Features that the driver claims; specs that stop parts of the node need a way into it that the suite does not have here.
const LABELS: &str = "Feature: isSubsetOf {VolumeSnapshotDataSource, VolumeSourceXFS, volumegroupsnapshot} && !Disruptive";

/// What every call needs.
pub(crate) struct Suite<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) tools: &'a Tools,
    pub(crate) progress: &'a Progress,
    /// Specs at once.
    pub(crate) procs: usize,
}

impl Suite<'_> {
    /// Names of the specs of this class that match; nothing runs.
    pub(crate) fn list(&self, class: Class, focus: Option<&str>) -> Result<Vec<String>> {
        let dir = self.dir(class);
        fs::create_dir_all(&dir)?;
        let report = dir.join("list.json");
        let focus = focus.map_or_else(|| FOCUS.to_owned(), |more| format!("{FOCUS}.*({more})"));
        let mut dry = command(
            self.tools.path("e2e.test")?,
            ["--ginkgo.dry-run", "--ginkgo.no-color", "--provider=skeleton"],
        );
        dry.arg(format!("--ginkgo.focus={focus}"))
            .arg(format!("--ginkgo.label-filter={LABELS}"))
            .arg(format!("--ginkgo.json-report={}", report.display()))
            .arg(format!("--kubeconfig={}", self.paths.kubeconfig().display()))
            .arg(format!("--storage.testdriver={}", class.driver_file(self.paths).display()));
        output(&mut dry)?;
        let found = ledger::parse_selected(&read_json(&report)?);
        fs::remove_file(report)?;
        Ok(found)
    }

    /// Runs one shard; its outcomes lie in the class's folder afterwards.
    pub(crate) fn run(&self, class: Class, shard: &Shard, of: usize) -> Result<()> {
        let dir = self.dir(class);
        let number = ledger::next_number(&dir)?;
        let stem = format!("shard-{number:03}");
        let label = format!("{} {stem} ({} of {of})", class.name(), shard.position);
        self.progress.say(format!("{label}: {} specs", shard.specs.len()));
        let log = dir.join(format!("{stem}.log"));
        let mut ginkgo = command(self.tools.path("ginkgo")?, ["-v", "--no-color", "--timeout=3h"]);
        let procs = match shard.kind {
            Kind::Together => self.procs,
            Kind::Alone => 1,
        };
        ginkgo.arg(format!("--procs={procs}")).arg(format!("--label-filter={LABELS}"));
        ginkgo.args(shard.specs.iter().map(|name| format!("--focus= {}$", escape(name))));
        ginkgo
            .arg(format!("--json-report={stem}.{}", ledger::RAW))
            .arg(format!("--output-dir={}", dir.display()))
            .arg(self.tools.path("e2e.test")?)
            .args(["--", "--provider=skeleton"])
            .arg(format!("--kubeconfig={}", self.paths.kubeconfig().display()))
            .arg(format!("--kubectl-path={}", self.tools.path("kubectl")?.display()))
            .arg(format!("--report-dir={}", dir.join(&stem).display()))
            .arg(format!("--storage.testdriver={}", class.driver_file(self.paths).display()));
        ginkgo.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::piped());
        ginkgo.stderr(File::create(dir.join(format!("{stem}.err")))?);
        let mut child = ginkgo.spawn().context("start ginkgo")?;
        let stdout = child.stdout.take().context("ginkgo has no output")?;
        self.follow(stdout, &log, &label, shard.specs.len())?;
        child.wait()?;
        let raw = dir.join(format!("{stem}.{}", ledger::RAW));
        if !raw.exists() {
            bail!("{label} wrote no report; see {}", log.display());
        }
        let outcomes = ledger::settle(&raw)?;
        if outcomes.is_empty() {
            bail!("{label} ran no spec; see {}", log.display());
        }
        Ok(())
    }

    /// Copies ginkgo's words into the log and tells of each spec that ended.
    fn follow(&self, from: impl std::io::Read, log: &Path, label: &str, all: usize) -> Result<()> {
        let mut log = File::create(log)?;
        let mut ended = 0;
        for line in BufReader::new(from).split(b'\n') {
            let line = line?;
            log.write_all(&line)?;
            log.write_all(b"\n")?;
            let text = String::from_utf8_lossy(&line);
            if text.starts_with("S [SKIPPED]") {
                ended += 1;
            } else if let Some(rest) = text.strip_prefix("• [") {
                ended += 1;
                self.progress.say(format!("{label}: {ended} of {all} [{rest}"));
            }
        }
        Ok(())
    }

    /// Where reports and logs of a class lie; `hack/down` leaves them.
    pub(crate) fn dir(&self, class: Class) -> PathBuf {
        self.paths.rig.join("conformance").join(class.name())
    }
}

pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))
}

/// The name as a regular expression of Go that matches nothing else.
fn escape(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn a_name_stands_for_itself_alone() {
        let name = "[Testpattern: Dynamic PV (default fs)] a.b";
        assert_eq!(escape(name), r"\[Testpattern: Dynamic PV \(default fs\)\] a\.b");
    }
}
