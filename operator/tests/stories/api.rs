//! An API server small enough to read: objects in memory, versions, watches, preconditions, finalizers. It
//! knows no rule of Terrace. A behaviour is added here only after the real server showed it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::access::is_granted;

/// A body that is there at once, or one that never ends.
type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// One change, as a watch tells it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) kind: String,
    pub(crate) what: &'static str,
    pub(crate) object: Value,
}

/// Whether the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    Down,
    /// Changes of volumes are neither made nor answered; everything else is.
    HoldsChanges,
}

#[derive(Debug)]
struct State {
    version: u64,
    /// By `kind/namespace/name`; for kinds without a namespace that part is empty.
    objects: BTreeMap<String, Value>,
    log: Vec<Change>,
    health: Health,
    /// Requests held now.
    held: usize,
    /// Requests held so far.
    held_ever: usize,
}

/// The server. Clones are the same server.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Api {
    /// With the namespace that names the cluster, and nothing else.
    pub(crate) fn new() -> Self {
        let (objects, log) = (BTreeMap::new(), Vec::new());
        let state = State { version: 1, objects, log, health: Health::Up, held: 0, held_ever: 0 };
        let api = Self { state: Arc::new(Mutex::new(state)), changed: watch::channel(1).0 };
        api.put("namespaces", json!({"metadata": {"name": "kube-system"}}));
        api
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Puts an object there, whatever was there before.
    pub(crate) fn put(&self, kind: &str, object: Value) {
        let mut state = self.locked();
        let key = key(kind, &object);
        let what = if state.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.write(&mut state, kind, what, object);
    }

    /// The object, as it is now.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.locked().objects.get(&format!("{kind}//{name}")).cloned()
    }

    /// Everything that happened to the objects of a kind, in order.
    pub(crate) fn history(&self, kind: &str) -> Vec<Change> {
        self.locked().log.iter().filter(|change| change.kind == kind).cloned().collect()
    }

    /// A signal after every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Stops or starts answering; watches that are open stay open.
    pub(crate) fn set_health(&self, health: Health) {
        self.locked().health = health;
        self.changed.send_modify(|_| {});
    }

    /// How many requests are held now.
    pub(crate) fn held(&self) -> usize {
        self.locked().held
    }

    /// How many requests were held so far.
    pub(crate) fn held_ever(&self) -> usize {
        self.locked().held_ever
    }

    /// Ends when changes are made again; dropped before that, the request was never made.
    async fn hold(&self) {
        let _held = Held::new(self);
        let mut changed = self.changes();
        while self.locked().health == Health::HoldsChanges {
            changed.changed().await.expect("the server lives");
        }
    }

    /// Changes an object in place, as another writer would.
    pub(crate) fn edit(&self, kind: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut state = self.locked();
        let Some(mut object) = state.objects.get(&format!("{kind}//{name}")).cloned() else {
            return;
        };
        edit(&mut object);
        self.settle(&mut state, kind, object);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no story panics while it holds the server")
    }

    /// Stores a changed object; one that is deleted and has no finalizer left is gone.
    fn settle(&self, state: &mut State, kind: &str, object: Value) -> Value {
        let leaving = !object["metadata"]["deletionTimestamp"].is_null();
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let what = if leaving && !held { "DELETED" } else { "MODIFIED" };
        self.write(state, kind, what, object)
    }

    fn write(&self, state: &mut State, kind: &str, what: &'static str, mut object: Value) -> Value {
        state.version += 1;
        let key = key(kind, &object);
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(state.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", state.version));
        }
        match what {
            "DELETED" => state.objects.remove(&key),
            _ => state.objects.insert(key, object.clone()),
        };
        let (version, kind) = (state.version, kind.to_owned());
        state.log.push(Change { version, kind, what, object: object.clone() });
        self.changed.send_replace(version);
        object
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        if self.locked().health == Health::Down {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "the server is away");
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path = Path::parse(parts.uri.path());
        let query = parts.uri.query().unwrap_or_default();
        if !is_granted(&parts.method, parts.uri.path(), query) {
            return failure(StatusCode::FORBIDDEN, &format!("{} {}", parts.method, parts.uri));
        }
        if parts.method == Method::PATCH && path.kind == "storagevolumes" {
            self.hold().await;
        }
        match (&parts.method, &path.name) {
            (&Method::GET, None) if query.contains("watch=true") => self.watch(&path, query),
            (&Method::GET, None) => self.list(&path),
            (&Method::GET, Some(_)) => self.with(&path, |_, _, object| Ok(object)),
            (&Method::POST, None) => self.create(&path, body),
            (&Method::PUT, Some(_)) => self.with(&path, |api, state, old| {
                check(&old, &body)?;
                Ok(api.write(state, &path.kind, "MODIFIED", body.clone()))
            }),
            (&Method::PATCH, Some(_)) => self.patch(&path, &body),
            (&Method::DELETE, Some(_)) => self.delete(&path, &body),
            (method, _) => failure(StatusCode::METHOD_NOT_ALLOWED, method.as_str()),
        }
    }

    fn list(&self, path: &Path) -> Response<Answer> {
        let state = self.locked();
        let prefix = format!("{}/", path.kind);
        let items: Vec<&Value> = state
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix))
            .map(|(_, v)| v)
            .collect();
        let metadata = json!({"resourceVersion": state.version.to_string()});
        reply(&json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items}))
    }

    fn watch(&self, path: &Path, query: &str) -> Response<Answer> {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let seen: u64 = from.and_then(|version| version.parse().ok()).unwrap_or(0);
        let (api, kind) = (self.clone(), path.kind.clone());
        let lines = stream::unfold((seen, self.changes()), move |(seen, mut changed)| {
            let (api, kind) = (api.clone(), kind.clone());
            async move {
                loop {
                    changed.borrow_and_update();
                    let next = api.history(&kind).into_iter().find(|change| change.version > seen);
                    if let Some(Change { version, what, object, .. }) = next {
                        let line = format!("{}\n", json!({"type": what, "object": object}));
                        let frame = http_body::Frame::data(Bytes::from(line));
                        return Some((Ok::<_, Infallible>(frame), (version, changed)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }

    fn create(&self, path: &Path, mut body: Value) -> Response<Answer> {
        let mut state = self.locked();
        if !path.namespace.is_empty() {
            body["metadata"]["namespace"] = json!(path.namespace);
        }
        if state.objects.contains_key(&key(&path.kind, &body)) {
            return failure(StatusCode::CONFLICT, "AlreadyExists");
        }
        body["metadata"]["generation"] = json!(1);
        reply(&self.write(&mut state, &path.kind, "ADDED", body))
    }

    fn patch(&self, path: &Path, body: &Value) -> Response<Answer> {
        self.with(path, |api, state, old| {
            check(&old, body)?;
            let mut new = old.clone();
            merge(&mut new, body);
            for fixed in ["uid", "resourceVersion", "name"] {
                new["metadata"][fixed] = old["metadata"][fixed].clone();
            }
            if new["spec"] != old["spec"] {
                let generation = old["metadata"]["generation"].as_u64().unwrap_or(0);
                new["metadata"]["generation"] = json!(generation + 1);
            }
            if new == old { Ok(old) } else { Ok(api.settle(state, &path.kind, new)) }
        })
    }

    fn delete(&self, path: &Path, body: &Value) -> Response<Answer> {
        self.with(path, |api, state, mut object| {
            check(&object, &json!({"metadata": body["preconditions"]}))?;
            object["metadata"]["deletionTimestamp"] = json!("2026-11-22T12:00:00Z");
            Ok(api.settle(state, &path.kind, object))
        })
    }

    fn with(
        &self,
        path: &Path,
        work: impl FnOnce(&Self, &mut State, Value) -> Result<Value, StatusCode>,
    ) -> Response<Answer> {
        let mut state = self.locked();
        let name = path.name.as_deref().unwrap_or_default();
        let key = format!("{}/{}/{name}", path.kind, path.namespace);
        let Some(object) = state.objects.get(&key).cloned() else {
            return failure(StatusCode::NOT_FOUND, &key);
        };
        work(self, &mut state, object).map_or_else(|code| failure(code, &key), |done| reply(&done))
    }
}

/// Counts a request as held until dropped.
struct Held<'a>(&'a Api);

impl<'a> Held<'a> {
    fn new(api: &'a Api) -> Self {
        api.locked().held += 1;
        api.locked().held_ever += 1;
        api.changed.send_modify(|_| {});
        Self(api)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.locked().held -= 1;
        self.0.changed.send_modify(|_| {});
    }
}

/// What a request is about.
struct Path {
    namespace: String,
    kind: String,
    name: Option<String>,
}

impl Path {
    fn parse(path: &str) -> Self {
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        parts.drain(..if parts[0] == "api" { 2 } else { 3 });
        let namespace = match parts.as_slice() {
            ["namespaces", namespace, _, ..] => (*namespace).to_owned(),
            _ => String::new(),
        };
        parts.drain(..if namespace.is_empty() { 0 } else { 2 });
        let name = parts.get(1).map(ToString::to_string);
        Self { namespace, kind: parts[0].to_owned(), name }
    }
}

fn key(kind: &str, object: &Value) -> String {
    let part = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    format!("{kind}/{}/{}", part("namespace"), part("name"))
}

/// Preconditions: a UID or version that is named must be the one that is there.
fn check(old: &Value, asked: &Value) -> Result<(), StatusCode> {
    let same = |field: &str| {
        asked["metadata"][field].is_null() || asked["metadata"][field] == old["metadata"][field]
    };
    if same("uid") && same("resourceVersion") { Ok(()) } else { Err(StatusCode::CONFLICT) }
}

/// A merge patch; conditions are merged by their type, as server-side apply does.
fn merge(into: &mut Value, patch: &Value) {
    let (Value::Object(into), Value::Object(patch)) = (&mut *into, patch) else {
        *into = patch.clone();
        return;
    };
    for (name, value) in patch {
        match into.get_mut(name) {
            Some(Value::Array(there)) if name == "conditions" => {
                let new = value.as_array().cloned().unwrap_or_default();
                there.retain(|old| new.iter().all(|new| new["type"] != old["type"]));
                there.extend(new);
            }
            Some(there) => merge(there, value),
            None => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

fn reply(value: &Value) -> Response<Answer> {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync())
}

fn failure(code: StatusCode, message: &str) -> Response<Answer> {
    let reason = match code {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::FORBIDDEN => "Forbidden",
        _ => "ServiceUnavailable",
    };
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code.as_u16(), "reason": reason, "message": message,
    });
    let mut response = reply(&status);
    *response.status_mut() = code;
    response
}
