{{/* Stops the installation with the key. */}}
{{- define "logstack.refuse" -}}
{{- fail (printf "%s: is not translated by this chart (hint: `logstack migrate FILE` says what to write instead, or remove the key)" .) }}
{{- end }}

{{/* Refuses keys of (list MAP PREFIX KNOWN…) that are not known and say something. */}}
{{- define "logstack.only" -}}
{{- $prefix := index . 1 }}
{{- $known := slice . 2 }}
{{- range $key, $value := index . 0 }}
{{- if and $value (not (has $key $known)) }}{{- include "logstack.refuse" (printf "%s.%s" $prefix $key) }}{{- end }}
{{- end }}
{{- end }}

{{/* A Promtail value as JSON without null, which the API server would drop: a label without a source has an empty one. */}}
{{- define "logstack.nonull" -}}
{{- $value := index . 0 }}
{{- $parent := index . 1 }}
{{- if kindIs "map" $value }}
{{- $out := dict }}
{{- range $key, $item := $value }}
{{- if and (kindIs "invalid" $item) (has $parent (list "labels" "expressions" "mapping" "structured_metadata" "non_indexed_labels" "static_labels")) }}
{{- $_ := set $out $key "" }}
{{- else if kindIs "invalid" $item }}
{{- $_ := set $out $key dict }}
{{- else }}
{{- $_ := set $out $key (index (include "logstack.nonull" (list $item $key) | fromJson) "v") }}
{{- end }}
{{- end }}
{{- dict "v" $out | toJson }}
{{- else if kindIs "slice" $value }}
{{- $out := list }}
{{- range $item := $value }}
{{- $out = append $out (index (include "logstack.nonull" (list $item $parent) | fromJson) "v") }}
{{- end }}
{{- dict "v" $out | toJson }}
{{- else }}
{{- dict "v" $value | toJson }}
{{- end }}
{{- end }}

{{/* A list that may be written as text, as JSON {v: …}. (list VALUE KEY) */}}
{{- define "logstack.list" -}}
{{- $value := index . 0 }}
{{- if kindIs "string" $value }}
{{- if contains "{{" $value }}{{- fail (printf "%s: holds a Helm template, which cannot be evaluated here (hint: give the rendered promtail.yaml to `logstack migrate`)" (index . 1)) }}{{- end }}
{{- $value = fromYamlArray $value }}
{{- if and $value (hasPrefix "error " (toString (first $value))) }}{{- fail (printf "%s: is no list of YAML: %s" (index . 1) (first $value)) }}{{- end }}
{{- end }}
{{- include "logstack.nonull" (list $value "") }}
{{- end }}

{{/* spec of the LogStack from `loki`, as JSON. */}}
{{- define "logstack.fromLoki" -}}
{{- $loki := .Values.loki }}
{{- $engine := dict }}
{{- $spec := dict "engine" $engine }}
{{- if $loki }}
{{- include "logstack.only" (concat (list $loki "loki") (list "enabled" "persistence" "resources" "nodeSelector" "tolerations" "affinity" "priorityClassName" "config" "isDefault" "replicas" "serviceMonitor" "image" "rbac" "serviceAccount" "securityContext" "livenessProbe" "readinessProbe" "service" "url")) }}
{{- if and (hasKey $loki "replicas") (ne (int $loki.replicas) 1) }}{{- include "logstack.refuse" "loki.replicas" }}{{- end }}
{{- with $loki.service }}{{- include "logstack.only" (list . "loki.service" "type" "port") }}{{- $_ := set $engine "service" . }}{{- end }}
{{- $persistence := default dict $loki.persistence }}
{{- include "logstack.only" (list $persistence "loki.persistence" "enabled" "size" "storageClassName" "accessModes" "labels" "annotations") }}
{{- $storage := dict }}
{{- if $persistence.enabled }}
{{- $_ := set $storage "size" (default "10Gi" $persistence.size) }}
{{- with $persistence.storageClassName }}{{- $_ := set $storage "storageClassName" . }}{{- end }}
{{- with $persistence.labels }}{{- $_ := set $storage "labels" . }}{{- end }}
{{- with $persistence.annotations }}{{- $_ := set $storage "annotations" . }}{{- end }}
{{- range $persistence.accessModes }}
{{- if eq . "ReadWriteOncePod" }}{{- $_ := set $storage "accessMode" . }}
{{- else if ne . "ReadWriteOnce" }}{{- include "logstack.refuse" "loki.persistence.accessModes" }}{{- end }}
{{- end }}
{{- else }}
{{- $_ := set $storage "ephemeral" true }}
{{- end }}
{{- $_ := set $engine "storage" $storage }}
{{- range $key := list "resources" "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $loki $key }}{{- $_ := set $engine $key . }}{{- end }}
{{- end }}
{{- if hasKey $loki "isDefault" }}{{- $_ := set $spec "grafana" (dict "datasource" (dict "isDefault" $loki.isDefault)) }}{{- end }}
{{- if (default dict $loki.serviceMonitor).enabled }}{{- $_ := set $spec "monitoring" (dict "serviceMonitor" (dict "enabled" true "labels" (default dict $loki.serviceMonitor.additionalLabels))) }}{{- end }}
{{- $config := default dict $loki.config }}
{{- if kindIs "string" $config }}{{- include "logstack.refuse" "loki.config" }}{{- end }}
{{- if $config.auth_enabled }}{{- $_ := set $spec "tenancy" (dict "mode" "Multi") }}{{- end }}
{{- $limits := dict }}
{{- $extra := dict }}
{{- $extraLimits := dict }}
{{- $typed := dict "ingestion_rate_mb" "ingestionRateMb" "ingestion_burst_size_mb" "ingestionBurstSizeMb" "query_timeout" "queryTimeout" "max_entries_limit_per_query" "maxEntriesPerQuery" "max_line_size" "maxLineSize" "max_line_size_truncate" "maxLineSizeTruncate" "max_label_names_per_series" "maxLabelNamesPerSeries" "max_global_streams_per_user" "maxStreamsPerTenant" "max_query_series" "maxQuerySeries" "max_query_length" "maxQueryLength" "max_concurrent_tail_requests" "maxConcurrentTails" "per_stream_rate_limit" "perStreamRateLimit" "per_stream_rate_limit_burst" "perStreamRateLimitBurst" "reject_old_samples_max_age" "rejectOldSamplesMaxAge" }}
{{- range $key, $value := default dict $config.limits_config }}
{{- if has $key (list "retention_period" "retention_stream") }}
{{- else if and (hasKey $typed $key) (or (not (kindIs "float64" $value)) (eq $value (floor $value))) }}
{{- if kindIs "float64" $value }}{{- $value = int64 $value }}{{- end }}
{{- if has $key (list "max_line_size" "per_stream_rate_limit" "per_stream_rate_limit_burst") }}
{{- $value = regexReplaceAll "^([0-9]+) ?([kKmMgG])[iI]?[bB]?$" (toString $value) "${1}${2}i" | replace "k" "K" | replace "m" "M" | replace "g" "G" }}
{{- end }}
{{- $_ := set $limits (index $typed $key) $value }}
{{- else if has $key (list "enforce_metric_name" "max_cache_freshness_per_query") }}
{{- else if not (kindIs "invalid" $value) }}{{- $_ := set $extraLimits $key $value }}
{{- end }}
{{- end }}
{{- $rate := default 10 $limits.ingestionRateMb }}
{{- if lt (int (default 20 $limits.ingestionBurstSizeMb)) (int $rate) }}{{- $_ := set $limits "ingestionBurstSizeMb" $rate }}{{- end }}
{{- if $limits }}{{- $_ := set $engine "limits" $limits }}{{- end }}
{{- if $extraLimits }}{{- $_ := set $extra "limits_config" $extraLimits }}{{- end }}
{{- $tables := default dict $config.table_manager }}
{{- $period := "0" }}
{{- if (default dict $config.limits_config).retention_period }}{{- $period = $config.limits_config.retention_period }}
{{- else if $tables.retention_deletes_enabled }}{{- $period = default "0" $tables.retention_period }}{{- end }}
{{- $retention := dict "period" (ternary "0" (toString $period) (has (toString $period) (list "0" "0s"))) }}
{{- with (default dict $config.limits_config).retention_stream }}{{- $_ := set $retention "streams" . }}{{- end }}
{{- $_ := set $engine "retention" $retention }}
{{- range $key, $value := $config }}
{{- if has $key (list "auth_enabled" "limits_config" "table_manager" "schema_config" "chunk_store_config" "storage_config" "common" "memberlist" "analytics" "target" "runtime_config") }}
{{- else if eq $key "server" }}
{{- with omit $value "http_listen_port" "http_listen_address" "grpc_listen_port" }}{{- $_ := set $extra "server" . }}{{- end }}
{{- else if eq $key "compactor" }}
{{- with omit $value "working_directory" "shared_store" "retention_enabled" "delete_request_store" }}{{- $_ := set $extra "compactor" . }}{{- end }}
{{- else if eq $key "ingester" }}
{{- with omit $value "lifecycler" "wal" }}{{- $_ := set $extra "ingester" . }}{{- end }}
{{- else if has $key (list "ruler" "ruler_storage") }}{{- include "logstack.refuse" (printf "loki.config.%s" $key) }}
{{- else if $value }}{{- $_ := set $extra $key $value }}{{- end }}
{{- end }}
{{- if $extra }}{{- $_ := set $engine "extraConfig" $extra }}{{- end }}
{{- end }}
{{- $spec | toJson }}
{{- end }}

{{/* spec of the LogStack from `promtail`, as JSON. */}}
{{- define "logstack.fromPromtail" -}}
{{- $promtail := .Values.promtail }}
{{- $collector := dict }}
{{- if $promtail }}
{{- include "logstack.only" (concat (list $promtail "promtail") (list "enabled" "resources" "nodeSelector" "tolerations" "affinity" "priorityClassName" "config" "image" "rbac" "serviceAccount" "serviceMonitor" "podSecurityContext" "containerSecurityContext" "readinessProbe" "livenessProbe" "updateStrategy")) }}
{{- if and (hasKey $promtail "enabled") (not $promtail.enabled) }}{{- $_ := set $collector "enabled" false }}{{- end }}
{{- range $key := list "resources" "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $promtail $key }}{{- $_ := set $collector $key . }}{{- end }}
{{- end }}
{{- $config := default dict $promtail.config }}
{{- include "logstack.only" (list $config "promtail.config" "clients" "lokiAddress" "logLevel" "logFormat" "serverPort" "enabled" "snippets" "scrapeConfigs" "positions" "enableTracing") }}
{{- $clients := list }}
{{- range $idx, $client := $config.clients }}
{{- $host := regexReplaceAll "^[a-z]+://([^/]*).*$" (default "" $client.url) "${1}" }}
{{- if or (contains "{{" $host) (and (contains "loki" $host) (or (not (contains "." $host)) (contains ".svc" $host))) }}
{{- include "logstack.only" (list $client (printf "promtail.config.clients[%d]" $idx) "url" "external_labels") }}
{{- with $client.external_labels }}{{- $_ := set $collector "labels" . }}{{- end }}
{{- else }}
{{- include "logstack.only" (list $client (printf "promtail.config.clients[%d]" $idx) "url" "name" "tenant_id" "external_labels") }}
{{- $to := dict "name" (default (printf "client-%d" (add $idx 1)) $client.name) "url" $client.url }}
{{- with $client.tenant_id }}{{- $_ := set $to "tenant" . }}{{- end }}
{{- with $client.external_labels }}{{- $_ := set $to "labels" . }}{{- end }}
{{- $clients = append $clients $to }}
{{- end }}
{{- end }}
{{- if $clients }}{{- $_ := set $collector "clients" $clients }}{{- end }}
{{- $snippets := default dict $config.snippets }}
{{- include "logstack.only" (list $snippets "promtail.config.snippets" "scrapeConfigs" "extraScrapeConfigs" "pipelineStages" "extraRelabelConfigs" "addScrapeJobLabel") }}
{{- $jobs := list }}
{{- with default $config.scrapeConfigs $snippets.scrapeConfigs }}
{{- $jobs = index (include "logstack.list" (list . "promtail.config.snippets.scrapeConfigs") | fromJson) "v" }}
{{- end }}
{{- with $snippets.extraScrapeConfigs }}
{{- $jobs = concat $jobs (index (include "logstack.list" (list . "promtail.config.snippets.extraScrapeConfigs") | fromJson) "v") }}
{{- end }}
{{- if $jobs }}{{- $_ := set $collector "extraScrapeConfigs" $jobs }}{{- end }}
{{- $_ := set $collector "defaultScrape" (dict "enabled" false) }}
{{- end }}
{{- dict "collector" $collector | toJson }}
{{- end }}

{{/* spec of the LogScrape that stands for the chart's own job, as JSON; empty when scrapeConfigs replaces it. */}}
{{- define "logstack.ownJob" -}}
{{- $promtail := .Values.promtail }}
{{- $config := default dict $promtail.config }}
{{- $snippets := default dict $config.snippets }}
{{- if and $promtail (not (default $config.scrapeConfigs $snippets.scrapeConfigs)) (ne (toString $promtail.enabled) "false") }}
{{- $spec := dict "annotationGate" (dict "enabled" false) "namespaceSelector" (dict "any" true) }}
{{- $rules := list }}
{{- if $snippets.addScrapeJobLabel }}{{- $rules = append $rules (dict "targetLabel" "scrape_job" "replacement" "kubernetes-pods") }}{{- end }}
{{- range $snippets.extraRelabelConfigs }}
{{- $rule := dict }}
{{- range $key, $value := . }}
{{- $name := index (dict "source_labels" "sourceLabels" "target_label" "targetLabel") $key | default $key }}
{{- $_ := set $rule $name (ternary (toString $value) $value (has $name (list "regex" "replacement" "separator"))) }}
{{- end }}
{{- $rules = append $rules $rule }}
{{- end }}
{{- if $rules }}{{- $_ := set $spec "relabelings" $rules }}{{- end }}
{{- $stages := list }}
{{- range (index (include "logstack.list" (list (default list $snippets.pipelineStages) "promtail.config.snippets.pipelineStages") | fromJson) "v") }}
{{- if not (hasKey . "cri") }}{{- $stages = append $stages . }}{{- end }}
{{- end }}
{{- if $stages }}{{- $_ := set $spec "pipelineStages" $stages }}{{- end }}
{{- $spec | toJson }}
{{- end }}
{{- end }}
