//! Freezes on real mounts (I10): bounded, ended after any death, and never somebody else's (I4).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use terrace_device_types::{
    Bytes, DeviceRef, FREEZE_LIMIT, FsType, HostObject, Step, StepDone, VolumeMode, VolumeUuid,
    undo,
};
use terrace_devices::{DeviceError, execute};

use crate::rig::{Rig, copy, create, deadline, run, stage, volume};

const SIZE: Bytes = Bytes::mib(320);

struct Mounted {
    rig: Rig,
    ours: VolumeUuid,
    at: PathBuf,
    image: PathBuf,
}

fn mounted(fs: FsType) -> Mounted {
    let (rig, ours, mode) = (Rig::on_xfs(), volume(), VolumeMode::Filesystem { fs });
    let at = rig.path("staging");
    rig.fulfil(ours, &create(ours, SIZE, mode)).unwrap();
    rig.fulfil(ours, &stage(ours, mode, &at)).unwrap();
    let image = rig.pool.join(format!("t-{ours}"));
    Mounted { rig, ours, at, image }
}

impl Mounted {
    fn steps(&self) -> [Step; 3] {
        let device = || DeviceRef::LoopOf { image: self.image.clone() };
        let mount = || self.at.clone();
        [
            Step::FreezeFilesystem { mount: mount(), device: device() },
            Step::ThawFilesystem { mount: mount(), device: device() },
            Step::EndFreeze { mount: mount(), device: device() },
        ]
    }
}

/// Another freeze is answered with EBUSY exactly while one stands.
fn is_frozen(mount: &Path) -> bool {
    let at = mount.to_str().unwrap();
    let tried = Command::new("fsfreeze").args(["--freeze", at]).output().unwrap();
    if tried.status.success() {
        run("fsfreeze", &["--unfreeze", at]);
    }
    !tried.status.success()
}

/// How long a write waits. One that waits longer than any freeze may last is let through by other means, so that the test can end.
fn write(at: &Path) -> Duration {
    let (began, file) = (Instant::now(), at.join("data/file"));
    let writer = std::thread::spawn(move || std::fs::write(file, "text"));
    while !writer.is_finished() {
        if began.elapsed() > FREEZE_LIMIT * 3 {
            run("fsfreeze", &["--unfreeze", at.to_str().unwrap()]);
            panic!("{} stays frozen", at.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    writer.join().unwrap().unwrap();
    began.elapsed()
}

#[test]
fn a_freeze_holds_until_it_is_thawed_and_is_ended_twice_without_harm() {
    for fs in FsType::ALL {
        let mounted = mounted(fs);
        let [freeze, thaw, end] = mounted.steps();
        assert_eq!(execute(&freeze, deadline()).unwrap(), StepDone::Changed);
        assert!(is_frozen(&mounted.at), "{fs}");
        assert_eq!(execute(&freeze, deadline()).unwrap(), StepDone::Already);
        assert_eq!(execute(&thaw, deadline()).unwrap(), StepDone::Changed);
        assert!(!is_frozen(&mounted.at), "{fs}");
        for step in [&thaw, &end] {
            assert_eq!(execute(step, deadline()).unwrap(), StepDone::Already);
        }
        write(&mounted.at);
        let staging = &mounted.at;
        mounted.rig.fulfil(mounted.ours, &crate::rig::unstage(mounted.ours, staging)).unwrap();
        assert_eq!(execute(&end, deadline()).unwrap(), StepDone::Already);
    }
}

/// The watchdog lets a writer go on after 5 s; a clone made before is taken back, and one made after never gets a name.
#[test]
fn i10_a_freeze_that_lasts_too_long_is_ended_and_the_copy_refused() {
    let mounted = mounted(FsType::Xfs);
    let (rig, mode) = (&mounted.rig, VolumeMode::Filesystem { fs: FsType::Xfs });
    for clone_first in [true, false] {
        let snapshot = volume();
        let intent = copy(HostObject::Snapshot, mounted.ours, snapshot, SIZE, mode);
        let steps = rig.plan(snapshot, &intent).unwrap();
        let [freeze, clone, thaw, ..] = &steps[..] else { panic!("{steps:?}") };
        execute(freeze, deadline()).unwrap();
        if clone_first {
            execute(clone, deadline()).unwrap();
        }
        let waited = write(&mounted.at);
        let least = FREEZE_LIMIT - Duration::from_secs(2);
        assert!(waited > least && waited < FREEZE_LIMIT * 2, "{waited:?}");
        let image = rig.pool.join(format!("s-{snapshot}"));
        if !clone_first {
            let cloned = execute(clone, deadline());
            assert!(matches!(cloned, Err(DeviceError::NotStill { .. })), "{cloned:?}");
            assert!(!image.exists());
        }
        for _ in 0..2 {
            let thawed = execute(thaw, deadline());
            assert!(matches!(thawed, Err(DeviceError::NotStill { .. })), "{thawed:?}");
        }
        for step in [clone, freeze] {
            execute(&undo(step).unwrap(), deadline()).unwrap();
        }
        assert!(!image.exists() && !is_frozen(&mounted.at));
        rig.fulfil(snapshot, &intent).unwrap();
    }
}

/// The kernel takes longer to freeze than anybody waits: when it comes back at last, the freeze is ended at once.
#[test]
fn i10_a_freeze_that_comes_too_late_is_ended_at_once() {
    let mounted = mounted(FsType::Xfs);
    let [freeze, thaw, end] = mounted.steps();
    write(&mounted.at);
    run("sync", &["--file-system", mounted.at.to_str().unwrap()]);
    // A frozen pool takes no writes, and a freeze of what lies on it has a log to write.
    let pool = mounted.rig.pool.to_str().unwrap();
    run("fsfreeze", &["--freeze", pool]);
    let given_up = execute(&freeze, terrace_devices::Deadline::after(FREEZE_LIMIT * 2));
    let again = execute(&freeze, deadline());
    let taken_back = execute(&end, deadline());
    run("fsfreeze", &["--unfreeze", pool]);
    assert!(matches!(given_up, Err(DeviceError::Deadline { .. })), "{given_up:?}");
    assert!(matches!(again, Err(DeviceError::Busy { .. })), "{again:?}");
    assert_eq!(taken_back.unwrap(), StepDone::Already);
    assert!(write(&mounted.at) < FREEZE_LIMIT, "the late freeze stood");
    assert!(execute(&thaw, deadline()).is_err(), "a freeze that never stood was ended");
    assert!(!is_frozen(&mounted.at));
}

/// Ends as SIGTERM ends it: what stands is thawed, and nothing freezes any more.
#[test]
fn i10_a_process_that_ends_leaves_no_freeze_behind() {
    let name = "freeze::i10_a_process_that_ends_leaves_no_freeze_behind";
    if let Some(freeze) = asked_as_child() {
        execute(&freeze, deadline()).unwrap();
        terrace_devices::end_freezes();
        let late = execute(&freeze, deadline());
        assert!(matches!(late, Err(DeviceError::Busy { .. })), "{late:?}");
        println!("\n{STANDS}");
        return;
    }
    let mounted = mounted(FsType::Xfs);
    let mut child = child_of(&mounted, name);
    let reached = child.says_it_stands();
    let ended = child.0.wait().unwrap();
    assert!(reached && ended.success(), "{ended}");
    assert!(!is_frozen(&mounted.at));
}

const CHILD: &str = "TERRACE_TEST_FREEZES";
const STANDS: &str = "it stands";

/// A test is its own child: the freeze it is to make then.
fn asked_as_child() -> Option<Step> {
    let paths = std::env::var(CHILD).ok()?;
    let (mount, image) = paths.split_once('|').unwrap();
    let device = DeviceRef::LoopOf { image: image.into() };
    Some(Step::FreezeFilesystem { mount: mount.into(), device })
}

/// Its output stays open: it may say more.
struct Child(std::process::Child, BufReader<ChildStdout>);

fn child_of(mounted: &Mounted, name: &str) -> Child {
    let paths = format!("{}|{}", mounted.at.display(), mounted.image.display());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(CHILD, paths).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    Child(child, said)
}

impl Child {
    fn says_it_stands(&mut self) -> bool {
        self.1.by_ref().lines().map_while(Result::ok).any(|line| line == STANDS)
    }
}

/// This test is its own child, which freezes and is killed.
#[test]
fn i3_a_freeze_that_outlives_kill_9_is_ended_by_the_next_start() {
    let name = "freeze::i3_a_freeze_that_outlives_kill_9_is_ended_by_the_next_start";
    if let Some(freeze) = asked_as_child() {
        execute(&freeze, deadline()).unwrap();
        println!("\n{STANDS}");
        loop {
            std::thread::park();
        }
    }
    for fs in [FsType::Xfs, FsType::Btrfs] {
        let mounted = mounted(fs);
        let [_, thaw, end] = mounted.steps();
        let mut child = child_of(&mounted, name);
        let stood = child.says_it_stands();
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        assert!(stood && is_frozen(&mounted.at), "{fs}: no freeze was left");
        assert!(execute(&thaw, deadline()).is_err(), "the dead process' copy was taken for whole");
        // Wherever it is mounted: the path the dead process knew may be gone.
        assert_eq!(execute(&end, deadline()).unwrap(), StepDone::Changed, "{fs}");
        assert!(!is_frozen(&mounted.at), "{fs}");
        assert_eq!(execute(&end, deadline()).unwrap(), StepDone::Already);
        write(&mounted.at);
    }
}

#[test]
fn i4_somebody_elses_freeze_is_neither_used_nor_ended() {
    let mounted = mounted(FsType::Ext4);
    let [freeze, thaw, end] = mounted.steps();
    let at = mounted.at.to_str().unwrap();
    run("fsfreeze", &["--freeze", at]);
    let refused = execute(&freeze, deadline());
    let ended = execute(&end, deadline());
    let thawed = execute(&thaw, deadline());
    let stands = is_frozen(&mounted.at);
    run("fsfreeze", &["--unfreeze", at]);
    assert!(matches!(refused, Err(DeviceError::Busy { .. })), "{refused:?}");
    assert!(thawed.is_err());
    assert_eq!(ended.unwrap(), StepDone::Already);
    assert!(stands, "it was thawed");

    // And what somebody else thaws in between is no freeze any more.
    execute(&freeze, deadline()).unwrap();
    run("fsfreeze", &["--unfreeze", at]);
    let thawed = execute(&thaw, deadline());
    assert!(matches!(thawed, Err(DeviceError::NotStill { .. })), "{thawed:?}");
}

#[test]
fn i4_a_mount_that_is_not_on_the_volumes_own_device_is_not_frozen() {
    let (one, other) = (mounted(FsType::Btrfs), mounted(FsType::Xfs));
    for (mount, image) in [(&other.at, &one.image), (&one.at, &other.image)] {
        let device = || DeviceRef::LoopOf { image: image.clone() };
        let refused =
            execute(&Step::FreezeFilesystem { mount: mount.clone(), device: device() }, deadline());
        assert!(matches!(refused, Err(DeviceError::Changed { .. })), "{refused:?}");
        execute(&Step::EndFreeze { mount: mount.clone(), device: device() }, deadline()).unwrap();
    }
    assert!(!is_frozen(&one.at) && !is_frozen(&other.at));
}
