//! What host objects there are, and which one a name or UUID means. Looks every time: the host is the
//! truth, and a look at a pool directory is a few system calls. Chooses by tag only (I4).

use std::path::Path;

use terrace_device_types::{
    ClusterUid, HostObject, HostState, ImageView, Tag, TagReading, VolumeUuid,
};

use crate::host::Host;
use crate::journal::KnownPool;
use crate::pools::{Home, Pools};
use crate::presence::{self, Absence};

/// A host object with its tag, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The pool.
    pub pool: KnownPool,
    /// The image.
    pub image: ImageView,
    /// What it says about itself.
    pub tag: Tag,
}

/// Everything found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Listing {
    /// Objects of this cluster with a readable tag.
    pub ours: Vec<Located>,
    /// Images whose tag is missing or unreadable, with their pool.
    pub unreadable: Vec<(KnownPool, ImageView)>,
    /// Pools that could not be looked at, and why.
    pub failed: Vec<(KnownPool, Absence)>,
}

/// Why no host object can be named.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No pool of this node has it.
    #[error("volume {name} is not on this node")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// It was not found, but not every pool could be looked at.
    #[error("volume {name} was not found, but pool {pool} cannot be looked at")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The pool.
        pool: String,
        /// Why.
        source: Box<Absence>,
    },
    /// More than one object answers to it.
    #[error("volume {name} is on this node {count} times: {first} and {second}")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// How often.
        count: usize,
        /// The first image.
        first: String,
        /// The second image.
        second: String,
    },
    /// The caller's UUID is not that of the object of that name.
    #[error("volume {name} has UUID {found} on this node, not {asked}")]
    OtherUuid {
        /// What was asked for.
        name: String,
        /// The UUID in the tag.
        found: VolumeUuid,
        /// The UUID asked for.
        asked: VolumeUuid,
    },
}

/// How a caller names a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Name of the StorageVolume: the CSI handle.
    pub name: &'a str,
    /// Its UUID, where the caller knows it.
    pub uuid: Option<VolumeUuid>,
    /// The pool it was given out from, where the caller knows it: looked at first.
    pub pool: Option<&'a str>,
    /// Which states are looked for.
    pub scope: Scope,
}

/// Which states of a host object a caller means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only what may be given to a Pod.
    InService,
    /// Whatever is there: what takes a volume from a Pod must work on a retained one too.
    Any,
}

/// Everything in every pool.
#[must_use]
pub fn list(host: &dyn Host, pools: &Pools, cluster: &ClusterUid) -> Listing {
    list_in(host, pools.all(), cluster)
}

fn list_in(host: &dyn Host, pools: Vec<KnownPool>, cluster: &ClusterUid) -> Listing {
    let mut listing = Listing::default();
    for pool in pools {
        match presence::images(host, &pool, cluster) {
            Ok(images) => sort_in(&mut listing, &pool, images, cluster),
            Err(error) => listing.failed.push((pool, error)),
        }
    }
    listing
}

fn sort_in(listing: &mut Listing, pool: &KnownPool, images: Vec<ImageView>, cluster: &ClusterUid) {
    for image in images {
        match &image.tag {
            TagReading::Read(tag) if tag.cluster == *cluster => {
                let (pool, tag) = (pool.clone(), tag.clone());
                listing.ours.push(Located { pool, image, tag });
            }
            // Another cluster's: none of our business (I4).
            TagReading::Read(_) => {}
            TagReading::Absent | TagReading::Unreadable(_) => {
                listing.unreadable.push((pool.clone(), image));
            }
        }
    }
}

/// The volume of that name, where it was last, if what is mounted at `path` is its own: asked for once a minute of each
/// volume, it must not look at all others. `None`: only [`find`] can tell.
pub fn mounted(
    host: &dyn Host,
    pools: &Pools,
    cluster: &ClusterUid,
    name: &str,
    path: &Path,
) -> Option<Located> {
    let Home { pool, volume } = pools.home(name)?;
    let pool = pools.get(pool)?;
    let image = host.mounted(&pool.dir, volume, path).ok()??;
    let TagReading::Read(tag) = &image.tag else { return None };
    let is_it = tag.object == HostObject::Volume
        && tag.name == name
        && tag.volume == volume
        && tag.cluster == *cluster;
    let tag = is_it.then(|| tag.clone())?;
    Some(Located { pool, image, tag })
}

/// The one volume that `wanted` means; a snapshot of that name is never meant. Its own pool is looked at first, and the
/// others only if it is not there: a pool that hangs costs the volumes of no other one.
///
/// # Errors
/// [`Error`]; `NotFound` only if every pool was looked at.
pub fn find(
    host: &dyn Host,
    pools: &Pools,
    cluster: &ClusterUid,
    wanted: &Wanted<'_>,
) -> Result<Located, Error> {
    let home = pools.home(wanted.name).map(|home| home.pool);
    let is_own =
        |pool: &KnownPool| home == Some(pool.uuid) || wanted.pool == Some(pool.name.as_str());
    let own = pools.all().into_iter().filter(is_own).collect();
    let found = choose(list_in(host, own, cluster), wanted);
    let located = found.or_else(|_| choose(list(host, pools, cluster), wanted))?;
    let home = Home { pool: located.pool.uuid, volume: located.tag.volume };
    pools.set_home(wanted.name, home);
    Ok(located)
}

fn choose(listing: Listing, wanted: &Wanted<'_>) -> Result<Located, Error> {
    let Wanted { name, uuid, scope, pool: _ } = wanted;
    let Listing { ours, unreadable: _, failed } = listing;
    let is_named = |tag: &Tag| tag.object == HostObject::Volume && tag.name == *name;
    let named = ours.into_iter().filter(|located| is_named(&located.tag));
    let mut named: Vec<_> = named.filter(|located| is_meant(&located.tag, *scope)).collect();
    let text = || (*name).to_owned();
    match (named.pop(), named.pop()) {
        (Some(located), None) => match uuid {
            Some(asked) if *asked != located.tag.volume => {
                Err(Error::OtherUuid { name: text(), found: located.tag.volume, asked: *asked })
            }
            Some(_) | None => Ok(located),
        },
        (Some(one), Some(two)) => Err(Error::Ambiguous {
            name: text(),
            count: named.len() + 2,
            first: one.image.path.display().to_string(),
            second: two.image.path.display().to_string(),
        }),
        (None, _) => match failed.into_iter().next() {
            Some((pool, source)) => {
                let source = Box::new(source);
                Err(Error::Unknown { name: text(), pool: pool.name, source })
            }
            None => Err(Error::NotFound { name: text() }),
        },
    }
}

fn is_meant(tag: &Tag, scope: Scope) -> bool {
    match tag.state {
        HostState::Creating | HostState::Ready => true,
        HostState::Retained | HostState::Quarantined { .. } => scope == Scope::Any,
    }
}
