//! Everybody who asks: a person with claims, the provisioner sidecar that calls until it has an answer, the kubelet that
//! stages for Pods, a Pod that writes once and reads ever after. The CSI controller's own decisions are the real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use terrace_crds::StorageVolume;
use terrace_crds::condition::{ConditionType, is_true};
use terrace_crds::volume::FsType;
use terrace_device_types::{self as host, Intent, Sharing, VolumeUuid};
use terrace_node::fault::Rpc;
use terrace_node::operation::OpKind;
use terrace_operator::method::Method;
use terrace_plan::capability::{Access, AccessMode, Capability};
use terrace_plan::create::{CreateAsked, Original, ValidCreate, validate_create};
use terrace_plan::delete::{plan_adopt_for_deletion, plan_delete};
use terrace_plan::effect::Effect;
use terrace_plan::grow::{Growth, plan_grow};
use terrace_plan::size::Asked;
use terrace_plan::topology::Topology;
use terrace_plan::volume::conditions_of;
use terrace_plan::world::{Persistent, PersistentPhase, Reclaim};
use uuid::Uuid;

use crate::agent::{mode_of, stage_intent};
use crate::api::{Api, Claim, Pv};
use crate::cache::Cache;
use crate::host::Content;
use crate::operator::{Desk, Goes};
use crate::rng::Rng;
use crate::run::{End, Process};
use crate::world::Trouble;

/// What the callers remember by themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Callers {
    /// Claims for which CreateVolume was called and has not answered for good.
    pub(crate) asking: BTreeMap<String, Claim>,
    /// Volumes for which DeleteVolume was called.
    pub(crate) deleting: BTreeSet<String>,
    /// Claims ever made: no name comes twice, whatever is restored.
    pub(crate) made: u64,
    /// Volumes that a kubelet began to stage and has not been told are unstaged, and where: it keeps that on its own disk,
    /// whatever the API server says of the volume later.
    pub(crate) staged: BTreeMap<String, Place>,
    /// Volumes that were grown, and whose kubelet has not been told that the filesystem followed.
    pub(crate) growing: BTreeSet<String>,
}

/// The volume's UUID and node, as the PV's attributes and topology say.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) node: usize,
    pub(crate) uuid: VolumeUuid,
    pub(crate) volume: StorageVolume,
}

pub(crate) const CLUSTER: Uuid = Uuid::from_u128(0xc1);

/// What is asked for; a copy is of what its source is.
fn valid(name: &str, mib: u64, source: Option<&StorageVolume>) -> Option<ValidCreate> {
    let filesystems = ["ext4", "xfs", "btrfs"];
    let fs_type = filesystems[name.len() % 3].to_owned();
    let fs_type =
        source.map_or(Some(fs_type), |source| source.spec.fs_type.map(|fs| fs.as_str().to_owned()));
    let fs_type = fs_type.filter(|_| source.is_some() || !name.ends_with('3'));
    validate_create(CreateAsked {
        name: name.to_owned(),
        size: Asked { required: mib << 20, limit: 0 },
        capabilities: vec![Capability {
            mode: AccessMode::SingleNodeWriter,
            access: fs_type
                .map_or(Access::Block, |fs_type| Access::Mount { fs_type, flags: Vec::new() }),
        }],
        parameters: BTreeMap::from([("terrace.storage/tier".to_owned(), "ssd".to_owned())]),
        mutable: BTreeMap::new(),
        topology: Topology::default(),
        original: source.map(|source| Original::of_volume(source).unwrap()),
        default_fs: FsType::Xfs,
    })
    .ok()
}

impl Callers {
    /// A person makes or deletes a claim.
    pub(crate) fn person(&mut self, api: &mut Api, trouble: Trouble, rng: &mut Rng) {
        let names: Vec<String> = api.claims.keys().cloned().collect();
        if names.len() < 6 && !rng.once_in(3) {
            self.made += 1;
            let is_bound = |name: &&String| api.pvs.get(*name).is_some_and(|pv| !pv.released);
            let bound: Vec<String> = names.iter().filter(is_bound).cloned().collect();
            // Where sources go by force, what a copy of one may wait for is not judged here.
            let copies = trouble != Trouble::Force && rng.once_in(3);
            let of = if copies { rng.pick(&bound) } else { None };
            let least = of.as_ref().and_then(|of| api.least_of_copy(of)).unwrap_or(300);
            let mib = least + rng.below(700) as u64;
            let name = format!("{}-{}", "p".repeat(1 + rng.below(3)), self.made);
            api.claims.insert(name, Claim { mib, of });
            return;
        }
        let Some(name) = rng.pick(&names) else { return };
        // The claim goes once no Pod uses it; the kubelet may still have to unmount.
        api.claims.remove(&name);
        if let Some(pv) = api.pvs.get_mut(&name) {
            pv.released = true;
        }
    }

    /// The provisioner: one call for one name.
    pub(crate) fn provision(
        &mut self,
        desk: &mut Desk<'_>,
        cache: &Cache,
        places: &mut BTreeMap<String, Place>,
    ) {
        for (name, claim) in &desk.api.claims {
            if !desk.api.pvs.contains_key(name) {
                self.asking.insert(name.clone(), claim.clone());
            }
        }
        let pvs = desk.api.pvs.iter();
        let released = pvs.filter(|(_, pv)| pv.released).map(|(name, _)| name.clone());
        let mut names: Vec<String> = self.asking.keys().cloned().chain(released).collect();
        names.dedup();
        let Some(name) = desk.rng.pick(&names) else { return };
        self.call(&name, desk, cache, places);
    }

    pub(crate) fn call(
        &mut self,
        name: &str,
        desk: &mut Desk<'_>,
        cache: &Cache,
        places: &mut BTreeMap<String, Place>,
    ) {
        match (desk.api.pvs.get(name), self.asking.get(name).cloned()) {
            (Some(pv), _) if pv.released => self.delete_volume(name, desk, cache),
            (Some(_), _) => {
                self.asking.remove(name);
            }
            (None, Some(claim)) => self.create_volume(name, &claim, desk, places),
            (None, None) => {}
        }
    }

    fn create_volume(
        &mut self,
        name: &str,
        claim: &Claim,
        desk: &mut Desk<'_>,
        places: &mut BTreeMap<String, Place>,
    ) {
        let source = match &claim.of {
            None => None,
            Some(of) => match desk.api.volumes.get(of) {
                Some(source) if source.spec.volume_uuid.is_some() => Some(source.clone()),
                // What is to be copied is gone, or not named yet: NotFound, until it is there or nobody asks.
                Some(_) | None => return self.forget(name, desk),
            },
        };
        // Too small by now for what it is to begin with: its owner is told.
        let Some(valid) = valid(name, claim.mib, source.as_deref()) else {
            return self.forget(name, desk);
        };
        let Some(there) = desk.api.volumes.get(&valid.name.name).cloned() else {
            // Another replica may have been first; the next call sees it.
            let volume = Box::new(valid.volume(CLUSTER, None));
            desk.change(Effect::CreateVolume { volume });
            return;
        };
        if there.metadata.deletion_timestamp.is_some() || valid.check_same(&there).is_err() {
            return;
        }
        let (Some(assignment), Some(uuid)) = (&there.spec.assignment, &there.spec.volume_uuid)
        else {
            return;
        };
        let is_ready = is_true(conditions_of(&there), ConditionType::Ready);
        if !is_ready || desk.reply(Method::CreateVolume) == Goes::Off {
            return;
        }
        let node = if assignment.node == "node-0" { 0 } else { 1 };
        let place =
            Place { node, uuid: uuid.parse().unwrap(), volume: StorageVolume::clone(&there) };
        places.insert(name.to_owned(), place);
        let persistent = bound(name, &valid.name.name);
        let released = !desk.api.claims.contains_key(name);
        desk.api.pvs.insert(name.to_owned(), Pv { persistent, released });
        self.asking.remove(name);
    }

    /// A claim that is gone, and of which the API server has nothing, is not asked for any more.
    fn forget(&mut self, name: &str, desk: &Desk<'_>) {
        if !desk.api.claims.contains_key(name) && !desk.api.volumes.contains_key(name) {
            self.asking.remove(name);
        }
    }

    fn delete_volume(&mut self, name: &str, desk: &mut Desk<'_>, cache: &Cache) {
        let asked_before = !self.deleting.insert(name.to_owned());
        let Some(there) = desk.api.volumes.get(name).cloned() else {
            if asked_before && desk.rng.once_in(2) {
                return self.was_waited_for(name, desk, cache);
            }
            match adopt_for_deletion(name, desk, cache) {
                Some(effect) => drop(desk.change(effect)),
                None if desk.reply(Method::DeleteVolume) == Goes::Off => {}
                None => {
                    desk.api.pvs.remove(name);
                    self.deleting.remove(name);
                }
            }
            return;
        };
        stamp_and_delete(&there, desk);
    }

    /// The call that deleted it waited until it was gone. The sidecar may call once more, for a PersistentVolume that it has
    /// not seen go, and never again; the nodes may still list what they removed.
    fn was_waited_for(&mut self, name: &str, desk: &mut Desk<'_>, cache: &Cache) {
        if desk.reply(Method::DeleteVolume) == Goes::Off {
            return;
        }
        desk.api.pvs.remove(name);
        self.deleting.remove(name);
        if !desk.rng.once_in(2) {
            return;
        }
        let Some(effect) = adopt_for_deletion(name, desk, cache) else { return };
        if desk.change(effect) == Goes::Off {
            return;
        }
        if let Some(there) = desk.api.volumes.get(name).cloned() {
            stamp_and_delete(&there, desk);
        }
    }

    /// A DeleteVolume that nobody should have sent: the claim is bound. The node must find out by itself.
    pub(crate) fn stray_delete(desk: &mut Desk<'_>) {
        let pvs = desk.api.pvs.iter();
        let bound: Vec<String> =
            pvs.filter(|(_, pv)| !pv.released).map(|(name, _)| name.clone()).collect();
        let there = desk.rng.pick(&bound).and_then(|name| desk.api.volumes.get(&name).cloned());
        if let Some(there) = there {
            stamp_and_delete(&there, desk);
        }
    }

    /// ControllerExpandVolume for a bound claim.
    pub(crate) fn grow(&mut self, desk: &mut Desk<'_>, cache: &Cache) {
        let pvs = desk.api.pvs.iter();
        let bound: Vec<String> =
            pvs.filter(|(_, pv)| !pv.released).map(|(name, _)| name.clone()).collect();
        let Some(name) = desk.rng.pick(&bound) else { return };
        let Some(volume) = cache.volume(&name) else { return };
        let awaited = |claim: &Claim| claim.of.as_ref() == Some(&name);
        let mut copies = desk.api.claims.iter().filter(|(_, claim)| awaited(claim));
        if copies.any(|(copy, _)| !desk.api.pvs.contains_key(copy)) {
            // A claim would be too small for good for what it is to begin with, and its owner is told: no history of ours.
            return;
        }
        let has = volume.spec.capacity.bytes().unwrap();
        let asked = Asked { required: has + (100 << 20), limit: 0 };
        if let Ok(Growth::Grow { effect, .. }) = plan_grow(&cache.world, &volume, asked)
            && desk.change(*effect) == Goes::On
            && desk.reply(Method::ControllerExpandVolume) == Goes::On
        {
            self.growing.insert(name);
        }
    }

    /// The kubelet stages a bound volume and gives it to a Pod, grows it there, or takes it back; the Pod writes on the
    /// first stage, reads on every other.
    pub(crate) fn kubelet(
        &mut self,
        api: &Api,
        name: &str,
        place: &Place,
        process: &mut Process<'_>,
    ) {
        let bound = api.pvs.get(name).is_some_and(|pv| !pv.released);
        let is_staged = self.staged.contains_key(name);
        if is_staged && (!bound || process.rng.once_in(3)) {
            self.unstage(place, name, process);
        } else if is_staged && self.growing.contains(name) && !process.rng.once_in(4) {
            if matches!(expand(place, process), End::Done) {
                self.growing.remove(name);
            }
        } else if bound {
            self.staged.insert(name.to_owned(), place.clone());
            stage(place, name, process);
        }
    }

    /// The kubelet's calls; they come again until they are answered.
    pub(crate) fn unstage(&mut self, place: &Place, name: &str, process: &mut Process<'_>) {
        let intent = Intent::Unpublish { target: pods(name) };
        let gone = process.call(OpKind::Unpublish, &intent, place.uuid, Rpc::Unpublish);
        if !matches!(gone, End::Done) {
            return;
        }
        let (target, cluster) = (staging(name), process.node.cluster.clone());
        let intent = Intent::Unstage { volume: place.uuid, cluster, target };
        let gone = process.call(OpKind::Unstage, &intent, place.uuid, Rpc::Unstage);
        if matches!(gone, End::Done) {
            self.staged.remove(name);
        }
    }
}

fn adopt_for_deletion(name: &str, desk: &mut Desk<'_>, cache: &Cache) -> Option<Effect> {
    let id = Uuid::from_u64_pair(desk.rng.next(), desk.rng.next());
    plan_adopt_for_deletion(&cache.world, name, id, desk.now)
}

fn stamp_and_delete(there: &StorageVolume, desk: &mut Desk<'_>) {
    let id = Uuid::from_u64_pair(desk.rng.next(), desk.rng.next());
    if let Some(effect) = plan_delete(there, id, desk.now) {
        desk.change(effect);
    }
}

fn pods(name: &str) -> PathBuf {
    PathBuf::from(format!("/kubelet/pods/{name}/mount"))
}

fn staging(name: &str) -> PathBuf {
    PathBuf::from(format!("/kubelet/{name}/globalmount"))
}

/// Stages, publishes, and lets a Pod write its mark, or read it back.
pub(crate) fn stage(place: &Place, name: &str, process: &mut Process<'_>) -> End {
    let (volume, cluster) = (place.uuid, process.node.cluster.clone());
    let mode = mode_of(&place.volume);
    let intent = stage_intent(process.node, volume, mode, staging(name), process.rng);
    let end = process.call(OpKind::Stage, &intent, volume, Rpc::Stage);
    if !matches!(end, End::Done) {
        return end;
    }
    let (access, sharing) = (host::Access::ReadWrite, Sharing::Shared);
    let (staging, target) = (staging(name), pods(name));
    let intent = Intent::Publish { volume, cluster, staging, target, access, sharing };
    let end = process.call(OpKind::Publish, &intent, volume, Rpc::Publish);
    if matches!(end, End::Done) {
        use_it(place, name, process);
    }
    end
}

fn use_it(place: &Place, name: &str, process: &mut Process<'_>) {
    let Process { node, luck: _, rng, ledger } = process;
    let Some(ino) = node.image_of(place.uuid).map(|image| image.ino) else { return };
    let image = node.images.iter_mut().find(|image| image.ino == ino);
    if let Some(Content::Made { mark, .. }) = image.map(|image| &mut image.content) {
        let life = ledger.life(place.uuid);
        match (life.mark, *mark) {
            (None, None) => {
                let written = rng.next();
                (life.mark, *mark) = (Some(written), Some(written));
            }
            (wrote, read) if wrote == read => {}
            (wrote, read) => {
                ledger.broke("I2", format!("a Pod wrote {wrote:?} to {name} and reads {read:?}"));
            }
        }
    }
}

/// The filesystem follows the image, which the agent has grown.
fn expand(place: &Place, process: &mut Process<'_>) -> End {
    let (volume, cluster) = (place.uuid, process.node.cluster.clone());
    let Some(to) = process.node.image_of(volume).map(|image| image.size) else {
        return End::Stuck("there is no such volume".to_owned());
    };
    let intent = Intent::Grow { volume, cluster, to };
    process.call(OpKind::Expand, &intent, volume, Rpc::Expand)
}

/// The PersistentVolume that the provisioner makes.
fn bound(name: &str, handle: &str) -> Persistent {
    Persistent {
        name: name.to_owned(),
        handle: handle.to_owned(),
        claim: None,
        phase: PersistentPhase::Bound,
        reclaim: Reclaim::Delete,
        capacity: None,
        uid: String::new(),
        resource_version: String::new(),
    }
}
