//! Folders of the host that are no mounts: which they are, and on which mounts the kernel has to look for them. Volumes never pay.

use terrace_probe_abi::layout::{SharedClass, SlotKind};

use super::Watch;
use crate::loader::{Attached, Changed, LoadError, Sighting, Switch, Thing};
use crate::naming::{Host, find_sighted};
use crate::place_directory::directory_class;

impl<A: Attached> Watch<A> {
    /// Tells the kernel what has changed about them.
    pub(super) fn find_directories(
        &mut self,
        sightings: &[Sighting],
        host: &Host,
    ) -> Result<(), LoadError> {
        // Until csi-node has named them, what an earlier process said holds.
        if self.book.is_none() {
            return Ok(());
        }
        let named = self.named_directories.iter();
        let found: Vec<_> = named.filter_map(|named| directory_class(named, host).ok()).collect();
        if self.directories.as_ref() != Some(&found) {
            self.attached.set_directories(&found)?;
            self.directories = Some(found);
        }
        sightings.iter().try_for_each(|sighting| self.mark(sighting, host))
    }

    fn mark(&mut self, sighting: &Sighting, host: &Host) -> Result<(), LoadError> {
        let Sighting { thing, generation, .. } = *sighting;
        let Some(SlotKind::Class(Some(class))) = self.slots.counted(thing).map(SlotKind::of) else {
            return Ok(());
        };
        let known = self.places.get(&thing);
        if known.is_none_or(|place| place.generation != generation) {
            self.find_place(sighting, host);
        }
        let has = self.has_directories(thing, class);
        let Some(place) = self.places.get_mut(&thing) else { return Ok(()) };
        if place.has_directories == Some(has) {
            return Ok(());
        }
        place.has_directories = Some(has);
        match self.attached.set_has_directories(thing, generation, has)? {
            Changed::Yes => {}
            Changed::No => self.slots.moved_on(thing, generation),
        }
        Ok(())
    }

    /// What is of the folder's own class as a whole need not be looked at file by file.
    fn has_directories(&self, thing: Thing, class: SharedClass) -> Switch {
        let Some(place) = self.places.get(&thing) else { return Switch::Off };
        let Some(device) = place.device else { return Switch::Off };
        let all = self.directories.iter().flatten();
        let mut others = all.filter(|directory| directory.class != class);
        match others.any(|directory| directory.is_on(device, &place.root)) {
            true => Switch::On,
            false => Switch::Off,
        }
    }

    /// Of a mount that an earlier process gave its class.
    fn find_place(&mut self, sighting: &Sighting, host: &Host) {
        let Thing::Mount(id) = sighting.thing else { return };
        if let Some(mount) = find_sighted(host.mounts(), id, sighting) {
            return self.note_place(sighting, mount);
        }
        let own = self.proc.mounts_of(sighting.tgid);
        if let Some(mount) = own.as_ref().and_then(|own| find_sighted(own, id, sighting)) {
            self.note_place(sighting, mount);
        }
    }
}
