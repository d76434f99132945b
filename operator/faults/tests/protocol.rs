//! Both sides of the protocol at one folder, and real deaths of a real process.
#![cfg(feature = "protocol")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use terrace_faults::{
    ByOrder, DIRECTORY, Fault, Faults, Mode, Order, PATIENCE, Panel, Process, Verdict,
    pass_blocking,
};

const POINT: &str = "node/reply/stage";
const OTHER: &str = "node/reply/unstage";

struct Desk {
    _dir: tempfile::TempDir,
    faults: ByOrder,
    panel: Panel,
}

fn desk() -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let faults = ByOrder::beside(&dir.path().join("csi.sock"), Process::Node).unwrap();
    let panel = Panel::new(dir.path().join(DIRECTORY), Process::Node);
    Desk { _dir: dir, faults, panel }
}

fn order(mode: Mode, nth: u32) -> Order {
    Order { mode, nth, name: POINT.to_owned() }
}

#[test]
fn a_point_is_hit_at_the_pass_that_was_ordered_and_once() {
    let Desk { _dir, faults, panel } = desk();
    assert_eq!(faults.reach(POINT), Verdict::Go);
    let wanted = order(Mode::Error, 2);
    panel.arm(std::slice::from_ref(&wanted)).unwrap();
    let verdicts = [POINT, OTHER, OTHER, POINT, POINT].map(|point| faults.reach(point));
    let expected = [Verdict::Go, Verdict::Go, Verdict::Go, Verdict::Fail, Verdict::Go];
    assert_eq!(verdicts, expected, "what was passed before it was armed does not count");
    assert_eq!(panel.hit().unwrap(), Some(wanted.clone()));
    panel.arm(std::slice::from_ref(&wanted)).unwrap();
    assert_eq!(panel.hit().unwrap(), None, "armed anew");
    assert_eq!([POINT, POINT].map(|point| faults.reach(point)), [Verdict::Go, Verdict::Fail]);
}

#[test]
fn of_several_orders_the_first_that_is_due_is_obeyed_and_told() {
    let Desk { _dir, faults, panel } = desk();
    let other = Order { mode: Mode::Error, nth: 1, name: OTHER.to_owned() };
    panel.arm(&[order(Mode::Hang, 2), other.clone()]).unwrap();
    let verdicts = [POINT, OTHER, POINT, OTHER].map(|point| faults.reach(point));
    assert_eq!(verdicts, [Verdict::Go, Verdict::Fail, Verdict::Go, Verdict::Go], "one alone");
    assert_eq!(panel.hit().unwrap(), Some(other));
}

#[test]
fn an_order_that_was_taken_back_is_not_obeyed() {
    let Desk { _dir, faults, panel } = desk();
    panel.arm(&[order(Mode::Error, 2)]).unwrap();
    assert_eq!(faults.reach(POINT), Verdict::Go);
    panel.disarm().unwrap();
    assert_eq!(faults.reach(POINT), Verdict::Go);
    assert_eq!(panel.hit().unwrap(), None);
}

#[test]
fn what_is_no_order_is_laid_aside() {
    let Desk { _dir, faults, panel } = desk();
    std::fs::write(_dir.path().join("faults/node.armed"), "maim 1 x\n").unwrap();
    assert_eq!(faults.reach(POINT), Verdict::Go);
    assert_eq!(panel.refused().unwrap().as_deref(), Some("maim 1 x\n"));
}

#[test]
fn points_are_written_down_while_they_are_asked_for() {
    let Desk { _dir, faults, panel } = desk();
    faults.reach(OTHER);
    panel.record().unwrap();
    faults.reach(POINT);
    faults.reach(OTHER);
    panel.stop_recording().unwrap();
    faults.reach(POINT);
    assert_eq!(panel.passed().unwrap(), [POINT, OTHER]);
}

#[test]
fn a_hang_ends_in_an_error_and_a_hold_when_it_is_released() {
    let Desk { _dir, faults, panel } = desk();
    panel.arm(&[order(Mode::Hang, 1)]).unwrap();
    assert_eq!(faults.reach(POINT), Verdict::Hang(PATIENCE));
    panel.arm(&[order(Mode::Hold, 1)]).unwrap();
    let began = Instant::now();
    let held = std::thread::spawn(move || pass_blocking(&faults, POINT));
    while panel.hit().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "never hit");
        std::thread::yield_now();
    }
    assert!(!held.is_finished());
    panel.release().unwrap();
    assert_eq!(held.join().unwrap(), Ok(()));
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn an_error_names_its_point() {
    let Desk { _dir, faults, panel } = desk();
    panel.arm(&[order(Mode::Error, 1)]).unwrap();
    let fault = pass_blocking(&faults, POINT).unwrap_err();
    assert_eq!(fault, Fault::Injected(POINT));
    assert_eq!(fault.to_string(), format!("injected at fault point: {POINT}"));
}

const AS_CHILD: &str = "TERRACE_TEST_FAULTS";

/// What the processes below run: one that passes the point and says so.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(AS_CHILD) else { return };
    let faults = ByOrder::beside(&Path::new(&dir).join("csi.sock"), Process::Node).unwrap();
    let verdict = faults.reach(POINT);
    // Not by println: that is captured.
    writeln!(std::io::stdout(), "outlived it: {verdict:?}").unwrap();
}

/// This program again, as [`child`] with the point armed to kill.
fn die_in(mut command: Command) -> (Output, Option<Order>, Duration) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
    let panel = Panel::new(dir.path().join(DIRECTORY), Process::Node);
    panel.arm(&[order(Mode::Kill, 1)]).unwrap();
    let began = Instant::now();
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "child", "--nocapture"]);
    let output = command.env(AS_CHILD, dir.path()).output().unwrap();
    (output, panel.hit().unwrap(), began.elapsed())
}

#[test]
fn a_process_that_is_to_die_is_killed_at_once() {
    let (output, hit, _) = die_in(Command::new("env"));
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    assert_eq!(hit, Some(order(Mode::Kill, 1)), "known before it died");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("outlived"), "{output:?}");
}

/// As in a container: no signal that it sends itself ends the first process.
#[test]
fn the_first_process_of_a_container_dies_too() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--fork"]);
    let (output, hit, took) = die_in(inside);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(hit, Some(order(Mode::Kill, 1)));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("outlived"), "{output:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}
