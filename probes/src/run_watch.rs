//! The probe between the kernel and everybody else: who is counted where, what each window brings, what a moment looks like.
//! Everything that happens goes through here, one thing at a time; it waits for nothing and tells nobody itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use terrace_probe_abi::layout::{Missed, RETIRED_VOLUMES, SharedClass, Slot, SlotKind};
use terrace_probe_abi::wire::{
    self, Device, DirectoryName, MissedCount, Names, ToNode, VolumeFigures,
};

use crate::host_proc::HostProc;
use crate::loader::{Attached, LoadError, Sighting, Switch, Thing};
use crate::metrics_self::missed_name;
use crate::metrics_view::Group;
use crate::mountinfo::{Mount, Mounts};
use crate::names::{NameBook, VolumeKey};
use crate::naming::{Host, Seen, Unnamed, Verdict, find_sighted, name_device, name_mount};
use crate::own;
use crate::place::Layout;
use crate::place_directory::DirectoryClass;
use crate::run_settings::Settings;
use crate::run_volume::Volume;
use crate::slots::{Policy, Sampling, Slots, Step, apply};

#[path = "run_directories.rs"]
mod directories;
#[path = "run_tell.rs"]
mod tell;
#[path = "run_view.rs"]
mod view;

/// Between two looks through all namespaces for what is gone, at least.
const SWEEP: Duration = Duration::from_secs(30);
/// How many such looks follow each sign that something may be gone: mounts of the host's changed, or one was seen that is new. What a
/// container still held at the first is gone at the second. Without a sign there is none: an idle node is left alone.
const SWEEPS: u8 = 2;

/// Where a thing lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    generation: u16,
    at: String,
    filesystem: String,
    device: Option<Device>,
    root: Vec<u8>,
    /// Whether folders on it are told apart; `None` until the kernel was told.
    has_directories: Option<Switch>,
}

/// Everything.
#[derive(Debug)]
pub struct Watch<A> {
    attached: A,
    settings: Settings,
    proc: HostProc,
    slots: Slots,
    host: Option<Host>,
    book: Option<NameBook>,
    places: BTreeMap<Thing, Place>,
    named_directories: Vec<DirectoryName>,
    /// As the kernel was told.
    directories: Option<Vec<DirectoryClass>>,
    volumes: BTreeMap<Slot, Volume>,
    slow_told: u64,
    unnamed: BTreeMap<Thing, Unnamed>,
    swept: Option<Instant>,
    sweeps_due: u8,
    looked: Instant,
    is_host_changed: bool,
}

impl<A: Attached> Watch<A> {
    /// Takes over what an earlier run left in the kernel.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn new(attached: A, settings: Settings) -> Result<Self, LoadError> {
        let sampling = if settings.sampling < 1.0 { Sampling::Share } else { Sampling::All };
        let mut watch = Self {
            proc: HostProc::new(&settings.proc),
            slots: Slots::new(Policy { sampling, ..Policy::default() }),
            host: None,
            book: None,
            places: BTreeMap::new(),
            named_directories: Vec::new(),
            directories: None,
            volumes: BTreeMap::new(),
            slow_told: 0,
            unnamed: BTreeMap::new(),
            swept: None,
            sweeps_due: SWEEPS,
            looked: Instant::now(),
            is_host_changed: true,
            attached,
            settings,
        };
        let sightings = watch.attached.sightings()?;
        let orphans = watch.attached.orphans()?;
        // What cannot be read is what a later version noted: then naming says it anew.
        let remembered = watch.attached.remembered().into_iter();
        let remembered: Vec<(Slot, VolumeKey)> = remembered
            .filter_map(|(slot, text)| Some((slot, serde_json::from_slice(&text).ok()?)))
            .collect();
        let steps = watch.slots.restore(&sightings, &orphans, &remembered);
        watch.carry_out(&steps)?;
        for class in SharedClass::ALL {
            watch.attached.set_threshold(class.slot(), own::whole_ns(watch.settings.threshold));
        }
        Ok(watch)
    }

    /// The host's mounts are not what they were.
    pub fn host_changed(&mut self) {
        self.is_host_changed = true;
        self.sweeps_due = SWEEPS;
    }

    /// csi-node said whose volumes these are.
    pub fn names(&mut self, names: Names) {
        if self.named_directories != names.directories {
            self.named_directories.clone_from(&names.directories);
            // What they are is seen beside the host's mounts.
            self.is_host_changed = true;
        }
        self.book = Some(NameBook::new(names));
        for (slot, owner) in self.slots.owners() {
            let target = self.target_of(&owner.key);
            if let Some(volume) = self.volumes.get_mut(&slot) {
                volume.target_ns = target;
            }
            self.attached.set_threshold(slot, target);
        }
    }

    fn target_of(&self, key: &VolumeKey) -> u64 {
        let said = match (key, &self.book) {
            (VolumeKey::Volume(name), Some(book)) => book.volume(name),
            (VolumeKey::Volume(_) | VolumeKey::Inline { .. }, _) => None,
        };
        let target = said.and_then(|volume| volume.target_p99_ns);
        target.unwrap_or_else(|| own::whole_ns(self.settings.threshold))
    }

    /// Gives what has been seen its place.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn look(&mut self) -> Result<(), LoadError> {
        let sightings = self.attached.sightings()?;
        let known = self.slots.things();
        let judged = self.slots.observe(&sightings);
        if self.slots.things() != known {
            self.sweeps_due = SWEEPS;
        }
        let is_news = self.is_host_changed || !judged.is_empty() || self.host.is_none();
        if is_news {
            self.read_host();
        }
        let Some(host) = self.host.take() else { return Ok(()) };
        let mut namespaces = None;
        for sighting in &judged {
            let verdict = self.judge(sighting, &host, &mut namespaces);
            self.decide(sighting, &verdict)?;
        }
        if is_news {
            self.find_directories(&sightings, &host)?;
        }
        self.host = Some(host);
        self.meet_volumes();
        Ok(())
    }

    fn read_host(&mut self) {
        match self.proc.host_mounts() {
            Ok(mounts) => {
                self.host = Some(Host::new(mounts, Layout::at(&self.settings.kubelet_dir)));
                self.is_host_changed = false;
            }
            Err(error) => tracing::warn!(%error, "the host's mounts cannot be read"),
        }
    }

    fn judge(
        &mut self,
        sighting: &Sighting,
        host: &Host,
        namespaces: &mut Option<Vec<Mounts>>,
    ) -> Verdict {
        let id = match sighting.thing {
            Thing::Device { major, minor } => {
                let device = Device { major, minor };
                let place = Place {
                    generation: sighting.generation,
                    device: Some(device),
                    ..Place::default()
                };
                self.places.insert(sighting.thing, place);
                return name_device(device, host, &self.proc.partitions(), self.book.as_ref());
            }
            Thing::Mount(id) => id,
        };
        if let Some(mount) = find_sighted(host.mounts(), id, sighting) {
            self.note_place(sighting, mount);
            return name_mount(mount, Seen::OnHost, host, self.book.as_ref());
        }
        let own = self
            .proc
            .mounts_of(sighting.tgid)
            .filter(|own| find_sighted(own, id, sighting).is_some());
        let every = || self.proc.every();
        let seen = match own {
            Some(own) => vec![own],
            None => namespaces.get_or_insert_with(every).clone(),
        };
        let Some(mount) = seen.iter().find_map(|mounts| find_sighted(mounts, id, sighting)) else {
            return Verdict::Nobody(Unnamed::Gone);
        };
        self.note_place(sighting, mount);
        name_mount(mount, Seen::Within, host, self.book.as_ref())
    }

    fn note_place(&mut self, sighting: &Sighting, mount: &Mount) {
        let place = Place {
            generation: sighting.generation,
            at: String::from_utf8_lossy(&mount.at).into_owned(),
            filesystem: String::from_utf8_lossy(&mount.fs).into_owned(),
            device: Some(mount.device),
            root: mount.root.clone(),
            has_directories: None,
        };
        self.places.insert(sighting.thing, place);
    }

    /// What is not to be counted is left alone from now on; all else goes to its slot.
    fn decide(&mut self, sighting: &Sighting, verdict: &Verdict) -> Result<(), LoadError> {
        let group = match verdict {
            Verdict::Volume(_) => Some(Group::Volume),
            Verdict::Class(class) => Some(Group::Class(*class)),
            Verdict::Later(_) | Verdict::Nobody(_) => None,
        };
        let Sighting { thing, generation, .. } = *sighting;
        if group.is_some_and(|group| !self.settings.counts(group)) {
            let steps = self.slots.ignore(thing, generation);
            return self.carry_out(&steps);
        }
        let steps = self.slots.decide(thing, generation, verdict);
        let is_nobodys = self.slots.counted(thing) == Some(SharedClass::Unnamed.slot());
        match verdict {
            Verdict::Nobody(why) if is_nobodys => drop(self.unnamed.insert(thing, *why)),
            Verdict::Nobody(_) | Verdict::Volume(_) | Verdict::Class(_) | Verdict::Later(_) => {
                self.unnamed.remove(&thing);
            }
        }
        self.carry_out(&steps)
    }

    /// What a volume that is gone has counted stays part of the sum over all volumes.
    fn carry_out(&mut self, steps: &[Step]) -> Result<(), LoadError> {
        for step in steps {
            match step {
                Step::Clear { slot } if SlotKind::of(*slot) == SlotKind::Volume => {
                    self.attached.remember(*slot, &[]);
                    self.attached.retire(*slot, RETIRED_VOLUMES);
                    self.attached.set_device(*slot, None)?;
                    self.volumes.remove(slot);
                }
                Step::Forget { thing, generation: _ } => {
                    self.places.remove(thing);
                    self.unnamed.remove(thing);
                }
                Step::Clear { .. }
                | Step::Count { .. }
                | Step::Fold { .. }
                | Step::Release { .. } => {}
            }
        }
        apply(steps, &self.attached, &mut self.slots)
    }

    /// Volumes that have a slot since just now.
    fn meet_volumes(&mut self) {
        let now = own::unix_seconds();
        let new: Vec<(Slot, u64, VolumeKey)> = self
            .slots
            .owners()
            .filter(|(slot, owner)| {
                self.volumes.get(slot).is_none_or(|volume| volume.since != owner.since)
            })
            .map(|(slot, owner)| (slot, owner.since, owner.key.clone()))
            .collect();
        for (slot, since, key) in new {
            let target = self.target_of(&key);
            let found = self.attached.figures(slot);
            self.attached.take_longest(slot);
            self.volumes.insert(slot, Volume::new(since, target, found, now));
            self.attached.remember(slot, &serde_json::to_vec(&key).unwrap_or_default());
            self.attached.set_threshold(slot, target);
            let device = self.device_of(slot);
            let own = device.filter(|device| device.major != 0 && self.is_alone(slot, *device));
            if let Err(error) =
                self.attached.set_device(slot, own.map(|own| (own.major, own.minor)))
            {
                tracing::warn!(%error, slot, "no queue and device times for a volume");
            }
        }
    }

    fn things_in(&self, slot: Slot) -> impl Iterator<Item = (&Thing, &Place)> {
        self.places.iter().filter(move |(thing, _)| self.slots.counted(**thing) == Some(slot))
    }

    fn device_of(&self, slot: Slot) -> Option<Device> {
        self.things_in(slot).find_map(|(_, place)| place.device)
    }

    fn is_alone(&self, slot: Slot, device: Device) -> bool {
        let others = self.volumes.keys().filter(|other| **other != slot);
        !others.into_iter().any(|other| self.device_of(*other) == Some(device))
    }

    /// A window is over: everything is read, and what is gone makes room.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn window(&mut self) -> Result<Vec<ToNode>, LoadError> {
        self.look()?;
        let length = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        let told = self.read_volumes(length)?;
        let is_time = self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP);
        if self.sweeps_due > 0 && is_time {
            self.sweeps_due -= 1;
            self.swept = Some(Instant::now());
            let ids = HostProc::ids(&self.proc.every());
            if !ids.is_empty() {
                let steps = self.slots.sweep(&ids);
                self.carry_out(&steps)?;
            }
            self.slots.orphaned(&self.attached.orphans()?);
        }
        let book = self.book.as_ref();
        let steps = self.slots.read(|key| book.is_some_and(|book| book.is_used(key)));
        self.carry_out(&steps)?;
        self.meet_volumes();
        Ok(told)
    }

    fn read_volumes(&mut self, length: Duration) -> Result<Vec<ToNode>, LoadError> {
        let (now, rule) = (own::unix_seconds(), self.settings.rule);
        let (mut turned, mut figures) = (Vec::new(), Vec::new());
        for (slot, volume) in &mut self.volumes {
            let Some(owner) = self.slots.owner(*slot) else { continue };
            let longest = self.attached.take_longest(*slot);
            let window = volume.window(self.attached.figures(*slot), longest, length, &rule, now);
            let VolumeKey::Volume(name) = &owner.key else { continue };
            turned.extend(volume.turned(name).filter(|_| window.turned).map(ToNode::Turned));
            let said = self.book.as_ref().and_then(|book| book.volume(name));
            figures.extend(window.operations.map(|operations| VolumeFigures {
                pv_name: name.clone(),
                namespace: said.map(|said| said.namespace.clone()),
                claim: said.map(|said| said.claim.clone()),
                window_seconds: length.as_secs_f64().round() as u64,
                operations,
                last_access: volume.access.last.and_then(|last| u64::try_from(last).ok()),
                accesses_per_day: volume.access.per_day(now),
                errors: volume.errors(),
            }));
        }
        let missed = self.missed()?;
        if !figures.is_empty() {
            turned.push(ToNode::Figures(wire::Figures { volumes: figures, missed }));
        }
        Ok(turned)
    }

    fn missed(&self) -> Result<Vec<MissedCount>, LoadError> {
        let counters = self.attached.counters()?;
        let reasons = Missed::ALL.iter();
        let seen = reasons.map(|reason| (missed_name(*reason), counters.missed(*reason)));
        let seen = seen.filter(|(_, count)| *count > 0);
        Ok(seen.map(|(reason, count)| MissedCount { reason: reason.to_owned(), count }).collect())
    }

    /// The kernel's side.
    pub fn attached(&self) -> &A {
        &self.attached
    }
}

#[cfg(test)]
#[path = "run_watch_tests.rs"]
mod tests;
