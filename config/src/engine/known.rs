//! Keys of Loki that have no meaning here, each with its reason: accepted, and named once in a warning.
//!
//! Source: Loki 3.7.6, "Configuration parameters"; the charts loki 6.x, loki-stack 2.10.3 for retired keys.

use crate::yaml::{Ignored, Nulls, Rules};

pub(super) const RULES: Rules = Rules { nulls: Nulls::Zero, ignored: IGNORED, refused: &[], is_lenient: |_| false };

const RING: &str = "one process has no ring";
const GRPC: &str = "there is no gRPC port";
const STORE: &str = "the engine has its own storage format on local disk";
const CACHE: &str = "the engine keeps its own caches, see logstack.storage.cache_size";
const RULER: &str = "there is no ruler; Grafana evaluates alert rules";
const OBJECT_STORE: &str = "data is kept on local disk";
const BLOOM: &str = "every block carries its own filter";
const KAFKA: &str = "entries go to the write-ahead log, not through Kafka";
const SPLIT: &str = "queries are divided by block, not by interval";
const CHUNK: &str = "there are no chunks; see logstack.storage";
const RETIRED: &str = "retired by Loki itself";
const TELEMETRY: &str = "the engine sends nothing anywhere";
const TRACING: &str = "the engine writes logs and metrics, no traces";

#[rustfmt::skip] // a table: one block or reason a row
const IGNORED: &[Ignored] = &[
    of("EngineConfig", "one process does everything", &["target", "frontend_worker", "query_scheduler", "ingester_client", "index_gateway", "compactor_grpc_client", "query_engine", "ui", "lbac"]),
    of("EngineConfig", RING, &["memberlist"]),
    of("EngineConfig", STORE, &["schema_config", "chunk_store_config", "dataobj"]),
    of("EngineConfig", RULER, &["ruler", "ruler_storage"]),
    of("EngineConfig", BLOOM, &["bloom_build", "bloom_gateway", "bloom_compactor"]),
    of("EngineConfig", KAFKA, &["kafka_config", "block_builder", "block_scheduler", "ingest_limits", "ingest_limits_frontend", "ingest_limits_frontend_client"]),
    of("EngineConfig", TELEMETRY, &["analytics", "usage_report"]),
    of("EngineConfig", TRACING, &["tracing", "profiling"]),
    of("EngineConfig", "own logs are set by server.log_level", &["operational_config"]),
    of("EngineConfig", "there is no garbage collector to tune", &["ballast_bytes"]),
    of("EngineConfig", "the engine stops as soon as it has flushed", &["shutdown_delay"]),
    of("EngineConfig", "metrics keep the names that dashboards use", &["metrics_namespace"]),

    of("ServerConfig", GRPC, &["grpc_listen_network", "grpc_listen_address", "grpc_listen_port", "grpc_listen_conn_limit", "grpc_collect_max_streams_by_conn", "grpc_tls_config", "report_grpc_codes_in_instrumentation_label_enabled", "grpc_server_max_recv_msg_size", "grpc_server_max_send_msg_size", "grpc_server_max_concurrent_streams", "grpc_server_max_connection_idle", "grpc_server_max_connection_age", "grpc_server_max_connection_age_grace", "grpc_server_keepalive_time", "grpc_server_keepalive_timeout", "grpc_server_min_time_between_pings", "grpc_server_ping_without_stream_allowed", "grpc_server_num_workers", "grpc_server_stats_tracking_enabled", "grpc_server_recv_buffer_pools_enabled", "grpc_server_read_buffer_size", "grpc_server_write_buffer_size", "cluster_validation"]),
    of("ServerConfig", "the engine listens on TCP, IPv4 and IPv6", &["http_listen_network", "proxy_protocol_enabled"]),
    of("ServerConfig", "safe cipher suites are chosen for you", &["tls_cipher_suites"]),
    of("ServerConfig", "requests are logged without addresses and headers", &["log_source_ips_enabled", "log_source_ips_full", "log_source_ips_header", "log_source_ips_regex", "log_request_headers", "log_request_exclude_headers_list", "http_log_closed_connections_without_response_enabled"]),
    of("ServerConfig", TRACING, &["trace_request_headers", "trace_request_exclude_headers_list", "create_new_traces"]),

    of("CommonConfig", RING, &["ring", "replication_factor", "persist_tokens", "instance_interface_names", "instance_addr", "instance_enable_ipv6"]),
    of("CommonConfig", "one process does everything", &["compactor_address", "compactor_grpc_address", "scratch_path"]),
    of("CommonStorage", OBJECT_STORE, &["s3", "gcs", "azure", "alibabacloud", "bos", "swift", "cos", "hedging", "congestion_control", "object_store"]),
    of("FilesystemConfig", RULER, &["rules_directory"]),
    of("StorageSection", OBJECT_STORE, &["alibabacloud", "aws", "azure", "bos", "gcs", "swift", "cos", "hedging", "object_store", "use_thanos_objstore", "named_stores", "congestion_control", "max_parallel_get_chunk", "max_chunk_batch_size", "bigtable", "cassandra", "grpc_store", "object_prefix"]),
    of("StorageSection", STORE, &["boltdb_shipper", "tsdb_shipper", "boltdb", "boltdb_shipper_gateway", "disable_broad_index_queries", "max_index_batch_size", "bloom_shipper"]),
    of("StorageSection", CACHE, &["index_queries_cache_config", "index_cache_validity"]),

    of("DistributorConfig", RING, &["ring"]),
    of("DistributorConfig", KAFKA, &["kafka_writes_enabled", "ingester_writes_enabled", "kafka_config", "dataobj_tee", "tenant_topic", "ingest_limits_enabled", "ingest_limits_dry_run_enabled"]),
    of("DistributorConfig", "requests are worked on as they come; memory is bounded by logstack.storage", &["push_worker_count", "max_inflight_bytes", "circuit_breaker"]),
    of("DistributorConfig", "rates are counted here, not fetched", &["rate_store"]),
    of("DistributorConfig", "refusals are counted in metrics and logged once", &["write_failures_logging", "otlp_attribute_logging"]),
    of("DistributorConfig", "name policies in limits_config", &["default_policy_stream_mappings"]),

    of("IngesterConfig", RING, &["lifecycler", "autoforget_unhealthy", "owned_streams_check_interval", "delegate_stream_limits_enabled", "shutdown_marker_path"]),
    of("IngesterConfig", CHUNK, &["concurrent_flushes", "flush_check_period", "flush_op_backoff", "flush_op_timeout", "chunk_retain_period", "chunk_block_size", "chunk_target_size", "chunk_encoding", "sync_period", "sync_min_utilization", "index_shards", "max_dropped_streams"]),
    of("IngesterConfig", "every refusal is reported", &["max_returned_stream_errors"]),
    of("IngesterConfig", "memory and disk are queried as one", &["query_store_max_look_back_period", "query_store_only"]),
    of("IngesterConfig", RETIRED, &["max_transfer_retries", "unordered_writes_enabled"]),
    of("IngesterConfig", KAFKA, &["kafka_ingestion"]),
    of("WalConfig", "the log lies in the data folder", &["dir"]),
    of("WalConfig", "the log is cut when its entries are in parts", &["checkpoint_duration", "recover", "checkpoint_enabled"]),
    of("WalConfig", "memory is bounded by logstack.storage.memtable_size", &["replay_memory_ceiling"]),
    of("WalConfig", "the oldest data goes before the disk fills, see logstack.storage.max_disk_share", &["disk_full_threshold"]),

    of("QuerierConfig", "memory and disk are queried as one", &["extra_query_delay", "query_ingesters_within", "query_store_only", "query_ingester_only", "query_partition_ingesters"]),
    of("QuerierConfig", "limits hold for the whole query", &["per_request_limits_enabled"]),
    of("QuerierConfig", "set limits_config.query_timeout", &["query_timeout"]),
    of("QuerierEngine", "set limits_config.query_timeout", &["timeout"]),
    of("QueryRangeConfig", CACHE, &["results_cache", "cache_results", "cache_index_stats_results", "index_stats_results_cache", "cache_volume_results", "volume_results_cache", "cache_instant_metric_results", "instant_metric_results_cache", "cache_series_results", "series_results_cache", "cache_label_results", "label_results_cache"]),
    of("QueryRangeConfig", SPLIT, &["max_retries", "parallelise_shardable_queries", "shard_aggregations", "instant_metric_query_split_align", "split_queries_by_interval"]),
    of("FrontendConfig", "one process does everything", &["querier_forget_delay", "scheduler_address", "scheduler_dns_lookup_period", "scheduler_worker_concurrency", "grpc_client_config", "graceful_shutdown_timeout", "instance_interface_names", "instance_enable_ipv6", "address", "port", "downstream_url", "tail_proxy_url", "tail_tls_config"]),
    of("FrontendConfig", "answers are JSON or protobuf, as asked", &["encoding", "support_parquet_encoding"]),
    of("FrontendConfig", "every query is counted in metrics", &["query_stats_enabled", "log_query_request_headers"]),

    of("CompactorConfig", RING, &["compactor_ring", "horizontal_scaling_mode", "worker_config", "jobs_config"]),
    of("CompactorConfig", STORE, &["working_directory", "shared_store", "shared_store_key_prefix", "tables_to_compact", "skip_latest_n_tables", "max_compaction_parallelism", "upload_parallelism", "deletion_marker_object_store_prefix", "delete_request_store_key_prefix", "delete_request_store_db_type", "backup_delete_request_store_db_type", "delete_batch_size", "retention_delete_worker_count", "retention_table_timeout", "retention_backoff_config", "run_once"]),
    of("CompactorConfig", "set limits_config.deletion_mode", &["deletion_mode", "allow_deletes"]),
    of("TableManager", STORE, &["throughput_updates_disabled", "poll_interval", "creation_grace_period", "index_tables_provisioning", "chunk_tables_provisioning"]),
    of("RuntimeConfig", "the file is local", &["http_client_timeout", "http_client_cluster_validation", "http_client_disable_keep_alives"]),
    of("PatternIngesterConfig", "patterns are mined within fixed bounds and kept by day", &["lifecycler", "client_config", "concurrent_flushes", "flush_check_period", "max_clusters", "max_eviction_ratio", "metric_aggregation", "pattern_persistence", "tee_config", "connection_timeout", "max_allowed_line_length", "retain_for", "max_chunk_age", "pattern_sample_interval", "volume_threshold"]),

    of("Limits", SPLIT, &["split_metadata_queries_by_interval", "split_recent_metadata_queries_by_interval", "recent_metadata_query_window", "split_instant_metric_queries_by_interval", "split_ingester_queries_by_interval", "min_sharding_lookback", "tsdb_max_bytes_per_shard", "tsdb_sharding_strategy", "tsdb_precompute_chunks", "shard_aggregations"]),
    of("Limits", CACHE, &["max_cache_freshness_per_query", "max_metadata_cache_freshness", "max_stats_cache_freshness", "engine_results_cache_time_bucket_interval"]),
    of("Limits", "one process does everything", &["max_queriers_per_tenant", "max_query_capacity", "query_ready_index_num_days", "index_gateway_shard_size", "index_gateway_max_capacity", "use_owned_stream_count", "ingestion_partitions_tenant_shard_size", "max_local_streams_per_user"]),
    of("Limits", RULER, &["ruler_max_rules_per_rule_group", "ruler_max_rule_groups_per_tenant", "ruler_tenant_shard_size", "ruler_evaluation_delay_duration", "ruler_remote_write_disabled", "ruler_remote_write_config", "ruler_remote_write_url", "ruler_remote_write_timeout", "ruler_remote_write_headers", "ruler_remote_write_relabel_configs", "ruler_remote_write_queue_capacity", "ruler_remote_write_queue_min_shards", "ruler_remote_write_queue_max_shards", "ruler_remote_write_queue_max_samples_per_send", "ruler_remote_write_queue_batch_send_deadline", "ruler_remote_write_queue_min_backoff", "ruler_remote_write_queue_max_backoff", "ruler_remote_write_queue_retry_on_ratelimit", "ruler_remote_write_sigv4_config", "ruler_remote_evaluation_timeout", "ruler_remote_evaluation_max_response_size", "ruler_alertmanager_config", "ruler_enable_wal_replay"]),
    of("Limits", BLOOM, &["bloom_gateway_enable_filtering", "bloom_gateway_shard_size", "bloom_gateway_cache_key_interval", "bloom_gateway_blocks_downloading_parallelism", "bloom_build_max_builders", "bloom_build_task_max_retries", "bloom_build_builder_response_timeout", "bloom_creation_enabled", "bloom_compactor_enable_compaction", "bloom_planning_strategy", "bloom_split_series_keyspace_by", "bloom_task_target_series_chunk_size", "bloom_block_encoding", "bloom_prefetch_blocks", "bloom_max_block_size", "bloom_max_bloom_size", "bloom_ngram_length", "bloom_ngram_skip", "bloom_false_positive_rate"]),
    of("Limits", "patterns are mined within fixed bounds and kept by day", &["pattern_ingester_tokenizable_json_fields_default", "pattern_ingester_tokenizable_json_fields_append", "pattern_ingester_tokenizable_json_fields_delete", "pattern_persistence_granularity", "pattern_rate_threshold", "metric_aggregation_loki_address"]),
    of("Limits", OBJECT_STORE, &["s3_sse_type", "s3_sse_kms_key_id", "s3_sse_kms_encryption_context"]),
    of("Limits", STORE, &["dataobj_index_compaction_enabled", "dataobj_log_compaction_enabled", "debug_engine_tasks", "debug_engine_streams"]),
    of("Limits", "latency is not simulated", &["simulated_push_latency"]),
    of("Limits", "fields are discovered per query", &["discover_generic_fields"]),
    of("Limits", RETIRED, &["enforce_metric_name", "allow_deletes", "max_chunks_per_query_from_store", "max_concurrent_queries", "mutate_duplicate_label_names"]),
    of("ShardStreams", "streams are not sharded: one stream may be any size", &["time_sharding_ignore_recent", "logging_enabled"]),
];

const fn of(block: &'static str, reason: &'static str, keys: &'static [&'static str]) -> Ignored {
    Ignored { block, reason, keys }
}
