//! An API server in memory: enough of Kubernetes' API for the operator's flows where no real one is.
//!
//! It knows lists and watches by label, server-side apply as a merge with removal of what was applied before, merge
//! patches with optimistic locks, the status subresource, generations, finalizers, and collection by owner. It does not
//! validate: schemas, CEL and admission are for the real API server. What it cannot do, scenarios say with
//! `cluster.memory`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

/// Events that a slow watch may be behind.
const BACKLOG: usize = 65_536;

/// Group and version, plural, namespace, name.
pub type Path = (String, String, String, String);

/// What is wrong with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Requests fail, watches break.
    Away,
    /// A third of all requests, as good as at random, is too many.
    TooMany,
    /// Every answer comes late.
    Slow(Duration),
    /// Plain requests are answered, watches are not, and say nothing any more.
    Deaf,
}

/// The server.
pub struct MemoryApi {
    state: Mutex<Store>,
    events: broadcast::Sender<(u64, Path, Value, bool)>,
    trouble: Mutex<Trouble>,
    requests: AtomicU64,
}

#[derive(Default)]
struct Store {
    version: u64,
    objects: BTreeMap<Path, Value>,
    applied: BTreeMap<Path, Value>,
    log: Vec<(u64, Path, Value, bool)>,
}

impl MemoryApi {
    /// Starts one on a free port.
    pub async fn start() -> (Arc<Self>, SocketAddr) {
        let api = Arc::new(Self {
            state: Mutex::default(),
            events: broadcast::channel(BACKLOG).0,
            trouble: Mutex::new(Trouble::None),
            requests: AtomicU64::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let router = Router::new().fallback(handle).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (api, address)
    }

    /// From now on this is wrong.
    pub fn set_trouble(&self, trouble: Trouble) {
        *self.trouble.lock() = trouble;
    }

    fn trouble(&self) -> Trouble {
        *self.trouble.lock()
    }

    /// Looks at all objects, and changes some: what controllers and kubelets do in a cluster.
    pub fn play(&self, change: impl FnOnce(&BTreeMap<Path, Value>) -> Vec<(Path, Option<Value>)>) {
        let mut store = self.state.lock();
        let changes = change(&store.objects);
        for (path, value) in changes {
            match value {
                Some(value) => drop(self.put(&mut store, path, value)),
                None => self.remove(&mut store, &path),
            }
        }
    }

    fn put(&self, store: &mut Store, path: Path, mut value: Value) -> Value {
        let old = store.objects.get(&path);
        value["metadata"]["resourceVersion"] =
            old.map_or(Value::Null, |old| old["metadata"]["resourceVersion"].clone());
        if old == Some(&value) {
            return value; // a write that changes nothing writes nothing
        }
        if old.is_none() {
            value["metadata"]["uid"] = json!(format!("00000000-0000-0000-0000-{:012}", store.version + 1));
            value["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
            value["metadata"]["generation"] = json!(1);
        } else if old.is_some_and(|old| old["spec"] != value["spec"]) {
            let generation = value["metadata"]["generation"].as_i64().unwrap_or(1);
            value["metadata"]["generation"] = json!(generation + 1);
        }
        store.version += 1;
        value["metadata"]["resourceVersion"] = json!(store.version.to_string());
        let is_going = !value["metadata"]["deletionTimestamp"].is_null();
        let has_finalizers = value["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        if is_going && !has_finalizers {
            store.objects.insert(path.clone(), value.clone());
            self.remove(store, &path);
            return value;
        }
        store.objects.insert(path.clone(), value.clone());
        self.publish(store, path, value.clone(), false);
        value
    }

    fn publish(&self, store: &mut Store, path: Path, value: Value, is_deleted: bool) {
        store.log.push((store.version, path.clone(), value.clone(), is_deleted));
        let _ = self.events.send((store.version, path, value, is_deleted));
    }

    fn remove(&self, store: &mut Store, path: &Path) {
        let Some(mut value) = store.objects.remove(path) else { return };
        store.applied.remove(path);
        store.version += 1;
        value["metadata"]["resourceVersion"] = json!(store.version.to_string());
        let uid = value["metadata"]["uid"].clone();
        self.publish(store, path.clone(), value, true);
        // Background collection.
        let owned = |object: &Value| {
            object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == uid)
        };
        let children: Vec<Path> =
            store.objects.iter().filter(|(_, v)| owned(v)).map(|(path, _)| path.clone()).collect();
        children.iter().for_each(|child| self.delete(store, child));
    }

    fn delete(&self, store: &mut Store, path: &Path) {
        let Some(value) = store.objects.get(path) else { return };
        if value["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()) {
            let mut value = value.clone();
            if value["metadata"]["deletionTimestamp"].is_null() {
                value["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
                self.put(store, path.clone(), value);
            }
        } else {
            self.remove(store, path);
        }
    }
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    (code, axum::Json(status)).into_response()
}

fn ok(value: &Value) -> Response {
    axum::Json(value).into_response()
}

/// What a request is about.
struct Target {
    path: Path,
    subresource: String,
}

fn target(uri: &str) -> Option<Target> {
    let parts: Vec<&str> = uri.trim_matches('/').split('/').collect();
    let (version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ((*version).to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => ((*namespace).to_owned(), rest),
        rest => (String::new(), rest),
    };
    let (plural, rest) = rest.split_first()?;
    let decode = |text: &str| text.replace("%3A", ":");
    let name = rest.first().map(|name| decode(name)).unwrap_or_default();
    let subresource = rest.get(1).map(|text| (*text).to_owned()).unwrap_or_default();
    Some(Target { path: (version, (*plural).to_owned(), namespace, name), subresource })
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(pair.replace("%3D", "=").replace("%2F", "/").replace("%2C", ","))
}

fn matches(selector: &str, object: &Value) -> bool {
    selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        let (key, value) = term.split_once('=').unwrap_or((term, ""));
        object["metadata"]["labels"][key] == value.trim_start_matches('=')
    })
}

/// Every second request would always meet the same one of a pass that has an even number of them.
fn is_too_many(count: u64) -> bool {
    count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 0xffff < 0x5555
}

async fn handle(State(api): State<Arc<MemoryApi>>, request: Request) -> Response {
    let count = api.requests.fetch_add(1, Ordering::Relaxed);
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    match api.trouble() {
        Trouble::Away => return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "the server is away"),
        Trouble::TooMany if is_too_many(count) => {
            return failure(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "too many requests");
        }
        Trouble::Slow(wait) => tokio::time::sleep(wait).await,
        Trouble::Deaf if is_watch => std::future::pending().await,
        _ => {}
    }
    let uri = request.uri().clone();
    if uri.path() == "/version" {
        return ok(&json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.0-memory", "gitCommit": "",
            "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "" }));
    }
    let Some(target) = target(uri.path()) else {
        return failure(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource");
    };
    let query = uri.query().unwrap_or_default().to_owned();
    let is_metadata = header(&request, "accept").contains("PartialObjectMetadata");
    let content_type = header(&request, "content-type");
    let method = request.method().clone();
    if is_watch {
        return watch(&api, target.path, &query, is_metadata);
    }
    let body = axum::body::to_bytes(request.into_body(), 16 << 20).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    answer(&api, &method, &target, &query, is_metadata, body, &content_type)
}

fn header(request: &Request, name: &str) -> String {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn answer(
    api: &MemoryApi,
    method: &Method,
    target: &Target,
    query: &str,
    is_metadata: bool,
    body: Value,
    content_type: &str,
) -> Response {
    let mut store = api.state.lock();
    let path = target.path.clone();
    let missing = || failure(StatusCode::NOT_FOUND, "NotFound", &format!("{} \"{}\" not found", path.1, path.3));
    let namespace = ("v1".to_owned(), "namespaces".to_owned(), String::new(), path.2.clone());
    match *method {
        Method::GET if path.3.is_empty() => list(&store, &path, query, is_metadata),
        Method::GET => store.objects.get(&path).map_or_else(missing, ok),
        Method::POST | Method::PATCH if !path.2.is_empty() && !store.objects.contains_key(&namespace) => {
            failure(StatusCode::NOT_FOUND, "NotFound", &format!("namespaces \"{}\" not found", path.2))
        }
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let path = (path.0, path.1, path.2, name);
            if store.objects.contains_key(&path) {
                return failure(StatusCode::CONFLICT, "AlreadyExists", "already exists");
            }
            let mut value = body;
            if !path.2.is_empty() {
                value["metadata"]["namespace"] = json!(path.2);
            }
            let written = api.put(&mut store, path, value);
            ok(&written)
        }
        Method::PUT => {
            let Some(old) = store.objects.get(&path) else { return missing() };
            if body["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
                return failure(StatusCode::CONFLICT, "Conflict", "the object has been modified");
            }
            let written = api.put(&mut store, path, body);
            ok(&written)
        }
        Method::PATCH => patch(api, &mut store, target, &body, content_type),
        Method::DELETE => {
            let Some(old) = store.objects.get(&path).cloned() else { return missing() };
            let wanted = &body["preconditions"]["uid"];
            if !wanted.is_null() && *wanted != old["metadata"]["uid"] {
                return failure(StatusCode::CONFLICT, "Conflict", "the uid does not match");
            }
            if body["propagationPolicy"] == "Orphan" {
                orphan(api, &mut store, &old["metadata"]["uid"]);
            }
            api.delete(&mut store, &path);
            ok(&old)
        }
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "no"),
    }
}

fn orphan(api: &MemoryApi, store: &mut Store, uid: &Value) {
    let owned: Vec<(Path, Value)> = store.objects.iter().map(|(path, value)| (path.clone(), value.clone())).collect();
    for (path, mut value) in owned {
        let Some(owners) = value["metadata"]["ownerReferences"].as_array_mut() else { continue };
        let before = owners.len();
        owners.retain(|owner| owner["uid"] != *uid);
        if owners.len() != before {
            api.put(store, path, value);
        }
    }
}

fn list(store: &Store, path: &Path, query: &str, is_metadata: bool) -> Response {
    let selector = parameter(query, "labelSelector").unwrap_or_default();
    let fits = |known: &Path| known.0 == path.0 && known.1 == path.1 && (path.2.is_empty() || known.2 == path.2);
    let items: Vec<Value> = store
        .objects
        .iter()
        .filter(|(known, object)| fits(known) && matches(&selector, object))
        .map(|(_, object)| shown(object, is_metadata))
        .collect();
    let kind = if is_metadata { "PartialObjectMetadataList" } else { "List" };
    let version = if is_metadata { "meta.k8s.io/v1" } else { path.0.as_str() };
    ok(&json!({
        "kind": kind, "apiVersion": version,
        "metadata": { "resourceVersion": store.version.to_string() }, "items": items,
    }))
}

fn shown(object: &Value, is_metadata: bool) -> Value {
    match is_metadata {
        true => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        }),
        false => object.clone(),
    }
}

fn patch(api: &MemoryApi, store: &mut Store, target: &Target, body: &Value, content_type: &str) -> Response {
    let path = target.path.clone();
    let old = store.objects.get(&path).cloned();
    let is_status = target.subresource == "status";
    let is_apply = content_type.contains("apply-patch");
    if let Some(old) = &old {
        for key in ["resourceVersion", "uid"] {
            let wanted = &body["metadata"][key];
            if !wanted.is_null() && *wanted != old["metadata"][key] {
                return failure(StatusCode::CONFLICT, "Conflict", "the object has been modified");
            }
        }
    } else if !is_apply || is_status {
        return failure(StatusCode::NOT_FOUND, "NotFound", "not found");
    }
    let mut value = old.unwrap_or_else(|| json!({ "metadata": { "name": path.3 } }));
    if is_status {
        match is_apply {
            true => value["status"] = body["status"].clone(),
            false => merge(&mut value["status"], &body["status"]),
        }
    } else if is_apply {
        let mut applied = body.clone();
        if let Some(metadata) = applied["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
            metadata.remove("uid");
        }
        if let Some(before) = store.applied.get(&path) {
            withdraw(&mut value, before, &applied);
        }
        overlay(&mut value, &applied);
        store.applied.insert(path.clone(), applied);
    } else {
        merge(&mut value, body);
    }
    let written = api.put(store, path, value);
    ok(&written)
}

/// RFC 7386.
fn merge(base: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        base.clone_from(patch);
        return;
    };
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(base.as_object_mut().map(|base| base.remove(key))),
            value => merge(&mut base[key], value),
        }
    }
}

/// Removes what was applied before and is not now.
fn withdraw(value: &mut Value, before: &Value, now: &Value) {
    let (Some(map), Some(before)) = (value.as_object_mut(), before.as_object()) else { return };
    for (key, old) in before {
        match now.get(key) {
            None => drop(map.remove(key)),
            Some(new) => {
                if let Some(inner) = map.get_mut(key) {
                    withdraw(inner, old, new);
                }
            }
        }
    }
}

/// Maps key by key, named items by name, other lists whole.
fn overlay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                overlay(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(over)) if over.iter().all(|item| item["name"].is_string()) => {
            for item in over {
                match base.iter_mut().find(|known| known["name"] == item["name"]) {
                    Some(known) => overlay(known, item),
                    None => base.push(item.clone()),
                }
            }
        }
        (base, over) => base.clone_from(over),
    }
}

fn bookmark(version: u64) -> String {
    let object = json!({ "apiVersion": "v1", "kind": "Any", "metadata": { "resourceVersion": version.to_string() } });
    format!("{}\n", json!({ "type": "BOOKMARK", "object": object }))
}

fn watch(api: &Arc<MemoryApi>, path: Path, query: &str, is_metadata: bool) -> Response {
    let since: u64 = parameter(query, "resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
    let selector = parameter(query, "labelSelector").unwrap_or_default();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1024);
    let store = api.state.lock();
    let mut seen = since.max(store.version);
    let past: Vec<_> = store.log.iter().filter(|(version, ..)| *version > since).cloned().collect();
    let mut live = api.events.subscribe();
    drop(store);
    let api = api.clone();
    tokio::spawn(async move {
        let line = |event: &(u64, Path, Value, bool)| -> Option<String> {
            let (_, known, object, is_deleted) = event;
            let fits = known.0 == path.0 && known.1 == path.1 && (path.2.is_empty() || known.2 == path.2);
            if !fits {
                return None;
            }
            // One that lost its label is gone for this watch.
            let is_gone = *is_deleted || !matches(&selector, object);
            let kind = if is_gone { "DELETED" } else { "MODIFIED" };
            let object = shown(object, is_metadata);
            Some(format!("{}\n", json!({ "type": kind, "object": object })))
        };
        for event in &past {
            if let Some(line) = line(event)
                && sender.send(Ok(line)).await.is_err()
            {
                return;
            }
        }
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                event = live.recv() => {
                    let Ok(event) = event else { return };
                    seen = event.0;
                    if api.trouble() == Trouble::Deaf {
                        continue;
                    }
                    if let Some(line) = line(&event) && sender.send(Ok(line)).await.is_err() {
                        return;
                    }
                }
                _ = tick.tick() => {
                    if api.trouble() == Trouble::Away || sender.is_closed() {
                        return;
                    }
                    if api.trouble() != Trouble::Deaf && sender.send(Ok(bookmark(seen))).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    let stream = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    Response::new(Body::from_stream(stream))
}
