//! Sources that are no files: journal, syslog, push API, GELF. Each job has its own thread for rules and stages
//! ([`intake`]); what it cannot send, the sender has to keep.

pub mod cursors;
pub mod gelf;
pub mod intake;
pub mod journal;
pub mod push;
pub mod syslog;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use logstack_config::collector::{RelabelAction, ScrapeConfig, Source, SyslogConfig, SyslogProtocol};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::buffer::Buffer;
use crate::discovery::relabel::LabelMap;
use crate::listen;
use crate::pipeline::Counters;
use crate::settings;
use crate::ship::Shipper;
use crate::ship::client::SenderTask;
use cursors::Cursors;
use intake::{Intake, Worker};

/// How often a socket that a reload wants is asked for: the job before has to let go of it.
const BIND_ATTEMPTS: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// Counters for `/metrics`.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named as the metrics")]
pub struct ReceiveMetrics {
    pub journal_lines: AtomicU64,
    pub journal_errors: AtomicU64,
    pub syslog_entries: AtomicU64,
    pub syslog_errors: AtomicU64,
    pub syslog_empty: AtomicU64,
    pub gelf_entries: AtomicU64,
    pub gelf_errors: AtomicU64,
    pub push_entries: AtomicU64,
    /// Syslog and GELF.
    pub datagrams_lost: AtomicU64,
}

/// A source that cannot be used: the key below its job, and why.
#[derive(Debug)]
pub struct SourceError {
    /// Below `scrape_configs[n]`.
    pub key: String,
    /// What to do about it.
    pub reason: String,
}

impl SourceError {
    fn new(key: impl Into<String>, reason: impl ToString) -> Self {
        Self { key: key.into(), reason: reason.to_string() }
    }
}

/// A job's source at work.
pub struct Receiver {
    config: ScrapeConfig,
    stop: CancellationToken,
    source: JoinHandle<()>,
    worker: std::thread::JoinHandle<Vec<SenderTask>>,
}

/// What all receivers share.
#[derive(Clone)]
pub struct Shared {
    /// For stages and drops.
    pub counters: Counters,
    /// Where places are kept.
    pub cursors: Arc<Cursors>,
    /// Counters.
    pub metrics: Arc<ReceiveMetrics>,
}

/// True for jobs whose source is received here.
pub fn is_receiver(job: &ScrapeConfig) -> bool {
    matches!(job.source(), Some(Source::Journal | Source::Syslog | Source::PushApi | Source::Gelf))
}

/// True for entries that nobody can read again, or send again: what the disk buffer is for.
pub fn is_volatile(job: &ScrapeConfig) -> bool {
    matches!(job.source(), Some(Source::Syslog | Source::PushApi | Source::Gelf))
}

/// True when the job's senders cannot wait.
pub fn is_datagrams(job: &ScrapeConfig) -> bool {
    let is_udp = |syslog: &SyslogConfig| syslog.listen_protocol == SyslogProtocol::Udp;
    match job.source() {
        Some(Source::Syslog) => job.syslog.as_ref().is_some_and(is_udp),
        Some(Source::Gelf) => true,
        _ => false,
    }
}

/// Checks a job's source without opening anything.
///
/// # Errors
/// What cannot be used.
pub fn check(job: &ScrapeConfig) -> Result<(), SourceError> {
    match job.source() {
        Some(Source::Journal) => job.journal.as_ref().map_or(Ok(()), journal::check),
        Some(Source::PushApi) => match &job.loki_push_api {
            Some(push) => listen::check(&push.server).map_err(|err| {
                SourceError::new(format!("loki_push_api.server.http_tls_config.{}", err.key), err.reason)
            }),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A socket that is open already, so that a start fails early.
enum Opened {
    Journal,
    Syslog(syslog::Socket),
    Push(std::net::TcpListener),
    Gelf(std::net::UdpSocket),
}

fn open(job: &ScrapeConfig) -> Result<Option<Opened>, SourceError> {
    Ok(Some(match job.source() {
        Some(Source::Journal) => Opened::Journal,
        Some(Source::Syslog) => match &job.syslog {
            Some(config) => {
                let socket = syslog::bind(config)?;
                if let Ok(address) = socket.address() {
                    info!(job = job.job_name, %address, "syslog receiver listens");
                }
                Opened::Syslog(socket)
            }
            None => return Ok(None),
        },
        Some(Source::PushApi) => match &job.loki_push_api {
            Some(config) => Opened::Push(push::bind(config)?),
            None => return Ok(None),
        },
        Some(Source::Gelf) => match &job.gelf {
            Some(config) => Opened::Gelf(gelf::bind(config)?),
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

impl Receiver {
    /// Starts a job. `is_reload`: its socket may be held by the job that it replaces, so it is opened later.
    ///
    /// # Errors
    /// A part of the configuration, or a socket, that cannot be used.
    pub fn start(
        job: &ScrapeConfig,
        job_idx: usize,
        shipper: Shipper,
        shared: &Shared,
        is_reload: bool,
    ) -> Result<Self, settings::Error> {
        let at = |err: SourceError| settings::Error::new(format!("scrape_configs[{job_idx}].{}", err.key), err.reason);
        check(job).map_err(at)?;
        let pipeline = settings::job(job, job_idx, &shared.counters)?.pipeline;
        let rules = Arc::new(settings::rules(job, job_idx)?);
        let opened = if is_reload { None } else { open(job).map_err(at)? };
        let buffer = shipper.buffer().cloned();
        let worker = Worker { pipeline, rules, shipper, counters: shared.counters.clone() };
        let (intake, worker) = worker
            .start(&job.job_name)
            .map_err(|err| settings::Error::new(format!("scrape_configs[{job_idx}]"), err))?;
        let stop = CancellationToken::new();
        let source = tokio::spawn(run(job.clone(), opened, intake, buffer, shared.clone(), stop.clone()));
        Ok(Self { config: job.clone(), stop, source, worker })
    }

    /// True when `job` changes nothing.
    pub fn is_of(&self, job: &ScrapeConfig) -> bool {
        self.config == *job
    }

    /// Takes nothing more. What was taken goes on its way.
    pub fn stop_taking(&self) {
        self.stop.cancel();
    }

    /// Waits for the end of [`Self::stop_taking`]; gives the senders to wait for.
    pub async fn finish(self) -> Vec<SenderTask> {
        self.stop.cancel();
        if let Err(err) = self.source.await {
            warn!(job = self.config.job_name, error = %err, "a source ended early");
        }
        // It ends by itself when its source is gone; it may wait for room.
        let joined = tokio::task::spawn_blocking(move || self.worker.join());
        joined.await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

async fn run(
    job: ScrapeConfig,
    opened: Option<Opened>,
    intake: Intake,
    buffer: Option<Arc<Buffer>>,
    shared: Shared,
    stop: CancellationToken,
) {
    let opened = match opened {
        Some(opened) => opened,
        None => match open_later(&job, &stop).await {
            Some(opened) => opened,
            None => return,
        },
    };
    let reads_hostnames = job.relabel_configs.iter().any(|rule| {
        let names = |name: &String| name == "__syslog_connection_hostname";
        rule.action == RelabelAction::LabelMap || rule.source_labels.iter().any(names)
    });
    let (name, metrics) = (job.job_name, shared.metrics);
    match opened {
        Opened::Journal => {
            let Some(config) = job.journal else { return };
            let program = "journalctl".to_owned();
            let journal = journal::Journal { config, program, job: name, intake, cursors: shared.cursors, metrics };
            journal.run(stop).await;
        }
        Opened::Syslog(socket) => {
            let Some(config) = job.syslog else { return };
            let names = reads_hostnames.then(syslog::names::Names::default);
            syslog::Syslog { config, job: name, intake, metrics, names }.run(socket, stop).await;
        }
        Opened::Push(listener) => {
            let Some(config) = job.loki_push_api else { return };
            push::PushApi { config, job: name, intake, buffer, metrics, stop }.run(listener).await;
        }
        Opened::Gelf(socket) => {
            let Some(config) = job.gelf else { return };
            gelf::Gelf { config, job: name, intake, metrics }.run(socket, stop).await;
        }
    }
}

async fn open_later(job: &ScrapeConfig, stop: &CancellationToken) -> Option<Opened> {
    for attempt in 0.. {
        match open(job) {
            Ok(opened) => return opened,
            Err(err) if attempt == BIND_ATTEMPTS => {
                warn!(job = job.job_name, key = err.key, reason = err.reason, "the job cannot listen, trying on");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(BIND_PAUSE) => {}
            () = stop.cancelled() => return None,
        }
    }
    None
}

/// `host:port`, where the host may be missing.
fn listen_address(text: &str) -> String {
    if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() }
}

fn label_map(labels: &BTreeMap<String, String>) -> LabelMap {
    labels.clone()
}
