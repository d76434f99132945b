//! QEMU's command line for one guest. Its processors are emulated: it needs nothing of the host.

use std::path::Path;
use std::process::Command;

use crate::guest::image;
use crate::guest::kernel::Kernel;
use crate::guest::machine::Machine;
use crate::run::command;

/// Emulation is slow enough without mitigations, audit and security modules; `no_timer_check` because its timers are.
const KERNEL_WORDS: &str = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr audit=0 selinux=0 apparmor=0 tsc=reliable no_timer_check rcupdate.rcu_expedited=1 random.trust_cpu=on";

/// `setpriv` has the kernel end it if this process dies.
pub(crate) fn qemu(kernel: &Kernel, machine: &Machine) -> Command {
    let mut qemu = command("setpriv", ["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    qemu.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]);
    qemu.args(["-smp", &machine.cpus.to_string(), "-m", &machine.memory.to_string()]);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.args(["-serial", "stdio", "-monitor", "none"]);
    qemu.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(image::path(kernel));
    qemu.arg("-append").arg(format!(
        "{KERNEL_WORDS} terrace.share={} terrace.modules={} terrace.load={}",
        machine.share.display(),
        kernel.modules().display(),
        machine.load.join(",")
    ));
    let folder = |id: &str, path: &Path, more: &str| {
        format!("local,id={id},path={},security_model=none,multidevs=remap{more}", path.display())
    };
    qemu.args(["-fsdev", &folder("root", Path::new("/"), ",readonly=on")]);
    qemu.args(["-device", "virtio-9p-pci,fsdev=root,mount_tag=hostroot"]);
    qemu.args(["-fsdev", &folder("share", &machine.share, "")]);
    qemu.args(["-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]);
    qemu.args(["-object", "rng-random,filename=/dev/urandom,id=random"]);
    qemu.args(["-device", "virtio-rng-pci,rng=random"]);
    for number in 0..machine.disks {
        let file = machine.disk(number);
        let drive = format!(
            "file={},format=raw,if=none,id=d{number},cache=unsafe,discard=unmap",
            file.display()
        );
        qemu.args(["-drive", &drive]);
        qemu.args(["-device", &format!("virtio-blk-pci,drive=d{number},serial=disk{number}")]);
    }
    qemu
}
