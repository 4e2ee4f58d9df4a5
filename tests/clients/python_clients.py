"""Python clients against an engine: python_clients.py URL"""

import logging
import sys
import time

import logging_loki
import requests
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

url = sys.argv[1]


def lines(query):
    """Lines of a query over the last hour, with their labels; waits for the first."""
    for _ in range(50):
        answer = requests.get(f"{url}/loki/api/v1/query_range", params={"query": query, "direction": "forward"})
        answer.raise_for_status()
        result = answer.json()["data"]["result"]
        if result:
            return [(stream["stream"], value[1]) for stream in result for value in stream["values"]]
        time.sleep(0.1)
    return []


def logging_handler():
    handler = logging_loki.LokiHandler(url=f"{url}/loki/api/v1/push", tags={"app": "python"}, version="1")
    logger = logging.getLogger("clients")
    logger.addHandler(handler)
    logger.error("from %s", "python", extra={"tags": {"component": "handler"}})
    logger.warning("zeile mit ümlaut")
    found = lines('{app="python"}')
    assert sorted(line for _, line in found) == ["from python", "zeile mit ümlaut"], found
    labels = next(labels for labels, line in found if line == "from python")
    assert labels["severity"] == "error" and labels["component"] == "handler", labels
    assert labels["detected_level"] == "error" and labels["service_name"] == "python", labels


def otlp_exporter(compression):
    name = f"otlp-{compression.name.lower()}"
    resource = Resource.create({"service.name": name, "k8s.namespace.name": "shop", "host.name": "node-1"})
    provider = LoggerProvider(resource=resource)
    exporter = OTLPLogExporter(endpoint=f"{url}/otlp/v1/logs", compression=compression)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("scope", "1.0")
    for number in range(3):
        logger.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body=f"otlp {number}",
            attributes={"user.id": 7},
        )
    assert provider.force_flush(), "the exporter could not deliver"
    provider.shutdown()
    found = lines(f'{{service_name="{name}", k8s_namespace_name="shop"}}')
    assert [line for _, line in found] == ["otlp 0", "otlp 1", "otlp 2"], found
    labels = found[0][0]
    want = {"user_id": "7", "host_name": "node-1", "severity_text": "WARN", "detected_level": "warn", "scope_name": "scope"}
    assert want.items() <= labels.items(), labels


logging_handler()
print("python-logging-loki: works")
for kind in (Compression.NoCompression, Compression.Gzip, Compression.Deflate):
    if kind is Compression.Deflate:
        continue  # Loki's OTLP route knows gzip, zstd and lz4.
    otlp_exporter(kind)
    print(f"opentelemetry-exporter-otlp-proto-http, {kind.name}: works")
