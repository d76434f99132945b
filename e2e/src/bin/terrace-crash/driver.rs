//! Strikes while the lanes live: arms a point when a lane is about to pass it, sees the hit, kills the sidecar where that is
//! asked, and measures when all that was under way is over. Which point: `pick`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use terrace_faults::{Mode, Order, Panel, Process};

use crate::clock::Clock;
use crate::fault::{Fault, Wrong, wrong_of};
use crate::flight::{Converged, Flights};
use crate::ledger::{Finding, Ledger, is_death};
use crate::logs;
use crate::pick::Picks;
use crate::place::Place;
use crate::points::program_of;
use crate::stage::Stage;
use crate::state::{Aim, Passing, State};

/// While something struck so long ago is not over, nothing is struck: it is to come to an end.
/// The kubelet waits twice as long after each failure: struck for longer, it would wait for longer than all of this may last.
const QUIET: Duration = Duration::from_secs(20);
/// How long an injected hang lasts.
const HANG: Duration = Duration::from_secs(30);
/// Between two looks for a hit: files have no watch that reaches through a mount namespace.
const LOOK: Duration = Duration::from_millis(20);

/// Between two looks at what was passed, and at who runs.
const LEARN: Duration = Duration::from_secs(2);

/// How much is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) kills: usize,
    /// Every point that is passed is to be struck, too.
    pub(crate) every_point: bool,
    pub(crate) until: Instant,
}

/// The one who strikes.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) place: Place,
    pub(crate) clock: Arc<Clock>,
    goal: Goal,
    state: Mutex<State>,
}

impl Driver {
    /// Without panels (an image without fault points) it kills by number, at any moment.
    pub(crate) fn new(
        place: Place,
        goal: Goal,
        ledger: Ledger,
        picks: Picks,
        panels: Vec<(Process, Panel)>,
    ) -> Self {
        let flights = Flights::default();
        let state = State { picks, ledger, flights, panels, armed: Vec::new(), thrown: None };
        Self { place, clock: Arc::new(Clock::new()), goal, state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether enough is done: no new life begins.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        let spared = self.goal.every_point && state.picks.spared() > 0;
        Instant::now() >= self.goal.until || (state.ledger.kills() >= self.goal.kills && !spared)
    }

    /// A lane begins a stage: a good moment to arm what the stage passes.
    pub(crate) fn begin(&self, lane: usize, life: &'static str, stage: Stage) {
        let is_over = self.is_over();
        let mut state = self.state();
        state.flights.begin(lane, life, stage);
        if is_over || state.flights.oldest(Instant::now()) > QUIET {
            return;
        }
        for process in Process::ALL {
            match state.offer(process) {
                Ok(Passing::ByItself) => {}
                Ok(Passing::AtAnEnd) => self.ask_to_end(process),
                Err(error) => eprintln!("cannot arm {process}: {error:#}"),
            }
        }
    }

    /// So that it passes what is passed at a start or an end alone.
    fn ask_to_end(&self, process: Process) {
        let program = program_of(process);
        for pid in self.place.pids(program) {
            if let Err(error) = self.place.end(pid, program) {
                eprintln!("not asked to end: {error:#}");
            }
        }
    }

    /// A lane's stage is over, well or not.
    pub(crate) fn over(&self, lane: usize) {
        let now = Instant::now();
        let mut state = self.state();
        let (done, calm) = state.flights.over(lane, now);
        for Converged { number, after } in done {
            state.ledger.converged(number, after);
        }
        state.ledger.calm.extend(calm);
        for process in Process::ALL {
            state.over(process, lane);
        }
    }

    /// Notes what a lane found wrong.
    pub(crate) fn found(&self, lane: Option<usize>, life: &'static str, error: &anyhow::Error) {
        let mut state = self.state();
        let blow = Some(state.ledger.blows.len()).filter(|number| *number > 0);
        let (wrong, text) = (wrong_of(error), format!("{error:#}"));
        let at = state.ledger.start.elapsed();
        state.ledger.found(Finding { wrong, text, lane, life, blow, at });
    }

    /// Watches for hits until told to end.
    pub(crate) async fn watch(&self, end: &tokio::sync::Notify) {
        let mut second = tokio::time::interval(LEARN);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pids = self.pids();
        loop {
            tokio::select! {
                () = end.notified() => return,
                _ = second.tick() => {
                    self.state().learn();
                    self.rest();
                    pids = self.pids();
                }
                _ = look.tick() => {
                    for (process, before) in &pids {
                        let hit = self.state().hit(*process);
                        match hit {
                            Ok(Some(blow)) => self.struck(*process, &blow, before).await,
                            Ok(None) => {}
                            Err(error) => self.found(None, "none", &error),
                        }
                    }
                }
            }
        }
    }

    fn pids(&self) -> Vec<(Process, Vec<u32>)> {
        let of = |process: Process| (process, self.place.pids(program_of(process)));
        Process::ALL.into_iter().map(of).collect()
    }

    /// Takes back what is armed while something is to come to an end, or all is done; else arms what has nothing armed.
    fn rest(&self) {
        let is_over = self.is_over();
        let mut state = self.state();
        let rests = is_over || state.flights.oldest(Instant::now()) > QUIET;
        for process in Process::ALL {
            if rests {
                state.take_back(process, None);
                continue;
            }
            match state.offer(process) {
                Ok(Passing::ByItself) => {}
                Ok(Passing::AtAnEnd) => self.ask_to_end(process),
                Err(error) => eprintln!("cannot arm {process}: {error:#}"),
            }
        }
    }

    /// The blow fell: the process is dead, or it fails, hangs or waits.
    async fn struck(&self, process: Process, blow: &Order, before: &[u32]) {
        let now = Instant::now();
        let lasts = match blow.mode {
            Mode::Hang => HANG,
            Mode::Kill | Mode::Error | Mode::Hold => Duration::ZERO,
        };
        self.clock.struck(now + lasts);
        let came = match blow.mode {
            Mode::Kill => self.died(process, before).await.map(|()| program_of(process).to_owned()),
            Mode::Hold => self.kill_sidecar(&blow.name),
            Mode::Error | Mode::Hang => Ok(program_of(process).to_owned()),
        };
        let number = {
            let mut state = self.state();
            if let Err(error) = state.clear(process) {
                eprintln!("cannot clear what was hit: {error:#}");
            }
            let aims = state.disarmed(process);
            let aim = aims.iter().find(|aim| aim.blow.name == blow.name);
            came.map(|victim| state.note(blow, victim, aim, now))
        };
        match number {
            Ok(number) if is_death(blow.mode) => logs::keep(&self.place, process, number),
            Ok(_) => {}
            Err(error) => self.found(None, "none", &error),
        }
        self.rest();
    }

    /// A hit is a death only if the process is dead.
    async fn died(&self, process: Process, before: &[u32]) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let now = self.place.pids(program_of(process));
            let alive = before.iter().find(|pid| now.contains(pid));
            let Some(pid) = alive else { return Ok(()) };
            if Instant::now() > end {
                let text =
                    format!("{} was to kill itself, and process {pid} lives", program_of(process));
                return Err(Fault::new(Wrong::Stuck, text).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn kill_sidecar(&self, point: &str) -> Result<String> {
        let turn = self.state().ledger.blows.len();
        let program = sidecar_of(point, turn);
        let pids = self.place.pids(program);
        ensure!(!pids.is_empty(), "no {program} runs");
        for pid in pids {
            self.place.kill(pid, program)?;
        }
        Ok(program.to_owned())
    }

    /// Kills a program by number, as a blow without a point: for images that have none.
    pub(crate) fn throw(&self, program: &'static str, lane: usize) -> Result<()> {
        let pids = self.place.pids(program);
        ensure!(!pids.is_empty(), "no {program} runs");
        for pid in pids {
            self.place.kill(pid, program)?;
        }
        let now = Instant::now();
        self.clock.struck(now);
        let blow = Order { mode: Mode::Kill, nth: 1, name: format!("anywhere/{program}") };
        let mut state = self.state();
        let flight = state.flights.of(lane);
        let aim = flight.map(|flight| Aim {
            blow: blow.clone(),
            lane,
            life: flight.life,
            stage: flight.stage,
        });
        state.note(&blow, program.to_owned(), aim.as_ref(), now);
        Ok(())
    }

    /// Whether it is time for the next blow without a point; if so it is taken as thrown.
    pub(crate) fn may_throw(&self, between: Duration) -> bool {
        let is_over = self.is_over();
        let mut state = self.state();
        let now = Instant::now();
        let is_due = state.thrown.is_none_or(|at| now - at > between);
        let may =
            state.panels.is_empty() && is_due && !is_over && state.flights.oldest(now) < QUIET;
        if may {
            state.thrown = Some(now);
        }
        may
    }
}

/// Who made the call that is being answered; of the two that a snapshot goes through, in turns.
fn sidecar_of(point: &str, turn: usize) -> &'static str {
    let plain = point.replace('-', "").to_ascii_lowercase();
    if plain.contains("snapshot") && turn.is_multiple_of(2) {
        "snapshot-controller"
    } else if plain.contains("snapshot") {
        "csi-snapshotter"
    } else if plain.contains("expand") {
        "csi-resizer"
    } else {
        "csi-provisioner"
    }
}

#[cfg(test)]
mod tests {
    use super::sidecar_of;

    #[test]
    fn the_caller_of_each_call_is_known() {
        assert_eq!(sidecar_of("operator/reply/create-volume", 0), "csi-provisioner");
        assert_eq!(sidecar_of("operator/reply/expand-volume", 0), "csi-resizer");
        let snapshot = "operator/reply/create-volume-group-snapshot";
        let both = [sidecar_of(snapshot, 0), sidecar_of(snapshot, 1)];
        assert_eq!(both, ["snapshot-controller", "csi-snapshotter"]);
    }
}
