//! What all rounds came to, and how it is told. Pure.

use std::time::Duration;

use super::cut::Cut;
use super::ledger::{Promised, Verdict};

/// Of one volume, or of many.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How long each cut of the log took until the volume was in service again.
    log_lost: Vec<Duration>,
    log_written: Vec<Duration>,
    /// The same of images.
    images: Vec<Duration>,
    promised: Promised,
    blocks: u64,
    names: u64,
    twice: u64,
    /// What was acknowledged and is not there.
    pub(crate) lost: Vec<String>,
    /// Errors that a writer got with the power on.
    pub(crate) errors: Vec<String>,
}

impl Tally {
    /// A round was survived.
    pub(crate) fn back(&mut self, cut: Cut, took: Duration) {
        match cut {
            Cut::LogLost => self.log_lost.push(took),
            Cut::LogWritten => self.log_written.push(took),
        }
    }

    /// The volumes of an image are in service.
    pub(crate) fn back_from_image(&mut self, took: Duration) {
        self.images.push(took);
    }

    pub(crate) fn promised(&mut self, promised: Promised) {
        self.promised.blocks += promised.blocks;
        self.promised.names += promised.names;
    }

    pub(crate) fn compared(&mut self, volume: &str, verdict: Verdict) {
        let Verdict { blocks, names, twice, lost } = verdict;
        self.blocks += blocks;
        self.names += names;
        self.twice += twice;
        self.lost.extend(lost.into_iter().map(|what| format!("{volume}: {what}")));
    }

    pub(crate) fn add(&mut self, other: Self) {
        let Self { log_lost, log_written, images, promised, blocks, names, twice, lost, errors } =
            other;
        self.log_lost.extend(log_lost);
        self.log_written.extend(log_written);
        self.images.extend(images);
        self.promised(promised);
        self.blocks += blocks;
        self.names += names;
        self.twice += twice;
        self.lost.extend(lost);
        self.errors.extend(errors);
    }

    /// Nothing was lost, and nothing failed with the power on.
    pub(crate) fn is_good(&self) -> bool {
        self.lost.is_empty() && self.errors.is_empty()
    }

    /// The table of power cuts.
    pub(crate) fn power(&self, filesystem: &str, seconds: f64) -> String {
        format!(
            "| filesystem | cuts | with the log lost / written | {PROMISED_HEAD} | in service again: median, longest | s |\n\
             |---|---|---|{PROMISED_RULE}|---|---|\n\
             | {filesystem} | {} | {} / {} | {} | {} | {seconds:.0} |",
            self.log_lost.len() + self.log_written.len(),
            self.log_lost.len(),
            self.log_written.len(),
            self.promises(),
            self.times(),
        )
    }

    /// A row of the table of crash images; [`images_head`] is its head.
    pub(crate) fn images(&self, case: &str, seconds: f64) -> String {
        let (rounds, promises, times) = (self.images.len(), self.promises(), self.times());
        format!("| {case} | {rounds} | {promises} | {times} | {seconds:.0} |")
    }

    fn promises(&self) -> String {
        let Self { promised, blocks, names, twice, lost, errors, .. } = self;
        let Promised { blocks: promised_blocks, names: promised_names } = promised;
        let (lost, errors) = (lost.len(), errors.len());
        format!(
            "{promised_blocks} / {promised_names} | {blocks} / {names} | {lost} | {twice} | {errors}"
        )
    }

    fn times(&self) -> String {
        let mut times: Vec<_> =
            self.log_lost.iter().chain(&self.log_written).chain(&self.images).collect();
        times.sort();
        let ms = |at: usize| times.get(at).map(|time| time.as_millis()).unwrap_or_default();
        format!("{} ms, {} ms", ms(times.len() / 2), ms(times.len().saturating_sub(1)))
    }
}

const PROMISED_HEAD: &str = "blocks / names acknowledged | compared | lost | unacknowledged renames at both names | errors with the power on";
const PROMISED_RULE: &str = "---|---|---|---|---";

/// The head of the table of crash images.
pub(crate) fn images_head() -> String {
    format!(
        "| pool, volumes | images | {PROMISED_HEAD} | volumes in service: median, longest | s |\n|---|---|{PROMISED_RULE}|---|---|"
    )
}
