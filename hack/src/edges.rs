//! Which crate of the workspace may know which. Any other edge is an error, of whatever kind and for whatever target.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths::Paths;
use crate::run::{command, output};

/// (crate, what it may depend on within the workspace). A crate that is not listed is an error too.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("terrace-crds", &[]),
    ("terrace-telemetry", &[]),
    ("terrace-faults", &[]),
    ("csi-proto-rs", &[]),
    ("terrace-device-types", &[]),
    ("terrace-plan", &["terrace-crds"]),
    (
        "terrace-operator",
        &["terrace-crds", "terrace-plan", "terrace-telemetry", "terrace-faults", "csi-proto-rs"],
    ),
    ("kubectl-terrace", &["terrace-crds", "terrace-plan"]),
    ("terrace-devices", &["terrace-device-types"]),
    ("terrace-probe-abi", &[]),
    ("terrace-probe", &["terrace-probe-abi", "terrace-telemetry"]),
    ("terrace-backends", &["terrace-device-types"]),
    (
        "terrace-node",
        &[
            "terrace-crds",
            "terrace-telemetry",
            "terrace-faults",
            "csi-proto-rs",
            "terrace-devices",
            "terrace-device-types",
            "terrace-backends",
            "terrace-probe-abi",
        ],
    ),
    (
        "terrace-e2e",
        &[
            "terrace-crds",
            "terrace-plan",
            "terrace-operator",
            "terrace-node",
            "terrace-faults",
            "terrace-devices",
            "terrace-device-types",
            "terrace-backends",
            "csi-proto-rs",
            "terrace-probe",
            "terrace-probe-abi",
        ],
    ),
    ("xtask", &["terrace-crds"]),
];

/// Edges that only tests may have: the plans are proven on the real host where the steps are carried out.
/// And the probe's reading of mountinfo is compared with the node agent's.
const FOR_TESTS: &[(&str, &str)] =
    &[("terrace-devices", "terrace-backends"), ("terrace-probe", "terrace-devices")];

/// Asks cargo, and fails naming each edge that is not allowed.
pub(crate) fn check(paths: &Paths) -> Result<usize> {
    let manifest = paths.repo.join("Cargo.toml");
    let mut ask = command(
        "cargo",
        ["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"],
    );
    let metadata: Value = serde_json::from_str(&output(ask.arg(manifest))?)?;
    let (edges, wrong) = judge(&metadata)?;
    if !wrong.is_empty() {
        bail!("direction of dependencies:\n  {}", wrong.join("\n  "));
    }
    Ok(edges)
}

/// Counts the workspace's edges and lists the wrong ones.
fn judge(metadata: &Value) -> Result<(usize, Vec<String>)> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let (mut edges, mut wrong) = (0, Vec::new());
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name}: not in hack/src/edges.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["path"].is_null() {
                continue;
            }
            edges += 1;
            let to = dependency["name"].as_str().context("a dependency without a name")?;
            let for_tests = dependency["kind"] == "dev" && FOR_TESTS.contains(&(name, to));
            if !allowed.contains(&to) && !for_tests {
                wrong.push(format!("{name} -> {to}"));
            }
        }
    }
    Ok((edges, wrong))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::judge;

    #[test]
    fn an_edge_against_the_direction_is_named() {
        let edge = |to: &str| json!({"name": to, "path": "/x", "kind": "dev"});
        let metadata = json!({"packages": [{"name": "terrace-plan", "dependencies": [edge("terrace-crds"), edge("terrace-operator")]}]});
        assert_eq!(
            judge(&metadata).unwrap(),
            (2, vec!["terrace-plan -> terrace-operator".to_owned()])
        );
    }

    #[test]
    fn an_edge_for_tests_is_wrong_elsewhere() {
        let edge = |kind| json!({"name": "terrace-backends", "path": "/x", "kind": kind});
        let world =
            |kind| json!({"packages": [{"name": "terrace-devices", "dependencies": [edge(kind)]}]});
        assert!(judge(&world(Some("dev"))).unwrap().1.is_empty());
        assert_eq!(judge(&world(None)).unwrap().1, ["terrace-devices -> terrace-backends"]);
    }

    #[test]
    fn a_crate_nobody_placed_is_named() {
        let metadata = json!({"packages": [{"name": "terrace-utils", "dependencies": []}]});
        assert_eq!(judge(&metadata).unwrap().1, ["terrace-utils: not in hack/src/edges.rs"]);
    }
}
