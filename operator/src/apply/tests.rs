//! What each effect says to the API server, byte for byte where it matters, and what its answers become.

use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use terrace_crds::Size;
use terrace_crds::pool::StoragePoolStatus;
use terrace_crds::volume::{Assignment, ClaimRef, Deletion, FsType};
use terrace_plan::class::Class;
use terrace_plan::effect::{Effect, ObjectRef};
use terrace_plan::effect_kind::EffectKind;

use super::{Effects, Error, Events};
use crate::fault::{Edge, Fault, Faults, NoFaults, Point, Verdict};

/// How the API server answers.
#[derive(Clone, Copy)]
enum Scenario {
    Takes,
    ChangedMeanwhile,
    IsGone,
    IsAway,
}

impl Scenario {
    fn answer(self) -> Response<Body> {
        let failure = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""}),
            )
        };
        let (code, body) = match self {
            Self::Takes => (200, json!({"metadata": {"name": "a"}, "spec": spec()})),
            Self::ChangedMeanwhile => failure(409, "Conflict"),
            Self::IsGone => failure(404, "NotFound"),
            Self::IsAway => failure(503, "ServiceUnavailable"),
        };
        let response =
            Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
        response.expect("a response")
    }
}

/// Fields that every kind here finds its own among.
fn spec() -> Value {
    json!({"origin": "CSI", "capacity": "1Gi", "volumeMode": "Block", "tier": "ssd"})
}

/// Carries out one effect and returns what was asked, and what came of it.
async fn carry_out(effect: Effect, scenario: Scenario) -> (Asked, Result<(), Error>) {
    let (service, mut server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "default");
    let effects = Effects::new(client.clone(), Events::new(client, "me"), Arc::new(NoFaults));
    let asked = async {
        let (request, reply) = server.next_request().await.expect("a request");
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        reply.send_response(scenario.answer());
        Asked {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    };
    let (asked, done) = futures::join!(asked, effects.apply(&effect));
    (asked, done)
}

struct Asked {
    method: Method,
    path: String,
    query: String,
    body: Value,
}

fn volume() -> ObjectRef {
    ObjectRef { namespace: None, name: "a".into(), uid: "u".into(), resource_version: "7".into() }
}

const VOLUME: &str = "/apis/terrace.storage/v1alpha1/storagevolumes/a";

fn assignment() -> Effect {
    let assignment = Assignment { node: "n".into(), pool_uuid: "p".into(), capacity: None };
    Effect::AssignVolume { volume: volume(), assignment, pool: "fast".into(), bytes: 1 }
}

#[tokio::test]
async fn an_assignment_is_applied_to_this_very_version_by_the_operator() {
    let (asked, done) = carry_out(assignment(), Scenario::Takes).await;
    done.unwrap();
    assert_eq!((asked.method, asked.path.as_str()), (Method::PATCH, VOLUME));
    assert_eq!(asked.query, "&fieldManager=terrace-operator", "not forced: nobody else may assign");
    let want = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "7"},
        "spec": {"assignment": {"node": "n", "poolUUID": "p"}},
    });
    assert_eq!(asked.body, want);
}

#[tokio::test]
async fn a_stamp_is_merged_into_this_very_version_by_the_csi_controller() {
    let deletion = Deletion {
        volume_uuid: "v".into(),
        id: "d".into(),
        requested_at: Time(Timestamp::UNIX_EPOCH),
    };
    let stamp = Effect::StampDeletion { volume: volume(), deletion };
    let (asked, done) = carry_out(stamp, Scenario::Takes).await;
    done.unwrap();
    assert_eq!((asked.path.as_str(), asked.query.as_str()), (VOLUME, "&fieldManager=terrace-csi"));
    let deletion = json!({"volumeUUID": "v", "id": "d", "requestedAt": "1970-01-01T00:00:00Z"});
    let metadata = json!({"uid": "u", "resourceVersion": "7"});
    assert_eq!(asked.body, json!({"metadata": metadata, "spec": {"deletion": deletion}}));
}

#[tokio::test]
async fn only_this_very_version_is_deleted() {
    let (asked, done) = carry_out(Effect::DeleteVolume { volume: volume() }, Scenario::Takes).await;
    done.unwrap();
    assert_eq!((asked.method, asked.path.as_str()), (Method::DELETE, VOLUME));
    assert_eq!(asked.body["preconditions"], json!({"uid": "u", "resourceVersion": "7"}));
}

#[tokio::test]
async fn a_report_takes_the_operators_fields_and_writes_no_null() {
    let report = Effect::ReportVolume { volume: volume(), claim: None, conditions: Vec::new() };
    let (asked, done) = carry_out(report, Scenario::Takes).await;
    done.unwrap();
    assert_eq!(asked.path, format!("{VOLUME}/status"));
    assert!(asked.query.contains("force=true") && asked.query.contains("terrace-operator"));
    assert_eq!(asked.body["status"], json!({"conditions": []}));
    let status = Box::<StoragePoolStatus>::default();
    let report = Effect::ReportPool { pool: volume(), status };
    let (asked, _) = carry_out(report, Scenario::Takes).await;
    assert_eq!(asked.path, "/apis/terrace.storage/v1alpha1/storagepools/a/status");
}

#[tokio::test]
async fn what_the_server_answers_becomes_an_error_of_its_class() {
    let (_, done) = carry_out(assignment(), Scenario::ChangedMeanwhile).await;
    assert!(matches!(done, Err(Error::Changed { .. })), "{done:?}");
    let (_, done) = carry_out(assignment(), Scenario::IsGone).await;
    assert!(done.is_err_and(|error| error.is_gone()));
    let (_, done) = carry_out(assignment(), Scenario::IsAway).await;
    assert_eq!(tonic::Status::from(done.unwrap_err()).code(), tonic::Code::Unavailable);
    let (_, done) = carry_out(Effect::DeleteVolume { volume: volume() }, Scenario::IsGone).await;
    done.expect("a deletion of what is gone is done");
}

#[tokio::test]
async fn an_identity_is_merged_so_that_no_later_apply_takes_it_back() {
    let name = |fs_type| Effect::NameVolume { volume: volume(), uuid: "v".into(), fs_type };
    let (asked, done) = carry_out(name(Some(FsType::Btrfs)), Scenario::Takes).await;
    done.unwrap();
    assert_eq!((asked.method, asked.path.as_str()), (Method::PATCH, VOLUME));
    assert_eq!(asked.query, "&fieldManager=terrace-operator");
    let metadata = json!({"uid": "u", "resourceVersion": "7"});
    let spec = json!({"volumeUUID": "v", "fsType": "btrfs"});
    assert_eq!(asked.body, json!({"metadata": metadata, "spec": spec}));
    let (asked, _) = carry_out(name(None), Scenario::Takes).await;
    assert_eq!(asked.body["spec"], json!({"volumeUUID": "v"}), "what a person named stays");
}

#[tokio::test]
async fn a_persistent_volume_given_to_another_claim_forgets_the_first() {
    let claim = ClaimRef { namespace: "shop".into(), name: "next".into() };
    let point = Effect::PointPersistent { persistent: volume(), claim };
    let (asked, done) = carry_out(point, Scenario::ChangedMeanwhile).await;
    assert!(matches!(done, Err(Error::Changed { .. })), "{done:?}");
    assert_eq!((asked.method, asked.path.as_str()), (Method::PATCH, "/api/v1/persistentvolumes/a"));
    assert_eq!(asked.body["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
    let want = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop", "name": "next",
        "uid": null, "resourceVersion": null,
    });
    assert_eq!(asked.body["spec"], json!({"claimRef": want}));
}

#[tokio::test]
async fn a_claim_is_made_and_grown_in_its_namespace() {
    let metadata = ObjectMeta {
        namespace: Some("shop".into()),
        name: Some("a".into()),
        ..ObjectMeta::default()
    };
    let claim = Box::new(PersistentVolumeClaim { metadata, ..PersistentVolumeClaim::default() });
    let (asked, done) = carry_out(Effect::MakeClaim { claim }, Scenario::Takes).await;
    done.unwrap();
    let claims = "/api/v1/namespaces/shop/persistentvolumeclaims";
    assert_eq!((asked.method, asked.path.as_str()), (Method::POST, claims));
    let claim = ObjectRef { namespace: Some("shop".into()), ..volume() };
    let grow = Effect::GrowClaim { claim, to: Size::from_bytes(5 << 30) };
    let (asked, done) = carry_out(grow, Scenario::ChangedMeanwhile).await;
    assert!(matches!(done, Err(Error::Changed { .. })), "{done:?}");
    assert_eq!((asked.method, asked.path), (Method::PATCH, format!("{claims}/a")));
    let resources = json!({"requests": {"storage": "5Gi"}});
    assert_eq!(asked.body["spec"], json!({"resources": resources}));
    assert_eq!(asked.body["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
}

/// Fails at one point.
#[derive(Debug)]
struct FailsAt(Point);

impl Faults<Point> for FailsAt {
    fn reach(&self, point: Point) -> Verdict {
        if point == self.0 { Verdict::Fail } else { Verdict::Go }
    }
}

/// What is asked of an API server that takes everything, by an effect that is made to fail at `edge`.
async fn failing(edge: Edge) -> (usize, Result<(), Error>) {
    let (service, mut server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "default");
    let faults = Arc::new(FailsAt(Point::Effect(EffectKind::AssignVolume, edge)));
    let effects = Effects::new(client.clone(), Events::new(client, "me"), faults);
    let serve = tokio::spawn(async move {
        let mut asked = 0;
        while let Some((_, reply)) = server.next_request().await {
            asked += 1;
            reply.send_response(Scenario::Takes.answer());
        }
        asked
    });
    let done = effects.apply(&assignment()).await;
    drop(effects);
    (serve.await.expect("no panic"), done)
}

#[tokio::test]
async fn an_effect_that_is_made_to_fail_has_happened_after_it_and_not_before() {
    for (edge, times) in [(Edge::Before, 0), (Edge::After, 1)] {
        let (asked, done) = failing(edge).await;
        let error = done.expect_err("made to fail");
        assert!(matches!(error, Error::Fault(Fault::Injected(_))), "{error:?}");
        assert_eq!((asked, error.class()), (times, Class::Retry), "{edge}");
    }
}
