//! The fault points as the programs themselves know them, and how each may be struck.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use terrace_e2e::rig::said;
use terrace_e2e::story::kubectl;
use terrace_faults::Process;

/// Names the folder of our programs with fault points, where there is no cluster to ask.
const PROGRAMS: &str = "TERRACE_FAULTS";

/// The file name of its program.
pub(crate) const fn program_of(process: Process) -> &'static str {
    match process {
        Process::Node => "terrace-node",
        Process::Operator => "terrace-operator",
    }
}

/// How kubectl names what runs it.
const fn workload_of(process: Process) -> &'static str {
    match process {
        Process::Node => "ds/terrace-node",
        Process::Operator => "deploy/terrace-operator",
    }
}

/// One fault point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) process: Process,
    /// As the program prints it.
    pub(crate) name: String,
    /// In lower case, without hyphens: how a stage knows it.
    pub(crate) plain: String,
}

impl Point {
    /// Reads one name; its first word tells the process.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let name = name.trim();
        let first = name.split('/').next().unwrap_or_default();
        let process = Process::ALL.into_iter().find(|process| process.as_str() == first);
        let process = process.with_context(|| format!("{name:?} names no process"))?;
        let kept = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '/';
        let plain = name.chars().filter(kept).collect::<String>().to_ascii_lowercase();
        Ok(Self { process, name: name.to_owned(), plain })
    }

    /// Whether the call that ends here was made by a sidecar.
    pub(crate) fn is_reply_to_sidecar(&self) -> bool {
        self.plain.starts_with("operator/reply/")
    }

    /// Whether an error injected here is one that the program can meet. Where it could not be told from death it is none.
    pub(crate) fn may_fail(&self) -> bool {
        !self.plain.contains("/journal") && !self.plain.contains("/lease/")
    }
}

/// Every point, from the programs in the cluster; without a cluster from those in the folder that the environment names.
///
/// # Errors
/// Where a program does not answer: then it was built without fault points.
pub(crate) fn known() -> Result<Vec<Point>> {
    let mut all = Vec::new();
    for process in Process::ALL {
        let text = listing(process).with_context(|| {
            format!("{} tells no fault points: run it through hack/crash", program_of(process))
        })?;
        let points: Vec<Point> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(Point::parse)
            .collect::<Result<_>>()?;
        ensure!(!points.is_empty(), "{} lists no point", program_of(process));
        if let Some(point) = points.iter().find(|point| point.process != process) {
            bail!("{} lists {}", program_of(process), point.name);
        }
        all.extend(points);
    }
    Ok(all)
}

fn listing(process: Process) -> Result<String> {
    match std::env::var(PROGRAMS) {
        Ok(folder) if !folder.is_empty() => {
            let name = format!("{}-crash", program_of(process));
            let program = Path::new(&folder).join(name);
            said(Command::new(program).args(["faults", "list"]))
        }
        Ok(_) | Err(_) => {
            let program = format!("/usr/bin/{}", program_of(process));
            let workload = workload_of(process);
            kubectl(&["-n", "terrace-system", "exec", workload, "--", &program, "faults", "list"])
        }
    }
}

/// Prints them, one a line.
pub(crate) fn print() -> Result<()> {
    for point in known()? {
        println!("{}", point.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Point, Process};

    #[test]
    fn a_point_names_its_process_first() {
        let point = Point::parse("operator/reply/create-volume\n").unwrap();
        assert_eq!(point.process, Process::Operator);
        assert_eq!(point.name, "operator/reply/create-volume");
        assert_eq!(point.plain, "operator/reply/createvolume");
        assert!(point.is_reply_to_sidecar());
        assert!(Point::parse("keeper/x").is_err());
    }

    #[test]
    fn the_journal_and_the_lease_are_struck_by_death_alone() {
        let fails = |name| Point::parse(name).unwrap().may_fail();
        assert!(fails("node/step/create/allocate-image/after"));
        assert!(!fails("node/journal-begin/create/before"));
        assert!(!fails("operator/lease/renew/after"));
    }
}
