//! StorageClass parameters. What this release cannot do is refused with a sentence, what it does not know is
//! refused by name; nothing is ignored but what Kubernetes itself adds. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use terrace_crds::Latency;
use terrace_crds::names::PARAMETER_PREFIX;
use terrace_crds::volume::{ClaimRef, FsType};

use crate::capability::parse_fs_type;
use crate::class::Class;

/// Prefix of what Kubernetes and its sidecars add by themselves.
const KUBERNETES_PREFIX: &str = "csi.storage.k8s.io/";
/// Longest name of a pool or tier.
const NAME_MAX: usize = 63;

/// Parameters whose engine is not part of this release, and what to do instead.
const WITHOUT_ENGINE: [(&str, &str); 4] = [
    ("read-iops", "limits need the cgroup engine"),
    ("write-iops", "limits need the cgroup engine"),
    ("read-bps", "limits need the cgroup engine"),
    ("write-bps", "limits need the cgroup engine"),
];

/// Which pools will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The StoragePool of this name.
    Pool(String),
    /// Any StoragePool of this tier.
    Tier(String),
    /// Any StoragePool: only GetCapacity may ask so.
    Any,
}

/// What happens to the bytes before they are given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Erase {
    /// They are overwritten.
    Overwrite,
    /// They are given back as they are.
    #[default]
    Leave,
}

/// Parameters that were understood, every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidParameters {
    /// Which pools will do.
    pub target: Target,
    /// The filesystem, where the class names one.
    pub fs_type: Option<FsType>,
    /// What happens to the bytes at the end.
    pub erase: Erase,
    /// The latency that volumes are to stay below, where the class names one.
    pub latency: Option<Latency>,
    /// The claim, where the provisioner tells it.
    pub claim: Option<ClaimRef>,
}

/// Why parameters are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Nobody knows it.
    #[error("parameter {name:?} of the StorageClass is unknown: remove it")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// Known, but its engine is not part of this release.
    #[error("parameter terrace.storage/{name} is not supported in this release ({why}): remove it")]
    NotSupported {
        /// Its name without prefix.
        name: &'static str,
        /// What is missing.
        why: &'static str,
    },
    /// Known, with a value that makes no sense.
    #[error("parameter terrace.storage/{name} is {value:?}: it must be {must}")]
    Value {
        /// Its name without prefix.
        name: &'static str,
        /// As given.
        value: String,
        /// What would be accepted.
        must: &'static str,
    },
    /// Neither pool nor tier.
    #[error(
        "the StorageClass says neither where nor on what: set one of the parameters terrace.storage/tier and terrace.storage/pool"
    )]
    NoTarget,
    /// Both pool and tier.
    #[error("the StorageClass sets both terrace.storage/tier and terrace.storage/pool: keep one")]
    TwoTargets,
    /// Mutable parameters (VolumeAttributesClass) were given.
    #[error(
        "parameter {name:?} of the VolumeAttributesClass is not supported in this release: volumes are not modified yet"
    )]
    Mutable {
        /// The first of them.
        name: String,
    },
}

impl ParameterError {
    /// Nobody but the author of the class can help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Unknown { .. }
            | Self::NotSupported { .. }
            | Self::Value { .. }
            | Self::NoTarget
            | Self::TwoTargets
            | Self::Mutable { .. } => Class::Invalid,
        }
    }
}

/// Reads the parameters of a StorageClass.
///
/// # Errors
/// [`ParameterError`] for the first, by name, that is not understood.
pub fn parse_parameters(
    given: &BTreeMap<String, String>,
) -> Result<ValidParameters, ParameterError> {
    for name in given.keys().filter(|name| !name.starts_with(KUBERNETES_PREFIX)) {
        check_known(name)?;
    }
    let ours = |name: &'static str| given.get(&format!("{PARAMETER_PREFIX}{name}"));
    let target = match (ours("pool"), ours("tier")) {
        (Some(_), Some(_)) => return Err(ParameterError::TwoTargets),
        (None, None) => return Err(ParameterError::NoTarget),
        (Some(pool), None) => Target::Pool(parse_name("pool", pool)?),
        (None, Some(tier)) => Target::Tier(parse_name("tier", tier)?),
    };
    let fs_type = ours("fs-type").map(|value| parse_fs(value)).transpose()?;
    let erase = ours("erase-on-delete").map_or(Ok(Erase::Leave), |value| parse_erase(value))?;
    let latency = ours("latency-p99").map(|value| parse_latency(value)).transpose()?;
    Ok(ValidParameters { target, fs_type, erase, latency, claim: parse_claim(given) })
}

/// Refuses what a VolumeAttributesClass asks for: nothing of it acts yet.
///
/// # Errors
/// [`ParameterError::Mutable`], naming the first.
pub fn refuse_mutable(given: &BTreeMap<String, String>) -> Result<(), ParameterError> {
    match given.keys().next() {
        Some(name) => Err(ParameterError::Mutable { name: name.clone() }),
        None => Ok(()),
    }
}

fn check_known(name: &str) -> Result<(), ParameterError> {
    let unknown = || ParameterError::Unknown { name: name.to_owned() };
    let ours = name.strip_prefix(PARAMETER_PREFIX).ok_or_else(unknown)?;
    if let Some((name, why)) = WITHOUT_ENGINE.into_iter().find(|(name, _)| *name == ours) {
        return Err(ParameterError::NotSupported { name, why });
    }
    match ours {
        "tier" | "pool" | "fs-type" | "erase-on-delete" | "latency-p99" => Ok(()),
        _ => Err(unknown()),
    }
}

fn parse_name(name: &'static str, value: &str) -> Result<String, ParameterError> {
    if value.is_empty() || value.len() > NAME_MAX {
        let must = "a name of 1 to 63 characters";
        return Err(ParameterError::Value { name, value: value.to_owned(), must });
    }
    Ok(value.to_owned())
}

fn parse_fs(value: &str) -> Result<FsType, ParameterError> {
    let must = "xfs, ext4 or btrfs";
    let refused = || ParameterError::Value { name: "fs-type", value: value.to_owned(), must };
    parse_fs_type(value).ok_or_else(refused)
}

fn parse_latency(value: &str) -> Result<Latency, ParameterError> {
    let must = "a latency from 1us to 16s, such as 10ms";
    let refused = |_| ParameterError::Value { name: "latency-p99", value: value.to_owned(), must };
    value.parse().map_err(refused)
}

fn parse_erase(value: &str) -> Result<Erase, ParameterError> {
    match value {
        "true" => Ok(Erase::Overwrite),
        "false" => Ok(Erase::Leave),
        _ => Err(ParameterError::Value {
            name: "erase-on-delete",
            value: value.to_owned(),
            must: "true or false",
        }),
    }
}

/// The claim, as `--extra-create-metadata` of the provisioner tells it.
fn parse_claim(given: &BTreeMap<String, String>) -> Option<ClaimRef> {
    let named = |name: &str| given.get(&format!("{KUBERNETES_PREFIX}{name}")).cloned();
    Some(ClaimRef { namespace: named("pvc/namespace")?, name: named("pvc/name")? })
}

#[cfg(test)]
mod tests {
    use super::{
        BTreeMap, ClaimRef, Erase, FsType, ParameterError, Target, ValidParameters,
        parse_parameters, refuse_mutable,
    };

    fn map(given: &[(&str, &str)]) -> BTreeMap<String, String> {
        given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn refused(given: &[(&str, &str)]) -> String {
        parse_parameters(&map(given)).unwrap_err().to_string()
    }

    #[test]
    fn every_parameter_is_understood() {
        let parsed = parse_parameters(&map(&[
            ("terrace.storage/tier", "ssd"),
            ("terrace.storage/fs-type", "btrfs"),
            ("terrace.storage/erase-on-delete", "true"),
            ("terrace.storage/latency-p99", "5ms"),
            ("csi.storage.k8s.io/pvc/name", "data"),
            ("csi.storage.k8s.io/pvc/namespace", "shop"),
            ("csi.storage.k8s.io/pv/name", "pvc-1"),
        ]));
        let claim = Some(ClaimRef { namespace: "shop".into(), name: "data".into() });
        let want = ValidParameters {
            target: Target::Tier("ssd".into()),
            fs_type: Some(FsType::Btrfs),
            erase: Erase::Overwrite,
            latency: Some("5ms".parse().unwrap()),
            claim,
        };
        assert_eq!(parsed, Ok(want));
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        for name in ["tier", "terrace.storage/teir", "replicas"] {
            let said = format!("parameter {name:?} of the StorageClass is unknown: remove it");
            assert_eq!(refused(&[(name, "x"), ("terrace.storage/tier", "ssd")]), said);
        }
    }

    #[test]
    fn a_parameter_without_an_engine_is_refused_with_a_sentence() {
        for name in ["read-iops", "write-iops", "read-bps", "write-bps"] {
            let said = refused(&[(&format!("terrace.storage/{name}"), "5")]);
            assert!(
                said.starts_with(&format!("parameter terrace.storage/{name} is not supported"))
            );
        }
    }

    #[test]
    fn exactly_one_of_pool_and_tier_is_needed() {
        assert_eq!(parse_parameters(&map(&[])), Err(ParameterError::NoTarget));
        let both = map(&[("terrace.storage/tier", "a"), ("terrace.storage/pool", "b")]);
        assert_eq!(parse_parameters(&both), Err(ParameterError::TwoTargets));
    }

    #[test]
    fn a_value_that_makes_no_sense_is_shown_with_what_would() {
        let tier = ("terrace.storage/tier", "ssd");
        let said = refused(&[tier, ("terrace.storage/fs-type", "zfs")]);
        let want = "parameter terrace.storage/fs-type is \"zfs\": it must be xfs, ext4 or btrfs";
        assert_eq!(said, want);
        let said = refused(&[tier, ("terrace.storage/erase-on-delete", "yes")]);
        assert!(said.ends_with("it must be true or false"));
        let said = refused(&[tier, ("terrace.storage/latency-p99", "10")]);
        let want = "parameter terrace.storage/latency-p99 is \"10\": it must be a latency from 1us to 16s, such as 10ms";
        assert_eq!(said, want);
        assert!(refused(&[("terrace.storage/pool", "")]).ends_with("1 to 63 characters"));
    }

    #[test]
    fn volume_attributes_are_refused_by_name() {
        assert_eq!(refuse_mutable(&map(&[])), Ok(()));
        let said = refuse_mutable(&map(&[("terrace.storage/tier", "hdd")])).unwrap_err();
        assert!(said.to_string().contains("\"terrace.storage/tier\""));
    }
}
