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
/// So many points of each stage under way are armed at once.
const EACH: usize = 2;

/// Blows that wait for their points; one of them falls.
#[derive(Debug)]
pub(crate) struct Armed {
    aims: Vec<Aim>,
    since: Instant,
}

/// A blow, and whose stage is to pass its point.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    pub(crate) blow: Order,
    pub(crate) lane: usize,
    pub(crate) life: &'static str,
    pub(crate) stage: Stage,
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

    /// Arms what the stages under way are likely to pass, unless something armed still waits.
    pub(crate) fn offer(&mut self, process: Process) -> Result<Passing> {
        let waiting = self.armed.iter().find(|(of, _)| *of == process);
        if waiting.is_some_and(|(_, armed)| armed.since.elapsed() < ARMED) {
            return Ok(Passing::ByItself);
        }
        self.take_back(process, None);
        if self.armed.iter().any(|(of, _)| *of == process) {
            return Ok(Passing::ByItself);
        }
        let aims = self.aims(process);
        let Some(panel) = self.panel(process).filter(|_| !aims.is_empty()) else {
            return Ok(Passing::ByItself);
        };
        let blows: Vec<Order> = aims.iter().map(|aim| aim.blow.clone()).collect();
        panel.arm(&blows)?;
        let at_an_end = blows.iter().any(|blow| Passing::of(&blow.name) == Passing::AtAnEnd);
        self.armed.push((process, Armed { aims, since: Instant::now() }));
        Ok(if at_an_end { Passing::AtAnEnd } else { Passing::ByItself })
    }

    /// Some points of every stage under way, each once.
    fn aims(&mut self, process: Process) -> Vec<Aim> {
        let mut aims: Vec<Aim> = Vec::new();
        for (lane, flight) in self.flights.all() {
            for _ in 0..EACH {
                let Some(blow) = self.picks.next(process, flight.life, flight.stage) else { break };
                if !aims.iter().any(|aim| aim.blow.name == blow.name) {
                    aims.push(Aim { blow, lane, life: flight.life, stage: flight.stage });
                }
            }
        }
        aims
    }

    /// The lane's stage is over: what was armed for it was armed in vain.
    pub(crate) fn over(&mut self, process: Process, lane: usize) {
        let is_of_lane = |armed: &Armed| armed.aims.iter().any(|aim| aim.lane == lane);
        if self.armed.iter().any(|(of, armed)| *of == process && is_of_lane(armed)) {
            self.take_back(process, Some(lane));
        }
    }

    /// Takes the blows back, if none has fallen; where one has, the watcher notes it.
    pub(crate) fn take_back(&mut self, process: Process, over: Option<usize>) {
        let Some(panel) = self.panel(process) else { return };
        // A hit is the armed file renamed: where there is none afterwards, it was in time.
        let hit = panel.disarm().and_then(|()| panel.hit());
        match hit {
            Ok(None) => {
                for aim in self.disarmed(process) {
                    if over == Some(aim.lane) {
                        self.picks.missed(aim.life, aim.stage, &aim.blow.name);
                    }
                }
            }
            Ok(Some(_)) => {}
            Err(error) => eprintln!("cannot take back what {process} was armed with: {error}"),
        }
    }

    /// What was armed, which is so no longer.
    pub(crate) fn disarmed(&mut self, process: Process) -> Vec<Aim> {
        let at = self.armed.iter().position(|(of, _)| *of == process);
        at.map(|at| self.armed.swap_remove(at).1.aims).unwrap_or_default()
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
        aim: Option<&Aim>,
        now: Instant,
    ) -> usize {
        let Order { mode, nth, name } = blow;
        self.picks.hit(name);
        let number = self.ledger.blow(Struck {
            victim,
            point: name.clone(),
            mode: *mode,
            nth: *nth,
            lane: aim.map_or(0, |aim| aim.lane),
            life: aim.map_or("none", |aim| aim.life),
            stage: aim.map(|aim| aim.stage),
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
