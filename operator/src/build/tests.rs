//! Snapshots of everything that is built, and a table of which field changes which object.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use logstack_crds::LogStack;
use serde_json::Value;

use super::*;
use crate::fields::Fields;

fn stack(spec: &str) -> LogStack {
    let mut stack = LogStack::new("logs", serde_yaml::from_str(spec).unwrap());
    stack.metadata.namespace = Some("obs".to_owned());
    stack.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    stack.metadata.generation = Some(1);
    // Labels and annotations of a LogStack are never copied to its objects.
    stack.metadata.labels = Some(BTreeMap::from([("argocd.argoproj.io/instance".to_owned(), "app".to_owned())]));
    stack
}

struct Case {
    stack: LogStack,
    settings: Settings,
    shards: Vec<BTreeMap<String, String>>,
    node_dirs: BTreeSet<String>,
    secret_hash: Option<String>,
}

impl Case {
    fn new(spec: &str) -> Self {
        Self {
            stack: stack(spec),
            settings: Settings {
                image: "logstack:test".to_owned(),
                watch_namespaces: Vec::new(),
                collector_cluster_role: "logstack-collector".to_owned(),
                controller_id: None,
            },
            shards: vec![BTreeMap::from([("obs.a.yaml".to_owned(), "# generation: 1\n".to_owned())])],
            node_dirs: BTreeSet::new(),
            secret_hash: None,
        }
    }

    fn build(&self) -> Built {
        let names = Names::new("obs", "logs");
        let rendered = render(&self.stack, &names);
        let problems: Vec<_> = rendered.problems().collect();
        assert!(problems.is_empty(), "{problems:?}");
        build(&Inputs {
            stack: &self.stack,
            settings: &self.settings,
            names: &names,
            rendered: &rendered,
            shards: &self.shards,
            node_dirs: &self.node_dirs,
            secret_hash: self.secret_hash.as_deref(),
            images: &Images::of(&self.stack, &self.settings.image),
        })
    }
}

fn yaml(built: &Built) -> String {
    let documents: Vec<String> =
        built.objects.iter().map(|object| serde_yaml::to_string(&object.value).unwrap()).collect();
    documents.join("---\n")
}

#[test]
fn a_minimal_stack() {
    insta::assert_snapshot!(yaml(&Case::new("{}").build()));
}

#[test]
fn a_full_stack() {
    let spec = "
commonLabels: {team: core}
engine:
  storage: {size: 200Gi, storageClassName: fast, whenDeleted: Delete}
  retention: {period: 30d, streams: [{selector: '{app=\"audit\"}', period: 1y, priority: 1}]}
  extraConfigSecretName: more
  podDisruptionBudget: {enabled: true, maxUnavailable: 0}
  podTemplate: {metadata: {annotations: {mesh: 'off'}}, spec: {containers: [{name: engine, tty: true}, {name: side, image: s}]}}
tenancy: {mode: Multi, defaultTenant: main}
auth: {type: Basic, secretName: users, clientSecretName: client}
tls: {secretName: cert, clientAuth: Require, clientCASecretName: ca}
collector:
  systemLogs: {journal: {enabled: true}, files: [{name: syslog, path: /var/log/syslog}]}
  clients: [{name: backup, url: 'https://backup/loki/api/v1/push', bearerSecretName: token}]
  reloadPolicy: Restart
grafana: {namespace: grafana, datasource: {credentialsEnv: LOGS_PASSWORD}}
monitoring: {serviceMonitor: {enabled: true, labels: {release: prom}}, prometheusRule: {enabled: true}}
networkPolicy: {enabled: true}
";
    insta::assert_snapshot!(yaml(&Case::new(spec).build()));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let case = Case::new("{commonLabels: {b: '1', a: '2'}, collector: {labels: {z: '1', y: '2'}}}");
    let first = yaml(&case.build());
    for _ in 0..20 {
        assert_eq!(yaml(&case.build()), first);
    }
}

/// What differs between two builds: `+` new, `-` gone, `~` changed, `*` its pods roll.
fn differences(before: &Built, after: &Built) -> Vec<String> {
    let index = |built: &Built| -> BTreeMap<String, Value> {
        let name = |object: &Object| match object.id.namespace.as_str() {
            "obs" | "" => format!("{} {}", object.id.kind, object.id.name),
            other => format!("{} {other}/{}", object.id.kind, object.id.name),
        };
        built.objects.iter().map(|object| (name(object), object.value.clone())).collect()
    };
    let (before, after) = (index(before), index(after));
    let mut out: Vec<String> = Vec::new();
    for (id, value) in &before {
        match after.get(id) {
            None => out.push(format!("- {id}")),
            Some(new) if new == value => {}
            Some(new) if new.pointer("/spec/template") != value.pointer("/spec/template") => {
                out.push(format!("* {id}"))
            }
            Some(_) => out.push(format!("~ {id}")),
        }
    }
    out.extend(after.keys().filter(|id| !before.contains_key(*id)).map(|id| format!("+ {id}")));
    out.sort();
    out
}

/// Sets a dotted path of a spec.
fn with(base: &str, patch: &str) -> String {
    let mut spec: serde_yaml::Value = serde_yaml::from_str(base).unwrap();
    fn merge(base: &mut serde_yaml::Value, over: serde_yaml::Value) {
        match (base, over) {
            (serde_yaml::Value::Mapping(base), serde_yaml::Value::Mapping(over)) => {
                for (key, value) in over {
                    match base.get_mut(&key) {
                        Some(known) => merge(known, value),
                        None => drop(base.insert(key, value)),
                    }
                }
            }
            (base, over) => *base = over,
        }
    }
    merge(&mut spec, serde_yaml::from_str(patch).unwrap());
    serde_yaml::to_string(&spec).unwrap()
}

const ENGINE_POD: &[&str] = &["* StatefulSet logs-engine"];
const ENGINE_FILE: &[&str] = &["* StatefulSet logs-engine", "~ ConfigMap logs-engine"];
const ENGINE_SET: &[&str] = &["~ StatefulSet logs-engine"];
const RUNTIME: &[&str] = &["~ ConfigMap logs-engine-runtime"];
const COLLECTOR_POD: &[&str] = &["* DaemonSet logs-collector"];
const COLLECTOR_FILE: &[&str] = &["~ ConfigMap logs-collector"];
const COLLECTOR_BOTH: &[&str] = &["* DaemonSet logs-collector", "~ ConfigMap logs-collector"];
const SERVICE: &[&str] = &["~ Service logs"];
const DATASOURCE: &[&str] = &["~ ConfigMap logstack-obs-logs-datasource"];
const BOTH_PODS: &[&str] = &["* DaemonSet logs-collector", "* StatefulSet logs-engine"];
/// Decided elsewhere: by the LogScrape's compilation or the live claim.
const NOTHING: &[&str] = &[];

/// Limits of a tenant; the stack's own are the same.
const LIMITS: [&str; 14] = [
    "ingestionRateMb: 12",
    "ingestionBurstSizeMb: 40",
    "queryTimeout: 2m",
    "maxEntriesPerQuery: 6000",
    "maxLineSize: 512Ki",
    "maxLineSizeTruncate: true",
    "maxLabelNamesPerSeries: 20",
    "maxStreamsPerTenant: 6000",
    "maxQuerySeries: 600",
    "maxQueryLength: 30d",
    "maxConcurrentTails: 20",
    "perStreamRateLimit: 4Mi",
    "perStreamRateLimitBurst: 20Mi",
    "rejectOldSamplesMaxAge: 2d",
];

#[test]
#[allow(clippy::too_many_lines)] // a table
fn every_field_changes_exactly_its_objects() {
    thread_local!(static TOUCHED: RefCell<Fields> = RefCell::new(Fields::of("LogStack")));
    #[track_caller]
    fn check_from(base: &str, patch: &str, want: &[&str]) {
        // Most cases start from the same stack: it is built once.
        thread_local!(static BUILT: RefCell<BTreeMap<String, Built>> = RefCell::default());
        TOUCHED.with_borrow_mut(|fields| fields.touch(patch));
        let before = BUILT
            .with_borrow_mut(|built| built.entry(base.to_owned()).or_insert_with(|| Case::new(base).build()).clone());
        let after = Case::new(&with(base, patch)).build();
        assert_eq!(differences(&before, &after), want, "{patch}");
    }
    #[track_caller]
    fn check(patch: &str, want: &[&str]) {
        check_from("{}", patch, want);
    }
    let everything: Vec<String> =
        Case::new("{}").build().objects.iter().map(|o| format!("~ {} {}", o.id.kind, o.id.name)).collect();
    let mut everything: Vec<&str> = everything.iter().map(String::as_str).collect();
    everything.sort_unstable();

    // the stack
    check("{image: other}", BOTH_PODS);
    check("{imagePullSecrets: [{name: pull}]}", BOTH_PODS);
    check("{imagePullPolicy: Always}", BOTH_PODS);
    check("{commonLabels: {team: core}}", &everything);
    check("{commonAnnotations: {team: core}}", &everything);
    check("{scrapeSelector: {matchLabels: {a: b}}}", NOTHING);
    check("{scrapeNamespaceSelector: {}}", NOTHING);
    for policy in [
        "allowCrossNamespaceTargets: true",
        "allowNodePaths: All",
        "allowedTenants: [a]",
        "enforceNamespaceLabel: false",
    ] {
        check(&format!("{{scrapePolicy: {{{policy}}}}}"), NOTHING);
    }

    // engine: pods roll
    check("{engine: {image: other}}", ENGINE_POD);
    check("{engine: {resources: {requests: {cpu: '2'}}}}", ENGINE_FILE); // the default memory limit goes with it
    check("{engine: {resources: {limits: {memory: 4Gi}}}}", ENGINE_FILE); // also its budget
    check("{engine: {env: [{name: A, value: b}]}}", ENGINE_POD);
    check(
        "{engine: {affinity: {nodeAffinity: {}, podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: x}}]}}}}",
        ENGINE_POD,
    );
    check("{engine: {tolerations: [{operator: Exists}]}}", ENGINE_POD);
    check("{engine: {nodeSelector: {a: b}}}", ENGINE_POD);
    check(
        "{engine: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: x, whenUnsatisfiable: DoNotSchedule}]}}",
        ENGINE_POD,
    );
    check("{engine: {priorityClassName: high}}", ENGINE_POD);
    check("{engine: {serviceAccountName: mine}}", &["* StatefulSet logs-engine", "- ServiceAccount logs-engine"]);
    check("{engine: {terminationGracePeriodSeconds: 300}}", ENGINE_POD);
    check("{engine: {podTemplate: {metadata: {annotations: {a: b}}}}}", ENGINE_POD);
    check("{engine: {podTemplate: {spec: {hostUsers: false}}}}", ENGINE_POD);
    check("{engine: {extraConfigSecretName: more}}", ENGINE_POD);
    check("{engine: {extraConfig: {querier: {max_concurrent: 7}}}}", ENGINE_FILE);
    check("{engine: {extraConfig: {limits_config: {max_query_parallelism: 7}}}}", RUNTIME);
    check_from(
        "{engine: {extraConfig: {querier: {max_concurrent: 7}}}}",
        "{engine: {extraConfigUnset: [querier.max_concurrent]}}",
        ENGINE_FILE,
    );

    // engine: storage
    check("{engine: {storage: {size: 60Gi}}}", ENGINE_SET);
    check("{engine: {storage: {storageClassName: fast}}}", ENGINE_SET);
    check("{engine: {storage: {accessMode: ReadWriteOncePod}}}", ENGINE_SET);
    check("{engine: {storage: {ephemeral: true}}}", ENGINE_POD);
    check("{engine: {storage: {whenDeleted: Delete}}}", ENGINE_SET);
    check("{engine: {storage: {whenScaled: Delete}}}", ENGINE_SET);
    check("{engine: {storage: {labels: {a: b}}}}", ENGINE_SET);
    check("{engine: {storage: {annotations: {a: b}}}}", ENGINE_SET);
    check("{engine: {replicas: 0}}", ENGINE_SET);

    // engine: reloaded
    check("{engine: {retention: {period: 10d}}}", RUNTIME);
    check("{engine: {retention: {streams: [{selector: '{a=\"b\"}', period: 2d}]}}}", RUNTIME);
    check_from(
        "{engine: {retention: {streams: [{selector: '{a=\"b\"}', period: 2d}]}}}",
        "{engine: {retention: {streams: [{selector: '{a=\"b\"}', period: 2d, priority: 3}]}}}",
        RUNTIME,
    );
    check("{engine: {retention: {maxSize: 40Gi}}}", RUNTIME);
    for limit in LIMITS {
        let want: &[&str] = match limit {
            // Grafana waits as long as the engine.
            "queryTimeout: 2m" => &["~ ConfigMap logs-engine-runtime", "~ ConfigMap logstack-obs-logs-datasource"],
            _ => RUNTIME,
        };
        check(&format!("{{engine: {{limits: {{{limit}}}}}}}"), want);
    }
    let multi = "{tenancy: {mode: Multi, defaultTenant: a}}";
    for limit in LIMITS.into_iter().chain(["retentionPeriod: 2d"]) {
        check_from(multi, &format!("{{engine: {{limits: {{tenants: {{b: {{{limit}}}}}}}}}}}"), RUNTIME);
    }

    // engine: in place
    let port = &["~ ConfigMap logs-collector", "~ ConfigMap logstack-obs-logs-datasource", "~ Service logs"];
    check("{engine: {service: {port: 3200}}}", port);
    check("{engine: {service: {type: NodePort}}}", SERVICE);
    check("{engine: {service: {type: NodePort, nodePort: 30100}}}", SERVICE);
    check("{engine: {service: {type: LoadBalancer, loadBalancerClass: x}}}", SERVICE);
    check("{engine: {service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8]}}}", SERVICE);
    check("{engine: {service: {type: NodePort, externalTrafficPolicy: Local}}}", SERVICE);
    check("{engine: {service: {ipFamilyPolicy: PreferDualStack}}}", SERVICE);
    check("{engine: {service: {labels: {a: b}}}}", SERVICE);
    check("{engine: {service: {annotations: {a: b}}}}", SERVICE);
    check("{engine: {podDisruptionBudget: {enabled: true}}}", &["+ PodDisruptionBudget logs-engine"]);
    check_from(
        "{engine: {podDisruptionBudget: {enabled: true}}}",
        "{engine: {podDisruptionBudget: {maxUnavailable: 50%}}}",
        &["~ PodDisruptionBudget logs-engine"],
    );
    check_from(
        "{engine: {podDisruptionBudget: {enabled: true}}}",
        "{engine: {podDisruptionBudget: {maxUnavailable: 0}}}", // would forbid every drain: stays 1
        NOTHING,
    );
    check(
        "{engine: {external: {url: 'http://loki:3100'}}}",
        &[
            "- ConfigMap logs-engine",
            "- ConfigMap logs-engine-runtime",
            "- Service logs",
            "- Service logs-engine",
            "- ServiceAccount logs-engine",
            "- StatefulSet logs-engine",
            "~ ConfigMap logs-collector",
            "~ ConfigMap logstack-obs-logs-datasource",
        ],
    );

    // tenancy, auth, TLS
    check(
        multi,
        &[
            "* StatefulSet logs-engine",
            "~ ConfigMap logs-collector",
            "~ ConfigMap logs-engine",
            "~ ConfigMap logstack-obs-logs-datasource",
        ],
    );
    check("{tenancy: {defaultTenant: main}}", ENGINE_FILE);
    check("{auth: {type: Basic, secretName: users}}", ENGINE_FILE);
    check(
        "{auth: {type: Bearer, secretName: users, clientSecretName: client}}",
        &[
            "* DaemonSet logs-collector",
            "* StatefulSet logs-engine",
            "~ ConfigMap logs-collector",
            "~ ConfigMap logs-engine",
        ],
    );
    let tls = "{tls: {secretName: cert}}";
    check(
        tls,
        &[
            "* DaemonSet logs-collector",
            "* StatefulSet logs-engine",
            "~ ConfigMap logs-collector",
            "~ ConfigMap logs-engine",
            "~ ConfigMap logstack-obs-logs-datasource",
        ],
    );
    check_from(tls, "{tls: {minVersion: '1.3'}}", ENGINE_FILE);
    check_from(tls, "{tls: {clientAuth: Request, clientCASecretName: ca}}", ENGINE_FILE);
    check_from(
        tls,
        "{tls: {secretName: other}}",
        &["* DaemonSet logs-collector", "* StatefulSet logs-engine", "~ ConfigMap logs-collector"],
    );

    // collectors
    check(
        "{collector: {enabled: false}}",
        &[
            "- ClusterRoleBinding logstack:obs:logs:collector",
            "- ConfigMap logs-collector",
            "- ConfigMap logs-collector-jobs-0",
            "- DaemonSet logs-collector",
            "- ServiceAccount logs-collector",
        ],
    );
    check("{collector: {image: other}}", COLLECTOR_POD);
    check("{collector: {resources: {limits: {memory: 1Gi}}}}", COLLECTOR_POD);
    check("{collector: {env: [{name: A, value: b}]}}", COLLECTOR_POD);
    check("{collector: {nodeSelector: {a: b}}}", COLLECTOR_POD);
    check(
        "{collector: {affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchFields: [{key: x, operator: Exists}]}}]}}}}",
        COLLECTOR_POD,
    );
    check("{collector: {podTemplate: {spec: {hostNetwork: true}}}}", COLLECTOR_POD);
    check("{collector: {tolerations: []}}", COLLECTOR_POD);
    check("{collector: {priorityClassName: low}}", COLLECTOR_POD);
    check("{collector: {maxUnavailable: 3}}", &["~ DaemonSet logs-collector"]);
    check("{collector: {hostPaths: {podLogs: /pods}}}", COLLECTOR_BOTH);
    check("{collector: {hostPaths: {state: /state}}}", COLLECTOR_POD);
    check("{collector: {hostPaths: {extra: [{path: /srv}]}}}", COLLECTOR_POD);
    check("{collector: {securityContext: {runAsUser: 1}}}", COLLECTOR_POD);
    check("{collector: {defaultScrape: {enabled: false}}}", COLLECTOR_FILE);
    check("{collector: {defaultScrape: {annotationGate: {key: a}}}}", COLLECTOR_FILE);
    check("{collector: {defaultScrape: {annotationGate: {value: a}}}}", COLLECTOR_FILE);
    check("{collector: {defaultScrape: {annotationGate: {enabled: false}}}}", COLLECTOR_FILE);
    let journal = "{collector: {systemLogs: {journal: {enabled: true}}}}";
    check(journal, COLLECTOR_BOTH);
    check_from(journal, "{collector: {systemLogs: {journal: {maxAge: 1h}}}}", COLLECTOR_FILE);
    check_from(journal, "{collector: {systemLogs: {journal: {path: /srv/journal}}}}", COLLECTOR_BOTH);
    let file = "{collector: {systemLogs: {files: [{name: a, path: /srv/a*.log}]}}}";
    check_from(
        file,
        "{collector: {systemLogs: {files: [{name: a, path: /srv/a*.log, exclude: /srv/ab.log}]}}}",
        COLLECTOR_FILE,
    );
    check_from(
        file,
        "{collector: {systemLogs: {files: [{name: a, path: /srv/a*.log, labels: {b: c}}]}}}",
        COLLECTOR_FILE,
    );
    check("{collector: {systemLogs: {files: [{name: a, path: /srv/a.log}]}}}", COLLECTOR_BOTH);
    check("{collector: {systemLogs: {files: [{name: a, path: /var/log/pods/a.log}]}}}", COLLECTOR_FILE); // mounted already
    check("{collector: {pipelineStages: [{json: {expressions: {a: b}}}]}}", COLLECTOR_FILE);
    check("{collector: {relabelings: [{targetLabel: a, replacement: b}]}}", COLLECTOR_FILE);
    check("{collector: {labels: {a: b}}}", COLLECTOR_FILE);
    check(
        "{collector: {extraScrapeConfigs: [{job_name: a, static_configs: [{labels: {__path__: /var/log/pods/x}}]}]}}",
        COLLECTOR_FILE,
    );
    check("{collector: {clients: [{name: a, url: 'http://a'}]}}", COLLECTOR_FILE);
    check("{collector: {clients: [{name: a, url: 'http://a', basicAuthSecretName: s}]}}", COLLECTOR_BOTH);
    let client = "{collector: {clients: [{name: a, url: 'http://a'}]}}";
    for field in [
        "url: 'http://b'",
        "tenant: t",
        "labels: {a: b}",
        "headers: {a: b}",
        "backoff: {minPeriod: 1s}",
        "backoff: {maxPeriod: 1m}",
        "backoff: {maxRetries: 3}",
        "timeout: 20s",
    ] {
        let url = if field.starts_with("url") { "" } else { "url: 'http://a', " };
        check_from(client, &format!("{{collector: {{clients: [{{name: a, {url}{field}}}]}}}}"), COLLECTOR_FILE);
    }
    check_from(client, "{collector: {clients: [{name: a, url: 'http://a', bearerSecretName: s}]}}", COLLECTOR_BOTH);
    check_from(client, "{collector: {clients: [{name: a, url: 'https://a', tlsSecretName: s}]}}", COLLECTOR_BOTH);
    check("{collector: {extraConfig: {collector: {max_line_bytes: 1MB}}}}", COLLECTOR_FILE);
    check("{collector: {reloadPolicy: Restart}}", COLLECTOR_POD);
    check_from("{collector: {reloadPolicy: Restart}}", "{collector: {labels: {a: b}}}", COLLECTOR_BOTH);

    // Grafana
    let moved = [
        "+ ConfigMap grafana/logstack-obs-logs-dashboards",
        "+ ConfigMap grafana/logstack-obs-logs-datasource",
        "- ConfigMap logstack-obs-logs-dashboards",
        "- ConfigMap logstack-obs-logs-datasource",
    ];
    check("{grafana: {enabled: false}}", &moved[2..]);
    check("{grafana: {namespace: grafana}}", &moved);
    check("{grafana: {labels: {a: b}}}", DATASOURCE);
    check(
        "{grafana: {annotations: {a: b}}}",
        &["~ ConfigMap logstack-obs-logs-dashboards", "~ ConfigMap logstack-obs-logs-datasource"],
    );
    check("{grafana: {dashboards: {enabled: false}}}", &["- ConfigMap logstack-obs-logs-dashboards"]);
    check("{grafana: {dashboards: {labels: {a: b}}}}", &["~ ConfigMap logstack-obs-logs-dashboards"]);
    check("{grafana: {dashboards: {folder: Other}}}", &["~ ConfigMap logstack-obs-logs-dashboards"]);
    check(
        "{grafana: {datasource: {name: x}}}",
        &["~ ConfigMap logstack-obs-logs-dashboards", "~ ConfigMap logstack-obs-logs-datasource"],
    );
    check(
        "{grafana: {datasource: {uid: x}}}",
        &["~ ConfigMap logstack-obs-logs-dashboards", "~ ConfigMap logstack-obs-logs-datasource"],
    );
    check("{grafana: {datasource: {isDefault: true}}}", DATASOURCE);
    check("{grafana: {datasource: {orgId: 2}}}", DATASOURCE);
    check("{grafana: {datasource: {maxLines: 2000}}}", DATASOURCE);
    check("{grafana: {datasource: {jsonData: {derivedFields: []}}}}", DATASOURCE);
    check("{grafana: {datasource: {url: 'http://outside'}}}", DATASOURCE);
    check_from("{auth: {type: Basic, secretName: users}}", "{grafana: {datasource: {credentialsEnv: P}}}", DATASOURCE);
    check("{grafana: {datasource: {removeOnDelete: false}}}", NOTHING);

    // extras
    check(
        "{monitoring: {serviceMonitor: {enabled: true}}}",
        &["+ PodMonitor logs-collector", "+ ServiceMonitor logs-engine"],
    );
    check_from(
        "{monitoring: {serviceMonitor: {enabled: true}}}",
        "{monitoring: {serviceMonitor: {interval: 1m, labels: {a: b}}}}",
        &["~ PodMonitor logs-collector", "~ ServiceMonitor logs-engine"],
    );
    check("{monitoring: {prometheusRule: {enabled: true}}}", &["+ PrometheusRule logs-engine"]);
    check_from(
        "{monitoring: {prometheusRule: {enabled: true}}}",
        "{monitoring: {prometheusRule: {interval: 1m, labels: {a: b}}}}",
        &["~ PrometheusRule logs-engine"],
    );
    check("{networkPolicy: {enabled: true}}", &["+ NetworkPolicy logs-collector", "+ NetworkPolicy logs-engine"]);

    // A new field without a line above fails here. The engine has neither cold storage nor a ruler yet: `Unsupported`.
    TOUCHED.with_borrow(|fields| {
        assert_eq!(fields.untouched(&["engine.coldStorage", "rules"]), [""; 0], "fields that nothing changes");
    });
}

#[test]
fn what_is_no_field_changes_its_objects_too() {
    #[track_caller]
    fn check(change: impl Fn(&mut Case), want: &[&str]) {
        let before = Case::new("{}").build();
        let mut case = Case::new("{}");
        change(&mut case);
        assert_eq!(differences(&before, &case.build()), want);
    }
    let restart = |case: &mut Case| {
        case.stack.metadata.annotations =
            Some(BTreeMap::from([(crate::names::RESTARTED_AT.to_owned(), "now".to_owned())]));
    };
    check(restart, BOTH_PODS);
    check(|case| case.secret_hash = Some("x".to_owned()), ENGINE_POD);
    check(|case| case.node_dirs = BTreeSet::from(["/srv/app".to_owned()]), COLLECTOR_POD);
    check(|case| case.node_dirs = BTreeSet::from(["/var/log/pods/x".to_owned()]), NOTHING);
    check(
        |case| drop(case.shards[0].insert("obs.b.yaml".to_owned(), "x".to_owned())),
        &["~ ConfigMap logs-collector-jobs-0"],
    );
    check(
        |case| case.shards.push(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        &["+ ConfigMap logs-collector-jobs-1"],
    );
    check(|case| case.shards.clear(), &["- ConfigMap logs-collector-jobs-0"]);
    check(
        |case| case.settings.watch_namespaces = vec!["obs".to_owned(), "shop".to_owned()],
        &[
            "+ RoleBinding logstack:obs:logs:collector",
            "+ RoleBinding shop/logstack:obs:logs:collector",
            "- ClusterRoleBinding logstack:obs:logs:collector",
        ],
    );
    let labelled = |case: &mut Case| {
        case.stack.metadata.labels = Some(BTreeMap::from([("any".to_owned(), "label".to_owned())]));
        case.stack.metadata.generation = Some(99);
        case.stack.metadata.resource_version = Some("7".to_owned());
    };
    check(labelled, NOTHING);
}

#[test]
fn a_bad_configuration_keeps_what_is_there() {
    #[track_caller]
    fn check(spec: &str, want_path: &str, kept: &[&str]) {
        let stack = stack(spec);
        let names = Names::new("obs", "logs");
        let rendered = render(&stack, &names);
        let paths: Vec<&str> = rendered.problems().map(|problem| problem.path.as_str()).collect();
        assert!(paths.iter().any(|path| path.starts_with(want_path)), "{paths:?}");
        let case = Case::new("{}");
        let built = build(&Inputs {
            stack: &stack,
            settings: &case.settings,
            names: &names,
            rendered: &rendered,
            shards: &[],
            node_dirs: &BTreeSet::new(),
            secret_hash: None,
            images: &Images::of(&stack, "x"),
        });
        let got: Vec<String> = built.kept.iter().map(|id| format!("{} {}", id.kind, id.name)).collect();
        assert_eq!(got, kept);
        assert!(!built.objects.iter().any(|object| built.kept.contains(&object.id)));
    }
    let engine = &["ConfigMap logs-engine", "ConfigMap logs-engine-runtime", "StatefulSet logs-engine"];
    let collector = &["ConfigMap logs-collector", "DaemonSet logs-collector"];
    check("{engine: {extraConfig: {no_such_key: 1}}}", "spec.engine.extraConfig", engine);
    check("{engine: {extraConfig: {server: {http_listen_port: 1}}}}", "spec.engine.extraConfig.server", engine);
    check(
        "{engine: {retention: {streams: [{selector: '{a=', period: 2d}]}}}",
        "spec.engine.retention.streams[0]",
        engine,
    );
    check("{rules: {enabled: true}}", "spec.rules.enabled", engine);
    check("{engine: {coldStorage: {bucket: b}}}", "spec.engine.coldStorage", engine);
    check(
        "{collector: {extraScrapeConfigs: [{job_name: a, basic_auth: {password: x}}]}}",
        "spec.collector.extraScrapeConfigs[0]",
        collector,
    );
    check("{collector: {extraConfig: {clients: []}}}", "spec.collector.extraConfig.clients", collector);
}
