//! What a node asks of the Kubernetes API: thousands of collectors ask the same of one server (contract of the
//! collector, sections 2.2 and 9.8).
//!
//! The server is played over HTTP. It ends each watch at once, so that an hour's renewals take a second; how many there
//! are in an hour follows from the time that the client asks for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use futures::stream;
use logstack_collector::discovery::kubernetes;
use logstack_collector::discovery::pod_folders::PodFolders;
use logstack_collector::discovery::targets::Targets;
use logstack_collector::settings;
use logstack_config::CollectorConfig;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Watch renewals in an idle hour, at most.
const RENEWALS_MAX: u64 = 15;
/// A wait ends in failure after this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two jobs of equal scope.
const JOBS: &str = "
- job_name: a
  kubernetes_sd_configs: [{role: pod, kubeconfig_file: KUBECONFIG}]
  relabel_configs: &rules
  - {source_labels: [__meta_kubernetes_pod_uid, __meta_kubernetes_pod_container_name], separator: /, target_label: __path__, replacement: /var/log/pods/*$1/*.log}
- job_name: b
  kubernetes_sd_configs: [{role: pod, kubeconfig_file: KUBECONFIG}]
  relabel_configs: *rules
";

/// An API server that knows the recorded pods. It remembers what it was asked.
#[derive(Clone, Default)]
struct Api {
    asked: Arc<Mutex<Vec<HashMap<String, String>>>>,
    /// The next watch is told that its version is too old.
    is_gone: Arc<Mutex<bool>>,
}

impl Api {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/api/v1/pods", get(pods)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// Number of lists and watches so far.
    fn counts(&self) -> (usize, usize) {
        let asked = self.asked.lock();
        let watches = asked.iter().filter(|query| query.contains_key("watch")).count();
        (asked.len() - watches, watches)
    }
}

async fn pods(State(api): State<Api>, Query(query): Query<HashMap<String, String>>) -> Response {
    api.asked.lock().push(query.clone());
    let json =
        |body: Body| Response::builder().header("Content-Type", "application/json").body(body).expect("a response");
    if !query.contains_key("watch") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/pods.json");
        let items = std::fs::read_to_string(path).expect("recorded pods");
        return json(Body::from(format!(
            r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"7"}},"items":{items}}}"#
        )));
    }
    if std::mem::take(&mut *api.is_gone.lock()) {
        return json(Body::from(
            r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#,
        ));
    }
    // As the real one: a bookmark, and the end, only sooner.
    let bookmark =
        r#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"8"}}}"#;
    let lines = stream::once(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(Bytes::from(format!("{bookmark}\n")))
    });
    json(Body::from_stream(lines))
}

struct Followed {
    api: Api,
    targets: Arc<Targets>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

/// Follows the pods for two jobs, and waits until both have their targets.
async fn follow() -> Followed {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let api = Api::default();
    let url = api.start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{server: '{url}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    );
    std::fs::write(&kubeconfig, text).expect("a kubeconfig");
    let jobs = JOBS.replace("KUBECONFIG", &kubeconfig.display().to_string());
    let text = format!("clients: [{{url: 'http://x/push'}}]\nscrape_configs:{jobs}");
    let (config, _) = logstack_config::load::<CollectorConfig>(&text, "test.yaml").expect("a configuration");
    let targets = Arc::new(Targets::default());
    let followed = settings::targets(&config, &targets, "node-1").expect("rules compile");
    assert!(kubernetes::is_same_scope(&followed.pods[0].sd, &followed.pods[1].sd), "one list and watch serves both");
    let stop = CancellationToken::new();
    let folders = PodFolders { root: folder.path().to_owned(), patience: Duration::from_secs(3600) };
    tokio::spawn(kubernetes::run(followed.pods, targets.clone(), "node-1".to_owned(), folders, stop.clone()));
    let followed = Followed { api, targets, stop, _folder: folder };
    wait_until("both jobs have their targets", || followed.targets.active().len() == 2 * 7).await;
    followed
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_idle_hour_costs_one_list_and_a_watch_every_few_minutes() {
    let followed = follow().await;
    wait_until("watches are renewed", || followed.api.counts().1 as u64 > RENEWALS_MAX).await;
    let asked = followed.api.asked.lock().clone();
    let (watches, lists): (Vec<_>, Vec<_>) = asked.iter().partition(|query| query.contains_key("watch"));
    assert_eq!(lists.len(), 1, "one list for all jobs, and nothing is listed again");
    assert_eq!(lists[0].get("resourceVersion").map(String::as_str), Some("0"), "served from the cache: {lists:?}");
    for query in &asked {
        assert_eq!(query.get("fieldSelector").map(String::as_str), Some("spec.nodeName=node-1"), "{query:?}");
    }
    for watch in watches {
        assert_eq!(watch.get("allowWatchBookmarks").map(String::as_str), Some("true"), "{watch:?}");
        let seconds: u64 = watch["timeoutSeconds"].parse().expect("a number");
        assert!(3600 / seconds <= RENEWALS_MAX, "renewed every {seconds} s");
    }
    followed.stop.cancel();
}

#[tokio::test]
async fn a_version_that_is_too_old_costs_one_more_list() {
    let followed = follow().await;
    *followed.api.is_gone.lock() = true;
    wait_until("it is listed again", || followed.api.counts().0 == 2).await;
    let watches = followed.api.counts().1;
    wait_until("and watched", || followed.api.counts().1 > watches + 3).await;
    assert_eq!(followed.api.counts().0, 2, "{:?}", followed.api.asked.lock());
    assert_eq!(followed.targets.active().len(), 2 * 7, "targets stay meanwhile");
    followed.stop.cancel();
}
