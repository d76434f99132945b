//! The node's runner in the model: an operation between the node's own fault points, the journal's own records and undo, and
//! what a start makes of what the last process left. Plans are the real ones.

use std::path::PathBuf;

use jiff::Timestamp;
use terrace_backends::group::plan_group;
use terrace_backends::{Backend, FileBackend};
use terrace_device_types::{Intent, PoolUuid, Step, VolumeUuid};
use terrace_faults::{Edge, Verdict};
use terrace_node::fault::{Point, Rpc};
use terrace_node::journal::record::{Record, Resume, Subject};
use terrace_node::operation::OpKind;
use terrace_node::queue::schedule::OpId;
use uuid::Uuid;

use crate::host::Node;
use crate::ledger::Ledger;
use crate::points::Luck;
use crate::rng::Rng;
use crate::steps::{Reach, execute};

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum End {
    Done,
    /// The refusal or the failed step, for the story of a seed that went wrong.
    #[allow(dead_code, reason = "read through Debug, by whoever looks at a seed")]
    Stuck(String),
    Crashed,
}

/// What the journal has of an operation, and what is asked for again if it is to be planned anew.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    record: Record,
    intent: Option<Intent>,
}

/// The node's process at work: its host, and what may befall it.
pub(crate) struct Process<'a> {
    pub(crate) node: &'a mut Node,
    pub(crate) luck: Luck,
    pub(crate) rng: &'a mut Rng,
    pub(crate) ledger: &'a mut Ledger,
}

/// Plans and carries out an operation; a crash may come at any of its points, and a start follows it.
pub(crate) fn run(
    node: &mut Node,
    kind: OpKind,
    intent: &Intent,
    volume: VolumeUuid,
    luck: Luck,
    rng: &mut Rng,
    ledger: &mut Ledger,
) -> End {
    let mut process = Process { node, luck, rng, ledger };
    let end = process.operate(kind, intent, volume);
    if matches!(end, End::Crashed) {
        process.die();
    }
    end
}

impl Process<'_> {
    /// A call of the kubelet: the operation, and its answer.
    pub(crate) fn call(
        &mut self,
        kind: OpKind,
        intent: &Intent,
        volume: VolumeUuid,
        rpc: Rpc,
    ) -> End {
        let mut end = self.operate(kind, intent, volume);
        if matches!(end, End::Done) {
            end = self.pass(Point::Reply(rpc)).unwrap_or(End::Done);
        }
        if matches!(end, End::Crashed) {
            self.die();
        }
        end
    }

    fn operate(&mut self, kind: OpKind, intent: &Intent, volume: VolumeUuid) -> End {
        let subject = self.subject(volume, intent);
        self.run(kind, intent, volume, subject)
    }

    fn subject(&self, volume: VolumeUuid, intent: &Intent) -> Subject {
        let to = match intent {
            Intent::Grow { to, .. } => Some(*to),
            _ => None,
        };
        let (pool, target): (PoolUuid, Option<PathBuf>) =
            (self.node.pool, intent.target().map(PathBuf::from));
        Subject { volume: Some(volume), pool: Some(pool), name: volume.to_string(), target, to }
    }

    fn run(&mut self, kind: OpKind, intent: &Intent, volume: VolumeUuid, subject: Subject) -> End {
        let view = self.node.view_with(volume, intent.source());
        let plan = FileBackend.plan(intent, &view);
        let plan = match intent {
            Intent::Copy { .. } => plan.and_then(|plan| plan_group(vec![plan])),
            _ => plan,
        };
        match plan {
            Ok(mut steps) => {
                let there = |node: &Node, step: &Step| match step {
                    // A path that is gone needs no journal entry to be removed.
                    Step::RemoveTarget { target } => node.targets.contains(target),
                    _ => true,
                };
                steps.retain(|step| there(self.node, step));
                self.run_planned(kind, Some(intent.clone()), subject, steps)
            }
            Err(refusal) => {
                self.ledger.count("refusal");
                End::Stuck(refusal.to_string())
            }
        }
    }

    /// As `Runner::run_here`, once it has a plan.
    fn run_planned(
        &mut self,
        kind: OpKind,
        intent: Option<Intent>,
        subject: Subject,
        steps: Vec<Step>,
    ) -> End {
        if steps.is_empty() {
            let settle = |node: &mut Node| {
                node.journal.retain(|entry| !entry.record.subject.is_same_object(&subject));
            };
            let settled = self.journaled(|edge| Point::JournalSettle(kind, edge), settle);
            return settled.unwrap_or(End::Done);
        }
        let id = OpId(Uuid::from_u128(u128::from(self.node.fresh())));
        let record = Record::new(id, kind, subject, &steps, Timestamp::UNIX_EPOCH);
        self.run_steps(Entry { record, intent }, &steps)
    }

    fn run_steps(&mut self, mut entry: Entry, steps: &[Step]) -> End {
        let (kind, id) = (entry.record.kind, entry.record.id);
        let (begun, subject) = (entry.clone(), entry.record.subject.clone());
        let begin = |node: &mut Node| {
            node.journal.retain(|older| !older.record.subject.is_same_object(&subject));
            node.journal.push(begun);
        };
        if let Some(end) = self.journaled(|edge| Point::JournalBegin(kind, edge), begin) {
            return end;
        }
        for (number, step) in steps.iter().enumerate() {
            entry.record.next = number;
            match self.step(kind, step) {
                End::Done => {}
                End::Stuck(why) => return self.fail(&entry.record, format!("{step}: {why}")),
                End::Crashed => return End::Crashed,
            }
            entry.record.next = number + 1;
            let now = entry.clone();
            let put = |node: &mut Node| {
                let there = node.journal.iter_mut().find(|there| there.record.id == id);
                there.into_iter().for_each(|there| *there = now.clone());
            };
            let which = step.kind();
            if let Some(end) = self.journaled(|edge| Point::JournalAdvance(kind, which, edge), put)
            {
                return end;
            }
        }
        self.forget(&entry.record).unwrap_or(End::Done)
    }

    /// One step between its points. Half of a mkfs may be all that happened.
    fn step(&mut self, kind: OpKind, step: &Step) -> End {
        let which = step.kind();
        if let Some(end) = self.pass(Point::Step(kind, which, Edge::Before)) {
            let is_mkfs = matches!(step, Step::MakeFilesystem { .. });
            if is_mkfs && matches!(end, End::Crashed) && self.rng.once_in(2) {
                // What it comes to is seen by the next look.
                let _ = execute(self.node, step, Reach::Half, self.ledger);
            }
            return end;
        }
        if let Err(why) = execute(self.node, step, Reach::Whole, self.ledger) {
            return End::Stuck(why);
        }
        self.pass(Point::Step(kind, which, Edge::After)).unwrap_or(End::Done)
    }

    /// One write of the journal between its points; what ends the operation, if anything does.
    fn journaled(
        &mut self,
        point: impl Fn(Edge) -> Point,
        write: impl FnOnce(&mut Node),
    ) -> Option<End> {
        if let Some(end) = self.pass(point(Edge::Before)) {
            return Some(end);
        }
        write(self.node);
        self.pass(point(Edge::After))
    }

    /// What becomes of it at this point, unless it goes on.
    pub(crate) fn pass(&mut self, point: Point) -> Option<End> {
        match self.ledger.points.reach(point, self.luck, self.rng) {
            Verdict::Go => None,
            Verdict::Fail => Some(End::Stuck(format!("injected at {point}"))),
            Verdict::Stop | Verdict::Hang(_) | Verdict::Hold { .. } => Some(End::Crashed),
        }
    }

    fn forget(&mut self, record: &Record) -> Option<End> {
        let (kind, id) = (record.kind, record.id);
        let remove = |node: &mut Node| node.journal.retain(|entry| entry.record.id != id);
        self.journaled(|edge| Point::JournalFinish(kind, edge), remove)
    }

    /// As `Runner::fail`: takes back what this kind takes back; an undo that fails is left to the next plan.
    fn fail(&mut self, record: &Record, why: String) -> End {
        self.ledger.count("failure");
        let undo = match record.kind.resume() {
            Resume::Undo => record.rollback(),
            Resume::Again | Resume::NextPass => Vec::new(),
        };
        for step in undo {
            if matches!(self.step(record.kind, &step), End::Crashed) {
                return End::Crashed;
            }
        }
        match self.forget(record) {
            Some(End::Crashed) => End::Crashed,
            Some(End::Stuck(_) | End::Done) | None => End::Stuck(why),
        }
    }

    /// The process, or the whole node, ends and starts anew, until a start comes through.
    pub(crate) fn die(&mut self) {
        loop {
            self.ledger.count("crash");
            self.node.starts += 1;
            if self.rng.once_in(3) {
                self.ledger.count("power loss");
                let taken_back = self.rng.below(self.node.unsynced.len() + 1);
                for image in self.node.lose_power(taken_back) {
                    self.ledger.vanished(&image, &self.node.name);
                }
            }
            // What stands still is thawed by the journal's word alone.
            let may_lose = self.node.frozen.is_empty();
            if may_lose && (self.ledger.points.is_forgetful || self.rng.once_in(10)) {
                self.ledger.count("journal lost");
                self.node.journal.clear();
            }
            if self.thaw() && self.recover() {
                return;
            }
        }
    }

    /// As `thaw`: before anything else.
    fn thaw(&mut self) -> bool {
        for Entry { record, .. } in self.node.journal.clone() {
            let thaws = record.rollback().into_iter();
            for step in thaws.filter(|step| matches!(step, Step::EndFreeze { .. })) {
                if matches!(self.step(record.kind, &step), End::Crashed) {
                    return false;
                }
            }
        }
        true
    }

    /// As `recover`: false if the process died once more, or has to start once more.
    fn recover(&mut self) -> bool {
        for Entry { record, intent } in self.node.journal.clone() {
            let (kind, subject) = (record.kind, record.subject.clone());
            let end = match kind.resume() {
                Resume::NextPass => End::Done,
                Resume::Undo => {
                    let nobody = Subject { volume: None, pool: None, ..subject };
                    self.run_planned(kind, None, nobody, record.rollback())
                }
                Resume::Again => match (intent, subject.volume) {
                    (Some(intent), Some(volume)) => self.run(kind, &intent, volume, subject),
                    (_, _) => End::Done,
                },
            };
            if matches!(end, End::Crashed) {
                return false;
            }
            if self.forget(&record).is_some() {
                return false;
            }
        }
        true
    }
}
