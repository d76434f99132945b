//! What this node can do: kernel, capabilities, filesystems, tools. Asked once at start; the tools are run for their version then.

use std::ffi::OsStr;
use std::fs;

use serde::Serialize;
use terrace_device_types::{FsType, Tool};

use crate::Deadline;
use crate::host::{Host, read_text};
use crate::tool::run_tool;

/// What this node can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facilities {
    /// `uname -r`.
    pub kernel: String,
    /// Each capability Terrace uses, and whether it is there.
    pub capabilities: Vec<(Capability, bool)>,
    /// Each filesystem, and whether the kernel has it loaded. One that is not may still be a module the kernel loads at the first mount.
    pub filesystems: Vec<(FsType, bool)>,
    /// Each tool with its version; `None`: not installed.
    pub tools: Vec<(Tool, Option<String>)>,
    /// Whether loop devices can be made.
    pub loop_control: bool,
}

/// A capability Terrace uses, with its bit (`include/uapi/linux/capability.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Capability {
    /// Bit 21: mount, loop devices, `trusted.` attributes.
    SysAdmin,
    /// Bit 24: growing a mounted ext4.
    SysResource,
    /// Bit 28: leases on files of others.
    Lease,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SysAdmin, Self::SysResource, Self::Lease];

    /// The kernel's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Lease => "CAP_LEASE",
        }
    }

    const fn bit(self) -> u32 {
        match self {
            Self::SysAdmin => 21,
            Self::SysResource => 24,
            Self::Lease => 28,
        }
    }
}

impl Facilities {
    /// Whether a capability is there.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities.contains(&(capability, true))
    }

    /// Whether a tool is there.
    #[must_use]
    pub fn has_tool(&self, tool: Tool) -> bool {
        self.tools.iter().any(|(known, version)| *known == tool && version.is_some())
    }
}

/// What this node can do. What can't be found out is reported as not there.
#[must_use]
pub fn observe_facilities(host: &Host, deadline: Deadline) -> Facilities {
    let text = |path: &str| read_text(&host.proc.join(path)).unwrap_or_default();
    let effective = parse_effective(&text("self/status"));
    let loaded = parse_filesystems(&text("filesystems"));
    Facilities {
        kernel: text("sys/kernel/osrelease").trim().to_owned(),
        capabilities: Capability::ALL
            .map(|capability| (capability, effective >> capability.bit() & 1 == 1))
            .to_vec(),
        filesystems: FsType::ALL
            .map(|fs| (fs, loaded.iter().any(|name| name == fs.as_str())))
            .to_vec(),
        tools: Tool::ALL.map(|tool| (tool, version(tool, deadline))).to_vec(),
        loop_control: fs::metadata(host.dev.join("loop-control")).is_ok(),
    }
}

fn parse_effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn parse_filesystems(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

fn version(tool: Tool, deadline: Deadline) -> Option<String> {
    let flag = match tool {
        Tool::Blkid | Tool::Wipefs | Tool::MkfsBtrfs | Tool::Smartctl => "--version",
        Tool::MkfsXfs | Tool::MkfsExt4 | Tool::E2fsck => "-V",
        // Without a device it says its version and how it wants to be called.
        Tool::Resize2fs => "-h",
        Tool::Lvm => "version",
    };
    let ended = run_tool(tool, &[OsStr::new(flag)], deadline).ok()?;
    Some(parse_version(&format!("{} {}", ended.stdout, ended.stderr)))
}

/// The first word that begins with a digit and holds a dot.
fn parse_version(text: &str) -> String {
    let trim = |word: &str| {
        let word = word.trim_start_matches('v');
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-');
        word[..end.unwrap_or(word.len())].to_owned()
    };
    let is_version = |word: &String| {
        word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit())
    };
    text.split_whitespace().map(trim).find(is_version).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_bits_of_cap_eff() {
        let effective = parse_effective("Name:\tx\nCapEff:\t000001fffeffffff\nCapBnd:\t0\n");
        let has = |capability: Capability| effective >> capability.bit() & 1 == 1;
        assert!(has(Capability::SysAdmin) && has(Capability::Lease));
        assert!(!has(Capability::SysResource));
        assert_eq!(parse_effective("nothing"), 0);
    }

    #[test]
    fn versions_are_found_in_what_tools_say() {
        assert_eq!(parse_version("mke2fs 1.47.0 (5-Feb-2023)"), "1.47.0");
        assert_eq!(parse_version("mkfs.btrfs, part of btrfs-progs v6.2"), "6.2");
        assert_eq!(
            parse_version("blkid from util-linux 2.38.1  (libblkid 2.38.1, 04-Aug-2022)"),
            "2.38.1"
        );
        assert_eq!(parse_version("nothing here"), "unknown");
    }

    #[test]
    fn filesystems_are_the_last_word_of_a_line() {
        assert_eq!(parse_filesystems("nodev\tsysfs\n\txfs\n"), ["sysfs", "xfs"]);
    }
}
