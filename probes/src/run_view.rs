//! A moment for the metrics, read from the kernel at that moment.

use terrace_probe_abi::layout::{OperationFigures, RETIRED_VOLUMES, SharedClass, Slot};

use super::Watch;
use crate::loader::Attached;
use crate::metrics_view::{Group, Own, View, VolumeView};
use crate::names::VolumeKey;
use crate::naming::Unnamed;
use crate::own;

impl<A: Attached> Watch<A> {
    /// Everything as it is now. Volumes whose claim is not known, and those that are gone, are one group.
    #[must_use]
    pub fn view(&self) -> Box<View> {
        let mut rest = self.attached.figures(RETIRED_VOLUMES);
        let mut volumes = Vec::new();
        for (slot, owner) in self.slots.owners() {
            match self.volume_view(slot, &owner.key) {
                Some(volume) => volumes.push(volume),
                None => {
                    let figures = self.attached.figures(slot);
                    rest.iter_mut().zip(figures.iter()).for_each(|(sum, more)| sum.add(more));
                }
            }
        }
        let mut groups = vec![(Group::Volume, rest)];
        groups.extend(SharedClass::ALL.iter().filter_map(|class| {
            let figures = self.attached.figures(class.slot());
            figures.iter().any(has_happened).then_some((Group::Class(*class), figures))
        }));
        let (asked_names, bounds) = (self.settings.asked_names, self.settings.bounds);
        Box::new(View { volumes, groups, own: self.own(), asked_names, bounds })
    }

    fn volume_view(&self, slot: Slot, key: &VolumeKey) -> Option<VolumeView> {
        let VolumeKey::Volume(name) = key else { return None };
        let book = self.book.as_ref()?;
        let said = book.volume(name).filter(|said| !said.claim.is_empty())?;
        let mut pods: Vec<String> = said
            .pod_uids
            .iter()
            .filter_map(|uid| book.pod(uid).map(|pod| pod.name.clone()))
            .collect();
        pods.sort_unstable();
        let filesystem = self.things_in(slot).map(|(_, place)| place.filesystem.clone());
        Some(VolumeView {
            namespace: said.namespace.clone(),
            claim: said.claim.clone(),
            pv_name: name.clone(),
            storage_class: said.storage_class.clone().unwrap_or_default(),
            driver: said.driver.clone(),
            device: self.device_of(slot).map(|device| device.to_string()).unwrap_or_default(),
            filesystem: filesystem.max().unwrap_or_default(),
            pods,
            figures: self.attached.figures(slot),
            block: self.attached.block_figures(slot),
        })
    }

    fn own(&self) -> Own {
        Own {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: own::kernel_release(),
            functions: self.attached.functions().to_vec(),
            unobservable: self.unobservable(),
            counters: self.attached.counters().unwrap_or_default(),
            sampling: self.settings.sampling,
            slow_told: self.slow_told,
            slow_overflowed: 0,
            slots_used: self.slots.owners().count() as u64,
            unnamed: Unnamed::ALL
                .map(|why| self.unnamed.values().filter(|one| **one == why).count() as u64),
            is_connected: false,
            resident_bytes: own::resident_bytes(),
            cpu_ns: own::cpu_ns(),
        }
    }
}

fn has_happened(figures: &OperationFigures) -> bool {
    figures.buckets.iter().any(|count| *count > 0)
}
