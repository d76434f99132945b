//! What is told: to csi-node when it connects or asks, and of slow operations.

use terrace_probe_abi::layout::{Operation, Path, Slot, SlotKind, SlowRecord};
use terrace_probe_abi::wire::{FunctionTier, Hello, HistogramOf, OperationBuckets, ToNode};

use super::{Place, Watch};
use crate::cgroup::Container;
use crate::loader::{Attached, LoadError, Switch, Thing};
use crate::metrics_alias::is_volume;
use crate::metrics_node::path_name;
use crate::metrics_view::{Group, is_critical};
use crate::names::VolumeKey;
use crate::own;
use crate::slow::{SlowEvent, Where, event};

/// Slow operations taken at a time.
const BATCH: usize = 256;

impl<A: Attached> Watch<A> {
    /// All that a csi-node has to know that has just connected.
    #[must_use]
    pub fn hello(&self) -> Vec<ToNode> {
        let functions = self.attached.functions().iter().map(|report| FunctionTier {
            function: report.function.clone(),
            tier: report.tier,
            reason: Some(report.reason.clone()).filter(|reason| !reason.is_empty()),
        });
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: own::kernel_release(),
            functions: functions.collect(),
            unobservable: self.unobservable().into_iter().map(str::to_owned).collect(),
        };
        let high = self.volumes.iter().filter(|(_, volume)| volume.standing.is_high);
        let turned = high.filter_map(|(slot, volume)| match &self.slots.owner(*slot)?.key {
            VolumeKey::Volume(name) => volume.turned(name).map(ToNode::Turned),
            VolumeKey::Inline { .. } => None,
        });
        std::iter::once(ToNode::Hello(hello)).chain(turned).collect()
    }

    /// Ways to a volume that go unseen.
    #[must_use]
    pub fn unobservable(&self) -> Vec<&'static str> {
        self.attached.unobservable().iter().map(|path: &Path| path_name(*path)).collect()
    }

    /// A volume's buckets, by its PersistentVolume.
    #[must_use]
    pub fn histogram(&self, pv_name: String) -> ToNode {
        let slot = self.slots.slot_of(&VolumeKey::Volume(pv_name.clone()));
        let operations = slot.map_or_else(Vec::new, |slot| {
            let figures = self.attached.figures(slot);
            let longest = self.volumes.get(&slot).map_or([0; 4], |volume| volume.longest);
            let done =
                Operation::ALL.iter().filter(|operation| figures[operation.index()].count() > 0);
            done.map(|operation| OperationBuckets {
                operation: *operation,
                sum_ns: figures[operation.index()].sum_ns,
                max_ns: longest[operation.index()],
                buckets: figures[operation.index()].buckets.to_vec(),
            })
            .collect()
        });
        ToNode::HistogramOf(HistogramOf { pv_name, operations })
    }

    /// Slow operations since the last call; as many calls as there are, until one brings none.
    pub fn slow(&mut self) -> Vec<SlowEvent> {
        loop {
            let records = self.attached.slow_events(BATCH);
            // What was seen just now may be the host's.
            let is_new = |record: &SlowRecord| {
                SlotKind::of(record.slot) == SlotKind::Provisional
                    && self.counted_now(record).is_none()
            };
            if self.settings.host_events == Switch::Off && records.iter().any(is_new) {
                log_nameless(self.look());
            }
            let offset = own::clock_offset_ns();
            let told: Vec<_> = records.iter().filter(|record| self.is_told(record)).collect();
            self.slow_told += told.len() as u64;
            if told.is_empty() && !records.is_empty() {
                continue;
            }
            let bounds = self.settings.bounds;
            let told = told.into_iter().map(|record| {
                let (place, container) = (self.place_of(record), self.container_of(record));
                event(record, place, container, offset, bounds)
            });
            return told.collect();
        }
    }

    /// Volumes, what else a Pod names, and critical paths; with the switch on all else too. What still waits for its name is a volume.
    fn is_told(&self, record: &SlowRecord) -> bool {
        let is_of_pods = |class| is_volume(class) || is_critical(class);
        match (self.settings.host_events, self.group_of(record)) {
            (Switch::On, _) | (Switch::Off, Some(Group::Volume | Group::Waiting)) => true,
            (Switch::Off, Some(Group::Class(class))) => is_of_pods(class),
            (Switch::Off, None) => false,
        }
    }

    /// `None`: of what is gone and never had a name.
    fn group_of(&self, record: &SlowRecord) -> Option<Group> {
        match SlotKind::of(self.slot_of(record)) {
            SlotKind::Volume => Some(Group::Volume),
            SlotKind::Class(class) => class.map(Group::Class),
            SlotKind::Provisional => self.counted_now(record).is_some().then_some(Group::Waiting),
            SlotKind::Uncounted => None,
        }
    }

    /// Where it is counted. It may have been told before its mount had a name: where that is counted by now says whose it is. A class is
    /// a name, and of a folder on the mount, perhaps.
    fn slot_of(&self, record: &SlowRecord) -> Slot {
        match SlotKind::of(record.slot) {
            SlotKind::Class(_) => record.slot,
            SlotKind::Volume | SlotKind::Provisional | SlotKind::Uncounted => {
                self.counted_now(record).unwrap_or(record.slot)
            }
        }
    }

    fn counted_now(&self, record: &SlowRecord) -> Option<Slot> {
        self.slots.counted_now(thing_of(record), record.generation)
    }

    fn place(&self, record: &SlowRecord) -> Option<&Place> {
        let place = self.places.get(&thing_of(record));
        place.filter(|place| place.generation == record.generation)
    }

    fn container_of(&self, record: &SlowRecord) -> Container {
        match self.settings.correlation {
            Switch::On => self.proc.container(record.tgid),
            Switch::Off => Container::default(),
        }
    }

    fn place_of(&self, record: &SlowRecord) -> Where {
        let place = self.place(record);
        let mut found = Where {
            mount_point: place.map(|place| place.at.clone()).filter(|at| !at.is_empty()),
            ..Where::default()
        };
        let slot = self.slot_of(record);
        match SlotKind::of(slot) {
            SlotKind::Volume => {
                found.volume_type = Some(Group::Volume.as_str());
                if let Some(VolumeKey::Volume(name)) =
                    self.slots.owner(slot).map(|owner| &owner.key)
                {
                    let said = self.book.as_ref().and_then(|book| book.volume(name));
                    found.persistent_volume = Some(name.clone());
                    found.namespace = said.map(|said| said.namespace.clone());
                    found.claim = said.map(|said| said.claim.clone());
                }
            }
            SlotKind::Class(Some(class)) => found.volume_type = Some(Group::Class(class).as_str()),
            SlotKind::Provisional | SlotKind::Class(None) | SlotKind::Uncounted => {}
        }
        found
    }
}

fn thing_of(record: &SlowRecord) -> Thing {
    match record.mount {
        0 => Thing::Device { major: record.s_dev >> 20, minor: record.s_dev & 0xf_ffff },
        id => Thing::Mount(id),
    }
}

fn log_nameless(outcome: Result<(), LoadError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "a slow operation's mount gets no name");
    }
}
