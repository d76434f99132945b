//! Loop devices on the real host (root): what is held keeps its number, whatever others do meanwhile.

use std::process::Command;

use super::*;

fn losetup(arguments: &[&str]) -> String {
    let ended = Command::new("losetup").args(arguments).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

fn attached(scratch: &Path, name: &str) -> (PathBuf, String) {
    let image = scratch.join(name);
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let device = losetup(&["--find", "--show", image.to_str().unwrap()]);
    (image, device)
}

/// Detached by somebody and attached anew to a stranger's file, the number must not lead us to that file.
#[test]
fn i4_the_number_of_a_held_loop_device_does_not_go_to_another_file() {
    let (host, scratch) = (Host::real(), tempfile::tempdir().unwrap());
    let (image, device) = attached(scratch.path(), "t-ours");
    let held = hold_loop(&host, &image, file_id(&image).unwrap()).unwrap().unwrap();
    assert_eq!(held.view.device.to_str(), Some(device.as_str()));
    losetup(&["--detach", &device]);
    let (theirs, other) = attached(scratch.path(), "theirs");
    assert_ne!(other, device, "the number went to another file while it was held");
    kernel::clear_fd(&held.open).unwrap();
    drop(held);
    let of_theirs = find_loop(&host, &theirs, file_id(&theirs).unwrap()).unwrap();
    losetup(&["--detach", &other]);
    assert!(of_theirs.is_some(), "a stranger's loop device was detached");
    // Proves it gone; udev may have held it open for a moment.
    detach_loop(&host, &image).unwrap();
}

#[test]
fn i4_a_loop_device_of_a_file_of_the_same_name_is_not_ours() {
    let (host, scratch) = (Host::real(), tempfile::tempdir().unwrap());
    let (mine, theirs) = (scratch.path().join("mine"), scratch.path().join("theirs"));
    fs::create_dir(&mine).unwrap();
    fs::create_dir(&theirs).unwrap();
    let image = mine.join("t-same");
    File::create(&image).unwrap();
    let (_, device) = attached(&theirs, "t-same");
    let found = find_loop(&host, &image, file_id(&image).unwrap()).unwrap();
    let done = detach_loop(&host, &image).unwrap();
    let still = find_loop(&host, &theirs.join("t-same"), file_id(&theirs.join("t-same")).unwrap());
    losetup(&["--detach", &device]);
    assert!(found.is_none() && done == StepDone::Already);
    assert!(still.unwrap().is_some());
}
