//! What the running kernel is said to offer. Reads /proc and /sys, changes nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::ladder::{Facts, Known, Lockdown};
use crate::program::TARGETS;

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Looks at the kernel below.
pub(crate) fn observe_facts() -> Facts {
    let there = |path: &str| if Path::new(path).exists() { Known::There } else { Known::Missing };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    Facts {
        kernel: parse_version(&read("/proc/sys/kernel/osrelease")),
        types: there("/sys/kernel/btf/vmlinux"),
        lockdown: parse_lockdown(&read("/sys/kernel/security/lockdown")),
        lacking: parse_lacking(&read("/proc/self/status")),
        kprobes: there("/sys/bus/event_source/devices/kprobe"),
        functions: observe_functions(),
    }
}

/// "6.1.0-52-amd64" is (6, 1).
fn parse_version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// "none [integrity] confidentiality"
fn parse_lockdown(text: &str) -> Lockdown {
    match text.split(['[', ']']).nth(1) {
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        Some(_) | None => Lockdown::None,
    }
}

/// Capabilities that are needed and not effective. Since 5.8 CAP_BPF and CAP_PERFMON are enough; CAP_SYS_ADMIN stands for both.
fn parse_lacking(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(bits) = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()) else {
        return vec![];
    };
    let has = |capability: u32| bits & (1 << capability) != 0 || bits & (1 << CAP_SYS_ADMIN) != 0;
    [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(_, name)| name)
        .collect()
}

/// Which of the functions we know /proc/kallsyms has, those of modules left out: aya 0.14 knows the kernel's own types alone.
fn observe_functions() -> BTreeSet<String> {
    let known: BTreeSet<&str> = TARGETS
        .iter()
        .flat_map(|target| target.functions.iter().copied().chain(target.ends))
        .collect();
    let Ok(symbols) = File::open("/proc/kallsyms") else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for line in BufReader::new(symbols).lines().map_while(Result::ok) {
        found.extend(parse_symbol(&line).filter(|name| known.contains(name)).map(str::to_owned));
    }
    found
}

/// "ffffffff81234560 T vfs_read"; a fourth word is the module.
fn parse_symbol(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let is_function = matches!(words.next()?, "t" | "T");
    let name = words.next()?;
    (is_function && words.next().is_none()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{parse_lacking, parse_lockdown, parse_symbol, parse_version};
    use crate::ladder::Lockdown;

    #[test]
    fn versions_of_distributions_are_read() {
        assert_eq!(parse_version("6.1.0-52-amd64\n"), (6, 1));
        assert_eq!(parse_version("6.18.44-fc-v669"), (6, 18));
        assert_eq!(parse_version(""), (0, 0));
    }

    #[test]
    fn the_lock_in_brackets_is_the_one_that_holds() {
        assert_eq!(parse_lockdown("none [integrity] confidentiality\n"), Lockdown::Integrity);
        assert_eq!(parse_lockdown("[none] integrity confidentiality"), Lockdown::None);
        assert_eq!(parse_lockdown(""), Lockdown::None);
    }

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(parse_lacking("CapEff:\t0000008000000000\n"), ["CAP_PERFMON"]);
        assert!(parse_lacking("CapEff:\t000001ffffffffff\n").is_empty());
    }

    #[test]
    fn functions_of_modules_are_not_the_kernels() {
        assert_eq!(parse_symbol("0000000000000000 T vfs_read"), Some("vfs_read"));
        assert_eq!(parse_symbol("0000000000000000 t xfs_file_read_iter\t[xfs]"), None);
        assert_eq!(parse_symbol("0000000000000000 D vfs_read"), None);
    }
}
