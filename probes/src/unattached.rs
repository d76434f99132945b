//! The kernel's side where there is none: nothing is counted, and the reason is told wherever a tier would be. So that a kernel
//! or a container that allows nothing makes a sentence in the status, and not a container that is started over and over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use terrace_probe_abi::layout::{Figures, OPERATIONS, Path, Slot, SlowRecord, Tier};

use crate::loader::{
    Attached, BlockFigures, Changed, Counters, FunctionReport, LoadError, Sighting, Switch, Thing,
};
use crate::place_directory::DirectoryClass;

/// Ways that would be counted.
const WAYS: [Path; 5] = [Path::Syscall, Path::IoUring, Path::Aio, Path::Mmap, Path::Splice];

/// Nothing.
#[derive(Debug)]
pub struct Unattached {
    functions: [FunctionReport; 1],
    never: OwnedFd,
}

impl Unattached {
    /// Because of `error`.
    ///
    /// # Errors
    /// Where the process has no descriptor left.
    pub fn because(error: &LoadError) -> std::io::Result<Self> {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        let reason =
            format!("the probe could not be loaded: {error}{}", source.unwrap_or_default());
        let function = FunctionReport { function: "all".to_owned(), tier: Tier::None, reason };
        Ok(Self { functions: [function], never: eventfd(0, EventfdFlags::CLOEXEC)? })
    }
}

impl Attached for Unattached {
    fn functions(&self) -> &[FunctionReport] {
        &self.functions
    }

    fn unobservable(&self) -> &[Path] {
        &WAYS
    }

    fn figures(&self, _: Slot) -> Box<Figures> {
        Box::default()
    }

    fn take_longest(&self, _: Slot) -> [u64; OPERATIONS] {
        [0; OPERATIONS]
    }

    fn block_figures(&self, _: Slot) -> BlockFigures {
        BlockFigures::default()
    }

    fn clear(&self, _: Slot) {}

    fn sightings(&self) -> Result<Vec<Sighting>, LoadError> {
        Ok(Vec::new())
    }

    fn slow_events(&mut self, _: usize) -> Vec<SlowRecord> {
        Vec::new()
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.never.as_fd()
    }

    fn counters(&self) -> Result<Counters, LoadError> {
        Ok(Counters::default())
    }

    fn set_slot(&self, _: Thing, _: u16, _: Slot) -> Result<Changed, LoadError> {
        Ok(Changed::No)
    }

    fn set_directories(&self, _: &[DirectoryClass]) -> Result<(), LoadError> {
        Ok(())
    }

    fn set_has_directories(&self, _: Thing, _: u16, _: Switch) -> Result<Changed, LoadError> {
        Ok(Changed::No)
    }

    fn remember(&self, _: Slot, _: &[u8]) {}

    fn remembered(&self) -> Vec<(Slot, Vec<u8>)> {
        Vec::new()
    }

    fn forget(&self, _: Thing, _: u16) -> Result<Changed, LoadError> {
        Ok(Changed::No)
    }

    fn fold(&self, _: Slot, _: Slot) -> Result<(), LoadError> {
        Ok(())
    }

    fn retire(&self, _: Slot, _: Slot) {}

    fn release(&self, _: Slot) -> Result<(), LoadError> {
        Ok(())
    }

    fn set_threshold(&self, _: Slot, _: u64) {}

    fn set_device(&self, _: Slot, _: Option<(u32, u32)>) -> Result<(), LoadError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use terrace_probe_abi::wire::ToNode;

    use super::Unattached;
    use crate::args::Args;
    use crate::loader::LoadError;
    use crate::run_settings::Settings;
    use crate::run_watch::Watch;

    #[test]
    fn what_could_not_be_loaded_is_said_and_nothing_is_counted() {
        let attached = Unattached::because(&LoadError::Absent { name: "figures" }).unwrap();
        let args = Args::try_parse_from(["terrace-probe", "--node-name", "n", "--proc", "/proc"]);
        let mut watch = Watch::new(attached, Settings::of(&args.unwrap())).unwrap();
        assert!(watch.window().unwrap().is_empty());
        let ToNode::Hello(hello) = watch.hello().remove(0) else { panic!("no hello") };
        let reason = hello.functions[0].reason.clone().unwrap_or_default();
        assert!(reason.contains("figures is not in the probe's object"), "{reason}");
        assert_eq!(hello.unobservable.len(), 5);
    }
}
