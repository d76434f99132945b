//! The fault points that the code itself lists, in the model: who passes one may die or fail there. Which were passed and at
//! which somebody died is kept; what of the code's list the histories do not play is said here, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use terrace_device_types::StepKind;
use terrace_faults::{Edge, Verdict};
use terrace_node::fault::{ApiWrite, Point as NodePoint, Rpc};
use terrace_node::operation::OpKind;
use terrace_operator::fault::{LeaseWrite, Point as OperatorPoint};
use terrace_operator::method::Method;
use terrace_plan::effect_kind::EffectKind;

use crate::rng::Rng;
use crate::world::Trouble;

/// How likely each kind of misfortune is: once in so many; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Luck {
    pub(crate) crash: usize,
}

/// What became of the points.
#[derive(Clone, Debug, Default)]
pub(crate) struct Points {
    /// Those at which this history dies wherever it can.
    aimed: Vec<String>,
    /// Those at which an operation fails wherever it can.
    failing: Vec<String>,
    /// Whether every death loses the journal.
    pub(crate) is_forgetful: bool,
    pub(crate) passed: BTreeSet<String>,
    pub(crate) died: BTreeMap<String, u64>,
}

impl Points {
    /// Each point has its seeds; the rest is left to chance.
    pub(crate) fn aimed(trouble: Trouble, seed: u64, rng: &mut Rng) -> Self {
        let points = played(trouble);
        let turn = points[usize::try_from(seed).unwrap() % points.len()];
        let mut faults = Self { aimed: vec![turn.to_string()], ..Self::default() };
        match turn.lead() {
            Some(Lead::Death(first)) => faults.aimed.push(first.to_string()),
            Some(Lead::Loss(first)) => {
                faults.aimed.push(first.to_string());
                faults.is_forgetful = true;
            }
            Some(Lead::Failure(first)) => faults.failing.push(first.to_string()),
            None => faults.aimed.extend(rng.pick(&points).map(|point| point.to_string())),
        }
        faults
    }

    /// Passes a point, or dies or fails there.
    pub(crate) fn reach(&mut self, point: impl Display, luck: Luck, rng: &mut Rng) -> Verdict {
        let name = point.to_string();
        if luck.crash > 0 && self.failing.contains(&name) && !rng.once_in(4) {
            self.passed.insert(name);
            return Verdict::Fail;
        }
        let odds = match (luck.crash, self.aimed.contains(&name)) {
            (0, _) => 0,
            (_, true) => 2,
            (crash, false) => crash,
        };
        let met = rng.once_in(odds);
        if met && (odds == 2 || !rng.once_in(4)) {
            *self.died.entry(name.clone()).or_default() += 1;
            self.passed.insert(name);
            return Verdict::Stop;
        }
        self.passed.insert(name);
        if met { Verdict::Fail } else { Verdict::Go }
    }
}

/// A point of either process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot {
    Node(NodePoint),
    Operator(OperatorPoint),
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(point) => point.fmt(f),
            Self::Operator(point) => point.fmt(f),
        }
    }
}

impl Spot {
    fn lead(self) -> Option<Lead> {
        match self {
            Self::Node(point) => leads_to(point),
            Self::Operator(_) => None,
        }
    }
}

/// What has to happen elsewhere first, or chance alone would hardly come to a point.
enum Lead {
    Death(NodePoint),
    /// A death there, and the journal with it.
    Loss(NodePoint),
    Failure(NodePoint),
}

fn leads_to(point: NodePoint) -> Option<Lead> {
    let of = |kind, step, edge| NodePoint::Step(kind, step, edge);
    let (kind, step) = match point {
        NodePoint::JournalSettle(kind, _) => {
            return Some(Lead::Death(NodePoint::JournalFinish(kind, Edge::Before)));
        }
        NodePoint::Step(kind, step, _) | NodePoint::JournalAdvance(kind, step, _) => {
            (kind, Some(step))
        }
        NodePoint::JournalBegin(kind, _) | NodePoint::JournalFinish(kind, _) => (kind, None),
        NodePoint::JournalPool(..) | NodePoint::ApiWrite(..) | NodePoint::Reply(_) => return None,
    };
    match (kind, step) {
        // The agent grows the filesystem too, unless that fails.
        (OpKind::Expand, Some(StepKind::ResizeLoop))
        | (OpKind::Stage, Some(StepKind::ResizeLoop)) => {
            Some(Lead::Failure(of(OpKind::Grow, StepKind::GrowImage, Edge::After)))
        }
        (OpKind::Expand, _) => {
            Some(Lead::Failure(of(OpKind::Grow, StepKind::ResizeLoop, Edge::After)))
        }
        (OpKind::Sweep, Some(StepKind::RenameToQuarantine)) => {
            Some(Lead::Death(of(OpKind::Delete, StepKind::RenameToQuarantine, Edge::Before)))
        }
        (OpKind::Sweep, Some(StepKind::RemoveUnfinished)) => {
            Some(Lead::Loss(of(OpKind::Create, StepKind::WriteState, Edge::Before)))
        }
        // Only what nobody has used yet is empty: it takes more turns.
        (OpKind::Copy, Some(StepKind::AllocateImage)) => {
            Some(Lead::Death(of(OpKind::Stage, StepKind::WriteLatch, Edge::Before)))
        }
        (OpKind::Delete, Some(StepKind::DetachLoop)) => {
            Some(Lead::Loss(of(OpKind::Stage, StepKind::AttachLoop, Edge::After)))
        }
        (_, _) => None,
    }
}

/// Every point that histories with this trouble are to die at.
pub(crate) fn played(trouble: Trouble) -> Vec<Spot> {
    let node = NodePoint::all().into_iter().filter(|point| is_played_by_node(*point, trouble));
    let operator = OperatorPoint::all().into_iter().filter(|point| is_played_by_operator(*point));
    node.map(Spot::Node).chain(operator.map(Spot::Operator)).collect()
}

/// Those of [`played`] that nothing leads to: a claim must go between a lost journal and the kubelet's next call, which
/// detaches; and of an object that goes by force its deletion must be asked for and answered between two looks of its node.
pub(crate) fn by_chance(trouble: Trouble) -> BTreeSet<String> {
    let is_one = |point: &NodePoint| match point {
        NodePoint::Step(kind, step, _) | NodePoint::JournalAdvance(kind, step, _) => {
            match (kind, step) {
                (OpKind::Delete, StepKind::DetachLoop) => true,
                (OpKind::Sweep, StepKind::RemoveUnfinished) => trouble == Trouble::Force,
                _ => false,
            }
        }
        NodePoint::JournalBegin(..)
        | NodePoint::JournalFinish(..)
        | NodePoint::JournalSettle(..)
        | NodePoint::JournalPool(..)
        | NodePoint::ApiWrite(..)
        | NodePoint::Reply(_) => false,
    };
    let points = [OpKind::Delete, OpKind::Sweep].into_iter().flat_map(NodePoint::of_operation);
    points.filter(is_one).map(|point| point.to_string()).collect()
}

/// Every point of the code.
pub(crate) fn known() -> BTreeSet<String> {
    let node = NodePoint::all().into_iter().map(|point| point.to_string());
    node.chain(OperatorPoint::all().into_iter().map(|point| point.to_string())).collect()
}

fn is_played_by_node(point: NodePoint, trouble: Trouble) -> bool {
    match point {
        NodePoint::JournalBegin(kind, _) | NodePoint::JournalFinish(kind, _) => {
            is_operation(kind, trouble)
        }
        NodePoint::JournalSettle(kind, _) => is_operation(kind, trouble) && is_asked_again(kind),
        NodePoint::Step(kind, step, _) | NodePoint::JournalAdvance(kind, step, _) => {
            is_operation(kind, trouble) && is_step(kind, step, trouble)
        }
        // Pools are there before a history begins, and stay.
        NodePoint::JournalPool(..) => false,
        NodePoint::ApiWrite(what, _) => match what {
            ApiWrite::VolumeStatus | ApiWrite::DropFinalizer | ApiWrite::NodeStatus => true,
            // The operator writes the finalizer; Events are for people.
            ApiWrite::AddFinalizer | ApiWrite::SnapshotStatus | ApiWrite::Event => false,
        },
        NodePoint::Reply(rpc) => match rpc {
            Rpc::Stage | Rpc::Unstage | Rpc::Publish | Rpc::Unpublish | Rpc::Expand => true,
            Rpc::Stats | Rpc::Info | Rpc::Capabilities => false,
        },
    }
}

fn is_operation(kind: OpKind, trouble: Trouble) -> bool {
    match kind {
        OpKind::Create
        | OpKind::Grow
        | OpKind::Delete
        | OpKind::Sweep
        | OpKind::Stage
        | OpKind::Unstage
        | OpKind::Publish
        | OpKind::Unpublish
        | OpKind::Expand => true,
        // Nobody deletes without a stamp but by force.
        OpKind::Adopt | OpKind::Retain => trouble == Trouble::Force,
        OpKind::Copy => trouble != Trouble::Force,
        OpKind::PreparePool => false,
    }
}

/// Whether somebody may ask for what is so already: a caller once more, or a start.
fn is_asked_again(kind: OpKind) -> bool {
    !matches!(kind, OpKind::Delete | OpKind::Sweep)
}

/// Whether an operation of this kind comes to this step in a history: pools are of the file backend.
fn is_step(kind: OpKind, step: StepKind, trouble: Trouble) -> bool {
    let of_subvolumes = matches!(
        step,
        StepKind::CreateSubvolume
            | StepKind::SnapshotSubvolumes
            | StepKind::LimitSubvolume
            | StepKind::RemoveSubvolume
            | StepKind::RemoveUnfinishedSubvolume
    );
    let of_lvm = StepKind::LVM.contains(&step);
    let never = match (kind, step) {
        // What is being made is not attached, and its size does not change under it.
        (OpKind::Create, StepKind::GrowImage) => true,
        (OpKind::Create | OpKind::Copy, StepKind::ResizeLoop) => true,
        // A subvolume is staged by a bind mount.
        (OpKind::Stage, StepKind::BindMount) => true,
        // An object that is known is made or deleted to the end; only an older state, or force, forgets it meanwhile.
        (OpKind::Sweep, StepKind::RemoveUnfinished) => {
            !matches!(trouble, Trouble::Restore | Trouble::Force)
        }
        // The kubelet asks for what the agent has grown.
        (OpKind::Expand, StepKind::GrowImage) => true,
        _ => false,
    };
    !of_subvolumes && !of_lvm && !never
}

fn is_played_by_operator(point: OperatorPoint) -> bool {
    match point {
        OperatorPoint::Effect(kind, _) => is_effect(kind),
        OperatorPoint::Reply(method) => match method {
            Method::CreateVolume | Method::DeleteVolume | Method::ControllerExpandVolume => true,
            Method::ValidateVolumeCapabilities
            | Method::ListVolumes
            | Method::GetCapacity
            | Method::ControllerGetVolumeHealth
            | Method::ControllerListVolumeHealth
            | Method::CreateSnapshot
            | Method::DeleteSnapshot
            | Method::ListSnapshots
            | Method::GetSnapshot
            | Method::CreateVolumeGroupSnapshot
            | Method::DeleteVolumeGroupSnapshot
            | Method::GetVolumeGroupSnapshot => false,
        },
        // One replica, which leads.
        OperatorPoint::Lease(LeaseWrite::Acquire | LeaseWrite::Renew | LeaseWrite::Release, _) => {
            false
        }
    }
}

fn is_effect(kind: EffectKind) -> bool {
    match kind {
        EffectKind::CreateVolume
        | EffectKind::AssignVolume
        | EffectKind::GrowVolume
        | EffectKind::StampDeletion
        | EffectKind::DeleteVolume
        | EffectKind::ReleaseVolume
        | EffectKind::ReportVolume
        | EffectKind::TellPersistent => true,
        // No node goes for good, and nobody here looks for objects that are lost.
        EffectKind::AbandonVolume | EffectKind::HealVolume => false,
        // Nobody here applies a Direct volume, asks for a snapshot, changes a pool or writes a policy.
        EffectKind::NameVolume
        | EffectKind::MakePersistent
        | EffectKind::PointPersistent
        | EffectKind::MakeClaim
        | EffectKind::GrowClaim
        | EffectKind::CreateSnapshot
        | EffectKind::AssignSnapshot
        | EffectKind::StampSnapshot
        | EffectKind::DeleteSnapshot
        | EffectKind::ReleaseSnapshot
        | EffectKind::AbandonSnapshot
        | EffectKind::ReportSnapshot
        | EffectKind::HoldPool
        | EffectKind::ReleasePool
        | EffectKind::ReportPool
        | EffectKind::ReportLifecycle
        | EffectKind::ReportTiering
        | EffectKind::Tell => false,
    }
}
