//! The end of a volume or snapshot whose node does not act: what is said, and when it is let go without its node.
//! Pure. Bytes are never destroyed here: what is let go stays on the node's disks, and the node lists it as an orphan
//! should it come back.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use terrace_crds::condition::{ConditionType, Reason, Truth, Verdict, find};
use terrace_crds::names::FINALIZER_NODE;
use terrace_crds::volume::Assignment;

use crate::effect::finalizers_without;
use crate::world::{HostState, World};

/// A deletion that waits is said to wait after this time.
const SAID_AFTER: Duration = Duration::from_secs(60);
/// What lies on a node that is gone is let go this long after its deletion was asked for and the node was missed.
pub const LET_GO_AFTER: Duration = Duration::from_secs(300);

/// An object that is being deleted and lies on a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving<'a> {
    /// What it is, in words.
    pub(crate) what: &'static str,
    /// Its metadata.
    pub(crate) metadata: &'a ObjectMeta,
    /// Where it lies.
    pub(crate) place: &'a Assignment,
    /// Its conditions.
    pub(crate) conditions: &'a [Condition],
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Nothing: its node acts.
    Quietly,
    /// Nothing before this time has passed.
    Until(Duration),
    /// The API server is asked for the node first.
    Look,
    /// This is said, and looked at again after that time.
    Said(Verdict, Option<Duration>),
    /// It is let go: these finalizers stay, those of others.
    LetGo(Vec<String>),
}

/// The node that must be asked for past every cache before this object is planned for.
#[must_use]
pub fn node_to_look_for<'a>(
    world: &World,
    metadata: &ObjectMeta,
    place: Option<&'a Assignment>,
) -> Option<&'a str> {
    let held = metadata.finalizers.iter().flatten().any(|held| held == FINALIZER_NODE);
    let node = place?.node.as_str();
    let is_leaving = metadata.deletion_timestamp.is_some() && held;
    (is_leaving && world.host(node).is_none()).then_some(node)
}

/// What is to be done about an object that is being deleted.
pub(crate) fn judge_leaving(world: &World, leaving: Leaving<'_>, now: Timestamp) -> Waits {
    let Leaving { what, metadata, place, conditions } = leaving;
    let node = place.node.as_str();
    let held = metadata.finalizers.iter().flatten().any(|held| held == FINALIZER_NODE);
    let Some(asked) = metadata.deletion_timestamp.as_ref().filter(|_| held) else {
        return Waits::Quietly;
    };
    let left = |since: Timestamp, limit: Duration| {
        let passed = now.duration_since(since).max(jiff::SignedDuration::ZERO).unsigned_abs();
        limit.checked_sub(passed).filter(|left| !left.is_zero())
    };
    let say = |reason, message: String, next| {
        let verdict = Verdict::new(ConditionType::Missing, Truth::Unknown, reason, message);
        Waits::Said(verdict, next)
    };
    match world.host(node).map(|host| host.state) {
        None if !world.gone.contains(node) => Waits::Look,
        None => {
            // What was said of a node that was only silent counts: it is no sooner back.
            let missed = missed_since(conditions).unwrap_or(now).max(asked.0);
            match left(missed, LET_GO_AFTER) {
                None => Waits::LetGo(finalizers_without(metadata, FINALIZER_NODE)),
                next @ Some(_) => say(Reason::NodeGone, without_node(what, node), next),
            }
        }
        Some(HostState::NotReady) => match left(asked.0, SAID_AFTER) {
            Some(left) => Waits::Until(left),
            None => say(Reason::NodeGone, unheard_of(what, node), None),
        },
        Some(HostState::Ready | HostState::Cordoned) => {
            let answered = find(conditions, ConditionType::Ready)
                .is_some_and(|ready| ready.status == Truth::False.as_str());
            match (answered, left(asked.0, SAID_AFTER)) {
                (false, Some(left)) => Waits::Until(left),
                (false, None) => say(Reason::WaitingForNode, unanswered(what, node), None),
                (true, _) => is_back(conditions, node),
            }
        }
    }
}

/// Since when nobody has heard of the node, as was said.
fn missed_since(conditions: &[Condition]) -> Option<Timestamp> {
    let missing = find(conditions, ConditionType::Missing)?;
    let gone =
        missing.status == Truth::Unknown.as_str() && missing.reason == Reason::NodeGone.as_str();
    gone.then_some(missing.last_transition_time.0)
}

/// What was said of the node while it was away is taken back.
fn is_back(conditions: &[Condition], node: &str) -> Waits {
    let unknown = find(conditions, ConditionType::Missing)
        .is_some_and(|missing| missing.status == Truth::Unknown.as_str());
    if !unknown {
        return Waits::Quietly;
    }
    let message = format!("node {node} acts on the deletion");
    let verdict = Verdict::new(ConditionType::Missing, Truth::False, Reason::Found, message);
    Waits::Said(verdict, None)
}

/// Words for a node that Kubernetes has no more. They do not change while it is waited for, so they are written once.
fn without_node(what: &str, node: &str) -> String {
    format!(
        "the deletion waits for node {node}, and Kubernetes has no such node: should it not come back, the {what} is let go {} minutes after it was missed; its bytes stay on the disks of the node, which lists them as an orphan should it come back later",
        LET_GO_AFTER.as_secs() / 60
    )
}

fn unheard_of(what: &str, node: &str) -> String {
    format!(
        "the deletion waits for node {node}, which is not ready: bring it back. If it never comes back, kubectl delete node {node}: the {what} is let go {} minutes later, and its bytes stay on the disks of the node",
        LET_GO_AFTER.as_secs() / 60
    )
}

fn unanswered(what: &str, node: &str) -> String {
    format!(
        "the deletion waits for the agent of node {node}, which has not answered for {} s: see its Pod (kubectl get pods -A -l app.kubernetes.io/component=node --field-selector spec.nodeName={node}); the {what} goes once it runs",
        SAID_AFTER.as_secs()
    )
}

/// Words for the Event, once it was let go.
pub(crate) fn let_go(what: &str, node: &str, uuid: &str) -> String {
    format!(
        "{what} let go: Kubernetes has no node {node}, for which its deletion waited. Bytes {uuid} stay on the disks of that node; should it come back, see kubectl terrace orphan list"
    )
}
