//! Why a Direct volume is not made, or not bound: one sentence each, with the way out. Pure text.

use terrace_crds::condition::Reason;
use terrace_crds::names::CLASS_DIRECT;
use terrace_crds::volume::ClaimRef;

use crate::capability::CapabilityError;
use crate::size::{Content, SizeError, words};

/// A refusal; nothing is made because of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    /// A name that neither a PersistentVolume's handle nor the host object can bear.
    #[error(
        "the name of a Direct volume has at most 63 lower-case letters, digits and '-': delete this object and apply it under such a name"
    )]
    Name,
    /// Nobody looked at the claim yet.
    #[error("the operator looks at claim {} first", text(.claim))]
    NotLooked {
        /// The claim.
        claim: ClaimRef,
    },
    /// No such namespace.
    #[error("there is no namespace {}: make it, or name another in spec.claimRef", claim.namespace)]
    NoNamespace {
        /// The claim.
        claim: ClaimRef,
    },
    /// The claim is on its way out.
    #[error("claim {} is being deleted: it is made anew once it is gone", text(.claim))]
    ClaimLeaving {
        /// The claim.
        claim: ClaimRef,
    },
    /// The claim has another volume.
    #[error("claim {} is bound to volume {to}: name another claim in spec.claimRef", text(.claim))]
    ClaimTaken {
        /// The claim.
        claim: ClaimRef,
        /// Its PersistentVolume.
        to: String,
    },
    /// The claim is somebody else's to fulfil.
    #[error(
        "claim {} is of class {class:?}: a Direct volume is for a claim of class {CLASS_DIRECT}; name another in spec.claimRef, or delete it and it is made", text(.claim)
    )]
    ClaimClass {
        /// The claim.
        claim: ClaimRef,
        /// Its class; empty where it names none.
        class: String,
    },
    /// The claim asks for what this volume is not.
    #[error("claim {} asks for {asks}: {remedy}", text(.claim))]
    ClaimOther {
        /// The claim.
        claim: ClaimRef,
        /// What it asks for.
        asks: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another volume is for the same claim.
    #[error("StorageVolume {other} is for claim {} too, and came first: name another claim in spec.claimRef", text(.claim))]
    Rival {
        /// The claim.
        claim: ClaimRef,
        /// The other volume.
        other: String,
    },
    /// The name of the PersistentVolume is taken.
    #[error(
        "PersistentVolume {name} is another volume ({what}): delete this object and apply it under another name"
    )]
    Stranger {
        /// The name.
        name: String,
        /// What it is.
        what: String,
    },
    /// Old data under the new volume's identity.
    #[error(
        "node {node} keeps bytes under this volume's UUID: adopting old data needs adopt: {uuid}; for an empty volume apply it under another name"
    )]
    NeedsAdopt {
        /// The node.
        node: String,
        /// The UUID.
        uuid: String,
    },
    /// Somebody has it.
    #[error(
        "volume {uuid} is StorageVolume {other}: only what no StorageVolume has can be adopted"
    )]
    AnotherHas {
        /// The UUID.
        uuid: String,
        /// Who has it.
        other: String,
    },
    /// Nobody has it.
    #[error(
        "no node lists volume {uuid}: nothing is made in its place; see kubectl terrace nodes for what is kept"
    )]
    NotListed {
        /// The UUID.
        uuid: String,
    },
    /// It is there and cannot be used.
    #[error(
        "node {node} lists volume {uuid} as {state}: only what is Ready or Retained can be adopted"
    )]
    Unusable {
        /// The node.
        node: String,
        /// The UUID.
        uuid: String,
        /// Its state.
        state: String,
    },
    /// Copies of one host object, as after a disk was cloned.
    #[error("{nodes} list volume {uuid}: only one of the host objects can be the volume")]
    Several {
        /// The nodes.
        nodes: String,
        /// The UUID.
        uuid: String,
    },
    /// The kubelet finds a volume by its name.
    #[error("volume {uuid} was made as {name}: adopt it with a StorageVolume of that name")]
    OtherName {
        /// The UUID.
        uuid: String,
        /// Its name on the node.
        name: String,
    },
    /// It lies elsewhere.
    #[error(
        "volume {uuid} lies in pool {pool} of tier {tier} on node {node}, not where this asks: apply it with spec.pool: {pool}"
    )]
    OtherPool {
        /// The UUID.
        uuid: String,
        /// The node.
        node: String,
        /// Its pool.
        pool: String,
        /// The tier of that pool.
        tier: String,
    },
    /// It holds something else.
    #[error("volume {uuid} holds {has}, asked is {asked}: apply it with what it holds")]
    OtherContent {
        /// The UUID.
        uuid: String,
        /// What it holds.
        has: Content,
        /// What was asked.
        asked: Content,
    },
    /// Too small for what it holds.
    #[error("{content} takes at least {}: raise spec.capacity", words(*.minimum))]
    Small {
        /// What it is to hold.
        content: Content,
        /// Bytes, at least.
        minimum: u64,
    },
    /// Its pool cannot hold that much more.
    #[error("{place}: {} more asked, {} free", words(*.more), words(*.free))]
    NoSpace {
        /// `node/pool`.
        place: String,
        /// Bytes asked beyond what it has.
        more: u64,
        /// Bytes left.
        free: u64,
    },
    /// See the source.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// See the source.
    #[error(transparent)]
    Options(#[from] CapabilityError),
}

impl DirectError {
    /// The reason of the condition that says it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotLooked { .. } => Reason::WaitingForPlacement,
            Self::Name
            | Self::NoNamespace { .. }
            | Self::OtherName { .. }
            | Self::OtherPool { .. }
            | Self::OtherContent { .. }
            | Self::Small { .. }
            | Self::Size(_)
            | Self::Options(_) => Reason::Invalid,
            Self::ClaimLeaving { .. }
            | Self::ClaimTaken { .. }
            | Self::ClaimClass { .. }
            | Self::ClaimOther { .. }
            | Self::Rival { .. }
            | Self::Stranger { .. }
            | Self::AnotherHas { .. } => Reason::Conflict,
            Self::NeedsAdopt { .. } => Reason::AdoptionNeeded,
            Self::NotListed { .. } => Reason::NotListed,
            Self::Unusable { .. } | Self::Several { .. } => Reason::Inconsistent,
            Self::NoSpace { .. } => Reason::NoCapacity,
        }
    }
}

pub(crate) fn text(claim: &ClaimRef) -> String {
    format!("{}/{}", claim.namespace, claim.name)
}
