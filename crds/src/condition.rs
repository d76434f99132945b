//! Conditions: their types and reasons as closed enums, and the one pure function that sets one.
//! No status text for a condition is spelled anywhere else.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

macro_rules! names {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $enum { $($(#[$vdoc])* $variant),+ }

        impl $enum {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// What a condition is about.
    ConditionType {
        /// The object does what it was asked for.
        Ready,
        /// Nothing below the volume or pool reports a fault.
        Healthy,
        /// No disk of the node fails, and no pool lacks one.
        DisksHealthy,
        /// The volume's p99 is above its target (Unknown while no probe reports).
        LatencyHigh,
        /// The volume is being grown.
        Resizing,
        /// The volume is being moved.
        Moving,
        /// Bytes or inodes are nearly used up.
        CapacityPressure,
        /// No node lists the volume's host object.
        Missing,
        /// A PersistentVolumeClaim has the volume.
        Bound,
        /// What earlier operations left on a node's pools was looked for, and removed where it may be.
        Swept,
        /// A policy's text is sound.
        Accepted,
        /// A policy is being carried out.
        Enforced,
    }
}

names! {
    /// Why a condition has its status.
    Reason {
        /// All is as asked for.
        AsExpected,
        /// Waiting for the operator to choose a node and pool.
        WaitingForPlacement,
        /// No pool can hold the volume now.
        NoCapacity,
        /// No pool fits what was asked for, whatever its space.
        NoMatchingPool,
        /// Waiting for the node to act.
        WaitingForNode,
        /// The node is making the host object.
        Creating,
        /// The node is removing the host object.
        Deleting,
        /// Deletion waits: the volume is mounted or open.
        InUse,
        /// Deletion waits: there is no proof that the bytes may go.
        NoProof,
        /// The image was grown; the filesystem follows.
        GrowingImage,
        /// The filesystem has yet to be grown on the node.
        FilesystemGrowPending,
        /// The kernel or the environment lacks something, named in the message.
        FacilityMissing,
        /// A step failed and is tried again.
        Failed,
        /// What was asked for can never work as written.
        Invalid,
        /// The engine for what was asked for is not part of this release.
        NotSupported,
        /// The policy's engine is not part of this release.
        EngineNotInstalled,
        /// Bytes are above the threshold.
        BytesAboveThreshold,
        /// Inodes are above the threshold.
        InodesAboveThreshold,
        /// Below every threshold.
        BelowThreshold,
        /// The pool itself is out of space.
        PoolFull,
        /// Nobody measures it.
        NoProbe,
        /// The probe is there and cannot see the volume's operations: the message says why.
        NotObservable,
        /// The measured p99 is above the target.
        AboveTarget,
        /// The measured p99 is below the target, or nothing is done on the volume.
        BelowTarget,
        /// Reads or writes ended in an I/O error.
        IoErrors,
        /// The filesystem is mounted for writing and takes no writes.
        ReadOnlyFilesystem,
        /// The filesystem shut itself down: nothing can be read or written.
        FilesystemShutDown,
        /// A disk below fails: the message names it.
        DiskFailing,
        /// A disk below is not there: the message names it.
        DiskMissing,
        /// The host object is listed by a node.
        Found,
        /// No node lists the host object.
        NotFound,
        /// The host object belongs to another cluster or pool.
        Foreign,
        /// Two objects ask for the same thing; the older one has it.
        Conflict,
        /// A device holds data.
        DeviceNotBlank,
        /// The host object or its tag cannot be read as expected.
        Inconsistent,
        /// No node offers it.
        NoNode,
        /// Some nodes offer it, others report a fault.
        PartlyReady,
        /// The node has not been heard of.
        NodeGone,
        /// The volume is not of the size asked for: the message says why.
        SizeRounded,
        /// Its PersistentVolume and claim are made; Kubernetes binds them next.
        WaitingForClaim,
        /// Its claim was deleted; the PersistentVolume keeps the bytes.
        Released,
        /// Neither claim nor PersistentVolume is left; the bytes are kept.
        Retained,
        /// A node keeps bytes under the volume's UUID: they are used only where that is asked for.
        AdoptionNeeded,
        /// What is to be adopted is listed by no node.
        NotListed,
        /// A pool's deletion waits: volumes or snapshots lie on it.
        HasVolumes,
        /// The object was lost, and made again from its PersistentVolume and the bytes that a node has.
        Healed,
        /// The API server did not answer a question on which bytes depend.
        ReadFailed,
        /// The API server has no object at all of a kind of which the host has bytes in service.
        NoObjects,
        /// The API server is of another cluster than the one whose host objects are here.
        OtherCluster,
        /// A kind of Terrace is being deleted from the API server, and with it its objects.
        DefinitionTerminating,
    }
}

/// Three-valued truth of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows.
    Unknown,
}

impl Truth {
    /// The status text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One condition as decided, before it meets what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds.
    pub truth: Truth,
    /// Why, from the closed list.
    pub reason: Reason,
    /// Cause and remedy, for people.
    pub message: String,
}

impl Verdict {
    /// A verdict of these four parts.
    pub fn new(
        kind: ConditionType,
        truth: Truth,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, truth, reason, message: message.into() }
    }

    /// The condition to write, beside the one that is there: its transition time moves only with the status.
    pub fn against(&self, there: &[Condition], generation: i64, now: Timestamp) -> Condition {
        let old = find(there, self.kind).filter(|old| old.status == self.truth.as_str());
        Condition {
            type_: self.kind.as_str().to_owned(),
            status: self.truth.as_str().to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message.clone(),
            observed_generation: Some(generation),
            last_transition_time: old.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    }
}

/// The condition of this type, if there is one.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// Whether the condition of this type is there and True.
pub fn is_true(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == Truth::True.as_str())
}

#[cfg(test)]
mod tests {
    use super::{ConditionType, Reason, Timestamp, Truth, Verdict};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let waiting = Verdict::new(ConditionType::Ready, Truth::False, Reason::Creating, "a");
        let first = waiting.against(&[], 1, at(10));
        let again = Verdict { message: "b".into(), ..waiting }.against(
            std::slice::from_ref(&first),
            2,
            at(20),
        );
        assert_eq!(again.last_transition_time.0, at(10));
        assert_eq!(again.message, "b");
        let ready = Verdict::new(ConditionType::Ready, Truth::True, Reason::AsExpected, "");
        assert_eq!(ready.against(&[again], 2, at(30)).last_transition_time.0, at(30));
    }
}
