//! The node agent reads mountinfo with a parser of its own, for options and for itself. On the same lines both see the same mounts.

use std::os::unix::ffi::OsStrExt;

use terrace_devices::{Host, observe_mounts};
use terrace_probe::mountinfo::{Linked, Mount, Mounts};

#[test]
fn probe_and_agent_read_the_same_from_the_same_lines() {
    let escaped =
        r"9 1 8:1 /a\040b\134c//deleted /x\011y rw shared:1 master:2 - fuse.x src\040e rw";
    let fixtures = ["node/host", "node/agent", "pod/host", "pod/pod"].map(|name| {
        let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    });
    for text in fixtures.iter().map(String::as_str).chain([escaped]) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        std::fs::write(root.path().join("proc/self/mountinfo"), text).unwrap();
        let agent = observe_mounts(&Host::fixture(root.path())).unwrap();
        let agent = agent.iter().map(|mount| {
            let (major, minor) = (mount.dev_t.major, mount.dev_t.minor);
            let names = [
                mount.root.as_os_str(),
                mount.at.as_os_str(),
                mount.fs.as_ref(),
                mount.source.as_ref(),
            ];
            (mount.id, mount.parent, major, minor, names.map(|name| name.as_bytes().to_vec()))
        });
        let probe = Mounts::parse(text.as_bytes());
        let probe = probe.all().iter().map(|mount| {
            let Mount { id, parent, device, root, linked, at, fs, source } = mount;
            let mark: &[u8] = if *linked == Linked::Deleted { b"//deleted" } else { b"" };
            let names = [[root.as_slice(), mark].concat(), at.clone(), fs.clone(), source.clone()];
            (u64::from(*id), u64::from(*parent), device.major, device.minor, names)
        });
        assert!(agent.eq(probe), "{text}");
    }
}
