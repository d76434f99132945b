//! What the lanes ask the cluster for: claims, Pods, snapshots, pools, as JSON. Pure.

use serde_json::{Value, json};

/// Below it each lane and its Pods tell each other where they stand, in the node's memory.
pub(crate) const TALK: &str = "/run/terrace-crash";

/// A volume in a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) claim: String,
    pub(crate) block: Block,
}

/// How the Pod has it: a folder `/CLAIM`, or the device `/dev/CLAIM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    No,
    Yes,
}

impl Mounted {
    pub(crate) fn folder(claim: &str) -> Self {
        Self { claim: claim.to_owned(), block: Block::No }
    }

    pub(crate) fn device(claim: &str) -> Self {
        Self { claim: claim.to_owned(), block: Block::Yes }
    }

    /// Where the Pod has it.
    pub(crate) fn path(&self) -> String {
        match self.block {
            Block::No => format!("/{}", self.claim),
            Block::Yes => format!("/dev/{}", self.claim),
        }
    }
}

/// What a claim begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Nothing,
    Snapshot(String),
    Claim(String),
}

/// A claim.
pub(crate) fn claim(name: &str, class: &str, mib: u64, block: Block, source: &Source) -> Value {
    let mode = match block {
        Block::No => "Filesystem",
        Block::Yes => "Block",
    };
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "volumeMode": mode,
        "resources": {"requests": {"storage": format!("{mib}Mi")}},
    });
    match source {
        Source::Nothing => {}
        Source::Snapshot(name) => {
            spec["dataSource"] = json!({
                "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name,
            });
        }
        Source::Claim(name) => {
            spec["dataSource"] = json!({"kind": "PersistentVolumeClaim", "name": name});
        }
    }
    json!({"metadata": {"name": name, "labels": {"life": life_of(name)}}, "spec": spec})
}

/// What the names of one life have in common: all before the last hyphen.
pub(crate) fn life_of(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(life, _)| life)
}

/// More room.
pub(crate) fn grown(mib: u64) -> Value {
    json!({"spec": {"resources": {"requests": {"storage": format!("{mib}Mi")}}}})
}

/// A Pod that runs a script once, with its lane's folder at `/talk`. In the node's network: it needs none of its own.
pub(crate) fn pod(name: &str, lane: &str, mounted: &[Mounted], script: &str) -> Value {
    let mut mounts = vec![json!({"name": "talk", "mountPath": "/talk"})];
    let mut devices = Vec::new();
    let mut volumes = vec![json!({
        "name": "talk",
        "hostPath": {"path": format!("{TALK}/{lane}"), "type": "DirectoryOrCreate"},
    })];
    for one in mounted {
        let claim = &one.claim;
        match one.block {
            Block::No => mounts.push(json!({"name": claim, "mountPath": one.path()})),
            Block::Yes => devices.push(json!({"name": claim, "devicePath": one.path()})),
        }
        volumes.push(json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
    }
    json!({
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "hostNetwork": true,
            "automountServiceAccountToken": false, "enableServiceLinks": false,
            "containers": [{
                "name": "c", "image": "localhost/busybox:1", "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", script],
                "volumeMounts": mounts, "volumeDevices": devices,
            }],
            "volumes": volumes,
        },
    })
}

/// A snapshot of one claim.
pub(crate) fn snapshot(name: &str, claim: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "volumeSnapshotClassName": "terrace", "source": {"persistentVolumeClaimName": claim},
        },
    })
}

/// A snapshot of every claim of a life.
pub(crate) fn group(name: &str, life: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "volumeGroupSnapshotClassName": "terrace",
            "source": {"selector": {"matchLabels": {"life": life}}},
        },
    })
}

/// A class of one pool, that waits for the first Pod.
pub(crate) fn class(name: &str, pool: &str, more: &[(&str, &str)]) -> Value {
    let mut parameters = json!({"terrace.storage/pool": pool});
    for (key, value) in more {
        parameters[format!("terrace.storage/{key}")] = (*value).into();
    }
    json!({
        "metadata": {"name": name}, "provisioner": "csi.terrace.storage",
        "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true,
        "reclaimPolicy": "Delete", "parameters": parameters,
    })
}

/// A pool on one device.
pub(crate) fn pool(name: &str, backend: &str, device: &str) -> Value {
    let mut spec = json!({"tier": name, "devices": [{"id": device}]});
    spec[backend] = json!({});
    json!({"metadata": {"name": name}, "spec": spec})
}

/// A Direct volume for one claim; with `adopt` of bytes that are there.
pub(crate) fn direct(name: &str, claim: (&str, &str), mib: u64, adopt: Option<&str>) -> Value {
    let (namespace, claim) = claim;
    let mut spec = json!({
        "origin": "Direct", "claimRef": {"namespace": namespace, "name": claim},
        "capacity": format!("{mib}Mi"), "pool": "crash-file",
    });
    if let Some(uuid) = adopt {
        spec["adopt"] = uuid.into();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Writes files with their checksum, then a line every moment until it is told to end; then reads all of it again.
pub(crate) fn writer(name: &str, mounted: &[Mounted]) -> String {
    let mut script = format!("{}set -e\n", tell(name));
    for one in mounted {
        script += &match one.block {
            Block::No => format!(
                "cd {path}; dd if=/dev/urandom of=f bs=64k count=24 2>/dev/null; sha256sum f > sum; mkdir d; echo 0 > log; sync\n",
                path = one.path()
            ),
            Block::Yes => format!(
                "dd if=/dev/urandom of=/tmp/f bs=64k count=24 2>/dev/null; dd if=/tmp/f of={path} bs=64k conv=fsync 2>/dev/null; sha256sum < /tmp/f > /talk/{claim}.sum\n",
                path = one.path(),
                claim = one.claim
            ),
        };
    }
    script += &format!("tell written\nn=0\nwhile [ ! -e /talk/{name}.go ]; do n=$((n+1)); ");
    for one in mounted.iter().filter(|one| one.block == Block::No) {
        script += &format!("echo $n >> {path}/log; sync {path}/log; ", path = one.path());
    }
    script += "sleep 0.3; done\n";
    script += &reading(mounted);
    for one in mounted.iter().filter(|one| one.block == Block::No) {
        let path = one.path();
        script += &format!(
            "[ \"$(tail -n 1 {path}/log)\" = $n ] || {{ tell \"bad: {path}/log ends at $(tail -n 1 {path}/log), not $n\"; exit 1; }}\n"
        );
    }
    script + "tell verified\n"
}

/// Reads what a writer left, in the volume itself or in a copy of it, and writes into each so that one can tell them apart.
/// `source` names the claim that the bytes of a device come from.
pub(crate) fn reader(name: &str, mounted: &[Mounted], source: &str) -> String {
    let mut script = format!("{}set -e\n", tell(name));
    for one in mounted.iter().filter(|one| one.block == Block::Yes && one.claim != source) {
        script += &format!("cp /talk/{source}.sum /talk/{}.sum\n", one.claim);
    }
    script += &reading(mounted);
    // A copy that is not one of its own would show what the one before it was given.
    for one in mounted.iter().filter(|one| one.block == Block::No) {
        let path = one.path();
        script += &format!(
            "[ ! -e {path}/own-{name} ] || {{ tell 'bad: {path} has what another volume was given'; exit 1; }}\necho {name} > {path}/own-{name}; sync {path}/own-{name}\n"
        );
    }
    // It stays: what has ended is unmounted before anybody can look.
    script + "tell verified\nexec sleep 100000\n"
}

fn reading(mounted: &[Mounted]) -> String {
    let check = |one: &Mounted| {
        let path = one.path();
        match one.block {
            Block::No => format!(
                "cd {path} && [ -d d ] && sha256sum -c sum >/dev/null 2>&1 || {{ tell \"bad: {path}: $(ls -la {path} 2>&1 | tr '\\n' ' ')\"; exit 1; }}\n"
            ),
            Block::Yes => format!(
                "dd if={path} bs=64k count=24 2>/dev/null | sha256sum | cmp -s - /talk/{claim}.sum || {{ tell 'bad: {path} has other bytes'; exit 1; }}\n",
                claim = one.claim
            ),
        }
    };
    mounted.iter().map(check).collect()
}

/// The Pod's word, in one piece.
fn tell(name: &str) -> String {
    format!("tell() {{ echo \"$1\" > /talk/{name}.new; mv /talk/{name}.new /talk/{name}; }}\n")
}

#[cfg(test)]
mod tests {
    use super::{Block, Mounted, Source, claim, life_of, pod, reader, writer};

    #[test]
    fn all_names_of_a_life_begin_with_it() {
        assert_eq!(life_of("l3-7-data"), "l3-7");
        let made = claim("l3-7-data", "crash-xfs", 320, Block::No, &Source::Nothing);
        assert_eq!(made["metadata"]["labels"]["life"], "l3-7");
        assert_eq!(made["spec"]["resources"]["requests"]["storage"], "320Mi");
    }

    #[test]
    fn scripts_are_shell() {
        let mounted = [Mounted::folder("a"), Mounted::device("b")];
        for script in [writer("w", &mounted), reader("r", &mounted, "b")] {
            let mut shell = std::process::Command::new("sh");
            assert!(shell.args(["-n", "-c", &script]).status().unwrap().success(), "{script}");
        }
    }

    #[test]
    fn a_device_and_a_folder_are_mounted_as_what_they_are() {
        let mounted = [Mounted::folder("a"), Mounted::device("b")];
        let made = pod("p", "l1", &mounted, "true");
        let container = &made["spec"]["containers"][0];
        assert_eq!(container["volumeMounts"][1]["mountPath"], "/a");
        assert_eq!(container["volumeDevices"][0]["devicePath"], "/dev/b");
    }
}
