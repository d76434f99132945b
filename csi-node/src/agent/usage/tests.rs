//! When use is reported, and when it is pressure.
use super::*;

fn seen(used: u64, inodes_used: u64) -> Usage {
    Usage {
        total: Bytes(1000),
        used: Bytes(used),
        available: Bytes(1000 - used),
        inodes: 1000,
        inodes_used,
        inodes_free: 1000 - inodes_used,
    }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).expect("in range")
}

#[test]
fn i8_use_that_hardly_moves_is_not_written() {
    let reported = Reported { usage: to_wire(&seen(100, 100)), at: at(0) };
    let worth =
        |used, inodes, minute| is_worth_reporting(&seen(used, inodes), Some(&reported), at(minute));
    assert!(is_worth_reporting(&seen(100, 100), None, at(0)), "never reported");
    assert!(!worth(100, 100, 600), "the same figures are never written again");
    assert!(!worth(105, 100, 9), "half a percent waits");
    assert!(worth(105, 100, 10), "ten minutes are over");
    assert!(worth(110, 100, 0), "one percent of the bytes");
    assert!(worth(90, 100, 0), "less is a move too");
    assert!(worth(100, 110, 0), "one percent of the inodes");
}

#[test]
fn pressure_names_cause_and_remedy() {
    let high = plan_pressure(&seen(850, 10), 85, &Pressure::None);
    let Pressure::High { reason: Reason::BytesAboveThreshold, message } = &high else {
        unreachable!("{high:?}")
    };
    assert_eq!(
        message,
        "85 % of its bytes are used (850 of 1000): resize the volume or clean up data"
    );
    let inodes = plan_pressure(&seen(10, 900), 85, &Pressure::None);
    assert!(matches!(inodes, Pressure::High { reason: Reason::InodesAboveThreshold, .. }));
    assert_eq!(plan_pressure(&seen(849, 849), 85, &Pressure::None), Pressure::None);
}

#[test]
fn pressure_does_not_flap_at_the_threshold() {
    let high = plan_pressure(&seen(850, 10), 85, &Pressure::Unknown);
    assert!(plan_pressure(&seen(840, 10), 85, &high).is_high());
    assert!(!plan_pressure(&seen(829, 10), 85, &high).is_high());
    assert!(!plan_pressure(&seen(840, 10), 85, &Pressure::None).is_high());
}

#[test]
fn a_filesystem_without_an_inode_limit_has_no_inode_pressure() {
    let endless = Usage { inodes: 0, inodes_used: 5000, ..seen(1, 0) };
    assert_eq!(plan_pressure(&endless, 85, &Pressure::None), Pressure::None);
}
