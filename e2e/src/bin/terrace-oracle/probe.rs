//! What is judged: something that says how much was done to each volume. The oracle asks it as anybody else would.

use std::collections::BTreeMap;

use anyhow::Result;
use terrace_probe_abi::layout::Path;
use terrace_probe_abi::wire::Names;

use crate::tally::Tallies;

/// What it says at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) tallies: Tallies,
    /// Operations it knows it did not count, by reason.
    pub(crate) missed: BTreeMap<String, u64>,
}

/// Counts, and is asked.
pub(crate) trait Counting: Send {
    /// What kind it is, for the heading.
    fn title(&self) -> String;

    /// Who is who from now on.
    fn tell(&mut self, names: Names) -> Result<()>;

    /// All that was counted since it began.
    fn look(&mut self) -> Result<Look>;

    /// The ways it says it cannot see.
    fn unobservable(&self) -> Vec<Path>;

    /// Ended without warning and started anew, where that means anything.
    fn restart(&mut self) -> Result<()>;
}
