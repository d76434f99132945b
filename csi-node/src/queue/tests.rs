//! The queue as tasks see it.
use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::schedule::{LockKey, LockMode, OpId, Priority, Request};
use super::{EntryState, Error, Patience, Queue};
use crate::operation::OpKind;

const SOON: Duration = Duration::from_secs(20);

fn request(number: u128, kind: OpKind) -> Request<OpKind> {
    let lock = (LockKey::Volume(Uuid::from_u128(7)), LockMode::Exclusive);
    let id = OpId(Uuid::from_u128(number));
    Request { id, kind, locks: [lock].into(), priority: Priority::Call, after: BTreeSet::new() }
}

#[tokio::test]
async fn the_same_call_twice_at_once_is_refused_and_the_holder_named() {
    let queue = Queue::new(4);
    let first = queue.acquire(request(1, OpKind::Stage), Patience::Call(SOON)).await;
    let first = first.expect("free");
    let second = queue.acquire(request(2, OpKind::Stage), Patience::Call(SOON)).await;
    let refused = second.expect_err("busy");
    assert!(matches!(refused, Error::ResourceBusy { holder, .. } if holder == first.id()));
    assert!(refused.to_string().contains("busy: stage"), "{refused}");
    drop(first);
    let third = queue.acquire(request(3, OpKind::Stage), Patience::Call(SOON)).await;
    drop(third.expect("free again"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_too_long_names_the_holder() {
    let queue = Queue::new(4);
    let agent = Patience::Agent(SOON);
    let _held = queue.acquire(request(1, OpKind::Grow), agent).await.expect("free");
    let late = queue.acquire(request(2, OpKind::Stage), Patience::Call(SOON)).await;
    assert!(matches!(late, Err(Error::ResourceBusy { kind: OpKind::Grow, .. })), "{late:?}");
    assert_eq!(queue.snapshot().len(), 1, "the late one is withdrawn");
}

#[tokio::test]
async fn a_waiting_operation_starts_when_the_holder_ends() {
    let queue = Queue::new(4);
    let agent = Patience::Agent(SOON);
    let held = queue.acquire(request(1, OpKind::Grow), agent).await.expect("free");
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.acquire(request(2, OpKind::Stage), Patience::Call(SOON)).await.map(drop) }
    });
    while queue.snapshot().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(queue.snapshot()[1].state, EntryState::Waiting);
    drop(held);
    waiting.await.expect("task").expect("its turn");
    assert!(queue.snapshot().is_empty());
}

#[tokio::test]
async fn an_operation_whose_caller_has_gone_leaves_nothing_behind() {
    let queue = Queue::new(1);
    let agent = Patience::Agent(SOON);
    let held = queue.acquire(request(1, OpKind::Grow), agent).await.expect("free");
    let waiting = queue.acquire(request(2, OpKind::Stage), Patience::Agent(SOON));
    tokio::select! {
        biased;
        _ = waiting => unreachable!("the lock is held"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(queue.snapshot().len(), 1);
    drop(held);
    drop(queue.acquire(request(3, OpKind::Stage), agent).await.expect("free"));
}
