//! What is told: to csi-node when it connects or asks, and of slow operations.

use terrace_probe_abi::layout::{Operation, Path, SlotKind, SlowRecord};
use terrace_probe_abi::wire::{FunctionTier, Hello, HistogramOf, OperationBuckets, ToNode};

use super::Watch;
use crate::cgroup::Container;
use crate::loader::{Attached, Switch, Thing};
use crate::metrics_node::path_name;
use crate::metrics_view::Group;
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
        let records = self.attached.slow_events(BATCH);
        let offset = own::clock_offset_ns();
        self.slow_told += records.len() as u64;
        records
            .iter()
            .map(|record| event(record, self.place_of(record), self.container_of(record), offset))
            .collect()
    }

    fn container_of(&self, record: &SlowRecord) -> Container {
        match self.settings.correlation {
            Switch::On => self.proc.container(record.tgid),
            Switch::Off => Container::default(),
        }
    }

    fn place_of(&self, record: &SlowRecord) -> Where {
        let thing = match record.mount {
            0 => Thing::Device { major: record.s_dev >> 20, minor: record.s_dev & 0xf_ffff },
            id => Thing::Mount(id),
        };
        let place = self.places.get(&thing).filter(|place| place.generation == record.generation);
        let mut found = Where {
            mount_point: place.map(|place| place.at.clone()).filter(|at| !at.is_empty()),
            ..Where::default()
        };
        // It may have been told before its mount had a name: where it is counted by now says whose it is. A class is a name, and of
        // a folder on the mount, perhaps.
        let slot = match SlotKind::of(record.slot) {
            SlotKind::Class(_) => record.slot,
            SlotKind::Volume | SlotKind::Provisional | SlotKind::Uncounted => {
                self.slots.counted(thing).filter(|_| place.is_some()).unwrap_or(record.slot)
            }
        };
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
