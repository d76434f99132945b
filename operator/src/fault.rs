//! Fault points of the operator: every effect, every answer and every write of the lease, each with a name. In service they
//! do nothing; built with feature `faults`, a harness arms one by a file beside the CSI socket.

use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use terrace_faults::words;
pub use terrace_faults::{Edge, Faults, NoFaults, Verdict, pass};
use terrace_plan::effect_kind::EffectKind;

use crate::method::Method;

/// A place where the process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// The world is changed.
    Effect(EffectKind, Edge),
    /// A call is answered with what was asked for.
    Reply(Method),
    /// The lease is written.
    Lease(LeaseWrite, Edge),
}

words! {
    /// How the lease is written.
    LeaseWrite {
        /// With our name, where it was nobody's or a rival's.
        Acquire => "acquire",
        /// With our name again.
        Renew => "renew",
        /// Without a name.
        Release => "release",
    }
}

/// What reaches a point and may not get past it.
pub type Fault = terrace_faults::Fault<Point>;

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Effect(kind, edge) => write!(f, "operator/effect/{kind}/{edge}"),
            Self::Reply(method) => write!(f, "operator/reply/{}", method.word()),
            Self::Lease(write, edge) => write!(f, "operator/lease/{write}/{edge}"),
        }
    }
}

impl Point {
    /// Every point there is, each once.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let both = Edge::ALL;
        let of = |kind: &EffectKind| both.map(|edge| Self::Effect(*kind, edge));
        let effects = EffectKind::ALL.iter().flat_map(of);
        let replies = Method::ALL.iter().map(|method| Self::Reply(*method));
        let leases = LeaseWrite::ALL;
        let leases = leases.iter().flat_map(|write| both.map(|edge| Self::Lease(*write, edge)));
        effects.chain(replies).chain(leases).collect()
    }
}

/// What decides in a process that serves at `socket`: nothing, unless this was built with feature `faults`.
///
/// # Errors
/// With that feature: if there is no folder to take orders from.
pub fn of_process(socket: &Path) -> io::Result<Arc<dyn Faults<Point>>> {
    #[cfg(feature = "faults")]
    let faults = terrace_faults::ByOrder::beside(socket, terrace_faults::Process::Operator)?;
    #[cfg(not(feature = "faults"))]
    let (faults, _) = (NoFaults, socket);
    Ok(Arc::new(faults))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Edge, EffectKind, LeaseWrite, Method, Point};

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: Vec<String> = Point::all().iter().map(ToString::to_string).collect();
        let once: BTreeSet<&String> = names.iter().collect();
        assert_eq!(once.len(), names.len());
        let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let is_name =
            |name: &&String| name.starts_with("operator/") && name.split('/').all(is_word);
        assert_eq!(names.iter().find(|name| !is_name(name)), None);
    }

    /// No arm but these: what is new does not compile here before it is in the list.
    #[test]
    fn every_sort_of_point_is_in_the_list() {
        let sort = |point: &Point| match point {
            Point::Effect(..) => 0,
            Point::Reply(..) => 1,
            Point::Lease(LeaseWrite::Acquire, _) => 2,
            Point::Lease(LeaseWrite::Renew, _) => 3,
            Point::Lease(LeaseWrite::Release, _) => 4,
        };
        let sorts: BTreeSet<i32> = Point::all().iter().map(sort).collect();
        assert_eq!(sorts, (0..5).collect());
    }

    #[test]
    fn names_are_as_the_harness_writes_them() {
        let effect = Point::Effect(EffectKind::CreateVolume, Edge::After).to_string();
        assert_eq!(effect, "operator/effect/create-volume/after");
        let reply = Point::Reply(Method::ControllerExpandVolume).to_string();
        assert_eq!(reply, "operator/reply/expand-volume");
        let lease = Point::Lease(LeaseWrite::Renew, Edge::Before).to_string();
        assert_eq!(lease, "operator/lease/renew/before");
    }
}
