//! Learns who is who on this node: watches its Pods, and reads each claim that one of them names, and its volume, once. The
//! PersistentVolumes of the cluster are never listed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use terrace_crds::watching::TakenUp;
use terrace_probe_abi::wire::{Device, DirectoryName};
use tokio::sync::watch;

use super::directories;
use super::known::{Binding, Facts, Kind, Own, PodFacts, plan_known};
use crate::agent::{Agent, api, report};

/// Changes that come together are taken together.
const SETTLE: Duration = Duration::from_millis(200);
/// A claim that is not bound yet is asked for again after so long, twice as long each time, up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Objects that are taken off the wire at once.
const PAGE: u32 = 50;

/// What names are made with beside the objects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The target of a volume that names none.
    pub default_target_ns: Option<u64>,
    /// Folders of the host that have a class of their own.
    pub directories: Vec<String>,
    /// The root of the host, as far as it can be looked into.
    pub host_root: std::path::PathBuf,
}

/// What is known of the Pods.
#[derive(Debug, Default)]
struct State {
    pods: BTreeMap<String, PodFacts>,
    /// A list that is not whole yet.
    listing: Option<BTreeMap<String, PodFacts>>,
    is_listed: bool,
    bindings: BTreeMap<(String, String), Binding>,
}

/// Learns until `end` turns true.
pub async fn run(agent: Arc<Agent>, settings: Settings, mut end: watch::Receiver<bool>) {
    let pods: Api<Pod> = Api::all(agent.api.client());
    let field = format!("spec.nodeName={}", agent.node);
    let here = watcher::Config::default().fields(&field).page_size(PAGE);
    let mut events = watcher(pods, here).backoff(TakenUp::default()).boxed();
    let mut state = State::default();
    let mut again = AGAIN.0;
    let mut unbound = Unbound::None;
    loop {
        let retry = async {
            match unbound {
                Unbound::Some => tokio::time::sleep(again).await,
                Unbound::None => std::future::pending().await,
            }
        };
        let woken = tokio::select! {
            _ = end.wait_for(|end| *end) => return,
            event = events.next() => Woken::Pods(event.map(Box::new)),
            () = agent.probe.stale.notified() => Woken::Volumes,
            () = retry => Woken::Retry,
        };
        match woken {
            Woken::Pods(None) => return,
            Woken::Pods(Some(event)) => {
                take(&mut state, *event);
                // What comes at once is taken at once.
                while let Ok(Some(event)) = tokio::time::timeout(SETTLE, events.next()).await {
                    take(&mut state, event);
                }
                again = AGAIN.0;
            }
            Woken::Volumes => tokio::time::sleep(SETTLE).await,
            Woken::Retry => again = (again * 2).min(AGAIN.1),
        }
        if state.is_listed {
            unbound = bind(&agent, &mut state).await;
            tell(&agent, &settings, &state).await;
        }
    }
}

/// What there is to look at.
enum Woken {
    /// A Pod, or all of them; `None`: there is no watch any more.
    Pods(Option<Box<watcher::Result<watcher::Event<Pod>>>>),
    /// Targets of volumes.
    Volumes,
    /// Claims that were not bound.
    Retry,
}

/// Whether claims are left that could not be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unbound {
    None,
    Some,
}

fn take(state: &mut State, event: watcher::Result<watcher::Event<Pod>>) {
    match event {
        Ok(watcher::Event::Init) => state.listing = Some(BTreeMap::new()),
        Ok(watcher::Event::InitApply(pod)) => {
            if let (Some(listing), Some(facts)) = (&mut state.listing, PodFacts::of(&pod)) {
                listing.insert(facts.uid.clone(), facts);
            }
        }
        Ok(watcher::Event::InitDone) => {
            state.pods = state.listing.take().unwrap_or_default();
            state.is_listed = true;
        }
        Ok(watcher::Event::Apply(pod)) => {
            if let Some(facts) = PodFacts::of(&pod) {
                state.pods.insert(facts.uid.clone(), facts);
            }
        }
        Ok(watcher::Event::Delete(pod)) => {
            state.pods.remove(&pod.uid().unwrap_or_default());
        }
        Err(error) => {
            tracing::warn!(%error, "the watch of this node's Pods broke off; it is begun again");
        }
    }
}

/// Reads what is not known yet. A Pod's claim cannot be another one while the Pod lives, so once is enough.
async fn bind(agent: &Agent, state: &mut State) -> Unbound {
    let State { pods, listing: _, is_listed: _, bindings } = state;
    let named = |pod: &PodFacts, claim: &String| {
        pods.get(&pod.uid).is_some_and(|pod| pod.claims.contains(claim))
    };
    bindings.retain(|(uid, claim), _| pods.get(uid).is_some_and(|pod| named(pod, claim)));
    let mut unbound = Unbound::None;
    for pod in pods.values() {
        for claim in &pod.claims {
            let key = (pod.uid.clone(), claim.clone());
            if bindings.contains_key(&key) {
                continue;
            }
            match resolve(agent, &pod.namespace, claim).await {
                Ok(Resolved::Bound(binding)) => drop(bindings.insert(key, binding)),
                Ok(Resolved::NotOurs) => {}
                Ok(Resolved::NotYet) => unbound = Unbound::Some,
                Err(error) => {
                    let (pod, error) = (&pod.name, report::chain(&error));
                    tracing::warn!(pod, claim, error, "a claim is not known to the probe yet");
                    unbound = Unbound::Some;
                }
            }
        }
    }
    unbound
}

/// What became of a claim.
enum Resolved {
    /// It is bound.
    Bound(Binding),
    /// No CSI driver serves its volume.
    NotOurs,
    /// It is not there, or not bound.
    NotYet,
}

async fn resolve(agent: &Agent, namespace: &str, claim: &str) -> Result<Resolved, api::Error> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(agent.api.client(), namespace);
    let found = api::ask("read claim", claim, claims.get_opt(claim)).await?;
    let Some(found) = found else { return Ok(Resolved::NotYet) };
    let bound = found.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    let Some(bound) = bound.filter(|name| !name.is_empty()) else { return Ok(Resolved::NotYet) };
    let volumes: Api<PersistentVolume> = Api::all(agent.api.client());
    let volume = api::ask("read persistent volume", &bound, volumes.get_opt(&bound)).await?;
    let Some(volume) = volume else { return Ok(Resolved::NotYet) };
    Ok(Binding::of(&found, &volume).map_or(Resolved::NotOurs, Resolved::Bound))
}

/// Puts all together and tells whoever listens, if it is new.
async fn tell(agent: &Agent, settings: &Settings, state: &State) {
    let own = agent.objects.volumes();
    let own: BTreeMap<String, Own> = own.iter().filter_map(|volume| Own::of(volume)).collect();
    let (devices, directories) = look(agent, settings, state).await;
    let pods: Vec<PodFacts> = state.pods.values().cloned().collect();
    let facts = Facts {
        pods: &pods,
        bindings: &state.bindings,
        own: &own,
        default_target_ns: settings.default_target_ns,
        devices: &devices,
        directories: &directories,
    };
    if agent.probe.tell_known(plan_known(&facts)) {
        agent.probe.changed.notify_one();
    }
}

/// Numbers that only the host knows: of raw block devices, once the kubelet has made them, and of folders.
async fn look(
    agent: &Agent,
    settings: &Settings,
    state: &State,
) -> (BTreeMap<String, Device>, Vec<DirectoryName>) {
    let kubelet = agent.context.kubelet_dir.clone();
    let blocks = state.bindings.iter().filter(|(_, binding)| binding.kind == Kind::Block);
    let blocks: Vec<(String, String)> = blocks
        .filter_map(|((uid, _), binding)| {
            Some((binding.pv_name.clone(), state.pods.get(uid)?.folder.clone()))
        })
        .collect();
    let (root, paths) = (settings.host_root.clone(), settings.directories.clone());
    let looked = agent.context.look(move |_| {
        let devices = blocks.into_iter().filter_map(|(pv, pod)| {
            let device = block_device(&kubelet, &pv, &pod)?;
            Some((pv, device))
        });
        (devices.collect(), directories::look(&root, &paths))
    });
    looked.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "devices and folders are not known to the probe");
        Default::default()
    })
}

/// The device that a Pod opens: what the driver published for it, or what the kubelet's link leads to.
fn block_device(kubelet: &Path, pv: &str, pod: &str) -> Option<Device> {
    let published =
        kubelet.join("plugins/kubernetes.io/csi/volumeDevices/publish").join(pv).join(pod);
    let linked = kubelet.join("pods").join(pod).join("volumeDevices/kubernetes.io~csi").join(pv);
    [published, linked].iter().find_map(|path| directories::device_node(path))
}
