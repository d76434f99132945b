//! Strikes while the lanes live: arms a point when a lane is about to pass it, sees the hit, kills the sidecar where that is
//! asked, and measures when all that was under way is over. Which point: `pick`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use terrace_faults::{Mode, Order, Panel, Process};

use crate::clock::Clock;
use crate::fault::{Fault, Wrong, wrong_of};
use crate::flight::{Converged, Flights};
use crate::ledger::{Finding, Ledger, Struck, is_death};
use crate::logs;
use crate::pick::Picks;
use crate::place::Place;
use crate::points::program_of;
use crate::stage::Stage;

/// What has been armed so long and was not passed is taken back.
const ARMED: Duration = Duration::from_secs(6);
/// While something struck so long ago is not over, nothing is struck: it is to come to an end.
const QUIET: Duration = Duration::from_secs(25);
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

/// A blow that waits for its point.
#[derive(Debug)]
struct Armed {
    blow: Order,
    lane: usize,
    life: &'static str,
    stage: Stage,
    since: Instant,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) picks: Picks,
    pub(crate) ledger: Ledger,
    flights: Flights,
    panels: Vec<(Process, Panel)>,
    armed: Vec<(Process, Armed)>,
    /// When the last blow without a point was thrown.
    thrown: Option<Instant>,
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
            if let Err(error) = state.offer(process, lane, life, stage) {
                eprintln!("cannot arm {}: {error:#}", process);
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
            if state.armed.iter().any(|(of, armed)| *of == process && armed.lane == lane) {
                state.take_back(process);
            }
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

    /// Takes back what is armed while something is to come to an end, or all is done.
    fn rest(&self) {
        let is_over = self.is_over();
        let mut state = self.state();
        if is_over || state.flights.oldest(Instant::now()) > QUIET {
            for process in Process::ALL {
                state.take_back(process);
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
            let armed = state.disarmed(process);
            came.map(|victim| state.note(blow, victim, armed.as_ref(), now))
        };
        match number {
            Ok(number) if is_death(blow.mode) => logs::keep(&self.place, process, number),
            Ok(_) => {}
            Err(error) => self.found(None, "none", &error),
        }
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
        let program = sidecar_of(point);
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
        let armed = flight.map(|flight| Armed {
            blow: blow.clone(),
            lane,
            life: flight.life,
            stage: flight.stage,
            since: now,
        });
        state.note(&blow, program.to_owned(), armed.as_ref(), now);
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

impl State {
    fn panel(&self, process: Process) -> Option<&Panel> {
        self.panels.iter().find(|(of, _)| *of == process).map(|(_, panel)| panel)
    }

    fn offer(
        &mut self,
        process: Process,
        lane: usize,
        life: &'static str,
        stage: Stage,
    ) -> Result<()> {
        let waiting = self.armed.iter().find(|(of, _)| *of == process);
        if waiting.is_some_and(|(_, armed)| armed.since.elapsed() < ARMED) {
            return Ok(());
        }
        self.take_back(process);
        if self.armed.iter().any(|(of, _)| *of == process) || self.panel(process).is_none() {
            return Ok(());
        }
        let Some(blow) = self.picks.next(process, life, stage) else { return Ok(()) };
        if let Some(panel) = self.panel(process) {
            panel.arm(&blow)?;
        }
        self.armed.push((process, Armed { blow, lane, life, stage, since: Instant::now() }));
        Ok(())
    }

    /// Takes the blow back, if it has not fallen; where it has, the watcher notes it.
    fn take_back(&mut self, process: Process) {
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

    fn disarmed(&mut self, process: Process) -> Option<Armed> {
        let at = self.armed.iter().position(|(of, _)| *of == process)?;
        Some(self.armed.swap_remove(at).1)
    }

    fn hit(&self, process: Process) -> Result<Option<Order>> {
        Ok(self.panel(process).map_or(Ok(None), Panel::hit)?)
    }

    fn clear(&self, process: Process) -> Result<()> {
        Ok(self.panel(process).map_or(Ok(()), Panel::release)?)
    }

    fn learn(&mut self) {
        for (process, panel) in &self.panels {
            match panel.passed() {
                Ok(points) => self.picks.pass(points),
                Err(error) => eprintln!("cannot read what {process} passed: {error}"),
            }
        }
    }

    /// Writes the blow down; gives its number.
    fn note(&mut self, blow: &Order, victim: String, armed: Option<&Armed>, now: Instant) -> usize {
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

/// Who made the call that is being answered.
fn sidecar_of(point: &str) -> &'static str {
    let plain = point.replace('-', "").to_ascii_lowercase();
    if plain.contains("snapshot") {
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
        assert_eq!(sidecar_of("operator/reply/create-volume"), "csi-provisioner");
        assert_eq!(sidecar_of("operator/reply/ControllerExpandVolume"), "csi-resizer");
        assert_eq!(sidecar_of("operator/reply/create-volume-group-snapshot"), "csi-snapshotter");
    }
}
