//! The node agent: discovery -> tail -> pipeline -> ship. It loses nothing: a position is written only for what the
//! server has acknowledged, and when the server is away reading stops, so that the log files are the buffer.

pub mod buffer;
pub mod discovery;
pub mod http;
pub mod listen;
pub mod pipeline;
pub mod positions;
mod receipt;
pub mod receive;
pub mod settings;
pub mod ship;
pub mod state;
pub mod tail;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logstack_config::CollectorConfig;
use logstack_config::collector::{BufferSources, ScrapeConfig};
use logstack_logql::Labels;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use buffer::Buffer;
use buffer::drain::Drain;
use discovery::kubernetes;
use discovery::nodes;
use discovery::pod_folders::PodFolders;
use discovery::targets::Targets;
use pipeline::{Context, Counters, Flush, Outgoing, Pipeline, SourceId, SourceLabels};
use receive::cursors::Cursors;
use receive::{ReceiveMetrics, Receiver};
use ship::client::SenderTask;
use ship::metrics::ClientMetrics;
use ship::{Budget, Clients, Shipper};
use tail::{Command, Committer, Reader, TailMetrics};

/// Printed entries that may wait in a dry run.
const DRY_RUN_LINES: usize = 1024;

/// Why the collector does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of the configuration.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// The disk buffer's folder.
    #[error("cannot use the disk buffer in {path:?}")]
    Buffer {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The positions file.
    #[error("cannot read the positions file {path:?}")]
    Positions {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A running collector.
pub struct Collector {
    /// As of the start: what a reload does not change.
    started: CollectorConfig,
    /// As of the last reload.
    config: CollectorConfig,
    reading: JoinHandle<(Vec<SenderTask>, Committer)>,
    stop_reading: CancellationToken,
    stop_sending: CancellationToken,
    stop_discovery: CancellationToken,
    counters: Counters,
    clients: Clients,
    targets: Arc<Targets>,
    tail_metrics: Arc<TailMetrics>,
    commands: std::sync::mpsc::Sender<Command>,
    receivers: Vec<Receiver>,
    receiving: receive::Shared,
    /// Of a dry run.
    printer: Option<mpsc::Sender<String>>,
    buffering: Option<Buffering>,
}

/// The disk buffer at work.
struct Buffering {
    buffer: Arc<Buffer>,
    sources: BufferSources,
    drain: Drain,
}

/// Checks everything that can be checked without reading a log or reaching a server.
///
/// # Errors
/// The first part of the configuration that cannot be used.
pub fn check(config: &CollectorConfig) -> Result<(), settings::Error> {
    settings::jobs(config, &Counters::default())?;
    settings::targets(config, &Targets::default(), "")?;
    for (idx, job) in config.scrape_configs.iter().enumerate() {
        receive::check(job)
            .map_err(|err| settings::Error::new(format!("scrape_configs[{idx}].{}", err.key), err.reason))?;
    }
    listen::check(&config.server).map_err(|err| settings::Error::new("server", err))?;
    settings::clients(config).map(drop)
}

impl Collector {
    /// Reads what `config` names and ships it to its clients.
    ///
    /// # Errors
    /// When a part of the configuration cannot be used, or the positions file exists and cannot be read.
    pub fn start(config: &CollectorConfig) -> Result<Self, Error> {
        Self::start_with(config, None)
    }

    /// Reads what `config` names and hands out the text that would be pushed, an entry a line. Positions are read and
    /// not written.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_dry(config: &CollectorConfig) -> Result<(Self, mpsc::Receiver<String>), Error> {
        let (sender, receiver) = mpsc::channel(DRY_RUN_LINES);
        Ok((Self::start_with(config, Some(sender))?, receiver))
    }

    fn start_with(config: &CollectorConfig, dry: Option<mpsc::Sender<String>>) -> Result<Self, Error> {
        let counters = Counters::default();
        let (mut tail, jobs) = (settings::tail(config), settings::jobs(config, &counters)?);
        tail.read_only = dry.is_some();
        let (stop_reading, stop_sending) = (CancellationToken::new(), CancellationToken::new());
        let clients = make_clients(config, &stop_sending)?;
        let (targets, stop_discovery) = start_discovery(config, &stop_reading)?;
        let tail_metrics = Arc::new(TailMetrics::default());
        let positions = tail.positions_file.clone();
        let (commands, receiver) = std::sync::mpsc::channel();
        let receiving = receive::Shared {
            counters: counters.clone(),
            cursors: Arc::new(Cursors::default()),
            metrics: Arc::new(ReceiveMetrics::default()),
        };
        let buffering = if dry.is_some() { None } else { start_buffering(config, &clients)? };
        let way = Way { clients: &clients, printer: dry.as_ref(), buffering: buffering.as_ref() };
        let mut receivers = Vec::new();
        for (idx, job) in config.scrape_configs.iter().enumerate().filter(|(_, job)| receive::is_receiver(job)) {
            receivers.push(Receiver::start(job, idx, way.of_receiver(job), &receiving, false)?);
        }
        let shipper = way.of_files();
        let reader = Reader::new(
            jobs,
            targets.clone(),
            tail,
            shipper,
            counters.clone(),
            tail_metrics.clone(),
            receiving.cursors.clone(),
            receiver,
            stop_reading.clone(),
        )
        .map_err(|source| Error::Positions { path: positions.unwrap_or_default(), source })?;
        // Reading blocks on files.
        let reading = tokio::task::spawn_blocking(move || reader.run());
        let config = config.clone();
        Ok(Self {
            started: config.clone(),
            config,
            reading,
            stop_reading,
            stop_sending,
            stop_discovery,
            counters,
            clients,
            targets,
            tail_metrics,
            commands,
            receivers,
            receiving,
            printer: dry,
            buffering,
        })
    }

    /// Goes on with another configuration. Everything of it is built before anything changes; jobs with the same name
    /// and stages keep what they know, and all files keep their places.
    ///
    /// # Errors
    /// When a part of it cannot be used; then nothing has changed.
    pub fn reload(&mut self, config: &CollectorConfig) -> Result<(), Error> {
        let mut jobs = Vec::new();
        for (idx, scrape) in config.scrape_configs.iter().enumerate() {
            let is_same = |old: &&ScrapeConfig| {
                old.job_name == scrape.job_name
                    && old.pipeline_stages == scrape.pipeline_stages
                    && old.decompression == scrape.decompression
                    && old.encoding == scrape.encoding
            };
            let job = match self.config.scrape_configs.iter().find(is_same) {
                Some(_) => None,
                None => Some(settings::job(scrape, idx, &self.counters)?),
            };
            jobs.push((scrape.job_name.clone(), job));
        }
        let is_same_clients = config.all_clients().eq(self.config.all_clients())
            && config.limits_config == self.config.limits_config
            && config.collector.memory_limit == self.config.collector.memory_limit;
        let clients = if is_same_clients { None } else { Some(make_clients(config, &self.stop_sending)?) };
        let current = clients.as_ref().unwrap_or(&self.clients);
        let (printer, buffering) = (self.printer.as_ref(), self.buffering.as_ref());
        let way = Way { clients: current, printer, buffering };
        let mut started: Vec<Receiver> = Vec::new();
        let mut kept = vec![false; self.receivers.len()];
        for (idx, job) in config.scrape_configs.iter().enumerate().filter(|(_, job)| receive::is_receiver(job)) {
            // What ends in the disk buffer does not know the clients.
            let is_kept = clients.is_none() || way.is_buffered(job);
            match self.receivers.iter().position(|receiver| is_kept && receiver.is_of(job)) {
                Some(place) => kept[place] = true,
                None => started.push(Receiver::start(job, idx, way.of_receiver(job), &self.receiving, true)?),
            }
        }
        let (targets, stop_discovery) = start_discovery(config, &self.stop_reading)?;
        let shipper = (clients.is_some() && !way.are_files_buffered()).then(|| way.of_files());
        if let (Some(clients), Some(buffering)) = (&clients, &self.buffering) {
            buffering.drain.follow(clients.shipper());
        }
        for (receiver, is_kept) in std::mem::take(&mut self.receivers).into_iter().zip(kept) {
            if is_kept {
                self.receivers.push(receiver);
                continue;
            }
            receiver.stop_taking();
            tokio::spawn(async move {
                for sender in receiver.finish().await {
                    let _ = sender.await;
                }
            });
        }
        self.receivers.extend(started);
        // The reader has gone only when the collector stops.
        let settings = Box::new(settings::tail(config));
        let _ = self.commands.send(Command::Replace { jobs, targets: targets.clone(), shipper, settings });
        std::mem::replace(&mut self.stop_discovery, stop_discovery).cancel();
        self.clients = clients.unwrap_or_else(|| self.clients.clone());
        self.targets = targets;
        self.config = config.clone();
        for key in settings::restart_keys(&self.started, config) {
            warn!(key, "the change of a setting waits for a restart of the collector");
        }
        Ok(())
    }

    /// Counters of the reading side.
    pub fn tail_metrics(&self) -> &TailMetrics {
        &self.tail_metrics
    }

    /// Name and counters of each client.
    pub fn client_metrics(&self) -> Vec<(String, Arc<ClientMetrics>)> {
        self.clients.metrics()
    }

    /// What can be seen of it: for its HTTP server.
    pub fn view(&self) -> View {
        View {
            counters: self.counters.clone(),
            clients: self.clients.clone(),
            targets: self.targets.clone(),
            tail: self.tail_metrics.clone(),
            receiving: self.receiving.metrics.clone(),
            buffer: self.buffering.as_ref().map(|buffering| buffering.buffer.clone()),
            restart_keys: settings::restart_keys(&self.started, &self.config),
            jobs: self.config.scrape_configs.iter().map(|job| job.job_name.clone()).collect(),
            sources: self
                .config
                .scrape_configs
                .iter()
                .map(|job| job.sources().first().map_or("nothing", |(key, _)| key))
                .collect(),
        }
    }

    /// Stops reading, sends what was read for at most `patience`, writes the positions. What did not get through by then
    /// is not in the positions and will be read again.
    pub async fn stop(self, patience: Duration) {
        self.stop_discovery.cancel();
        self.stop_reading.cancel();
        self.receivers.iter().for_each(Receiver::stop_taking);
        let giving_up = self.stop_sending.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            giving_up.cancel();
        });
        match self.reading.await {
            Ok((mut senders, committer)) => {
                for receiver in self.receivers {
                    senders.extend(receiver.finish().await);
                }
                for sender in senders {
                    if let Err(err) = sender.await {
                        warn!(error = %err, "a sender ended early");
                    }
                }
                if let Some(buffering) = self.buffering {
                    buffering.drain.finish().await;
                }
                committer.commit();
                info!("collector stopped");
            }
            Err(err) => warn!(error = %err, "the reader ended early"),
        }
        timer.abort();
    }
}

/// What can be seen of a running collector.
#[derive(Clone)]
pub struct View {
    /// Of the pipelines.
    pub counters: Counters,
    /// Where entries go.
    pub clients: Clients,
    /// What discovery found.
    pub targets: Arc<Targets>,
    /// Of the reading side.
    pub tail: Arc<TailMetrics>,
    /// Of sources that are no files.
    pub receiving: Arc<ReceiveMetrics>,
    /// The disk buffer.
    pub buffer: Option<Arc<Buffer>>,
    /// Keys that were changed and wait for a restart.
    pub restart_keys: Vec<&'static str>,
    /// Names of the jobs.
    pub jobs: Vec<String>,
    /// Key of each job's source.
    pub sources: Vec<&'static str>,
}

/// Where entries of a source go: to the terminal of a dry run, the disk buffer, or the clients.
struct Way<'w> {
    clients: &'w Clients,
    printer: Option<&'w mpsc::Sender<String>>,
    buffering: Option<&'w Buffering>,
}

impl Way<'_> {
    fn are_files_buffered(&self) -> bool {
        self.buffering.is_some_and(|buffering| buffering.sources == BufferSources::All)
    }

    fn is_buffered(&self, job: &ScrapeConfig) -> bool {
        self.are_files_buffered() || self.buffering.is_some() && receive::is_volatile(job)
    }

    fn of_receiver(&self, job: &ScrapeConfig) -> Shipper {
        self.shipper(self.is_buffered(job), receive::is_datagrams(job))
    }

    fn of_files(&self) -> Shipper {
        self.shipper(self.are_files_buffered(), false)
    }

    fn shipper(&self, is_buffered: bool, makes_room: bool) -> Shipper {
        match (self.printer, self.buffering) {
            (Some(printer), _) => self.clients.printer(printer.clone()),
            (None, Some(buffering)) if is_buffered => self.clients.spool(buffering.buffer.clone(), makes_room),
            _ => self.clients.shipper(),
        }
    }
}

fn start_buffering(config: &CollectorConfig, clients: &Clients) -> Result<Option<Buffering>, Error> {
    let Some((settings, sources)) = settings::buffer(config) else { return Ok(None) };
    let path = settings.folder.clone();
    let buffer = Buffer::open(settings).map_err(|source| Error::Buffer { path, source })?;
    let drain = Drain::start(buffer.clone(), clients.shipper());
    Ok(Some(Buffering { buffer, sources, drain }))
}

fn make_clients(config: &CollectorConfig, stop_sending: &CancellationToken) -> Result<Clients, Error> {
    let budget = Budget::new(config.collector.memory_limit.as_usize());
    let settings = settings::clients(config)?;
    Ok(Clients::new(settings, settings::limits(config), budget, Handle::current(), stop_sending.clone()))
}

fn start_discovery(
    config: &CollectorConfig,
    parent: &CancellationToken,
) -> Result<(Arc<Targets>, CancellationToken), Error> {
    let targets = Arc::new(Targets::default());
    let node = discovery::node_name();
    let followed = settings::targets(config, &targets, &node)?;
    let stop = parent.child_token();
    for list in followed.lists {
        tokio::spawn(list.run(targets.clone(), node.clone(), stop.clone()));
    }
    for job in followed.nodes {
        tokio::spawn(nodes::run(job, targets.clone(), node.clone(), stop.clone()));
    }
    let mut pods = followed.pods;
    while let Some(first) = pods.first() {
        // One list and watch for all jobs of equal scope.
        let scope = first.sd.clone();
        let (same, rest) = pods.into_iter().partition(|job| kubernetes::is_same_scope(&job.sd, &scope));
        let own = &config.collector;
        let folders = PodFolders { root: own.pod_logs_root.clone(), patience: own.metadata_timeout.get() };
        tokio::spawn(kubernetes::run(same, targets.clone(), node.clone(), folders, stop.clone()));
        pods = rest;
    }
    Ok((targets, stop))
}

/// Lines from standard input through the first job.
pub struct StdinRun {
    pipeline: Pipeline,
    source: SourceLabels,
    /// `None`: entries are printed.
    shipper: Option<Shipper>,
}

impl StdinRun {
    /// Labels are those of all `static_configs` of the first job; without a job `{job="stdin"}` and the host's name.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &CollectorConfig, is_dry: bool) -> Result<Self, Error> {
        let counters = Counters::default();
        let (pipeline, labels) = match config.scrape_configs.first() {
            Some(job) => {
                let labels = job.static_configs.iter().flat_map(|group| group.labels.clone());
                let labels = discovery::relabel::public_labels(&labels.collect());
                (settings::job(job, 0, &counters)?.pipeline, labels)
            }
            None => {
                let labels = [("job", "stdin".to_owned()), ("hostname", discovery::node_name())];
                (
                    Pipeline::compile(&[], &counters).unwrap_or_else(|_| unreachable!("no stages")),
                    Labels::from_pairs(labels),
                )
            }
        };
        let clients = make_clients(config, &CancellationToken::new())?;
        let shipper = (!is_dry).then(|| clients.shipper());
        Ok(Self { pipeline, source: SourceLabels { labels, id: 1 }, shipper })
    }

    /// Takes a line; what a dry run prints is appended to `printed`. Waits while the clients have no room.
    pub fn line(&mut self, line: &[u8], printed: &mut String) {
        let Self { pipeline, source, shipper } = self;
        pipeline.run(source, line, &mut stdin_context(), &mut |outgoing| deliver(shipper, outgoing, printed));
        while self.shipper.as_ref().is_some_and(|shipper| !shipper.has_room(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// There are no more lines: what stages kept back comes out.
    pub fn end(&mut self, printed: &mut String) {
        let Self { pipeline, shipper, .. } = self;
        pipeline.flush(Flush::All, &mut stdin_context(), &mut |outgoing| deliver(shipper, outgoing, printed));
    }

    /// Waits until everything is sent.
    pub async fn finish(self) {
        for task in self.shipper.map(Shipper::finish).unwrap_or_default() {
            if let Err(err) = task.await {
                warn!(error = %err, "a sender ended early");
            }
        }
    }
}

fn stdin_context<'a>() -> Context<'a> {
    Context {
        now: Instant::now(),
        now_ns: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
        source: SourceId(0),
        receipt: None,
        line_start: 0,
        wait: Duration::ZERO,
    }
}

fn deliver(shipper: &mut Option<Shipper>, mut outgoing: Outgoing<'_>, printed: &mut String) {
    match shipper {
        Some(shipper) => drop(shipper.add(&mut outgoing)),
        None => printed.push_str(&ship::show(&outgoing.entry)),
    }
}
