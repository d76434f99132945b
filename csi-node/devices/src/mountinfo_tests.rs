//! The mountinfo parser: real lines, hostile names, and the escape written back.

use std::os::unix::ffi::OsStrExt;

use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

use super::*;

/// What `mangle_path(…, " \t\n\\")` of the kernel writes.
fn escape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => out.extend(format!("\\{byte:03o}").bytes()),
            other => out.push(*other),
        }
    }
    out
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let awkward = prop::sample::select(b" \t\n\\/#,-:0123\xff".to_vec());
    prop::collection::vec(proptest::prop_oneof![awkward, 1u8..=255], 0..64)
}

proptest! {
    #[test]
    fn any_name_the_kernel_can_write_is_read_back(name in names()) {
        prop_assert_eq!(unescape(&escape(&name)), name);
    }

    #[test]
    fn any_mount_point_is_found_in_its_line(name in names(), optional in 0usize..4) {
        let mut line = b"36 35 98:0 / ".to_vec();
        line.extend(escape(&name));
        line.extend(b" rw,noatime ");
        line.extend(b"shared:1 ".repeat(optional));
        line.extend(b"- xfs /dev/loop3 rw,attr2");
        let mount = parse_mount(&line).unwrap();
        prop_assert_eq!(mount.at.as_os_str().as_bytes(), &name[..]);
        prop_assert_eq!(mount.fs, "xfs");
    }

    #[test]
    fn garbage_never_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_mount(&line);
        let _ = unescape(&line);
    }
}

#[test]
fn a_line_is_read_field_by_field() {
    let line = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
    let mount = parse_mount(line).unwrap();
    assert_eq!((mount.id, mount.parent), (36, 35));
    assert_eq!(mount.dev_t, DevT { major: 98, minor: 0 });
    assert_eq!(mount.root, PathBuf::from("/mnt1"));
    assert_eq!(mount.at, PathBuf::from("/mnt 2"));
    assert_eq!(mount.options, ["rw", "noatime"]);
    assert_eq!((mount.fs.as_str(), mount.source.as_str()), ("ext3", "/dev/root"));
    assert_eq!(mount.super_options, ["rw", "errors=continue"]);
}

#[test]
fn a_line_without_its_separator_is_refused() {
    for line in
        ["", "36 35 98:0 / /mnt rw", "36 35 980 / /mnt rw - xfs a rw", "x 35 98:0 / / rw - a b c"]
    {
        assert!(parse_mount(line.as_bytes()).is_none(), "{line}");
    }
}

#[test]
fn mounts_of_a_fixture_tree_are_read() {
    let mounts = observe_mounts(&Host::fixture("fixtures/rack".as_ref())).unwrap();
    let at: Vec<_> = mounts.iter().map(|mount| mount.at.display().to_string()).collect();
    assert_eq!(at, ["/", "/var/lib/kubelet/pods/a b", "/mnt/backup"]);
}

#[test]
fn swaps_are_paths_with_their_escapes_undone() {
    let text = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2   partition\t1\t0\t-2\n/swap\\040file file 1 0 -3\n";
    assert_eq!(parse_swaps(text), [PathBuf::from("/dev/sda2"), PathBuf::from("/swap file")]);
}
