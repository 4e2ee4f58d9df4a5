//! Keys of the charts that have no place in a LogStack or LogScrape, each with what to do instead.
//!
//! Source: values of the charts loki-stack 2.10, loki 2.16 and 6.x, promtail 6.x.

use super::source::Fate;

/// Where the values of a component stand: `~` in a pattern is any of these.
const COMPONENTS: [&str; 7] = ["", "loki.", "promtail.", "singleBinary.", "read.", "write.", "backend."];

const IMAGE: &str = "the operator runs its own image; spec.image names another";
const PROBES: &str = "the operator knows how to ask its pods";
const ACCOUNT: &str = "the operator makes the accounts and the rights that they need";
const SECURITY: &str = "the operator's pods run with the least rights; override by podTemplate or securityContext";
const NAMES: &str = "objects are named after the LogStack";
const HELM: &str = "a switch of the chart";
const OWN_IMPLICIT: &str = "the operator mounts what the collector needs";
const ONE_PROCESS: &str = "one process does everything";
const OTHER_CHART: &str = "another program: install it by its own chart";
const GRAFANA: &str = "install Grafana by its own chart; the data source comes from the LogStack, as a ConfigMap with the label grafana_datasource";

/// Said nothing that is missed.
#[rustfmt::skip] // a table: one reason a row
const NOT_NEEDED: &[(&str, &[&str])] = &[
    (IMAGE, &["~image", "~imagePullPolicy", "~sidecar", "~kubectlImage"]),
    (PROBES, &["~livenessProbe", "~readinessProbe", "~startupProbe"]),
    (ACCOUNT, &["~serviceAccount", "~rbac", "~namespace"]),
    (SECURITY, &["~securityContext", "~podSecurityContext", "~containerSecurityContext", "~podSecurityPolicy", "~pspAnnotations"]),
    (NAMES, &["~nameOverride", "~fullnameOverride", "~clusterLabelOverride", "~namespaceOverride"]),
    (HELM, &["~enabled", "~global", "~updateStrategy", "~podManagementPolicy", "~revisionHistoryLimit", "~deploymentStrategy", "~minReadySeconds", "~hostAliases", "~dnsConfig", "~helmLabels", "~kubeVersionOverride", "~useTestSchema", "~configStorageType", "~externalConfigSecretName", "~configObjectName", "~generatedConfigObjectName", "~enableServiceLinks", "~automountServiceAccountToken", "~hostUsers"]),
    (OWN_IMPLICIT, &["promtail.daemonset", "daemonset", "promtail.deployment", "deployment", "promtail.defaultVolumes", "defaultVolumes", "promtail.defaultVolumeMounts", "defaultVolumeMounts", "promtail.configmap", "configmap", "promtail.secret", "secret", "promtail.initContainer", "initContainer"]),
    (ONE_PROCESS, &["deploymentMode", "read", "write", "backend", "gateway", "distributor", "ingester", "querier", "queryFrontend", "queryScheduler", "indexGateway", "compactor", "bloomCompactor", "bloomGateway", "bloomPlanner", "bloomBuilder", "patternIngester", "overridesExporter", "rollout_operator", "singleBinary.targetModule", "tableManager", "memberlist", "migrate", "adminApi", "enterprise", "enterpriseGateway", "tokengen", "provisioner", "memcached", "memcachedExporter", "chunksCache", "resultsCache", "memcachedChunks", "memcachedFrontend", "memcachedIndexQueries", "memcachedIndexWrites", "loki.memcached", "loki.memberlistConfig", "loki.memberlist_port"]),
    ("a test of the chart", &["test_pod", "test", "lokiCanary", "monitoring.selfMonitoring", "monitoring.lokiCanary"]),
    ("data lies on the stack's own volume", &["loki.storage", "loki.schemaConfig", "loki.testSchemaConfig", "loki.storage_config", "loki.commonConfig", "minio", "loki.useTestSchema", "~persistence.subPath", "~persistence.inMemory", "~persistence.selector", "~persistence.enableStatefulSetAutoDeletePVC", "~persistence.enableStatefulSetRecreationForSizeChange", "~persistence.whenDeleted", "~persistence.whenScaled", "~persistence.dataVolumeParameters", "~persistence.size"]),
    ("the stack has its own dashboards: grafana.dashboards", &["monitoring.dashboards"]),
    ("the stack has its own alerts: monitoring.prometheusRule", &["monitoring.rules", "monitoring.alerts"]),
    ("the Service is made by the operator", &["~service.targetPort", "~service.enabled", "~service.type", "~serviceName", "~service.portName", "~service.clusterIP", "~extraPorts"]),
];

/// Said something that is missed, with what to do.
#[rustfmt::skip]
const LEFT: &[(&str, &[&str])] = &[
    (GRAFANA, &["grafana"]),
    (OTHER_CHART, &["prometheus", "fluent-bit", "filebeat", "logstash", "alloy", "tempo", "mimir"]),
    ("no Ingress is made: point yours at the stack's Service, port 3100", &["~ingress", "ingress", "gateway.ingress"]),
    ("there is no ruler: alert in Grafana, which evaluates LogQL", &["~alerting_groups", "~ruler", "ruler", "loki.rulerConfig", "loki.ruler"]),
    ("autoscaling is not done: one engine and one collector a node", &["~autoscaling", "~hpa", "~kedaAutoscaling", "promtail.daemonset.autoscaling"]),
    ("old data stays in Loki's format and is not read: keep Loki until its retention has passed, see docs/migrating.md", &["~persistence.existingClaim"]),
    ("write it into engine.podTemplate or collector.podTemplate", &["~initContainers", "~extraContainers", "~sidecarContainers", "~extraVolumes", "~extraVolumeMounts", "~volumeClaimTemplates", "~envFrom", "~extraEnvFrom", "~lifecycle", "~hostNetwork", "~shareProcessNamespace", "~topologySpreadConstraints", "~extraVolumeClaimTemplates"]),
    ("flags of another program: write the key that it sets into extraConfig", &["~extraArgs", "~extraFlags", "~args", "~command"]),
    ("apply it beside the LogStack", &["~extraObjects", "extraObjects"]),
    ("tenants of the chart's gateway: the engine checks credentials by spec.auth", &["loki.tenants"]),
    ("Promtail's own receivers: write the job into collector.extraScrapeConfigs", &["promtail.extraPorts"]),
];

/// What is known about the key at `path`, everything below included.
pub(super) fn fate(path: &str) -> Option<Fate> {
    let find = |table: &[(&str, &[&str])]| {
        let row = table.iter().find(|(_, patterns)| patterns.iter().any(|pattern| matches(pattern, path)));
        row.map(|(reason, _)| (*reason).to_owned())
    };
    find(LEFT).map(Fate::Left).or_else(|| find(NOT_NEEDED).map(Fate::NotNeeded))
}

/// True for the key itself and for everything below it.
fn matches(pattern: &str, path: &str) -> bool {
    let is_below = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    match pattern.strip_prefix('~') {
        Some(key) => COMPONENTS.iter().any(|component| {
            path.strip_prefix(component).and_then(|path| path.strip_prefix(key)).is_some_and(is_below)
        }),
        None => path.strip_prefix(pattern).is_some_and(is_below),
    }
}
