//! Whose a mount or device is that the kernel has seen in use. Pure: tables and names in, a verdict out. What can't be said for
//! sure is said to be nobody's, with the reason; nothing is guessed, and no path is walked.

use terrace_probe_abi::layout::{SharedClass, root_hash};
use terrace_probe_abi::wire::Device;

use crate::loader::Sighting;
use crate::mountinfo::{Mount, Mounts};
use crate::names::{NameBook, VolumeKey};
use crate::place::{Layout, Place, place_of};

#[path = "naming_device.rs"]
mod device;
#[path = "naming_join.rs"]
mod join;

pub use device::{Partitions, name_device};

/// The host's own mounts, and what each of their places is.
#[derive(Clone, Debug)]
pub struct Host {
    mounts: Mounts,
    places: Vec<Place>,
    layout: Layout,
}

impl Host {
    /// From the mountinfo of the host's first process.
    #[must_use]
    pub fn new(mounts: Mounts, layout: Layout) -> Self {
        let places = mounts.all().iter().map(|mount| place_of(&mount.at, &layout)).collect();
        Self { mounts, places, layout }
    }

    /// Its mounts.
    #[must_use]
    pub const fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Where things lie on it.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A volume's.
    Volume(VolumeKey),
    /// Nobody's own.
    Class(SharedClass),
    /// A volume's that has no name yet: asked again when csi-node has said more, or the host's mounts have changed.
    Later(Waiting),
    /// It will never be known.
    Nobody(Unnamed),
}

/// What a name waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// csi-node has said nothing so far.
    Names,
    /// It has not said what this Pod's folder holds.
    Published {
        /// The Pod's UID.
        pod: String,
        /// The folder.
        name: String,
    },
    /// Nothing is published yet of what is staged there.
    Staged,
}

/// Why something has no name and gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unnamed {
    /// It was gone before it was looked for, or its id is another's by now.
    Gone,
    /// More than one volume's, as far as can be seen.
    Ambiguous,
    /// A filesystem that only some container has mounted, and that needs not be its alone.
    NotOnHost,
}

impl Unnamed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gone, Self::Ambiguous, Self::NotOnHost];

    /// As a label of a metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Ambiguous => "ambiguous",
            Self::NotOnHost => "not_on_host",
        }
    }
}

/// Whose namespace a mount was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The host's.
    OnHost,
    /// Another, as containers have.
    Within,
}

/// The mount of that id if it is the one that was seen. Ids are handed out anew at once, so device and root have to be those that the
/// kernel saw; of the same folder mounted again the same may be said.
#[must_use]
pub fn find_sighted<'a>(mounts: &'a Mounts, id: u32, sighting: &Sighting) -> Option<&'a Mount> {
    let (major, minor) = sighting.s_dev;
    let mount = find(mounts, id, Device { major, minor })?;
    let is_root = |hash| root_hash(&mount.root) == hash || hides_root(mount);
    (sighting.root_hash == 0 || is_root(sighting.root_hash)).then_some(mount)
}

/// NFS says of every mount that its root is `/`.
fn hides_root(mount: &Mount) -> bool {
    mount.fs.starts_with(b"nfs")
}

/// The mount of that id, if it is of that device.
#[must_use]
pub fn find(mounts: &Mounts, id: u32, device: Device) -> Option<&Mount> {
    mounts.get(id).filter(|mount| mount.device == device)
}

/// Whose a mount is.
#[must_use]
pub fn name_mount(mount: &Mount, seen: Seen, host: &Host, book: Option<&NameBook>) -> Verdict {
    let candidates = join::candidates(mount, host);
    if let Some(verdict) = join::volume_of(mount, seen, &candidates, host, book) {
        return verdict;
    }
    if candidates.is_empty() {
        return match is_containers_own(mount) {
            true => Verdict::Class(SharedClass::ContainerRoot),
            false => Verdict::Nobody(Unnamed::NotOnHost),
        };
    }
    join::class_of(mount, seen, &candidates, host)
}

/// A filesystem in memory, or the layers of an image: nobody but its container can have it.
fn is_containers_own(mount: &Mount) -> bool {
    const OWN: [&[u8]; 6] =
        [b"overlay", b"tmpfs", b"ramfs", b"devtmpfs", b"hugetlbfs", b"fuse.fuse-overlayfs"];
    OWN.contains(&mount.fs.as_slice())
}

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;
