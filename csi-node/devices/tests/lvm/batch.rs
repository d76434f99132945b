//! Many volumes in one process of lvm: what each of them came to, and what that costs.

use std::thread;
use std::time::{Duration, Instant};

use terrace_device_types::lvm::{LvRef, LvmStep, NewVolume, VolumeKind};
use terrace_device_types::{Step, StepDone, image_name};
use terrace_devices::lvm::keep_in;
use terrace_devices::{DeviceError, execute};

use crate::rig::{Rig, linear, sh, soon, thin, volume_of};

const MANY: usize = 16;

#[test]
fn each_volume_of_a_batch_has_an_answer_of_its_own() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let disk = rig.disks[0].display();
    sh(&format!("lvm lvcreate -qq --devices {disk} -L 8m -n v1 tank 2>&1"));
    let mut new: Vec<NewVolume> = (0..4).map(|n| rig.volume(&format!("v{n}"), linear(8))).collect();
    new[2] = rig.volume("v2", linear(100_000));
    let created = rig.lvm.create_volumes(&group, &new, soon()).unwrap();
    let [first, taken, large, last] = &created.each[..] else { panic!("{created:?}") };
    assert!(matches!((first, last), (Ok(StepDone::Changed), Ok(StepDone::Changed))));
    assert!(matches!(taken, Err(DeviceError::Changed { .. })), "{taken:?}");
    assert!(matches!(large, Err(DeviceError::NoSpace { .. })), "{large:?}");
    let again = rig.lvm.create_volumes(&group, &new, soon()).unwrap();
    assert!(matches!(
        (&again.each[0], &again.each[3]),
        (Ok(StepDone::Already), Ok(StepDone::Already))
    ));
    assert_eq!(again.group.seqno, created.group.seqno);
    assert_eq!(created.group.lvs.len(), 3);
}

/// Makes them one by one as a shell would, one by one as we do, and all at once; three times each, and the best counts: others run on this machine.
fn compare(rig: &Rig, what: &str, kind: &VolumeKind, arguments: &str) {
    let group = rig.tank(4);
    rig.thin_pool(&group, 64);
    let disks: Vec<String> = rig.disks[..4].iter().map(|d| d.display().to_string()).collect();
    let devices = disks.join(",");
    let (mut bare, mut ours, mut batch) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let mut report = Duration::MAX;
    rig.create(&group, &rig.volume("first", kind.clone()));
    for round in 0..3 {
        let began = Instant::now();
        for n in 0..MANY {
            sh(&format!(
                "lvm lvcreate -qq --yes --config 'activation/udev_sync=0 activation/udev_rules=0 backup/backup=0 backup/archive=0' --devices {devices} {arguments} -n bare{round}-{n} tank 2>&1"
            ));
        }
        bare = bare.min(began.elapsed());
        let began = Instant::now();
        for n in 0..MANY {
            rig.create(&group, &rig.volume(&format!("one{round}-{n}"), kind.clone()));
        }
        ours = ours.min(began.elapsed());
        let new: Vec<NewVolume> =
            (0..MANY).map(|n| rig.volume(&format!("all{round}-{n}"), kind.clone())).collect();
        let began = Instant::now();
        let created = rig.lvm.create_volumes(&group, &new, soon()).unwrap();
        batch = batch.min(began.elapsed());
        assert!(created.each.iter().all(|each| matches!(each, Ok(StepDone::Changed))));
        let began = Instant::now();
        rig.lvm.observe_group(&group, soon()).unwrap();
        report = report.min(began.elapsed());
    }
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / MANY as f64;
    let told = format!(
        "{what}: {:.1} ms each by lvcreate, {:.1} by our own call with its look, {:.1} in a batch of {MANY} with its look: {:.2} of lvcreate, {:.2} of our own; a look {:.1} ms\n",
        each(bare),
        each(ours),
        each(batch),
        batch.as_secs_f64() / bare.as_secs_f64(),
        batch.as_secs_f64() / ours.as_secs_f64(),
        report.as_secs_f64() * 1000.0
    );
    std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()).unwrap();
    assert!(batch < ours, "a batch costs more than its parts: {told}");
}

#[test]
fn a_batch_costs_less_than_its_parts() {
    let Some(rig) = Rig::new() else { return };
    compare(&rig, "thin volumes", &thin(16), "--type thin -V 16m --thinpool pool");
}

/// Carries steps out all at once, as operations on many volumes do; how long until the last is done.
fn at_once(steps: Vec<Step>) -> Duration {
    let began = Instant::now();
    let all: Vec<_> =
        steps.into_iter().map(|step| thread::spawn(move || execute(&step, soon()))).collect();
    for one in all {
        assert_eq!(one.join().unwrap().unwrap(), StepDone::Changed);
    }
    began.elapsed()
}

/// Sixteen `lvcreate` as a shell would run them, against sixteen steps that come at once; three times, and the best counts: others run on this machine.
#[test]
fn steps_that_come_at_once_share_one_lvm() {
    let Some(rig) = Rig::new() else { return };
    let scratch = tempfile::tempdir().unwrap();
    keep_in(&scratch.path().join("lvm")).unwrap();
    let group = rig.tank(4);
    let disks: Vec<String> = rig.disks[..4].iter().map(|d| d.display().to_string()).collect();
    let devices = disks.join(",");
    let (mut bare, mut made, mut gone) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for round in 0..3 {
        let began = Instant::now();
        for n in 0..MANY {
            sh(&format!(
                "lvm lvcreate -qq --yes --config 'activation/udev_sync=0 activation/udev_rules=0 backup/backup=0 backup/archive=0' --devices {devices} --type linear -L 16m -n bare{round}-{n} tank 2>&1"
            ));
        }
        bare = bare.min(began.elapsed());
        let new: Vec<_> = (0..MANY)
            .map(|n| {
                let mut new = rig.volume("x", linear(16));
                new.tag.volume = volume_of(&format!("{round}-{n}"));
                new.name = image_name(new.tag.object, new.tag.volume).parse().unwrap();
                let object = scratch.path().join(new.name.as_str());
                let tag = Box::new(new.tag.clone());
                let entry = LvmStep::CreateEntry { object: object.clone(), tag };
                execute(&Step::Lvm(entry), soon()).unwrap();
                (object, new)
            })
            .collect();
        let create = new.iter().map(|(object, new)| {
            let (object, group) = (object.clone(), group.uuid.clone());
            Step::Lvm(LvmStep::CreateLv { object, group, new: Box::new(new.clone()) })
        });
        made = made.min(at_once(create.collect()));
        let remove = new.iter().map(|(object, new)| {
            let (object, group) = (object.clone(), group.uuid.clone());
            let lv = LvRef { name: new.name.clone(), volume: new.tag.volume };
            Step::Lvm(LvmStep::RemoveUnfinishedLv { object, group, lv })
        });
        gone = gone.min(at_once(remove.collect()));
    }
    let seen = rig.lvm.observe_group(&group, soon()).unwrap();
    assert_eq!(seen.lvs.len(), 3 * MANY, "those of the shell, and no other");
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / MANY as f64;
    let share = made.as_secs_f64() / bare.as_secs_f64();
    let told = format!(
        "{MANY} linear volumes: {:.1} ms each by lvcreate; as steps at once, with looks and zeroed ends, {:.1} ms each to make ({share:.2} of lvcreate), {:.1} to remove\n",
        each(bare),
        each(made),
        each(gone),
    );
    std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()).unwrap();
    assert!(share < 1.0, "{told}");
}
