//! The filesystem in which maps of the probe outlive it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use terrace_devices::mount_bpffs;

use crate::rig::run;

fn kind(path: &std::path::Path) -> String {
    let output = std::process::Command::new("stat").args(["-f", "-c", "%t"]).arg(path).output();
    String::from_utf8_lossy(&output.unwrap().stdout).trim().to_owned()
}

/// Takes the mount away, whatever became of the test.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-q").arg(&self.0).status();
    }
}

#[test]
fn a_bpffs_is_mounted_once_for_root_alone_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("bpf");
    let _mounted = Mounted(at.clone());
    mount_bpffs(&at).unwrap();
    assert_eq!(kind(&at), "cafe4a11");
    assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o700);
    fs::create_dir(at.join("terrace")).unwrap();
    mount_bpffs(&at).unwrap();
    assert!(at.join("terrace").is_dir(), "what is pinned stays");
    run("umount", &[at.to_str().unwrap()]);
    assert_ne!(kind(&at), "cafe4a11", "it was mounted once");
}
