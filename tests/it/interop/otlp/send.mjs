// Records with every instrument of the OpenTelemetry SDK, exports, and prints what it sent as a JSON document, in which
// numbers are texts that no reader rounds.
//
// Usage: send.mjs EXPORTER ENDPOINT SERVICE. EXPORTER is grpc, proto or json, with -gzip behind it for compression.

import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(path.join(process.env.NODE_PACKAGES, "package.json"));
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { AggregationType, DataPointType, MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { CompressionAlgorithm } = require("@opentelemetry/otlp-exporter-base");
const PACKAGES = {
  grpc: "@opentelemetry/exporter-metrics-otlp-grpc",
  proto: "@opentelemetry/exporter-metrics-otlp-proto",
  json: "@opentelemetry/exporter-metrics-otlp-http",
};

// As it goes over the wire: in JSON a negative zero has no sign.
function text(number) {
  return Object.is(number, -0) && transport !== "json" ? "-0" : String(number);
}

function nanos([seconds, nanoseconds]) {
  return (BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)).toString();
}

function describe(metric, point) {
  const sent = {
    metric: metric.descriptor.name,
    attributes: point.attributes,
    time_unix_nano: nanos(point.endTime),
  };
  const { value } = point;
  const { count, sum } = value;
  if (metric.dataPointType === DataPointType.HISTOGRAM) {
    const { boundaries, counts } = value.buckets;
    return { ...sent, kind: "histogram", count, sum: text(sum), bounds: boundaries.map(text), buckets: counts };
  }
  if (metric.dataPointType === DataPointType.EXPONENTIAL_HISTOGRAM) {
    const { offset, bucketCounts } = value.positive;
    const { scale, zeroCount } = value;
    return { ...sent, kind: "exponential", count, sum: text(sum), scale, zero_count: zeroCount, offset, buckets: bucketCounts };
  }
  return { ...sent, kind: "number", value: text(value) };
}

const [kind, url, service] = process.argv.slice(2);
const [transport, compression] = kind.split("-");
const { OTLPMetricExporter } = require(PACKAGES[transport]);
const exporter = new OTLPMetricExporter({
  url,
  compression: compression ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE,
});
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
const provider = new MeterProvider({
  readers: [reader],
  resource: resourceFromAttributes({
    "service.name": service,
    "service.namespace": "shop",
    "service.instance.id": "one",
    "host.name": "caf\u00e9",
  }),
  views: [
    { instrumentName: "payload.size", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } },
  ],
});
const meter = provider.getMeter("interop", "1.2.3");
const requests = meter.createCounter("http.requests", { unit: "{request}", description: "Requests served" });
const queue = meter.createUpDownCounter("queue.size");
const temperature = meter.createGauge("temperature", { unit: "Cel" });
const duration = meter.createHistogram("request.duration", {
  unit: "s",
  advice: { explicitBucketBoundaries: [0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5] },
});
const payload = meter.createHistogram("payload.size", { unit: "By" });
let turn = 0;
const observe = (scale) => (result) => {
  result.observe(scale * (turn + 1), { core: "0" });
  result.observe(scale * (turn + 1) + 0.1, { core: "1" });
};
meter.createObservableCounter("cpu.time", { unit: "s" }).addCallback(observe(0.25));
meter.createObservableUpDownCounter("open.files").addCallback(observe(-3));
meter.createObservableGauge("load", { unit: "1" }).addCallback(observe(1 / 3));

const sent = [];
for (turn = 0; turn < 3; turn++) {
  for (let index = 0; index < 5; index++) {
    const attributes = { "http.method": index % 2 ? "GET" : "POST", path: '/a "b" \\ \u00e9' };
    requests.add(index + 2 ** 40, attributes);
    queue.add(2 - index, { queue: "q" });
    temperature.record(-0.1 * index - turn, { room: String(index) });
    duration.record(0.004 * 3 ** index, attributes);
    payload.record(index === 0 ? 0 : 0.37 * 40.0 ** index, attributes);
  }
  const { resourceMetrics, errors } = await reader.collect();
  if (errors.length > 0) throw errors[0];
  const result = await new Promise((done) => exporter.export(resourceMetrics, done));
  if (result.code !== 0) throw result.error ?? new Error(`export ${turn}: code ${result.code}`);
  for (const { metrics } of resourceMetrics.scopeMetrics) {
    for (const metric of metrics) {
      for (const point of metric.dataPoints) sent.push(describe(metric, point));
    }
  }
  // The server tells times apart by the millisecond.
  await sleep(10);
}
console.log(JSON.stringify(sent));
await exporter.shutdown();
process.exit(0);
