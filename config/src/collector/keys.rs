//! Every key of Promtail's configuration (collector contract, sections 1.4 to 1.8): taken in silence, because it does
//! what it says; taken with a warning that says what to do; or refused by name. None is dropped without a word.

use super::CollectorConfig;
use crate::finding::Severity;
use crate::load::inspect;
use crate::yaml::Document;

const CLIENT: &str = "clients: [{url: http://h/push}]\n";

/// What is said of a file, a finding a line.
fn said(text: &str) -> Vec<String> {
    let findings = inspect::<CollectorConfig>(&Document::parse(text, "f")).1;
    let with_severity = |severity: Severity| if severity == Severity::Error { "refused" } else { "warned" };
    findings.iter().map(|finding| format!("{}: {finding}", with_severity(finding.severity))).collect()
}

/// Keys of a block, each in a file of its own: `want` "" is silence, else what begins the one finding and is in it.
#[track_caller]
fn check(file: impl Fn(&str) -> String, keys: &[(&str, &str)]) {
    for (key, want) in keys {
        let got = said(&file(key));
        match want.split_once(' ') {
            None => assert_eq!(got, [""; 0], "{key}"),
            Some((verdict, text)) => {
                assert_eq!(got.len(), 1, "{key}: {got:?}");
                assert!(got[0].starts_with(verdict) && got[0].contains(text), "{key}: {got:?}, not {want:?}");
            }
        }
    }
}

/// All of them are taken in silence.
#[track_caller]
fn silent(file: impl Fn(&str) -> String, keys: &[&str]) {
    let keys: Vec<(&str, &str)> = keys.iter().map(|key| (*key, "")).collect();
    check(file, &keys);
}

#[test]
fn the_root() {
    let file = |key: &str| format!("{key}\n{CLIENT}");
    silent(
        file,
        &[
            "server: {}",
            "client: {url: http://h}",
            "positions: {}",
            "scrape_configs: []",
            "target_config: {}",
            "limits_config: {}",
            "limits_config:",
            "global: {file_watch_config: {}}",
            "wal: {}",
        ],
    );
    check(
        file,
        &[
            ("tracing: {enabled: true}", "warned ignored: the collector writes logs and metrics, no traces"),
            ("options: {stream_lag_labels: a}", "warned ignored: removed from Promtail"),
            ("ruler: {}", "refused unknown key"),
        ],
    );
    assert_eq!(said("server: {}\n").len(), 1, "a client is needed");
}

#[test]
fn the_server() {
    let file = |key: &str| format!("server: {{{key}}}\n{CLIENT}");
    silent(
        file,
        &[
            "http_listen_address: 127.0.0.1",
            "http_listen_port: 0",
            "http_listen_conn_limit: 5",
            "http_server_write_timeout: 3s",
            "http_server_idle_timeout: 3s",
            // Its default, as many configurations spell it out.
            "http_server_read_timeout: 30s",
            "http_path_prefix: /p",
            "http_tls_config: {cert_file: /c, key_file: /k}",
            "http_tls_config: {cert: c, key: k}",
            "http_tls_config: {cert_file: /c, key_file: /k, client_auth_type: RequireAndVerifyClientCert, client_ca_file: /a}",
            "http_tls_config: {cert_file: /c, key_file: /k, client_auth_type: VerifyClientCertIfGiven, client_ca: a}",
            "tls_min_version: VersionTLS13",
            "graceful_shutdown_timeout: 5s",
            "register_instrumentation: false",
            "profiling_enabled: false",
            "log_level: debug",
            "log_format: logfmt",
            "external_url: https://logs/promtail",
            "health_check_target: false",
            "disable: true",
            "enable_runtime_reload: true",
        ],
    );
    let traces = "warned ignored: the collector writes logs and metrics, no traces";
    let grpc = "warned ignored: there is no gRPC port";
    let logs = "warned ignored: requests are logged without addresses and headers";
    let reading = "warned no effect: a connection on which nothing comes for http_server_idle_timeout is closed";
    check(
        file,
        &[
            ("http_listen_network: tcp4", "warned ignored: the collector listens on TCP"),
            ("http_server_read_timeout: 5s", reading),
            ("http_server_read_header_timeout: 5s", reading),
            ("tls_cipher_suites: a", "warned ignored: safe cipher suites are chosen"),
            ("tls_min_version: VersionTLS11", "warned raised to VersionTLS12"),
            ("tls_min_version: 1.2", "refused not VersionTLS12 or VersionTLS13"),
            ("http_tls_config: {cert_file: /c}", "refused TLS needs both"),
            (
                "http_tls_config: {cert: c, key: k, client_auth_type: RequireAndVerifyClientCert}",
                "refused set client_ca_file",
            ),
            (
                "http_tls_config: {cert: c, key: k, client_auth_type: RequireAnyClientCert}",
                "refused it verifies nothing",
            ),
            ("profiling_enabled: true", "warned no profiles are served"),
            ("log_format: json", "warned LOGSTACK_LOG_FORMAT"),
            ("proxy_protocol_enabled: true", "warned ignored"),
            ("reload: true", "warned ignored: reloading is always on SIGHUP"),
            ("log_source_ips_enabled: true", logs),
            ("log_source_ips_full: true", logs),
            ("log_source_ips_header: x", logs),
            ("log_source_ips_regex: x", logs),
            ("log_request_headers: true", logs),
            ("log_request_at_info_level_enabled: true", logs),
            ("log_request_exclude_headers_list: x", logs),
            ("trace_request_headers: true", traces),
            ("grpc_listen_network: tcp", grpc),
            ("grpc_listen_address: x", grpc),
            ("grpc_listen_port: 0", grpc),
            ("grpc_listen_conn_limit: 1", grpc),
            ("grpc_tls_config: {}", grpc),
            ("grpc_server_max_recv_msg_size: 1", grpc),
            ("grpc_server_max_send_msg_size: 1", grpc),
            ("grpc_server_max_concurrent_streams: 1", grpc),
            ("grpc_server_max_connection_idle: 1s", grpc),
            ("grpc_server_max_connection_age: 1s", grpc),
            ("grpc_server_max_connection_age_grace: 1s", grpc),
            ("grpc_server_keepalive_time: 1s", grpc),
            ("grpc_server_keepalive_timeout: 1s", grpc),
            ("grpc_server_min_time_between_pings: 1s", grpc),
            ("grpc_server_ping_without_stream_allowed: true", grpc),
            ("grpc_server_num_workers: 1", grpc),
            ("http_listen_prt: 1", "refused did you mean http_listen_port?"),
        ],
    );
}

#[test]
fn a_client() {
    let file = |key: &str| format!("clients: [{{url: https://h/push, {key}}}]\n");
    silent(
        file,
        &[
            "name: a",
            "tenant_id: a",
            "batchwait: 2s",
            "batchsize: 1mb",
            "basic_auth: {username: a, password: b}",
            "basic_auth: {username_file: /a, password_file: /b}",
            "authorization: {type: Bearer, credentials: a}",
            "authorization: {credentials_file: /a}",
            "bearer_token: a",
            "bearer_token_file: /a",
            "oauth2: {client_id: a, client_secret: b, token_url: http://t, scopes: [s], endpoint_params: {a: b}}",
            "oauth2: {client_id: a, client_secret_file: /b, token_url: http://t, proxy_url: http://p, tls_config: {ca_file: /a}}",
            "tls_config: {ca: a, cert: b, key: c}",
            "tls_config: {ca_file: /a, cert_file: /b, key_file: /c}",
            "tls_config: {insecure_skip_verify: true, min_version: TLS12, max_version: TLS13}",
            "tls_config: {server_name: a}",
            "proxy_url: http://p",
            "no_proxy: h",
            "proxy_from_environment: true",
            "follow_redirects: false",
            // Pushes are HTTP/1.1 whatever is written, in Promtail too.
            "enable_http2: false",
            "headers: {a: b}",
            "http_headers: {a: {values: [b], secrets: [c], files: [/d]}}",
            "timeout: 5s",
            "backoff_config: {min_period: 1s, max_period: 2s, max_retries: 0}",
            "external_labels: {a: b}",
            "drop_rate_limited_batches: true",
        ],
    );
    let manager = "refused there is no secret manager";
    check(
        file,
        &[
            ("bearer_token: a, basic_auth: {username: b}", "refused authenticates in 2 ways"),
            ("basic_auth: {username_ref: a}", manager),
            ("basic_auth: {password_ref: a}", manager),
            ("authorization: {credentials_ref: a}", manager),
            ("tls_config: {ca_ref: a}", manager),
            ("tls_config: {cert_ref: a}", manager),
            ("tls_config: {key_ref: a}", manager),
            ("tls_config: {min_version: SSL3}", "refused not one of TLS10"),
            ("tls_config: {cert_file: /a}", "refused TLS needs both"),
            ("authorization: {type: basic, credentials: a}", "refused use basic_auth"),
            ("oauth2: {client_id: a, token_url: http://t, client_secret_ref: x}", manager),
            ("oauth2: {client_id: a, token_url: http://t, grant_type: x}", "refused use client_secret_file"),
            ("oauth2: {client_id: a}", "refused client_id and token_url"),
            ("oauth2: {client_id: a, token_url: http://t, no_proxy: x}", "warned no effect"),
            ("oauth2: {client_id: a, token_url: http://t, proxy_from_environment: true}", "warned no effect"),
            ("oauth2: {client_id: a, token_url: http://t, proxy_connect_header: {a: [b]}}", "warned no effect"),
            ("proxy_connect_header: {a: [b]}", "warned user:password@ into proxy_url"),
            ("stream_lag_labels: a", "warned removed from Promtail"),
            ("backoff_config: {minbackoff: 1s}", "warned write min_period"),
            ("backoff_config: {maxbackoff: 1s}", "warned write min_period"),
            ("backoff_config: {maxretries: 1}", "warned write min_period"),
            ("tenant: a", "refused unknown key"),
        ],
    );
}

#[test]
fn the_other_blocks() {
    let file = |key: &str| format!("{key}\n{CLIENT}");
    silent(
        file,
        &[
            "positions: {filename: /p, sync_period: 1s, ignore_invalid_yaml: true}",
            "target_config: {sync_period: 1s, stdin: false}",
            "limits_config: {readline_rate_enabled: true, readline_rate: 1, readline_burst: 1, readline_rate_drop: false}",
            "limits_config: {max_streams: 1, max_line_size: 1kb, max_line_size_truncate: true}",
            "global: {file_watch_config: {min_poll_frequency: 1s, max_poll_frequency: 2s}}",
            "wal: {enabled: true, dir: /w, cleanSegmentsOlderThan: 2h}",
            "wal: {enabled: false, dir: /w}",
            "collector: {disk_buffer: {dir: /b, max_bytes: 1GiB, max_age: 1h, sources: all}}",
            "collector: {metadata_source: api, metadata_timeout: 5s}",
        ],
    );
    check(
        file,
        &[
            ("target_config: {stdin: true}", "warned run with --stdin"),
            ("wal: {enabled: true}", "refused is needed with wal.enabled"),
            ("wal: {enabled: true, dir: /w, cleanSegmentsOlderThan: 1s}", "refused shorter than 1m"),
            ("wal: {watchConfig: {minReadFrequency: 1s, maxReadFrequency: 1s}}", "warned as it is written"),
            ("collector: {disk_buffer: {max_bytes: 2GiB}}", "refused needs the key dir"),
            ("collector: {disk_buffer: {dir: /b, max_bytes: 1kb}}", "refused below 1MiB"),
            ("collector: {disk_buffer: {dir: /b, max_age: 1s}}", "refused shorter than 1m"),
            ("collector: {metadata_source: kubelet}", "warned the API server is asked"),
            ("limits_config: {readline_rate_enabled: true, readline_rate: 0}", "refused not above 0"),
        ],
    );
    let both = "wal: {enabled: true, dir: /w}\ncollector: {disk_buffer: {dir: /b}}";
    check(file, &[(both, "warned wal.dir: is ignored")]);
}

#[test]
fn a_job() {
    let file = |key: &str| format!("{CLIENT}scrape_configs:\n- {{job_name: a, {key}}}\n");
    let of_files = |key: &str| file(&format!("static_configs: [{{labels: {{__path__: /x}}}}], {key}"));
    silent(
        of_files,
        &[
            "pipeline_stages: [{cri: }]",
            "relabel_configs: [{source_labels: [a], target_label: b}]",
            "encoding: UTF-16",
            "decompression: {enabled: true, initial_delay: 1s, format: gz}",
            "decompression: {enabled: true, format: bz2}",
            "decompression: {enabled: true, format: z}",
            "decompression: {enabled: false, format: xz}",
        ],
    );
    let address = "warned a file has no HTTP address";
    check(
        of_files,
        &[
            ("decompression: {enabled: true, format: xz}", "refused not one of gz, bz2, z"),
            ("nothing_sd_configs: [{}]", "refused unknown key"),
            ("entry_parser: docker", "warned begin pipeline_stages with"),
            ("scrape_interval: 1s", address),
            ("metrics_path: /x", address),
            ("journal: {}", "warned is ignored: the job reads static_configs"),
        ],
    );
    silent(
        file,
        &[
            "static_configs: [{targets: [localhost], labels: {__path__: /x, __path_exclude__: /y, a: b}}]",
            "file_sd_configs: [{files: [/x/*.yaml], refresh_interval: 1d}]",
            "journal: {path: /j, max_age: 1h, json: true, labels: {a: b}, matches: 'A=b C=d'}",
            "syslog: {listen_address: ':1', listen_protocol: udp, syslog_format: rfc3164, idle_timeout: 1s, max_message_length: 9}",
            "syslog: {listen_address: ':1', label_structured_data: true, use_incoming_timestamp: true, use_rfc5424_message: true, labels: {a: b}}",
            "syslog: {listen_address: ':1', tls_config: {cert_file: /c, key_file: /k, ca_file: /a}}",
            "loki_push_api: {server: {http_listen_port: 1}, labels: {a: b}, use_incoming_timestamp: true, max_send_msg_size: 1mb}",
            "gelf: {listen_address: ':1', use_incoming_timestamp: true, labels: {a: b}}",
        ],
    );
    let elsewhere = "refused run it elsewhere";
    let finds = "refused a node's collector finds files and pods";
    check(
        file,
        &[
            ("static_configs: [{labels: {a: b}}]", "warned has no __path__"),
            ("syslog: {}", "refused needs the key listen_address"),
            ("loki_push_api: {server: {log_level: debug}}", "warned the collector's own server's"),
            ("loki_push_api: {server: {http_tls_config: {cert: a}}}", "refused TLS needs both"),
            (
                "docker_sd_configs: [{host: 'unix:///x', port: 1, filters: [{name: a, values: [b]}]}]",
                "refused docker stage",
            ),
            ("kafka: {brokers: [a]}", elsewhere),
            ("azure_event_hubs: {}", elsewhere),
            ("gcplog: {}", elsewhere),
            ("cloudflare: {}", elsewhere),
            ("heroku_drain: {}", elsewhere),
            ("windows_events: {}", "refused runs on Linux"),
            ("dns_sd_configs: [{}]", finds),
            ("consul_sd_configs: [{}]", finds),
            ("consulagent_sd_configs: [{}]", finds),
            ("ec2_sd_configs: [{}]", finds),
            ("gce_sd_configs: [{}]", finds),
            ("azure_sd_configs: [{}]", finds),
            ("openstack_sd_configs: [{}]", finds),
            ("digitalocean_sd_configs: [{}]", finds),
            ("dockerswarm_sd_configs: [{}]", finds),
            ("triton_sd_configs: [{}]", finds),
            ("marathon_sd_configs: [{}]", finds),
            ("nerve_sd_configs: [{}]", finds),
            ("serverset_sd_configs: [{}]", finds),
        ],
    );
}

#[test]
fn pods() {
    let file = |key: &str| {
        let rule = "{source_labels: [__meta_kubernetes_pod_uid], target_label: __path__}";
        format!(
            "{CLIENT}scrape_configs:\n- {{job_name: a, kubernetes_sd_configs: [{{{key}}}], relabel_configs: [{rule}]}}\n"
        )
    };
    silent(
        file,
        &[
            "role: pod",
            "role: node",
            "role: pod, namespaces: {own_namespace: true, names: [a]}",
            "role: pod, selectors: [{role: pod, label: a=b, field: c=d}]",
            "role: pod, attach_metadata: {node: true, namespace: true, deployment: true, job: true, cronjob: true}",
            "role: pod, kubeconfig_file: /k",
            "role: pod, api_server: https://k, bearer_token_file: /t, tls_config: {ca_file: /a}",
            "role: pod, api_server: https://k, basic_auth: {username: a, password_file: /p}, proxy_url: http://p",
        ],
    );
    let local = "warned no local file belongs to it";
    check(
        file,
        &[
            ("namespaces: {}", "refused needs the key role"),
            ("role: service", local),
            ("role: endpoints", local),
            ("role: endpointslice", local),
            ("role: ingress", local),
            ("role: pod, kubeconfig_file: /k, api_server: https://k", "refused keep one"),
            ("role: pod, bearer_token: a", "refused the service account needs no keys"),
            ("role: pod, selectors: [{label: a}]", "refused needs the key role"),
        ],
    );
}
