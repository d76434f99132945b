//! From which nodes a volume must be reachable, and which of them come first. Pure; kept on the StorageVolume
//! as an annotation, so that the placement can be made by another process than the one that was asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use terrace_crds::names::TOPOLOGY_NODE;

use crate::class::Class;

/// Most preferred nodes that are kept: the first are the ones that matter, and annotations are bounded.
const PREFERRED_MAX: usize = 64;

/// Nodes that a volume may lie on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// One of these; empty: any node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requisite: Vec<String>,
    /// Best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred: Vec<String>,
}

/// Segments of one topology term, as on the wire.
pub type Segments = BTreeMap<String, String>;

/// Why a topology cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A term that does not name a node.
    #[error(
        "a topology term has no segment {TOPOLOGY_NODE}: Terrace volumes are reachable by node only"
    )]
    NoNode,
    /// The annotation is not what this crate writes.
    #[error("read the topology kept on the volume")]
    Annotation(#[source] serde_json::Error),
}

impl TopologyError {
    /// Only the writer of the topology can help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NoNode | Self::Annotation(_) => Class::Invalid,
        }
    }
}

impl Topology {
    /// The nodes named by CSI's accessibility requirements.
    ///
    /// # Errors
    /// [`TopologyError::NoNode`] where a term names none.
    pub fn parse(requisite: &[Segments], preferred: &[Segments]) -> Result<Self, TopologyError> {
        let mut requisite = parse_nodes(requisite)?;
        let mut preferred = parse_nodes(preferred)?;
        if requisite.is_empty() {
            requisite.clone_from(&preferred);
        }
        preferred.truncate(PREFERRED_MAX);
        Ok(Self { requisite, preferred })
    }

    /// What is kept on the volume; `None` where any node will do.
    #[must_use]
    pub fn to_annotation(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        // Two lists of strings always serialise.
        serde_json::to_string(self).ok()
    }

    /// What was kept on the volume.
    ///
    /// # Errors
    /// [`TopologyError::Annotation`] where somebody else wrote it.
    pub fn from_annotation(text: Option<&str>) -> Result<Self, TopologyError> {
        match text {
            Some(text) => serde_json::from_str(text).map_err(TopologyError::Annotation),
            None => Ok(Self::default()),
        }
    }

    /// Whether a volume may lie on this node.
    #[must_use]
    pub fn admits(&self, node: &str) -> bool {
        self.requisite.is_empty() || self.requisite.iter().any(|name| name == node)
    }

    /// Place in the order of preference; lower is better.
    #[must_use]
    pub fn rank(&self, node: &str) -> usize {
        self.preferred.iter().position(|name| name == node).unwrap_or(usize::MAX)
    }
}

fn parse_nodes(terms: &[Segments]) -> Result<Vec<String>, TopologyError> {
    let mut nodes = Vec::new();
    for term in terms {
        let node = term.get(TOPOLOGY_NODE).ok_or(TopologyError::NoNode)?;
        if !nodes.contains(node) {
            nodes.push(node.clone());
        }
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::{Segments, TOPOLOGY_NODE, Topology};

    fn term(node: &str) -> Segments {
        Segments::from([(TOPOLOGY_NODE.to_owned(), node.to_owned())])
    }

    #[test]
    fn a_topology_survives_its_annotation() {
        let asked = Topology::parse(&[term("a"), term("b"), term("a")], &[term("b")]).unwrap();
        assert_eq!(asked.requisite, ["a", "b"]);
        let kept = asked.to_annotation();
        assert_eq!(Topology::from_annotation(kept.as_deref()).unwrap(), asked);
        assert!(asked.admits("a") && !asked.admits("c"));
        assert!(asked.rank("b") < asked.rank("a"));
    }

    #[test]
    fn no_topology_is_any_node_and_no_annotation() {
        let any = Topology::parse(&[], &[]).unwrap();
        assert!(any.admits("x"));
        assert_eq!(any.to_annotation(), None);
        assert_eq!(Topology::from_annotation(None).unwrap(), any);
    }

    #[test]
    fn a_term_without_a_node_and_a_foreign_annotation_are_refused() {
        let zone = Segments::from([("zone".to_owned(), "z".to_owned())]);
        assert!(Topology::parse(&[zone], &[]).is_err());
        assert!(Topology::from_annotation(Some("[")).is_err());
    }
}
