//! A point is reached, somebody gives a verdict, and the program carries it out. No verdict is given here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a program that is held looks whether it may go on.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Before or after what a point names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    /// Nothing of it has happened.
    Before,
    /// All of it has happened, nobody was told.
    After,
}

impl Edge {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// What is to become of the program at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Go,
    /// It is to be taken as dead: nothing may be cleaned up, told or undone.
    Stop,
    /// What the point names fails.
    Fail,
    /// It hangs for so long, then fails.
    Hang(Duration),
    /// It waits until this file is gone, at most so long, and goes on.
    Hold {
        /// The file.
        until_gone: PathBuf,
        /// The longest wait.
        at_most: Duration,
    },
}

/// Decides at each point.
pub trait Faults<P>: fmt::Debug + Send + Sync {
    /// Called at every point, before anything else happens there.
    fn reach(&self, point: P) -> Verdict;
}

/// Goes on everywhere: what runs in service.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl<P> Faults<P> for NoFaults {
    fn reach(&self, _: P) -> Verdict {
        Verdict::Go
    }
}

/// What a point makes of what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault<P> {
    /// The process is to be taken as dead from here on.
    #[error("stopped at fault point: {0}")]
    Stopped(P),
    /// An error as any other that may pass: whoever meets it tries again.
    #[error("injected at fault point: {0}")]
    Injected(P),
}

impl<P> Fault<P> {
    /// Whether nothing may be cleaned up, told or undone.
    #[must_use]
    pub const fn is_death(&self) -> bool {
        match self {
            Self::Stopped(_) => true,
            Self::Injected(_) => false,
        }
    }
}

/// Passes `point`, or does not.
///
/// # Errors
/// [`Fault`], where the verdict says so.
pub async fn pass<P: Copy>(faults: &dyn Faults<P>, point: P) -> Result<(), Fault<P>> {
    match faults.reach(point) {
        Verdict::Go => Ok(()),
        Verdict::Stop => Err(Fault::Stopped(point)),
        Verdict::Fail => Err(Fault::Injected(point)),
        Verdict::Hang(time) => {
            tokio::time::sleep(time).await;
            Err(Fault::Injected(point))
        }
        Verdict::Hold { until_gone, at_most } => {
            let held = Held::new(&until_gone, at_most);
            while held.lasts() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        }
    }
}

/// As [`pass`], on a thread that may block.
///
/// # Errors
/// As [`pass`].
pub fn pass_blocking<P: Copy>(faults: &dyn Faults<P>, point: P) -> Result<(), Fault<P>> {
    match faults.reach(point) {
        Verdict::Go => Ok(()),
        Verdict::Stop => Err(Fault::Stopped(point)),
        Verdict::Fail => Err(Fault::Injected(point)),
        Verdict::Hang(time) => {
            std::thread::sleep(time);
            Err(Fault::Injected(point))
        }
        Verdict::Hold { until_gone, at_most } => {
            let held = Held::new(&until_gone, at_most);
            while held.lasts() {
                std::thread::sleep(LOOK_AGAIN);
            }
            Ok(())
        }
    }
}

struct Held<'a> {
    file: &'a Path,
    until: Instant,
}

impl<'a> Held<'a> {
    fn new(file: &'a Path, at_most: Duration) -> Self {
        Self { file, until: Instant::now() + at_most }
    }

    fn lasts(&self) -> bool {
        self.file.exists() && Instant::now() < self.until
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, Faults, NoFaults, Verdict, pass, pass_blocking};

    #[derive(Debug)]
    struct Says(Verdict);

    impl Faults<u8> for Says {
        fn reach(&self, _: u8) -> Verdict {
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn a_verdict_is_carried_out_alike_on_both_ways() {
        let moment = Duration::from_millis(1);
        let known = [
            (Verdict::Go, Ok(())),
            (Verdict::Stop, Err(Fault::Stopped(7))),
            (Verdict::Fail, Err(Fault::Injected(7))),
            (Verdict::Hang(moment), Err(Fault::Injected(7))),
            (Verdict::Hold { until_gone: "/none".into(), at_most: Duration::MAX / 4 }, Ok(())),
            (Verdict::Hold { until_gone: "/".into(), at_most: moment }, Ok(())),
        ];
        for (verdict, becomes) in known {
            let faults = Says(verdict.clone());
            assert_eq!(pass(&faults, 7).await, becomes, "{verdict:?}");
            assert_eq!(pass_blocking(&faults, 7), becomes, "{verdict:?}");
        }
        assert_eq!(pass(&NoFaults, 7).await, Ok(()));
    }

    #[test]
    fn only_the_dead_clean_nothing_up() {
        assert!(Fault::Stopped(7).is_death());
        assert!(!Fault::Injected(7).is_death());
    }
}
