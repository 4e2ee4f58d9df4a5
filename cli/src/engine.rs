//! `logstack engine`: the log store alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use logstack_config::{EngineConfig, Options, load_with};
use logstack_engine::{Server, ServerOptions};
use tracing::{info, warn};

use crate::{logging, serving};

/// Where data goes when neither a flag nor the file says so.
pub const DATA_DIR: &str = "logstack-data";

/// Runs the log store: Loki's HTTP API and LogQL over its own storage.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logstack engine                                              safe defaults, data in ./logstack-data
  logstack engine --config-file loki.yaml --data-dir /data     Loki's own configuration file
  logstack engine --set limits_config.retention_period=30d --set compactor.retention_enabled=true")]
pub struct EngineArgs {
    /// Configuration in the shape of Loki's. Without one: safe defaults.
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// A second file, laid over the first: what may not stand in it, from a mounted Secret.
    #[arg(long, value_name = "FILE", requires = "config_file")]
    extra_config_file: Option<PathBuf>,
    /// Replace `${NAME}` and `${NAME:-default}` in the file by environment variables.
    #[arg(long)]
    expand_env: bool,
    /// Folder of all data [default: what the file says, else ./logstack-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 is any free one [default: what the file says, else 0.0.0.0:3100].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Sets a key of the configuration, over the file.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the command until SIGTERM, SIGINT, or `/ingester/shutdown`.
pub async fn run(args: EngineArgs) -> Result<()> {
    let (text, file) = match &args.config_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            (text, path.display().to_string())
        }
        None => (String::new(), "defaults".to_owned()),
    };
    let text = match &args.extra_config_file {
        Some(path) => {
            let extra = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            overlaid(&text, &extra).with_context(|| format!("cannot merge {}", path.display()))?
        }
        None => text,
    };
    let lookup = |name: &str| std::env::var(name).ok();
    let options = Options { env: args.expand_env.then_some(&lookup), set: &args.set };
    let (config, warnings) = load_with::<EngineConfig>(&text, &file, &options).map_err(serving::configuration_error)?;
    for warning in &warnings.0 {
        warn!("{warning}");
    }
    let listen = match args.listen {
        Some(address) => address,
        None => configured_address(&config)?,
    };
    let data_dir = args.data_dir.or_else(|| config.data_dir()).unwrap_or_else(|| PathBuf::from(DATA_DIR));
    let server =
        Server::start(ServerOptions { config, listen, data_dir, set_log_level: Some(Box::new(logging::set_level)) })
            .await?;
    info!(address = %server.address(), "listening");
    tokio::select! {
        signal = serving::stop_signal() => info!(signal = signal?, "stopping"),
        () = server.stop_wanted() => info!("stopping as asked by a client"),
    }
    Ok(server.shutdown().await?)
}

/// Lays a file over another: blocks key by key, lists whole.
fn overlaid(text: &str, extra: &str) -> Result<String> {
    let mut base: serde_yaml::Value = serde_yaml::from_str(text)?;
    overlay(&mut base, serde_yaml::from_str(extra)?);
    Ok(serde_yaml::to_string(&base)?)
}

fn overlay(base: &mut serde_yaml::Value, extra: serde_yaml::Value) {
    match (base, extra) {
        (serde_yaml::Value::Mapping(base), serde_yaml::Value::Mapping(extra)) => {
            for (key, value) in extra {
                match base.get_mut(&key) {
                    Some(known) => overlay(known, value),
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (_, serde_yaml::Value::Null) => {} // an empty file says nothing
        (base, extra) => *base = extra,
    }
}

fn configured_address(config: &EngineConfig) -> Result<SocketAddr> {
    let host = match config.server.http_listen_address.as_str() {
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        text => text.parse().with_context(|| format!("server.http_listen_address: {text:?} is not an IP address"))?,
    };
    Ok(SocketAddr::new(host, config.server.http_listen_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_a_file_over_another() {
        #[track_caller]
        fn check(text: &str, extra: &str, want: &str) {
            assert_eq!(overlaid(text, extra).unwrap(), want);
        }
        check("a: {b: 1, c: 2}", "a: {b: 3}", "a:\n  b: 3\n  c: 2\n");
        check("a: [1, 2]", "a: [3]", "a:\n- 3\n");
        check("a: 1", "", "a: 1\n");
    }
}
