//! Table after table on the terminal, until nobody reads any more. It knows no Terrace.

use std::io::{ErrorKind, IsTerminal, Stdout, Write, stdout};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::fault::Fault;

/// To the upper left corner, everything cleared.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Whether anybody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It was taken.
    ToSomebody,
    /// The reader has gone (`| head`): that is no fault.
    ToNobody,
}

/// Standard output, again and again.
#[derive(Debug)]
pub struct Screen {
    out: Stdout,
    ticks: Interval,
    is_terminal: bool,
}

impl Screen {
    /// Anew every so many seconds.
    #[must_use]
    pub fn every(seconds: u64) -> Self {
        let out = stdout();
        let is_terminal = out.is_terminal();
        let mut ticks = interval(Duration::from_secs(seconds));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { out, ticks, is_terminal }
    }

    /// Until it is time; the first time at once.
    pub async fn wait(&mut self) {
        self.ticks.tick().await;
    }

    /// A table in the place of the last.
    ///
    /// # Errors
    /// [`Fault::Output`].
    pub fn table(&mut self, text: &str) -> Result<Shown, Fault> {
        let text = if self.is_terminal { format!("{CLEAR}{text}") } else { format!("{text}\n") };
        self.line(&text)
    }

    /// A text below the last.
    ///
    /// # Errors
    /// [`Fault::Output`].
    pub fn line(&mut self, text: &str) -> Result<Shown, Fault> {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(Shown::ToSomebody),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Shown::ToNobody),
            Err(error) => Err(Fault::Output(error)),
        }
    }
}
