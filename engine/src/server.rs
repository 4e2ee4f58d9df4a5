//! The engine as a process sees it: start, address, stop.
//!
//! ```text
//! start:  configuration -> limits -> store (recovers) -> ingest, queries -> routes -> listener
//! stop:   no new connections -> requests finish, within a bound -> memory to disk -> end
//! ```

mod connection;
mod listen;
mod retention;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use http::Uri;
use http::uri::PathAndQuery;
use logstack_config::engine::WalSync;
use logstack_config::{EngineConfig, TenantLimits};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use self::listen::Listening;
use self::retention::retention;
use self::tls::{Tls, TlsError};
use crate::http::app::{App, Lifecycle, LogLevelSwitch, SetLogLevel};
use crate::http::auth::Auth;
use crate::http::metrics::RequestMetrics;
use crate::http::tenancy::Tenancy;
use crate::http::{push, routes};
use crate::ingest::{IngestOptions, Ingester};
use crate::patterns::Patterns;
use crate::query::Engine;
use crate::storage::merge::MergeLimits;
use crate::storage::{self, BlockOptions, StorageOptions, Store, SyncMode};
use crate::tail::Tails;

/// However often it is asked for, what has expired is looked for no more often.
const RETENTION_EVERY_MIN: Duration = Duration::from_millis(100);

/// Why the engine does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error("cannot open the data in {dir:?}")]
    Storage {
        /// Where.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: storage::Error,
    },
    /// The address.
    #[error("cannot listen on {address}: another process may have the port (`--listen` chooses another)")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate of the listener. Plain text instead would be worse than nothing.
    #[error(transparent)]
    Tls(TlsError),
    /// The credentials file.
    #[error("cannot read the credentials in {path:?} (`logstack.auth.credentials_file`)")]
    Credentials {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The overrides file.
    #[error("cannot read the overrides file {path:?} (`runtime_config.file`)")]
    ReadOverrides {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What stands in it.
    #[error("{0}")]
    Overrides(logstack_config::Errors),
    /// The machine has no thread left.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// Memory could not be written when the engine stopped. The log has it: the next start reads it.
    #[error("cannot flush")]
    Flush(#[source] storage::Error),
}

/// What the engine is started with.
pub struct ServerOptions {
    /// As read from the file, with the flags laid over it.
    pub config: EngineConfig,
    /// Where to listen; port 0: any free one.
    pub listen: SocketAddr,
    /// Where data lives.
    pub data_dir: PathBuf,
    /// Changes what the process prints, if that can be changed.
    pub set_log_level: Option<SetLogLevel>,
}

/// A running engine.
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Recovers the data, and listens. When this returns, `/ready` answers 200.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(options: ServerOptions) -> Result<Self, Error> {
        let ServerOptions { config, listen, data_dir, set_log_level } = options;
        let config = Arc::new(config);
        let tls = match config.server.http_tls_config.is_enabled() {
            true => Some(Arc::new(Tls::load(&config.server).map_err(Error::Tls)?)),
            false => None,
        };
        let auth = Auth::new(&config.logstack.auth).map_err(|source| Error::Credentials {
            path: config.logstack.auth.credentials_file.clone().unwrap_or_default(),
            source,
        })?;
        let limits = Arc::new(ArcSwap::from_pointee(load_limits(&config)?));
        let store = open_store(&data_dir, storage_options(&config)).await?;
        store.set_retention(retention(&config, &limits.load()));
        let patterns = match config.pattern_ingester.enabled {
            true => Some(Patterns::start(&data_dir).map_err(Error::Thread)?),
            false => None,
        };
        if let Some(patterns) = &patterns {
            store.observe(patterns.clone());
        }
        let tails = Tails::start().map_err(Error::Thread)?;
        store.observe(tails.clone());
        let engine = Engine::new(store.clone(), &config.logstack.query, config.querier.max_concurrent)
            .with_outstanding(config.frontend.max_outstanding_per_tenant);
        let ingester = Ingester::new(store.clone(), limits.clone(), IngestOptions::new(&config));
        let push = push::routes(ingester.clone(), Tenancy::new(&config));
        let app = Arc::new(App {
            auth,
            tenancy: Tenancy::new(&config),
            limits: limits.clone(),
            engine: Arc::new(engine),
            ingester,
            store,
            patterns,
            tails,
            metrics: RequestMetrics::default(),
            lifecycle: Arc::<Lifecycle>::default(),
            log_level: LogLevelSwitch::new(config.server.log_level.as_str(), set_log_level),
            started: Instant::now(),
            config: config.clone(),
        });
        let router = routes(app.clone(), push);
        let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { address: listen, source })?;
        let address = listener.local_addr().unwrap_or(listen);
        let (stop, stopped) = watch::channel(false);
        let listening = Listening::new(&config.server, tls.clone(), app.metrics.connections.clone());
        let serving = tokio::spawn(listening.serve(listener, router, stopped.clone()));
        let mut tasks = Vec::new();
        if let Some(tls) = tls {
            tasks.push(tokio::spawn(tls.watch(stopped.clone())));
        }
        tasks.push(tokio::spawn(watch_overrides(app.clone(), stopped)));
        info!(%address, data_dir = %data_dir.display(), "engine ready");
        Ok(Self { address, app, stop, serving, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the routes share.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Waits until a client asks for the end (`/ingester/shutdown`).
    pub async fn stop_wanted(&self) {
        self.app.lifecycle.stop_wanted.notified().await;
    }

    /// Stops: no new connections, requests finish within `server.graceful_shutdown_timeout`, memory goes to disk.
    ///
    /// # Errors
    /// When memory could not be written.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.app.lifecycle.begin_stop();
        // Without a receiver everything has ended by itself.
        let _ = self.stop.send(true);
        let grace = self.app.config.server.graceful_shutdown_timeout.get();
        let mut serving = self.serving;
        if tokio::time::timeout(grace, &mut serving).await.is_err() {
            warn!(seconds = grace.as_secs(), "requests did not end in time and are cut off");
            serving.abort();
        }
        for task in self.tasks {
            task.abort();
        }
        let app = self.app.clone();
        let closed = tokio::task::spawn_blocking(move || {
            let closed = app.store.close();
            // Behind the store: by then nothing is appended any more.
            app.tails.stop();
            if let Some(patterns) = &app.patterns {
                patterns.stop();
            }
            closed
        })
        .await;
        info!("engine stopped");
        match closed {
            Ok(result) => result.map_err(Error::Flush),
            Err(failure) => {
                error!(error = %failure, "closing the store failed");
                Err(Error::Flush(storage::Error::Closed))
            }
        }
    }
}

async fn open_store(dir: &Path, options: StorageOptions) -> Result<Arc<Store>, Error> {
    let path = dir.to_owned();
    let opened = tokio::task::spawn_blocking(move || Store::open(&path, options)).await;
    match opened {
        Ok(result) => result.map_err(|source| Error::Storage { dir: dir.to_owned(), source }),
        Err(failure) => {
            error!(error = %failure, "opening the store failed");
            Err(Error::Storage { dir: dir.to_owned(), source: storage::Error::Closed })
        }
    }
}

/// What the configuration says to storage.
fn storage_options(config: &EngineConfig) -> StorageOptions {
    let compactor = &config.compactor;
    let retention_every = match compactor.apply_retention_interval.is_zero() {
        true => compactor.compaction_interval.get(),
        false => compactor.apply_retention_interval.get(),
    };
    let config = &config.logstack.storage;
    let sync = match config.wal.sync {
        WalSync::Always => SyncMode::Always,
        WalSync::Interval => SyncMode::Interval(config.wal.sync_interval.get()),
        // Left to the operating system, which writes dirty pages within half a minute.
        WalSync::Never => SyncMode::Interval(Duration::from_secs(30)),
    };
    let defaults = StorageOptions::default();
    let memtable_bytes_cut = config.memtable_size.as_usize();
    StorageOptions {
        sync,
        segment_bytes_max: config.wal.segment_size.bytes(),
        memtable_bytes_cut,
        memtable_bytes_max: memtable_bytes_cut.saturating_mul(2),
        memtable_age_max: config.memtable_max_age.get(),
        cache_bytes_max: config.cache_size.bytes(),
        blocks: BlockOptions {
            line_bytes: config.block_size.as_usize(),
            rows: config.block_rows as usize,
            zstd_fresh: config.compression_level,
            zstd_settled: config.merge_compression_level,
        },
        merge: MergeLimits {
            // They are cut to be merged: what counts is how much they hold.
            quick_parts: config.merge.min_parts.saturating_mul(2),
            fresh_parts: config.merge.min_parts,
            file_bytes_max: config.merge.max_part_size.bytes(),
            ..defaults.merge
        },
        is_merging: config.merge.concurrency > 0,
        retention_every: retention_every.max(RETENTION_EVERY_MIN),
        ..defaults
    }
}

/// Limits of all tenants, as the configuration and the overrides file say.
fn load_limits(config: &EngineConfig) -> Result<TenantLimits, Error> {
    let Some(path) = config.overrides_file() else { return Ok(TenantLimits::new(config)) };
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::ReadOverrides { path: path.to_owned(), source })?;
    let (limits, warnings) =
        TenantLimits::load(config, &text, &path.display().to_string()).map_err(Error::Overrides)?;
    for warning in &warnings.0 {
        warn!("{warning}");
    }
    Ok(limits)
}

/// Reads the overrides file again when it changes. A broken one is reported, and the last good one stays in force.
async fn watch_overrides(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let App { config, limits, store, lifecycle, .. } = &*app;
    let Some(path) = config.overrides_file().map(Path::to_owned) else { return };
    let period = config.runtime_config.period.get().max(Duration::from_secs(1));
    let mut seen = stamp(&path).await;
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            _ = stopped.changed() => return,
        }
        let now = stamp(&path).await;
        if now == seen {
            continue;
        }
        seen = now;
        let read = config.clone();
        let outcome = tokio::task::spawn_blocking(move || load_limits(&read)).await;
        lifecycle.set_overrides_good(matches!(outcome, Ok(Ok(_))));
        match outcome {
            Ok(Ok(loaded)) => {
                store.set_retention(retention(config, &loaded));
                limits.store(Arc::new(loaded));
                info!(path = %path.display(), "overrides read again");
            }
            Ok(Err(failure)) => error!(error = %failure, path = %path.display(), "overrides left as they were"),
            Err(failure) => error!(error = %failure, "overrides left as they were"),
        }
    }
}

/// Changes when the file does, also when a ConfigMap is swapped below it.
async fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// `//loki/api/v1/…` is `/loki/api/v1/…`: data sources with a slash at the end of their address ask so.
fn fold_slashes<B>(mut request: http::Request<B>) -> http::Request<B> {
    let path = request.uri().path();
    if path.starts_with("//") {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let folded = format!("/{}{query}", path.trim_start_matches('/'));
        if let Ok(path_and_query) = folded.parse::<PathAndQuery>() {
            *request.uri_mut() = Uri::from(path_and_query);
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_leading_slashes() {
        #[track_caller]
        fn check(uri: &str, want: &str) {
            let request = http::Request::builder().uri(uri).body(()).unwrap();
            assert_eq!(fold_slashes(request).uri().to_string(), want);
        }
        check("//loki/api/v1/query?a=%2F", "/loki/api/v1/query?a=%2F");
        check("///ready", "/ready");
        check("/ready//", "/ready//");
    }
}
