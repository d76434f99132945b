//! A disk that is pulled out (`scsi_debug`), while nobody looks, while a volume is made, and from under a mirror.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use terrace_device_types::Bytes;
use terrace_device_types::lvm::{DmTarget, GroupRef, LvKind, RaidLeg, VolumeKind};
use terrace_devices::DeviceError;

use crate::rig::{Rig, clear_mapper, linear, lv, node, read_at, sh, soon, write_at};

/// A disk of memory that can be pulled out and put back with what was on it.
pub(crate) struct Scsi {
    pub(crate) disk: PathBuf,
}

impl Scsi {
    pub(crate) fn load(parameters: &str) -> Self {
        sh(&format!("modprobe sd_mod && modprobe scsi_debug dev_size_mb=128 {parameters}"));
        Self { disk: appeared() }
    }

    pub(crate) fn pull(&self) {
        let name = self.disk.file_name().unwrap().to_str().unwrap();
        fs::write(format!("/sys/block/{name}/device/delete"), "1").unwrap();
    }

    /// It may come back by another name.
    pub(crate) fn put_back(&mut self) {
        sh("for host in /sys/class/scsi_host/host*/scan; do echo '- - -' > $host; done");
        self.disk = appeared();
    }
}

impl Drop for Scsi {
    /// With everything that stands on it.
    fn drop(&mut self) {
        clear_mapper();
        sh("for _ in 1 2 3 4 5; do modprobe -r scsi_debug && exit; done; exit 1");
    }
}

/// The one SCSI disk, once it has its size.
fn appeared() -> PathBuf {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let names = fs::read_dir("/sys/block").unwrap().flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let ready = |name: &String| {
            let size = fs::read_to_string(format!("/sys/block/{name}/size")).unwrap_or_default();
            let node = fs::exists(format!("/dev/{name}")).unwrap();
            name.starts_with("sd") && node && size.trim() != "0"
        };
        if let Some(name) = names.find(ready) {
            return format!("/dev/{name}").into();
        }
        assert!(Instant::now() < until, "no SCSI disk appeared");
        thread::yield_now();
    }
}

#[test]
fn a_disk_that_is_gone_is_missing_and_back_when_it_is_back() {
    let Some(rig) = Rig::new() else { return };
    let mut scsi = Scsi::load("");
    let disks = [rig.disks[0].clone(), scsi.disk.clone()];
    let group = rig.group_on("tank", &disks);
    let kind = VolumeKind::Raid1 { size: Bytes::mib(8), mirrors: 1 };
    rig.create(&group, &rig.volume("here", linear(8)));
    let seen = rig.create(&group, &rig.volume("raid", kind));
    let uuid = seen.lv("raid").unwrap().uuid.clone();
    write_at(&node(&seen, "raid"), 0, 1, 1 << 20);
    scsi.pull();
    let gone = rig.lvm.observe_group(&group, soon()).unwrap();
    assert_eq!(gone.missing, 1);
    assert_eq!(gone.lv("raid").unwrap().health.as_deref(), Some("partial"));
    let error = rig.create_fails(&group, &rig.volume("v", linear(8)));
    assert!(matches!(error, DeviceError::Tool { .. }), "{error}");
    // lvm itself would remove it, and from then on keep the disk out.
    let kept = rig.lvm.remove_unfinished_volume(&group, &lv("here"), soon()).unwrap_err();
    assert!(matches!(kept, DeviceError::Changed { .. }), "{kept}");
    assert_eq!(rig.lvm.observe_group(&group, soon()).unwrap().seqno, gone.seqno);
    // The mirror goes on with what is left, and says so without a command.
    write_at(&node(&seen, "raid"), 0, 2, 1 << 20);
    assert_eq!(read_at(&node(&seen, "raid"), 0, 4096), vec![2; 4096]);
    let status = rig.lvm.observe_status(&group.uuid, &uuid, &LvKind::Raid1).unwrap().unwrap();
    let DmTarget::Raid(raid) = &status.targets[0] else { panic!("{status:?}") };
    assert!(raid.legs.contains(&RaidLeg::Failed) && raid.legs.contains(&RaidLeg::Whole));
    scsi.put_back();
    let devices = vec![rig.disks[0].clone(), scsi.disk.clone()];
    let back = rig.lvm.observe_group(&GroupRef { devices, ..group }, soon()).unwrap();
    assert_eq!(back.missing, 0);
}

#[test]
fn a_disk_that_goes_while_a_volume_is_made_leaves_the_rest_whole() {
    let Some(rig) = Rig::new() else { return };
    for delay in [5, 20, 40, 80] {
        let scsi = Scsi::load("");
        let disks = [rig.disks[0].clone(), scsi.disk.clone()];
        let name = format!("tank{delay}");
        let group = rig.group_on(&name, &disks);
        let before = rig.create(&group, &rig.volume("before", linear(4)));
        write_at(&node(&before, "before"), 0, 8, 4096);
        let made = thread::scope(|scope| {
            let making = scope
                .spawn(|| rig.lvm.create_volumes(&group, &[rig.volume("v", linear(200))], soon()));
            thread::sleep(Duration::from_millis(delay));
            scsi.pull();
            making.join().unwrap()
        });
        // Whatever it came to, what is said of it is what is there.
        let seen = rig.lvm.observe_group(&group, soon()).unwrap();
        assert_eq!(seen.missing, 1);
        match made {
            Ok(made) => assert!(made.each[0].is_err() || seen.lv("v").is_some(), "{made:?}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        assert_eq!(read_at(&node(&before, "before"), 0, 4096), vec![8; 4096]);
        drop(scsi);
        let disk = rig.disks[0].display();
        sh(&format!("head -c 20000000 /dev/zero > {disk}; sync {disk}"));
    }
}
