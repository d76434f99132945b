//! Growth of a filesystem that somebody else froze: the volume is larger, its filesystem follows at the thaw, and nothing in it is lost.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use terrace_device_types::{BackendKind, FsType, Intent};
use terrace_devices::execute;

use crate::made::{LARGE, Pool, fs_of};
use crate::rig::{sh, soon, volume_of};

/// How long nothing may come of it.
const STILL: Duration = Duration::from_secs(2);

#[test]
fn a_filesystem_that_somebody_froze_grows_when_it_is_thawed() {
    for kind in [BackendKind::Lvm, BackendKind::LvmThin] {
        let Some(pool) = Pool::new(kind, 1) else { return };
        for fs_type in [FsType::Ext4, FsType::Xfs, FsType::Btrfs] {
            let (volume, mode) = (volume_of(fs_type.as_str()), fs_of(fs_type));
            pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
            pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
            fs::write(pool.path("staging/data/kept"), "kept").unwrap();
            let at = pool.path("staging").display().to_string();
            sh(&format!("fsfreeze -f {at}"));
            let grow = Intent::Grow { volume, cluster: pool.file().cluster_uid, to: LARGE };
            let steps = pool.plan(volume, &grow).unwrap();
            let (done, seen) = mpsc::channel();
            let growing = thread::spawn(move || {
                for step in &steps {
                    execute(step, soon()).unwrap();
                }
                done.send(()).unwrap();
            });
            let early = seen.recv_timeout(STILL);
            sh(&format!("fsfreeze -u {at}"));
            assert!(early.is_err(), "{fs_type} grew while it was frozen");
            growing.join().unwrap();
            pool.fulfil(volume, &grow).unwrap();
            let image = pool.look(volume).volume.image.unwrap();
            assert_eq!(image.apparent, LARGE, "{fs_type}");
            assert_eq!(fs::read_to_string(pool.path("staging/data/kept")).unwrap(), "kept");
            pool.fulfil(volume, &pool.unstage(volume)).unwrap();
        }
    }
}
