"""Records with every instrument of the OpenTelemetry SDK, exports, and prints what it sent as a JSON document, in which
numbers are texts that no reader rounds.

Usage: send.py EXPORTER ENDPOINT SERVICE. EXPORTER is grpc or http, with -gzip behind it for compression.
"""

import json
import sys
import time

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource


def exporter(kind, endpoint):
    transport, _, compression = kind.partition("-")
    if transport == "grpc":
        from grpc import Compression

        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        compression = Compression.Gzip if compression else Compression.NoCompression
        return OTLPMetricExporter(endpoint=endpoint, insecure=True, compression=compression)
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter(endpoint=endpoint, compression=Compression.Gzip if compression else Compression.NoCompression)


def points(data):
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield metric, point


def describe(metric, point):
    sent = {
        "metric": metric.name,
        "attributes": dict(point.attributes),
        "time_unix_nano": point.time_unix_nano,
    }
    if hasattr(point, "value"):
        return sent | {"kind": "number", "value": repr(float(point.value))}
    sent |= {"count": point.count, "sum": repr(float(point.sum))}
    if hasattr(point, "explicit_bounds"):
        return sent | {
            "kind": "histogram",
            "bounds": [repr(float(bound)) for bound in point.explicit_bounds],
            "buckets": list(point.bucket_counts),
        }
    return sent | {
        "kind": "exponential",
        "scale": point.scale,
        "zero_count": point.zero_count,
        "offset": point.positive.offset,
        "buckets": list(point.positive.bucket_counts),
    }


def main():
    kind, endpoint, service = sys.argv[1:]
    turn = 0

    def observe(scale):
        def callback(_options: CallbackOptions):
            yield Observation(scale * (turn + 1), {"core": "0"})
            yield Observation(scale * (turn + 1) + 0.1, {"core": "1"})

        return [callback]

    reader = InMemoryMetricReader()
    provider = MeterProvider(
        metric_readers=[reader],
        resource=Resource(
            {
                "service.name": service,
                "service.namespace": "shop",
                "service.instance.id": "one",
                "host.name": "caf\u00e9",
            }
        ),
        views=[View(instrument_name="payload.size", aggregation=ExponentialBucketHistogramAggregation())],
    )
    meter = provider.get_meter("interop", "1.2.3")
    requests = meter.create_counter("http.requests", unit="{request}", description="Requests served")
    queue = meter.create_up_down_counter("queue.size")
    temperature = meter.create_gauge("temperature", unit="Cel")
    duration = meter.create_histogram("request.duration", unit="s")
    payload = meter.create_histogram("payload.size", unit="By")
    meter.create_observable_counter("cpu.time", callbacks=observe(0.25), unit="s")
    meter.create_observable_up_down_counter("open.files", callbacks=observe(-3))
    meter.create_observable_gauge("load", callbacks=observe(1 / 3), unit="1")

    export = exporter(kind, endpoint)
    sent = []
    for turn in range(3):
        for index in range(5):
            attributes = {"http.method": "GET" if index % 2 else "POST", "path": "/a \"b\" \\ \u00e9"}
            requests.add(index + 2**40, attributes)
            queue.add(2 - index, {"queue": "q"})
            temperature.set(-0.1 * index - turn, {"room": str(index)})
            duration.record(0.004 * 3**index, attributes)
            payload.record(0 if index == 0 else 0.37 * 40.0**index, attributes)
        data = reader.get_metrics_data()
        result = export.export(data)
        if result is not MetricExportResult.SUCCESS:
            sys.exit(f"export {turn}: {result}")
        sent.extend(describe(metric, point) for metric, point in points(data))
        # The server tells times apart by the millisecond.
        time.sleep(0.01)
    print(json.dumps(sent))
    export.shutdown()
    provider.shutdown()


main()
