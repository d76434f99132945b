//! Pod and container of a process, out of `/proc/<pid>/cgroup`. Pure. Knows the spellings of the kubelet's two drivers (cgroupfs,
//! systemd) and of containerd, CRI-O and Docker, on cgroup v1, v2 and both at once.

/// Who a process belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The UID of its Pod, as the kubelet's folder for it is called (a static Pod's: 32 digits without dashes).
    pub pod_uid: Option<String>,
    /// The id the runtime gave its container: 64 hexadecimal digits.
    pub id: Option<String>,
}

/// Reads the file. Of several hierarchies (v1) the one that says most is believed: a process may have been moved in some only.
/// Two that say different things say nothing.
#[must_use]
pub fn parse_cgroup(text: &str) -> Container {
    let found: Vec<_> = text.lines().filter_map(path_of).map(parse_path).collect();
    Container {
        pod_uid: agreed(found.iter().filter_map(|container| container.pod_uid.as_ref())),
        id: agreed(found.iter().filter_map(|container| container.id.as_ref())),
    }
}

/// `hierarchy:controllers:path`; the path may hold colons, as containerd's own `slice:cri-containerd:id` does.
fn path_of(line: &str) -> Option<&str> {
    line.splitn(3, ':').nth(2)
}

fn agreed<'a>(mut said: impl Iterator<Item = &'a String>) -> Option<String> {
    let first = said.next()?;
    said.all(|other| other == first).then(|| first.clone())
}

/// A cgroup's path. The last Pod and the container below it count: a kubelet in a container has a Pod around it.
#[must_use]
pub fn parse_path(path: &str) -> Container {
    let mut container = Container::default();
    for name in path.split('/').flat_map(|name| name.split(':')) {
        if let Some(uid) = pod_of(name) {
            container = Container { pod_uid: Some(uid), id: None };
        } else if let Some(id) = id_of(name) {
            container.id = Some(id);
        }
    }
    container
}

/// `pod<uid>` (cgroupfs) or `kubepods-burstable-pod<uid with _>.slice` (systemd).
fn pod_of(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod").filter(|(head, _)| head.contains("kubepods"))?.1,
        None => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    is_uid(&uid).then_some(uid)
}

/// A UUID, or the hash that stands for one in a static Pod.
fn is_uid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    let hexadecimal = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    hexadecimal && (lengths == [8, 4, 4, 4, 12] || lengths == [32])
}

/// `<id>`, or `cri-containerd-<id>.scope`, `crio-<id>.scope`, `docker-<id>.scope`, `libpod-<id>.scope`. CRI-O's `crio-conmon-<id>.scope` is the
/// monitor beside a container, not in it.
fn id_of(name: &str) -> Option<String> {
    let id = match name.strip_suffix(".scope") {
        Some(scope) => scope.rsplit_once('-').filter(|(head, _)| !head.ends_with("conmon"))?.1,
        None => name.strip_prefix("crio-").unwrap_or(name),
    };
    let whole = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| id.to_owned())
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
