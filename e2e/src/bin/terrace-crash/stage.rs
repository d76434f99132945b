//! What a life does next, and which points it will pass: an armed point is then soon hit. Pure.
//! A point that no stage claims is passed all the time, or by chance: it may be armed at any stage.

use std::fmt;

use crate::points::Point;

// Parts of the plain names of the points that each stage passes.
const POOL: &[&str] = &[
    "/preparepool",
    "effect/holdpool",
    "effect/reportpool",
    "effect/reportlifecycle",
    "effect/reporttiering",
];
const BEGIN: &[&str] = &[
    "/create/",
    "/stage/",
    "/publish/",
    "reply/stage",
    "reply/publish",
    "reply/nodestage",
    "reply/nodepublish",
    "effect/createvolume",
    "effect/assignvolume",
    "effect/reportvolume",
    "reply/createvolume",
    "/addfinalizer",
    "/volumestatus",
];
const GROW: &[&str] = &[
    "/grow/",
    "/expand/",
    "reply/expand",
    "reply/nodeexpand",
    "effect/growvolume",
    "effect/growclaim",
    "reply/controllerexpand",
    "reply/expandvolume",
];
const SNAPSHOT: &[&str] = &[
    "/copy/",
    "effect/createsnapshot",
    "effect/assignsnapshot",
    "effect/reportsnapshot",
    "reply/createsnapshot",
    "reply/createvolumegroup",
    "reply/creategroup",
    "/snapshotstatus",
];
const LEAVE: &[&str] = &[
    "/unpublish/",
    "/unstage/",
    "reply/unpublish",
    "reply/unstage",
    "reply/nodeunpublish",
    "reply/nodeunstage",
];
const COPIES: &[&str] = &["/copy/", "/stage/", "/publish/", "effect/createvolume"];
const END: &[&str] = &[
    "/delete/",
    "effect/stamp",
    "effect/delete",
    "effect/release",
    "reply/delete",
    "/dropfinalizer",
];
const DIRECT: &[&str] = &[
    "effect/namevolume",
    "effect/makepersistent",
    "effect/makeclaim",
    "effect/assignvolume",
    "effect/reportvolume",
    "effect/hold",
];
const KEEP: &[&str] = &["/retain/", "effect/releasevolume", "effect/reportvolume"];
const ADOPT: &[&str] = &["/adopt/", "effect/pointpersistent", "effect/makepersistent"];
const UNPOOL: &[&str] = &["effect/releasepool", "/dropfinalizer"];

/// One stage of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// A pool is made on a blank disk, policies are applied.
    Pool,
    /// A claim is made and a Pod runs on it.
    Begin,
    /// The volume grows.
    Grow,
    /// A snapshot is taken.
    Snapshot,
    /// The Pod goes.
    Leave,
    /// Restored volumes and clones are made, and a Pod reads them.
    Copies,
    /// Claims and snapshots are deleted.
    End,
    /// A Direct volume is made, and a Pod runs on it.
    Direct,
    /// It is let go by its claim, and kept.
    Keep,
    /// It is taken into service again.
    Adopt,
    /// The pool goes.
    Unpool,
}

impl Stage {
    const ALL: [Self; 11] = [
        Self::Pool,
        Self::Begin,
        Self::Grow,
        Self::Snapshot,
        Self::Leave,
        Self::Copies,
        Self::End,
        Self::Direct,
        Self::Keep,
        Self::Adopt,
        Self::Unpool,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Begin => "begin",
            Self::Grow => "grow",
            Self::Snapshot => "snapshot",
            Self::Leave => "leave",
            Self::Copies => "copies",
            Self::End => "end",
            Self::Direct => "direct",
            Self::Keep => "keep",
            Self::Adopt => "adopt",
            Self::Unpool => "unpool",
        }
    }

    /// Parts of the plain names of the points that it passes.
    const fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Pool => POOL,
            Self::Begin => BEGIN,
            Self::Grow => GROW,
            Self::Snapshot => SNAPSHOT,
            Self::Leave => LEAVE,
            Self::Copies => COPIES,
            Self::End => END,
            Self::Direct => DIRECT,
            Self::Keep => KEEP,
            Self::Adopt => ADOPT,
            Self::Unpool => UNPOOL,
        }
    }

    /// Whether this stage is likely to pass the point.
    pub(crate) fn passes(self, point: &Point) -> bool {
        self.claims(point) || !Self::ALL.iter().any(|stage| stage.claims(point))
    }

    fn claims(self, point: &Point) -> bool {
        self.parts().iter().any(|part| point.plain.contains(part))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Point, Stage};

    fn point(name: &str) -> Point {
        Point::parse(name).unwrap()
    }

    #[test]
    fn a_stage_passes_the_points_of_its_operations() {
        assert!(Stage::Begin.passes(&point("node/journal-begin/create/before")));
        assert!(Stage::Begin.passes(&point("node/step/stage/attach-loop/after")));
        assert!(!Stage::Begin.passes(&point("node/step/unstage/unmount/after")));
        assert!(Stage::Leave.passes(&point("node/step/unstage/unmount/after")));
        assert!(!Stage::Leave.passes(&point("node/step/stage/attach-loop/after")));
        assert!(Stage::End.passes(&point("operator/reply/delete-snapshot")));
    }

    #[test]
    fn what_no_stage_claims_may_be_passed_in_any() {
        let renewal = point("operator/lease/renew/before");
        assert!(Stage::ALL.iter().all(|stage| stage.passes(&renewal)));
    }
}
