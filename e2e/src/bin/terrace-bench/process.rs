//! What /proc tells of a process: memory, processor time, and whether it ran a command. It reads only.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time in /proc is in hundredths of a second on every architecture that Linux tells programs of.
const TICKS_PER_SECOND: u64 = 100;

/// One look at a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its name, as the kernel cuts it off.
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) rss_kib: u64,
    /// Its share of what it has together with others: the pages of its program, most of all.
    pub(crate) pss_kib: u64,
    /// The most that it ever had.
    pub(crate) peak_kib: u64,
    pub(crate) cpu: Duration,
    /// Page faults of children that it waited for. A command cannot end without some, so where this stands no command ran.
    pub(crate) child_faults: u64,
}

impl Process {
    /// Looks at one process.
    pub(crate) fn look(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        parse(pid, &read("status")?, &read("smaps_rollup")?, &read("stat")?)
    }
}

/// The processes of containers on this machine whose name begins so, the rig's and nobody's else.
pub(crate) fn in_containers(names: &[&str]) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that ends while we look is none of those that are measured.
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let name = field(&status, "Name:").unwrap_or_default();
        // The rig's own namespace, and the container's in it.
        let depth = line(&status, "NSpid:").map_or(0, |numbers| numbers.split_whitespace().count());
        if depth > 2
            && names.iter().any(|wanted| name.starts_with(wanted))
            && is_main(&entry.path())
        {
            found.push(Process::look(pid)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A fork that has not become its command yet has the name of its parent; only the container's first process counts.
fn is_main(dir: &Path) -> bool {
    let status = fs::read_to_string(dir.join("status")).unwrap_or_default();
    line(&status, "NSpid:").is_some_and(|numbers| numbers.split_whitespace().last() == Some("1"))
}

fn parse(pid: u32, status: &str, rollup: &str, stat: &str) -> Result<Process> {
    let number = |text: &str, name: &str| -> Result<u64> {
        let found = field(text, name).with_context(|| format!("no {name} for process {pid}"))?;
        Ok(found.parse()?)
    };
    // The name may hold blanks and brackets; what follows the last bracket does not.
    let (_, after) = stat.rsplit_once(')').context("a stat without a name")?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // Numbered from 3 in proc(5): state is the first of them.
    let at = |number: usize| -> Result<u64> {
        let found = fields.get(number - 3).with_context(|| format!("no field {number} in stat"))?;
        Ok(found.parse()?)
    };
    Ok(Process {
        name: field(status, "Name:").context("a process without a name")?.to_owned(),
        pid,
        rss_kib: number(status, "VmRSS:")?,
        pss_kib: number(rollup, "Pss:")?,
        peak_kib: number(status, "VmHWM:")?,
        cpu: Duration::from_millis((at(14)? + at(15)?) * 1000 / TICKS_PER_SECOND),
        child_faults: at(11)?,
    })
}

fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// The first word of a line that begins so.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    line(text, name)?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::{Duration, parse};

    #[test]
    fn a_name_with_blanks_and_brackets_moves_no_field() {
        let status = "Name:\tterrace-node\nVmHWM:\t   30000 kB\nVmRSS:\t   20480 kB\n";
        let rollup = "Rss: 20480 kB\nPss:                9000 kB\nPss_Dirty: 1 kB\n";
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 900 55 3 0 120 30 9 8 20 0 5 0 100 200 300\n";
        let seen = parse(7, status, rollup, stat).unwrap();
        assert_eq!((seen.rss_kib, seen.pss_kib, seen.peak_kib), (20_480, 9_000, 30_000));
        assert_eq!((seen.cpu, seen.child_faults), (Duration::from_millis(1_500), 55));
    }
}
