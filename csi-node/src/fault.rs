//! Fault points: every place where a crash leaves the host, the journal or the API server in a state
//! that no other crash leaves, each with a name. In service they do nothing; a test records the ones
//! a story passes and then stops at each in turn.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::operation::OpKind;

/// Before or after what is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    /// Nothing of it has happened.
    Before,
    /// All of it has happened, nobody was told.
    After,
}

/// A place where the process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// The journal learns of an operation.
    JournalBegin(OpKind, Edge),
    /// One step of an operation acts on the host.
    Step(OpKind, usize, Edge),
    /// The journal learns that a step is done.
    JournalAdvance(OpKind, usize, Edge),
    /// The journal forgets an operation that is over.
    JournalFinish(OpKind, Edge),
    /// Something is written to the API server.
    ApiWrite(ApiWrite, Edge),
    /// A call is answered.
    Reply(Rpc),
}

/// What the node writes to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiWrite {
    /// `StorageVolume.status`.
    VolumeStatus,
    /// `StorageSnapshot.status`.
    SnapshotStatus,
    /// The node's finalizer on a StorageVolume or StorageSnapshot is set.
    AddFinalizer,
    /// The node's finalizer on a StorageVolume or StorageSnapshot is dropped.
    DropFinalizer,
    /// `StorageNode` and its status.
    NodeStatus,
    /// An Event.
    Event,
}

/// The calls of the kubelet that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rpc {
    /// `NodeStageVolume`.
    Stage,
    /// `NodeUnstageVolume`.
    Unstage,
    /// `NodePublishVolume`.
    Publish,
    /// `NodeUnpublishVolume`.
    Unpublish,
    /// `NodeExpandVolume`.
    Expand,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JournalBegin(kind, edge) => write!(f, "{edge} journal-begin {kind}"),
            Self::Step(kind, step, edge) => write!(f, "{edge} step {kind} {step}"),
            Self::JournalAdvance(kind, step, edge) => {
                write!(f, "{edge} journal-advance {kind} {step}")
            }
            Self::JournalFinish(kind, edge) => write!(f, "{edge} journal-finish {kind}"),
            Self::ApiWrite(write, edge) => write!(f, "{edge} api-write {write:?}"),
            Self::Reply(rpc) => write!(f, "reply {rpc:?}"),
        }
    }
}

/// The process is to be taken as dead from here on: nothing may be cleaned up, told or undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped at fault point: {0}")]
pub struct Stopped(pub Point);

/// Decides at each point whether to go on.
pub trait Faults: fmt::Debug + Send + Sync {
    /// Called at every point.
    ///
    /// # Errors
    /// [`Stopped`], to end there.
    fn reach(&self, point: Point) -> Result<(), Stopped>;
}

/// Goes on everywhere: what runs in service.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn reach(&self, _: Point) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Remembers the points it passes and stops once at the one with the number it was given; from then on
/// it stops everywhere, as a dead process would.
#[derive(Debug)]
pub struct StopAt {
    number: Option<usize>,
    passed: Mutex<Vec<Point>>,
}

impl StopAt {
    /// Stops at the `number`-th point (from 0) of what follows.
    #[must_use]
    pub fn nth(number: usize) -> Self {
        Self { number: Some(number), passed: Mutex::default() }
    }

    /// Only remembers.
    #[must_use]
    pub fn never() -> Self {
        Self { number: None, passed: Mutex::default() }
    }

    /// The points passed so far, in order; the last one is where it stopped, if it did.
    #[must_use]
    pub fn passed(&self) -> Vec<Point> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Faults for StopAt {
    fn reach(&self, point: Point) -> Result<(), Stopped> {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.number.is_some_and(|number| passed.len() > number) {
            return Err(Stopped(point));
        }
        passed.push(point);
        if self.number.is_some_and(|number| passed.len() == number + 1) {
            return Err(Stopped(point));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Edge, Faults, NoFaults, Point, Rpc, StopAt, Stopped};
    use crate::operation::OpKind;

    const STORY: [Point; 3] = [
        Point::JournalBegin(OpKind::Stage, Edge::Before),
        Point::Step(OpKind::Stage, 0, Edge::After),
        Point::Reply(Rpc::Stage),
    ];

    #[test]
    fn points_are_listed_in_the_order_they_are_passed() {
        let faults = StopAt::never();
        assert!(STORY.iter().all(|point| faults.reach(*point).is_ok()));
        assert_eq!(faults.passed(), STORY);
        assert!(NoFaults.reach(STORY[0]).is_ok());
    }

    #[test]
    fn a_stopped_process_stays_stopped() {
        let faults = StopAt::nth(1);
        assert_eq!(faults.reach(STORY[0]), Ok(()));
        assert_eq!(faults.reach(STORY[1]), Err(Stopped(STORY[1])));
        assert_eq!(faults.reach(STORY[2]), Err(Stopped(STORY[2])));
        assert_eq!(faults.passed(), STORY[..2]);
    }
}
