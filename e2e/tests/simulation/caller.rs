//! Everybody who asks: a person with claims, the provisioner sidecar that calls until it has an answer, the kubelet that
//! stages for Pods, a Pod that writes once and reads ever after. The CSI controller's own decisions are the real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use terrace_crds::StorageVolume;
use terrace_crds::condition::{ConditionType, is_true};
use terrace_crds::volume::FsType;
use terrace_device_types::{Intent, VolumeUuid};
use terrace_plan::capability::{Access, AccessMode, Capability};
use terrace_plan::create::{CreateAsked, ValidCreate, validate_create};
use terrace_plan::delete::{plan_adopt_for_deletion, plan_delete};
use terrace_plan::effect::{Effect, ObjectRef};
use terrace_plan::grow::{Growth, plan_grow};
use terrace_plan::size::Asked;
use terrace_plan::topology::Topology;
use terrace_plan::volume::conditions_of;
use terrace_plan::world::{Persistent, PersistentPhase, Reclaim};
use uuid::Uuid;

use crate::agent::{End, Luck, mode_of, run, stage_intent};
use crate::api::{Api, Claim, Pv};
use crate::cache::Cache;
use crate::host::{Content, Node};
use crate::ledger::Ledger;
use crate::rng::Rng;

/// What the callers remember by themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Callers {
    /// Claims for which CreateVolume was called and has not answered for good.
    pub(crate) asking: BTreeMap<String, u64>,
    /// Volumes for which DeleteVolume was called.
    pub(crate) deleting: BTreeSet<String>,
    /// Claims ever made: no name comes twice, whatever is restored.
    pub(crate) made: u64,
    /// Volumes that the kubelet began to stage and has not been told are unstaged.
    pub(crate) staged: BTreeSet<String>,
}

/// The volume's UUID and node, as the PV's attributes and topology say.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) node: usize,
    pub(crate) uuid: VolumeUuid,
    pub(crate) volume: StorageVolume,
}

pub(crate) const CLUSTER: Uuid = Uuid::from_u128(0xc1);

fn valid(name: &str, mib: u64) -> ValidCreate {
    let filesystems = ["ext4", "xfs", "btrfs"];
    let fs_type = filesystems[name.len() % 3].to_owned();
    validate_create(CreateAsked {
        name: name.to_owned(),
        size: Asked { required: mib << 20, limit: 0 },
        capabilities: vec![Capability {
            mode: AccessMode::SingleNodeWriter,
            access: if name.ends_with('3') {
                Access::Block
            } else {
                Access::Mount { fs_type, flags: Vec::new() }
            },
        }],
        parameters: BTreeMap::from([("terrace.storage/tier".to_owned(), "ssd".to_owned())]),
        mutable: BTreeMap::new(),
        topology: Topology::default(),
        original: None,
        default_fs: FsType::Xfs,
    })
    .unwrap()
}

impl Callers {
    /// A person makes or deletes a claim.
    pub(crate) fn person(&mut self, api: &mut Api, rng: &mut Rng) {
        let names: Vec<String> = api.claims.keys().cloned().collect();
        if names.len() < 6 && !rng.once_in(3) {
            self.made += 1;
            let mib = 300 + rng.below(700) as u64;
            api.claims
                .insert(format!("{}-{}", "p".repeat(1 + rng.below(3)), self.made), Claim { mib });
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
        api: &mut Api,
        cache: &Cache,
        places: &mut BTreeMap<String, Place>,
        now: Timestamp,
        rng: &mut Rng,
    ) {
        for (name, claim) in &api.claims {
            if !api.pvs.contains_key(name) {
                self.asking.insert(name.clone(), claim.mib);
            }
        }
        let released = api.pvs.iter().filter(|(_, pv)| pv.released).map(|(name, _)| name.clone());
        let mut names: Vec<String> = self.asking.keys().cloned().chain(released).collect();
        names.dedup();
        let Some(name) = rng.pick(&names) else { return };
        self.call(&name, api, cache, places, now, rng);
    }

    pub(crate) fn call(
        &mut self,
        name: &str,
        api: &mut Api,
        cache: &Cache,
        places: &mut BTreeMap<String, Place>,
        now: Timestamp,
        rng: &mut Rng,
    ) {
        match (api.pvs.get(name), self.asking.get(name).copied()) {
            (Some(pv), _) if pv.released => self.delete_volume(name, api, cache, now, rng),
            (Some(_), _) => {
                self.asking.remove(name);
            }
            (None, Some(mib)) => self.create_volume(name, mib, api, places),
            (None, None) => {}
        }
    }

    fn create_volume(
        &mut self,
        name: &str,
        mib: u64,
        api: &mut Api,
        places: &mut BTreeMap<String, Place>,
    ) {
        let valid = valid(name, mib);
        let Some(there) = api.volumes.get(&valid.name.name).cloned() else {
            // Another replica may have been first; the next call sees it.
            let _ = api.create(valid.volume(CLUSTER, None));
            return;
        };
        if there.metadata.deletion_timestamp.is_some() || valid.check_same(&there).is_err() {
            return;
        }
        let (Some(assignment), Some(uuid)) = (&there.spec.assignment, &there.spec.volume_uuid)
        else {
            return;
        };
        if !is_true(conditions_of(&there), ConditionType::Ready) {
            return;
        }
        let node = if assignment.node == "node-0" { 0 } else { 1 };
        let place =
            Place { node, uuid: uuid.parse().unwrap(), volume: StorageVolume::clone(&there) };
        places.insert(name.to_owned(), place);
        let persistent = bound(name, &valid.name.name);
        let released = !api.claims.contains_key(name);
        api.pvs.insert(name.to_owned(), Pv { persistent, released });
        self.asking.remove(name);
    }

    fn delete_volume(
        &mut self,
        name: &str,
        api: &mut Api,
        cache: &Cache,
        now: Timestamp,
        rng: &mut Rng,
    ) {
        self.deleting.insert(name.to_owned());
        let Some(there) = api.volumes.get(name).cloned() else {
            match plan_adopt_for_deletion(&cache.world, name) {
                Some(effect) => apply(api, effect, now),
                None => {
                    api.pvs.remove(name);
                    self.deleting.remove(name);
                }
            }
            return;
        };
        let id = Uuid::from_u64_pair(rng.next(), rng.next());
        if let Some(effect) = plan_delete(&there, id, now) {
            apply(api, effect, now);
        }
    }

    /// A DeleteVolume that nobody should have sent: the claim is bound. The node must find out by itself.
    pub(crate) fn stray_delete(&mut self, api: &mut Api, now: Timestamp, rng: &mut Rng) {
        let bound: Vec<String> =
            api.pvs.iter().filter(|(_, pv)| !pv.released).map(|(name, _)| name.clone()).collect();
        let Some(there) = rng.pick(&bound).and_then(|name| api.volumes.get(&name).cloned()) else {
            return;
        };
        let id = Uuid::from_u64_pair(rng.next(), rng.next());
        if let Some(effect) = plan_delete(&there, id, now) {
            apply(api, effect, now);
        }
    }

    /// ControllerExpandVolume for a bound claim.
    pub(crate) fn grow(&mut self, api: &mut Api, cache: &Cache, now: Timestamp, rng: &mut Rng) {
        let bound: Vec<String> =
            api.pvs.iter().filter(|(_, pv)| !pv.released).map(|(name, _)| name.clone()).collect();
        let Some(volume) = rng.pick(&bound).and_then(|name| cache.volume(&name)) else { return };
        let has = volume.spec.capacity.bytes().unwrap();
        let asked = Asked { required: has + (100 << 20), limit: 0 };
        if let Ok(Growth::Grow { effect, .. }) = plan_grow(&cache.world, &volume, asked) {
            apply(api, *effect, now);
        }
    }

    /// The kubelet stages a bound volume, or unstages one; a Pod writes on the first, reads on every other.
    pub(crate) fn kubelet(
        &mut self,
        api: &Api,
        nodes: &mut [Node],
        places: &BTreeMap<String, Place>,
        luck: Luck,
        rng: &mut Rng,
        ledger: &mut Ledger,
    ) {
        let names: Vec<String> = places.keys().cloned().collect();
        let Some(name) = rng.pick(&names) else { return };
        let place = &places[&name];
        let bound = api.pvs.get(&name).is_some_and(|pv| !pv.released);
        let node = &mut nodes[place.node];
        if self.staged.contains(&name) && (!bound || rng.once_in(2)) {
            self.unstage(node, place, &name, luck, rng, ledger);
        } else if bound {
            self.staged.insert(name.clone());
            stage(node, place, &name, luck, rng, ledger);
        }
    }

    /// The kubelet's call; it comes again until it is answered.
    pub(crate) fn unstage(
        &mut self,
        node: &mut Node,
        place: &Place,
        name: &str,
        luck: Luck,
        rng: &mut Rng,
        ledger: &mut Ledger,
    ) {
        let target = staging(name);
        let intent = Intent::Unstage { volume: place.uuid, cluster: node.cluster.clone(), target };
        if matches!(run(node, &intent, place.uuid, luck, rng, ledger), End::Done) {
            self.staged.remove(name);
        }
    }
}

/// Carries out what the CSI controller or the operator decided. A refused write is planned anew from what is there then.
pub(crate) fn apply(api: &mut Api, effect: Effect, now: Timestamp) {
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
            api.change(&volume, |volume| volume.spec.deletion = Some(deletion))
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

fn staging(name: &str) -> PathBuf {
    PathBuf::from(format!("/kubelet/{name}/globalmount"))
}

/// Stages and lets a Pod write its mark, or read it back.
pub(crate) fn stage(
    node: &mut Node,
    place: &Place,
    name: &str,
    luck: Luck,
    rng: &mut Rng,
    ledger: &mut Ledger,
) -> End {
    let intent = stage_intent(node, place.uuid, mode_of(&place.volume), staging(name), rng);
    let end = run(node, &intent, place.uuid, luck, rng, ledger);
    if matches!(end, End::Done) {
        let Some(ino) = node.image_of(place.uuid).map(|image| image.ino) else { return end };
        let image = node.images.iter_mut().find(|image| image.ino == ino);
        if let Some(Content::Made { mark, .. }) = image.map(|image| &mut image.content) {
            let life = ledger.life(place.uuid);
            match (life.mark, *mark) {
                (None, None) => {
                    let written = rng.next();
                    (life.mark, *mark) = (Some(written), Some(written));
                }
                (wrote, read) if wrote == read => {}
                (wrote, read) => ledger
                    .broke("I2", format!("a Pod wrote {wrote:?} to {name} and reads {read:?}")),
            }
        }
    }
    end
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
