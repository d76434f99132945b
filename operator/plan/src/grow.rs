//! ControllerExpandVolume: whether, and to what, a volume grows. Pure; the capacity is promised by the effect
//! that is returned, before any node acts.

use terrace_crds::volume::{Assignment, Origin};
use terrace_crds::{Size, StorageVolume};

use crate::class::Class;
use crate::effect::{Effect, ObjectRef};
use crate::size::{Asked, Content, SizeError, plan_growth, words};
use crate::space::{Space, bytes, bytes_of, granted, observe_spaces};
use crate::world::{World, name_of};

/// What growing a volume takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Growth {
    /// It is large enough already.
    Enough {
        /// Bytes it has.
        bytes: u64,
    },
    /// More must be promised.
    Grow {
        /// Bytes it gets, in all.
        to: u64,
        /// The promise.
        effect: Box<Effect>,
    },
}

/// Why a volume cannot grow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrowError {
    /// See the source.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// It is on its way out.
    #[error("volume {name} is being deleted")]
    Leaving {
        /// Its name.
        name: String,
    },
    /// It has no place yet.
    #[error("volume {name} has no place yet: it grows once it was made")]
    Unplaced {
        /// Its name.
        name: String,
    },
    /// Its node does not list its pool.
    #[error("node {node} does not list the pool of volume {name} now")]
    PoolUnknown {
        /// Its name.
        name: String,
        /// Where it lies.
        node: String,
    },
    /// Its pool cannot promise that much.
    #[error("{place}: {} more asked, {} free", words(*.more), words(*.free))]
    NoSpace {
        /// `node/pool`.
        place: String,
        /// Bytes asked beyond what it has.
        more: u64,
        /// Bytes left.
        free: u64,
    },
}

impl GrowError {
    /// Whether it may work later.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Size(error) => error.class(),
            Self::Leaving { .. } => Class::Invalid,
            Self::Unplaced { .. } | Self::PoolUnknown { .. } => Class::Retry,
            Self::NoSpace { .. } => Class::Wait,
        }
    }
}

/// Decides.
///
/// # Errors
/// [`GrowError`], with a sentence for the caller.
pub fn plan_grow(world: &World, volume: &StorageVolume, asked: Asked) -> Result<Growth, GrowError> {
    let name = || name_of(&volume.metadata).to_owned();
    let content = volume.spec.fs_type.map_or(Content::Block, Content::Filesystem);
    let has = match volume.spec.origin {
        // Not what was asked last: a growth that its node could not make was taken back.
        Origin::Csi => granted(volume),
        // A Direct volume has what it was granted: its own text need not be a whole step.
        Origin::Direct => bytes(&volume.spec.capacity).max(granted(volume)),
    };
    let to = plan_growth(asked, has, content)?.bytes;
    if to == has {
        return Ok(Growth::Enough { bytes: has });
    }
    if volume.metadata.deletion_timestamp.is_some() {
        return Err(GrowError::Leaving { name: name() });
    }
    let Some(place) = &volume.spec.assignment else {
        return Err(GrowError::Unplaced { name: name() });
    };
    let spaces = observe_spaces(world);
    let is_it = |space: &&Space| space.pool.uuid.as_deref() == Some(&place.pool_uuid);
    let Some(space) = spaces.iter().find(is_it) else {
        return Err(GrowError::PoolUnknown { name: name(), node: place.node.clone() });
    };
    let more = to.saturating_sub(bytes_of(volume));
    if more > space.free() {
        let place = format!("{}/{}", space.node, space.pool.name);
        return Err(GrowError::NoSpace { place, more, free: space.free() });
    }
    let effect = if to <= bytes(&volume.spec.capacity) {
        grant(volume, place, space.pool.name.clone(), to)
    } else {
        Effect::GrowVolume { volume: ObjectRef::of(&volume.metadata), to }
    };
    Ok(Growth::Grow { to, effect: Box::new(effect) })
}

/// Takes back what was promised beyond what is there, where its node could not keep the promise: `spec.capacity`
/// never shrinks, so what holds stands in the assignment from now on. Of a Direct volume the leader decides.
#[must_use]
pub fn plan_take_back(volume: &StorageVolume) -> Option<Effect> {
    let place = volume.spec.assignment.as_ref()?;
    let status = volume.status.as_ref()?;
    let there = bytes(status.capacity.as_ref()?);
    let beyond = volume.spec.origin == Origin::Csi && there < granted(volume);
    beyond.then(|| grant(volume, place, status.pool.clone().unwrap_or_default(), there))
}

fn grant(volume: &StorageVolume, place: &Assignment, pool: String, bytes: u64) -> Effect {
    let capacity = Some(Size::from_bytes(bytes));
    let assignment = Assignment { capacity, ..place.clone() };
    Effect::AssignVolume { volume: ObjectRef::of(&volume.metadata), assignment, pool, bytes }
}
