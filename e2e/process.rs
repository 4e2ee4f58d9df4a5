//! An operator in a process of its own, to see what it needs: `E2E_OPERATOR` names the program.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cluster::{Cluster, HOME, eventually};

/// The process; it ends with this.
pub struct Process {
    child: Child,
    metrics: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts `logstack operator`, with leader election, and waits until it leads. `None`: no program is named.
    pub async fn start(cluster: &Cluster) -> Option<Self> {
        let program = std::env::var_os("E2E_OPERATOR")?;
        let kubeconfig = cluster.server.as_ref()?.kubeconfig();
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("a bound socket")
        };
        let (metrics, health) = (free(), free());
        let child = Command::new(program)
            .args(["operator", "--namespace", HOME, "--image", "logstack:e2e"])
            .args(["--metrics-listen", &metrics.to_string(), "--health-listen", &health.to_string()])
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("E2E_OPERATOR names a program");
        let process = Self { child, metrics };
        eventually("the process leads", async || {
            let page = process.page().await?;
            page.contains("\nlogstack_operator_leader 1\n").then_some(())
        })
        .await;
        Some(process)
    }

    async fn page(&self) -> Option<String> {
        let url = format!("http://{}/metrics", self.metrics);
        let answer = reqwest::Client::new().get(url).timeout(Duration::from_secs(5)).send().await.ok()?;
        answer.text().await.ok()
    }

    /// Requests so far by verb, watches and Leases left out.
    pub async fn requests(&self, verbs: &[&str]) -> f64 {
        let page = self.page().await.unwrap_or_default();
        let lines = page.lines().filter(|line| line.starts_with("logstack_operator_api_requests_total{"));
        let lines = lines.filter(|line| !line.contains("resource=\"leases\""));
        let lines = lines.filter(|line| verbs.iter().any(|verb| line.contains(&format!("verb=\"{verb}\""))));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The slowest passes over a LogStack: how many there were, and how many took longer than a second.
    pub async fn passes(&self) -> (f64, f64) {
        let page = self.page().await.unwrap_or_default();
        let value = |what: &str| {
            let name = "logstack_operator_reconcile_duration_seconds";
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name}{what} ")));
            line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        };
        let all: f64 = value("_count{controller=\"logstack\"}");
        (all, all - value("_bucket{controller=\"logstack\",le=\"1\"}"))
    }

    /// Memory of the process.
    pub fn memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = |key: &str| status.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        format!("{}, {}", line("VmRSS"), line("VmHWM"))
    }
}
