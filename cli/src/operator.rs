//! `logstack operator`: the controller manager.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgAction, Args, ValueEnum};
use logstack_operator::build::Settings;
use logstack_operator::{Operator, Options};
use tracing::info;

use crate::serving;

/// Reconciles LogStacks and LogScrapes of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logstack operator                                   in a pod, or with the current context of ~/.kube/config
  logstack operator --watch-namespaces obs,shop       only these namespaces; Roles in them are enough
  logstack operator --leader-election=false           one process, as in development
  logstack crds | kubectl apply -f -                  what it reconciles must be installed first

What it needs: the ClusterRole of deploy/, or Roles in each watched namespace; it may read Secrets by name only.
It writes nothing but its Lease while nothing changes. `kubectl describe logstack NAME` says what it did and why.
Delete LogStacks before you remove the operator: their finalizer is removed by it.")]
pub struct OperatorArgs {
    /// Namespaces to look at, separated by commas; empty: all.
    #[arg(long, env = "LOGSTACK_WATCH_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// The operator's own namespace: its Lease is there.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = "logstack-system")]
    namespace: String,
    /// Who holds the Lease [default: the host's name].
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// Image of stacks that name none: the operator's own.
    #[arg(
        long,
        env = "LOGSTACK_IMAGE",
        value_name = "IMAGE",
        default_value = concat!("ghcr.io/logstack/logstack:", env!("CARGO_PKG_VERSION"))
    )]
    image: String,
    /// Let a Lease decide which of several operators writes.
    #[arg(long, env = "LOGSTACK_LEADER_ELECTION", value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    leader_election: bool,
    /// Only objects with the label `logstack.dev/controller-id` of this value: for two operators in one cluster.
    #[arg(long, env = "LOGSTACK_CONTROLLER_ID", value_name = "ID")]
    controller_id: Option<String>,
    /// Watch pods to say how many a LogScrape matches, and which lack the annotation.
    #[arg(long, env = "LOGSTACK_TARGET_COUNTING", value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    target_counting: bool,
    /// Where /metrics is.
    #[arg(long, env = "LOGSTACK_METRICS_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    metrics_listen: SocketAddr,
    /// Where /healthz and /readyz are.
    #[arg(long, env = "LOGSTACK_HEALTH_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8081")]
    health_listen: SocketAddr,
    /// The ClusterRole that collectors are bound to.
    #[arg(long, env = "LOGSTACK_COLLECTOR_CLUSTER_ROLE", value_name = "NAME", default_value = "logstack-collector")]
    collector_cluster_role: String,
    /// Context of the kubeconfig, outside a cluster [default: its current one].
    #[arg(long, value_name = "NAME")]
    kube_context: Option<String>,
    /// Least severe event that is printed: debug, info, warn, error [default: what LOGSTACK_LOG says, else info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How events are printed.
    #[arg(long, env = "LOGSTACK_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// How long a pod must fail before its status says so: less would flap at every start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the command until SIGTERM or SIGINT, or until the lease is lost.
pub async fn run(args: OperatorArgs) -> Result<()> {
    if let Some(level) = &args.log_level
        && !crate::logging::set_level(level)
    {
        return Err(serving::WrongUsage(format!("--log-level: {level:?} is not a level")).into());
    }
    let config = match &args.kube_context {
        Some(context) => {
            let options = kube::config::KubeConfigOptions { context: Some(context.clone()), ..Default::default() };
            kube::Config::from_kubeconfig(&options).await.with_context(|| format!("--kube-context {context}"))?
        }
        None => kube::Config::infer()
            .await
            .context("there is no cluster: neither a pod's service account nor a kubeconfig was found")?,
    };
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let options = Options {
        settings: Settings {
            image: args.image,
            watch_namespaces: args.watch_namespaces.into_iter().filter(|name| !name.is_empty()).collect(),
            collector_cluster_role: args.collector_cluster_role,
            controller_id: args.controller_id.filter(|id| !id.is_empty()),
        },
        namespace: args.namespace,
        instance: args.pod_name.unwrap_or_else(host),
        has_leader_election: args.leader_election,
        counts_targets: args.target_counting,
        patience: PATIENCE,
        silence: logstack_operator::SILENCE,
        metrics_listen: args.metrics_listen,
        health_listen: args.health_listen,
    };
    let mut operator = Operator::start(config, options).await?;
    info!(metrics = %operator.metrics_address, health = %operator.health_address, "operator started");
    tokio::select! {
        signal = serving::stop_signal() => info!(signal = signal?, "stopping"),
        outcome = operator.ended() => return Ok(outcome?),
    }
    Ok(operator.stop().await?)
}
