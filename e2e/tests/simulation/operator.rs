//! The operator's process in the model: what it decided is written to the API server between the code's own points, and an
//! answer may not arrive.

use jiff::Timestamp;
use terrace_faults::{Edge, Verdict};
use terrace_operator::fault::Point;
use terrace_operator::method::Method;
use terrace_plan::effect::{Effect, ObjectRef};

use crate::api::Api;
use crate::ledger::Ledger;
use crate::points::Luck;
use crate::rng::Rng;

/// The process at work: the API server, and what may befall it.
pub(crate) struct Desk<'a> {
    pub(crate) api: &'a mut Api,
    pub(crate) now: Timestamp,
    pub(crate) luck: Luck,
    pub(crate) rng: &'a mut Rng,
    pub(crate) ledger: &'a mut Ledger,
    /// It started anew and knows what it lists then.
    pub(crate) died: bool,
}

/// Whether who asked goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goes {
    On,
    /// It failed, or the process died: whoever asked asks again.
    Off,
}

impl Desk<'_> {
    /// Carries out what was decided. A refused write is planned anew from what is there then.
    pub(crate) fn change(&mut self, effect: Effect) -> Goes {
        let kind = effect.kind();
        if self.pass(Point::Effect(kind, Edge::Before)) == Goes::Off {
            return Goes::Off;
        }
        apply(self.api, effect, self.now);
        self.pass(Point::Effect(kind, Edge::After))
    }

    /// Answers with what was asked for.
    pub(crate) fn reply(&mut self, method: Method) -> Goes {
        self.pass(Point::Reply(method))
    }

    fn pass(&mut self, point: Point) -> Goes {
        match self.ledger.points.reach(point, self.luck, self.rng) {
            Verdict::Go => Goes::On,
            Verdict::Fail => Goes::Off,
            Verdict::Stop | Verdict::Hang(_) | Verdict::Hold { .. } => {
                self.ledger.count("operator's crash");
                self.died = true;
                Goes::Off
            }
        }
    }
}

fn apply(api: &mut Api, effect: Effect, now: Timestamp) {
    let _ = match effect {
        Effect::CreateVolume { volume } | Effect::HealVolume { volume, node: _ } => {
            api.create(*volume)
        }
        Effect::AssignVolume { volume, assignment, .. } => {
            api.change(&volume, |volume| volume.spec.assignment = Some(assignment))
        }
        Effect::GrowVolume { volume, to } => {
            api.change(&volume, |volume| volume.spec.capacity = terrace_crds::Size::from_bytes(to))
        }
        Effect::StampDeletion { volume, deletion } => {
            api.change(&volume, |volume| volume.spec.deletion = Some(Box::new(deletion)))
        }
        Effect::DeleteVolume { volume } => api.delete(&volume.name, now),
        Effect::ReleaseVolume { volume, finalizers }
        | Effect::AbandonVolume { volume, finalizers, .. } => {
            api.change(&volume, |volume| volume.metadata.finalizers = Some(finalizers))
        }
        Effect::ReportVolume { volume: ObjectRef { name, .. }, claim, conditions } => {
            api.report(&name, |volume| {
                let status = volume.status.get_or_insert_default();
                status.claim = claim;
                for condition in conditions {
                    status.conditions.retain(|old| old.type_ != condition.type_);
                    status.conditions.push(condition);
                }
                status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
            });
            Ok(())
        }
        // Nobody here applies a Direct volume, or asks for a snapshot.
        Effect::NameVolume { .. }
        | Effect::CreateSnapshot { .. }
        | Effect::AssignSnapshot { .. }
        | Effect::StampSnapshot { .. }
        | Effect::DeleteSnapshot { .. }
        | Effect::ReleaseSnapshot { .. }
        | Effect::ReportSnapshot { .. }
        | Effect::MakePersistent { .. }
        | Effect::PointPersistent { .. }
        | Effect::MakeClaim { .. }
        | Effect::GrowClaim { .. }
        | Effect::HoldPool { .. }
        | Effect::ReleasePool { .. }
        | Effect::ReportPool { .. }
        | Effect::ReportLifecycle { .. }
        | Effect::ReportTiering { .. }
        | Effect::AbandonSnapshot { .. }
        | Effect::Tell { .. }
        | Effect::TellPersistent { .. } => Ok(()),
    };
}
