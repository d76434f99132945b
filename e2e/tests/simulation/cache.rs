//! What one process knows of the API server: the world as of the events that reached it. Events of different objects
//! come in any order, several changes may come as one, and some do not come before the next list.

use std::sync::Arc;

use terrace_crds::StorageVolume;
use terrace_plan::world::{World, name_of};

use crate::api::Api;
use crate::rng::Rng;

/// A watcher's store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    pub(crate) world: World,
}

impl Cache {
    /// Lists everything anew, as after a start or a broken watch.
    pub(crate) fn relist(&mut self, api: &Api) {
        self.world = api.world();
    }

    /// One event arrives: the current state of one object, whichever it is.
    pub(crate) fn deliver(&mut self, api: &Api, rng: &mut Rng) {
        let now = api.world();
        match rng.below(8) {
            0 => self.world.persistent = now.persistent,
            1 => (self.world.nodes, self.world.hosts) = (now.nodes, now.hosts),
            _ => {
                let mut names: Vec<String> = api.volumes.keys().cloned().collect();
                names.extend(self.world.volumes.iter().map(|v| name_of(&v.metadata).to_owned()));
                names.sort();
                names.dedup();
                if let Some(name) = rng.pick(&names) {
                    self.put(&name, api.volumes.get(&name).cloned());
                }
            }
        }
    }

    fn put(&mut self, name: &str, volume: Option<Arc<StorageVolume>>) {
        let all = self.world.volumes.edit();
        all.retain(|there| name_of(&there.metadata) != name);
        all.extend(volume);
        all.sort_by(|a, b| name_of(&a.metadata).cmp(name_of(&b.metadata)));
    }

    /// What the process itself just wrote or read.
    pub(crate) fn know(&mut self, name: &str, api: &Api) {
        self.put(name, api.volumes.get(name).cloned());
    }

    pub(crate) fn volume(&self, name: &str) -> Option<Arc<StorageVolume>> {
        self.world.volume(name).cloned()
    }
}
