//! What a StoragePool is worth on all nodes: its sums, whether it can work at all, and its finalizer. Pure.

use jiff::Timestamp;
use terrace_crds::condition::{ConditionType, Reason, Truth, Verdict};
use terrace_crds::names::FINALIZER_POOL;
use terrace_crds::pool::{PoolOnNode, PoolState, StoragePoolSpec, StoragePoolStatus};
use terrace_crds::volume::Assignment;
use terrace_crds::{Size, StoragePool};

use crate::effect::{Effect, ObjectRef, finalizers_without};
use crate::plan::{Next, Plan};
use crate::size::about;
use crate::space::{Space, observe_spaces};
use crate::world::{World, name_of};

/// Most nodes that a pool's status lists, as the schema bounds it.
const NODES_MAX: usize = 1000;

/// Most volumes, and most snapshots, that a sentence names.
const NAMED_MAX: usize = 5;

/// A pool that cannot work as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// From the closed list.
    pub reason: Reason,
    /// Cause and remedy.
    pub message: String,
}

/// Why the pool cannot work as written, whatever the nodes say; `None` where it can.
#[must_use]
pub fn refusal(world: &World, pool: &StoragePool) -> Option<Refusal> {
    if backend_of(pool).is_none() {
        let message =
            "its backend is not part of this release: use spec.file, spec.btrfs, spec.lvm or spec.lvmThin"
                .to_owned();
        return Some(Refusal { reason: Reason::NotSupported, message });
    }
    let (other, what) = conflict(world, pool)?;
    let other = name_of(&other.metadata);
    let message = format!("the older pool {other:?} has {what}: name another");
    Some(Refusal { reason: Reason::Conflict, message })
}

/// The backend that the pool names.
fn backend_of(pool: &StoragePool) -> Option<&'static str> {
    let StoragePoolSpec { file, btrfs, lvm, lvm_thin, .. } = &pool.spec;
    match (file, btrfs, lvm, lvm_thin) {
        (Some(_), _, _, _) => Some("file"),
        (None, Some(_), _, _) => Some("btrfs"),
        (None, None, Some(_), _) => Some("lvm"),
        (None, None, None, Some(_)) => Some("lvmThin"),
        (None, None, None, None) => None,
    }
}

/// An older pool that asks for the same device or folder.
fn conflict<'a>(world: &'a World, pool: &StoragePool) -> Option<(&'a StoragePool, String)> {
    let age = |pool: &StoragePool| {
        let born = pool.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (born, name_of(&pool.metadata).to_owned())
    };
    let mine = claims(pool);
    let mut older: Vec<&StoragePool> =
        world.pools.iter().map(AsRef::as_ref).filter(|other| age(other) < age(pool)).collect();
    older.sort_by_key(|other| age(other));
    older.into_iter().find_map(|other| {
        let theirs = claims(other);
        let shared = mine.iter().find(|claim| theirs.contains(claim))?;
        may_share_a_node(pool, other).then(|| (other, shared.clone()))
    })
}

/// What a pool asks to have for itself, in words.
fn claims(pool: &StoragePool) -> Vec<String> {
    let devices = pool.spec.devices.iter().filter_map(|device| device.id.as_ref());
    let file = pool.spec.file.as_ref().and_then(|file| file.directory.as_ref());
    let btrfs = pool.spec.btrfs.as_ref().and_then(|btrfs| btrfs.directory.as_ref());
    let folder = file.or(btrfs);
    devices
        .map(|id| format!("device {id}"))
        .chain(folder.map(|path| format!("folder {}", path.trim_end_matches('/'))))
        .collect()
}

/// Two selectors cannot match one node if they want different values of one label.
fn may_share_a_node(a: &StoragePool, b: &StoragePool) -> bool {
    let other = &b.spec.node_selector;
    a.spec
        .node_selector
        .iter()
        .all(|(key, value)| other.get(key).is_none_or(|there| there == value))
}

/// What to do for the pool of this name, and what to say about it.
#[must_use]
pub fn plan_pool(world: &World, pool: &StoragePool, now: Timestamp) -> Plan {
    let name = name_of(&pool.metadata);
    let spaces: Vec<Space> =
        observe_spaces(world).iter().filter(|space| space.pool.name == name).cloned().collect();
    let lying = observe_lying(world, name, &spaces);
    let mut effects = plan_finalizer(pool, &lying);
    let verdict = waits_for(pool, &lying).unwrap_or_else(|| judge(world, pool, &spaces));
    let volumes = u32::try_from(lying.volumes.len()).unwrap_or(u32::MAX);
    let status = sum(pool, &spaces, volumes, &verdict, now);
    if pool.status.as_ref() != Some(&status) && !is_gone_with(pool, &effects) {
        effects.push(Effect::ReportPool {
            pool: ObjectRef::of(&pool.metadata),
            status: Box::new(status),
        });
    }
    Plan { effects, verdicts: vec![verdict], said: Vec::new(), next: Next::Change }
}

/// Releasing the last finalizer of a deleted object ends it: there is nothing left to report on.
fn is_gone_with(pool: &StoragePool, effects: &[Effect]) -> bool {
    let released = effects.iter().any(|effect| matches!(effect, Effect::ReleasePool { .. }));
    pool.metadata.deletion_timestamp.is_some() && released
}

fn plan_finalizer(pool: &StoragePool, lying: &Lying<'_>) -> Vec<Effect> {
    let finalizers = pool.metadata.finalizers.as_deref().unwrap_or_default();
    let held = finalizers.iter().any(|finalizer| finalizer == FINALIZER_POOL);
    let at = || ObjectRef::of(&pool.metadata);
    let others = finalizers_without(&pool.metadata, FINALIZER_POOL);
    let leaving = pool.metadata.deletion_timestamp.is_some();
    let used = !(lying.volumes.is_empty() && lying.snapshots.is_empty());
    match (used, held) {
        (true, false) if !leaving => {
            let finalizers = others.into_iter().chain([FINALIZER_POOL.to_owned()]).collect();
            vec![Effect::HoldPool { pool: at(), finalizers }]
        }
        (false, true) => vec![Effect::ReleasePool { pool: at(), finalizers: others }],
        (true, _) | (false, false) => Vec::new(),
    }
}

/// What lies on a pool, by name, in order.
struct Lying<'a> {
    volumes: Vec<&'a str>,
    snapshots: Vec<&'a str>,
}

/// What lies on the pool: by its UUIDs, and by its name where the node lists nothing just now.
fn observe_lying<'a>(world: &'a World, name: &str, spaces: &[Space]) -> Lying<'a> {
    let here = |uuid: &str| spaces.iter().any(|space| space.pool.uuid.as_deref() == Some(uuid));
    let lies_on_it = |place: Option<&Assignment>, named: Option<&str>| {
        place.is_some_and(|place| here(&place.pool_uuid) || named == Some(name))
    };
    let volumes = world.volumes.iter().filter(|volume| {
        let reported = volume.status.as_ref().and_then(|status| status.pool.as_deref());
        lies_on_it(volume.spec.assignment.as_ref(), reported.or(volume.spec.pool.as_deref()))
    });
    let snapshots = world.snapshots.iter().filter(|snapshot| {
        let reported = snapshot.status.as_ref().and_then(|status| status.pool.as_deref());
        lies_on_it(snapshot.spec.assignment.as_ref(), reported)
    });
    let mut volumes: Vec<&str> = volumes.map(|volume| name_of(&volume.metadata)).collect();
    let mut snapshots: Vec<&str> = snapshots.map(|snapshot| name_of(&snapshot.metadata)).collect();
    volumes.sort_unstable();
    snapshots.sort_unstable();
    Lying { volumes, snapshots }
}

/// Of a pool that is being deleted: what it is kept for, and the way out.
fn waits_for(pool: &StoragePool, lying: &Lying<'_>) -> Option<Verdict> {
    let Lying { volumes, snapshots } = lying;
    let lines = [named("StorageVolumes", volumes), named("StorageSnapshots", snapshots)];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    if pool.metadata.deletion_timestamp.is_none() || lines.is_empty() {
        return None;
    }
    let message = format!(
        "the deletion waits for {}: delete their claims and VolumeSnapshots, and the pool goes with the last of them",
        lines.join(" and ")
    );
    Some(Verdict::new(ConditionType::Ready, Truth::False, Reason::HasVolumes, message))
}

fn named(what: &str, names: &[&str]) -> Option<String> {
    let (shown, rest) = names.split_at(names.len().min(NAMED_MAX));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    (!names.is_empty()).then(|| format!("{what} {}{more}", shown.join(", ")))
}

fn judge(world: &World, pool: &StoragePool, spaces: &[Space]) -> Verdict {
    let say =
        |truth, reason, message: String| Verdict::new(ConditionType::Ready, truth, reason, message);
    if let Some(Refusal { reason, message }) = refusal(world, pool) {
        return say(Truth::False, reason, message);
    }
    let ready = spaces.iter().filter(|space| space.pool.state == PoolState::Ready).count();
    let faults: Vec<String> =
        spaces.iter().filter(|space| space.pool.state != PoolState::Ready).map(fault).collect();
    match (ready, faults.is_empty()) {
        (0, true) => say(Truth::False, Reason::NoNode, "no node offers it yet".into()),
        (0, false) => say(Truth::False, Reason::NoNode, faults.join("; ")),
        (_, true) => {
            say(Truth::True, Reason::AsExpected, format!("ready on {ready} of {ready} nodes"))
        }
        (_, false) => {
            let all = spaces.len();
            let message = format!("ready on {ready} of {all} nodes; {}", faults.join("; "));
            say(Truth::True, Reason::PartlyReady, message)
        }
    }
}

/// What speaks against its disks, node by node.
fn healthy(spaces: &[Space]) -> Verdict {
    let kind = ConditionType::Healthy;
    let hurt = |space: &Space| {
        let said = space.pool.unhealthy.as_ref();
        let gone = (space.pool.state == PoolState::Missing).then_some(&space.pool.message);
        let why = said.or(gone.and_then(Option::as_ref))?;
        Some(format!("{}: {why}", space.node))
    };
    let hurt: Vec<String> = spaces.iter().filter_map(hurt).collect();
    if !hurt.is_empty() {
        return Verdict::new(kind, Truth::False, Reason::DiskFailing, hurt.join("; "));
    }
    if spaces.is_empty() {
        return Verdict::new(kind, Truth::Unknown, Reason::NoNode, "no node offers it yet");
    }
    Verdict::new(kind, Truth::True, Reason::AsExpected, "no fault of its disks is known")
}

fn fault(space: &Space) -> String {
    let why = space.pool.message.as_deref().unwrap_or("no reason given");
    format!("{}: {:?}, {why}", space.node, space.pool.state)
}

fn sum(
    pool: &StoragePool,
    spaces: &[Space],
    volumes: u32,
    verdict: &Verdict,
    now: Timestamp,
) -> StoragePoolStatus {
    let usable = || spaces.iter().filter(|space| space.pool.state == PoolState::Ready);
    let there = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let generation = pool.metadata.generation.unwrap_or(0);
    StoragePoolStatus {
        backend: backend_of(pool).map(str::to_owned),
        nodes_ready: Some(format!("{}/{}", usable().count(), spaces.len())),
        capacity: Some(shown(usable().map(|space| space.limit).sum())),
        available: Some(shown(usable().map(Space::free).sum())),
        volumes,
        nodes: spaces.iter().take(NODES_MAX).map(on_node).collect(),
        conditions: vec![
            verdict.against(there, generation, now),
            healthy(spaces).against(there, generation, now),
        ],
    }
}

fn on_node(space: &Space) -> PoolOnNode {
    let ready = space.pool.state == PoolState::Ready;
    PoolOnNode {
        node: space.node.clone(),
        state: space.pool.state,
        capacity: ready.then(|| shown(space.limit)),
        available: ready.then(|| shown(space.free())),
        message: space.pool.message.clone(),
    }
}

/// A size as `kubectl get` shows it.
fn shown(bytes: u64) -> Size {
    about(bytes).parse().unwrap_or_else(|_| Size::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use terrace_crds::node::NodePool;

    use super::*;

    fn space(node: &str, state: PoolState, unhealthy: Option<&str>) -> Space {
        let pool = NodePool {
            name: "fast".into(),
            uuid: None,
            tier: "ssd".into(),
            backend: "lvm".into(),
            state,
            capacity: None,
            free: None,
            metadata_used: None,
            unhealthy: unhealthy.map(str::to_owned),
            message: Some("it is not marked as one".into()),
        };
        Space { node: node.into(), pool, limit: 0, promised: 0, watermark: None }
    }

    #[test]
    fn a_pool_is_as_healthy_as_its_worst_disk_though_it_takes_volumes() {
        let well = space("a", PoolState::Ready, None);
        let ill = space("b", PoolState::Ready, Some("disk wwn-1 (/dev/sdb) fails"));
        let gone = space("c", PoolState::Missing, None);
        let refused = space("d", PoolState::Refused, None);
        assert_eq!(healthy(&[well.clone(), refused]).truth, Truth::True);
        let verdict = healthy(&[well, ill, gone]);
        assert_eq!((verdict.truth, verdict.reason), (Truth::False, Reason::DiskFailing));
        let said = "b: disk wwn-1 (/dev/sdb) fails; c: it is not marked as one";
        assert_eq!(verdict.message, said);
        assert_eq!(healthy(&[]).truth, Truth::Unknown);
    }
}
