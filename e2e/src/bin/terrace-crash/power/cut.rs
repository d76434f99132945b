//! One volume through many power cuts: written to, cut off at a moment that chance chose, taken from its Pod, checked and given
//! again by the node, compared.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use terrace_device_types::{Bytes, VolumeMode};

use super::alone::Place;
use super::dice::Dice;
use super::durable::{Hand, Power, Promise};
use super::ledger::{Shared, verify};
use super::node::Node;
use super::tally::Tally;
use super::writers::Writers;

/// How long a round writes, at most.
const LONGEST_MS: u64 = 120;
/// How long writers may take to see that the power is gone.
const DARK: Duration = Duration::from_secs(10);

/// What is on its way to the disk when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Lost: the filesystem writes nothing any more.
    LogLost,
    /// The log is written, nothing else.
    LogWritten,
}

impl Cut {
    /// Three of four lose the log: that is the power cut, the other a crash that came just after a flush.
    const fn drawn(dice: &mut Dice) -> Self {
        if dice.below(4) == 0 { Self::LogWritten } else { Self::LogLost }
    }

    const fn order(self) -> &'static str {
        match self {
            Self::LogLost => "shutdown\n",
            Self::LogWritten => "shutdown -f\n",
        }
    }
}

/// A program that waits for the word to shut a filesystem down (`FS_IOC_SHUTDOWN`): the moment is ours, not its start's.
struct Switch {
    program: Child,
    data: PathBuf,
}

impl Switch {
    fn ready(data: &Path) -> Result<Self> {
        let mut command = Command::new("xfs_io");
        command.arg("-x").arg(data);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = command.spawn().context("start xfs_io")?;
        Ok(Self { program, data: data.to_owned() })
    }

    /// Returns when it is dark: nothing can be made any more.
    fn turn_off(mut self, cut: Cut) -> Result<()> {
        let mut words = self.program.stdin.take().context("xfs_io has no input")?;
        words.write_all(cut.order().as_bytes())?;
        drop(words);
        let ended = self.program.wait_with_output()?;
        match File::create_new(self.data.join("light")) {
            Err(error) if error.raw_os_error() == Some(EIO) => Ok(()),
            other => {
                let said = String::from_utf8_lossy(&ended.stderr).into_owned();
                bail!("the power is still on: {other:?}; xfs_io said: {said}")
            }
        }
    }
}

/// Input/output error.
const EIO: i32 = 5;

/// A volume, and chance for it.
pub(crate) struct Lane {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) mode: VolumeMode,
    pub(crate) size: Bytes,
    pub(crate) promise: Promise,
    pub(crate) dice: Dice,
}

impl Lane {
    /// Cuts the power so often; ends early when somebody wants that, and at the first loss.
    pub(crate) async fn run(mut self, node: &Node, place: &Place, cuts: u64) -> Result<Tally> {
        let (mut tally, shared) = (Tally::default(), Shared::default());
        node.create(place, &self.name, self.mode, self.size).await?;
        let mut data = node.give(&self.name).await?;
        for _ in 0..cuts {
            if place.is_to_end() || !tally.lost.is_empty() {
                break;
            }
            data = self.round(node, &data, &shared, &mut tally).await?;
        }
        tally.promised(shared.ledger().promised);
        if !tally.lost.is_empty() && self.promise == Promise::Durable {
            place.keep()?;
        }
        node.take(&self.name).await?;
        Ok(tally)
    }

    async fn round(
        &mut self,
        node: &Node,
        data: &Path,
        shared: &Shared,
        tally: &mut Tally,
    ) -> Result<PathBuf> {
        let (cut, power) = (Cut::drawn(&mut self.dice), Power::default());
        let hand = Hand { volume: self.number, promise: self.promise, power: power.clone() };
        let switch = Switch::ready(data)?;
        let writers = Writers::start(&hand, data, shared, &mut self.dice);
        tokio::time::sleep(Duration::from_millis(self.dice.below(LONGEST_MS))).await;
        tokio::task::block_in_place(|| {
            power.goes();
            switch.turn_off(cut)?;
            let until = Instant::now() + DARK;
            while !writers.have_ended() {
                if Instant::now() > until {
                    bail!("{}: writers go on without power", self.name);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            tally.errors.extend(writers.join());
            Ok(())
        })?;

        let dark = Instant::now();
        node.take(&self.name).await?;
        let data = node.give(&self.name).await?;
        tally.back(cut, dark.elapsed());

        let (before, after) = (shared.checkpoint(), shared.ledger());
        let (verdict, settled) =
            tokio::task::block_in_place(|| verify(&before, &after, self.number, &data))?;
        shared.change(|ledger| ledger.slots.settle(&settled));
        tally.compared(&self.name, verdict);
        Ok(data)
    }
}
