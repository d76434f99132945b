//! The programs in the kernel without what names volumes: loaded by this process, which keys by mount, path or device itself. Shows
//! what the kernel's side counts, and that an attribution by less than the mount is wrong.

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use terrace_probe::loader::{Attached, Changed, Loader, Plan, Sighting, Thing};
use terrace_probe_abi::layout::{
    Figures, Missed, OPERATIONS, Operation, OperationFigures, Path, SharedClass, Slot, SlotKind,
};
use terrace_probe_abi::wire::Names;

use crate::mounts::{self, Key, Register};
use crate::probe::{Counting, Look};
use crate::tally::{Tallies, Tally};

/// How long an operation may still be counted where it began to be, after its mount was given another slot.
const GRACE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(2);

/// What the thread that holds the kernel's side is asked.
enum Ask {
    /// Where each volume is published, and the devices of raw ones.
    Points(BTreeMap<String, usize>, BTreeMap<(u32, u32), usize>),
    Look(Sender<Look>),
}

/// Talks to that thread.
pub(crate) struct Within {
    key: Key,
    asks: Sender<Ask>,
    kubelet: String,
    unobservable: Vec<Path>,
    functions: String,
}

impl Within {
    /// Loads and attaches.
    pub(crate) fn start<L: Loader + Send + 'static>(
        loader: L,
        plan: Plan,
        key: Key,
        kubelet: &std::path::Path,
    ) -> Result<Self> {
        let (asks, inbox) = channel();
        let (tell, told) = channel();
        std::thread::spawn(move || match loader.attach(&plan) {
            Ok(attached) => {
                let functions = attached.functions().iter();
                let tiers: Vec<String> = functions
                    .map(|one| format!("{} {:?} {}", one.function, one.tier, one.reason))
                    .collect();
                tell.send(Ok((attached.unobservable().to_vec(), tiers.join("\n  ")))).ok();
                Keeper::new(attached, key).serve(&inbox);
            }
            Err(error) => drop(tell.send(Err(anyhow!(error)))),
        });
        let (unobservable, functions) = told.recv().context("the loader's thread ended")??;
        let kubelet = kubelet.display().to_string();
        Ok(Self { key, asks, kubelet, unobservable, functions })
    }
}

impl Counting for Within {
    fn title(&self) -> String {
        format!("programs of the kernel, keyed {}:\n  {}", self.key.title(), self.functions)
    }

    fn tell(&mut self, names: Names) -> Result<()> {
        let number = |name: &str| name.strip_prefix("pv-").and_then(|text| text.parse().ok());
        let mut points = BTreeMap::new();
        let mut devices = BTreeMap::new();
        for volume in &names.volumes {
            let Some(number) = number(&volume.pv_name) else { continue };
            for pod in &volume.pod_uids {
                let point = format!(
                    "{}/pods/{pod}/volumes/kubernetes.io~csi/{}/mount",
                    self.kubelet, volume.pv_name
                );
                points.insert(point, number);
            }
            if let Some(device) = volume.device {
                devices.insert((device.major, device.minor), number);
            }
        }
        self.asks.send(Ask::Points(points, devices)).context("the loader's thread ended")
    }

    fn look(&mut self) -> Result<Look> {
        let (answer, answered) = channel();
        self.asks.send(Ask::Look(answer)).context("the loader's thread ended")?;
        answered.recv().context("the loader's thread ended")
    }

    fn unobservable(&self) -> Vec<Path> {
        self.unobservable.clone()
    }

    fn restart(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Gives mounts their slots. A volume's slot is its number.
struct Keeper<A> {
    attached: A,
    key: Key,
    register: Register,
    devices: BTreeMap<(u32, u32), usize>,
    /// What is named already.
    settled: HashSet<(Thing, u16)>,
    /// Provisional slots whose figures are a volume's, until they are folded.
    folding: Vec<(Slot, Option<usize>, Instant)>,
    /// Figures from slots that were folded.
    folded: BTreeMap<usize, Box<Figures>>,
}

impl<A: Attached> Keeper<A> {
    fn new(attached: A, key: Key) -> Self {
        Self {
            attached,
            key,
            register: Register::default(),
            devices: BTreeMap::new(),
            settled: HashSet::new(),
            folding: Vec::new(),
            folded: BTreeMap::new(),
        }
    }

    fn serve(mut self, inbox: &Receiver<Ask>) {
        loop {
            match inbox.recv_timeout(PAUSE) {
                Ok(Ask::Points(points, devices)) => {
                    self.register.points.extend(points);
                    self.devices = devices;
                }
                Ok(Ask::Look(answer)) => drop(answer.send(self.look())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(error) = self.name_all() {
                eprintln!("oracle: {error:#}");
            }
        }
    }

    fn name_all(&mut self) -> Result<()> {
        let new: Vec<Sighting> = self.attached.sightings()?;
        let new =
            new.into_iter().filter(|one| !self.settled.contains(&(one.thing, one.generation)));
        let new: Vec<Sighting> = new.collect();
        let node = if new.is_empty() { Vec::new() } else { mounts::of_process("self") };
        for sighting in new {
            let volume = match sighting.thing {
                // It may be a volume's that is not told yet.
                Thing::Device { major, minor } if !self.devices.contains_key(&(major, minor)) => {
                    continue;
                }
                Thing::Mount(id) => match mounts::find(sighting.tgid, id) {
                    Ok(mount) => self.register.volume(self.key, &mount, &node),
                    // Nobody knows any more what it was: it stays unnamed.
                    Err(_) => None,
                },
                Thing::Device { major, minor } => self.devices.get(&(major, minor)).copied(),
            };
            self.settle(&sighting, volume)?;
        }
        self.fold()
    }

    fn settle(&mut self, sighting: &Sighting, volume: Option<usize>) -> Result<()> {
        let Sighting { thing, generation, slot, .. } = *sighting;
        let to = match volume {
            Some(number) => Slot::try_from(number)?,
            None => SharedClass::Host.slot(),
        };
        match self.attached.set_slot(thing, generation, to)? {
            Changed::Yes | Changed::No => self.settled.insert((thing, generation)),
        };
        if SlotKind::of(slot) == SlotKind::Provisional {
            self.folding.push((slot, volume, Instant::now()));
        }
        Ok(())
    }

    fn fold(&mut self) -> Result<()> {
        while self.folding.first().is_some_and(|(_, _, since)| since.elapsed() > GRACE) {
            let (slot, volume, _) = self.folding.remove(0);
            if let Some(number) = volume {
                let figures = self.attached.figures(slot);
                add(self.folded.entry(number).or_insert_with(zero), &figures);
            }
            self.attached.release(slot)?;
        }
        Ok(())
    }

    fn look(&self) -> Look {
        let mut sums = self.folded.clone();
        for number in self.register.points.values().chain(self.devices.values()) {
            sums.entry(*number).or_insert_with(zero);
        }
        for (number, sum) in &mut sums {
            if let Ok(slot) = Slot::try_from(*number) {
                add(sum, &self.attached.figures(slot));
            }
        }
        for (slot, volume, _) in &self.folding {
            if let Some(number) = volume {
                add(sums.entry(*number).or_insert_with(zero), &self.attached.figures(*slot));
            }
        }
        let tallies: Tallies =
            sums.iter().map(|(number, sum)| (*number, sum.each_ref().map(tally))).collect();
        let counters = self.attached.counters().unwrap_or_default();
        let missed = Missed::ALL.iter().map(|why| (format!("{why:?}"), counters.missed(*why)));
        Look { tallies, missed: missed.collect() }
    }
}

fn zero() -> Box<Figures> {
    Box::new(std::array::from_fn(|_| OperationFigures::ZERO))
}

fn add(to: &mut Figures, from: &Figures) {
    for operation in Operation::ALL {
        to[operation.index()].add(&from[operation.index()]);
    }
}

fn tally(figures: &OperationFigures) -> Tally {
    Tally { bytes: Some(figures.bytes), buckets: figures.buckets.to_vec() }
}

const _: () = assert!(OPERATIONS == Operation::ALL.len());
