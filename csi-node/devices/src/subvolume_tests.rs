//! Where a subvolume's mounts are looked for.

use terrace_device_types::{DevT, MountPoint};

use super::place_of;

fn mount(at: &str, root: &str, minor: u32) -> MountPoint {
    MountPoint {
        id: u64::from(minor),
        parent: 1,
        dev_t: DevT { major: 0, minor },
        root: root.into(),
        at: at.into(),
        options: Vec::new(),
        fs: "btrfs".into(),
        source: "/dev/sdb".into(),
        super_options: Vec::new(),
    }
}

#[test]
fn a_path_is_placed_by_the_longest_mount_above_it_and_the_last_of_equals() {
    let mounts = [
        mount("/", "/@", 30),
        mount("/pools", "/@pools/deep", 31),
        mount("/pools", "/", 32),
        mount("/pools/fast/other", "/", 33),
    ];
    let placed = place_of("/pools/fast/t-1/volume".as_ref(), &mounts);
    assert_eq!(placed, Some((DevT { major: 0, minor: 32 }, "/fast/t-1/volume".into())));
    let placed = place_of("/home/pool/t-1/volume".as_ref(), &mounts);
    assert_eq!(placed, Some((DevT { major: 0, minor: 30 }, "/@/home/pool/t-1/volume".into())));
}
