//! Death in a story: the process that runs it lives on, what it tells does not act any more.

use std::sync::{Mutex, PoisonError};

use super::{Faults, Point, Verdict};

/// Remembers the points it passes and stops once at the one with the number it was given; from then on
/// it stops everywhere, as a dead process would. A point that the list does not know is a bug of the list.
#[derive(Debug)]
pub struct StopAt {
    number: Option<usize>,
    known: Vec<Point>,
    passed: Mutex<Vec<Point>>,
}

impl StopAt {
    /// Stops at the `number`-th point (from 0) of what follows.
    #[must_use]
    pub fn nth(number: usize) -> Self {
        Self { number: Some(number), known: Point::all(), passed: Mutex::default() }
    }

    /// Only remembers.
    #[must_use]
    pub fn never() -> Self {
        Self { number: None, known: Point::all(), passed: Mutex::default() }
    }

    /// The points passed so far, in order; the last one is where it stopped, if it did.
    #[must_use]
    pub fn passed(&self) -> Vec<Point> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Faults<Point> for StopAt {
    fn reach(&self, point: Point) -> Verdict {
        assert!(self.known.contains(&point), "{point} is not in the list of points");
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.number.is_some_and(|number| passed.len() > number) {
            return Verdict::Stop;
        }
        passed.push(point);
        let is_end = self.number.is_some_and(|number| passed.len() == number + 1);
        if is_end { Verdict::Stop } else { Verdict::Go }
    }
}

#[cfg(test)]
mod tests {
    use terrace_device_types::StepKind;

    use super::StopAt;
    use crate::fault::{Edge, Faults, Point, Rpc, Verdict};
    use crate::operation::OpKind;

    const STORY: [Point; 3] = [
        Point::JournalBegin(OpKind::Stage, Edge::Before),
        Point::Step(OpKind::Stage, StepKind::AttachLoop, Edge::After),
        Point::Reply(Rpc::Stage),
    ];

    #[test]
    fn points_are_listed_in_the_order_they_are_passed() {
        let faults = StopAt::never();
        assert!(STORY.iter().all(|point| faults.reach(*point) == Verdict::Go));
        assert_eq!(faults.passed(), STORY);
    }

    #[test]
    fn a_stopped_process_stays_stopped() {
        let faults = StopAt::nth(1);
        let verdicts = STORY.map(|point| faults.reach(point));
        assert_eq!(verdicts, [Verdict::Go, Verdict::Stop, Verdict::Stop]);
        assert_eq!(faults.passed(), STORY[..2]);
    }

    #[test]
    #[should_panic(expected = "not in the list")]
    fn a_step_that_its_operation_does_not_list_is_told() {
        StopAt::never().reach(Point::Step(OpKind::Retain, StepKind::EraseImage, Edge::Before));
    }
}
