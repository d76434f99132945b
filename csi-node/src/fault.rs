//! Fault points: every place where a crash leaves the host, the journal or the API server in a state
//! that no other crash leaves, each with a name. In service they do nothing; a test records the ones
//! a story passes and then stops at each in turn; built with feature `faults`, a harness arms one by a file.

mod stop_at;

use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use terrace_device_types::StepKind;
use terrace_faults::words;
pub use terrace_faults::{Edge, Faults, NoFaults, Verdict, pass, pass_blocking};

use crate::operation::OpKind;

pub use stop_at::StopAt;

/// A place where the process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// The journal learns of an operation.
    JournalBegin(OpKind, Edge),
    /// One step of an operation acts on the host, or one is taken back.
    Step(OpKind, StepKind, Edge),
    /// The journal learns that a step is done.
    JournalAdvance(OpKind, StepKind, Edge),
    /// The journal forgets an operation that is over.
    JournalFinish(OpKind, Edge),
    /// The journal forgets what is left of others, for there is nothing to do.
    JournalSettle(OpKind, Edge),
    /// The journal learns where a pool lies, or forgets it.
    JournalPool(PoolWrite, Edge),
    /// Something is written to the API server.
    ApiWrite(ApiWrite, Edge),
    /// A call is answered with what was asked for.
    Reply(Rpc),
}

/// What reaches a point and may not get past it.
pub type Fault = terrace_faults::Fault<Point>;

words! {
    /// What the journal is told about pools.
    PoolWrite {
        /// Where it lies.
        Put => "put",
        /// That it is none any more.
        Forget => "forget",
    }
}

words! {
    /// What the node writes to the API server.
    ApiWrite {
        /// `StorageVolume.status`.
        VolumeStatus => "volume-status",
        /// `StorageSnapshot.status`.
        SnapshotStatus => "snapshot-status",
        /// The node's finalizer on a StorageVolume or StorageSnapshot is set.
        AddFinalizer => "add-finalizer",
        /// The node's finalizer on a StorageVolume or StorageSnapshot is dropped.
        DropFinalizer => "drop-finalizer",
        /// `StorageNode` and its status.
        NodeStatus => "node-status",
        /// An Event.
        Event => "event",
    }
}

words! {
    /// The calls of the kubelet.
    Rpc {
        /// `NodeStageVolume`.
        Stage => "stage",
        /// `NodeUnstageVolume`.
        Unstage => "unstage",
        /// `NodePublishVolume`.
        Publish => "publish",
        /// `NodeUnpublishVolume`.
        Unpublish => "unpublish",
        /// `NodeExpandVolume`.
        Expand => "expand",
        /// `NodeGetVolumeStats`.
        Stats => "stats",
        /// `NodeGetInfo`.
        Info => "info",
        /// `NodeGetCapabilities`.
        Capabilities => "capabilities",
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JournalBegin(kind, edge) => write!(f, "node/journal-begin/{kind}/{edge}"),
            Self::Step(kind, step, edge) => write!(f, "node/step/{kind}/{step}/{edge}"),
            Self::JournalAdvance(kind, step, edge) => {
                write!(f, "node/journal-advance/{kind}/{step}/{edge}")
            }
            Self::JournalFinish(kind, edge) => write!(f, "node/journal-finish/{kind}/{edge}"),
            Self::JournalSettle(kind, edge) => write!(f, "node/journal-settle/{kind}/{edge}"),
            Self::JournalPool(what, edge) => write!(f, "node/journal-pool/{what}/{edge}"),
            Self::ApiWrite(what, edge) => write!(f, "node/api-write/{what}/{edge}"),
            Self::Reply(rpc) => write!(f, "node/reply/{rpc}"),
        }
    }
}

impl Point {
    /// Every point there is, each once.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let of_kinds = OpKind::ALL.iter().flat_map(|kind| Self::of_operation(*kind));
        let pools = both(PoolWrite::ALL, Self::JournalPool);
        let writes = both(ApiWrite::ALL, Self::ApiWrite);
        let replies = Rpc::ALL.iter().map(|rpc| Self::Reply(*rpc));
        of_kinds.chain(pools).chain(writes).chain(replies).collect()
    }

    /// The points that an operation of this kind may pass.
    pub fn of_operation(kind: OpKind) -> impl Iterator<Item = Self> {
        let begin = Edge::ALL.map(|edge| Self::JournalBegin(kind, edge));
        let steps = both(kind.steps(), move |step, edge| Self::Step(kind, step, edge));
        let told = both(kind.steps(), move |step, edge| Self::JournalAdvance(kind, step, edge));
        let end = Edge::ALL.map(|edge| Self::JournalFinish(kind, edge));
        let none = Edge::ALL.map(|edge| Self::JournalSettle(kind, edge));
        begin.into_iter().chain(steps).chain(told).chain(end).chain(none)
    }
}

/// What decides in a process that serves at `socket`: nothing, unless this was built with feature `faults`.
///
/// # Errors
/// With that feature: if there is no folder to take orders from.
pub fn of_process(socket: &Path) -> io::Result<Arc<dyn Faults<Point>>> {
    #[cfg(feature = "faults")]
    let faults = terrace_faults::ByOrder::beside(socket, terrace_faults::Process::Node)?;
    #[cfg(not(feature = "faults"))]
    let (faults, _) = (NoFaults, socket);
    Ok(Arc::new(faults))
}

fn both<T: Copy>(
    all: &'static [T],
    point: impl Fn(T, Edge) -> Point,
) -> impl Iterator<Item = Point> {
    let edges = all.iter().flat_map(|one| Edge::ALL.map(|edge| (*one, edge)));
    edges.map(move |(one, edge)| point(one, edge))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Edge, Point, Rpc};
    use crate::operation::OpKind;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: Vec<String> = Point::all().iter().map(ToString::to_string).collect();
        let once: BTreeSet<&String> = names.iter().collect();
        assert_eq!(once.len(), names.len());
        let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let is_name = |name: &&String| name.starts_with("node/") && name.split('/').all(is_word);
        assert_eq!(names.iter().find(|name| !is_name(name)), None);
    }

    /// No arm but these: a new sort of point does not compile here before it is in the list.
    #[test]
    fn every_sort_of_point_is_in_the_list() {
        let sort = |point: &Point| match point {
            Point::JournalBegin(..) => 0,
            Point::Step(..) => 1,
            Point::JournalAdvance(..) => 2,
            Point::JournalFinish(..) => 3,
            Point::JournalSettle(..) => 4,
            Point::JournalPool(..) => 5,
            Point::ApiWrite(..) => 6,
            Point::Reply(..) => 7,
        };
        let sorts: BTreeSet<i32> = Point::all().iter().map(sort).collect();
        assert_eq!(sorts, (0..8).collect());
    }

    #[test]
    fn names_are_as_the_harness_writes_them() {
        let begin = Point::JournalBegin(OpKind::PreparePool, Edge::Before).to_string();
        assert_eq!(begin, "node/journal-begin/prepare-pool/before");
        let stage = OpKind::Stage;
        let mount = terrace_device_types::StepKind::MountFilesystem;
        let step = Point::Step(stage, mount, Edge::After).to_string();
        assert_eq!(step, "node/step/stage/mount-filesystem/after");
        let told = Point::JournalAdvance(stage, mount, Edge::Before).to_string();
        assert_eq!(told, "node/journal-advance/stage/mount-filesystem/before");
        assert_eq!(Point::Reply(Rpc::Unpublish).to_string(), "node/reply/unpublish");
    }
}
