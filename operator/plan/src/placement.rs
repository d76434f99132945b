//! Chooses the node and pool of a volume, and says of every other why not. Pure: the same world gives the same
//! answer, in whatever order it is listed.
//!
//! Order of choice: the nodes that the caller prefers, in its order; then those whose kernel has the filesystem
//! loaded; then the most space left; then the name.

use std::fmt;

use terrace_crds::condition::Reason;
use terrace_crds::node::Facility;
use terrace_crds::pool::PoolState;
use terrace_crds::volume::{Assignment, FsType};
use terrace_crds::{StorageNode, StoragePool};

use crate::noticed::fault;
use crate::parameters::{Erase, Target};
use crate::size::{Content, about, words};
use crate::space::{Space, Watermark, observe_spaces};
use crate::topology::Topology;
use crate::world::{HostState, World, name_of};

/// The backend that brings its own filesystem.
const BTRFS: &str = "btrfs";
/// The backend that keeps thin volumes.
const LVM_THIN: &str = "lvmThin";
/// Most reasons in one message.
const REASONS_MAX: usize = 16;

/// What is to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Bytes it takes.
    pub bytes: u64,
    /// Which pools will do.
    pub target: Target,
    /// Which nodes will do.
    pub topology: Topology,
    /// The filesystem that the node must be able to make and mount; none for raw block.
    pub fs_type: Option<FsType>,
    /// What becomes of the bytes at the end.
    pub erase: Erase,
    /// Where it has to lie: a copy lies where its source does.
    pub at: Option<Assignment>,
}

/// Where a volume goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The node.
    pub node: String,
    /// The pool's name.
    pub pool: String,
    /// The pool's UUID on that node.
    pub pool_uuid: String,
    /// Bytes that can still be promised there before this volume.
    pub free: u64,
}

/// A pool on a node that will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The node.
    pub node: String,
    /// The pool.
    pub pool: String,
    /// Why not.
    pub why: Why,
}

/// Why a pool on a node will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The caller asked for other nodes.
    NotAskedFor,
    /// It is to be a copy of what lies elsewhere.
    NotAtSource,
    /// Its backend cannot hold such a volume.
    Backend {
        /// The backend.
        backend: String,
        /// What it cannot hold, and what to do instead.
        what: &'static str,
    },
    /// Kubernetes has no such node.
    NodeGone,
    /// The node takes no Pods.
    Host(HostState),
    /// The pool is on its way out.
    PoolDeleting,
    /// Another pool has its device, or its spec asks for what is not offered.
    PoolNotReady {
        /// As reported.
        message: String,
    },
    /// The node refuses the pool, or cannot find it.
    PoolState {
        /// State there.
        state: PoolState,
        /// As reported.
        message: String,
    },
    /// The pool was not made there yet.
    NotMadeYet,
    /// The node cannot make or mount this filesystem.
    NoFilesystem {
        /// Its name.
        fs: &'static str,
        /// As reported.
        detail: String,
    },
    /// Not enough is left to promise.
    NoSpace {
        /// Bytes asked.
        asked: u64,
        /// Bytes left.
        free: u64,
    },
    /// The disk is filled above the pool's watermark.
    Watermark(Watermark),
}

/// Nothing will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// From the closed list.
    pub reason: Reason,
    /// Which pools were asked for.
    pub target: Target,
    /// Whether a StoragePool of that name or tier exists at all, and on no node.
    pub pools: Vec<String>,
    /// Every pool on every node that was looked at.
    pub rejected: Vec<Rejected>,
}

/// Every pool that was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// Pools of the right name or tier, wherever they are.
    pub pools: Vec<String>,
    /// Where the volume could go, by node, then pool.
    pub possible: Vec<Space>,
    /// Where it could not.
    pub rejected: Vec<Rejected>,
}

/// Chooses.
///
/// # Errors
/// [`NoPlace`], which reads as the reason of each pool on each node.
pub fn plan_placement(world: &World, ask: &Ask) -> Result<Placed, NoPlace> {
    let Judged { pools, possible, rejected } = judge_all(world, ask);
    // Of equals the first stays, and they come in the order of their names.
    let best = possible
        .into_iter()
        .reduce(|best, space| if is_better(world, ask, &space, &best) { space } else { best });
    best.map(placed).ok_or_else(|| no_place(ask, pools, rejected))
}

/// Looks at every pool on every node.
#[must_use]
pub fn judge_all(world: &World, ask: &Ask) -> Judged {
    let mut judged = Judged::default();
    for pool in world.pools.iter().filter(|pool| matches(&ask.target, pool)) {
        judged.pools.push(name_of(&pool.metadata).to_owned());
    }
    judged.pools.sort();
    for space in observe_spaces(world).iter() {
        if !judged.pools.contains(&space.pool.name) {
            continue;
        }
        match judge(world, ask, space) {
            Some(why) => {
                let (node, pool) = (space.node.clone(), space.pool.name.clone());
                judged.rejected.push(Rejected { node, pool, why });
            }
            None => judged.possible.push(space.clone()),
        }
    }
    judged
}

/// Whether the pool is one of those asked for.
pub(crate) fn matches(target: &Target, pool: &StoragePool) -> bool {
    match target {
        Target::Pool(name) => name == name_of(&pool.metadata),
        Target::Tier(tier) => *tier == pool.spec.tier,
        Target::Any => true,
    }
}

fn is_better(world: &World, ask: &Ask, a: &Space, b: &Space) -> bool {
    let key = |space: &Space| {
        let (rank, trust) = (ask.topology.rank(&space.node), observe_trust(world, ask, space));
        (rank, trust, std::cmp::Reverse(space.free()))
    };
    key(a) < key(b)
}

/// How likely the node is to do what it will be asked; better first. A doubt closes no node: a module may be
/// loaded by the first mount, and a fault of the agent may be about another pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    Sound,
    Doubtful,
}

fn observe_trust(world: &World, ask: &Ask, space: &Space) -> Trust {
    let Some(node) = world.node(&space.node) else { return Trust::Doubtful };
    let conditions = node.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let unmounted = ask.fs_type.is_some_and(|fs| lacks(node, fs.as_str()).is_some());
    if unmounted || fault(conditions).is_some() { Trust::Doubtful } else { Trust::Sound }
}

fn placed(space: Space) -> Placed {
    let free = space.free();
    let pool_uuid = space.pool.uuid.unwrap_or_default();
    Placed { node: space.node, pool: space.pool.name, pool_uuid, free }
}

/// Why this pool on this node will not do; `None` where it will.
fn judge(world: &World, ask: &Ask, space: &Space) -> Option<Why> {
    if !ask.topology.admits(&space.node) {
        return Some(Why::NotAskedFor);
    }
    judge_source(ask, space)
        .or_else(|| judge_node(world, &space.node))
        .or_else(|| judge_pool(world, space))
        .or_else(|| judge_backend(ask, space))
        .or_else(|| judge_filesystem(world.node(&space.node)?, ask.fs_type?))
        .or_else(|| judge_space(space, ask.bytes))
}

fn judge_source(ask: &Ask, space: &Space) -> Option<Why> {
    let at = ask.at.as_ref()?;
    let here = space.node == at.node && space.pool.uuid.as_ref() == Some(&at.pool_uuid);
    (!here).then_some(Why::NotAtSource)
}

/// What subvolumes cannot be, and what only they can be.
fn judge_backend(ask: &Ask, space: &Space) -> Option<Why> {
    let backend = || space.pool.backend.clone();
    if space.pool.backend == LVM_THIN && ask.erase == Erase::Overwrite {
        let what = "erase-on-delete, since snapshots may share what would be written over: use an lvm pool";
        return Some(Why::Backend { backend: backend(), what });
    }
    if space.pool.backend != BTRFS {
        // Its size was granted while all pools that would do kept subvolumes.
        let least = Content::Filesystem(FsType::Btrfs).minimum();
        let small = ask.fs_type == Some(FsType::Btrfs) && (1..least).contains(&ask.bytes);
        let what = "a btrfs this small: ask for 109Mi or more";
        return small.then(|| Why::Backend { backend: backend(), what });
    }
    let what = match (ask.fs_type, ask.erase) {
        (None, _) => "raw block volumes: use a file pool",
        (Some(FsType::Ext4 | FsType::Xfs), _) => {
            "other filesystems: set fs-type btrfs, or use a file pool"
        }
        (Some(FsType::Btrfs), Erase::Overwrite) => {
            "erase-on-delete, since writing over a file leaves its old blocks: use a file pool"
        }
        (Some(FsType::Btrfs), Erase::Leave) => return None,
    };
    Some(Why::Backend { backend: backend(), what })
}

fn judge_node(world: &World, node: &str) -> Option<Why> {
    match world.host(node).map(|host| host.state) {
        None => Some(Why::NodeGone),
        Some(state @ (HostState::NotReady | HostState::Cordoned)) => Some(Why::Host(state)),
        Some(HostState::Ready) => None,
    }
}

fn judge_pool(world: &World, space: &Space) -> Option<Why> {
    let spec = world.pool(&space.pool.name)?;
    if spec.metadata.deletion_timestamp.is_some() {
        return Some(Why::PoolDeleting);
    }
    if let Some(why) = crate::pool::refusal(world, spec) {
        return Some(Why::PoolNotReady { message: why.message });
    }
    let message = space.pool.message.clone().unwrap_or_default();
    match (space.pool.state, &space.pool.uuid) {
        (PoolState::Ready, Some(_)) => None,
        (PoolState::Ready, None) => Some(Why::NotMadeYet),
        (state @ (PoolState::Refused | PoolState::Foreign | PoolState::Missing), _) => {
            Some(Why::PoolState { state, message })
        }
    }
}

/// The tool `mkfs.<fs>`, where the node lists it. Whether the kernel has `<fs>` loaded is no reason to refuse: a
/// module is loaded by the first mount.
fn judge_filesystem(node: &StorageNode, fs: FsType) -> Option<Why> {
    let fs = fs.as_str();
    let lacking = lacks(node, &format!("mkfs.{fs}"))?;
    let detail = lacking.detail.clone().unwrap_or_else(|| format!("{} is missing", lacking.name));
    Some(Why::NoFilesystem { fs, detail })
}

/// A facility that the node lists as not there.
fn lacks<'a>(node: &'a StorageNode, name: &str) -> Option<&'a Facility> {
    let facilities = &node.status.as_ref()?.facilities;
    facilities.iter().find(|facility| facility.name == name && !facility.available)
}

fn judge_space(space: &Space, asked: u64) -> Option<Why> {
    if asked > space.free() {
        return Some(Why::NoSpace { asked, free: space.free() });
    }
    let full = space.watermark.filter(|mark| mark.used >= mark.at)?;
    Some(Why::Watermark(full))
}

fn no_place(ask: &Ask, pools: Vec<String>, rejected: Vec<Rejected>) -> NoPlace {
    let lacks_space = |why: &Why| matches!(why, Why::NoSpace { .. } | Why::Watermark(_));
    let cannot = |rejected: &Rejected| matches!(rejected.why, Why::Backend { .. });
    let reason = if pools.is_empty() {
        Reason::NoMatchingPool
    } else if !rejected.is_empty() && rejected.iter().all(cannot) {
        Reason::NotSupported
    } else if rejected.iter().any(|rejected| lacks_space(&rejected.why)) {
        Reason::NoCapacity
    } else {
        Reason::NoNode
    };
    NoPlace { reason, target: ask.target.clone(), pools, rejected }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pools.is_empty() {
            return match &self.target {
                Target::Pool(name) => {
                    write!(f, "there is no StoragePool {name:?}: make it, or name another")
                }
                Target::Tier(tier) => write!(
                    f,
                    "there is no StoragePool of tier {tier:?}: make one, or name another tier"
                ),
                Target::Any => f.write_str("there is no StoragePool: make one"),
            };
        }
        if self.rejected.is_empty() {
            return write!(f, "no node offers {} yet", self.pools.join(", "));
        }
        f.write_str(&self.reasons().join("; "))
    }
}

impl NoPlace {
    /// The reasons that can be mended first; nodes that nobody asked for are only counted.
    fn reasons(&self) -> Vec<String> {
        let (others, asked): (Vec<&Rejected>, Vec<&Rejected>) =
            self.rejected.iter().partition(|rejected| rejected.why == Why::NotAskedFor);
        let shown = asked.iter().take(REASONS_MAX).map(ToString::to_string);
        let more = asked.len().saturating_sub(REASONS_MAX);
        let more = (more > 0).then(|| format!("and {more} more"));
        let others = (!others.is_empty())
            .then(|| format!("{} elsewhere, not among the nodes asked for", others.len()));
        shown.chain(more).chain(others).collect()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}", self.node, self.pool, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAskedFor => f.write_str("not among the nodes asked for"),
            Self::NotAtSource => {
                f.write_str("its source lies elsewhere, and a copy lies where that does")
            }
            Self::Backend { backend, what } => write!(f, "a {backend} pool cannot hold {what}"),
            Self::NodeGone => f.write_str("Kubernetes has no such node"),
            Self::Host(HostState::Cordoned) => f.write_str("the node is cordoned"),
            Self::Host(HostState::NotReady | HostState::Ready) => {
                f.write_str("the node is not ready")
            }
            Self::PoolDeleting => f.write_str("the pool is being deleted"),
            Self::PoolNotReady { message } => f.write_str(message),
            Self::PoolState { state, message } => {
                write!(f, "the pool is {state:?} there: {message}")
            }
            Self::NotMadeYet => f.write_str("the pool was not made there yet"),
            Self::NoFilesystem { fs, detail } => write!(f, "cannot make {fs}: {detail}"),
            Self::NoSpace { asked, free } => {
                write!(f, "{} asked, {} free", words(*asked), about(*free))
            }
            Self::Watermark(Watermark { what, used, at }) => {
                write!(f, "{used}% of the {what} in use, volumes refused from {at}%")
            }
        }
    }
}
