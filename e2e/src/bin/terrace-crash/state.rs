//! What the driver knows: what is armed, what is under way, what was passed and struck. It arms and takes back; when is the
//! driver's affair.

use std::time::{Duration, Instant};

use anyhow::Result;
use terrace_faults::{Order, Panel, Process};

use crate::flight::{Converged, Flights};
use crate::ledger::{Ledger, Struck};
use crate::pick::Picks;
use crate::stage::Stage;

/// What has been armed so long and was not passed is taken back.
const ARMED: Duration = Duration::from_secs(4);
/// A blow that waits for its point.
#[derive(Debug)]
pub(crate) struct Armed {
    pub(crate) blow: Order,
    pub(crate) lane: usize,
    pub(crate) life: &'static str,
    pub(crate) stage: Stage,
    pub(crate) since: Instant,
}

/// All of it, behind one lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) picks: Picks,
    pub(crate) ledger: Ledger,
    pub(crate) flights: Flights,
    pub(crate) panels: Vec<(Process, Panel)>,
    pub(crate) armed: Vec<(Process, Armed)>,
    /// When the last blow without a point was thrown.
    pub(crate) thrown: Option<Instant>,
}

impl State {
    fn panel(&self, process: Process) -> Option<&Panel> {
        self.panels.iter().find(|(of, _)| *of == process).map(|(_, panel)| panel)
    }

    /// Arms what one of the stages under way will pass, where nothing is armed: in turns, so that no lane is struck alone.
    pub(crate) fn offer_any(&mut self, process: Process) -> Result<Passing> {
        let under_way = self.flights.all();
        let turn = self.ledger.blows.len() % under_way.len().max(1);
        let Some((lane, flight)) = under_way.get(turn) else { return Ok(Passing::ByItself) };
        self.offer(process, *lane, flight.life, flight.stage)
    }

    /// Arms the next point, unless another one waits.
    pub(crate) fn offer(
        &mut self,
        process: Process,
        lane: usize,
        life: &'static str,
        stage: Stage,
    ) -> Result<Passing> {
        let waiting = self.armed.iter().find(|(of, _)| *of == process);
        if waiting.is_some_and(|(_, armed)| armed.since.elapsed() < ARMED) {
            return Ok(Passing::ByItself);
        }
        self.take_back(process);
        if self.armed.iter().any(|(of, _)| *of == process) || self.panel(process).is_none() {
            return Ok(Passing::ByItself);
        }
        let Some(blow) = self.picks.next(process, life, stage) else {
            return Ok(Passing::ByItself);
        };
        if let Some(panel) = self.panel(process) {
            panel.arm(&blow)?;
        }
        let passing = Passing::of(&blow.name);
        self.armed.push((process, Armed { blow, lane, life, stage, since: Instant::now() }));
        Ok(passing)
    }

    /// Takes the blow back, if it has not fallen; where it has, the watcher notes it.
    pub(crate) fn take_back(&mut self, process: Process) {
        let Some(panel) = self.panel(process) else { return };
        // A hit is the armed file renamed: where there is none afterwards, it was in time.
        let hit = panel.disarm().and_then(|()| panel.hit());
        match hit {
            Ok(None) => {
                if let Some(Armed { blow, lane: _, life, stage, since: _ }) = self.disarmed(process)
                {
                    self.picks.missed(life, stage, &blow.name);
                }
            }
            Ok(Some(_)) => {}
            Err(error) => eprintln!("cannot take back what {process} was armed with: {error}"),
        }
    }

    pub(crate) fn disarmed(&mut self, process: Process) -> Option<Armed> {
        let at = self.armed.iter().position(|(of, _)| *of == process)?;
        Some(self.armed.swap_remove(at).1)
    }

    pub(crate) fn hit(&self, process: Process) -> Result<Option<Order>> {
        Ok(self.panel(process).map_or(Ok(None), Panel::hit)?)
    }

    pub(crate) fn clear(&self, process: Process) -> Result<()> {
        Ok(self.panel(process).map_or(Ok(()), Panel::release)?)
    }

    pub(crate) fn learn(&mut self) {
        for (process, panel) in &self.panels {
            match panel.passed() {
                Ok(points) => self.picks.pass(points),
                Err(error) => eprintln!("cannot read what {process} passed: {error}"),
            }
        }
    }

    /// Writes the blow down; gives its number.
    pub(crate) fn note(
        &mut self,
        blow: &Order,
        victim: String,
        armed: Option<&Armed>,
        now: Instant,
    ) -> usize {
        let Order { mode, nth, name } = blow;
        self.picks.hit(name);
        let number = self.ledger.blow(Struck {
            victim,
            point: name.clone(),
            mode: *mode,
            nth: *nth,
            lane: armed.map_or(0, |armed| armed.lane),
            life: armed.map_or("none", |armed| armed.life),
            stage: armed.map(|armed| armed.stage),
            at: now - self.ledger.start,
            converged: None,
        });
        if let Some(Converged { number, after }) = self.flights.struck(number, now) {
            self.ledger.converged(number, after);
        }
        number
    }
}

/// When a point is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// While there is work.
    ByItself,
    /// When the process ends as it is asked to, or at its next start.
    AtAnEnd,
}

impl Passing {
    fn of(point: &str) -> Self {
        let at_an_end = ["/lease/release/", "/lease/acquire/"];
        let is_one = at_an_end.iter().any(|part| point.contains(part));
        if is_one { Self::AtAnEnd } else { Self::ByItself }
    }
}
