//! The node agent: discovery -> tail -> pipeline -> ship. It loses nothing: a position is written only for what the
//! server has acknowledged, and when the server is away reading stops, so that the log files are the buffer.

pub mod discovery;
mod positions;
mod receipt;
pub mod ship;
pub mod tail;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use discovery::Target;
use ship::Shipper;
use ship::client::{ClientMetrics, ClientSettings};
use tail::{Committer, Reader, TailMetrics, TailSettings};

/// A running collector.
pub struct Collector {
    reading: JoinHandle<(Vec<JoinHandle<()>>, Committer)>,
    stop_reading: CancellationToken,
    stop_sending: CancellationToken,
    tail_metrics: Arc<TailMetrics>,
    client_metrics: Vec<(String, Arc<ClientMetrics>)>,
}

impl Collector {
    /// Reads the files of `targets` and ships them to `clients`.
    ///
    /// # Errors
    /// When the positions file exists and cannot be read.
    pub fn start(
        targets: Vec<Target>,
        tail: TailSettings,
        clients: Vec<ClientSettings>,
        http: reqwest::Client,
    ) -> std::io::Result<Self> {
        let (stop_reading, stop_sending) = (CancellationToken::new(), CancellationToken::new());
        let shipper = Shipper::new(clients, Handle::current(), http, stop_sending.clone());
        let (tail_metrics, client_metrics) = (Arc::new(TailMetrics::default()), shipper.metrics());
        let reader = Reader::new(targets, tail, shipper, tail_metrics.clone(), stop_reading.clone())?;
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
