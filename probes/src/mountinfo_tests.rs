//! Lines as kernels write them, and lines no kernel writes.

use std::time::Instant;

use proptest::prelude::{any, proptest};
use terrace_probe_abi::wire::Device;

use super::{Linked, Mounts, below, parse_first_id, parse_mount, unescape};

#[test]
fn a_line_is_read_field_by_field() {
    let line = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:7 - fuse.sshfs /dev/ro\134ot rw,errors=continue";
    let mount = parse_mount(line).unwrap();
    assert_eq!((mount.id, mount.parent), (36, 35));
    assert_eq!(mount.device, Device { major: 98, minor: 0 });
    assert_eq!((mount.root.as_slice(), mount.at.as_slice()), (&b"/mnt1"[..], &b"/mnt 2"[..]));
    assert_eq!(
        (mount.fs.as_slice(), mount.source.as_slice()),
        (&b"fuse.sshfs"[..], &br"/dev/ro\ot"[..])
    );
    assert_eq!(mount.linked, Linked::Yes);
}

#[test]
fn a_line_without_optional_fields_or_options_of_the_superblock_is_read() {
    let mount = parse_mount(b"440 391 0:48 / /run ro,relatime - tmpfs tmpfs").unwrap();
    assert_eq!((mount.id, mount.source.as_slice()), (440, &b"tmpfs"[..]));
}

#[test]
fn a_deleted_root_is_told_apart_from_what_bears_its_name_now() {
    let mount =
        parse_mount(b"9 1 8:1 /conf/app.ini//deleted /etc/app.ini rw - ext4 /dev/sda1 rw").unwrap();
    assert_eq!((mount.root.as_slice(), mount.linked), (&b"/conf/app.ini"[..], Linked::Deleted));
}

#[test]
fn a_line_that_is_not_as_documented_is_counted_and_the_others_are_read() {
    let text = b"36 35 98:0 / /mnt rw\n36 35 980 / /mnt rw - xfs a rw\nx 35 98:0 / / rw - a b c\n\n36 35 98:0 / /mnt rw - xfs a rw\n";
    let mounts = Mounts::parse(text);
    assert_eq!((mounts.all().len(), mounts.unreadable()), (1, 3));
}

#[test]
fn only_what_the_kernel_escapes_is_unescaped() {
    assert_eq!(unescape(br"a\040b\011c\012d\134e\043f"), b"a b\tc\nd\\e#f");
    assert_eq!(unescape(br"\8\04\4000\"), br"\8\04\4000\");
    assert_eq!(unescape("ü\\040ß".as_bytes()), "ü ß".as_bytes());
}

#[test]
fn below_ends_at_names() {
    assert_eq!(below(b"/a/b", b"/a"), Some(&b"/b"[..]));
    assert_eq!(below(b"/a", b"/a"), Some(&b""[..]));
    assert_eq!(below(b"/a/b", b"/"), Some(&b"/a/b"[..]));
    assert_eq!(below(b"/", b"/"), Some(&b""[..]));
    assert_eq!(below(b"/ab", b"/a"), None);
    assert_eq!(below(b"/", b"/a"), None);
}

#[test]
fn the_first_id_is_that_of_the_namespace() {
    assert_eq!(parse_first_id(b"193 152 0:63 / / ro - overlay overlay ro\n194 ..."), Some(193));
    assert_eq!(parse_first_id(b""), None);
}

/// Ten thousand lines, as a node with a thousand Pods has them, take some milliseconds. The bound is wide: this runs unoptimised
/// and beside others; quadratic work takes minutes.
#[test]
fn ten_thousand_lines_are_read_fast() {
    let mut text = Vec::new();
    for id in 0..10_000 {
        let line = format!(
            "{id} 1 7:{} /data /var/lib/kubelet/pods/57ae704b-a842-42dd-b456-7df685c39008/volumes/kubernetes.io~csi/pvc-{id}/mount rw,relatime shared:42 - xfs /dev/loop8 rw,nouuid,inode64,logbufs=8,logbsize=32k,noquota\n",
            id / 4
        );
        text.extend_from_slice(line.as_bytes());
    }
    let start = Instant::now();
    let mounts = Mounts::parse(&text);
    let found = (0..10_000).filter(|id| mounts.get(*id).is_some()).count();
    let on = mounts.on(Device { major: 7, minor: 9 }).count();
    let took = start.elapsed();
    assert_eq!((found, on, mounts.unreadable()), (10_000, 4, 0));
    assert!(took.as_millis() < 1000, "{took:?}");
}

proptest! {
    #[test]
    fn no_bytes_upset_the_parser(text: Vec<u8>, line in any::<Vec<u8>>()) {
        let mounts = Mounts::parse(&text);
        assert!(mounts.all().len() + mounts.unreadable() <= text.len());
        let _ = parse_mount(&line);
    }
}
