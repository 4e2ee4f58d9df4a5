//! The server under test: ours, started here, or any other.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Limits that a benchmark must not run into; everything else at its defaults.
const CONFIG: &str = "\
auth_enabled: false
limits_config:
  ingestion_rate_mb: 10000
  ingestion_burst_size_mb: 10000
  per_stream_rate_limit: 10GB
  per_stream_rate_limit_burst: 10GB
  reject_old_samples: false
  max_global_streams_per_user: 0
  max_query_length: 0
  query_timeout: 10m
";
/// The data folder must not have changed for this long to count as settled.
const QUIET: Duration = Duration::from_secs(5);
const SETTLE_DEADLINE: Duration = Duration::from_secs(600);

/// A server that is measured.
pub struct Server {
    /// `http://host:port`
    pub url: String,
    pid: Option<u32>,
    disk: Option<PathBuf>,
    child: Option<Child>,
}

/// State after flush and merges.
pub struct Settled {
    /// Bytes of all files.
    pub disk_bytes: Option<u64>,
    /// CPU seconds since the last push.
    pub cpu_s: Option<f64>,
    /// Seconds it took.
    pub seconds: f64,
}

impl Server {
    /// A server that somebody else started.
    pub fn running(url: &str, pid: Option<u32>, disk: Option<PathBuf>) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), pid, disk, child: None }
    }

    /// Starts the `logstack` of this build, with more configuration behind what a benchmark needs.
    pub fn start(data_dir: &Path, more: &str) -> Result<Self> {
        std::fs::create_dir_all(data_dir)?;
        let mut config = tempfile::NamedTempFile::new()?;
        config.write_all(CONFIG.as_bytes())?;
        config.write_all(more.as_bytes())?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_logstack"))
            .args(["engine", "--listen", "127.0.0.1:0", "--config-file"])
            .arg(config.path())
            .arg("--data-dir")
            .arg(data_dir)
            .env("LOGSTACK_LOG_FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .context("the engine does not start")?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
        let address = loop {
            let Some(line) = lines.next() else { bail!("the engine ended before it listened") };
            let event: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
            let fields = event.get("fields").unwrap_or(&event);
            if fields["message"] == "listening" {
                break fields["address"].as_str().context("an address")?.to_owned();
            }
        };
        std::thread::spawn(move || {
            lines.map_while(Result::ok).filter(|l| l.contains("ERROR")).for_each(|l| eprintln!("{l}"))
        });
        let pid = child.id();
        Ok(Self {
            url: format!("http://{address}"),
            pid: Some(pid),
            disk: Some(data_dir.to_owned()),
            child: Some(child),
        })
    }

    /// User and system CPU seconds of the process.
    pub fn cpu_s(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid?)).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        // Linux has had 100 ticks a second on every supported platform for decades.
        Some(ticks / 100.0)
    }

    /// A memory figure of `/proc/PID/status`, such as `VmRSS` or `VmHWM`, in MB.
    pub fn memory_mb(&self, key: &str) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status.lines().find(|line| line.starts_with(key))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1000.0)
    }

    /// Flushes, and waits until the data folder and the CPU are quiet.
    pub async fn settle(&self) -> Result<Settled> {
        let began = Instant::now();
        let cpu_before = self.cpu_s();
        reqwest::Client::new().post(format!("{}/flush", self.url)).send().await?;
        let mut quiet_since = Instant::now();
        let mut last = (self.disk_bytes(), self.cpu_s());
        while quiet_since.elapsed() < QUIET {
            if began.elapsed() > SETTLE_DEADLINE {
                bail!("still busy after {SETTLE_DEADLINE:?}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = (self.disk_bytes(), self.cpu_s());
            let worked = now.1.zip(last.1).is_some_and(|(now, last)| now - last > 0.1);
            if now.0 != last.0 || worked {
                quiet_since = Instant::now();
            }
            last = now;
        }
        let cpu_s = self.cpu_s().zip(cpu_before).map(|(after, before)| after - before);
        Ok(Settled { disk_bytes: self.disk_bytes(), cpu_s, seconds: (quiet_since - began).as_secs_f64() })
    }

    /// Bytes of all files of the data folder.
    pub fn disk_bytes(&self) -> Option<u64> {
        fn size(path: &Path) -> u64 {
            let Ok(entries) = std::fs::read_dir(path) else { return 0 };
            let one = |entry: std::fs::DirEntry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => size(&entry.path()),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            };
            entries.flatten().map(one).sum()
        }
        Some(size(self.disk.as_deref()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
