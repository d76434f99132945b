//! A mount of some namespace joined to the host's: same superblock, same source, and the host's mount shows the folder that this one
//! is of. Of those, the innermost volume counts, whatever else is mounted from within it.

use std::collections::BTreeSet;

use terrace_probe_abi::layout::SharedClass;

use super::{Host, Seen, Unnamed, Verdict, Waiting};
use crate::mountinfo::{Linked, Mount, below};
use crate::names::{NameBook, VolumeKey};
use crate::place::{Place, Plugin, Staged, place_of};

/// A mount of the host that shows what another mount is of.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    mount: &'a Mount,
    place: &'a Place,
}

/// The host's mounts that show what `mount` is of. The source has to be the same too: NFS says of every mount that its root is `/`,
/// and a bind mount has the source of what it was made from.
pub(super) fn candidates<'a>(mount: &Mount, host: &'a Host) -> Vec<Candidate<'a>> {
    let same = host.mounts.on(mount.device);
    let same = same.filter(|(_, other)| other.source == mount.source && other.fs == mount.fs);
    let showing = same.filter(|(_, other)| shows(other, mount));
    showing.map(|(index, other)| Candidate { mount: other, place: &host.places[index] }).collect()
}

/// Whether what `mount` is of lies in what `other` is of. A deleted folder's name may be another's by now, so with one of them
/// deleted the names have to differ, and with the outer one deleted nothing new can lie in it.
fn shows(other: &Mount, mount: &Mount) -> bool {
    if other.id == mount.id {
        return true;
    }
    let Some(rest) = below(&mount.root, &other.root) else { return false };
    match (other.linked, mount.linked) {
        (Linked::Yes, Linked::Yes) => true,
        (Linked::Yes, Linked::Deleted) => !rest.is_empty(),
        (Linked::Deleted, Linked::Deleted) => rest.is_empty(),
        (Linked::Deleted, Linked::Yes) => false,
    }
}

/// The volume `mount` is of; `None` if it is of none.
pub(super) fn volume_of(
    mount: &Mount,
    seen: Seen,
    candidates: &[Candidate<'_>],
    host: &Host,
    book: Option<&NameBook>,
) -> Option<Verdict> {
    let own = candidates.iter().find(|candidate| candidate.mount.id == mount.id);
    if let (Seen::OnHost, Some(Candidate { place, .. })) = (seen, own)
        && let Some(said) = said_by(place, book)
    {
        return Some(said.verdict().unwrap_or_else(|| published_below(mount, host, book)));
    }
    let volumes = candidates
        .iter()
        .filter_map(|candidate| said_by(candidate.place, book).map(|said| (candidate.mount, said)));
    let volumes: Vec<_> = volumes.collect();
    let innermost = volumes.iter().map(|(mount, _)| mount.root.len()).max()?;
    let volumes = volumes.into_iter().filter(|(mount, _)| mount.root.len() == innermost);
    Some(agree(&volumes.collect::<Vec<_>>(), host, book))
}

/// What a place of a volume says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// Which it is.
    Volume(VolumeKey),
    /// That it is one of a Pod, of which csi-node has said nothing yet.
    Pods { pod: String, name: String },
    /// That it is one, when csi-node has said nothing at all.
    NoNames,
    /// That it is staged, by a hash that csi-node has not told.
    Handle(String),
}

impl Said {
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Volume(key) => Some(Verdict::Volume(key.clone())),
            Self::Pods { pod, name } => {
                let (pod, name) = (pod.clone(), name.clone());
                Some(Verdict::Later(Waiting::Published { pod, name }))
            }
            Self::NoNames => Some(Verdict::Later(Waiting::Names)),
            Self::Handle(_) => None,
        }
    }
}

/// `None`: it is no volume's place, or one of the kubelet's own kinds that csi-node does not know.
fn said_by(place: &Place, book: Option<&NameBook>) -> Option<Said> {
    match place {
        Place::Published { pod, plugin, name } => {
            let Some(book) = book else { return Some(Said::NoNames) };
            match (book.published(pod, name), plugin) {
                (Some(key), Plugin::Csi | Plugin::InTree) => Some(Said::Volume(key)),
                (None, Plugin::Csi) => Some(Said::Pods { pod: pod.clone(), name: name.clone() }),
                (None, Plugin::InTree) => None,
            }
        }
        Place::Staged(Staged::Volume(name)) => Some(Said::Volume(VolumeKey::Volume(name.clone()))),
        Place::Staged(Staged::Handle(handle)) => {
            let known = book.and_then(|book| book.staged(handle));
            Some(known.map_or_else(|| Said::Handle(handle.clone()), Said::Volume))
        }
        Place::Block { .. } | Place::SubPath | Place::Class(_) | Place::Elsewhere => None,
    }
}

/// What several mounts of the very same folder say it is: all the same, or it is nobody's.
fn agree(volumes: &[(&Mount, Said)], host: &Host, book: Option<&NameBook>) -> Verdict {
    let (mut keys, mut handles, mut later) = (BTreeSet::new(), BTreeSet::new(), None);
    for (_, said) in volumes {
        match said {
            Said::Volume(key) => drop(keys.insert(key)),
            Said::Handle(handle) => drop(handles.insert(handle)),
            Said::Pods { .. } | Said::NoNames => later = later.or_else(|| said.verdict()),
        }
    }
    let ambiguous = Verdict::Nobody(Unnamed::Ambiguous);
    match (keys.len(), handles.len(), later) {
        (2.., _, _) | (_, 2.., _) => ambiguous,
        (_, _, Some(later)) => later,
        (1, _, None) => keys.first().map_or(ambiguous, |key| Verdict::Volume((*key).clone())),
        (_, _, None) => published_below(volumes[0].0, host, book),
    }
}

/// What is staged at a place that has no name, by what is published from it.
fn published_below(staged: &Mount, host: &Host, book: Option<&NameBook>) -> Verdict {
    let same = host.mounts.on(staged.device);
    let below = same.filter(|(_, other)| other.source == staged.source && shows(staged, other));
    let said: Vec<_> = below.filter_map(|(index, _)| said_by(&host.places[index], book)).collect();
    let handles =
        said.iter().filter(|said| matches!(said, Said::Handle(_))).collect::<BTreeSet<_>>();
    let keys = said.iter().filter(|said| matches!(said, Said::Volume(_))).collect::<BTreeSet<_>>();
    let later = said.iter().any(|said| matches!(said, Said::Pods { .. } | Said::NoNames));
    match (handles.len(), keys.len()) {
        (2.., _) | (_, 2..) => Verdict::Nobody(Unnamed::Ambiguous),
        (_, 1) if !later => {
            keys.first().and_then(|said| said.verdict()).unwrap_or(Verdict::Later(Waiting::Staged))
        }
        (_, _) => Verdict::Later(Waiting::Staged),
    }
}

/// The class of what is no volume, by where the host has it. The innermost mounts of the host decide, and of several the one that
/// has a class of its own.
pub(super) fn class_of(
    mount: &Mount,
    seen: Seen,
    candidates: &[Candidate<'_>],
    host: &Host,
) -> Verdict {
    let plain = candidates.iter().filter(|candidate| *candidate.place != Place::SubPath);
    let innermost = plain.clone().map(|candidate| candidate.mount.root.len()).max();
    let plain = plain.filter(|candidate| Some(candidate.mount.root.len()) == innermost);
    let classes: BTreeSet<_> =
        plain.filter_map(|candidate| class_at(mount, candidate, host)).collect();
    match (classes.len(), seen) {
        (0, Seen::OnHost) => Verdict::Class(SharedClass::Host),
        (0, Seen::Within) => Verdict::Class(SharedClass::HostPath),
        (1, Seen::OnHost | Seen::Within) => {
            Verdict::Class(classes.first().copied().unwrap_or(SharedClass::Host))
        }
        (_, Seen::OnHost | Seen::Within) => Verdict::Nobody(Unnamed::Ambiguous),
    }
}

/// `None`: nothing of its own. A volume's place that is reached through another mount is not mounted: what lies there is the kubelet's.
fn class_at(mount: &Mount, candidate: &Candidate<'_>, host: &Host) -> Option<SharedClass> {
    let rest = below(&mount.root, &candidate.mount.root)?;
    let at = candidate.mount.at.strip_suffix(b"/").unwrap_or(&candidate.mount.at);
    let path = [at, rest].concat();
    match place_of(&path, &host.layout) {
        Place::Class(SharedClass::Runtime) if mount.fs == b"overlay" || mount.at == b"/" => {
            Some(SharedClass::ContainerRoot)
        }
        Place::Class(class) => Some(class),
        Place::Elsewhere => None,
        Place::Published { .. } | Place::Staged(_) | Place::Block { .. } | Place::SubPath => {
            Some(SharedClass::Kubelet)
        }
    }
}
