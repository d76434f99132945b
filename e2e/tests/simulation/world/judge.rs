//! Judgement, once the world is at rest: every claim has its volume, every Pod its bytes, every image an owner, and
//! what is a stranger's is as it was.

use terrace_crds::condition::{ConditionType, is_true};
use terrace_plan::volume::conditions_of;

use super::setup::{TAKEN, strangers};
use super::{Sim, Trouble};
use crate::api::Pv;
use crate::caller::{Place, stage};
use crate::host::Content;
use crate::ledger::Life;
use crate::points::Luck;
use crate::run::{End, Process};

impl Sim {
    pub(super) fn judge(&mut self) {
        for (name, pv) in self.api.pvs.clone() {
            self.judge_volume(&name, &pv);
        }
        for (name, claim) in &self.api.claims {
            // What is to be copied is gone, or larger than its claim: its owner deletes the claim.
            let lacks = claim.of.as_ref().is_some_and(|of| {
                !self.api.pvs.contains_key(of)
                    || !self.has_bytes(of)
                    || self.api.least_of_copy(of).is_none_or(|least| least > claim.mib)
            });
            if !self.api.pvs.contains_key(name) && name != TAKEN && !lacks {
                let what = format!(
                    "claim {name} never got its volume: {claim:?} {:?}, source {:?}",
                    self.api.volumes.get(name),
                    claim.of.as_ref().and_then(|of| self.api.volumes.get(of))
                );
                self.ledger.broken.push(format!("I3: {what}"));
            }
        }
        for at in 0..self.nodes.len() {
            self.judge_node(at);
        }
    }

    fn has_bytes(&self, name: &str) -> bool {
        let place = self.places.get(name);
        place.is_some_and(|place| self.nodes[place.node].image_of(place.uuid).is_some())
    }

    fn judge_volume(&mut self, name: &str, pv: &Pv) {
        let Some(place) = self.places.get(name).cloned() else { return };
        let Life { destroyed, .. } = self.ledger.life(place.uuid).clone();
        if pv.released && !destroyed {
            let (volume, node) = (self.api.volumes.get(name), &self.nodes[place.node]);
            let what = format!(
                "{name} is released and still there: {volume:?}, image {:?}, mounts {:?}, staged {:?}",
                node.image_of(place.uuid),
                node.mounts,
                self.callers.staged,
            );
            self.ledger.broke("I3", what);
        }
        if pv.released || destroyed {
            return;
        }
        let forced = !self.api.volumes.contains_key(name);
        let there = self.api.volumes.get(name);
        let leaving = there.is_some_and(|volume| volume.metadata.deletion_timestamp.is_some());
        let ready =
            there.is_some_and(|volume| is_true(conditions_of(volume), ConditionType::Ready));
        if !ready && !((forced || leaving) && self.trouble != Trouble::None) {
            self.ledger.broke("I3", format!("{name} is bound and not ready"));
        }
        if forced || leaving {
            self.judge_bytes(name, &place);
            return;
        }
        let (luck, rng, ledger) = (Luck { crash: 0 }, &mut self.rng, &mut self.ledger);
        let node = &mut self.nodes[place.node];
        let end = stage(&place, name, &mut Process { node, luck, rng, ledger });
        if !matches!(end, End::Done) {
            self.ledger.broke("I3", format!("{name} cannot be staged: {end:?}"));
        }
    }

    /// No Pod can have it now, and nothing of it may be lost.
    fn judge_bytes(&mut self, name: &str, place: &Place) {
        let wrote = self.ledger.life(place.uuid).mark;
        let read =
            self.nodes[place.node].image_of(place.uuid).and_then(|image| match &image.content {
                Content::Made { mark, .. } => *mark,
                Content::Blank | Content::Partial { .. } => None,
            });
        if wrote != read {
            self.ledger.broke("I1", format!("a Pod wrote {wrote:?} to {name}, kept is {read:?}"));
        }
    }

    fn judge_node(&mut self, at: usize) {
        let node = &self.nodes[at];
        if !node.frozen.is_empty() {
            self.ledger.broken.push(format!("I10: frozen for good on {}", node.name));
        }
        let strangers = strangers(&node.dir);
        for stranger in &strangers {
            if !node.images.contains(stranger) {
                self.ledger.broken.push(format!("I4: {} was touched", stranger.path.display()));
            }
        }
        let listed =
            self.api.nodes.get(&node.name).and_then(|node| node.status.clone()).unwrap_or_default();
        for (image, tag) in node.tagged() {
            let owned = self.api.volumes.get(&tag.name).is_some_and(|volume| {
                volume.spec.volume_uuid.as_deref() == Some(&*tag.volume.to_string())
            });
            let known = listed.volumes.iter().any(|host| host.uuid == tag.volume.to_string());
            let excused = known && self.trouble != Trouble::None || self.api.volumes.is_empty();
            if !owned && !excused {
                self.ledger.broken.push(format!(
                    "leak: {} on {} has no owner",
                    image.path.display(),
                    node.name
                ));
            }
        }
    }
}
