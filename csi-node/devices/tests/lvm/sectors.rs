//! Disks of other sector sizes (`scsi_debug`): 4096 bytes for all (4Kn), and 512 for programs with 4096 inside (512e).

use terrace_device_types::lvm::GroupRef;
use terrace_devices::{DeviceError, Host, observe_devices};

use crate::rig::{Rig, linear, node, read_at, soon, thin, write_at};
use crate::vanish::Scsi;

#[test]
fn disks_of_each_sector_size_carry_volumes_and_are_not_mixed() {
    let Some(rig) = Rig::new() else { return };
    for (parameters, logical, physical) in
        [("sector_size=4096", 4096, 4096), ("physblk_exp=3", 512, 4096)]
    {
        let scsi = Scsi::load(parameters);
        let seen = observe_devices(&Host::real()).unwrap();
        let seen = seen.iter().find(|device| device.path == scsi.disk).unwrap();
        assert_eq!((seen.logical_sector, seen.physical_sector), (logical, physical));
        let group = rig.group_on("sectors", std::slice::from_ref(&scsi.disk));
        rig.thin_pool(&group, 16);
        let made = rig.lvm.create_volumes(
            &group,
            &[rig.volume("l", linear(8)), rig.volume("t", thin(8))],
            soon(),
        );
        let made = made.unwrap();
        for (each, name) in made.each.into_iter().zip(["l", "t"]) {
            each.unwrap();
            write_at(&node(&made.group, name), 4096, 3, 4096);
            assert_eq!(read_at(&node(&made.group, name), 4096, 4096), vec![3; 4096]);
        }
        let more = [rig.new_pv(&rig.disks[0])];
        let mixed = rig.lvm.extend_group(&group, &more, soon());
        match logical {
            512 => assert_eq!(mixed.unwrap().group.pvs.len(), 2),
            _other => {
                assert!(matches!(mixed, Err(DeviceError::Tool { .. })), "{mixed:?}");
                let still = GroupRef { devices: vec![scsi.disk.clone()], ..group };
                assert_eq!(rig.lvm.observe_group(&still, soon()).unwrap().pvs.len(), 1);
            }
        }
    }
}
