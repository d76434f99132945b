//! A thin pool whose metadata is full, while there is room for data: what it holds stays readable, and more metadata lets it go on.

use std::fs::File;
use std::os::unix::fs::FileExt;

use terrace_device_types::Bytes;
use terrace_device_types::lvm::{NewThinPool, PoolMode, PoolSize};

use crate::rig::{Rig, lv_name, node, read_at, sh, soon, thin, write_at};
use crate::thin::pool_status;

/// Each round is a snapshot that lvm knows nothing of, and a write that has to part from it: some blocks of metadata, and one of data.
const ROUNDS: &str = "for i in $(seq 100 1400); do
    dmsetup message tank-pool-tpool 0 \"create_snap $i 1\" || break
    dd if=/dev/zero of=/dev/mapper/tank-v bs=64k count=1 seek=$((i % 200 + 16)) conv=notrunc oflag=direct || break
    done 2> /dev/null; true";

#[test]
fn a_pool_whose_metadata_is_full_keeps_what_it_has_and_goes_on_when_that_grows() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(2);
    let size = PoolSize { data: Bytes::mib(128), metadata: Bytes::mib(4) };
    let new = NewThinPool { name: lv_name("pool"), size, chunk: Bytes::kib(64) };
    rig.lvm.create_thin_pool(&group, &new, soon()).unwrap();
    let seen = rig.create(&group, &rig.volume("v", thin(64)));
    let device = node(&seen, "v");
    write_at(&device, 0, 1, 1 << 20);
    sh(ROUNDS);
    let full = pool_status(&rig, &seen);
    eprintln!("full: {full:?}");
    assert_eq!(full.mode, PoolMode::ReadOnly, "{full:?}");
    assert!(full.metadata.percent() > 85 && full.data.percent() < 95, "{full:?}");
    let file = File::options().write(true).open(&device).unwrap();
    let beyond = file.write_all_at(&[2; 65536], 32 << 20).and_then(|()| file.sync_all());
    eprintln!("a write: {}", beyond.unwrap_err());
    drop(file);
    sh("echo 3 > /proc/sys/vm/drop_caches");
    assert_eq!(read_at(&device, 0, 1 << 20), vec![1; 1 << 20]);
    let refused = rig.create_fails(&group, &rig.volume("w", thin(32)));
    eprintln!("a new volume: {refused}");

    let to = PoolSize { data: Bytes::mib(128), metadata: Bytes::mib(16) };
    let grown = rig.lvm.extend_thin_pool(&group, &lv_name("pool"), to, soon()).unwrap();
    let now = pool_status(&rig, &grown.group);
    eprintln!("grown: {now:?}");
    assert_eq!((now.mode, now.needs_check), (PoolMode::Writable, false), "{now:?}");
    write_at(&device, 32 << 20, 2, 65536);
    assert_eq!(read_at(&device, 32 << 20, 65536), vec![2; 65536]);
    assert_eq!(read_at(&device, 0, 1 << 20), vec![1; 1 << 20]);
    rig.create(&group, &rig.volume("w", thin(32)));
}
