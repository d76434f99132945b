//! Whose a block device is that a Pod opened as such: by its number, which is the same in every namespace.

use std::collections::{BTreeSet, HashMap};

use terrace_probe_abi::layout::SharedClass;
use terrace_probe_abi::wire::Device;

use super::{Host, Unnamed, Verdict};
use crate::mountinfo::Mount;
use crate::names::{NameBook, VolumeKey};
use crate::place::Place;

/// `/proc/partitions`: what the kernel calls its block devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    by_name: HashMap<String, Device>,
}

impl Partitions {
    /// Reads the file: `major minor  #blocks  name`. The kernel writes `!` for the `/` of old names.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let by_name = text.lines().filter_map(parse_line).collect();
        Self { by_name }
    }

    fn device(&self, name: &str) -> Option<Device> {
        self.by_name.get(name).copied()
    }
}

fn parse_line(line: &str) -> Option<(String, Device)> {
    let mut fields = line.split_whitespace();
    let (major, minor) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let name = fields.nth(1)?.replace('!', "/");
    Some((name, Device { major, minor }))
}

/// Whose a block device is: a raw block volume's where the kubelet has its node in that volume's folder, or, where it has it in none,
/// csi-node says so: what that says may be older than what has the number by now. A device that two volumes claim is nobody's; one
/// that none claims is the host's.
#[must_use]
pub fn name_device(
    device: Device,
    host: &Host,
    partitions: &Partitions,
    book: Option<&NameBook>,
) -> Verdict {
    let mounts = host.mounts.all().iter().zip(&host.places);
    let claims = mounts.filter_map(|(mount, place)| match place {
        Place::Block { volume } => (node_of(mount, partitions)? == device).then_some(volume),
        Place::Published { .. }
        | Place::Staged(_)
        | Place::SubPath
        | Place::Class(_)
        | Place::Elsewhere => None,
    });
    let said = book.map_or(&[][..], |book| book.on_device(device));
    let claims: BTreeSet<_> = claims.collect();
    let claims = if claims.is_empty() { said.iter().collect() } else { claims };
    match (claims.len(), claims.first()) {
        (1, Some(volume)) => Verdict::Volume(VolumeKey::Volume((*volume).clone())),
        (0, _) | (_, None) => Verdict::Class(SharedClass::Host),
        (_, Some(_)) => Verdict::Nobody(Unnamed::Ambiguous),
    }
}

/// The device whose node is mounted on a file. devtmpfs calls nodes as the kernel calls devices; a node made elsewhere has any name,
/// so it says nothing.
fn node_of(mount: &Mount, partitions: &Partitions) -> Option<Device> {
    let in_devtmpfs = mount.fs == b"devtmpfs";
    let name = std::str::from_utf8(mount.root.strip_prefix(b"/")?).ok()?;
    in_devtmpfs.then(|| partitions.device(name)).flatten()
}
