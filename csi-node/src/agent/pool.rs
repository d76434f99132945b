//! Makes this node's pools what the StoragePools ask for, and says of each what came of it. What a pool
//! gets is planned in [`super::pool_plan`], how it is made in terrace-backends.

mod known;

use std::collections::BTreeMap;
use std::path::PathBuf;

use terrace_backends::{Backend, BackendKind, backend};
use terrace_crds::node::NodePool;
use terrace_crds::pool::PoolState;
use terrace_crds::{Size, StoragePool};
use terrace_device_types::lvm::GroupView;
use terrace_device_types::{
    ClusterUid, DeviceView, ImageView, OperationId, PoolFile, PoolIntent, PoolPlace, PoolRefusal,
    PoolUuid, PoolView, Refusal, Step,
};

use self::known::validate_known;
use super::pool_plan::{Claim, Place, Refused, World, plan_claims};
use super::room::{Room, metadata_used, plan_room};
use super::{Agent, PoolFacts};
use crate::audit::Asked;
use crate::context::LookError;
use crate::fault::{self, Edge, Point, PoolWrite};
use crate::host::Host;
use crate::journal::record::Subject;
use crate::journal::{self, Journal, KnownPool};
use crate::operation::OpKind;
use crate::presence::{self, Absence};
use crate::queue::schedule::{LockKey, LockMode, Priority};
use crate::runner::{self, AGENT_PATIENCE, Job, Outcome};

/// A device takes two looks: made and mounted, then marked; a volume group four. One more proves that nothing is left.
const ROUNDS: usize = 8;
/// A change of size below one part in so many is not worth a write (I8).
const MOVED_PART: u64 = 100;

/// Where pools may lie on this node.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// Folders below which a pool may name its own.
    pub roots: Vec<PathBuf>,
    /// Where disks of pools are mounted.
    pub mounts: PathBuf,
}

/// Makes every pool and says what came of it, in the order of their names.
pub async fn pass(
    agent: &Agent,
    pools: &[&StoragePool],
    labels: &BTreeMap<String, String>,
    allowed: &Allowed,
    devices: &[DeviceView],
    before: &[NodePool],
) -> Vec<NodePool> {
    let Some(cluster) = agent.context.cluster() else { return before.to_vec() };
    let known = agent.context.pools.all();
    let world = World {
        node: &agent.node,
        labels,
        cluster: &cluster,
        roots: &allowed.roots,
        mounts: &allowed.mounts,
        devices,
        known: &known,
    };
    forget_empty(agent, &cluster, pools, &known).await;
    let mut reports = Vec::new();
    for claim in plan_claims(pools, &world) {
        let there = before.iter().find(|pool| pool.name == claim.name);
        reports.push(one(agent, claim, &cluster, &known, there).await);
    }
    reports.sort_by(|one, two| one.name.cmp(&two.name));
    reports
}

/// Forgets pools whose StoragePool is gone and that hold nothing: a new one in the same folder is new.
async fn forget_empty(
    agent: &Agent,
    cluster: &ClusterUid,
    pools: &[&StoragePool],
    known: &[KnownPool],
) {
    let is_asked_for = |known: &&KnownPool| {
        pools.iter().any(|pool| pool.metadata.name.as_ref() == Some(&known.name))
    };
    for pool in known.iter().filter(|known| !is_asked_for(known)) {
        let (there, mine) = (pool.clone(), cluster.clone());
        let seen = agent.context.look(move |host| presence::images(host, &there, &mine)).await;
        let is_left = match seen {
            Ok(Ok(images)) => images.is_empty(),
            Ok(Err(Absence::Unmarked { .. } | Absence::Other { .. } | Absence::Foreign { .. })) => {
                is_unused(agent, pool.uuid)
            }
            // It may be there all the same.
            Ok(Err(Absence::Unreadable { .. } | Absence::Look(_))) | Err(_) => false,
        };
        if !is_left {
            continue;
        }
        let forget = |journal: &Journal| agent.context.pools.forget(pool.uuid, journal);
        if let Err(error) = remember(agent, PoolWrite::Forget, forget).await {
            let error = error.chain();
            tracing::error!(error, pool = pool.name, "a pool that is gone is still remembered");
        }
    }
}

/// One write to the journal about pools, between its fault points.
async fn remember(
    agent: &Agent,
    what: PoolWrite,
    write: impl FnOnce(&Journal) -> Result<(), journal::Error> + Send,
) -> Result<(), runner::Error> {
    let runner = &agent.context.runner;
    fault::pass(&*runner.faults, Point::JournalPool(what, Edge::Before)).await?;
    write(&runner.journal)?;
    Ok(fault::pass(&*runner.faults, Point::JournalPool(what, Edge::After)).await?)
}

/// Whether no object here, and nothing begun, names a pool whose disk is gone too. Remembered, it would leave every look
/// for an unknown volume in doubt, for good. What is on the disk stays there: a StoragePool that names it finds it again.
fn is_unused(agent: &Agent, uuid: PoolUuid) -> bool {
    let begun = agent.context.runner.journal.open_operations();
    let begun = begun.map(|all| all.iter().any(|record| record.subject.pool == Some(uuid)));
    let unused = agent.objects.pools().is_some_and(|used| !used.contains(&uuid));
    unused && matches!(begun, Ok(false))
}

/// Why a pool is not in service.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// It gets nothing here.
    #[error(transparent)]
    Claim(#[from] Refused),
    /// It could not be made.
    #[error(transparent)]
    Run(#[from] runner::Error),
    /// The host does not answer.
    #[error(transparent)]
    Look(#[from] LookError),
    /// Its device carries something else now.
    #[error(
        "device {device} was pool {uuid} and is {found} now: it is not formatted again. If it was replaced on purpose, delete the StoragePool and make it again"
    )]
    Wiped {
        /// The device.
        device: String,
        /// What it was.
        uuid: PoolUuid,
        /// What is on it.
        found: String,
    },
    /// It was there and is not now.
    #[error(
        "{dir} was pool {uuid} and is not marked as one now: is its disk mounted? If it was emptied on purpose, delete the StoragePool and make it again"
    )]
    Gone {
        /// Where it was.
        dir: String,
        /// What it was.
        uuid: PoolUuid,
    },
}

impl Fault {
    fn state(&self) -> PoolState {
        match self {
            Self::Gone { .. } | Self::Wiped { .. } => PoolState::Missing,
            Self::Run(runner::Error::Refused(Refusal::Pool(PoolRefusal::Foreign { .. }))) => {
                PoolState::Foreign
            }
            Self::Claim(_) | Self::Run(_) | Self::Look(_) => PoolState::Refused,
        }
    }
}

async fn one(
    agent: &Agent,
    claim: Claim,
    cluster: &ClusterUid,
    known: &[KnownPool],
    there: Option<&NodePool>,
) -> NodePool {
    let Claim { name, tier, backend: kind, allocation, place, also } = claim;
    let facts = PoolFacts { name: name.clone(), tier: tier.clone(), backend: kind, allocation };
    let absent = match &place {
        Ok((_, Place::Group { absent, .. })) if !absent.is_empty() => Some(absent.clone()),
        Ok(_) | Err(_) => None,
    };
    let made = match place {
        Ok((uuid, place)) => make(agent, &name, uuid, kind, &place, cluster, known).await,
        Err(refused) => Err(refused.into()),
    };
    let backend = kind.as_str().to_owned();
    match made {
        Ok((uuid, view, images)) => {
            let absent = absent.map(|names| {
                format!("named and not there: no device of this node is {}", names.join(", nor "))
            });
            let said =
                [lacking(&view), absent].into_iter().flatten().reduce(|all, one| all + "; " + &one);
            agent.facts().insert(uuid, facts);
            let Room { capacity, free } = plan_room(&view, &images);
            let settled = |now: u64, was: Option<&Size>| Some(settle(now, was));
            NodePool {
                name,
                uuid: Some(uuid.to_string()),
                tier,
                backend,
                state: PoolState::Ready,
                capacity: settled(capacity, there.and_then(|pool| pool.capacity.as_ref())),
                free: settled(free, there.and_then(|pool| pool.free.as_ref())),
                metadata_used: metadata_used(&view),
                unhealthy: lacking(&view),
                message: also
                    .map(|other| {
                        format!(
                            "pool {other} asks for the same place and is refused: this one is older"
                        )
                    })
                    .or(said),
            }
        }
        Err(fault) => {
            let message = super::report::chain(&fault);
            if there.and_then(|pool| pool.message.as_ref()) != Some(&message) {
                tracing::warn!(pool = name, message, "a pool is not in service");
            }
            let uuid = there.and_then(|pool| pool.uuid.clone());
            let state = fault.state();
            NodePool {
                name,
                uuid,
                tier,
                backend,
                state,
                capacity: None,
                free: None,
                metadata_used: None,
                unhealthy: None,
                message: Some(message),
            }
        }
    }
}

/// What is served and what is not while the pool's volume group lacks a device.
fn lacking(view: &PoolView) -> Option<String> {
    let GroupView { name, missing, .. } = view.group.as_ref()?;
    (*missing > 0).then(|| {
        format!(
            "volume group {name} lacks {missing} of its devices: volumes on the others are served, and none is made, grown or deleted until they are attached"
        )
    })
}

async fn make(
    agent: &Agent,
    name: &str,
    uuid: PoolUuid,
    kind: BackendKind,
    place: &Place,
    cluster: &ClusterUid,
    known: &[KnownPool],
) -> Result<(PoolUuid, PoolView, Vec<ImageView>), Fault> {
    let dir = place.dir().to_owned();
    let uuid = validate_known(agent, name, uuid, kind, place, cluster, known).await?;
    let file = PoolFile {
        pool_uuid: uuid,
        cluster_uid: cluster.clone(),
        pool: name.to_owned(),
        backend: kind,
    };
    for _ in 0..ROUNDS {
        if run(agent, &file, place).await? == Outcome::Already {
            break;
        }
    }
    let at = dir.clone();
    let look = agent.context.look(move |host| Ok((host.pool(&at)?, host.images(&at)?))).await?;
    let (view, images) = look.map_err(runner::Error::Observe)?;
    let pool = KnownPool {
        uuid,
        name: name.to_owned(),
        dir: dir.clone(),
        device: match place {
            Place::Device { device, .. } => Some(device.id.clone()),
            Place::Directory(_) | Place::Group { .. } => None,
        },
        devices: match place {
            Place::Group { .. } => all_devices(place.device_ids(), &view, known),
            Place::Directory(_) | Place::Device { .. } => Vec::new(),
        },
    };
    let put = |journal: &Journal| journal.put_pool(&pool);
    agent.context.pools.take_in(&pool);
    // Asked of the journal itself: a write that failed is made up for by the next pass.
    let is_known = agent.context.runner.journal.pools().is_ok_and(|known| known.contains(&pool));
    if !is_known && let Err(error) = remember(agent, PoolWrite::Put, put).await {
        tracing::error!(error = error.chain(), pool = name, "a pool is served but not remembered");
    }
    Ok((uuid, view, images))
}

/// Those that are there; while the group lacks some also those that it had, so that the one that is gone can be named.
fn all_devices(there: Vec<String>, view: &PoolView, known: &[KnownPool]) -> Vec<String> {
    let Some(GroupView { missing: 1.., .. }) = &view.group else { return there };
    let before = known.iter().find(|pool| pool.dir == view.dir);
    let gone = before.map_or(&[][..], |pool| &pool.devices).iter();
    let gone: Vec<String> = gone.filter(|id| !there.contains(id)).cloned().collect();
    let mut all: Vec<String> = there.into_iter().chain(gone).collect();
    all.sort();
    all
}

async fn run(agent: &Agent, file: &PoolFile, place: &Place) -> Result<Outcome, runner::Error> {
    let devices = place.device_ids();
    let locks = devices.into_iter().map(|id| (LockKey::Device(id), LockMode::Exclusive));
    let pool = (LockKey::Pool(file.pool_uuid.0), LockMode::Exclusive);
    let subject =
        Subject { pool: Some(file.pool_uuid), name: file.pool.clone(), ..Subject::default() };
    let pool_name = file.pool.clone();
    let job = Job {
        kind: OpKind::PreparePool,
        subject,
        locks: locks.chain([pool]).collect(),
        priority: Priority::Agent,
        patience: AGENT_PATIENCE,
        asked: Asked::Pool,
    };
    let (file, place) = (file.clone(), place.clone());
    // Most passes find nothing to do: that is looked up without the locks, so that volumes go on.
    let (quick_file, quick_place) = (file.clone(), place.clone());
    let idle = agent.context.look(move |host| {
        plan(host, &quick_file, &quick_place).is_ok_and(|steps| steps.is_empty())
    });
    match idle.await {
        Ok(true) => return Ok(Outcome::Already),
        Ok(false) => {}
        Err(LookError::Hangs { after_s }) => {
            let step = format!("look at pool {pool_name}");
            return Err(runner::Error::Hangs { step, after_s });
        }
        // The operation meets the same and says so.
        Err(LookError::Panicked) => {}
    }
    let steps = move |host: &dyn Host, _: &OperationId| plan(host, &file, &place);
    agent.context.runner.run(job, steps).await
}

fn plan(host: &dyn Host, file: &PoolFile, place: &Place) -> Result<Vec<Step>, runner::Error> {
    let view = host.pool(place.dir()).map_err(runner::Error::Observe)?;
    let mounts = host.mounts().map_err(runner::Error::Observe)?.mounts;
    let place = match place {
        Place::Directory(_) => PoolPlace::Directory,
        Place::Device { device, wipe, dir } => {
            let mounted = mounts.iter().rev().find(|mount| mount.at == *dir);
            let ours = mounted.is_some_and(|mount| mount.stands_on(device));
            // What is mounted already needs no look at its signature (I8).
            let device = if ours {
                device.clone()
            } else {
                Box::new(host.probe_device((**device).clone()).map_err(runner::Error::Observe)?)
            };
            PoolPlace::Device { device, wipe: wipe.clone() }
        }
        Place::Group { devices, absent: _, dir: _ } => {
            let group = host.group(devices.clone(), file.pool_uuid);
            PoolPlace::Group(Box::new(group.map_err(runner::Error::Observe)?))
        }
    };
    let backend: &dyn Backend = backend(file.backend);
    let intent = PoolIntent::Make { file: file.clone(), place };
    Ok(backend.plan_pool(&intent, &view, &mounts)?)
}

/// What is reported stays as it is until it has moved far enough.
fn settle(now: u64, was: Option<&Size>) -> Size {
    match was.and_then(|was| Some((was, was.bytes().ok()?))) {
        Some((was, bytes)) if bytes.abs_diff(now) < (now / MOVED_PART).max(1) => was.clone(),
        Some(_) | None => Size::from_bytes(now - now % (1 << 20)),
    }
}
