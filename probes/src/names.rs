//! What csi-node said of the node's Pods and volumes, laid out for looking up. Pure.

use std::collections::{HashMap, HashSet};

use terrace_probe_abi::wire::{Device, Names, PodName, VolumeName};

/// What figures are kept of: the same for all mounts of a volume, whoever's they are.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum VolumeKey {
    /// A PersistentVolume, by its name.
    Volume(String),
    /// A CSI volume written into a Pod.
    Inline {
        /// The Pod's UID.
        pod: String,
        /// What the Pod calls it.
        name: String,
    },
}

/// Names, by what they are looked up by.
#[derive(Clone, Debug, Default)]
pub struct NameBook {
    pods: HashMap<String, PodName>,
    volumes: HashMap<String, VolumeName>,
    inline: HashSet<(String, String)>,
    by_handle: HashMap<String, Vec<String>>,
    by_device: HashMap<Device, Vec<String>>,
}

impl NameBook {
    /// From the whole list.
    #[must_use]
    pub fn new(names: Names) -> Self {
        let Names { pods, volumes, inline_volumes, directories: _ } = names;
        let inline = inline_volumes.into_iter().map(|inline| (inline.pod_uid, inline.name));
        let mut book = Self {
            pods: pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect(),
            inline: inline.collect(),
            ..Self::default()
        };
        for volume in volumes {
            let name = &volume.pv_name;
            if let Some(handle) = &volume.handle_sha256 {
                book.by_handle.entry(handle.clone()).or_default().push(name.clone());
            }
            if let Some(device) = volume.device {
                book.by_device.entry(device).or_default().push(name.clone());
            }
            book.volumes.insert(name.clone(), volume);
        }
        book
    }

    /// A Pod, by its UID.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<&PodName> {
        self.pods.get(uid)
    }

    /// A PersistentVolume, by its name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&VolumeName> {
        self.volumes.get(name)
    }

    /// Whether a Pod of this node has it.
    #[must_use]
    pub fn is_used(&self, key: &VolumeKey) -> bool {
        match key {
            VolumeKey::Volume(name) => {
                self.volumes.get(name).is_some_and(|volume| !volume.pod_uids.is_empty())
            }
            VolumeKey::Inline { pod, name } => self.inline.contains(&(pod.clone(), name.clone())),
        }
    }

    /// What is mounted at a Pod's folder of that name. A Pod may call an inline volume what elsewhere a PersistentVolume is called, so
    /// that has to be used by this Pod; `None` until csi-node has said one or the other.
    #[must_use]
    pub fn published(&self, pod: &str, name: &str) -> Option<VolumeKey> {
        let used = |volume: &&VolumeName| volume.pod_uids.iter().any(|uid| uid == pod);
        if self.volumes.get(name).filter(used).is_some() {
            return Some(VolumeKey::Volume(name.to_owned()));
        }
        let inline = (pod.to_owned(), name.to_owned());
        self.inline.contains(&inline).then_some(VolumeKey::Inline { pod: inline.0, name: inline.1 })
    }

    /// The PersistentVolume whose handle has that SHA-256. Two drivers may use the same handle; then it is neither.
    #[must_use]
    pub fn staged(&self, handle: &str) -> Option<VolumeKey> {
        match self.by_handle.get(handle)?.as_slice() {
            [only] => Some(VolumeKey::Volume(only.clone())),
            _ => None,
        }
    }

    /// The PersistentVolumes that csi-node says are on that device.
    #[must_use]
    pub fn on_device(&self, device: Device) -> &[String] {
        self.by_device.get(&device).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use terrace_probe_abi::wire::{InlineVolume, Names, VolumeName};

    use super::{NameBook, VolumeKey};

    fn volume(name: &str, pod: &str, handle: &str) -> VolumeName {
        VolumeName {
            pv_name: name.into(),
            pod_uids: vec![pod.into()],
            handle_sha256: Some(handle.into()),
            ..VolumeName::default()
        }
    }

    #[test]
    fn a_name_counts_only_in_the_pod_that_uses_it() {
        let book = NameBook::new(Names {
            volumes: vec![volume("data", "pod-a", "h")],
            inline_volumes: vec![InlineVolume { pod_uid: "pod-b".into(), name: "data".into() }],
            ..Names::default()
        });
        assert_eq!(book.published("pod-a", "data"), Some(VolumeKey::Volume("data".into())));
        let inline = VolumeKey::Inline { pod: "pod-b".into(), name: "data".into() };
        assert_eq!(book.published("pod-b", "data"), Some(inline));
        assert_eq!(book.published("pod-c", "data"), None);
        let of = |name: &str| VolumeKey::Volume(name.into());
        assert_eq!((book.is_used(&of("data")), book.is_used(&of("other"))), (true, false));
    }

    #[test]
    fn a_handle_of_two_drivers_is_nobodys() {
        let volumes =
            vec![volume("a", "p", "same"), volume("b", "p", "same"), volume("c", "p", "own")];
        let book = NameBook::new(Names { volumes, ..Names::default() });
        assert_eq!(book.staged("same"), None);
        assert_eq!(book.staged("own"), Some(VolumeKey::Volume("c".into())));
    }
}
