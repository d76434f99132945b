//! Laws of the schedule.
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Strategy, any, prop, proptest};
use uuid::Uuid;

use super::{LockKey, LockMode, OpId, PASSED, Priority, Refusal, Request, Schedule, Wait};

fn op(number: u128) -> OpId {
    OpId(Uuid::from_u128(number))
}

fn volume(number: u128) -> LockKey {
    LockKey::Volume(Uuid::from_u128(number))
}

fn request(number: u128, locks: &[(LockKey, LockMode)], priority: Priority) -> Request<u8> {
    let locks = locks.iter().cloned().collect();
    Request { id: op(number), task: 0, locks, priority, after: BTreeSet::new() }
}

fn exclusive(number: u128, on: u128) -> Request<u8> {
    request(number, &[(volume(on), LockMode::Exclusive)], Priority::Agent)
}

fn any_request() -> impl Strategy<Value = (Vec<(u128, bool)>, u8, Vec<u8>)> {
    let lock = (0_u128..4, any::<bool>());
    (prop::collection::vec(lock, 0..3), 0_u8..4, prop::collection::vec(any::<u8>(), 0..2))
}

fn build(
    number: usize,
    (locks, priority, after): &(Vec<(u128, bool)>, u8, Vec<u8>),
) -> Request<u8> {
    let mode = |shared: bool| if shared { LockMode::Shared } else { LockMode::Exclusive };
    let priority = [Priority::Background, Priority::Agent, Priority::Call, Priority::Recovery]
        [usize::from(*priority)];
    Request {
        id: op(number as u128),
        task: 0,
        locks: locks.iter().map(|(key, shared)| (volume(*key), mode(*shared))).collect(),
        priority,
        after: after.iter().map(|other| op(u128::from(*other % 16))).collect(),
    }
}

fn assert_no_conflict(running: &[Request<u8>]) {
    let mut held: BTreeMap<LockKey, Vec<LockMode>> = BTreeMap::new();
    for (key, mode) in running.iter().flat_map(|request| request.locks.clone()) {
        held.entry(key).or_default().push(mode);
    }
    for (key, modes) in held {
        let alone = modes.len() == 1 || modes.iter().all(|mode| *mode == LockMode::Shared);
        assert!(alone, "{key} held as {modes:?}");
    }
}

proptest! {
    #[test]
    fn no_two_running_operations_hold_one_lock(
        requests in prop::collection::vec(any_request(), 1..24),
        ends in prop::collection::vec(any::<usize>(), 0..24),
    ) {
        let mut schedule = Schedule::new(8);
        for (number, seed) in requests.iter().enumerate() {
            let _ = schedule.submit(build(number, seed));
            schedule.start_ready();
            assert_no_conflict(&schedule.snapshot().1);
            let running = schedule.snapshot().1;
            assert!(running.len() <= 8);
            if let Some(end) = ends.get(number).filter(|_| !running.is_empty()) {
                schedule.finish(running[end % running.len()].id);
            }
        }
    }

    #[test]
    fn every_request_is_started_in_the_end(
        requests in prop::collection::vec(any_request(), 1..24),
        limit in 1_usize..4,
    ) {
        let mut schedule = Schedule::new(limit);
        let taken = requests.iter().enumerate()
            .filter(|(number, seed)| schedule.submit(build(*number, seed)).is_ok())
            .count();
        let mut started = 0;
        loop {
            started += schedule.start_ready().len();
            let Some(first) = schedule.snapshot().1.first().map(|request| request.id) else { break };
            schedule.finish(first);
        }
        assert_eq!(started, taken);
    }
}

proptest! {
    /// Of two that could both start, the one in front is started first.
    #[test]
    fn what_starts_is_never_behind_what_could_have_started(
        requests in prop::collection::vec(any_request(), 1..24),
        limit in 1_usize..4,
    ) {
        let mut schedule = Schedule::new(limit);
        for (number, seed) in requests.iter().enumerate() {
            let _ = schedule.submit(build(number, seed));
        }
        while !schedule.snapshot().0.is_empty() {
            let before = schedule.snapshot().0;
            let started = schedule.start_ready();
            for (front, first) in before.iter().enumerate() {
                let behind = before[front + 1..].iter().find(|other| started.contains(&other.id));
                let Some(behind) = behind.filter(|_| !started.contains(&first.id)) else { continue };
                // It needs something that is not free; only that may let others pass.
                assert_ne!(schedule.wait_of(first.id), Some(Wait::Turn), "{} passed it", behind.id);
            }
            let Some(first) = schedule.snapshot().1.first().map(|request| request.id) else { break };
            schedule.finish(first);
        }
    }

    #[test]
    fn no_stream_of_calls_keeps_the_background_waiting_for_ever(limit in 1_usize..5, locks in 0_u128..3) {
        let mut schedule = Schedule::new(limit);
        let pool = [(volume(99), LockMode::Exclusive)];
        let mut number = 1;
        let mut running = Vec::new();
        let call = |number: u128| {
            let shared = [(volume(99), LockMode::Shared), (volume(number % (locks + 1)), LockMode::Exclusive)];
            request(number, &shared, Priority::Call)
        };
        for _ in 0..limit * 4 {
            schedule.submit(call(number)).expect("taken");
            number += 1;
        }
        running.extend(schedule.start_ready());
        schedule.submit(request(0, &pool, Priority::Background)).expect("taken");
        let mut ended = 0;
        while !schedule.snapshot().1.iter().any(|request| request.id == op(0)) {
            assert!(ended < 4 * u128::from(PASSED), "it waits behind {ended}");
            // As fast as one ends, another comes.
            schedule.submit(call(number)).expect("taken");
            number += 1;
            if !running.is_empty() {
                schedule.finish(running.remove(0));
                ended += 1;
            }
            running.extend(schedule.start_ready());
        }
    }
}

#[test]
fn whoever_waits_is_told_for_what() {
    let mut schedule = Schedule::new(1);
    schedule.submit(exclusive(1, 1)).expect("taken");
    schedule.start_ready();
    schedule.submit(exclusive(2, 1)).expect("taken");
    schedule.submit(exclusive(3, 2)).expect("taken");
    schedule.submit(exclusive(4, 2)).expect("taken");
    schedule.submit(Request { after: [op(3)].into(), ..exclusive(5, 5) }).expect("taken");
    schedule.start_ready();
    assert_eq!(schedule.wait_of(op(2)), Some(Wait::Lock { key: volume(1), by: op(1) }));
    assert_eq!(schedule.wait_of(op(3)), Some(Wait::Turn));
    assert_eq!(schedule.wait_of(op(4)), Some(Wait::Lock { key: volume(2), by: op(3) }));
    assert_eq!(schedule.wait_of(op(5)), Some(Wait::After(op(3))));
    assert_eq!(schedule.wait_of(op(1)), None);
}

#[test]
fn operations_on_one_volume_start_in_the_order_they_came() {
    let mut schedule = Schedule::new(4);
    for number in [3, 1, 2] {
        schedule.submit(exclusive(number, 7)).expect("taken");
    }
    for number in [3, 1, 2] {
        assert_eq!(schedule.start_ready(), [op(number)]);
        schedule.finish(op(number));
    }
}

#[test]
fn a_call_goes_before_the_agent() {
    let mut schedule = Schedule::new(1);
    schedule.submit(exclusive(1, 1)).expect("taken");
    assert_eq!(schedule.start_ready(), [op(1)]);
    schedule.submit(exclusive(2, 2)).expect("taken");
    schedule.submit(request(3, &[], Priority::Call)).expect("taken");
    schedule.finish(op(1));
    assert_eq!(schedule.start_ready(), [op(3)]);
}

#[test]
fn a_waiting_exclusive_is_not_overtaken_by_sharers() {
    let mut schedule = Schedule::new(8);
    let pool = LockKey::Pool(Uuid::from_u128(1));
    let share = |n| request(n, &[(pool.clone(), LockMode::Shared)], Priority::Agent);
    schedule.submit(share(1)).expect("taken");
    assert_eq!(schedule.start_ready(), [op(1)]);
    let alone = request(2, &[(pool.clone(), LockMode::Exclusive)], Priority::Agent);
    schedule.submit(alone).expect("taken");
    schedule.submit(share(3)).expect("taken");
    assert_eq!(schedule.start_ready(), []);
    schedule.finish(op(1));
    assert_eq!(schedule.start_ready(), [op(2)]);
    schedule.finish(op(2));
    assert_eq!(schedule.start_ready(), [op(3)]);
}

#[test]
fn an_operation_waits_for_the_one_it_names() {
    let mut schedule = Schedule::new(8);
    schedule.submit(exclusive(1, 1)).expect("taken");
    let after = [op(1)].into();
    schedule.submit(Request { after, ..exclusive(2, 2) }).expect("taken");
    assert_eq!(schedule.start_ready(), [op(1)]);
    assert_eq!(schedule.start_ready(), []);
    schedule.finish(op(1));
    assert_eq!(schedule.start_ready(), [op(2)]);
}

#[test]
fn a_cycle_is_refused() {
    let mut schedule = Schedule::new(8);
    let after = |ids: &[u128]| ids.iter().map(|id| op(*id)).collect::<BTreeSet<_>>();
    schedule.submit(Request { after: after(&[2]), ..exclusive(1, 1) }).expect("taken");
    schedule.submit(Request { after: after(&[3]), ..exclusive(2, 2) }).expect("taken");
    let last = schedule.submit(Request { after: after(&[1]), ..exclusive(3, 3) });
    assert_eq!(last, Err(Refusal::Cycle(op(3))));
    let own = schedule.submit(Request { after: after(&[4]), ..exclusive(4, 4) });
    assert_eq!(own, Err(Refusal::Cycle(op(4))));
    assert_eq!(schedule.submit(exclusive(1, 9)), Err(Refusal::Known(op(1))));
}

#[test]
fn whoever_is_in_the_way_is_named() {
    let mut schedule = Schedule::new(8);
    schedule.submit(exclusive(1, 5)).expect("taken");
    schedule.start_ready();
    let locks = exclusive(2, 5).locks;
    let (holder, key) = schedule.holder_of(&locks).expect("held");
    assert_eq!((holder.id, key), (op(1), volume(5)));
    assert!(schedule.holder_of(&exclusive(3, 6).locks).is_none());
}
