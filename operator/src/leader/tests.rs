//! The election, without an API server: what a look at the lease asks for.

use super::{
    Arc, Client, Duration, Election, Instant, LENGTH, Lease, LeaseSpec, ObjectMeta, Step, holds,
};
use crate::fault::NoFaults;

fn election() -> Election {
    let (service, _handle) = tower_test::mock::pair::<
        http::Request<kube::client::Body>,
        http::Response<kube::client::Body>,
    >();
    let client = Client::new(service, "default");
    Election::new(client, "ns", "lease", "me", Arc::new(NoFaults))
}

fn lease(holder: &str, version: &str) -> Lease {
    let metadata = ObjectMeta { resource_version: Some(version.into()), ..ObjectMeta::default() };
    let spec = LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(15),
        ..LeaseSpec::default()
    };
    Lease { metadata, spec: Some(spec) }
}

#[tokio::test]
async fn a_lease_that_nobody_holds_is_taken() {
    let mut election = election();
    let now = Instant::now();
    assert_eq!(election.next_step(None, now), Step::Create);
    assert_eq!(election.next_step(Some(&lease("", "1")), now), Step::Take);
    assert_eq!(election.next_step(Some(&lease("me", "1")), now), Step::Take);
}

#[tokio::test]
async fn a_rival_is_waited_for_until_its_lease_stands_still() {
    let mut election = election();
    let start = Instant::now();
    assert_eq!(election.next_step(Some(&lease("rival", "1")), start), Step::Wait);
    let almost = start + LENGTH - Duration::from_millis(1);
    assert_eq!(election.next_step(Some(&lease("rival", "1")), almost), Step::Wait);
    // It was renewed: its whole length counts anew.
    assert_eq!(election.next_step(Some(&lease("rival", "2")), almost), Step::Wait);
    assert_eq!(election.next_step(Some(&lease("rival", "2")), almost + LENGTH), Step::Take);
}

#[tokio::test]
async fn a_takeover_is_counted_and_a_renewal_is_not() {
    let election = election();
    let taken = election.ours(Some(&lease("rival", "7")));
    assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"), "only this version");
    let spec = taken.spec.clone().unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("me"), Some(1)));
    let renewed = election.ours(Some(&taken)).spec.unwrap();
    assert_eq!(renewed.lease_transitions, Some(1));
    assert_eq!(renewed.acquire_time, spec.acquire_time);
}

#[tokio::test]
async fn a_lease_that_is_over_does_not_hold() {
    assert!(!holds(None));
    assert!(!holds(Some(Instant::now())));
    assert!(holds(Some(Instant::now() + LENGTH)));
}
