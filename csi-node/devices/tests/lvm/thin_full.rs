//! Thin volumes that are promised three times what there is, written to until nothing is left: who sees what, and when.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use terrace_backends::{is_past_watermark, plan_growth};
use terrace_device_types::lvm::{PoolMode, VgName};
use terrace_device_types::{
    Allocation, BackendKind, Bytes, Erase, FsType, HostObject, Intent, PoolRefusal, Refusal,
    VolumeMode, VolumeUuid,
};
use terrace_devices::lvm::observe_thin_use;
use terrace_devices::{Host, execute, observe_mounts, observe_pool};

use crate::made::{Failed, Pool, SMALL, fs_of};
use crate::rig::{sh, soon, volume_of};
use crate::thin_life::status;

const PIECE: usize = 8 << 20;

/// On a group of which another volume has all but a GiB.
fn small_pool() -> Option<Pool> {
    let pool = Pool::unmade(BackendKind::LvmThin, 1)?;
    for step in pool.plan_pool().unwrap() {
        execute(&step, soon()).unwrap();
    }
    let (group, disk) = (VgName::of_pool(pool.rig.pool), pool.disks[0].display());
    sh(&format!(
        "export DM_DISABLE_UDEV=1
        free=$(lvm vgs --devices {disk} --noheadings --nosuffix --units m -o vg_free {group} | cut -d. -f1)
        lvm lvcreate --devices {disk} -qq -an -Zn -Wn -n filler -L $((free - 1024))m {group}"
    ));
    pool.make().unwrap();
    Some(pool)
}

/// As the agent does, every second; says whether the pool grew.
fn grow_as_the_agent_does(pool: &Pool) -> bool {
    let seen = observe_thin_use(&Host::real(), &pool.dir).unwrap().unwrap();
    if !is_past_watermark(&seen) {
        return false;
    }
    let steps = plan_growth(&observe_pool(&Host::real(), &pool.dir).unwrap()).unwrap();
    for step in &steps {
        execute(step, soon()).unwrap();
    }
    !steps.is_empty()
}

fn create(pool: &Pool, volume: VolumeUuid, mode: VolumeMode, size: Bytes) -> Intent {
    let Intent::Create { cluster, name, .. } = pool.create(volume, mode) else { panic!() };
    Intent::Create { volume, cluster, name, size, mode, allocation: Allocation::Reserved }
}

fn write_piece(dir: &Path, number: usize) -> io::Result<()> {
    let mut file = File::create(dir.join(format!("data/{number}")))?;
    file.write_all(&vec![u8::try_from(number % 251).unwrap(); PIECE])?;
    file.sync_all()
}

fn is_whole(dir: &Path, number: usize) -> bool {
    let bytes = std::fs::read(dir.join(format!("data/{number}"))).unwrap();
    bytes == vec![u8::try_from(number % 251).unwrap(); PIECE]
}

fn is_full(refused: &Failed) -> bool {
    matches!(refused, Failed::Refused(Refusal::Pool(PoolRefusal::ThinFull { .. })))
}

fn is_writable(pool: &Pool, at: &Path) -> bool {
    let mounts = observe_mounts(&Host::real()).unwrap();
    let mount = mounts.iter().find(|mount| mount.at == at).unwrap();
    assert!(at.starts_with(pool.path("")));
    ![&mount.options, &mount.super_options].iter().any(|all| all.iter().any(|one| one == "ro"))
}

/// A volume, what it holds, and where it is staged.
type Staged = (VolumeUuid, VolumeMode, String);

struct Filled {
    /// Pieces, one after the other into each volume.
    written: usize,
    /// How often the pool grew meanwhile.
    grown: u32,
    /// After how many pieces new volumes were refused first, and what was free then.
    refused_at: Option<(usize, Bytes)>,
    failed: io::Error,
}

/// Until a write fails; no volume may turn read-only before.
fn fill(pool: &Pool, volumes: &[Staged]) -> Filled {
    let (mut grown, mut refused_at, mut written) = (0, None, 0);
    let failed = loop {
        grown += u32::from(grow_as_the_agent_does(pool));
        let (_, _, at) = &volumes[written % 3];
        if let Err(error) = write_piece(&pool.path(at), written) {
            break error;
        }
        written += 1;
        assert!(
            volumes.iter().all(|(_, _, at)| is_writable(pool, &pool.path(at))),
            "read-only after {written}"
        );
        let late = volume_of("late");
        let refused = pool
            .plan(late, &create(pool, late, volumes[0].1, SMALL))
            .is_err_and(|error| is_full(&error));
        if refused && refused_at.is_none() {
            refused_at = Some((written, observe_pool(&Host::real(), &pool.dir).unwrap().free));
        }
    };
    Filled { written, grown, refused_at, failed }
}

#[test]
fn volumes_promised_three_times_what_there_is_go_on_until_the_group_has_nothing_left() {
    let Some(pool) = small_pool() else { return };
    let group = || observe_pool(&Host::real(), &pool.dir).unwrap();
    let (all, before) = (group().total, group().group.unwrap().thin.unwrap().size);
    let size = all.round_up(Bytes::mib(4)).max(SMALL);
    let kinds = [FsType::Ext4, FsType::Xfs, FsType::Ext4];
    let volumes: Vec<Staged> = kinds
        .iter()
        .enumerate()
        .map(|(n, fs)| (volume_of(&format!("v{n}")), fs_of(*fs), format!("at{n}")))
        .collect();
    for (volume, mode, at) in &volumes {
        pool.fulfil(*volume, &create(&pool, *volume, *mode, size)).unwrap();
        pool.fulfil(*volume, &pool.stage_at(*volume, *mode, at)).unwrap();
    }
    let Filled { written, grown, refused_at, failed } = fill(&pool, &volumes);
    let now = group();
    let (full, view) = (status(&pool), now.group.clone().unwrap());
    eprintln!(
        "promised 3 x {size} of {all}; the pool had {before}, grew {grown} times to {}, {} of the group left",
        view.thin.clone().unwrap().size,
        view.free
    );
    eprintln!(
        "new things refused after {refused_at:?}; {written} pieces of 8 MiB written; then: {failed}; the pool: {full:?}"
    );
    assert!(grown > 0 && view.thin.as_ref().unwrap().size > before, "the pool never grew");
    assert_eq!(plan_growth(&now).unwrap(), [], "the group had more to give");
    assert!(
        full.data.used * 100 >= full.data.total * 97,
        "failed before the pool was full: {full:?}"
    );
    let (at_piece, free) = refused_at.expect("new volumes were never refused");
    assert!(
        at_piece < written && free.0 * 100 > all.0 * 5,
        "refused only after {at_piece} of {written}"
    );
    // What was written is there, in every volume; and nothing new is taken.
    for number in 0..written {
        assert!(is_whole(&pool.path(&volumes[number % 3].2), number), "piece {number}");
    }
    let (first, mode, _) = &volumes[0];
    let snapshot = pool.copy(HostObject::Snapshot, (*first, volume_of("s")), size, *mode);
    assert!(is_full(&pool.plan(volume_of("s"), &snapshot).unwrap_err()));
    let to = Bytes(size.0 + SMALL.0);
    let grow = Intent::Grow { volume: *first, cluster: pool.file().cluster_uid, to };
    assert!(is_full(&pool.plan(*first, &grow).unwrap_err()));
    // One goes, and the others go on.
    let (last, _, at) = &volumes[2];
    pool.fulfil(*last, &pool.unstage_at(*last, at)).unwrap();
    pool.fulfil(*last, &pool.delete(*last, Erase::No)).unwrap();
    assert_eq!(status(&pool).mode, PoolMode::Writable);
    write_piece(&pool.path(&volumes[1].2), written + 1).unwrap();
    assert!(is_whole(&pool.path(&volumes[1].2), written + 1));
}
