//! What really happened to every volume's bytes, kept beside the model and never shown to the code under test.
//! It names the invariant that a step broke.

use std::collections::BTreeMap;

use terrace_device_types::{HostState, VolumeUuid};

use crate::host::Image;
use crate::points::Points;

/// One volume's life on the disks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    /// How often a filesystem was finished on the present image.
    pub(crate) formatted: u32,
    /// What a Pod wrote.
    pub(crate) mark: Option<u64>,
    /// Its bytes went, with every right.
    pub(crate) destroyed: bool,
    /// Whether DeleteVolume was called and its PV says so too, at this moment.
    pub(crate) may_go: bool,
    /// Whether its PV is there and bound, at this moment.
    pub(crate) is_bound: bool,
    /// Nodes that hold an image of it which is not on its way out.
    pub(crate) holders: Vec<String>,
}

/// Every life, and what went wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) lives: BTreeMap<VolumeUuid, Life>,
    pub(crate) broken: Vec<String>,
    /// What happened how often, by name.
    pub(crate) counts: BTreeMap<String, u64>,
    /// At which points of the code.
    pub(crate) points: Points,
}

impl Ledger {
    pub(crate) fn life(&mut self, volume: VolumeUuid) -> &mut Life {
        self.lives.entry(volume).or_default()
    }

    pub(crate) fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Steps carried out, whatever their kind.
    pub(crate) fn steps(&self) -> u64 {
        self.counts.get("step").copied().unwrap_or(0)
    }

    pub(crate) fn broke(&mut self, invariant: &str, what: String) {
        self.broken.push(format!("{invariant}: {what}"));
    }

    pub(crate) fn allocated(&mut self, volume: VolumeUuid, node: &str) {
        let Life { is_bound, holders, destroyed, mark, .. } = self.life(volume).clone();
        if is_bound {
            self.broke("I2", format!("{volume} was made anew on {node} while its PV is bound"));
        }
        // An empty one that a forced deletion left behind is kept, and listed as an orphan.
        if !holders.is_empty() && mark.is_some() {
            self.broke("I2", format!("{volume} was made on {node}; {holders:?} have it"));
        }
        let fresh = Life { is_bound, holders: vec![node.to_owned()], ..Life::default() };
        if destroyed || holders.is_empty() {
            *self.life(volume) = fresh;
        }
    }

    /// What its source has, its Pods read.
    pub(crate) fn copied(&mut self, volume: VolumeUuid, source: VolumeUuid, node: &str) {
        self.allocated(volume, node);
        let Life { formatted, mark, .. } = self.life(source).clone();
        let life = self.life(volume);
        (life.formatted, life.mark) = (formatted, mark);
    }

    pub(crate) fn formatted(&mut self, volume: VolumeUuid) {
        let life = self.life(volume);
        life.formatted += 1;
        if life.formatted > 1 || life.mark.is_some() {
            self.broke("I2", format!("{volume} was formatted a second time"));
        }
    }

    pub(crate) fn condemned(&mut self, volume: VolumeUuid, node: &str) {
        let life = self.life(volume);
        let allowed = life.may_go;
        life.holders.retain(|holder| holder != node);
        life.destroyed = true;
        if !allowed {
            self.broke("I1", format!("{volume} was condemned on {node} without proof"));
        }
    }

    /// A power loss took an image back that was never synced: nobody may have been told of it.
    pub(crate) fn vanished(&mut self, image: &Image, node: &str) {
        let Some(volume) = image.tag.as_ref().map(|tag| tag.volume) else { return };
        let Life { mark, .. } = self.life(volume).clone();
        // A copy has its source's mark before anybody is told of it.
        let is_new_copy = image
            .tag
            .as_ref()
            .is_some_and(|tag| tag.source.is_some() && tag.state == HostState::Creating);
        if mark.is_some() && !is_new_copy {
            self.broke("I3", format!("{volume} was written before its name was durable on {node}"));
        }
        *self.life(volume) = Life::default();
    }
}
