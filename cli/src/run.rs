//! `logstack run`: engine and collector in one process, from the same documents as in a cluster.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use logstack_collector::Collector;
use logstack_crds::{Documents, Placement, standalone};
use logstack_engine::{Server, ServerOptions};
use tracing::{info, warn};

use crate::{logging, serving};

/// How long the collector may take to ship what it has read when the process stops.
const COLLECTOR_PATIENCE: Duration = Duration::from_secs(10);

/// Runs engine and collector on this machine, from LogStack and LogScrape documents.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logstack run -f config/samples/quickstart.yaml
  logstack run -f stack.yaml -f scrapes/ --data-dir /var/lib/logstack --listen 0.0.0.0:3100
  kubectl get logstack,logscrape -o yaml | logstack run -f -")]
pub struct RunArgs {
    /// YAML with LogStack and LogScrape documents: a file, a folder of `*.yaml`, or `-` for standard input.
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Folder of all data and of the collector's positions.
    #[arg(long, value_name = "DIR", default_value = crate::engine::DATA_DIR)]
    data_dir: PathBuf,
    /// Address of the HTTP API; port 0 is any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3100")]
    listen: SocketAddr,
}

/// Runs the command until SIGTERM or SIGINT.
pub async fn run(args: RunArgs) -> Result<()> {
    let texts = read_all(&args.files)?;
    let named = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let (documents, warnings) = logstack_crds::parse(named).map_err(serving::configuration_error)?;
    let data_dir = std::path::absolute(&args.data_dir)?;
    let place = |listen: SocketAddr| Placement {
        listen_address: listen.ip().to_string(),
        listen_port: listen.port(),
        data_dir: data_dir.clone(),
    };
    let (stack, more) = standalone(&documents, &place(args.listen)).map_err(serving::configuration_error)?;
    for warning in warnings.0.iter().chain(&more.0) {
        warn!("{warning}");
    }
    let server = match stack.engine {
        Some(config) => {
            let set_log_level = Some(Box::new(logging::set_level) as _);
            let engine_dir = data_dir.join("engine");
            let server =
                Server::start(ServerOptions { config, listen: args.listen, data_dir: engine_dir, set_log_level })
                    .await?;
            server.app().limits.store(Arc::new(stack.limits));
            info!(address = %server.address(), "listening");
            Some(server)
        }
        None => None,
    };
    // Port 0 is known only now, and the collector has to know it.
    let address = server.as_ref().map_or(args.listen, Server::address);
    let collector = start_collector(&documents, &place(address), &data_dir)?;
    if let Some(server) = &server {
        eprintln!("{}", banner(server.address()));
    }

    let signal = serving::stop_signal().await?;
    info!(signal, "stopping");
    if let Some(collector) = collector {
        collector.stop(COLLECTOR_PATIENCE).await;
    }
    match server {
        Some(server) => Ok(server.shutdown().await?),
        None => Ok(()),
    }
}

fn start_collector(documents: &Documents, placement: &Placement, data_dir: &Path) -> Result<Option<Collector>> {
    let (stack, _) = standalone(documents, placement).map_err(serving::configuration_error)?;
    let Some(config) = stack.collector else { return Ok(None) };
    let folder = data_dir.join("collector");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(Some(Collector::start(&config)?))
}

/// Name and text of every document file.
fn read_all(paths: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            texts.push(("standard input".to_owned(), text));
            continue;
        }
        let before = texts.len();
        for file in yaml_files(path)? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            texts.push((file.display().to_string(), text));
        }
        if texts.len() == before {
            bail!("{} holds no *.yaml or *.yml", path.display());
        }
    }
    Ok(texts)
}

/// `path` itself, or the YAML files of a folder, sorted.
pub fn yaml_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn banner(address: SocketAddr) -> String {
    format!(
        "
Logstack answers on http://{address} (Loki's API: add it to Grafana as a Loki data source). To begin with:

  logstack query --addr http://{address} '{{namespace=\"matrix\"}} |= \"ERROR\"'
  logstack query --addr http://{address} '{{namespace=\"ingress-nginx\"}} | json | status >= 500'
  logstack query --addr http://{address} 'sum by (pod) (count_over_time({{namespace=~\".+\"}}[5m]))'

From a source tree `logstack` is `cargo run --release --`. Ctrl-C stops.
"
    )
}
