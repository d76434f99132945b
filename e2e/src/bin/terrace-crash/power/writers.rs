//! The programs that write to a volume: three threads, each with its own way. They end at the first error, or when they are told to.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use super::dice::Dice;
use super::durable::{Hand, Power};
use super::ledger::Shared;
use super::logs::LogWriter;
use super::region::RegionWriter;
use super::slots::SlotWriter;

/// All of one volume. They have files open until they are joined.
pub(crate) struct Writers {
    power: Power,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

/// One way of writing.
type Way = fn(&Hand, &Path, &Shared, &mut Dice) -> io::Result<()>;

/// Each with its name.
const WAYS: [(&str, Way); 3] =
    [("logs", write_logs), ("slots", write_slots), ("region", write_region)];

impl Writers {
    pub(crate) fn start(hand: &Hand, data: &Path, shared: &Shared, dice: &mut Dice) -> Self {
        let start = |(name, way): (&'static str, Way)| {
            let (hand, data, shared): (_, PathBuf, _) =
                (hand.clone(), data.to_owned(), shared.clone());
            let mut dice = dice.split();
            thread::spawn(move || match way(&hand, &data, &shared, &mut dice) {
                Err(error) if !hand.power.is_going() => Err(format!("{name}: {error}")),
                Err(_) | Ok(()) => Ok(()),
            })
        };
        let threads = WAYS.into_iter().map(start).collect();
        Self { power: hand.power.clone(), threads }
    }

    /// Whether all have ended, as they do once they get errors.
    pub(crate) fn have_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until each has ended; the errors that came with the power on. With the power on they are told to end first.
    pub(crate) fn join(self) -> Vec<String> {
        let Self { power, threads } = self;
        if !power.is_going() {
            power.end();
        }
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a writer panicked".to_owned())));
        ended.filter_map(Result::err).collect()
    }
}

fn write_logs(hand: &Hand, data: &Path, shared: &Shared, dice: &mut Dice) -> io::Result<()> {
    let mut writer = LogWriter::begin(hand.clone(), data, shared)?;
    while hand.power.goes_on() {
        writer.step(shared, dice)?;
    }
    Ok(())
}

fn write_slots(hand: &Hand, data: &Path, shared: &Shared, dice: &mut Dice) -> io::Result<()> {
    let writer = SlotWriter::begin(hand.clone(), data)?;
    while hand.power.goes_on() {
        writer.step(shared, dice)?;
    }
    Ok(())
}

fn write_region(hand: &Hand, data: &Path, shared: &Shared, dice: &mut Dice) -> io::Result<()> {
    let writer = RegionWriter::begin(hand.clone(), data)?;
    while hand.power.goes_on() {
        writer.step(shared, dice)?;
    }
    Ok(())
}
