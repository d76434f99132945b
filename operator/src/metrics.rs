//! Counters and timers, and the words they are labelled with. Every label comes from an enum: none from a name.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use terrace_plan::class::Class;
use tonic::Code;

use crate::error::Error;
pub use crate::method::Method;

/// Upper bounds of the timers, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// A controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// Of StorageVolumes.
    StorageVolume,
    /// Of StorageSnapshots.
    StorageSnapshot,
    /// Of PersistentVolumes.
    PersistentVolume,
    /// Of StoragePools.
    StoragePool,
    /// Of LifecyclePolicies.
    LifecyclePolicy,
    /// Of TieringPolicies.
    TieringPolicy,
}

/// How a reconciliation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Ok,
    Retry,
    Wait,
    Invalid,
    Bug,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconciled {
    kind: Kind,
    result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    method: Method,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: Kind,
}

type Timers<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric of the operator.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Timers<Reconciled>,
    calls: Timers<Called>,
    calls_under_way: Gauge,
    queued: Family<OfKind, Counter>,
    leader: Gauge,
}

fn timer() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("terrace_operator");
        let reconciles: Timers<Reconciled> = Family::new_with_constructor(timer);
        let calls: Timers<Called> = Family::new_with_constructor(timer);
        let (calls_under_way, leader) = (Gauge::default(), Gauge::default());
        let queued = Family::<OfKind, Counter>::default();
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "reconcile",
            "Time of one reconciliation",
            seconds(),
            reconciles.clone(),
        );
        registry.register_with_unit("csi_call", "Time of one CSI call", seconds(), calls.clone());
        registry.register(
            "csi_calls_under_way",
            "CSI calls not answered yet",
            calls_under_way.clone(),
        );
        registry.register(
            "reconcile_queued",
            "Objects put on a controller's queue",
            queued.clone(),
        );
        registry.register("leader", "1 while this replica leads", leader.clone());
        Self { registry, reconciles, calls, calls_under_way, queued, leader }
    }
}

impl Metrics {
    /// Notes a reconciliation.
    pub fn reconciled(&self, kind: Kind, outcome: Result<(), &Error>, took: Duration) {
        let result = match outcome.map_err(Error::class) {
            Ok(()) => Outcome::Ok,
            Err(Class::Retry) => Outcome::Retry,
            Err(Class::Wait) => Outcome::Wait,
            Err(Class::Invalid) => Outcome::Invalid,
            Err(Class::Bug) => Outcome::Bug,
        };
        self.reconciles.get_or_create(&Reconciled { kind, result }).observe(took.as_secs_f64());
    }

    /// Notes an object put on a queue.
    pub fn queued(&self, kind: Kind) {
        self.queued.get_or_create(&OfKind { kind }).inc();
    }

    /// Notes the beginning of a CSI call.
    pub fn call_began(&self) {
        self.calls_under_way.inc();
    }

    /// Notes the end of a CSI call.
    pub fn call_ended(&self, method: Method, code: Code, took: Duration) {
        self.calls_under_way.dec();
        self.calls
            .get_or_create(&Called { method, code: name_of(code) })
            .observe(took.as_secs_f64());
    }

    /// Notes whether this replica leads.
    pub fn leads(&self, leads: crate::leader::Leading) {
        self.leader.set(i64::from(leads.is_some()));
    }

    /// All of them, as Prometheus reads them.
    ///
    /// # Errors
    /// None in practice: a `String` takes every byte.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The name of a code in the gRPC specification.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Duration, Kind, Method, Metrics};
    use crate::error::Error;

    #[test]
    fn what_happened_can_be_read_as_prometheus_text() {
        let metrics = Metrics::default();
        let gone = Error::NotFound { name: "a".into() };
        metrics.reconciled(Kind::StoragePool, Err(&gone), Duration::from_millis(3));
        metrics.call_began();
        metrics.call_ended(Method::CreateVolume, Code::Aborted, Duration::from_millis(30));
        let text = metrics.text().unwrap();
        for want in [
            "terrace_operator_reconcile_seconds_count{kind=\"StoragePool\",result=\"Invalid\"} 1",
            "terrace_operator_csi_call_seconds_count{method=\"CreateVolume\",code=\"ABORTED\"} 1",
            "terrace_operator_csi_calls_under_way 0",
            "terrace_operator_leader 0",
        ] {
            assert!(text.contains(want), "{want} in {text}");
        }
    }
}
