//! The two ways to boot a guest, and what each needs. It does not run one.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::guest::image;
use crate::guest::kernel::Kernel;
use crate::guest::machine::Machine;
use crate::guest::qemu;
use crate::guest::uml::{self, Uml};
use crate::paths::Paths;
use crate::run::Progress;
use crate::tools;

/// Whose kernel a guest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// Debian's, its processors emulated: fentry, kprobes, pressure, several processors; slow.
    Qemu,
    /// User Mode Linux, on one core: device-mapper, quotas, version 2 of cgroups; quick. No tracing.
    Uml,
}

/// A kernel with what runs it.
pub(crate) enum Boot {
    Qemu(Kernel),
    Uml(Uml),
}

impl Boot {
    /// Gets what is missing.
    pub(crate) fn ensure(which: Which, paths: &Paths, progress: &Progress) -> Result<Self> {
        match which {
            Which::Qemu => {
                tools::ensure_guest_tools(progress)?;
                let kernel = Kernel::ensure(paths, progress)?;
                image::ensure(paths, &kernel)?;
                Ok(Self::Qemu(kernel))
            }
            Which::Uml => {
                tools::ensure_storage_tools(progress)?;
                Ok(Self::Uml(Uml::ensure(paths, progress)?))
            }
        }
    }

    /// As uname says it.
    pub(crate) fn release(&self) -> &str {
        match self {
            Self::Qemu(kernel) => &kernel.release,
            Self::Uml(uml) => &uml.release,
        }
    }

    /// Writes the first script where it is none of the kernel's own archive.
    pub(crate) fn lay_out(&self, paths: &Paths, share: &Path) -> Result<()> {
        match self {
            Self::Qemu(_) => Ok(()),
            Self::Uml(_) => uml::lay_out(paths, share),
        }
    }

    /// The program that is the guest: it and all below it end with this process.
    pub(crate) fn command(&self, machine: &Machine) -> Result<Command> {
        match self {
            Self::Qemu(kernel) => Ok(qemu::qemu(kernel, machine)),
            Self::Uml(uml) => {
                ensure!(machine.cpus == 1, "User Mode Linux has one processor");
                ensure!(machine.disks <= uml::MOST_DISKS, "at most {} disks", uml::MOST_DISKS);
                Ok(uml.command(machine))
            }
        }
    }
}
