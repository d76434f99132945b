//! The volumes with their Pods, and the work done in them: some volumes as they are, some unmounted and mounted anew in the midst of
//! it, so that ids of mounts and numbers of devices come to mean others.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use terrace_probe_abi::wire::Names;

use crate::labour::{Order, Report};
use crate::pod::Pod;
use crate::tally::{Tallies, Tally};
use crate::volume::{Ground, Volume, names};
use crate::way::Way;

/// Volumes that are worked on at once.
const AT_ONCE: usize = 6;
/// Into how many portions the work on a volume that is mounted anew is cut.
const PORTIONS: u64 = 3;

/// A volume and its Pod.
struct Lot {
    volume: Volume,
    pod: Option<Pod>,
}

/// All of them.
pub(crate) struct Field {
    ground: Ground,
    lots: Vec<Mutex<Lot>>,
    /// A mount namespace that is being left holds copies of all mounts: nothing is mounted meanwhile.
    mounting: Mutex<()>,
    remounts: AtomicUsize,
}

/// What was done in one phase.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) tallies: Tallies,
    pub(crate) durations: Vec<u64>,
}

impl Done {
    fn add(&mut self, number: usize, way: Way, report: Report) {
        let Report { bytes, durations } = report;
        let tally = Tally::of(bytes, &durations);
        let of_volume = self.tallies.entry(number).or_default();
        for operation in [Some(way.operation()), way.also()].into_iter().flatten() {
            of_volume[operation.index()].add(&tally);
        }
        self.durations.extend(durations);
    }
}

/// How much of what, and which volumes are mounted anew meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phase {
    pub(crate) way: Way,
    /// Operations a volume; each does a few more, no two neighbours as many.
    pub(crate) count: u64,
    /// How long a mount stays at least that is made anew.
    pub(crate) life: Duration,
    /// Volumes whose number leaves this remainder, of [`CHURNED`]; none: all stay as they are.
    pub(crate) churn: Option<usize>,
}

/// One volume in so many is mounted anew in a phase.
pub(crate) const CHURNED: usize = 4;

impl Field {
    /// Makes the volumes, mounts them and starts their Pods.
    pub(crate) fn lay_out(root: &Path, volumes: usize) -> Result<Self> {
        let ground = Ground::prepare(root)?;
        let mut lots = Vec::new();
        for number in 0..volumes {
            let volume = Volume::create(&ground, number)?;
            lots.push(Mutex::new(Lot { volume, pod: None }));
        }
        Ok(Self { ground, lots, mounting: Mutex::new(()), remounts: AtomicUsize::new(0) })
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The folder at which the node has a volume.
    pub(crate) fn point(&self, number: usize) -> Result<std::path::PathBuf> {
        let lot = held(self.lots.get(number).context("no such volume")?);
        Ok(self.ground.published(&lot.volume))
    }

    pub(crate) fn mount_all(&self) -> Result<()> {
        self.lots.iter().try_for_each(|lot| self.begin(&mut held(lot)))
    }

    pub(crate) fn unmount_all(&self) -> Result<()> {
        self.lots.iter().try_for_each(|lot| self.end(&mut held(lot)))
    }

    /// As csi-node would say it.
    pub(crate) fn names(&self) -> Result<Names> {
        let lots: Vec<_> = self.lots.iter().map(held).collect();
        names(lots.iter().map(|lot| &lot.volume))
    }

    /// How often a volume was mounted anew.
    pub(crate) fn remounts(&self) -> usize {
        self.remounts.load(Ordering::Relaxed)
    }

    /// How many operations on all volumes one operation of a phase is.
    pub(crate) fn width(&self, way: Way) -> u64 {
        self.lots.iter().filter(|lot| way.leads_to(held(lot).volume.kind)).count() as u64
    }

    /// Does a phase; `changed` is told whenever a volume was mounted anew.
    pub(crate) fn work(
        &self,
        phase: Phase,
        changed: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Done> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Done::default());
        std::thread::scope(|scope| {
            let hand = || -> Result<()> {
                while let Some(lot) = self.lots.get(next.fetch_add(1, Ordering::Relaxed)) {
                    self.work_on(lot, phase, &done, changed)?;
                }
                Ok(())
            };
            let hands: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(hand)).collect();
            let join = |hand: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                hand.join().ok().context("a thread of the oracle panicked")?
            };
            hands.into_iter().try_for_each(join)
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn work_on(
        &self,
        lot: &Mutex<Lot>,
        phase: Phase,
        done: &Mutex<Done>,
        changed: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<()> {
        let mut lot = held(lot);
        let Volume { number, kind, .. } = lot.volume;
        if !phase.way.leads_to(kind) {
            return Ok(());
        }
        let count = phase.count + number as u64 % 7;
        let churned = phase.churn == Some(number % CHURNED);
        let portions = if churned { PORTIONS.min(count) } else { 1 };
        let mut born = Instant::now();
        for portion in 0..portions {
            if portion > 0 {
                std::thread::sleep(phase.life.saturating_sub(born.elapsed()));
                self.end(&mut lot)?;
                // Every other time it is the same Pod that comes back.
                if portion % 2 == 1 {
                    lot.volume.change_pod();
                }
                self.begin(&mut lot)?;
                self.remounts.fetch_add(1, Ordering::Relaxed);
                drop(lot);
                changed()?;
                lot = held(self.lots.get(number).context("a volume is gone")?);
                born = Instant::now();
            }
            let upto = |portion: u64| count * portion / portions;
            let order = Order {
                way: phase.way,
                count: upto(portion + 1) - upto(portion),
                bytes: phase.way.bytes(number),
            };
            let pod = lot.pod.as_mut().context("a volume without a Pod")?;
            let report =
                pod.order(order).with_context(|| format!("{kind:?} {}", phase.way.name()))?;
            done.lock().unwrap_or_else(PoisonError::into_inner).add(number, phase.way, report);
        }
        Ok(())
    }

    fn begin(&self, lot: &mut Lot) -> Result<()> {
        let _alone = held(&self.mounting);
        lot.volume.mount(&self.ground)?;
        let source = self.ground.source(&lot.volume);
        lot.pod = Some(Pod::start(&source, &self.ground.pods.join(lot.volume.name()))?);
        Ok(())
    }

    fn end(&self, lot: &mut Lot) -> Result<()> {
        let _alone = held(&self.mounting);
        if let Some(pod) = lot.pod.take() {
            pod.stop()?;
        }
        lot.volume.unmount(&self.ground)
    }
}

fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
