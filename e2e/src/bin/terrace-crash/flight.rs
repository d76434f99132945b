//! What was under way when a blow fell, and when the last of it was over: the time to converge. Pure: the time comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::stage::Stage;

/// The stage that a lane is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) life: &'static str,
    pub(crate) stage: Stage,
    /// The last blow that fell meanwhile.
    struck: Option<Instant>,
}

/// A blow, and the lanes that were in a stage then and still are.
#[derive(Debug)]
struct Open {
    number: usize,
    at: Instant,
    lanes: BTreeSet<usize>,
}

/// A blow all of whose stages are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Converged {
    pub(crate) number: usize,
    /// Since it fell, with every blow that fell meanwhile.
    pub(crate) after: Duration,
}

/// All lanes.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    lanes: BTreeMap<usize, Flight>,
    open: Vec<Open>,
}

impl Flights {
    pub(crate) fn begin(&mut self, lane: usize, life: &'static str, stage: Stage) {
        self.lanes.insert(lane, Flight { life, stage, struck: None });
    }

    /// The stage is over; gives the blows that are over with it, and how long ago the last one fell.
    pub(crate) fn over(&mut self, lane: usize, now: Instant) -> (Vec<Converged>, Option<Duration>) {
        let flight = self.lanes.remove(&lane);
        let mut done = Vec::new();
        self.open.retain_mut(|open| {
            open.lanes.remove(&lane);
            if open.lanes.is_empty() {
                done.push(Converged { number: open.number, after: now - open.at });
            }
            !open.lanes.is_empty()
        });
        (done, flight.and_then(|flight| flight.struck).map(|at| now - at))
    }

    /// A blow falls. Where nothing is under way it is over at once.
    pub(crate) fn struck(&mut self, number: usize, at: Instant) -> Option<Converged> {
        let lanes: BTreeSet<usize> = self.lanes.keys().copied().collect();
        for flight in self.lanes.values_mut() {
            flight.struck = Some(at);
        }
        if lanes.is_empty() {
            return Some(Converged { number, after: Duration::ZERO });
        }
        self.open.push(Open { number, at, lanes });
        None
    }

    /// How long ago the oldest blow fell that is not over.
    pub(crate) fn oldest(&self, now: Instant) -> Duration {
        self.open.iter().map(|open| now - open.at).max().unwrap_or_default()
    }

    /// Every lane that is in a stage.
    pub(crate) fn all(&self) -> Vec<(usize, Flight)> {
        self.lanes.iter().map(|(lane, flight)| (*lane, *flight)).collect()
    }

    /// The stage of a lane.
    pub(crate) fn of(&self, lane: usize) -> Option<Flight> {
        self.lanes.get(&lane).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{Converged, Duration, Flights, Instant, Stage};

    #[test]
    fn a_blow_is_over_when_every_stage_that_was_under_way_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut flights = Flights::default();
        flights.begin(1, "xfs", Stage::Begin);
        flights.begin(2, "ext4", Stage::Grow);
        assert_eq!(flights.struck(1, at(1)), None);
        flights.begin(3, "xfs", Stage::End);
        assert_eq!(flights.struck(2, at(3)), None);
        assert_eq!(flights.over(1, at(4)), (vec![], Some(Duration::from_secs(1))));
        assert_eq!(flights.oldest(at(5)), Duration::from_secs(4));
        let (done, last) = flights.over(2, at(6));
        assert_eq!(done, [Converged { number: 1, after: Duration::from_secs(5) }]);
        assert_eq!(last, Some(Duration::from_secs(3)));
        assert_eq!(
            flights.over(3, at(9)).0,
            [Converged { number: 2, after: Duration::from_secs(6) }]
        );
        assert_eq!(flights.oldest(at(9)), Duration::ZERO);
    }

    #[test]
    fn a_blow_into_the_void_is_over_at_once() {
        let mut flights = Flights::default();
        let done = flights.struck(1, Instant::now());
        assert_eq!(done, Some(Converged { number: 1, after: Duration::ZERO }));
    }

    #[test]
    fn a_stage_that_no_blow_met_tells_of_none() {
        let mut flights = Flights::default();
        let now = Instant::now();
        flights.begin(1, "xfs", Stage::Begin);
        assert_eq!(flights.over(1, now), (vec![], None));
    }
}
