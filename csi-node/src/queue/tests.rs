//! The queue as tasks see it.
use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::schedule::{LockKey, LockMode, OpId, Priority, Request};
use super::{At, EntryState, Error, Patience, Queue, Task, WaitsFor};
use crate::journal::record::Subject;
use crate::operation::OpKind;

const SOON: Duration = Duration::from_secs(20);

fn request(number: u128, kind: OpKind) -> Request<Task> {
    let lock = (LockKey::Volume(Uuid::from_u128(7)), LockMode::Exclusive);
    let id = OpId(Uuid::from_u128(number));
    let task = Task { kind, subject: Subject::default() };
    Request { id, task, locks: [lock].into(), priority: Priority::Call, after: BTreeSet::new() }
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

#[tokio::test]
async fn who_waits_and_for_whom_and_where_the_holder_stands_is_shown() {
    let queue = Queue::new(4);
    let agent = Patience::Agent(SOON);
    let held = queue.acquire(request(1, OpKind::Grow), agent).await.expect("free");
    let at = At { step: 2, of: 3, prose: "grow it".into(), attempts: 1 };
    queue.stands(held.id(), at.clone());
    let mut waiting = Box::pin(queue.acquire(request(2, OpKind::Stage), agent));
    assert!(futures::poll!(&mut waiting).is_pending());
    let shown = queue.snapshot();
    assert_eq!((shown[0].state, &shown[0].at), (EntryState::Running, &Some(at)));
    let Some(WaitsFor::Lock { operation, kind, .. }) = &shown[1].waits_for else {
        panic!("{shown:?}")
    };
    assert_eq!((*operation, *kind), (held.id(), OpKind::Grow));
    queue.hangs(held.id());
    assert_eq!(queue.snapshot()[0].state, EntryState::Hangs);
    drop(held);
    drop(waiting.await.expect("its turn"));
}

#[tokio::test]
async fn a_dependency_on_itself_is_refused_with_a_sentence() {
    let queue = Queue::new(4);
    let after = |number: u128| [OpId(Uuid::from_u128(number))].into();
    let _held = queue.acquire(request(1, OpKind::Grow), Patience::Agent(SOON)).await.expect("free");
    let second = Request { after: after(3), ..request(2, OpKind::Grow) };
    let mut second = Box::pin(queue.acquire(second, Patience::Agent(SOON)));
    assert!(futures::poll!(&mut second).is_pending());
    let third = Request { after: after(2), ..request(3, OpKind::Grow) };
    let refused = queue.acquire(third, Patience::Agent(SOON)).await.expect_err("a cycle");
    let said = std::error::Error::source(&refused).map(ToString::to_string);
    assert_eq!(
        said.as_deref(),
        Some("operation 00000000-0000-0000-0000-000000000003 would wait for itself")
    );
}
