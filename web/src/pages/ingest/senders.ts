//! Configuration of senders, made for the address under which this page was reached.

import { shellWord } from '../../shellword';

export interface Server {
  /** The directory that page and API are served from, with its slash. */
  readonly base: URL;
  /** `otlp.grpc_listen`; empty where it is off. */
  readonly grpcListen: string;
  /** Whether users or tokens are asked for. */
  readonly hasUsers: boolean;
  /** `otlp.deltas` */
  readonly takesDeltas: boolean;
}

export type SenderId = 'prometheus' | 'prometheus2' | 'collector' | 'vmagent' | 'sdk' | 'curl';

export const SENDERS: readonly (readonly [SenderId, string])[] = [
  ['prometheus', 'Prometheus'],
  ['prometheus2', 'Prometheus, 2.0'],
  ['collector', 'OpenTelemetry Collector'],
  ['vmagent', 'vmagent'],
  ['sdk', 'OpenTelemetry SDK'],
  ['curl', 'curl'],
];

/** What a setting of `status/config` says. */
export function settingOf(settings: readonly { key: string; value: string }[] | undefined, key: string): string {
  return settings?.find((setting) => setting.key === key)?.value ?? '';
}

/** Host and port for OTLP over gRPC from outside, and whether only this machine can reach it; `undefined` where it is off. */
export function grpcTarget(server: Server): { target: string; isLocal: boolean } | undefined {
  const port = /:(\d+)$/.exec(server.grpcListen)?.[1];
  if (port === undefined) return undefined;
  const host = server.grpcListen.slice(0, -port.length - 1);
  return { target: `${server.base.hostname}:${port}`, isLocal: /^(127\.|localhost$|\[::1\]$)/.test(host) };
}

function remoteWrite(server: Server, isSecond: boolean): string {
  const lines = ['remote_write:', `  - url: ${new URL('api/v1/write', server.base).href}`];
  if (isSecond) lines.push('    protobuf_message: io.prometheus.write.v2.Request');
  lines.push('    send_exemplars: true', '    send_native_histograms: true');
  if (server.hasUsers) lines.push('    authorization:', '      credentials_file: /etc/prometheus/chronolith-token');
  return lines.join('\n');
}

function collector(server: Server): string {
  const lines = ['exporters:', '  otlphttp/chronolith:', `    endpoint: ${new URL('api/v1/otlp', server.base).href}`];
  if (server.hasUsers) lines.push('    headers:', '      authorization: Bearer ${env:CHRONOLITH_TOKEN}');
  const grpc = grpcTarget(server);
  if (grpc) {
    const where = grpc.isLocal ? `, from the server's own machine: it listens on ${server.grpcListen}` : '';
    lines.push(`  # Or over gRPC${where}`, '  # otlp/chronolith:', `  #   endpoint: ${grpc.target}`, '  #   tls:', '  #     insecure: true');
  }
  lines.push('service:', '  pipelines:', '    metrics:', '      receivers: [otlp]', '      exporters: [otlphttp/chronolith]');
  return lines.join('\n');
}

function sdk(server: Server): string {
  const lines = [
    'export OTEL_METRICS_EXPORTER=otlp',
    'export OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf',
    `export OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=${shellWord(new URL('api/v1/otlp/v1/metrics', server.base).href)}`,
  ];
  if (!server.takesDeltas) lines.push('export OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative');
  if (server.hasUsers) lines.push('export OTEL_EXPORTER_OTLP_METRICS_HEADERS="authorization=Bearer%20$CHRONOLITH_TOKEN"');
  return lines.join('\n');
}

export function configOf(sender: SenderId, server: Server): string {
  const write = shellWord(new URL('api/v1/write', server.base).href);
  const token = server.hasUsers ? ' -H "Authorization: Bearer $CHRONOLITH_TOKEN"' : '';
  switch (sender) {
    case 'prometheus':
      return remoteWrite(server, false);
    case 'prometheus2':
      return remoteWrite(server, true);
    case 'collector':
      return collector(server);
    case 'vmagent': {
      const lines = ['vmagent', '-promscrape.config=prometheus.yml', `-remoteWrite.url=${write}`];
      if (server.hasUsers) lines.push('-remoteWrite.bearerTokenFile=chronolith-token');
      return lines.join(' \\\n  ');
    }
    case 'sdk':
      return sdk(server);
    case 'curl': {
      const url = shellWord(new URL('api/v1/import/prometheus', server.base).href);
      return `echo 'first_metric{job="curl"} 42' | curl${token} --data-binary @- ${url}`;
    }
  }
}

export const HINTS: Readonly<Record<SenderId, string>> = {
  prometheus: 'Into prometheus.yml. Remote write 1.0, which every Prometheus speaks.',
  prometheus2: 'Into prometheus.yml. Remote write 2.0 takes fewer bytes and carries metadata; Prometheus 3.',
  collector: 'Into the collector’s configuration.',
  vmagent: 'A command. vmagent falls back to Prometheus’ protocol by itself.',
  sdk: 'Into the environment of a program with an OpenTelemetry SDK.',
  curl: 'A command that writes one sample, now.',
};
