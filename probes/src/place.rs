//! What a path on the host is: the kubelet's folders by their fixed names, and the host paths that have a class of their own. Pure,
//! on bytes; it looks at no file.

use terrace_probe_abi::layout::SharedClass;

use crate::mountinfo::below;

/// Where things lie on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kubelet's folder as mountinfo shows it: without symbolic links.
    pub kubelet: Vec<u8>,
    /// Folders with a class of their own. The innermost that holds a path counts.
    pub folders: Vec<(Vec<u8>, SharedClass)>,
}

/// The folders every host is asked about, and their classes. Those of the kubelet are [`place_of`]'s own.
pub const FOLDERS: [(&str, SharedClass); 10] = [
    ("/etc/kubernetes", SharedClass::CriticalKubernetes),
    ("/var/lib/etcd", SharedClass::CriticalEtcd),
    ("/var/lib/containerd", SharedClass::Runtime),
    ("/run/containerd", SharedClass::Runtime),
    ("/var/lib/docker", SharedClass::Runtime),
    ("/run/docker", SharedClass::Runtime),
    ("/var/lib/containers", SharedClass::Runtime),
    ("/run/containers", SharedClass::Runtime),
    ("/var/log/containers", SharedClass::Logs),
    ("/var/log/pods", SharedClass::Logs),
];

impl Layout {
    /// With the kubelet's folder at `kubelet` and all of [`FOLDERS`].
    #[must_use]
    pub fn at(kubelet: &str) -> Self {
        let folders = FOLDERS.map(|(path, class)| (path.as_bytes().to_vec(), class)).to_vec();
        Self { kubelet: kubelet.as_bytes().to_vec(), folders }
    }
}

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where a volume of a Pod is mounted.
    Published {
        /// The Pod's UID.
        pod: String,
        /// Who mounted it.
        plugin: Plugin,
        /// The PersistentVolume; an inline volume's own name in its Pod.
        name: String,
    },
    /// Where a CSI volume is mounted once for all Pods.
    Staged(Staged),
    /// Where the node of a raw block volume lies.
    Block {
        /// The PersistentVolume.
        volume: String,
    },
    /// Part of a Pod's volume of whatever kind, mounted by the kubelet for one container. What it is of is seen from its root.
    SubPath,
    /// No volume of its own.
    Class(SharedClass),
    /// Nothing the probe has a name for.
    Elsewhere,
}

/// Who mounts a Pod's volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// A CSI driver.
    Csi,
    /// A part of the kubelet: local, NFS, iSCSI and the like.
    InTree,
}

/// How a staging folder says what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staged {
    /// By the SHA-256 of the volume's handle, in hexadecimal. Kubernetes 1.24.
    Handle(String),
    /// By the PersistentVolume. Before.
    Volume(String),
}

/// What a path is. For a volume it has to be the very place where it is mounted: what lies below may be a mount of something else,
/// and what lies there while nothing is mounted is the kubelet's.
#[must_use]
pub fn place_of(path: &[u8], layout: &Layout) -> Place {
    if let Some(rest) = below(path, &layout.kubelet) {
        return kubelet_place(rest).unwrap_or(Place::Class(SharedClass::Kubelet));
    }
    let holding = layout.folders.iter().filter(|(folder, _)| below(path, folder).is_some());
    match holding.max_by_key(|(folder, _)| folder.len()) {
        Some((_, SharedClass::Runtime)) => Place::Class(runtime_class(path)),
        Some((_, class)) => Place::Class(*class),
        None if is_containerds(path) => Place::Class(runtime_class(path)),
        None => Place::Elsewhere,
    }
}

/// `rest` is what follows the kubelet's folder. `None`: it is the kubelet's own.
fn kubelet_place(rest: &[u8]) -> Option<Place> {
    let text = std::str::from_utf8(rest).ok()?;
    let names: Vec<_> = text.split('/').filter(|name| !name.is_empty()).collect();
    match names.as_slice() {
        ["pods", pod, "volumes", plugin, rest @ ..] => pod_volume(pod, plugin, rest),
        ["pods", _, "volume-subpaths", _, _, _] => Some(Place::SubPath),
        ["pods", _, "etc-hosts"] | ["pods", _, "containers", ..] => {
            Some(Place::Class(SharedClass::ContainerFiles))
        }
        ["plugins", "kubernetes.io", "csi", rest @ ..] => csi_place(rest),
        _ => None,
    }
}

fn pod_volume(pod: &str, plugin: &str, rest: &[&str]) -> Option<Place> {
    let class = match plugin.strip_prefix("kubernetes.io~")? {
        "csi" => {
            let [name, "mount"] = rest else { return None };
            return Some(published(pod, Plugin::Csi, name));
        }
        "configmap" => SharedClass::ConfigMap,
        "secret" => SharedClass::Secret,
        "projected" => SharedClass::Projected,
        "empty-dir" => SharedClass::EmptyDir,
        "downward-api" => SharedClass::Downward,
        _ => {
            let [name] = rest else { return None };
            return Some(published(pod, Plugin::InTree, name));
        }
    };
    (!rest.is_empty()).then_some(Place::Class(class))
}

fn published(pod: &str, plugin: Plugin, name: &str) -> Place {
    Place::Published { pod: pod.to_owned(), plugin, name: name.to_owned() }
}

/// Below `plugins/kubernetes.io/csi`.
fn csi_place(rest: &[&str]) -> Option<Place> {
    match rest {
        ["pv", volume, "globalmount"] => Some(Place::Staged(Staged::Volume((*volume).to_owned()))),
        ["volumeDevices", "publish", volume, _] | ["volumeDevices", volume, "dev", _] => {
            Some(Place::Block { volume: (*volume).to_owned() })
        }
        [_driver, handle, "globalmount"] => {
            Some(Place::Staged(Staged::Handle((*handle).to_owned())))
        }
        _ => None,
    }
}

/// containerd's folder may lie anywhere; those of its plugins in it are called the same.
fn is_containerds(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name.starts_with(b"io.containerd."))
}

/// Which of a runtime's files are what it gives every container, and which its own.
fn runtime_class(path: &[u8]) -> SharedClass {
    let names: Vec<_> = path.split(|byte| *byte == b'/').collect();
    let beside = |folder: &[u8]| names.windows(2).any(|pair| pair[0] == folder && is_id(pair[1]));
    let given = [&b"sandboxes"[..], b"containers", b"overlay-containers"];
    match given.into_iter().any(beside) {
        true => SharedClass::ContainerFiles,
        false => SharedClass::Runtime,
    }
}

/// What a runtime calls a container or sandbox.
fn is_id(name: &[u8]) -> bool {
    name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
