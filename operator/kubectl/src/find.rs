//! Which volume is meant by a name: its own, or that of its claim. Pure.

use terrace_crds::StorageVolume;
use terrace_crds::volume::ClaimRef;

use crate::volumes;

/// What a name can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// A claim, named with its namespace.
    Claim(ClaimRef),
    /// A StorageVolume; failing that, a claim in the namespace given.
    Either {
        /// The volume's name.
        volume: String,
        /// The claim.
        claim: ClaimRef,
    },
}

/// Reads `NAME` or `NAMESPACE/NAME`.
#[must_use]
pub fn parse_name(text: &str, namespace: &str) -> Meant {
    let claim =
        |namespace: &str, name: &str| ClaimRef { namespace: namespace.into(), name: name.into() };
    match text.split_once('/') {
        Some((namespace, name)) => Meant::Claim(claim(namespace, name)),
        None => Meant::Either { volume: text.to_owned(), claim: claim(namespace, text) },
    }
}

impl Meant {
    /// The claim that is meant, if one is.
    #[must_use]
    pub fn claim(&self) -> &ClaimRef {
        match self {
            Self::Claim(claim) | Self::Either { claim, .. } => claim,
        }
    }
}

/// The volume that is meant.
#[must_use]
pub fn find<'a>(volumes: &'a [StorageVolume], meant: &Meant) -> Option<&'a StorageVolume> {
    let named = |name: &str| volumes.iter().find(|v| v.metadata.name.as_deref() == Some(name));
    let claimed = |claim: &ClaimRef| {
        let text = format!("{}/{}", claim.namespace, claim.name);
        volumes.iter().find(|volume| volumes::claim(volume) == text)
    };
    match meant {
        Meant::Claim(claim) => claimed(claim),
        Meant::Either { volume, claim } => named(volume).or_else(|| claimed(claim)),
    }
}

#[cfg(test)]
mod tests {
    use super::{find, parse_name};
    use serde_json::{from_value, json};
    use terrace_crds::StorageVolume;

    fn volume(name: &str, claim: &str) -> StorageVolume {
        let volume = json!({
            "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume", "metadata": {"name": name},
            "spec": {
                "origin": "CSI", "capacity": "1Gi", "volumeMode": "Block", "pool": "local",
                "claimRef": {"namespace": "apps", "name": claim},
            },
        });
        from_value(volume).unwrap()
    }

    #[test]
    fn a_volume_is_found_by_its_name_or_its_claim() {
        let volumes = [volume("pvc-1", "data"), volume("pvc-2", "logs")];
        let found = |text: &str| {
            find(&volumes, &parse_name(text, "apps")).and_then(|v| v.metadata.name.clone())
        };
        assert_eq!(found("pvc-2").as_deref(), Some("pvc-2"));
        assert_eq!(found("apps/data").as_deref(), Some("pvc-1"));
        assert_eq!(found("logs").as_deref(), Some("pvc-2"));
        assert_eq!(found("other/data"), None);
        assert_eq!(find(&volumes, &parse_name("data", "other")), None);
    }
}
