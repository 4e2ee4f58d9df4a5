//! etcd, kube-apiserver and kube-controller-manager of `KUBEBUILDER_ASSETS`, on free ports and in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::{Client, Config};
use parking_lot::Mutex;
use serde_json::Value;

/// Who writes what, and who asks for Secrets. What is only read would fill it.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: None, users: ['system:apiserver', 'system:kube-controller-manager']}
- {level: Metadata, resources: [{group: '', resources: [secrets]}]}
- {level: Metadata, verbs: [create, update, patch, delete, deletecollection]}
- {level: None}
";

/// Processes that end with it.
pub struct Server {
    folder: tempfile::TempDir,
    assets: PathBuf,
    arguments: Vec<String>,
    api_server: Mutex<Child>,
    /// etcd and, when it is there, the controller manager.
    others: Vec<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let server = self.api_server.get_mut();
        for process in self.others.iter_mut().rev().chain([server]) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Server {
    /// Starts all of them and waits until the API server answers.
    pub async fn start(assets: &Path) -> (Self, Config, Client) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path();
        let (etcd, peer, secure) = (free_port(), free_port(), free_port());
        let etcd_url = format!("http://127.0.0.1:{etcd}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        let mut others = vec![spawn(
            dir,
            &assets.join("etcd"),
            &[
                format!("--data-dir={}", dir.join("etcd").display()),
                "--unsafe-no-fsync".to_owned(),
                format!("--listen-client-urls={etcd_url}"),
                format!("--advertise-client-urls={etcd_url}"),
                format!("--listen-peer-urls={peer_url}"),
            ],
        )];
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
        write("tokens.csv", "admin,admin,admin,system:masters\n");
        write("audit.yaml", AUDIT_POLICY);
        // Two files: in a private key of PKCS#8 kube-apiserver does not find the public one.
        let key = rcgen::KeyPair::generate().expect("a key");
        write("sa.key", &key.serialize_pem());
        write("sa.pub", &key.public_key_pem());
        let flag = |name: &str, file: &str| format!("--{name}={}", dir.join(file).display());
        let arguments = vec![
            format!("--etcd-servers={etcd_url}"),
            format!("--secure-port={secure}"),
            flag("cert-dir", "certs"),
            flag("token-auth-file", "tokens.csv"),
            flag("service-account-key-file", "sa.pub"),
            flag("service-account-signing-key-file", "sa.key"),
            flag("audit-policy-file", "audit.yaml"),
            flag("audit-log-path", "audit.log"),
            "--service-account-issuer=https://e2e".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ];
        let mut api_server = spawn(dir, &assets.join("kube-apiserver"), &arguments);
        let server = format!("https://127.0.0.1:{secure}");
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: e2e\nclusters: [{{name: e2e, cluster: {{server: '{server}', insecure-skip-tls-verify: true}}}}]\ncontexts: [{{name: e2e, context: {{cluster: e2e, user: admin}}}}]\nusers: [{{name: admin, user: {{token: admin}}}}]\n"
        );
        write("kubeconfig", &kubeconfig);
        let parsed = kube::config::Kubeconfig::from_yaml(&kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(parsed, &Default::default()).await.expect("a kubeconfig");
        let client = Client::try_from(config.clone()).expect("a client");
        let start = Instant::now();
        // The controller manager gives up on a server that answers and is not ready.
        while !is_ready(&client).await {
            let has_ended = !matches!(api_server.try_wait(), Ok(None));
            if has_ended || start.elapsed() > Duration::from_secs(120) {
                let log = std::fs::read_to_string(dir.join("kube-apiserver.log")).unwrap_or_default();
                panic!("kube-apiserver does not answer:\n{}", &log[log.len().saturating_sub(4000)..]);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let manager = assets.join("kube-controller-manager");
        if manager.exists() {
            let arguments = [
                flag("kubeconfig", "kubeconfig"),
                flag("service-account-private-key-file", "sa.key"),
                "--leader-elect=false".to_owned(),
                // No port of its own: two suites run side by side.
                "--secure-port=0".to_owned(),
                "--controllers=*,-nodelifecycle,-nodeipam,-cloud-node-lifecycle".to_owned(),
                // Of hundreds of stacks at once each would else wait for its turn.
                "--kube-api-qps=500".to_owned(),
                "--kube-api-burst=500".to_owned(),
            ];
            others.push(spawn(dir, &manager, &arguments));
        } else {
            eprintln!("no kube-controller-manager: its work is played");
        }
        let api_server = Mutex::new(api_server);
        (Self { folder, assets: assets.to_owned(), arguments, api_server, others }, config, client)
    }

    /// For other programs.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Freezes the API server, or thaws it: its connections stay open and say nothing, the worst case of being away.
    pub fn set_frozen(&self, is_frozen: bool) {
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        let pid = self.api_server.lock().id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(status.success(), "kill {signal}: {status}");
    }

    /// Ends the API server: every connection breaks.
    pub fn end(&self) {
        let mut server = self.api_server.lock();
        let _ = server.kill();
        let _ = server.wait();
    }

    /// Starts it again on the same port and store.
    pub fn start_again(&self) {
        *self.api_server.lock() = spawn(self.folder.path(), &self.assets.join("kube-apiserver"), &self.arguments);
    }

    /// What operators asked for so far.
    pub fn audit(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default();
        let ours = log.lines().filter(|line| line.contains("\"userAgent\":\"logstack-operator/"));
        ours.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Everything that an API server does when it starts is done.
pub async fn is_ready(client: &Client) -> bool {
    let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
    client.request_text(request).await.is_ok()
}

fn spawn(dir: &Path, program: &Path, arguments: &[String]) -> Child {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = || {
        let file = std::fs::File::options().create(true).append(true).open(dir.join(format!("{name}.log")));
        Stdio::from(file.expect("a log file"))
    };
    let child = Command::new(program).args(arguments).stdout(log()).stderr(log()).spawn();
    child.unwrap_or_else(|error| panic!("{name} starts: {error}"))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}
