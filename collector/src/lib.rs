//! The node agent: discovery -> tail -> pipeline -> ship. It loses nothing: a position is written only for what the
//! server has acknowledged, and when the server is away reading stops, so that the log files are the buffer.

mod discovery;
mod positions;
mod receipt;
pub mod settings;
pub mod ship;
pub mod tail;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use logstack_config::CollectorConfig;
use ship::Shipper;
use ship::client::ClientMetrics;
use tail::{Committer, Reader, TailMetrics};

/// Why the collector does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of the configuration.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// The positions file.
    #[error("cannot read the positions file {path:?}")]
    Positions {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The HTTP client, such as its TLS roots.
    #[error("cannot set up the HTTP client")]
    Http(#[from] reqwest::Error),
}

/// A running collector.
pub struct Collector {
    reading: JoinHandle<(Vec<JoinHandle<()>>, Committer)>,
    stop_reading: CancellationToken,
    stop_sending: CancellationToken,
    tail_metrics: Arc<TailMetrics>,
    client_metrics: Vec<(String, Arc<ClientMetrics>)>,
}

impl Collector {
    /// Reads what `config` names and ships it to its clients.
    ///
    /// # Errors
    /// When a part of the configuration cannot be used, or the positions file exists and cannot be read.
    pub fn start(config: &CollectorConfig) -> Result<Self, Error> {
        let (tail, clients) = (settings::tail(config), settings::clients(config)?);
        let targets = settings::static_targets(config)?;
        let http = reqwest::Client::builder().user_agent(concat!("logstack/", env!("CARGO_PKG_VERSION"))).build()?;
        let (stop_reading, stop_sending) = (CancellationToken::new(), CancellationToken::new());
        let shipper = Shipper::new(clients, Handle::current(), http, stop_sending.clone());
        let (tail_metrics, client_metrics) = (Arc::new(TailMetrics::default()), shipper.metrics());
        let positions = tail.positions_file.clone();
        let reader = Reader::new(targets, tail, shipper, tail_metrics.clone(), stop_reading.clone())
            .map_err(|source| Error::Positions { path: positions.unwrap_or_default(), source })?;
        // Reading blocks: on files, and on batches that cannot leave.
        let reading = tokio::task::spawn_blocking(move || reader.run());
        Ok(Self { reading, stop_reading, stop_sending, tail_metrics, client_metrics })
    }

    /// Counters of the reading side.
    pub fn tail_metrics(&self) -> &TailMetrics {
        &self.tail_metrics
    }

    /// Name and counters of each client.
    pub fn client_metrics(&self) -> &[(String, Arc<ClientMetrics>)] {
        &self.client_metrics
    }

    /// Stops reading, sends what was read for at most `patience`, writes the positions. What did not get through by then
    /// is not in the positions and will be read again.
    pub async fn stop(self, patience: Duration) {
        self.stop_reading.cancel();
        let giving_up = self.stop_sending.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            giving_up.cancel();
        });
        match self.reading.await {
            Ok((senders, committer)) => {
                for sender in senders {
                    if let Err(err) = sender.await {
                        warn!(error = %err, "a sender ended early");
                    }
                }
                committer.commit();
                info!("collector stopped");
            }
            Err(err) => warn!(error = %err, "the reader ended early"),
        }
        timer.abort();
    }
}
